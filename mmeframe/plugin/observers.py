"""Tell observers what happens; one that fails is dropped. Nothing here reaches the caller."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmeframe.errors import FAULTS
from mmeframe.plugin.interfaces import Observer

__all__ = ["Observers", "place_of"]

_log = logging.getLogger("mmeframe")


def place_of(error: BaseException) -> str:
    """The kind of an error and where it was raised; its text and its causes may hold the caller's data."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"


class Observers:
    """Tells all observers. One that raises is logged once and told nothing more; the router goes on without it.

    ``failures``: by name, how often the dropped ones had raised; threads that were telling one at that moment count,
    too.
    """

    def __init__(self, observers: Mapping[str, Observer[Any]]) -> None:
        # Replaced, never changed: threads walk over it.
        self._observers = dict(observers)
        self._lock = threading.Lock()
        self.failures: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._observers)

    @property
    def names(self) -> list[str]:
        """Of those that are told."""
        return list(self._observers)

    def mute(self) -> None:
        """Tell nobody from now on: what a build asks of its router to prove it is no traffic."""
        self._observers = {}

    def tell(self, method: str, event: Any) -> None:
        for name, observer in self._observers.items():
            try:
                getattr(observer, method)(event)
            except FAULTS as error:
                self._drop(name, method, error)

    def _drop(self, name: str, method: str, error: BaseException) -> None:
        with self._lock:
            first = name not in self.failures
            self.failures[name] = self.failures.get(name, 0) + 1
            self._observers = {other: it for other, it in self._observers.items() if other != name}
        if first:
            said = "observers.%s: %s failed (%s); the router goes on without this observer."
            _log.error(said, name, method, place_of(error))
