"""Plugins, found once for all tests that have the same: looking through what is installed takes a while."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from mmeframe.plugin.manager import Plugins, load_plugins

__all__ = ["found_plugins", "switches"]


def switches() -> tuple[str, ...]:
    """What the environment says of plugins."""
    return tuple(os.environ.get(name, "") for name in ("MMEFRAME_PLUGINS", "MMEFRAME_DISABLE_PLUGINS"))


def found_plugins(modules: Sequence[str] = ()) -> Plugins:
    """What is installed, and these modules, as ``-p`` adds them. Raises PluginError for one that cannot be used."""
    return _found(tuple(modules), switches())


@lru_cache(maxsize=64)
def _found(modules: tuple[str, ...], environment: tuple[str, ...]) -> Plugins:
    del environment
    return load_plugins(modules)
