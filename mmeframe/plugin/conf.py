"""Bases of config dataclasses: one dataclass per component, all its options with plain defaults.

A dataclass is used three times: its defaults become a Hydra group option, pydantic checks the composed values
against it (ranges by ``Annotated[int, Field(ge=1)]``; unknown keys are refused), and the bundle stores its values.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

__all__ = [
    "MISSING",
    "CombinerConf",
    "Conf",
    "FileSignatureConf",
    "LoaderConf",
    "ObserverConf",
    "SourceConf",
    "StrategyConf",
    "defaults_of",
]

# The value of an option that the user must give, as Hydra writes it. Usable as the default of any type.
MISSING: str = "???"


@dataclass
class Conf:
    """Base of every component's options."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass
class StrategyConf(Conf):
    """Base of a routing strategy's options. ``keys``, ``levels``, ``on_unknown`` and ``kind`` are taken."""


def _doubles(inputs: Any) -> Any:
    return dict.fromkeys(inputs, "double") if isinstance(inputs, list) else inputs


@dataclass
class LoaderConf(Conf):
    """Base of a model loader's options."""


ColumnType = Literal["boolean", "integer", "long", "float", "double", "string", "datetime", "binary"]
_COLUMNS: dict[str, Any] = {"type": "object", "additionalProperties": {"enum": list(get_args(ColumnType))}}


@dataclass
class FileSignatureConf(Conf):
    """The columns and answers of sub-models whose files do not say them: ``{inputs: {x1: double}, outputs: double}``.

    What it gives takes the place of what the files say.
    """

    # Column -> MLflow's name of its type; or a list of columns, which are then doubles.
    inputs: Annotated[
        dict[str, ColumnType],
        BeforeValidator(_doubles),
        WithJsonSchema({"anyOf": [_COLUMNS, {"type": "array", "items": {"type": "string"}}]}),
    ] = field(default_factory=dict)
    # The type of the answers; or column -> type, for several in a row.
    outputs: ColumnType | dict[str, ColumnType] | None = None


@dataclass
class SourceConf(Conf):
    """Base of a model source's options. Every source has those below; the host applies them."""

    # The arm of all its sub-models: main, or a variant such as canary.
    arm: str = "main"
    # Columns and answers of all its sub-models, for those whose files do not say them.
    signature: FileSignatureConf | None = None
    # false: its sub-models may be built in though they answer no probe rows. null: as model_defaults says.
    prove: bool | None = None


@dataclass
class CombinerConf(Conf):
    """Base of a combiner's options. Every combiner has ``of``; the host reads it."""

    # Ids of the sub-models whose answers are combined.
    of: list[str] = field(default_factory=list)


@dataclass
class ObserverConf(Conf):
    """Base of an observer's options."""


def defaults_of(config: type[Conf]) -> dict[str, Any]:
    """Plain defaults of a dataclass, ``???`` where the user must choose."""
    values: dict[str, Any] = {}
    for option in dataclasses.fields(config):
        if isinstance(option.default, FieldInfo):
            # ``x: int = Field(default=1, ge=0)``, as pydantic's own classes are written.
            value = option.default.get_default(call_default_factory=True)
            values[option.name] = MISSING if value is PydanticUndefined else value
        elif option.default is not dataclasses.MISSING:
            values[option.name] = option.default
        elif option.default_factory is not dataclasses.MISSING:
            values[option.name] = option.default_factory()
        else:
            values[option.name] = MISSING
    return values
