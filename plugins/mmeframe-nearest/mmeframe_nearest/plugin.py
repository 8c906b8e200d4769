"""The entry point: what this distribution registers. Imported when a config is composed, never to serve."""

from __future__ import annotations

from mmeframe.plugin import RoutingStrategyPlugin, hookimpl

from mmeframe_nearest.strategy import NearestConf

__all__: list[str] = []


@hookimpl
def mmeframe_routing_strategies() -> list[RoutingStrategyPlugin]:
    return [
        RoutingStrategyPlugin(
            "nearest",
            NearestConf,
            "mmeframe_nearest.strategy:NearestStrategy",
            "the nearest site by latitude and longitude",
        )
    ]
