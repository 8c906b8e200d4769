"""Why a row goes where it goes, and what a table covers: of a config before anything is logged, or of a logged router.

No sub-model is loaded but a gate's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.errors import BadInputError
from mmeframe.route.reading import column_types, read_rows, without_rows
from mmeframe.route.routing import Routing
from mmeframe.route.table import NO_TARGET
from mmeframe.rows.batch import FrameBatch, as_batch
from mmeframe.rows.keys import normalised
from mmeframe.rows.schema import check_frame, required
from mmeframe.rows.writing import writing

if TYPE_CHECKING:
    from mmeframe.spec import Column

__all__ = ["Coverage", "count_reasons", "explain_rows", "route_text", "write_explained"]

# Rows at a time: for counting, and for telling of each.
_ROWS, _TOLD = 100_000, 10_000


def _batches(routing: Routing, union: Iterable[Column], data: Path, rows: int = _ROWS) -> Iterator[FrameBatch]:
    types = column_types(routing, union)
    for piece in read_rows(data, routing, types, rows):
        yield as_batch(piece if len(piece.columns) else without_rows(types), types)


def explain_rows(
    routing: Routing, union: Sequence[Column], data: Path, params: Mapping[str, Any], limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """For each row of a table what ``Routing.explain`` says; ``row`` counts from 0 in the file.

    limit: how many rows, all if None; what follows them is not read.
    """
    start = 0
    for batch in _batches(routing, union, data, _TOLD if limit is None else min(_TOLD, max(limit, 1))):
        for found in routing.explain(batch, params):
            if start + found["row"] == limit:
                return
            yield {**found, "row": start + found["row"]}
        start += len(batch)
        if start == limit:
            return


def count_reasons(routing: Routing, union: Sequence[Column], data: Path, params: Mapping[str, Any]) -> dict[str, int]:
    """How many rows of a table have each reason."""
    reasons: dict[str, int] = {}
    for batch in _batches(routing, union, data):
        _add_reasons(reasons, routing, routing.reach(batch, params).reason, len(batch))
    return reasons


def _add_reasons(reasons: dict[str, int], routing: Routing, found: Any, n_rows: int) -> None:
    for number, count in zip(*np.unique(np.broadcast_to(found, (n_rows,)), return_counts=True), strict=True):
        name = routing.table.reasons[number]
        reasons[name] = reasons.get(name, 0) + int(count)


def route_text(route: Iterable[Mapping[str, str]]) -> str:
    """What every level said to a row, in one line."""
    return ", then ".join(f"{step['level']}: {step['found']}" for step in route)


def write_explained(
    rows: Iterable[Mapping[str, Any]],
    parts: Sequence[str],
    out: Path,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, int]:
    """Write what is told of rows to a file, with a column for each key part; returns how many have each reason."""
    import pandas as pd

    names = ["row", *(f"key.{part}" for part in parts), "route", "arm", "model_id", "model_version", "reason"]
    reasons: dict[str, int] = {}
    done = 0
    with writing(out, {**dict.fromkeys(names, "string"), "row": "long"}) as write:
        for piece in _pieces(rows):
            flat = [
                {**row, **{f"key.{part}": row["key"][part] for part in parts}, "route": route_text(row["route"])}
                for row in piece
            ]
            write(pd.DataFrame(flat, columns=names).astype({"row": "int64"}))
            for row in piece:
                reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
            done += len(piece)
            progress("explaining", done, 0)
    return reasons


def _pieces(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """At least one, which may be empty: a file without rows has its columns."""
    rest = iter(rows)
    piece = list(islice(rest, _TOLD))
    yield piece
    while piece := list(islice(rest, _TOLD)):
        yield piece


class Coverage:
    """What a table reaches. ``keys``: (key, its sub-model of the main arm, reason) -> rows.

    A key stands there more than once where its rows part ways: one arm of it is disabled, say.
    """

    def __init__(self, routing: Routing, union: Sequence[Column]) -> None:
        self._routing, self._union = routing, union
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

    def report(self) -> dict[str, Any]:
        """Plain data: coverage, reasons, keys (most rows first), keys without a sub-model, sub-models without a row."""
        routing, parts = self._routing, self._routing.table.parts
        keys = [
            {"key": dict(zip(parts, key, strict=True)), "rows": rows, "model_id": model, "reason": reason}
            for (key, model, reason), rows in sorted(self.keys.items(), key=lambda item: (-item[1], str(item[0])))
        ]
        return {
            "rows": self.rows,
            "covered": self.covered,
            "coverage": self.covered / self.rows if self.rows else 1.0,
            "reasons": self.reasons,
            "keys": keys,
            "without_model": [key for key in keys if key["model_id"] is None],
            "unreached": [
                routing.models.at(number).id
                for number, (routed, rows) in enumerate(zip(routing.models.routed, self._of_model[1:], strict=True))
                if routed and not rows
            ],
            "faults": list(self.faults),
        }
