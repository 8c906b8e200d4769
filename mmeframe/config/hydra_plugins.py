"""What Hydra sees of mmeframe: plugin options as config groups, the order of the search path, and checked files.

The first two classes are registered through Hydra's documented ``Plugins.instance().register``; nothing global is
written, no ``hydra_plugins`` namespace is used. They act only while a composition of ours is active, and so does the
third, which reads all files in place of Hydra's own.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins as HydraPlugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from mmeframe.config.files import check_content, check_path, text_of
from mmeframe.config.hydra_api import Options, active
from mmeframe.config.options import plain_defaults
from mmeframe.plugin.kinds import CHOSEN
from mmeframe.plugin.manager import Plugins

__all__ = ["CheckedFiles", "plugin_options", "register"]

SCHEME = "mmeframe"


def plugin_options(plugins: Plugins) -> Options:
    """Every registered component that has a config group."""
    return {kind.group: plugins.choices(kind.noun) for kind in CHOSEN}


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
        entry = self._options[group][name]
        content = OmegaConf.create({"kind": name, **plain_defaults(entry, f"{group}={name}")})
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
        # Full names have a point: they choose what is listed already.
        configs = [name for name in self._options.get(path, {}) if "." not in name]
        found = {ObjectType.GROUP: groups, ObjectType.CONFIG: configs}
        return sorted(groups + configs if results_filter is None else found.get(results_filter, []))


class _Named(io.StringIO):
    """A text with the name of its file, for messages of YAML."""

    def __init__(self, text: str, file: Path) -> None:
        super().__init__(text)
        self.name = str(file)


class CheckedFiles(FileConfigSource):
    """Reads files of bounded size that say nothing of Hydra itself, whatever folder of the search path they are in."""

    def load_config(self, config_path: str) -> ConfigResult:
        name = self._normalize_file_name(config_path)
        file = Path(self.path, name)
        check_path(file, os.path.normpath(name))
        text = text_of(file)
        header = self._get_header_dict(text[:512])
        config = OmegaConf.load(_Named(text, file))
        check_content(file, OmegaConf.to_container(config), header["package"])
        return ConfigResult(self.provider, f"{self.scheme()}://{self.path}", config, header)


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
