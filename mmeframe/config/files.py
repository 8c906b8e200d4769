"""Reading the user's config files: what one may hold, and how much. Imports no Hydra.

A config names no code, so its files say nothing of Hydra itself, whose options do; and reading them takes bounded time
and memory, whatever their anchors hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmeframe.errors import Problem

__all__ = ["Counter", "RefusedError", "TooMuch", "check_content", "check_path", "text_of"]

# Far more than a router of ten thousand sub-models needs.
_BYTES = 8 * 2**20
_VALUES = 250_000
_DEPTH = 100
# Of interpolations, which take a hundred times as long as values.
_GIVEN = 100_000
# Of one composition; each file as often as a list of defaults names it.
_FILES = 10_000
_HYDRA = re.compile(r"\bhydra\b")


class TooMuch(BaseException):
    """A composition gives more than can be held. No Exception, which OmegaConf would catch and go on."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.problem = Problem("config", what, hint)


class Counter:
    """Counts what interpolations give and lists of defaults name; ends a composition in which that is too much."""

    def __init__(self) -> None:
        self._values = self._letters = self._files = 0

    def add(self, given: Any) -> None:
        """A node that an interpolation gave. Raises TooMuch."""
        self._values += 1
        if isinstance(given, str):
            self._letters += len(given)
        for inner in given.values() if isinstance(given, dict) else given if isinstance(given, list) else ():
            self.add(inner)
        if self._values > _GIVEN or self._letters > _BYTES:
            what = "interpolations expand to too much: ${...} repeats everything that it refers to."
            raise TooMuch(what, "Look at values that name one another.")

    def add_file(self) -> None:
        """A file that a list of defaults named. Raises TooMuch."""
        self._files += 1
        if self._files > _FILES:
            what = f"lists of defaults name more than {_FILES:,} files, directly and through one another."
            raise TooMuch(what, "Look at files that several others name in their defaults.")


class RefusedError(ValueError):
    """A file that is not read, with what to tell."""

    def __init__(self, file: Path, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.problem = Problem(file.name, what, hint)


def text_of(file: Path) -> str:
    """The text of a config file.

    Raises RefusedError for one that holds too much, RecursionError for one that is nested too deeply or holds itself.
    """
    if not file.is_file():
        raise RefusedError(file, "it is no file.")
    with file.open("rb") as content:
        raw = content.read(_BYTES + 1)
    if len(raw) > _BYTES:
        raise RefusedError(file, f"it is larger than {_BYTES // 2**20} MiB.", _SMALLER)
    text = raw.decode("utf-8")
    if _values(text) > _VALUES:
        raise RefusedError(file, f"it holds more than {_VALUES:,} values, counting those of its anchors.", _SMALLER)
    return text


_SMALLER = "Name families of sub-models in sources, such as a manifest, instead of listing them."


def _values(text: str) -> int:
    """How many values a text holds, as far as it is YAML, where each alias holds all that its anchor does.

    The events are counted, because libyaml composes without a bound: deep nesting would end the process.
    """
    import yaml

    sizes: dict[str | None, int] = {}
    # What is not closed yet: its anchor, and how much it holds.
    above: list[list[Any]] = [[None, 0]]
    try:
        for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            anchor = getattr(event, "anchor", None)
            if isinstance(event, yaml.CollectionStartEvent):
                above.append([anchor, 1])
                if len(above) > _DEPTH:
                    raise RecursionError
                continue
            if isinstance(event, yaml.AliasEvent):
                if any(anchor == outer for outer, _ in above):
                    raise RecursionError
                size = sizes.get(anchor, 1)
            elif isinstance(event, yaml.ScalarEvent):
                size = 1
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, size = above.pop()
            else:
                continue
            if anchor and not isinstance(event, yaml.AliasEvent):
                sizes[anchor] = size
            above[-1][1] += size
            if above[-1][1] > _VALUES:
                break
    except yaml.YAMLError:
        # Said where it is parsed.
        pass
    return int(above[-1][1])


def check_path(file: Path, path: str) -> None:
    """Refuse a file of a config's folder that stands for one of Hydra's own, or outside of the folder."""
    if ".." in Path(path).parts:
        raise RefusedError(file, f"{path!r} leads out of the folder.", "Add the other folder with --config-dir.")
    if "hydra" in Path(path.removesuffix(".yaml")).parts:
        raise RefusedError(file, f"it would set options of Hydra's own ({path}).", _COMMAND_LINE)


def check_content(file: Path, content: Any, header: str | None) -> None:
    """Refuse what a file says of Hydra itself: in its section, or by where it puts something."""
    placed = [header or "", *(place.partition("@")[2] for place in _places(content))]
    if (isinstance(content, Mapping) and "hydra" in content) or any(_HYDRA.search(place) for place in placed):
        raise RefusedError(file, "a config file cannot set hydra: its options can name code.", _COMMAND_LINE)


_COMMAND_LINE = "Give them on the command line, or folders of configs with --config-dir."


def _places(content: Any) -> Iterator[str]:
    """What the defaults of a file name, each with its place after an @."""
    entries = content.get("defaults") if isinstance(content, Mapping) else None
    for entry in entries if isinstance(entries, list) else ():
        yield from map(str, entry if isinstance(entry, Mapping) else [entry])
