"""The kinds of components. Whatever differs between them stands in this table, and everything else asks it.

The checks of the conformance kit are only named: they lie in a layer above, and import pytest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmeframe.errors import Problem
from mmeframe.plugin.conf import CombinerConf, Conf, LoaderConf, ObserverConf, SourceConf, StrategyConf
from mmeframe.plugin.interfaces import Combiner, ModelLoader, ModelSource, Observer, RoutingStrategy
from mmeframe.plugin.records import (
    CombinerPlugin,
    ComponentPlugin,
    ModelLoaderPlugin,
    ModelSourcePlugin,
    ObserverPlugin,
    RoutingStrategyPlugin,
)

__all__ = ["CHOSEN", "COMBINER", "KINDS", "LOADER", "OBSERVER", "SOURCE", "STRATEGY", "Kind", "of_group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of component.

    name: as in ``init --kind``, and of the folder with its template. noun, plural: as messages call it; ``noun`` is the
    key of the plugin manager's tables. hook, record: what registers it. base, conf: what a component, and its options,
    extend. choose: how a config chooses one. checks: those of the conformance kit, as ``package.module:NAME``.

    The other fields are of kinds that have a config group, and empty for those that are named in place. group: whose
    choices these are. place: the section that has an entry for each one chosen. entry: what messages call such an
    entry. alone: whether the group may be chosen without a name for the entry.
    """

    name: str
    noun: str
    plural: str
    hook: str
    record: type[ComponentPlugin[Any]]
    base: type[Any]
    conf: type[Conf]
    choose: str
    checks: str
    group: str = ""
    place: str = ""
    entry: str = ""
    alone: bool = False

    def add(self, name: str, kind: str) -> str:
        """The override that adds an entry: ``+source@sources.days=registry``."""
        return f"+{self.group}@{self.place}.{name}={kind}"

    def needs_name(self, where: str, kind: str) -> Problem:
        """What is wrong where the group is chosen without a name."""
        article = "an" if self.entry[0] in "aeiou" else "a"
        return Problem(where, f"{article} {self.entry} needs a name.", f"Write {self.add('<name>', kind)}.")


STRATEGY = Kind(
    name="strategy",
    noun="routing strategy",
    plural="routing strategies",
    hook="mmeframe_routing_strategies",
    record=RoutingStrategyPlugin,
    base=RoutingStrategy,
    conf=StrategyConf,
    choose="routing={name}, or +routing@routing.keys.<part>={name}",
    checks="mmeframe.testing.checks.strategy:STRATEGY_CHECKS",
    group="routing",
    place="routing.keys",
    entry="key part",
    alone=True,
)
LOADER = Kind(
    name="loader",
    noun="model loader",
    plural="model loaders",
    hook="mmeframe_model_loaders",
    record=ModelLoaderPlugin,
    base=ModelLoader,
    conf=LoaderConf,
    choose="models.<id>.loader={name}, or {{kind: {name}, <option>: <value>}}",
    checks="mmeframe.testing.checks.loader:LOADER_CHECKS",
)
SOURCE = Kind(
    name="source",
    noun="model source",
    plural="model sources",
    hook="mmeframe_model_sources",
    record=ModelSourcePlugin,
    base=ModelSource,
    conf=SourceConf,
    choose="+source@sources.<name>={name}",
    checks="mmeframe.testing.checks.source:SOURCE_CHECKS",
    group="source",
    place="sources",
    entry="source",
)
COMBINER = Kind(
    name="combiner",
    noun="combiner",
    plural="combiners",
    hook="mmeframe_combiners",
    record=CombinerPlugin,
    base=Combiner,
    conf=CombinerConf,
    choose="models.<id>.combine: {{kind: {name}, of: [<id>, <id>]}}",
    checks="mmeframe.testing.checks.combiner:COMBINER_CHECKS",
)
OBSERVER = Kind(
    name="observer",
    noun="observer",
    plural="observers",
    hook="mmeframe_observers",
    record=ObserverPlugin,
    base=Observer,
    conf=ObserverConf,
    choose="+observer@observers.<name>={name}",
    checks="mmeframe.testing.checks.observer:OBSERVER_CHECKS",
    group="observer",
    place="observers",
    entry="observer",
)

KINDS = (STRATEGY, LOADER, SOURCE, COMBINER, OBSERVER)
# Those with a config group.
CHOSEN = tuple(kind for kind in KINDS if kind.group)


def of_group(group: str) -> Kind | None:
    """The kind that a config group chooses; None for groups of files, such as ``experiment``."""
    return next((kind for kind in CHOSEN if kind.group == group), None)
