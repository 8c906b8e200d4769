"""Bases of config dataclasses: one dataclass per component, all its options with plain defaults.

A dataclass is used three times: its defaults become a Hydra group option, pydantic checks the composed values
against it (ranges by ``Annotated[int, Field(ge=1)]``; unknown keys are refused), and the bundle stores its values.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict

__all__ = [
    "MISSING",
    "CombinerConf",
    "Conf",
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


@dataclass
class LoaderConf(Conf):
    """Base of a model loader's options."""


@dataclass
class SourceConf(Conf):
    """Base of a model source's options. Every source has ``arm``; the host applies it."""

    # The arm of all its sub-models: main, or a variant such as canary.
    arm: str = "main"


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
        if option.default is not dataclasses.MISSING:
            values[option.name] = option.default
        elif option.default_factory is not dataclasses.MISSING:
            values[option.name] = option.default_factory()
        else:
            values[option.name] = MISSING
    return values
