"""The route table: (key, arm) -> sub-model, for every level, without a loop over rows.

Lowest layer: numpy only. Each key part has a ``KeyIndex``; a level combines the codes of its parts into one
integer and looks it up in a sorted array, so the cost is O(rows) per level that still has unmatched rows. All of it
are arrays that a build makes and a bundle stores: opening one builds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.rows.key_index import NO_KEY, KeyIndex
from mmeframe.spec import MAIN_ARM

if TYPE_CHECKING:
    from mmeframe.rows.key_index import Array, Codes

    Ints = np.ndarray[Any, np.dtype[np.int32]]
    Longs = np.ndarray[Any, np.dtype[np.int64]]
    Bools = np.ndarray[Any, np.dtype[np.bool_]]

__all__ = ["NO_TARGET", "RouteTable", "Routed", "table_arrays"]

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

    arrays: what ``table_arrays`` made of the keys, which may lie in a file: nothing is built from them.
    """

    def __init__(self, parts: Sequence[str], levels: Sequence[Sequence[str]], arrays: Mapping[str, Array]) -> None:
        self.parts = tuple(parts)
        self.levels = tuple(tuple(level) for level in levels)
        # Parts that only others build on are in no level: no row lacks its key for want of one.
        self.in_levels = tuple(part for part in self.parts if any(part in level for level in self.levels))
        self.indexes = {part: KeyIndex(**_under(f"part:{number}:", arrays)) for number, part in enumerate(self.parts)}
        self.arms: dict[str, Ints] = _under("arm:", arrays)
        self.reasons = (
            *map(self._reason, range(len(self.levels))),
            "unknown",
            "missing_key",
            "disabled",
            "model_error",
        )
        first = len(self.levels)
        self.unknown, self.missing, self.disabled, self.failed = range(first, first + 4)
        sizes = {part: len(index) for part, index in self.indexes.items()}
        self._levels = [
            _Level(level, sizes, _under(f"level:{number}:", arrays)) for number, level in enumerate(self.levels)
        ]

    @classmethod
    def of(
        cls,
        parts: Sequence[str],
        levels: Sequence[Sequence[str]],
        keys: Mapping[str, Sequence[str | None]],
        targets: Sequence[int],
        arms: Sequence[str],
    ) -> RouteTable:
        """The table of some keys, see ``table_arrays``."""
        return cls(parts, levels, table_arrays(parts, levels, keys, targets, arms))

    def _reason(self, level: int) -> str:
        parts = self.levels[level]
        if not parts:
            return "fallback"
        return "exact" if level == 0 else f"level:{','.join(parts)}"

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
        lacks = NO_KEY in [codes[part] for part in self.in_levels]
        return Routed(NO_TARGET, self.missing if lacks else self.unknown)

    def at(self, level: int, codes: Mapping[str, int]) -> int:
        """The main sub-model of one key at one level, ``NO_TARGET`` if there is none."""
        return self._levels[level].one(codes)

    def main(self, key: Mapping[str, str]) -> int:
        """The main sub-model that was declared with exactly this key, ``NO_TARGET`` if there is none."""
        found = [number for number, level in enumerate(self.levels) if set(level) == key.keys()]
        return (
            self.at(found[0], {part: self.indexes[part].code(value) for part, value in key.items()})
            if found
            else NO_TARGET
        )

    def _many(self, codes: Mapping[str, Codes], n_rows: int, choose: Choose | None) -> Routed:
        full = {part: np.broadcast_to(np.asarray(code, np.int32), (n_rows,)) for part, code in codes.items()}
        target = np.full(n_rows, NO_TARGET, np.int32)
        reason = np.full(n_rows, self.unknown, np.int16)
        refused = np.zeros(n_rows if choose else 0, bool)
        rest: Any = slice(None)
        for number, level in enumerate(self.levels):
            hit = self._levels[number].many({part: full[part][rest] for part in level}, len(target[rest]))
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
                missing |= full[part][rest] == NO_KEY
            reason[rest[missing]] = self.missing
        if choose:
            reason[refused] = self.disabled
        return Routed(target, reason)


class _Level:
    """The keys of one level, without those of arms: a table by combined code, or sorted codes with their targets.

    A combined code counts in a mixed base, the last part fastest. Where that would not fit, the combinations so far are
    replaced by their place among those that are declared: ``rank:<part>``.
    """

    def __init__(self, parts: Sequence[str], sizes: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
        self._steps = [(part, sizes[part], arrays.get(f"rank:{part}")) for part in parts]
        # Either this, or both of those.
        self._dense = arrays.get("dense")
        none = np.empty(0, np.int64)
        self._keys, self._targets = arrays.get("keys", none), arrays.get("targets", none)

    def one(self, codes: Mapping[str, int]) -> int:
        """The target of one key, ``NO_TARGET`` if there is none."""
        combined = 0
        for part, base, ranked in self._steps:
            code = codes[part]
            if code < 0:
                return NO_TARGET
            if ranked is not None:
                at = int(ranked.searchsorted(combined))
                if at == len(ranked) or ranked[at] != combined:
                    return NO_TARGET
                combined = at
            combined = combined * base + code
        if self._dense is not None:
            return int(self._dense[combined])
        keys, targets = self._keys, self._targets
        at = int(keys.searchsorted(combined))
        return int(targets[at]) if at < len(keys) and keys[at] == combined else NO_TARGET

    def many(self, codes: Mapping[str, Ints], n_rows: int) -> Ints:
        """Targets of ``n_rows`` keys."""
        if not self._steps:
            return np.full(n_rows, self.one({}), np.int32)
        if len(self._steps) == 1 and self._dense is not None:
            # UNKNOWN and NO_KEY are -1 and -2: the table's last two entries are for them.
            return np.asarray(self._dense.take(codes[self._steps[0][0]]))
        combined = self._combined(codes)
        if self._dense is not None:
            return np.asarray(self._dense.take(combined))
        return np.asarray(self._targets.take(_places(self._keys, combined)))

    def _combined(self, codes: Mapping[str, Ints]) -> Longs:
        """-1 where a part has no code."""
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


def table_arrays(
    parts: Sequence[str],
    levels: Sequence[Sequence[str]],
    keys: Mapping[str, Sequence[str | None]],
    targets: Sequence[int],
    arms: Sequence[str],
) -> dict[str, Array]:
    """A route table in arrays by name, from columns: entry ``i`` of each is of one key and arm.

    keys: by part its values, None for a key without that part. targets: the sub-models' numbers.
    ``part:<number>:*`` is for ``KeyIndex``, ``level:<number>:*`` the keys of a level, and ``arm:<arm>``, by a main
    sub-model's number, the arm's own for the same key; its last entry is for none. Raises ValueError for a key whose
    parts are those of no level: the build refuses such a fleet.
    """
    numbers, main = np.asarray(targets, np.int32), np.fromiter((arm == MAIN_ARM for arm in arms), bool, len(arms))
    found: dict[str, Array] = {}
    codes, sizes = {}, {}
    for number, part in enumerate(parts):
        index = KeyIndex.of({value for value in keys[part] if value is not None})
        found |= {f"part:{number}:{name}": array for name, array in index.arrays.items()}
        codes[part], sizes[part] = index.declared(keys[part]), len(index)
    variants: dict[str, Ints] = {}
    for number, (level, rows) in enumerate(zip(levels, _rows_of(parts, levels, codes, len(numbers)), strict=True)):
        combined = np.zeros(len(rows), np.int64)
        made: dict[str, Array] = {}
        size = 1
        for part in level:
            if size * sizes[part] >= _COMBINATIONS:
                ranked = made[f"rank:{part}"] = np.unique(combined)
                combined, size = np.searchsorted(ranked, combined), len(ranked)
            combined, size = combined * sizes[part] + codes[part][rows], size * sizes[part]
        first = main[rows]
        made |= _looked_up(combined[first], numbers[rows[first]], size)
        found |= {f"level:{number}:{name}": array for name, array in made.items()}
        other = rows[~first]
        hits = _Level(level, sizes, made).many({part: codes[part][other] for part in level}, len(other))
        for row, hit in zip(other.tolist(), hits.tolist(), strict=True):
            if hit != NO_TARGET:
                if (arm := arms[row]) not in variants:
                    variants[arm] = np.full(int(numbers.max()) + 2, NO_TARGET, np.int32)
                variants[arm][hit] = numbers[row]
    return found | {f"arm:{arm}": variants[arm] for arm in sorted(variants)}


def _rows_of(
    parts: Sequence[str], levels: Sequence[Sequence[str]], codes: Mapping[str, Ints], n_keys: int
) -> list[np.ndarray[Any, np.dtype[np.intp]]]:
    """For each level which keys have its parts, and no other."""
    # One bit for each part; Python's integers hold any number of bits.
    kind: Any = np.int64 if len(parts) < 63 else object
    has = np.zeros(n_keys, kind)
    for place, part in enumerate(parts):
        has |= (codes[part] >= 0).astype(kind) << place
    wanted = [sum(1 << parts.index(part) for part in level) for level in levels]
    if len(lost := np.flatnonzero(~np.isin(has, wanted))):
        lacking = sorted(part for part in parts if codes[part][lost[0]] >= 0)
        raise ValueError(f"no level has the parts {lacking}")
    return [np.flatnonzero(has == bits) for bits in wanted]


def _looked_up(combined: Longs, targets: Ints, size: int) -> dict[str, Array]:
    """How targets are found by combined codes, of which there could be ``size``.

    A table has ``NO_TARGET`` in the gaps and twice at the end. Where it were mostly gaps there are sorted codes, with
    one more target for codes that are not among them.
    """
    if size <= max(_DENSE * len(combined), 1024):
        table = np.full(size + 2, NO_TARGET, np.int32)
        table[combined] = targets
        return {"dense": table}
    order = np.argsort(combined, kind="stable")
    return {"keys": combined[order], "targets": np.append(targets[order], np.int32(NO_TARGET))}


def _under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _places(ordered: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where values stand in a sorted array, its length for those that do not."""
    if not len(ordered):
        return np.zeros(len(wanted), np.intp)
    places = np.searchsorted(ordered, wanted)
    places[places == len(ordered)] = 0
    places[ordered[places] != wanted] = len(ordered)
    return places
