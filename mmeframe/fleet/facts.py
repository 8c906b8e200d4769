"""What commands tell of a fleet, as values: ``Plan`` of one that would be built, ``RouterFacts`` of a logged one.

``to_json`` gives what ``--json`` prints.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.bundle.format import canonical_json
from mmeframe.fleet.embed import CodeChange, code_changes
from mmeframe.redact import redact
from mmeframe.rows.types import shown
from mmeframe.sections import RouterSpec
from mmeframe.spec import Column

if TYPE_CHECKING:
    from mmeframe.bundle import Bundle, Manifest, SubModelRecord
    from mmeframe.fleet.changes import Difference
    from mmeframe.fleet.fleet import Fleet

__all__ = ["Plan", "Planned", "RouterFacts", "promoted"]


@dataclass(frozen=True)
class Plan:
    """What a build of a fleet would log, before anything is packed."""

    fleet: Fleet

    @property
    def routing_columns(self) -> dict[str, str]:
        """Columns that routing reads -> what reads each."""
        columns = {part: inputs.columns for part, inputs in self.fleet.inputs.items()}
        return _readers(columns, self.fleet.spec.traffic.sticky)

    @property
    def params(self) -> dict[str, tuple[str, list[str]]]:
        """Parameters of requests -> their types, and the sub-models that take them."""
        models = self.fleet.models
        return {
            name: (shown(kind), [model.id for model in models if name in model.params])
            for name, (kind, _) in self.fleet.params.items()
        }

    @property
    def paths(self) -> dict[str, str]:
        """Config path -> the file or folder that it means."""
        return _paths(self.fleet.spec)

    def to_json(self) -> dict[str, Any]:
        fleet, spec = self.fleet, self.fleet.spec
        keys = {
            part.name: {
                "kind": part.strategy.kind,
                **part.strategy.options,
                "declared": list(fleet.declared_keys[part.name]),
            }
            for part in spec.routing.parts
        }
        levels = [list(level) for level in spec.routing.levels]
        return {
            "name": spec.name,
            "register_as": spec.tracking.register_as,
            "alias": spec.tracking.alias,
            "routing": {"keys": keys, "levels": levels, "on_unknown": spec.routing.on_unknown},
            "sub_models": [model.to_json(model.loader.kind) for model in fleet.models],
            "traffic": spec.traffic.to_json(),
            "disabled_models": list(spec.disabled_models),
            "isolation": spec.isolation,
            "columns": [
                {"name": it.name, "type": shown(it.type), "required": it.required} for it in fleet.union.columns
            ],
            "routing_columns": self.routing_columns,
            "answers": [{"name": it.name, "type": shown(it.type)} for it in fleet.outputs.columns],
            "params": {name: {"type": kind, "of": of} for name, (kind, of) in self.params.items()},
            "promoted": {name: list(types) for name, types in fleet.union.promoted.items()},
            "requirements": list(fleet.requirements),
            "dropped": [{"id": id_, "replaced_by": by} for id_, by in fleet.dropped],
            "paths": self.paths,
            "csv_changes": fleet.csv_changes,
            "warnings": list(fleet.warnings),
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
    sub_models: Sequence[SubModelRecord]

    @classmethod
    def of(cls, uri: str, bundle: Bundle) -> RouterFacts:
        """What a bundle says; no sub-model is loaded. uri: where it was found."""
        manifest = bundle.manifest
        return cls(
            uri=redact(uri),
            manifest=manifest,
            routing_columns=_readers(manifest.inputs, manifest.traffic.sticky),
            other_code_here=code_changes(manifest),
            sub_models=[*bundle],
        )

    def kind_of(self, record: SubModelRecord) -> str:
        """The kind of a sub-model's loader, or combiner."""
        return self.manifest.loaders[record.loader].kind

    def to_json(self) -> dict[str, Any]:
        # With the names in each section in the order of the file.
        said = json.loads(canonical_json(self.manifest.to_json()))
        said |= {"digest": self.manifest.digest, "pack_bytes": self.manifest.pack.bytes, "columns": said["union"]}
        said |= {"uri": self.uri, "routing_columns": dict(self.routing_columns)}
        said["other_code_here"] = [change.to_json() for change in self.other_code_here]
        said["sub_models"] = [
            {**it.to_json(self.kind_of(it)), "bytes": it.bytes, "memory": it.memory} for it in self.sub_models
        ]
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
