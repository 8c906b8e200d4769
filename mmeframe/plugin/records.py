"""What registration hooks return: frozen records that name a component; nothing is imported until it is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from mmeframe.plugin.conf import CombinerConf, LoaderConf, ObserverConf, SourceConf, StrategyConf

__all__ = [
    "CombinerPlugin",
    "ComponentPlugin",
    "ModelLoaderPlugin",
    "ModelSourcePlugin",
    "ObserverPlugin",
    "RoutingStrategyPlugin",
]


@dataclass(frozen=True, slots=True)
class RoutingStrategyPlugin:
    """A routing strategy: its name in ``kind:``, options, ``package.module:Class`` and a one-line summary."""

    name: str
    config: type[StrategyConf]
    target: str
    summary: str
    api_version: int = 1


@dataclass(frozen=True, slots=True)
class ModelLoaderPlugin:
    """A model loader, with the MLflow flavors that ``loader: auto`` gives to it."""

    name: str
    config: type[LoaderConf]
    target: str
    summary: str
    flavors: tuple[str, ...] = ()
    api_version: int = 1


@dataclass(frozen=True, slots=True)
class ModelSourcePlugin:
    """A model source."""

    name: str
    config: type[SourceConf]
    target: str
    summary: str
    api_version: int = 1


@dataclass(frozen=True, slots=True)
class CombinerPlugin:
    """A combiner of sub-models' answers."""

    name: str
    config: type[CombinerConf]
    target: str
    summary: str
    api_version: int = 1


@dataclass(frozen=True, slots=True)
class ObserverPlugin:
    """An observer of what routers do."""

    name: str
    config: type[ObserverConf]
    target: str
    summary: str
    api_version: int = 1


ComponentPlugin = RoutingStrategyPlugin | ModelLoaderPlugin | ModelSourcePlugin | CombinerPlugin | ObserverPlugin
