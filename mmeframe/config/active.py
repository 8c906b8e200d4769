"""What one composition uses. Imports no Hydra: completion and ``--help`` import this package and must be quick."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from mmeframe.plugin.manager import Registered

__all__ = ["Active", "Options", "active", "own_files"]

# Group -> name -> what registered it.
Options = Mapping[str, Mapping[str, Registered]]


@dataclass(frozen=True)
class Active:
    """The user's own config folders, and the options of plugins.

    paths: folders of YAML files that plugins ship. absent: what broken and disabled plugins may have provided, for
    messages.
    """

    config_dirs: tuple[str, ...]
    options: Options
    paths: tuple[str, ...] = ()
    absent: str = ""


active: ContextVar[Active | None] = ContextVar("mmeframe_active", default=None)


def own_files(path: str) -> list[Path]:
    """Files of the user's folders that a config's path may mean, the one that Hydra takes first."""
    current = active.get()
    folders = current.config_dirs if current else ()
    return [file for folder in folders if (file := Path(folder) / f"{path}.yaml").is_file()]
