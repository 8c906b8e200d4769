"""What Hydra sees of mmeframe: plugin options as config groups, and the order of the search path.

Both classes are registered through Hydra's documented ``Plugins.instance().register``; nothing global is written, no
``hydra_plugins`` namespace is used. They act only while a composition of ours is active.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins as HydraPlugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from mmeframe.plugin.conf import defaults_of
from mmeframe.plugin.manager import HOOKS, Plugins

__all__ = ["Active", "active", "plugin_options", "register"]

SCHEME = "mmeframe"

Options = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Active:
    """What one composition uses: the user's own config folders, and group -> option -> content.

    paths: folders of YAML files that plugins ship. absent: what broken and disabled plugins may have provided, for
    messages.
    """

    config_dirs: tuple[str, ...]
    options: Options
    paths: tuple[str, ...] = ()
    absent: str = ""


active: ContextVar[Active | None] = ContextVar("mmeframe_active", default=None)


def plugin_options(plugins: Plugins) -> Options:
    """Every registered component that has a config group: its ``kind`` and the defaults of its options."""
    return {
        hook.group: {
            name: {"kind": name, **defaults_of(entry.record.config)}
            for name, entry in plugins.registered[hook.noun].items()
        }
        for hook in HOOKS
        if hook.group
    }


class PluginOptions(ConfigSource):
    """Serves ``routing/<name>`` and ``source/<name>`` from the active plugins: open maps, typed after composition."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider=provider, path=path)
        current = active.get()
        # A snapshot, so that launchers can send this object to another process.
        self._options: Options = current.options if current else {}

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def _split(self, config_path: str) -> tuple[str, str]:
        group, _, name = config_path.strip("/").rpartition("/")
        return group, name.removesuffix(".yaml")

    def load_config(self, config_path: str) -> ConfigResult:
        group, name = self._split(config_path)
        content = OmegaConf.create(dict(self._options[group][name]))
        return ConfigResult(self.provider, f"{SCHEME}://{config_path}", content, {"package": None})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path.strip("/") in self._options or config_path.strip("/") == ""

    def is_config(self, config_path: str) -> bool:
        group, name = self._split(config_path)
        return name in self._options.get(group, {})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        path = config_path.strip("/")
        groups = list(self._options) if path == "" else []
        configs = list(self._options.get(path, {}))
        found = {ObjectType.GROUP: groups, ObjectType.CONFIG: configs}
        return sorted(groups + configs if results_filter is None else found.get(results_filter, []))


class SearchPath(SearchPathPlugin):
    """The user's folders before the shipped ones; after them the files that plugins ship, and plugins' options."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        current = active.get()
        if current is None:
            return
        for folder in reversed(current.config_dirs):
            search_path.prepend("--config-dir", f"file://{folder}")
        for path in current.paths:
            search_path.append("mmeframe-plugin-files", path)
        search_path.append("mmeframe-plugins", f"{SCHEME}://")


def register() -> None:
    """Make both known to Hydra; harmless to repeat."""
    plugins = HydraPlugins.instance()
    if SearchPath not in plugins.discover(SearchPathPlugin):
        plugins.register(PluginOptions)
        plugins.register(SearchPath)
