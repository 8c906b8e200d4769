"""The help of a component's options: what their dataclass says in comments, which is where it is read."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from typing import Any

__all__ = ["option_help"]


def option_help(config: type[Any]) -> dict[str, str]:
    """Option -> what it means: a ``Field(description=...)``, else the comment above it.

    A comment is also that of the options that follow on the next lines. Without its source a class has no comments.
    """
    found: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _commented(base)
    for name, hint in typing.get_type_hints(config, include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            found[name] = getattr(extra, "description", None) or found.get(name, "")
    return {name: text for name, text in found.items() if text}


def _commented(config: type[Any]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(config))
    except (OSError, TypeError):
        return {}
    (body,) = ast.parse(source).body
    lines = source.splitlines()
    found: dict[str, str] = {}
    last: tuple[int, str] = (0, "")
    for node in getattr(body, "body", ()):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = _above(lines, node.lineno - 1) or (last[1] if last[0] == node.lineno - 1 else "")
            found[node.target.id] = text
            last = (node.end_lineno or node.lineno, text)
    return {name: text for name, text in found.items() if text}


def _above(lines: list[str], row: int) -> str:
    """The comment that ends on the line before ``row``."""
    comment: list[str] = []
    while row and lines[row - 1].strip().startswith("#"):
        row -= 1
        comment.insert(0, lines[row].strip().lstrip("#").strip())
    return " ".join(comment)
