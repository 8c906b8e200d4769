"""What comments say about options: above a field of a dataclass, and beside or above a name in the shipped YAML."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import cast

__all__ = ["field_comments", "yaml_comments"]

_NAME = re.compile(r"(?P<indent> *)(?P<name>[A-Za-z_]\w*):(?P<rest>.*)")


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


def yaml_comments(path: Path) -> dict[str, str]:
    """Dotted path -> the comment at the end of its line, or else the lines right above it.

    For the plain block style of the shipped files, whose values hold no ``#``.
    """
    found: dict[str, str] = {}
    above: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            above.append(line.strip().lstrip("# "))
            continue
        if match := _NAME.fullmatch(line):
            depth = len(match["indent"])
            parents = [*(it for it in parents if it[0] < depth), (depth, match["name"])]
            beside = match["rest"].partition("#")[2].strip()
            if beside or above:
                found[".".join(name for _, name in parents)] = beside or " ".join(above)
        above = []
    return found
