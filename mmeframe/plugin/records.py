"""What registration hooks return: frozen records that name a component; nothing is imported until it is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mmeframe.plugin.conf import CombinerConf, Conf, LoaderConf, ObserverConf, SourceConf, StrategyConf

__all__ = [
    "CombinerPlugin",
    "ComponentPlugin",
    "ModelLoaderPlugin",
    "ModelSourcePlugin",
    "ObserverPlugin",
    "RoutingStrategyPlugin",
]

C = TypeVar("C", bound=Conf)


@dataclass(frozen=True, slots=True)
class ComponentPlugin(Generic[C]):
    """A component: its name in ``kind:``, its options, ``package.module:Class`` and a one-line summary."""

    name: str
    config: type[C]
    target: str
    summary: str
    api_version: int = field(default=1, kw_only=True)


@dataclass(frozen=True, slots=True)
class RoutingStrategyPlugin(ComponentPlugin[StrategyConf]):
    """A routing strategy."""


@dataclass(frozen=True, slots=True)
class ModelLoaderPlugin(ComponentPlugin[LoaderConf]):
    """A model loader.

    flavors: the MLflow flavors that ``loader: auto`` gives to it. suffixes: of the bare files that it reads, which are
    of the first flavor; suffix -> what MLflow writes into that flavor's section of an MLmodel file, with ``{name}`` for
    the name of the file.
    """

    flavors: tuple[str, ...] = ()
    suffixes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSourcePlugin(ComponentPlugin[SourceConf]):
    """A model source."""


@dataclass(frozen=True, slots=True)
class CombinerPlugin(ComponentPlugin[CombinerConf]):
    """A combiner of sub-models' answers."""


@dataclass(frozen=True, slots=True)
class ObserverPlugin(ComponentPlugin[ObserverConf]):
    """An observer of what routers do."""
