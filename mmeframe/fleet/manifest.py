"""What the manifest of a bundle says of a fleet as a whole."""

from __future__ import annotations

from mmeframe.bundle import Manifest
from mmeframe.fleet.fleet import Fleet
from mmeframe.spec import ComponentSpec

__all__ = ["components", "settings"]


def components(fleet: Fleet) -> dict[str, ComponentSpec]:
    """Every component that the bundle will name, by config path."""
    found = {f"routing.keys.{part.name}": part.strategy for part in fleet.spec.routing.parts}
    found |= {f"observers.{name}": component for name, component in fleet.spec.observers}
    return found | {f"models.{model.id}.loader": model.loader for model in fleet.models}


def settings(fleet: Fleet) -> Manifest:
    """What the manifest says before anything is packed."""
    spec = fleet.spec
    return Manifest(
        name=spec.name,
        routing=spec.routing,
        traffic=spec.traffic,
        disabled_models=spec.disabled_models,
        isolation=spec.isolation,
        observers=spec.observers,
        residency=spec.residency,
        allow_pickle=spec.bundle.allow_pickle,
        output=spec.output,
        signature=spec.signature,
        union=fleet.union.columns,
        answer=fleet.outputs,
        params=fleet.params,
        environment=tuple(fleet.requirements),
        inputs={part: read.columns for part, read in fleet.inputs.items()},
    )
