"""Compositions that are remembered: a test suite asks for the same config a hundred times."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmeframe.api import job
from mmeframe.plugin.manager import Plugins
from mmeframe.sections import RouterSpec
from mmeframe.testing.installed import found_plugins, switches

__all__ = ["Compositions"]

# A call of a resolver, such as ${oc.env:HOME} or ${now:%Y}: what it gives may be another value the next time.
_CALL = re.compile(r"\$\{[\w.]+:")
# What a file says of other files: it is not in a composed config.
_DEFAULTS = re.compile(r"^defaults:.*?(?=^\w|\Z)", re.MULTILINE | re.DOTALL)


class Compositions:
    """Specs by everything that decides them: overrides, command, the files of the user's folders, plugins.

    Those whose config calls a resolver are composed anew each time.
    """

    def __init__(self) -> None:
        self._known: dict[object, bytes] = {}

    def get(
        self,
        overrides: Sequence[str],
        command: str = "build",
        config_dirs: Sequence[str | Path] = (),
        plugins: Sequence[str] | Plugins = (),
    ) -> RouterSpec:
        """The validated config of a command, as a copy that may be changed.

        plugins: names of modules that are added to what is installed, or plugins that are loaded.
        Raises ProblemsError with everything that is wrong.
        """
        folders = [Path(folder).absolute() for folder in config_dirs]
        files = tuple(stamp for folder in folders for stamp in _stamps(folder))
        names = plugins if isinstance(plugins, Plugins) else (*plugins, *switches())
        key = (command, tuple(overrides), tuple(folders), files, names, os.getcwd())
        known = self._known.get(key)
        if known is None:
            loaded = plugins if isinstance(plugins, Plugins) else found_plugins(plugins)
            work = job(command, overrides, config_dirs=folders, plugins=loaded)
            known = pickle.dumps(work.spec)
            if not any(map(_CALL.search, [work.composed.text, *overrides, *_defaults(files)])):
                self._known[key] = known
        found: RouterSpec = pickle.loads(known)  # noqa: S301 - pickled above
        return found


def _defaults(files: Iterable[tuple[str, int, int]]) -> Iterator[str]:
    """The ``defaults`` of config files."""
    for path, _, _ in files:
        yield from _DEFAULTS.findall(Path(path).read_text(encoding="utf-8", errors="replace"))


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Each file of a config folder, with when it was written and its size."""
    for home, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".yaml"):
                told = os.stat(os.path.join(home, name))
                yield os.path.join(home, name), told.st_mtime_ns, told.st_size
