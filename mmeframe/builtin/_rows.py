"""Many places in one line of a report."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["listed"]

_SHOWN = 5


def listed(places: Sequence[object]) -> str:
    """``1, 2, 3, 4, 5 and 40 more``."""
    shown = ", ".join(map(str, places[:_SHOWN]))
    return shown if len(places) <= _SHOWN else f"{shown} and {len(places) - _SHOWN} more"
