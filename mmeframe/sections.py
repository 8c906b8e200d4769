"""What a config says: a frozen dataclass for each section, into which pydantic validates, and the whole of them.

A section is a field of ``RouterSpec``, an option a field of its dataclass: type, default, words of choice, and help,
which is the comment above it. ``SECTIONS`` is made of that, and everything else asks it. ``conf/_base.yaml`` says the
same for readers; a test keeps the two equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field

from mmeframe.option_types import (
    Alias,
    Arm,
    MethodName,
    Name,
    Names,
    OnError,
    RegisteredName,
    Share,
    Size,
    Tags,
    TypeNames,
    Unsaid,
    UnsaidNames,
    adapter_of,
    visible,
)
from mmeframe.spec import ComponentSpec, KeyPart, SubModelEntry

__all__ = [
    "ALL",
    "OWN_ROUTING",
    "SECTIONS",
    "BuildSpec",
    "BundleSpec",
    "EnvironmentSpec",
    "Estimator",
    "Features",
    "ModelDefaults",
    "Options",
    "OutputSpec",
    "PredictSpec",
    "Reader",
    "ResidencySpec",
    "RouterSpec",
    "RoutingConf",
    "RoutingSpec",
    "Section",
    "ServeSpec",
    "SignatureSpec",
    "TrackingSpec",
    "TrafficSpec",
    "TrainSpec",
    "ValidateSpec",
    "about",
    "open_maps",
    "sections_of",
]


@dataclass(frozen=True, slots=True)
class Options:
    """Base of a section, or of one inside of it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        config: Any = type(self)
        found: dict[str, Any] = adapter_of(config).dump_python(self, mode="json")
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        config: Any = cls
        found: Self = adapter_of(config).validate_python(data)
        return found


@dataclass(frozen=True, slots=True)
class ModelDefaults(Options):
    # the flavor of the MLmodel file to load
    flavor: str = "auto"
    # the loader that claims the flavor; pyfunc when none does
    loader: Any = "auto"
    # a build refuses sub-models that answer no probe rows; false: it tells
    prove: bool = True


@dataclass(frozen=True, slots=True)
class RoutingConf(Options):
    """Routing's own options, as they are written; those of the short form's kind may stand beside them."""

    # key parts, each with its strategy: +routing@routing.keys.store=column
    keys: dict[str, Any] = field(default_factory=dict)
    # one level of all parts; or a list, tried in order: [[store],[region],[]]
    levels: Literal["auto"] | list[list[str]] = "auto"
    # raise: the request fails; skip: the rows get a null with their reason
    on_unknown: OnError = "raise"


# Every other option beside these belongs to the short form's kind.
OWN_ROUTING = tuple(option.name for option in fields(RoutingConf))


@dataclass(frozen=True, slots=True)
class RoutingSpec:
    """Key parts, the levels tried in order, and what an unknown key gets: what ``RoutingConf`` and plugins come to."""

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
            tuple(KeyPart(name, ComponentSpec.from_json(strategy)) for name, strategy in data["parts"]),
            tuple(tuple(level) for level in data["levels"]),
            data["on_unknown"],
        )


@dataclass(frozen=True, slots=True)
class TrafficSpec(Options):
    # arm -> share of rows, {canary: 0.1}; MMEFRAME_TRAFFIC_ARMS=canary=0.25 at deploy time
    arms: dict[Arm, Share] = field(default_factory=dict)
    # columns whose values decide a row's arm; none: all columns of the sub-models
    sticky: Names = ()
    # arm -> keys that it is narrowed to: {canary: [berlin]}
    only: dict[Arm, tuple[Any, ...]] = field(default_factory=dict)
    # arms that are scored after the answer, for observers only
    shadow: Names = ()

    @property
    def excess(self) -> str:
        """What is wrong with the shares together, or an empty text."""
        total = sum(self.arms.values())
        return f"the shares exceed one: {total:g}." if total > 1 + 1e-9 else ""


@dataclass(frozen=True, slots=True)
class ResidencySpec(Options):
    # eager: every sub-model is loaded when the router opens; lazy: when rows ask for it
    kind: Literal["eager", "lazy"] = "eager"
    # what those in memory may take together, such as 4GiB; null: no bound
    max_bytes: Size | None = None
    # how many may be in memory; null: no bound
    max_models: Annotated[int, Field(ge=1)] | None = None
    # ids, or patterns such as day_*, that are loaded when the router opens
    preload: Names = ()
    # ids or patterns that are loaded then and never dropped
    pin: Names = ()
    # seconds after which one that nobody asks for is dropped
    ttl_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    # seconds for which a failed load is answered without another try
    failure_ttl_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    # loads at a time
    load_workers: Annotated[int, Field(ge=1, le=256)] = 4

    @property
    def idle_options(self) -> list[str]:
        """Options that are set and change nothing for this kind."""
        default = ResidencySpec()
        names = ("max_models", "preload", "pin", "ttl_s", "failure_ttl_s") if self.kind == "eager" else ()
        return [name for name in names if getattr(self, name) != getattr(default, name)]


@dataclass(frozen=True, slots=True)
class BundleSpec(Options):
    # false: refuse sub-models whose files can run code (pickles, code/, python models)
    allow_pickle: bool = True
    # types that skops files may make during a build; MMEFRAME_SKOPS_TRUSTED at load
    skops_trusted: TypeNames = ()
    # take sub-models that did not change from the registered version; false: read all anew
    reuse: bool = True


@dataclass(frozen=True, slots=True)
class OutputSpec(Options):
    # the sub-models' method: predict, predict_proba, ...
    method: MethodName = "predict"
    # true: answers say which sub-model gave them and why
    annotate: bool = False
    # a failing sub-model fails the request; skip: only its rows
    on_error: OnError = "raise"
    # text in place of a null model_id, model_version or arm; Spark makes 'nan' of a null
    missing_note: str | None = None


@dataclass(frozen=True, slots=True)
class SignatureSpec(Options):
    # checked: the router validates; union: MLflow enforces the union schema too
    mode: Literal["checked", "union"] = "checked"


@dataclass(frozen=True, slots=True)
class EnvironmentSpec(Options):
    # two sub-models that need different versions: raise | highest
    merge: Literal["raise", "highest"] = "raise"
    # such as {scikit-learn: "==1.9.1"}
    override: dict[str, str] = field(default_factory=dict)
    # requirements to add
    extra: Names = ()
    # distributions that an index serves: required by name, not embedded
    indexed: Names = ()
    # pickles of another minor version of Python are refused; warn: they are told
    python: Literal["raise", "warn"] = "raise"


@dataclass(frozen=True, slots=True)
class TrackingSpec(Options):
    # null: MLflow's own default (MLFLOW_TRACKING_URI, else sqlite:///mlflow.db)
    uri: str | None = None
    experiment_name: Name = None
    run_name: Name = None
    # null: the router's name
    register_as: RegisteredName = None
    # set on the new version after everything else
    alias: Alias = None
    tags: Tags = field(default_factory=dict)
    # environment variables, and options, whose values may be stored in the clear
    public: Names = ()


@dataclass(frozen=True, slots=True)
class ServeSpec(Options):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 5000
    workers: Annotated[int, Field(ge=1, le=256)] = 1


@dataclass(frozen=True, slots=True)
class PredictSpec(Options):
    # rows scored at a time
    batch_rows: Annotated[int, Field(ge=1)] = 100_000
    # input columns in the output: all, none or a list
    keep: Literal["all", "none"] | Names = "all"


@dataclass(frozen=True, slots=True)
class BuildSpec(Options):
    # what is registered already is not registered again; register: it becomes a new version
    unchanged: Literal["skip", "register"] = "skip"


@dataclass(frozen=True, slots=True)
class ValidateSpec(Options):
    # with --data: the least share of rows that must reach a sub-model, else exit 1
    min_coverage: Share | None = None
    # true: sub-models are loaded and proved too, as a build does
    load: bool = False


@dataclass(frozen=True, slots=True)
class Reader(Options):
    # CSV, TSV, Parquet, Arrow, JSON or JSON lines
    path: str | None = None
    # or package:attribute, a DataFrame or a function that returns one
    object: str | None = None


@dataclass(frozen=True, slots=True)
class Features(Options):
    numeric: Names = ()
    categorical: Names = ()


@dataclass(frozen=True, slots=True)
class Estimator(Options):
    # for instance sklearn.linear_model.Ridge
    class_: Annotated[Unsaid, Field(alias="class")] = ""
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainSpec(Options):
    reader: Reader = Reader()
    # the key part, or a list of several; null: the only one
    key: UnsaidNames = ()
    target: Unsaid = ""
    features: Features = Features()
    estimator: Estimator = Estimator()
    # share of rows kept out of training, for the reported errors
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    # keys with fewer rows get no sub-model of their own
    min_rows: Annotated[int, Field(ge=1)] = 20
    # pattern of registered names; null: <name>_{<part>}, with every part of the key
    register_as: Annotated[Unsaid, AfterValidator(visible)] = ""
    # registered name of the sub-model on all rows; null: none is made
    global_as: Name = None
    # moved to the new versions; a sweep (-m) moves it only if its command line sets it
    alias: Alias = "champion"
    # skops | cloudpickle | pickle
    serialization: Literal["skops", "cloudpickle", "pickle"] = "skops"
    # fits at a time; 0: one per core
    jobs: Annotated[int, Field(ge=0)] = 0
    # skip: a key that cannot be fitted is reported, and gets no sub-model
    on_error: OnError = "raise"


# -- the whole config ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section:
    """What is to be known of a section besides its options.

    type, default: a dataclass of its options, or what its value must be; and what it is if nobody says it. open: a map
    of the user's names or of plugins' options, which is checked piece by piece. logged: whether what is logged has its
    values in the clear. compared: what a plan compares of it, in words; such a section travels in the bundle. group:
    files in a folder of its name may be chosen for it. client: commands on a logged router read it, too. unread: those
    that know sub-models, and do not read it.
    """

    name: str = ""
    type: Any = None
    default: Any = None
    open: bool = False
    logged: bool = True
    compared: str = ""
    group: bool = False
    client: bool = False
    unread: tuple[str, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether it is a dataclass of options."""
        return not self.open and isinstance(self.type, type) and issubclass(self.type, Options)


def about(**facts: Any) -> dict[str, Section]:
    """Metadata of a section's field. ``facts``: as in ``Section``; ``compared`` ``ALL``: each of its options."""
    return {"section": Section(**facts)}


ALL = "*"
_TRAIN = ("train",)
_FLEET = ("build", "explain", "plan")
_OF_CLIENTS = about(logged=False, client=True, unread=_FLEET + _TRAIN)


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """A whole config, validated. ``models`` holds explicit entries; ``sources`` are not expanded yet."""

    # name of the logged router; tracking.register_as defaults to it
    name: str = field(metadata=about(open=True))
    routing: RoutingSpec = field(metadata=about(open=True, type=RoutingConf, compared=ALL))
    # Explicit sub-models by id: {uri, key, arm, flavor, loader, signature, prove}, or {key, combine}. They win over
    # sources.
    models: tuple[SubModelEntry, ...] = field(default=(), metadata=about(open=True))
    # Named families of sub-models: +source@sources.<name>=template | registry | logged_models | manifest | folder
    sources: tuple[tuple[str, ComponentSpec], ...] = field(default=(), metadata=about(open=True))
    model_defaults: ModelDefaults = ModelDefaults()
    # ids (or patterns such as old_*) that sources must not bring
    exclude: Names = field(default=(), metadata=about(logged=False))
    # Variants of sub-models for the same key, such as a canary.
    traffic: TrafficSpec = field(default=TrafficSpec(), metadata=about(compared="arms or shares", unread=_TRAIN))
    # ids that get no rows; MMEFRAME_DISABLED_MODELS=a,b at deploy time
    disabled_models: Names = field(default=(), metadata=about(compared="sub-models that get no rows"))
    # process: sub-models that ship code get a process for each code, so modules may clash
    isolation: Literal["shared", "process"] = field(
        default="shared", metadata=about(compared="shared or process", unread=_TRAIN)
    )
    # What is told about batches, loads, shadows and errors: +observer@observers.<name>=log
    observers: tuple[tuple[str, ComponentSpec], ...] = field(
        default=(), metadata=about(open=True, compared="observers or their options", unread=_TRAIN)
    )
    # Which files may make the sub-models live.
    bundle: BundleSpec = field(default=BundleSpec(), metadata=about(logged=False))
    output: OutputSpec = field(default=OutputSpec(), metadata=about(compared=ALL, unread=_TRAIN))
    residency: ResidencySpec = field(
        default=ResidencySpec(), metadata=about(compared="options", group=True, unread=_TRAIN)
    )
    signature: SignatureSpec = field(default=SignatureSpec(), metadata=about(compared=ALL, unread=_TRAIN))
    environment: EnvironmentSpec = field(default=EnvironmentSpec(), metadata=about(unread=_TRAIN))
    tracking: TrackingSpec = field(default=TrackingSpec(), metadata=about(client=True))
    serve: ServeSpec = field(default=ServeSpec(), metadata=_OF_CLIENTS)
    predict: PredictSpec = field(default=PredictSpec(), metadata=_OF_CLIENTS)
    build: BuildSpec = field(default=BuildSpec(), metadata=about(logged=False, unread=("explain", "train")))
    validate: ValidateSpec = field(default=ValidateSpec(), metadata=_OF_CLIENTS)
    # What `mmeframe train` fits: one sub-model per value of a key part, or of several together, and one on all rows.
    train: TrainSpec | None = field(default=None, metadata=about(unread=_FLEET))

    @property
    def may_skip(self) -> bool:
        """Whether a row may be left without an answer."""
        return self.routing.on_unknown == "skip" or self.output.on_error == "skip"


def sections_of(spec: type[Any]) -> dict[str, Section]:
    """The table of the sections that a ``RouterSpec`` declares."""
    hints = get_type_hints(spec, include_extras=True)
    return {it.name: _known(it, hints[it.name]) for it in fields(spec)}


def _known(declared: dataclasses.Field[Any], hint: Any) -> Section:
    # What may be None is a dataclass otherwise.
    optional = next((it for it in get_args(hint) if isinstance(it, type) and issubclass(it, Options)), None)
    facts: Section = declared.metadata.get("section", Section())
    found = replace(facts, name=declared.name, default=declared.default, type=facts.type or optional or hint)
    if found.compared != ALL:
        return found
    *others, last = (option.name for option in fields(found.type))
    return replace(found, compared=f"{', '.join(others)} or {last}" if others else last)


SECTIONS: Mapping[str, Section] = sections_of(RouterSpec)


def open_maps() -> tuple[str, ...]:
    """Paths of the maps in closed sections, which take any name."""
    return tuple(path for it in SECTIONS.values() if it.closed for path in _maps(it.type, it.name))


def _maps(config: type[Any], path: str) -> list[str]:
    found = []
    for name, hint in get_type_hints(config).items():
        if get_origin(hint) is dict:
            found.append(f"{path}.{name}")
        elif isinstance(hint, type) and issubclass(hint, Options):
            found += _maps(hint, f"{path}.{name}")
    return found
