"""What the manifest of a bundle says of a fleet as a whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mmeframe.fleet.resolve import Fleet
from mmeframe.spec import Component

__all__ = ["components", "settings"]


def components(fleet: Fleet) -> dict[str, Component]:
    """Every component that the bundle will name, by config path."""
    found = {f"routing.keys.{part.name}": part.strategy for part in fleet.spec.routing.parts}
    found |= {f"observers.{name}": component for name, component in fleet.spec.observers}
    return found | {f"models.{model.id}.loader": model.loader for model in fleet.models}


def settings(fleet: Fleet) -> dict[str, Any]:
    """What the manifest says of a fleet as a whole, before anything is packed."""
    spec = fleet.spec
    return {
        "name": spec.name,
        "routing": spec.routing.to_json(),
        "traffic": spec.traffic.to_json(),
        "disabled_models": list(spec.disabled_models),
        "isolation": spec.isolation,
        "observers": [[name, component.to_json()] for name, component in spec.observers],
        "residency": spec.residency.to_json(),
        "allow_pickle": spec.bundle.allow_pickle,
        "output": asdict(spec.output),
        "signature": asdict(spec.signature),
        "union": [column.to_json() for column in fleet.union.columns],
        "answer": fleet.outputs.to_json(),
        "params": {name: list(param) for name, param in fleet.params.items()},
        "environment": list(fleet.requirements),
        "inputs": {
            part: {"columns": dict(read.columns), "params": list(read.params)} for part, read in fleet.inputs.items()
        },
    }
