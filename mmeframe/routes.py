"""The route table: (key, arm) -> sub-model, for every level, without a loop over rows.

Lowest layer: numpy only. Each key part has a ``KeyIndex``; a level combines the codes of its parts into one
integer and looks it up in a sorted array, so the cost is O(rows) per level that still has unmatched rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.keys import MISSING, KeyIndex
from mmeframe.spec import MAIN_ARM

if TYPE_CHECKING:
    from mmeframe.keys import Codes

    Ints = np.ndarray[Any, np.dtype[np.int32]]

__all__ = ["NO_TARGET", "Route", "RouteTable", "Routed"]

NO_TARGET = -1


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table: a key (values of exactly the parts of its level) and its sub-model's number."""

    key: Mapping[str, str]
    target: int
    arm: str = MAIN_ARM


@dataclass(frozen=True, slots=True)
class Routed:
    """Where every row goes. ``target`` and ``reason`` have shape (n_rows,), or () if all rows agree.

    target: the sub-model's number, ``NO_TARGET`` for none. reason: an index into ``RouteTable.reasons``.
    """

    target: Any
    reason: Any


class RouteTable:
    """Levels over key parts. Immutable, shared by threads.

    Raises ValueError for a route whose parts are those of no level: the build refuses such a fleet.
    """

    def __init__(self, parts: Sequence[str], levels: Sequence[Sequence[str]], routes: Sequence[Route]) -> None:
        self.parts = tuple(parts)
        self.levels = tuple(tuple(level) for level in levels)
        homes = {frozenset(level) for level in self.levels}
        values: dict[str, dict[str, None]] = {part: {} for part in self.parts}
        for route in routes:
            if frozenset(route.key) not in homes:
                raise ValueError(f"no level has the parts {sorted(route.key)}")
            for part, value in route.key.items():
                values[part][value] = None
        self.indexes = {part: KeyIndex(tuple(known)) for part, known in values.items()}
        self.reasons = (*map(self._reason, range(len(self.levels))), "unknown", "missing_key")
        self._lookups = [self._lookup(level, routes) for level in self.levels]

    def _reason(self, level: int) -> str:
        parts = self.levels[level]
        if not parts:
            return "fallback"
        return "exact" if level == 0 else f"level:{','.join(parts)}"

    def _lookup(self, level: tuple[str, ...], routes: Sequence[Route]) -> tuple[Any, Any]:
        """Sorted combined codes of a level's keys, and the target of each."""
        found = {}
        for route in routes:
            if route.key.keys() == set(level) and route.arm == MAIN_ARM:
                code = 0
                for part in level:
                    index = self.indexes[part]
                    code = code * len(index.values) + index.code(route.key[part])
                found[code] = route.target
        codes = sorted(found)
        return np.array(codes, np.int64), np.array([found[code] for code in codes] + [NO_TARGET], np.int32)

    def route(self, codes: Mapping[str, Codes], n_rows: int) -> Routed:
        """Find each row's sub-model: levels in order, the first that has the key wins.

        codes: for each part what ``KeyIndex.codes`` gave. A part that is missing matches no level that has it;
        the reason is ``missing_key`` only if no later level matches either.
        """
        if all(isinstance(part, int) for part in codes.values()):
            one = self._route({part: np.array([code], np.int32) for part, code in codes.items()}, 1)
            return Routed(one.target[0], one.reason[0])
        return self._route(codes, n_rows)

    def _route(self, codes: Mapping[str, Codes], n_rows: int) -> Routed:
        full = {part: np.broadcast_to(np.asarray(code, np.int32), (n_rows,)) for part, code in codes.items()}
        target = np.full(n_rows, NO_TARGET, np.int32)
        reason = np.full(n_rows, len(self.levels), np.int16)
        rest: Any = slice(None)
        for number, level in enumerate(self.levels):
            hit = self._match(number, level, {part: full[part][rest] for part in level}, len(target[rest]))
            if isinstance(rest, slice):
                target, found = hit, hit != NO_TARGET
                reason[found] = number
                rest = np.flatnonzero(~found)
            else:
                target[rest] = hit
                found = hit != NO_TARGET
                reason[rest[found]] = number
                rest = rest[~found]
            if not len(rest):
                break
        if len(rest) and not isinstance(rest, slice):
            missing = np.zeros(len(rest), bool)
            for values in full.values():
                missing |= values[rest] == MISSING
            reason[rest[missing]] = len(self.levels) + 1
        return Routed(target, reason)

    def _match(self, number: int, level: tuple[str, ...], codes: Mapping[str, Ints], n_rows: int) -> Ints:
        keys, targets = self._lookups[number]
        if not level:
            return np.full(n_rows, targets[0], np.int32)
        combined = np.zeros(n_rows, np.int64)
        known = np.ones(n_rows, bool)
        for part in level:
            combined = combined * len(self.indexes[part].values) + codes[part]
            known &= codes[part] >= 0
        if not len(keys):
            return np.full(n_rows, NO_TARGET, np.int32)
        where = np.searchsorted(keys, combined)
        where[where == len(keys)] = 0
        found = known & (keys[where] == combined)
        where[~found] = len(keys)
        matched: Ints = targets.take(where)
        return matched
