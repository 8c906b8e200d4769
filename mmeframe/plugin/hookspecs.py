"""The hooks. Most return records; named things are chosen by config, never by plugin order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from mmeframe.plugin.records import (
    CombinerPlugin,
    ModelLoaderPlugin,
    ModelSourcePlugin,
    ObserverPlugin,
    RoutingStrategyPlugin,
)

if TYPE_CHECKING:
    from mmeframe.errors import Problem
    from mmeframe.sections import RouterSpec
    from mmeframe.spec import Logged

__all__ = [
    "mmeframe_check_spec",
    "mmeframe_combiners",
    "mmeframe_config_paths",
    "mmeframe_model_loaders",
    "mmeframe_model_sources",
    "mmeframe_observers",
    "mmeframe_router_logged",
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


@hookspec
def mmeframe_config_paths() -> Iterable[str]:  # type: ignore[empty-body]
    """Offer folders of YAML files that the package ships, in the layout of mmeframe's own ``conf/``.

    A file ``routing/city.yaml`` there is chosen with ``routing=city``. The user's folders and the shipped ones win over
    a file of the same name.

    Called: once, before composition, in processes that compose a config; never when a router is loaded.
    Results: joined from every plugin, in their order.
    On error: the plugin is reported as broken; its files are not found.

    Example::

        @hookimpl
        def mmeframe_config_paths():
            return ["pkg://mmeframe_geohash.conf"]

    .. versionadded:: 0.1
    """


@hookspec
def mmeframe_check_spec(spec: RouterSpec) -> Iterable[Problem]:  # type: ignore[empty-body]
    """Say what is wrong with a config that mmeframe itself has nothing against, such as a naming rule of a team's.

    spec: the whole config, typed and validated. A problem has the config path that it is about.

    Called: once by each of ``train``, ``validate``, ``plan``, ``build`` and ``explain``, after the config was parsed.
    Results: joined from every plugin, and with what is wrong with the sub-models, in one report.
    On error: the command stops, and names the plugin.

    Example::

        @hookimpl
        def mmeframe_check_spec(spec):
            if not spec.tracking.tags.get("team"):
                return [Problem("tracking.tags.team", "every router names its team.", "tracking.tags.team=NAME")]
            return []

    .. versionadded:: 0.1
    """


@hookspec
def mmeframe_router_logged(spec: RouterSpec, logged: Logged) -> None:
    """Learn of a router that was logged, proved and registered, for instance to tell a chat room or a catalogue.

    Called: once by ``build``, when everything is done; not where the registered version holds all of it already.
    Results: none.
    On error: told as a warning of the build; the router stays as it is.

    Example::

        @hookimpl
        def mmeframe_router_logged(spec, logged):
            print(f"{logged.name} {logged.version} has {logged.sub_models} sub-models")

    .. versionadded:: 0.1
    """
