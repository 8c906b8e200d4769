"""What is done after the answer: shadow arms are scored. Nothing here reaches the caller."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from mmeframe.errors import FAULTS
from mmeframe.plugin.observers import place_of

__all__ = ["Background"]

_log = logging.getLogger("mmeframe")


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
                _log.error("a shadow failed (%s)", place_of(error))
            finally:
                # Its rows are not to live until there is more work.
                del work
                self._queue.task_done()

    def wait(self) -> None:
        """Until everything that was queued is done."""
        self._queue.join()
