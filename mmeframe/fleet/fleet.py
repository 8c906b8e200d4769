"""A fleet as a value: all sub-models of one router, and what was found of them together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mmeframe.fleet.declared import read_as_keys
from mmeframe.fleet.live import LiveModels
from mmeframe.fleet.signature import Param, Union, natural
from mmeframe.fleet.submodel import PinnedModel
from mmeframe.graph import reached
from mmeframe.plugin import RoutingInputs
from mmeframe.rows.keys import csv_hazard
from mmeframe.rows.outputs import Outputs
from mmeframe.sections import RouterSpec

__all__ = ["Fleet"]


@dataclass
class Fleet:
    """Everything that a bundle needs to know. ``dropped``: source entries that explicit ones replaced."""

    spec: RouterSpec
    models: tuple[PinnedModel, ...]
    union: Union
    outputs: Outputs
    requirements: tuple[str, ...]
    inputs: Mapping[str, RoutingInputs]
    # Of sub-models: what a request may set.
    params: Mapping[str, Param] = field(default_factory=dict)
    # Config path of a component -> the files that it puts into the bundle.
    prepared: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    # Key part -> values that strategies of other parts know of it.
    looked_up: Mapping[str, Collection[str]] = field(default_factory=dict)
    dropped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    live: LiveModels = field(default_factory=lambda: LiveModels("shared"))

    @property
    def answering(self) -> set[str]:
        """Ids of the sub-models whose answers callers see, alone or in a combination; gates are not among them."""
        return reached([it.id for it in self.models if it.routed], {it.id: it.of for it in self.models})

    @property
    def csv_changes(self) -> dict[str, dict[str, str]]:
        """Key part -> its values, declared or looked up, that CSV readers change -> what they make of them."""
        known = {part: {*self.looked_up.get(part, ()), *self.declared_keys[part]} for part in read_as_keys(self.inputs)}
        return {part: changes for part, values in known.items() if (changes := _csv_changes(values))}

    @cached_property
    def declared_keys(self) -> dict[str, tuple[str, ...]]:
        """Key part -> its declared values, sorted."""
        values: dict[str, set[str]] = {part.name: set() for part in self.spec.routing.parts}
        for model in self.models:
            for part, value in model.key.items() if model.routed else ():
                values[part].add(value)
        return {part: tuple(sorted(found, key=natural)) for part, found in values.items()}


def _csv_changes(keys: Iterable[str]) -> dict[str, str]:
    return {key: change for key in sorted(keys, key=natural) if (change := csv_hazard(key))}
