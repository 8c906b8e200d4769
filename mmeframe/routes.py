"""The route table: (key, arm) -> sub-model, for every level, without a loop over rows.

Lowest layer: numpy only. Each key part has a ``KeyIndex``; a level combines the codes of its parts into one
integer and looks it up in a sorted array, so the cost is O(rows) per level that still has unmatched rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.keys import MISSING, KeyIndex
from mmeframe.spec import MAIN_ARM

if TYPE_CHECKING:
    from mmeframe.keys import Codes

    Ints = np.ndarray[Any, np.dtype[np.int32]]
    Bools = np.ndarray[Any, np.dtype[np.bool_]]

__all__ = ["NO_TARGET", "RouteTable", "Routed"]

NO_TARGET = -1
# Combined codes that are this many times as many as the keys, or fewer, are looked up in a table without a search.
_DENSE = 8
# Combined codes stay below this: they are int64.
_COMBINATIONS = 2**62


@dataclass(frozen=True, slots=True)
class Routed:
    """Where every row goes. ``target`` and ``reason`` have shape (n_rows,), or are numbers if all rows agree.

    target: the sub-model's number, ``NO_TARGET`` for none. reason: an index into ``RouteTable.reasons``.
    """

    target: Any
    reason: Any


# (targets of some rows, which rows) -> (the targets that they get, which of them were turned away by a disabled one).
Choose = Callable[["Ints", Any], tuple["Ints", "Bools"]]


class RouteTable:
    """Levels over key parts. Immutable, shared by threads.

    Columns, because sub-models may be many: entry ``i`` of each is of one key and arm. keys: by part its values, None
    for a key without that part. targets: the sub-models' numbers. Raises ValueError for a key whose parts are those of
    no level: the build refuses such a fleet.
    """

    def __init__(
        self,
        parts: Sequence[str],
        levels: Sequence[Sequence[str]],
        keys: Mapping[str, Sequence[str | None]],
        targets: Sequence[int],
        arms: Sequence[str],
    ) -> None:
        self.parts = tuple(parts)
        self.levels = tuple(tuple(level) for level in levels)
        # Parts that only others build on are in no level: no row lacks its key for want of one.
        self.in_levels = tuple(part for part in self.parts if any(part in level for level in self.levels))
        self.indexes = {
            part: KeyIndex(tuple(dict.fromkeys(value for value in keys[part] if value is not None))) for part in parts
        }
        codes = {part: self.indexes[part].declared(keys[part]) for part in parts}
        numbers = np.asarray(targets, np.int32)
        self.reasons = (
            *map(self._reason, range(len(self.levels))),
            "unknown",
            "missing_key",
            "disabled",
            "model_error",
        )
        first = len(self.levels)
        self.unknown, self.missing, self.disabled, self.failed = range(first, first + 4)
        rows = self._rows(codes, len(numbers))
        self._folds = [
            _Fold(level, self.indexes, {part: codes[part][at] for part in level}, len(at))
            for level, at in zip(self.levels, rows, strict=True)
        ]
        main = np.fromiter((arm == MAIN_ARM for arm in arms), bool, len(arms))
        combined = [fold.combined for fold in self._folds]
        self._lookups = [
            _sorted(values[main[at]], numbers[at[main[at]]]) for values, at in zip(combined, rows, strict=True)
        ]
        self._dense = [self._table(number) for number in range(len(self.levels))]
        variants = [np.flatnonzero(~main[at]) for at in rows]
        self.arms = self._arms(
            [values[these] for values, these in zip(combined, variants, strict=True)],
            [at[these] for at, these in zip(rows, variants, strict=True)],
            numbers,
            arms,
        )

    def _rows(self, codes: Mapping[str, Ints], n_keys: int) -> list[np.ndarray[Any, np.dtype[np.intp]]]:
        """For each level which keys have its parts, and no other."""
        # One bit for each part; Python's integers hold any number of bits.
        kind: Any = np.int64 if len(self.parts) < 63 else object
        has = np.zeros(n_keys, kind)
        for place, part in enumerate(self.parts):
            has |= (codes[part] >= 0).astype(kind) << place
        wanted = [sum(1 << self.parts.index(part) for part in level) for level in self.levels]
        if len(lost := np.flatnonzero(~np.isin(has, wanted))):
            parts = [part for part in self.parts if codes[part][lost[0]] >= 0]
            raise ValueError(f"no level has the parts {sorted(parts)}")
        return [np.flatnonzero(has == parts) for parts in wanted]

    def _reason(self, level: int) -> str:
        parts = self.levels[level]
        if not parts:
            return "fallback"
        return "exact" if level == 0 else f"level:{','.join(parts)}"

    def _arms(
        self, combined: Sequence[Any], rows: Sequence[Any], numbers: Ints, arms: Sequence[str]
    ) -> dict[str, Ints]:
        """Arm -> by a main sub-model's number, the arm's own for the same key; the last entry is for none.

        combined, rows: for each level the keys of arms, and their places among all.
        """
        size = int(numbers.max(initial=-1)) + 2
        found: dict[str, Ints] = {}
        for (keys, targets), values, at in zip(self._lookups, combined, rows, strict=True):
            mains = targets.take(_places(keys, values)) if len(keys) else np.full(len(at), NO_TARGET)
            for row, main in zip(at.tolist(), mains.tolist(), strict=True):
                if main != NO_TARGET:
                    found.setdefault(arms[row], np.full(size, NO_TARGET, np.int32))[main] = numbers[row]
        return dict(sorted(found.items()))

    def route(self, codes: Mapping[str, Codes], n_rows: int, choose: Choose | None = None) -> Routed:
        """Find each row's sub-model: levels in order, the first that has the key wins.

        codes: for each part what ``KeyIndex.codes`` gave. A part that is missing matches no level that has it;
        the reason is ``missing_key`` only if no later level matches either. choose: gives rows to other arms, and takes
        disabled sub-models away (``NO_TARGET``); those rows go on to the next level.
        """
        if choose is None:
            one = {part: code for part, code in codes.items() if isinstance(code, int)}
            if len(one) == len(codes):
                return self._one(one)
        return self._many(codes, n_rows, choose)

    def _one(self, codes: Mapping[str, int]) -> Routed:
        """All rows have one key."""
        for number in range(len(self.levels)):
            target = self.at(number, codes)
            if target != NO_TARGET:
                return Routed(target, number)
        lacks = MISSING in [codes[part] for part in self.in_levels]
        return Routed(NO_TARGET, self.missing if lacks else self.unknown)

    def at(self, level: int, codes: Mapping[str, int]) -> int:
        """The main sub-model of one key at one level, ``NO_TARGET`` if there is none."""
        combined = self._folds[level].one(codes)
        if combined < 0:
            return NO_TARGET
        dense = self._dense[level]
        if dense is not None:
            return int(dense[combined])
        keys, targets = self._lookups[level]
        where = int(keys.searchsorted(combined))
        return int(targets[where]) if where < len(keys) and keys[where] == combined else NO_TARGET

    def _many(self, codes: Mapping[str, Codes], n_rows: int, choose: Choose | None) -> Routed:
        full = {part: np.broadcast_to(np.asarray(code, np.int32), (n_rows,)) for part, code in codes.items()}
        target = np.full(n_rows, NO_TARGET, np.int32)
        reason = np.full(n_rows, self.unknown, np.int16)
        refused = np.zeros(n_rows if choose else 0, bool)
        rest: Any = slice(None)
        for number, level in enumerate(self.levels):
            hit = self._match(number, level, {part: full[part][rest] for part in level}, len(target[rest]))
            if choose:
                hit, off = choose(hit, np.arange(n_rows)[rest])
                refused[rest] |= off
            found = hit != NO_TARGET
            if isinstance(rest, slice):
                target = hit
                if found.all():
                    reason.fill(number)
                    rest = np.empty(0, np.intp)
                else:
                    reason[found] = number
                    rest = np.flatnonzero(~found)
            else:
                target[rest] = hit
                reason[rest[found]] = number
                rest = rest[~found]
            if not len(rest):
                break
        if not isinstance(rest, slice) and len(rest):
            missing = np.zeros(len(rest), bool)
            for part in self.in_levels:
                missing |= full[part][rest] == MISSING
            reason[rest[missing]] = self.missing
        if choose:
            reason[refused] = self.disabled
        return Routed(target, reason)

    def _match(self, number: int, level: tuple[str, ...], codes: Mapping[str, Ints], n_rows: int) -> Ints:
        keys, targets = self._lookups[number]
        if not len(keys):
            return np.full(n_rows, NO_TARGET, np.int32)
        if not level:
            return np.full(n_rows, targets[0], np.int32)
        dense, matched = self._dense[number], codes[level[0]]
        if len(level) == 1 and dense is not None:
            # UNKNOWN and MISSING are -1 and -2: the table's last two entries are for them.
            return dense.take(matched)
        combined = self._folds[number].many(codes)
        return dense.take(combined) if dense is not None else np.asarray(targets.take(_places(keys, combined)))

    def _table(self, number: int) -> Ints | None:
        """Targets by combined code, ``NO_TARGET`` in the gaps and twice at the end; None if it were mostly gaps."""
        keys, targets = self._lookups[number]
        size = math.prod(len(self.indexes[part].values) for part in self.levels[number])
        if size > max(_DENSE * len(keys), 1024):
            return None
        table = np.full(size + 2, NO_TARGET, np.int32)
        table[keys] = targets[:-1]
        return table


class _Fold:
    """Combines the codes of a level's parts into one integer, -1 where a part has none.

    The integer counts in a mixed base. Where that would not fit, the combinations so far are replaced by their place
    among those that are declared.
    """

    def __init__(
        self, level: Sequence[str], indexes: Mapping[str, KeyIndex], codes: Mapping[str, Ints], n_keys: int
    ) -> None:
        combined, size = np.zeros(n_keys, np.int64), 1
        # (part, number of its keys, the declared combinations of the parts before it where those are ranked).
        self._steps: list[tuple[str, int, np.ndarray[Any, np.dtype[np.int64]] | None]] = []
        for part in level:
            base, ranked = len(indexes[part].values), None
            if size * base >= _COMBINATIONS:
                ranked = np.unique(combined)
                combined, size = np.searchsorted(ranked, combined), len(ranked)
            combined, size = combined * base + codes[part], size * base
            self._steps.append((part, base, ranked))
        # Of the declared keys, in their order.
        self.combined = combined

    def one(self, codes: Mapping[str, int]) -> int:
        combined = 0
        for part, base, ranked in self._steps:
            code = codes[part]
            if code < 0:
                return -1
            if ranked is not None:
                at = int(ranked.searchsorted(combined))
                if at == len(ranked) or ranked[at] != combined:
                    return -1
                combined = at
            combined = combined * base + code
        return combined

    def many(self, codes: Mapping[str, Ints]) -> np.ndarray[Any, np.dtype[np.int64]]:
        part, _, _ = self._steps[0]
        combined, known = codes[part].astype(np.int64), codes[part] >= 0
        for part, base, ranked in self._steps[1:]:
            if ranked is not None:
                combined = _places(ranked, combined)
                known &= combined < len(ranked)
            combined = combined * base + codes[part]
            known &= codes[part] >= 0
        combined[~known] = -1
        return combined


def _sorted(keys: Any, targets: Any) -> tuple[Any, Any]:
    """Sorted combined codes, and the target of each; one more target for codes that are not among them."""
    order = np.argsort(keys, kind="stable")
    return keys[order], np.append(targets[order], np.int32(NO_TARGET))


def _places(ordered: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where values stand in a sorted array, its length for those that do not."""
    places = np.searchsorted(ordered, wanted)
    places[places == len(ordered)] = 0
    places[ordered[places] != wanted] = len(ordered)
    return places
