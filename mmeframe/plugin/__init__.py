"""All that a plugin author imports.

A plugin is a module with functions marked ``@hookimpl`` (see ``mmeframe.plugin.hookspecs``) that return records;
a record names a config dataclass and a class. pluggy is imported only when ``hookimpl`` is asked for, so that a
serving environment, where components are imported by their recorded names, needs neither pluggy nor Hydra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmeframe.errors import (
    BadInputError,
    ConfigError,
    MissingError,
    MmeframeError,
    ModelError,
    Problem,
    ProblemsError,
    UnknownNameError,
    listed,
    suggest,
)
from mmeframe.plugin.conf import (
    MISSING,
    CombinerConf,
    Conf,
    FileSignatureConf,
    LoaderConf,
    ObserverConf,
    SourceConf,
    StrategyConf,
)
from mmeframe.plugin.interfaces import (
    Batch,
    BatchEvent,
    Combiner,
    ComponentContext,
    ErrorEvent,
    EvictEvent,
    LoadEvent,
    ModelLoader,
    ModelSource,
    Observer,
    RegisteredModel,
    RegisteredVersion,
    Registry,
    RoutingInputs,
    RoutingStrategy,
    ShadowEvent,
    SourceContext,
    SubModel,
    SubModelFiles,
)
from mmeframe.plugin.naming import NamePattern, PathPattern
from mmeframe.plugin.records import (
    CombinerPlugin,
    ModelLoaderPlugin,
    ModelSourcePlugin,
    ObserverPlugin,
    RoutingStrategyPlugin,
)
from mmeframe.plugin.tables import read_table
from mmeframe.rows.distinct import factorized
from mmeframe.rows.key_columns import changed_by_csv, normalised
from mmeframe.rows.keys import canonical, csv_form, csv_twins
from mmeframe.rows.shares import fractions
from mmeframe.sections import RouterSpec
from mmeframe.spec import MAIN_ARM, Logged, SubModelEntry

if TYPE_CHECKING:
    import pluggy

    hookimpl: pluggy.HookimplMarker

__all__ = [
    "MAIN_ARM",
    "MISSING",
    "BadInputError",
    "Batch",
    "BatchEvent",
    "Combiner",
    "CombinerConf",
    "CombinerPlugin",
    "ComponentContext",
    "Conf",
    "ConfigError",
    "ErrorEvent",
    "EvictEvent",
    "FileSignatureConf",
    "LoadEvent",
    "LoaderConf",
    "Logged",
    "MissingError",
    "MmeframeError",
    "ModelError",
    "ModelLoader",
    "ModelLoaderPlugin",
    "ModelSource",
    "ModelSourcePlugin",
    "NamePattern",
    "Observer",
    "ObserverConf",
    "ObserverPlugin",
    "PathPattern",
    "Problem",
    "ProblemsError",
    "RegisteredModel",
    "RegisteredVersion",
    "Registry",
    "RouterSpec",
    "RoutingInputs",
    "RoutingStrategy",
    "RoutingStrategyPlugin",
    "ShadowEvent",
    "SourceConf",
    "SourceContext",
    "StrategyConf",
    "SubModel",
    "SubModelEntry",
    "SubModelFiles",
    "UnknownNameError",
    "canonical",
    "changed_by_csv",
    "csv_form",
    "csv_twins",
    "factorized",
    "fractions",
    "hookimpl",
    "listed",
    "normalised",
    "read_table",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name == "hookimpl":
        try:
            import pluggy
        except ImportError:
            # Where routers are served no hook is ever called: a module that has one beside its component still imports.
            return lambda function=None, **_: function or (lambda inner: inner)
        return pluggy.HookimplMarker("mmeframe")
    raise AttributeError(f"module 'mmeframe.plugin' has no attribute {name!r}")
