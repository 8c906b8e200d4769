"""What comments say about options: those right above the fields of a dataclass."""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Hashable
from functools import lru_cache
from typing import cast

__all__ = ["field_comments"]


def field_comments(config: type) -> dict[str, str]:
    """Field -> the comment right above it. An inherited field keeps its comment unless a subclass writes another.

    Where there is no source, as in a class made in a shell or shipped as bytecode, there are no comments.
    """
    found: dict[str, str] = {}
    for owner in reversed(config.__mro__[:-1]):
        found |= _own_comments(owner)
    return found


# Bases are asked for once for each that extends them.
@lru_cache(maxsize=256)
def _own_comments(owner: Hashable) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cast(type, owner)))
        (body,) = ast.parse(source).body
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (OSError, TypeError, ValueError, SyntaxError, tokenize.TokenError):
        return {}
    comments = {
        token.start[0]: token.string.lstrip("#: ")
        for token in tokens
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    }
    found = {}
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = []
            number = node.lineno - 1
            while number in comments:
                lines.append(comments[number])
                number -= 1
            if lines:
                found[node.target.id] = " ".join(reversed(lines))
    return found
