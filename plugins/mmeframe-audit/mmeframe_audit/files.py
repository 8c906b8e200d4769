"""Records to Parquet files, by a thread of its own. Knows no configs and no events.

A file appears whole or not at all: it is written under a hidden name, which readers of a folder leave out, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

__all__ = ["Log"]

_LOGGER = logging.getLogger("mmeframe.audit")
# How long a process that ends waits for its last file.
_LAST_S = 10.0
_END = object()

Record = dict[str, Any]


class Log:
    """A queue of records, and the thread that writes them.

    every_s, records: a file is written when its first record has waited so long, or when it has so many. waiting:
    records that may wait; more are dropped, as are those that the disk does not take. ``dropped`` counts both, and the
    next file has a record ``lost`` with their number. answers: whether there are columns for answers.
    """

    def __init__(self, folder: str, *, every_s: float, records: int, waiting: int, answers: bool) -> None:
        from multiprocessing import util

        self._folder, self._answers = folder, answers
        self._every_s, self._records, self._waiting = every_s, records, waiting
        self.dropped = 0
        # How many of the dropped ones a file has already told.
        self._told = 0
        self._failing = self._full = False
        self._counting = threading.Lock()
        # Of this kind, because a garbage collection may put something on it whatever the thread is doing.
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mmeframe-audit", daemon=True)
        # As atexit does, and also where a process of multiprocessing ends, which leaves atexit out.
        self._at_exit: Any = util.Finalize(None, self.close, exitpriority=1)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Queue a record; never waits."""
        if self._queue.qsize() < self._waiting:
            self._queue.put(record)
            return
        self._drop(1)
        if not self._full:
            self._full = True
            _LOGGER.error("audit: %s takes files too slowly; records that find no room are dropped", self._folder)

    def flush(self) -> None:
        """Wait until everything that was put is written or dropped."""
        done = threading.Event()
        self._queue.put(done)
        while self._thread.is_alive() and not done.wait(0.1):
            pass

    def hurry(self) -> None:
        """Write what waits, and from now on every record at once; waits for nothing."""
        self._every_s = 0.0
        self._queue.put(threading.Event())

    def end(self) -> None:
        """Write what waits, and end the thread; waits for nothing."""
        self._queue.put(_END)

    def close(self) -> None:
        """End, and wait for it: ten seconds at most, because a disk may hang."""
        self.end()
        self._thread.join(_LAST_S)

    def _drop(self, records: int) -> None:
        with self._counting:
            self.dropped += records

    def _run(self) -> None:
        batch: list[Record] = []
        due = 0.0
        while True:
            try:
                item = self._queue.get(timeout=max(0.0, due - time.monotonic()) if batch else None)
            except queue.Empty:
                item = None
            if isinstance(item, dict):
                due = due if batch else time.monotonic() + self._every_s
                batch.append(item)
                if len(batch) < self._records and time.monotonic() < due:
                    continue
            self._write(batch)
            batch = []
            if item is _END:
                self._at_exit.cancel()
                return
            if isinstance(item, threading.Event):
                item.set()

    def _write(self, batch: list[Record]) -> None:
        dropped = self.dropped
        lost = dropped - self._told
        told = [{"time": time.time_ns() // 1000, "event": "lost", "rows": lost, "models": [], "reasons": []}]
        rows = batch + told[: bool(lost)]
        if not rows:
            return
        try:
            _save(rows, self._folder, self._answers)
        except Exception as error:  # noqa: BLE001 - whatever the disk does, the router goes on
            self._drop(len(batch))
            if not self._failing:
                why = getattr(error, "strerror", None) or type(error).__name__
                _LOGGER.error("audit: %s takes no files (%s); records are dropped until it does", self._folder, why)
            self._failing = True
            return
        if self._failing:
            _LOGGER.warning("audit: %s takes files again; records lost: %d", self._folder, lost)
        self._told, self._failing = dropped, False


def _save(rows: list[Record], folder: str, answers: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = os.path.expandvars(folder)
    if "$" in path:
        raise OSError(errno.ENOENT, "a variable in it is not set")
    home = Path(path).expanduser()
    table = pa.Table.from_pylist(rows, schema=_schema(pa, answers))
    home.mkdir(parents=True, exist_ok=True)
    # Names sort by time, and no other process has them, on whichever machine.
    time_ = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(rows[0]["time"] / 1e6))
    name = f"{time_}-{os.urandom(8).hex()}.parquet"
    hidden = home / f".{name}.tmp"
    try:
        with hidden.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            # Else a machine that loses its power may keep the name, and not the content.
            os.fsync(file.fileno())
        hidden.rename(home / name)
    except BaseException:
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise


def _schema(pa: Any, answers: bool) -> Any:
    counts = pa.map_(pa.string(), pa.int64())
    columns = [
        ("time", pa.timestamp("us", "UTC")),
        ("event", pa.string()),
        ("rows", pa.int64()),
        ("seconds", pa.float64()),
        ("models", counts),
        ("reasons", counts),
        ("error", pa.string()),
    ]
    if answers:
        columns += [(name, pa.string()) for name in ("shadow_id", "arm", "answers", "shadow_answers")]
    return pa.schema(columns)
