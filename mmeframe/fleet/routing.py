"""The routing of a fleet that is not built yet. No sub-model is loaded but a gate's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmeframe.plugin import Batch, ComponentContext
from mmeframe.plugin.components import make_component
from mmeframe.route.asking import Question, asked, call, combine, flat, holed
from mmeframe.route.routing import Arms, ModelIndex, Parts, Routing
from mmeframe.route.table import RouteTable
from mmeframe.rows.batch import FrameBatch
from mmeframe.rows.schema import check_frame, required

if TYPE_CHECKING:
    from mmeframe.fleet.fleet import Fleet
    from mmeframe.sections import RoutingSpec

__all__ = ["members_of", "parts_of", "routing_of", "table_of"]


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
        parts_of(fleet.spec.routing, fleet.prepared, score),
        Arms(fleet.spec.traffic, fleet.spec.disabled_models, fleet.union.columns),
    )


def parts_of(
    routing: RoutingSpec, prepared: Mapping[str, Mapping[str, bytes]], score: Callable[[str, Batch], Any]
) -> Parts:
    """The strategies of a config. prepared: config path -> what the component there has prepared."""
    return Parts(
        {part.name: make_component(part.strategy) for part in routing.parts},
        {part.name: prepared.get(f"routing.keys.{part.name}", {}) for part in routing.parts},
        score,
    )


def members_of(models: Sequence[Any]) -> ModelIndex:
    """Sub-models of a config, described or only declared, by their place."""
    numbers = {model.id: number for number, model in enumerate(models)}
    return ModelIndex(
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
