"""The hooks. Each returns records; named things are chosen by config, never by plugin order."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from mmeframe.plugin.records import (
    CombinerPlugin,
    ModelLoaderPlugin,
    ModelSourcePlugin,
    ObserverPlugin,
    RoutingStrategyPlugin,
)

__all__ = [
    "mmeframe_combiners",
    "mmeframe_model_loaders",
    "mmeframe_model_sources",
    "mmeframe_observers",
    "mmeframe_routing_strategies",
]

hookspec = pluggy.HookspecMarker("mmeframe")


@hookspec
def mmeframe_routing_strategies() -> Iterable[RoutingStrategyPlugin]:  # type: ignore[empty-body]
    """Offer routing strategies that config selects with ``routing=<name>`` or ``routing.keys.<part>.kind``.

    Called: once, before composition, in processes that compose a config; never when a router is loaded.
    Results: joined from every plugin. Two strategies with one name stop the command.
    On error: the plugin is reported as broken; only a router that needs it fails.

    Example::

        @hookimpl
        def mmeframe_routing_strategies():
            return [RoutingStrategyPlugin("geohash", GeohashConf, "mmeframe_geohash:Geohash", "prefix of a geohash")]

    .. versionadded:: 0.1
    """


@hookspec
def mmeframe_model_loaders() -> Iterable[ModelLoaderPlugin]:  # type: ignore[empty-body]
    """Offer model loaders that config selects by name with ``models.<id>.loader``.

    Called: once, before composition, in processes that compose a config; never when a router is loaded.
    Results: joined from every plugin. Two loaders with one name stop the command; so do two that claim one flavor.
    On error: the plugin is reported as broken; only a router that needs it fails.

    Example::

        @hookimpl
        def mmeframe_model_loaders():
            return [ModelLoaderPlugin("onnx", OnnxConf, "mmeframe_onnx:OnnxLoader", "ONNX Runtime", flavors=("onnx",))]

    .. versionadded:: 0.1
    """


@hookspec
def mmeframe_model_sources() -> Iterable[ModelSourcePlugin]:  # type: ignore[empty-body]
    """Offer model sources that config selects with ``+source@sources.<name>=<kind>``.

    Called: once, before composition, in processes that compose a config; never when a router is loaded.
    Results: joined from every plugin. Two sources with one name stop the command.
    On error: the plugin is reported as broken; only a router that needs it fails.

    Example::

        @hookimpl
        def mmeframe_model_sources():
            return [ModelSourcePlugin("s3", S3Conf, "mmeframe_s3:S3Source", "model folders in a bucket")]

    .. versionadded:: 0.1
    """


@hookspec
def mmeframe_combiners() -> Iterable[CombinerPlugin]:  # type: ignore[empty-body]
    """Offer combiners that config selects with ``models.<id>.combine.kind``.

    Called: once, before composition, in processes that compose a config; never when a router is loaded.
    Results: joined from every plugin. Two combiners with one name stop the command.
    On error: the plugin is reported as broken; only a router that needs it fails.

    Example::

        @hookimpl
        def mmeframe_combiners():
            return [CombinerPlugin("trimmed", TrimmedConf, "mmeframe_trimmed:Trimmed", "mean without the extremes")]

    .. versionadded:: 0.1
    """


@hookspec
def mmeframe_observers() -> Iterable[ObserverPlugin]:  # type: ignore[empty-body]
    """Offer observers that config selects with ``+observer@observers.<name>=<kind>``.

    Called: once, before composition, in processes that compose a config; never when a router is loaded.
    Results: joined from every plugin. Two observers with one name stop the command.
    On error: the plugin is reported as broken; only a router that needs it fails.

    Example::

        @hookimpl
        def mmeframe_observers():
            return [ObserverPlugin("statsd", StatsdConf, "mmeframe_statsd:Statsd", "counters and timings over UDP")]

    .. versionadded:: 0.1
    """
