"""What depends on what: key parts that build on others, sub-models that combine others.

Lowest layer: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

__all__ = ["circle", "reached"]


def reached(starts: Iterable[str], needs: Mapping[str, Iterable[str]]) -> set[str]:
    """These names and all that they need, what those need, and so on."""
    found: set[str] = set()
    todo = list(starts)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += needs.get(name, ())
    return found


def circle(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that need one another, each the next and the last the first; empty if there is no such circle."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        # graphlib puts the first name at the end again, and each name before what needs it.
        names: list[str] = error.args[1][1:]
        return names[::-1]
    return []
