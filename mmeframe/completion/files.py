"""Paths on the disk."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["files"]


def files(typed: str, *, folders: bool = False) -> list[str]:
    """Paths that begin as typed; folders end with a slash. Hidden ones only after a dot."""
    head, tail = os.path.split(typed)
    kept = typed[: len(typed) - len(tail)]
    try:
        found = list(os.scandir(Path(head).expanduser() if head else "."))
    except OSError:
        return []
    return [
        f"{kept}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in found
        if entry.name.startswith(tail) and (tail or entry.name[0] != ".") and (entry.is_dir() or not folders)
    ]
