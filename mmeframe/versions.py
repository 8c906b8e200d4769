"""Versions of Python and of libraries: those that something was made with, beside those that are here.

Lowest layer: the standard library, and packaging on use.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

__all__ = [
    "HERE",
    "faults",
    "installed",
    "minor",
    "other_libraries",
    "other_pythons",
    "pickled_by",
    "quietly",
    "tell",
]

# The version of this Python as far as it matters to pickles.
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
_SHOWN = 3
_log = logging.getLogger("mmeframe")
_told: set[str] = set()
_quiet = threading.local()


def minor(version: str) -> str:
    """``3.10.13`` is 3.10 to a pickle."""
    return ".".join(version.split(".")[:2])


def other_pythons(pickled: Mapping[str, str]) -> dict[str, list[str]]:
    """Python versions other than this one -> ids of the sub-models that they pickled, sorted.

    pickled: id -> the minor version that pickled it, empty where nobody knows, or where nothing is pickled.
    """
    found: dict[str, list[str]] = {}
    for id_, python in sorted(pickled.items()):
        if python and python != HERE:
            found.setdefault(python, []).append(id_)
    return found


def other_libraries(requirements: Iterable[str]) -> tuple[str, ...]:
    """What is said of each distribution that is installed here in a version that the requirements do not admit."""
    from packaging.requirements import Requirement

    found = []
    for line in requirements:
        requirement = Requirement(line)
        here = None if requirement.url or not _holds(requirement) else _version(requirement.name)
        # What needs one that is missing will say so.
        if here is not None and not requirement.specifier.contains(here, prereleases=True):
            found.append(f"{requirement.name}{requirement.specifier} is required, and {here} is installed here.")
    return tuple(found)


def installed(requirements: Iterable[str]) -> dict[str, str | None]:
    """Distributions that requirements name -> the version that is here, None where there is none."""
    from packaging.requirements import Requirement

    return {name: _version(name) for name in sorted({Requirement(line).name for line in requirements})}


def _version(distribution: str) -> str | None:
    from importlib import metadata

    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    # metadata.version() would parse all of it, description and all.
    line = re.search(r"^Version:(.*)$", found.read_text("METADATA") or "", re.MULTILINE)
    return line[1].strip() if line else found.version


def _holds(requirement: object) -> bool:
    marker = getattr(requirement, "marker", None)
    try:
        return marker is None or bool(marker.evaluate())
    except ValueError:
        return False


def pickled_by(python: str, ids: list[str]) -> str:
    """``'a', 'b' and 7 more were pickled by Python 3.10, and this is Python 3.11``, without an end."""
    shown = ", ".join(map(repr, ids[:_SHOWN]))
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return f"{shown}{more} {'were' if len(ids) > 1 else 'was'} pickled by Python {python}, and this is Python {HERE}"


def faults(requirements: Iterable[str], pickled: Mapping[str, str]) -> list[str]:
    """What is said of a router that was built elsewhere, or before something was installed here."""
    pythons = other_pythons(pickled).items()
    crash = "loading it may fail, or end the process."
    return [f"{pickled_by(python, ids)}: {crash}" for python, ids in pythons] + [*_others_loaded(tuple(requirements))]


# A process that loads routers goes on with what it has imported, whatever is installed meanwhile.
_others_loaded = lru_cache(maxsize=64)(other_libraries)


@contextmanager
def quietly() -> Iterator[None]:
    """For who has told all that there is to tell, and loads a router to look at it."""
    _quiet.now = True
    try:
        yield
    finally:
        _quiet.now = False


def tell(texts: Iterable[str]) -> None:
    """Log each text once in a process."""
    for text in texts:
        if text not in _told and not getattr(_quiet, "now", False):
            _told.add(text)
            _log.warning(text)
