"""Values that all rooms hand to one another: frozen, plain, JSON-able; no logic beyond that.

What a whole config says is in ``mmeframe.sections``. A worker's process needs these and no pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ANNOTATE", "MAIN_ARM", "Column", "ComponentSpec", "KeyPart", "Logged", "SubModelEntry"]

MAIN_ARM = "main"
# The request parameter that asks for annotated answers; it never routes.
ANNOTATE = "annotate"


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A plugin component with its options, ready to be made: ``target`` is ``package.module:Class``."""

    kind: str
    target: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "target": self.target, "config": self.config, "options": dict(self.options)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ComponentSpec:
        return cls(data["kind"], data["target"], data["config"], data["options"])


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a schema. ``type`` is MLflow's name (``double``, ``string`` ...).

    number: the name in the frames of its sub-model, where that is a number and no text.
    """

    name: str
    type: str
    required: bool = True
    number: int | float | None = None

    @property
    def label(self) -> str | int | float:
        """The name in the frames of its sub-model."""
        return self.name if self.number is None else self.number

    def to_json(self) -> list[Any]:
        return [self.name, self.type, self.required, *([] if self.number is None else [self.number])]


@dataclass(frozen=True, slots=True)
class SubModelEntry:
    """One declared sub-model, before or after its URI is pinned.

    ``key`` maps key parts to canonical values; ``{}`` is the global sub-model; None means "the id is the
    key", which only a fleet with one part allows. ``origin`` names the config path, for messages.
    A source that already knows them fills ``name``, ``version`` and ``model_id``: nothing is looked up then.
    ``routed`` False: no key reaches it; a gate or another sub-model uses it. ``combine``: it has no files of its own,
    but combines the answers of others.
    ``signature``: ``inputs`` (column -> type) and ``outputs`` (a type, or column -> type), in place of what its files
    say; either may be empty. ``prove``: whether a build refuses it where it answers no probe rows; None: not said.
    """

    id: str
    uri: str
    key: Mapping[str, str | int] | None = None
    flavor: str = "auto"
    loader: ComponentSpec | str = "auto"
    arm: str = MAIN_ARM
    name: str | None = None
    version: str | None = None
    model_id: str | None = None
    origin: str = ""
    routed: bool = True
    combine: ComponentSpec | None = None
    signature: Mapping[str, Any] | None = None
    prove: bool | None = None

    @property
    def of(self) -> tuple[str, ...]:
        """Ids of the sub-models that it combines."""
        return tuple(self.combine.options["of"]) if self.combine else ()


@dataclass(frozen=True, slots=True)
class KeyPart:
    """A named part of the routing key and the strategy that computes it."""

    name: str
    strategy: ComponentSpec


@dataclass(frozen=True)
class Logged:
    """A router in the store. ``notes``: warnings, and what killed builds had left.

    unchanged: how many sub-models were taken as they are from the version ``since``; resumed: from an interrupted
    build; described: how many that build had only read, so that they were packed now. same_as: the version
    that holds all of this already, so that nothing was registered; None for a new one.
    """

    model_uri: str
    model_id: str
    run_id: str
    experiment_id: str
    name: str
    version: str | None
    alias: str | None
    digest: str
    sub_models: int
    bytes: int
    unchanged: int = 0
    since: str | None = None
    resumed: int = 0
    described: int = 0
    same_as: str | None = None
    notes: tuple[str, ...] = ()
