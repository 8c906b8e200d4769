"""Observers, and the shadow arms that are scored for them after the answer. Nothing here reaches the caller."""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmeframe.errors import FAULTS
from mmeframe.plugin import Observer

__all__ = ["Background", "Observers"]

_log = logging.getLogger("mmeframe")


def _place_of(error: BaseException) -> str:
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
            _log.error(said, name, method, _place_of(error))


class Background:
    """One thread that works a bounded queue off; when the queue is full, work is dropped and counted.

    The thread starts with the first piece of work, in the process that has it: servers fork.
    """

    def __init__(self, size: int) -> None:
        self.dropped = 0
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(size)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], None]) -> bool:
        """Queue work; False if it was dropped."""
        if self._thread is None or not self._thread.is_alive():
            self._start()
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            with self._lock:
                self.dropped += 1
            return False
        return True

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="mmeframe-shadow", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            try:
                work()
            except FAULTS as error:
                _log.error("a shadow failed (%s)", _place_of(error))
            finally:
                # Its rows are not to live until there is more work.
                del work
                self._queue.task_done()

    def wait(self) -> None:
        """Until everything that was queued is done."""
        self._queue.join()
