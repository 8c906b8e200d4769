"""Why a row goes where it goes, and what a table covers: of a config before anything is logged, or of a logged router.

No sub-model is loaded but a gate's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.errors import BadInputError
from mmeframe.route.reading import column_types, read_rows, without_rows
from mmeframe.route.routing import ExplainedRow, Routing, Step
from mmeframe.route.table import NO_TARGET
from mmeframe.rows.batch import FrameBatch, as_batch
from mmeframe.rows.key_columns import normalised
from mmeframe.rows.parts import Types
from mmeframe.rows.schema import check_frame, required
from mmeframe.rows.writing import writer

if TYPE_CHECKING:
    from mmeframe.spec import Column

__all__ = ["Coverage", "Covered", "Explained", "KeyRows", "route_text", "write_explained"]

# Rows at a time: for counting, and for telling of each.
_ROWS, _TOLD = 100_000, 10_000


def _batches(routing: Routing, union: Iterable[Column], data: Path, rows: int = _ROWS) -> Iterator[FrameBatch]:
    types = column_types(routing, union)
    for piece in read_rows(data, routing, types, rows):
        yield as_batch(piece if len(piece.columns) else without_rows(types), types)


@dataclass(frozen=True)
class Explained:
    """The ways of a table's rows, read as they are asked for."""

    routing: Routing
    union: Sequence[Column]
    data: Path
    params: Mapping[str, Any]

    def rows(self, limit: int | None = None) -> Iterator[ExplainedRow]:
        """Each row, numbered from 0 in the file. limit: how many, all if None; what follows them is not read."""
        start, size = 0, _TOLD if limit is None else min(_TOLD, max(limit, 1))
        for batch in _batches(self.routing, self.union, self.data, size):
            for found in self.routing.explained(batch, self.params):
                if start + found.row == limit:
                    return
                yield replace(found, row=start + found.row) if start else found
            start += len(batch)
            if start == limit:
                return

    def reasons(self) -> dict[str, int]:
        """How many rows have each reason, of all."""
        reasons: dict[str, int] = {}
        for batch in _batches(self.routing, self.union, self.data):
            _add_reasons(reasons, self.routing, self.routing.reach(batch, self.params).reason, len(batch))
        return reasons


def _add_reasons(reasons: dict[str, int], routing: Routing, found: Any, n_rows: int) -> None:
    for number, count in zip(*np.unique(np.broadcast_to(found, (n_rows,)), return_counts=True), strict=True):
        name = routing.table.reasons[number]
        reasons[name] = reasons.get(name, 0) + int(count)


def route_text(route: Iterable[Step]) -> str:
    """What every level said to a row, in one line."""
    return ", then ".join(f"{step.level}: {step.found}" for step in route)


def write_explained(
    rows: Iterable[ExplainedRow],
    parts: Sequence[str],
    out: Path,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, int]:
    """Write what is told of rows to a file, with a column for each key part; returns how many have each reason."""
    import pandas as pd

    names = ["row", *(f"key.{part}" for part in parts), "route", "arm", "model_id", "model_version", "reason"]
    reasons: dict[str, int] = {}
    done = 0
    with writer(out, None, Types({**dict.fromkeys(names, "string"), "row": "long"})) as write:
        for piece in _pieces(rows):
            flat = [(row.row, *(row.key[part] for part in parts), route_text(row.route), *row.answer) for row in piece]
            write(pd.DataFrame(flat, columns=names).astype({"row": "int64"}))
            for row in piece:
                reasons[row.reason] = reasons.get(row.reason, 0) + 1
            done += len(piece)
            progress("explaining", done, 0)
    return reasons


def _pieces(rows: Iterable[ExplainedRow]) -> Iterator[list[ExplainedRow]]:
    """At least one, which may be empty: a file without rows has its columns."""
    rest = iter(rows)
    piece = list(islice(rest, _TOLD))
    yield piece
    while piece := list(islice(rest, _TOLD)):
        yield piece


@dataclass(frozen=True)
class KeyRows:
    """Rows of one key, the sub-model of the main arm that they reach, None for none, and why."""

    key: Mapping[str, str | None]
    rows: int
    model_id: str | None
    reason: str


@dataclass(frozen=True)
class Covered:
    """What a table reaches. ``unreached``: sub-models without a row; ``faults``: what its columns lack.

    promoted: columns that are wider than some sub-model's own -> all types they have.
    """

    rows: int
    covered: int
    reasons: Mapping[str, int]
    keys: Sequence[KeyRows]
    unreached: Sequence[str]
    faults: Sequence[str]
    promoted: Mapping[str, Sequence[str]]

    @property
    def coverage(self) -> float:
        """The share of rows that reach a sub-model."""
        return self.covered / self.rows if self.rows else 1.0

    @property
    def without_model(self) -> list[KeyRows]:
        return [it for it in self.keys if it.model_id is None]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "covered": self.covered,
            "coverage": self.coverage,
            "reasons": dict(self.reasons),
            "keys": [asdict(it) for it in self.keys],
            "without_model": [asdict(it) for it in self.without_model],
            "unreached": list(self.unreached),
            "faults": list(self.faults),
            "promoted": {name: list(types) for name, types in self.promoted.items()},
        }


class Coverage:
    """Counts what a table reaches. ``keys``: (key, its sub-model of the main arm, reason) -> rows.

    A key stands there more than once where its rows part ways: one arm of it is disabled, say.
    """

    def __init__(
        self, routing: Routing, union: Sequence[Column], promoted: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._routing, self._union, self._promoted = routing, union, promoted or {}
        self.rows = self.covered = 0
        self.keys: dict[tuple[tuple[str | None, ...], str | None, str], int] = {}
        self.reasons: dict[str, int] = {}
        # Rows by sub-model's number plus one; those of none come first.
        self._of_model = np.zeros(len(routing.models) + 1, np.int64)
        self.faults: dict[str, None] = {}

    def read(self, data: Path, params: Mapping[str, Any]) -> Coverage:
        for batch in _batches(self._routing, self._union, data):
            self._add(batch, params)
        return self

    def _add(self, batch: FrameBatch, params: Mapping[str, Any]) -> None:
        routing, n_rows = self._routing, len(batch)
        routed = routing.reach(batch, params)
        target = np.broadcast_to(routed.target, (n_rows,))
        self.rows += n_rows
        self.covered += int((target != NO_TARGET).sum())
        for seen in (target, *(variants for _, variants in routing.shadows(target))):
            self._of_model += np.bincount(seen + 1, minlength=len(self._of_model))
        _add_reasons(self.reasons, routing, routed.reason, n_rows)
        self._add_keys(batch, target, np.broadcast_to(routed.reason, (n_rows,)))
        try:
            check_frame(batch.frame, self._union, required(self._union))
        except BadInputError as error:
            self.faults |= dict.fromkeys([error.what, *filter(None, error.hint.split("\n  "))])

    def _add_keys(self, batch: FrameBatch, target: Any, reason: Any) -> None:
        """Count the rows of each distinct key."""
        import pandas as pd

        routing = self._routing
        columns = [normalised(batch.raw_parts[name], len(batch)) for name in routing.table.parts]
        main = np.append(routing.main_of(), NO_TARGET)[target]
        seen = {"target": main, "reason": reason} | {str(number): column.codes for number, column in enumerate(columns)}
        alike = pd.DataFrame(seen).assign(row=np.arange(len(batch))).groupby(list(seen), sort=False)["row"]
        for row, size in alike.agg(["first", "size"]).itertuples(index=False):
            # An empty text is no key.
            key = tuple(None if column.codes[row] < 0 else str(column[row]) or None for column in columns)
            model = None if main[row] == NO_TARGET else routing.models.at(main[row]).id
            found = (key, model, routing.table.reasons[reason[row]])
            self.keys[found] = self.keys.get(found, 0) + int(size)

    def report(self) -> Covered:
        """What was read so far: keys with most rows first."""
        parts, models = self._routing.table.parts, self._routing.models
        keys = [
            KeyRows(dict(zip(parts, key, strict=True)), rows, model, reason)
            for (key, model, reason), rows in sorted(self.keys.items(), key=lambda item: (-item[1], str(item[0])))
        ]
        unreached = [
            models.at(number).id
            for number, (routed, rows) in enumerate(zip(models.routed, self._of_model[1:], strict=True))
            if routed and not rows
        ]
        return Covered(self.rows, self.covered, self.reasons, keys, unreached, list(self.faults), self._promoted)
