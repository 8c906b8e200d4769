"""What commands tell of a fleet, as values: ``Plan`` of one that would be built, ``RouterFacts`` of a logged one.

``to_json`` gives what ``--json`` prints.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.bundle.format import canonical_json
from mmeframe.fleet.embed import CodeChange, code_changes
from mmeframe.redact import redact
from mmeframe.rows.types import shown
from mmeframe.spec import Column, RouterSpec, TrafficSpec

if TYPE_CHECKING:
    from mmeframe.bundle import Bundle, Manifest
    from mmeframe.fleet.changes import Difference
    from mmeframe.fleet.resolve import Fleet

__all__ = ["ModelFacts", "PackedFacts", "ParamFacts", "PartFacts", "Plan", "Planned", "RouterFacts", "promoted"]


@dataclass(frozen=True)
class ModelFacts:
    """A sub-model. ``key``: None where no key reaches it; ``of``: the sub-models that it combines."""

    id: str
    key: Mapping[str, str] | None
    arm: str
    uri: str
    version: str | None
    model_id: str | None
    flavor: str
    loader: str
    of: Sequence[str]

    @property
    def is_file(self) -> bool:
        """Whether it is known by its files alone, and by nothing of a store."""
        return not (self.of or self.version or self.model_id)


@dataclass(frozen=True)
class PackedFacts(ModelFacts):
    """A sub-model in a bundle: its size there, and what it takes live."""

    bytes: int
    memory: int


def _model(model: Any, loader: str) -> dict[str, Any]:
    """The facts that a sub-model of a fleet and a record of a bundle have alike."""
    key = dict(model.key) if model.routed else None
    names = ("id", "arm", "uri", "version", "model_id", "flavor")
    return {"key": key, "loader": loader, "of": list(model.of), **{name: getattr(model, name) for name in names}}


@dataclass(frozen=True)
class PartFacts:
    """A part of the routing key, and the values of it that sub-models declare."""

    name: str
    kind: str
    options: Mapping[str, Any]
    declared: Sequence[str]


@dataclass(frozen=True)
class ParamFacts:
    """A parameter of requests, and the sub-models that take it."""

    type: str
    of: Sequence[str]


@dataclass(frozen=True)
class Plan:
    """What a build of a fleet would log. ``routing_columns``: column -> what reads it; ``dropped``: id -> replacement.

    paths: config path -> the file or folder that it means. csv_changes: key part -> keys that CSV readers change.
    """

    name: str
    register_as: str | None
    alias: str | None
    parts: Sequence[PartFacts]
    levels: Sequence[Sequence[str]]
    on_unknown: str
    sub_models: Sequence[ModelFacts]
    traffic: TrafficSpec
    disabled_models: Sequence[str]
    isolation: str
    columns: Sequence[Column]
    routing_columns: Mapping[str, str]
    answers: Sequence[Column]
    params: Mapping[str, ParamFacts]
    promoted: Mapping[str, Sequence[str]]
    requirements: Sequence[str]
    dropped: Sequence[tuple[str, str]]
    paths: Mapping[str, str]
    csv_changes: Mapping[str, Mapping[str, str]]
    warnings: Sequence[str]

    @classmethod
    def of(cls, fleet: Fleet) -> Plan:
        """What is known of a fleet before anything is packed."""
        spec, declared = fleet.spec, fleet.declared
        return cls(
            name=spec.name,
            register_as=spec.tracking.register_as,
            alias=spec.tracking.alias,
            parts=[
                PartFacts(part.name, part.strategy.kind, part.strategy.options, declared[part.name])
                for part in spec.routing.parts
            ],
            levels=spec.routing.levels,
            on_unknown=spec.routing.on_unknown,
            sub_models=[ModelFacts(**_model(model, model.loader.kind)) for model in fleet.models],
            traffic=spec.traffic,
            disabled_models=spec.disabled_models,
            isolation=spec.isolation,
            columns=fleet.union.columns,
            routing_columns=_readers(
                {part: inputs.columns for part, inputs in fleet.inputs.items()}, spec.traffic.sticky
            ),
            answers=fleet.outputs.columns,
            params={
                name: ParamFacts(shown(kind), [model.id for model in fleet.models if name in model.params])
                for name, (kind, _) in fleet.params.items()
            },
            promoted=fleet.union.promoted,
            requirements=fleet.requirements,
            dropped=fleet.dropped,
            paths=_paths(spec),
            csv_changes=fleet.csv_changes,
            warnings=fleet.warnings,
        )

    def to_json(self) -> dict[str, Any]:
        keys = {it.name: {"kind": it.kind, **it.options, "declared": list(it.declared)} for it in self.parts}
        return {
            "name": self.name,
            "register_as": self.register_as,
            "alias": self.alias,
            "routing": {"keys": keys, "levels": [list(level) for level in self.levels], "on_unknown": self.on_unknown},
            "sub_models": [asdict(model) for model in self.sub_models],
            "traffic": self.traffic.to_json(),
            "disabled_models": list(self.disabled_models),
            "isolation": self.isolation,
            "columns": [{"name": it.name, "type": shown(it.type), "required": it.required} for it in self.columns],
            "routing_columns": dict(self.routing_columns),
            "answers": [{"name": it.name, "type": shown(it.type)} for it in self.answers],
            "params": {name: asdict(param) for name, param in self.params.items()},
            "promoted": {name: list(types) for name, types in self.promoted.items()},
            "requirements": list(self.requirements),
            "dropped": [{"id": id_, "replaced_by": by} for id_, by in self.dropped],
            "paths": dict(self.paths),
            "csv_changes": {part: dict(changes) for part, changes in self.csv_changes.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Planned:
    """A plan, how it differs from the router that is registered, and whether a build would change anything."""

    plan: Plan
    difference: Difference
    changes: bool

    def to_json(self) -> dict[str, Any]:
        return {**self.plan.to_json(), "difference": self.difference.to_json(), "changes": self.changes}


@dataclass(frozen=True)
class RouterFacts:
    """What is inside a logged router. ``other_code_here``: whose code differs from what is installed."""

    uri: str
    manifest: Manifest
    routing_columns: Mapping[str, str]
    other_code_here: Sequence[CodeChange]
    sub_models: Sequence[PackedFacts]

    @classmethod
    def of(cls, uri: str, bundle: Bundle) -> RouterFacts:
        """What a bundle says; no sub-model is loaded. uri: where it was found."""
        manifest = bundle.manifest
        kinds = [loader.kind for loader in manifest.loaders]
        return cls(
            uri=redact(uri),
            manifest=manifest,
            routing_columns=_readers(manifest.inputs, manifest.traffic.sticky),
            other_code_here=code_changes(manifest),
            sub_models=[
                PackedFacts(**_model(record, kinds[record.loader]), bytes=record.bytes, memory=record.memory)
                for record in bundle
            ],
        )

    def to_json(self) -> dict[str, Any]:
        # With the names in each section in the order of the file.
        said = json.loads(canonical_json(self.manifest.to_json()))
        said |= {"digest": self.manifest.digest, "pack_bytes": self.manifest.pack.bytes, "columns": said["union"]}
        said |= {"uri": self.uri, "routing_columns": dict(self.routing_columns)}
        said["other_code_here"] = [change.to_json() for change in self.other_code_here]
        said["sub_models"] = [asdict(model) for model in self.sub_models]
        return {name: said[name] for name in _SHOWN}


# What is printed of a logged router, in this order.
_SHOWN = (
    *("uri", "name", "mmeframe", "format", "digest", "bytes", "pack_bytes", "routing", "traffic", "disabled_models"),
    *("isolation", "residency", "output", "columns", "routing_columns", "answer", "environment", "plugins"),
    *("other_code_here", "sub_models"),
)


def promoted(union: Iterable[Column], schemas: Iterable[Sequence[Column]]) -> dict[str, list[str]]:
    """Columns that are wider than some sub-model's own, with all types they have."""
    types: dict[str, set[str]] = {}
    for schema in schemas:
        for column in schema:
            types.setdefault(column.name, set()).add(shown(column.type))
    return {column.name: sorted(types[column.name]) for column in union if len(types[column.name]) > 1}


def _readers(columns: Mapping[str, Iterable[str]], sticky: Iterable[str]) -> dict[str, str]:
    """Columns that routing reads -> the key part that does, or the option."""
    found = {name: part for part, names in columns.items() for name in names}
    return found | dict.fromkeys(sticky, "traffic.sticky")


def _paths(spec: RouterSpec) -> dict[str, str]:
    """Relative paths of the config as they were understood."""
    found = {}
    components = [(f"sources.{name}", source) for name, source in spec.sources]
    components += [(f"routing.keys.{part.name}", part.strategy) for part in spec.routing.parts]
    for where, component in components:
        for name in ("path", "table"):
            if isinstance(component.options.get(name), str):
                found[f"{where}.{name}"] = str(Path(component.options[name]).absolute())
    return found
