"""Answers at the desk: why a row goes where it goes, what a table covers, what a build would change.

From a config alone, before anything is logged, or from a logged router. No sub-model is loaded but a gate's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.errors import BadInputError
from mmeframe.keys import normalised
from mmeframe.plugin import Batch, ComponentContext
from mmeframe.plugin.components import make_component
from mmeframe.routes import NO_TARGET, RouteTable
from mmeframe.runtime.batch import FrameBatch, as_batch
from mmeframe.runtime.routing import Members, Routing
from mmeframe.runtime.schema import check_frame
from mmeframe.runtime.scoring import Question, asked, call, combine, flat, holed, required
from mmeframe.spec import MAIN_ARM
from mmeframe.tables import column_types, read_rows, without_rows, writing

if TYPE_CHECKING:
    from mmeframe.build import Fleet
    from mmeframe.build.store import Progress
    from mmeframe.bundle import Bundle
    from mmeframe.plugin.manager import Plugins
    from mmeframe.spec import Column, RoutingSpec

__all__ = [
    "Coverage",
    "compare",
    "count_reasons",
    "explain_rows",
    "members_of",
    "route_text",
    "routing_of",
    "table_of",
    "write_explained",
]

# Rows at a time: for counting, and for telling of each.
_ROWS, _TOLD = 100_000, 10_000


def routing_of(fleet: Fleet) -> Routing:
    """The routing of a fleet that is not built yet."""
    live: dict[str, Any] = {}
    models = {model.id: model for model in fleet.models}
    combiners = {model.id: make_component(model.loader) for model in fleet.models if model.of}
    for combiner in combiners.values():
        combiner.bind(ComponentContext())

    def score(model_id: str, batch: Batch) -> Any:
        """What a gate's sub-model predicts, from its own files."""
        assert isinstance(batch, FrameBatch)  # noqa: S101 - this host makes no other
        model = models[model_id]
        if model.of:
            return combine(combiners[model_id], model_id, [flat(score(name, batch)) for name in model.of])
        if model_id not in live:
            with model.folder.local() as root:
                live[model_id] = fleet.live.load(model, root)
        rows = check_frame(batch.frame, model.inputs, required(model.inputs))
        return asked(holed(model.inputs), rows, lambda some: call(live[model_id], Question(), some, lambda: model_id))

    return Routing(
        fleet.spec.routing,
        members_of(fleet.models),
        table_of(fleet.spec.routing, fleet.models),
        {part.name: make_component(part.strategy) for part in fleet.spec.routing.parts},
        {part.name: fleet.prepared.get(f"routing.keys.{part.name}", {}) for part in fleet.spec.routing.parts},
        fleet.spec.traffic,
        fleet.spec.disabled_models,
        fleet.union.columns,
        score,
    )


def members_of(models: Sequence[Any]) -> Members:
    """Sub-models of a config, described or only declared, by their place."""
    numbers = {model.id: number for number, model in enumerate(models)}
    return Members(
        models.__getitem__,
        numbers.get,
        [model.routed for model in models],
        {number: model.of for number, model in enumerate(models) if model.of},
    )


def table_of(routing: RoutingSpec, models: Sequence[Any]) -> RouteTable:
    """The route table of their keys."""
    parts = [part.name for part in routing.parts]
    routed = [number for number, model in enumerate(models) if model.routed]
    reached = [models[number] for number in routed]
    keys = {part: [model.key.get(part) for model in reached] for part in parts}
    return RouteTable.of(parts, routing.levels, keys, routed, [model.arm for model in reached])


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
    rows: Iterable[Mapping[str, Any]], parts: Sequence[str], out: Path, progress: Progress = lambda *_: None
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
            check_frame(batch.frame, self._union, frozenset(c.name for c in self._union if c.required))
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


# Parts of a manifest that a plan compares as a whole.
SECTIONS = (
    "routing",
    "traffic",
    "disabled_models",
    "isolation",
    "observers",
    "output",
    "residency",
    "signature",
    "union",
    "answer",
    "params",
    "environment",
)


def compare(fleet: Fleet, bundle: Bundle | None, plugins: Plugins) -> dict[str, Any]:
    """What a build would change: sub-models added, removed, changed, keys that get another one, sections that differ.

    So does code of mmeframe and of plugins that is another one here, whatever its version.

    A sub-model is compared by its version, else its LoggedModel or URI: its files are not read.
    """
    from mmeframe.build.embed import code_changes, used_plugins
    from mmeframe.build.pack import components, settings

    loaders: Sequence[Any] = bundle.manifest["loaders"] if bundle else ()
    old = {record.id: _facts(record, loaders[record.loader]) for record in bundle} if bundle else {}
    new = {model.id: _facts(model, model.loader.to_json()) for model in fleet.models}
    found: dict[str, Any] = {
        "added": [id_ for id_ in new if id_ not in old],
        "removed": [id_ for id_ in old if id_ not in new],
        "changed": [],
        "retargeted": [],
    }
    # As JSON gives it back: the manifest was read from there.
    now = json.loads(json.dumps(settings(fleet)))
    found |= {name: bundle is not None and now[name] != bundle.manifest[name] for name in SECTIONS}
    used = used_plugins(components(fleet).values(), plugins)
    found["code"] = code_changes(bundle.manifest, used) if bundle is not None else []
    found["tables"] = bundle is not None and _tables(fleet) != bundle.manifest["components"]
    for id_ in sorted(new.keys() & old.keys()):
        differ = [name for name in new[id_] if new[id_][name] != old[id_][name]]
        if differ:
            before, after = (", ".join(facts[id_][name] for name in differ) for facts in (old, new))
            found["changed"].append({"id": id_, "from": before, "to": after})
    owners = {_place(record): record.id for record in bundle if record.routed} if bundle else {}
    for model in fleet.models:
        before_id = owners.get(_place(model))
        if model.routed and before_id is not None and before_id != model.id:
            found["retargeted"].append({"key": dict(model.key), "arm": model.arm, "from": before_id, "to": model.id})
    return found


def _facts(model: Any, loader: Mapping[str, Any]) -> dict[str, str]:
    """What can change of a sub-model, in words."""
    made_of = f"{model.name} {model.version}" if model.version else str(model.model_id or model.uri)
    key = ", ".join(f"{part}={value}" for part, value in sorted(model.key.items()))
    options = ", ".join(f"{name}={value}" for name, value in loader["options"].items())
    return {
        "files": "" if model.of else made_of,
        "key": f"key {key or '(all)'}" if model.routed else "key (none)",
        "arm": f"arm {model.arm}",
        "loader": f"{loader['kind']}({options})",
    }


def _tables(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Digests of what components read from the config's files, as the manifest has them."""
    return {
        where: {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        for where, files in fleet.prepared.items()
        if files
    }


def _place(model: Any) -> tuple[frozenset[tuple[str, str]], str]:
    return frozenset(model.key.items()), model.arm or MAIN_ARM
