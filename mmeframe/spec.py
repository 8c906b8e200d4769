"""The validated value of a config: frozen, plain, JSON-able; no logic beyond that.

``RouterSpec`` is the whole config after parsing. The part that travels in the bundle is written by
``build`` and read by ``runtime``; tracking, sources, train, predict and serve settings never leave the
process that composed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "ANNOTATE",
    "MAIN_ARM",
    "BuildSpec",
    "Column",
    "Component",
    "EnvironmentSpec",
    "Estimator",
    "Features",
    "KeyPart",
    "Logged",
    "OutputSpec",
    "PredictSpec",
    "Reader",
    "ResidencySpec",
    "RouterSpec",
    "RoutingSpec",
    "ServeSpec",
    "SignatureSpec",
    "SubModelEntry",
    "TrackingSpec",
    "TrafficSpec",
    "TrainSpec",
    "ValidateSpec",
]

MAIN_ARM = "main"
# The request parameter that asks for annotated answers; it never routes.
ANNOTATE = "annotate"

Key = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Component:
    """A plugin component with its options, ready to be made: ``target`` is ``package.module:Class``."""

    kind: str
    target: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "target": self.target, "config": self.config, "options": dict(self.options)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Component:
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
    loader: Component | str = "auto"
    arm: str = MAIN_ARM
    name: str | None = None
    version: str | None = None
    model_id: str | None = None
    origin: str = ""
    routed: bool = True
    combine: Component | None = None
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
    strategy: Component


@dataclass(frozen=True, slots=True)
class RoutingSpec:
    """Key parts, the levels tried in order, and what an unknown key gets."""

    parts: tuple[KeyPart, ...]
    levels: tuple[tuple[str, ...], ...]
    on_unknown: str = "raise"

    def to_json(self) -> dict[str, Any]:
        return {
            "parts": [[part.name, part.strategy.to_json()] for part in self.parts],
            "levels": [list(level) for level in self.levels],
            "on_unknown": self.on_unknown,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RoutingSpec:
        return cls(
            tuple(KeyPart(name, Component.from_json(strategy)) for name, strategy in data["parts"]),
            tuple(tuple(level) for level in data["levels"]),
            data["on_unknown"],
        )


@dataclass(frozen=True, slots=True)
class TrafficSpec:
    """Shares of arms. ``arms``: arm -> share of the rows of each key that has it.

    sticky: columns whose values decide a row's arm; none: all columns of the union schema. only: arm -> the keys that
    it is narrowed to. shadow: arms that are scored after the answer, and never seen by the caller.
    """

    arms: Mapping[str, float] = field(default_factory=dict)
    sticky: tuple[str, ...] = ()
    only: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    shadow: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "arms": dict(self.arms),
            "sticky": list(self.sticky),
            "only": {arm: [dict(key) for key in keys] for arm, keys in self.only.items()},
            "shadow": list(self.shadow),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrafficSpec:
        only = {arm: tuple(keys) for arm, keys in data["only"].items()}
        return cls(data["arms"], tuple(data["sticky"]), only, tuple(data["shadow"]))


@dataclass(frozen=True, slots=True)
class ResidencySpec:
    """Which sub-models are in memory. ``eager``: all of them, from the start; ``lazy``: those that are asked for.

    max_bytes, max_models: what live and loading ones may take together, None for no bound. preload: ids or patterns to
    load when the router opens; pin: those that are loaded then and never dropped. ttl_s: seconds after which one that
    nobody asks for is dropped. failure_ttl_s: seconds for which a failed load is answered without another try.
    load_workers: loads at a time.
    """

    kind: str = "eager"
    max_bytes: int | None = None
    max_models: int | None = None
    preload: tuple[str, ...] = ()
    pin: tuple[str, ...] = ()
    ttl_s: float | None = None
    failure_ttl_s: float = 60.0
    load_workers: int = 4

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "preload": list(self.preload), "pin": list(self.pin)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ResidencySpec:
        return cls(**{**data, "preload": tuple(data["preload"]), "pin": tuple(data["pin"])})

    @property
    def idle_options(self) -> list[str]:
        """Options that are set and change nothing for this kind."""
        default = ResidencySpec()
        names = ("max_models", "preload", "pin", "ttl_s", "failure_ttl_s") if self.kind == "eager" else ()
        return [name for name in names if getattr(self, name) != getattr(default, name)]


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """What may be packed: ``allow_pickle`` False refuses sub-models whose deserialising can run code.

    skops_trusted: types that skops files may make while the router is built, beside the built-in ones.
    reuse: sub-models that did not change are taken from the registered version.
    """

    allow_pickle: bool = True
    skops_trusted: tuple[str, ...] = ()
    reuse: bool = True


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """The method called on sub-models, whether answers say who gave them, and what a failing sub-model does.

    on_error: ``raise`` fails the request, ``skip`` only the rows of the sub-model that failed.
    missing_note: what answers say in place of a ``model_id``, ``model_version`` or ``arm`` that a row has not.
    """

    method: str = "predict"
    annotate: bool = False
    on_error: str = "raise"
    missing_note: str | None = None


@dataclass(frozen=True, slots=True)
class SignatureSpec:
    """``checked``: the router validates; ``union``: MLflow enforces the union schema as well."""

    mode: str = "checked"


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """How sub-models' requirements become one set, and which Python wrote them."""

    merge: str = "raise"
    override: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    indexed: tuple[str, ...] = ()
    # What sub-models are whose pickles another Python wrote: ``raise`` refuses them, ``warn`` tells.
    python: str = "raise"


@dataclass(frozen=True, slots=True)
class TrackingSpec:
    """Where the router is logged and registered. ``uri`` None: MLflow's own default."""

    uri: str | None = None
    experiment_name: str | None = None
    run_name: str | None = None
    register_as: str | None = None
    alias: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServeSpec:
    host: str = "127.0.0.1"
    port: int = 5000
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Reader:
    """A table: a file, or an object of an importable package (a DataFrame, or a function giving one)."""

    path: str | None = None
    object: str | None = None


@dataclass(frozen=True, slots=True)
class Features:
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimator:
    class_: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """How ``mmeframe train`` makes sub-models: one for each combination of values of the key parts ``key``."""

    reader: Reader
    key: tuple[str, ...]
    target: str
    features: Features
    estimator: Estimator
    holdout: float
    seed: int
    min_rows: int
    register_as: str
    global_as: str | None
    alias: str | None
    serialization: str
    jobs: int
    on_error: str = "raise"


@dataclass(frozen=True, slots=True)
class PredictSpec:
    """How ``mmeframe predict`` reads, cuts and writes a table."""

    batch_rows: int = 100_000
    keep: str | tuple[str, ...] = "all"


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """``unchanged``: whether a build of what is registered already is skipped, or registered as another version."""

    unchanged: str = "skip"


@dataclass(frozen=True, slots=True)
class ValidateSpec:
    """``min_coverage``: the least share of a table's rows that must reach a sub-model, None for no gate.

    ``load``: sub-models are loaded and proved as a build does, too.
    """

    min_coverage: float | None = None
    load: bool = False


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """A whole config, validated. ``models`` holds explicit entries; ``sources`` are not expanded yet."""

    name: str
    routing: RoutingSpec
    models: tuple[SubModelEntry, ...] = ()
    sources: tuple[tuple[str, Component], ...] = ()
    exclude: tuple[str, ...] = ()
    disabled_models: tuple[str, ...] = ()
    model_defaults: Mapping[str, Any] = field(default_factory=dict)
    traffic: TrafficSpec = TrafficSpec()
    # ``process``: sub-models that ship code live in a process for each code, instead of the router's.
    isolation: str = "shared"
    observers: tuple[tuple[str, Component], ...] = ()
    residency: ResidencySpec = ResidencySpec()
    bundle: BundleSpec = BundleSpec()
    output: OutputSpec = OutputSpec()
    signature: SignatureSpec = SignatureSpec()
    environment: EnvironmentSpec = EnvironmentSpec()
    tracking: TrackingSpec = TrackingSpec()
    serve: ServeSpec = ServeSpec()
    predict: PredictSpec = PredictSpec()
    build: BuildSpec = BuildSpec()
    validate: ValidateSpec = ValidateSpec()
    train: TrainSpec | None = None

    @property
    def may_skip(self) -> bool:
        """Whether a row may be left without an answer."""
        return self.routing.on_unknown == "skip" or self.output.on_error == "skip"


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
