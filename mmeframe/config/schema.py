"""The closed sections of a config: one dataclass each, checked by pydantic after composition.

Defaults are the ones of ``conf/_base.yaml``; a test keeps the two equal. Comments there say what each option means.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from mmeframe.budget import SIZE_PATTERN, parse_size
from mmeframe.plugin.conf import FileSignatureConf
from mmeframe.spec import MAIN_ARM

__all__ = [
    "SECTIONS",
    "BuildConf",
    "BundleConf",
    "EnvironmentConf",
    "ModelConf",
    "ModelDefaultsConf",
    "OutputConf",
    "PredictConf",
    "ResidencyConf",
    "RoutingConf",
    "ServeConf",
    "SignatureConf",
    "TrackingConf",
    "TrafficConf",
    "TrainConf",
    "ValidateConf",
]

Isolation = Literal["shared", "process"]
Scalar = str | int | float | bool
# Of runs, models and versions, in MLflow's databases.
_TAG_VALUE = 5_000
# One name and a list of names are both accepted where names are meant.
_LISTED = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
_TEXT = {"type": "string"}
_NAMES = WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]})
Names = Annotated[list[str], _LISTED, _NAMES]


def unseen(name: str | None) -> str | None:
    """What is wrong with a name that MLflow takes for none, or that a terminal would obey; None if nothing is."""
    if name and not name.strip():
        return "a name has a letter, and this is space only"
    return None if not name or name.isprintable() else "a name cannot hold control characters"


def _visible(name: str | None) -> str | None:
    if what := unseen(name):
        raise ValueError(what)
    return name


Name = Annotated[str | None, AfterValidator(_visible)]


def _alias(name: str | None) -> str | None:
    if name is not None and (not re.fullmatch(r"[\w-]+", name) or re.fullmatch(r"v\d+|latest", name)):
        raise ValueError("MLflow takes letters, digits, _ and -, and keeps 'latest' and 'v1', 'v2' ... for itself")
    return name


def _registered(name: str | None) -> str | None:
    if name is not None and (not name.strip(" .") or set(name) & set("/:@")):
        raise ValueError(
            "a registered name has no / : or @, which URIs of models need, and is more than blanks and dots"
        )
    return name


def _tag(name: str) -> str:
    """MLflow would refuse it once the whole router is built."""
    whole = posixpath.normpath(name) == name and name != "." and not name.startswith(("..", "/"))
    if not re.fullmatch(r"[/\w.\- :]{1,250}", name) or not whole:
        raise ValueError("MLflow takes 1 to 250 letters, digits, blanks and _-.:/ in a name, and no // or ../")
    return name


def _tag_value(value: Scalar) -> Scalar:
    if len(str(value)) > _TAG_VALUE:
        raise ValueError(f"MLflow takes values of tags with at most {_TAG_VALUE:,} characters")
    return value


Tags = dict[Annotated[str, AfterValidator(_tag)], Annotated[Scalar, AfterValidator(_tag_value)]]


def _arm(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError("an arm's name is letters, digits and underscores")
    return name


Arm = Annotated[str, AfterValidator(_arm)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


_BYTES = {"type": "integer", "minimum": 1}
_SIZE = {"type": "string", "pattern": SIZE_PATTERN, "title": "such as 4GiB"}
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema({"anyOf": [_BYTES, _SIZE]})]


def _method(name: str) -> str:
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError("name a method of the sub-models, such as predict or predict_proba")
    return name


@dataclass
class Section:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass
class ModelDefaultsConf(Section):
    flavor: str = "auto"
    loader: Any = "auto"
    prove: bool = True


# Editors are told which values can be keys; ``parse`` says what to do about others, such as YAML's NO.
KeyValue = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})]


@dataclass
class ModelConf(Section):
    # Any URI that MLflow knows, a folder, or a bare estimator file.
    uri: str | None = None
    # {part: value}; {} for the global sub-model, none for one that no row is routed to. null: the id is the key.
    key: dict[str, KeyValue] | Literal["none"] | None = None
    # The flavor of the MLmodel file to load.
    flavor: str = "auto"
    # A loader's name, or {kind: <name>, <option>: <value>}.
    loader: Any = "auto"
    # main, or a variant for the same key, such as canary.
    arm: Arm = MAIN_ARM
    # true: with residency lazy, it never leaves memory.
    pin: bool = False
    # Columns and answers, where the files do not say them.
    signature: FileSignatureConf | None = None
    # false: it may be built in though it answers no probe rows. null: as its source, or model_defaults, says.
    prove: bool | None = None
    # {kind: mean, of: [<id>, <id>]}: the answer of several others, instead of a uri.
    combine: dict[str, Any] | None = None


@dataclass
class RoutingConf(Section):
    keys: dict[str, Any] = field(default_factory=dict)
    levels: Literal["auto"] | list[list[str]] = "auto"
    on_unknown: Literal["raise", "skip"] = "raise"


@dataclass
class ResidencyConf(Section):
    kind: Literal["eager", "lazy"] = "eager"
    max_bytes: Size | None = None
    max_models: Annotated[int, Field(ge=1)] | None = None
    preload: Names = field(default_factory=list)
    pin: Names = field(default_factory=list)
    ttl_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    failure_ttl_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    load_workers: Annotated[int, Field(ge=1, le=256)] = 4


def _type(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        raise ValueError("name a type with its module, such as mypackage.models.MyEstimator")
    return name


@dataclass
class BundleConf(Section):
    allow_pickle: bool = True
    skops_trusted: Annotated[list[Annotated[str, AfterValidator(_type)]], _LISTED, _NAMES] = field(default_factory=list)
    reuse: bool = True


@dataclass
class OutputConf(Section):
    method: Annotated[str, AfterValidator(_method)] = "predict"
    annotate: bool = False
    on_error: Literal["raise", "skip"] = "raise"
    missing_note: str | None = None


@dataclass
class TrafficConf(Section):
    arms: dict[Arm, Share] = field(default_factory=dict)
    sticky: Names = field(default_factory=list)
    only: dict[Arm, list[Any]] = field(default_factory=dict)
    shadow: Names = field(default_factory=list)


@dataclass
class BuildConf(Section):
    unchanged: Literal["skip", "register"] = "skip"


@dataclass
class ValidateConf(Section):
    min_coverage: Share | None = None
    load: bool = False


@dataclass
class SignatureConf(Section):
    mode: Literal["checked", "union"] = "checked"


@dataclass
class EnvironmentConf(Section):
    merge: Literal["raise", "highest"] = "raise"
    override: dict[str, str] = field(default_factory=dict)
    extra: Names = field(default_factory=list)
    indexed: Names = field(default_factory=list)
    python: Literal["raise", "warn"] = "raise"


@dataclass
class TrackingConf(Section):
    uri: str | None = None
    experiment_name: Name = None
    run_name: Name = None
    register_as: Annotated[Name, AfterValidator(_registered)] = None
    alias: Annotated[str | None, AfterValidator(_alias)] = None
    tags: Tags = field(default_factory=dict)
    public: Names = field(default_factory=list)


@dataclass
class ServeConf(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 5000
    workers: Annotated[int, Field(ge=1, le=256)] = 1


@dataclass
class PredictConf(Section):
    batch_rows: Annotated[int, Field(ge=1)] = 100_000
    keep: Literal["all", "none"] | Names = "all"


@dataclass
class ReaderConf(Section):
    path: str | None = None
    object: str | None = None


@dataclass
class FeaturesConf(Section):
    numeric: Names = field(default_factory=list)
    categorical: Names = field(default_factory=list)


@dataclass
class EstimatorConf(Section):
    class_: Annotated[str | None, Field(alias="class")] = None
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainConf(Section):
    reader: ReaderConf = field(default_factory=ReaderConf)
    key: Names | None = None
    target: str | None = None
    features: FeaturesConf = field(default_factory=FeaturesConf)
    estimator: EstimatorConf = field(default_factory=EstimatorConf)
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    min_rows: Annotated[int, Field(ge=1)] = 20
    register_as: Name = None
    global_as: Name = None
    alias: Annotated[str | None, AfterValidator(_alias)] = "champion"
    serialization: Literal["skops", "cloudpickle", "pickle"] = "skops"
    jobs: Annotated[int, Field(ge=0)] = 0
    on_error: Literal["raise", "skip"] = "raise"


# Sections that are one dataclass each. ``routing``, ``sources`` and ``models`` are open maps, checked piece by piece.
SECTIONS: dict[str, type[Section]] = {
    "model_defaults": ModelDefaultsConf,
    "traffic": TrafficConf,
    "residency": ResidencyConf,
    "bundle": BundleConf,
    "output": OutputConf,
    "signature": SignatureConf,
    "environment": EnvironmentConf,
    "tracking": TrackingConf,
    "serve": ServeConf,
    "predict": PredictConf,
    "build": BuildConf,
    "validate": ValidateConf,
    "train": TrainConf,
}
