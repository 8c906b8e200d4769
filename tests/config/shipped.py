"""What the comments of the shipped YAML say."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"(?P<indent> *)(?P<name>[A-Za-z_]\w*):(?P<rest>.*)")


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
