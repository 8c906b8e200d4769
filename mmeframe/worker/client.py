"""This side of a worker: start it, call it, notice its death, end it.

Neither a fork, since servers have threads, nor multiprocessing, which would import the main script again: a fresh
interpreter that inherits one socket, and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmeframe.errors import ModelError
from mmeframe.shipped import plain_path
from mmeframe.worker import process as far

__all__ = ["Ended", "Remote", "RemoteError", "Worker"]

# Not ``-m``: the process finds mmeframe where this one did, which may be an archive inside a model.
_START = "import sys; sys.path[:] = sys.argv[2:]; from mmeframe.worker.process import main; main(int(sys.argv[1]))"
_HOME = str(Path(__file__).parents[2])
# Seconds that a process has to end once its connection is gone.
_GRACE = 5.0

_keys = itertools.count()


class RemoteError(Exception):
    """What a function raised in a worker: a class of the same name, the same text, and its traceback as a note."""

    refused_by = ""


class Ended(Exception):  # noqa: N818 - as ProcessLookupError, it says what became of a process
    """A worker's process is gone; its text says how it ended."""


class _Process:
    """A live process, and connections to it, of which each call has one to itself.

    So calls do not wait for one another, and an interrupted one leaves nothing that another could take for its answer:
    its connection is closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._open: set[socket.socket] = set()
        self._control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", _START, str(theirs.fileno()), *plain_path(), _HOME]
            # The deployment's variables are for the router, and a sub-model may be one itself.
            kept = {name: it for name, it in os.environ.items() if name[:9] != "MMEFRAME_" or name[9:] == "CACHE_DIR"}
            self._popen = subprocess.Popen(  # noqa: S603 - this interpreter
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=kept
            )
        threading.Thread(target=_reap, args=(self._popen, self._open), daemon=True).start()
        # Also when this is collected, and at exit.
        self.close = weakref.finalize(self, _close, self._control, self._open, os.getpid())

    @property
    def ended(self) -> bool:
        return self._popen.returncode is not None or not self.close.alive

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a function gives there. Raises what it raises, errors not of ours as RemoteError; Ended."""
        try:
            connection = self._take()
            try:
                far.send(connection, (function, args))
                message = far.receive(connection)
            except BaseException:
                self._open.discard(connection)
                connection.close()
                raise
        except OSError:
            raise Ended(self._how()) from None
        self._idle.append(connection)
        answer = message()
        if isinstance(answer, far.Failure):
            raise _raised(answer)
        return answer

    def _take(self) -> socket.socket:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        ours, theirs = socket.socketpair()
        self._open.add(ours)
        with theirs, self._lock:
            socket.send_fds(self._control, [b"."], [theirs.fileno()])
        return ours

    def _how(self) -> str:
        """How it ended: the connection is gone, so it has, or is about to."""
        try:
            code = self._popen.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            code = self._popen.wait()
        return f"its process ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}."


def _reap(popen: subprocess.Popen[bytes], connections: set[socket.socket]) -> None:
    """Leave no zombie, and no call waiting: a process that this one had started may hold a connection open."""
    popen.wait()
    for connection in list(connections):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _close(control: socket.socket, connections: set[socket.socket], owner: int) -> None:
    """The process ends when it reads the end of these. In a fork of the owner only copies are closed."""
    control.close()
    for connection in list(connections):
        if os.getpid() == owner:
            # Wakes the thread that may wait for an answer.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def _raised(failure: far.Failure) -> BaseException:
    if failure.own is not None:
        return failure.own
    # Messages name the type of what a sub-model raised, wherever it runs.
    error: BaseException = type(failure.kind, (RemoteError,), {"refused_by": failure.refused_by})(failure.text)
    error.add_note(failure.trace)
    return error


class Worker:
    """A process that runs functions; started with the first, and again after it died. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._users = 0
        _workers.add(self)

    def process(self) -> _Process:
        with self._lock:
            if self._process is None or self._process.ended:
                self._process = _Process()
            return self._process

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.process().run(function, *args)

    def hold(self) -> None:
        """Count a sub-model that lives there."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Count one less; without any the process ends."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self.close()

    def close(self) -> None:
        """End the process. It is started again if somebody calls it."""
        with self._lock:
            if self._process is not None:
                self._process.close()
            self._process = None

    def forget(self) -> None:
        """In a process that this one was forked into: its worker is the other's."""
        self._lock = threading.Lock()
        self.close()


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _forked() -> None:
    for worker in list(_workers):
        worker.forget()


os.register_at_fork(after_in_child=_forked)


class Remote:
    """A sub-model that lives in a worker: a call of its ``methods`` is a call there, with the same answers and errors.

    make: makes it there. methods: those that may be called, of which it has some. size: bytes of its files, which is
    what is known of its memory. Loads again where the process died. Raises ModelError naming the sub-model if the
    process ends, else what loading raises.
    """

    def __init__(
        self, worker: Worker, model_id: str, make: Callable[[], Any], methods: Sequence[str], size: int = 0
    ) -> None:
        self.id, self.size = model_id, size
        self._worker, self._make, self._wanted = worker, make, tuple(methods)
        self._key, self._lock = next(_keys), threading.Lock()
        self._process: _Process | None = None
        self._methods: Sequence[str] = ()
        worker.hold()
        try:
            with self._named():
                self._loaded()
        except BaseException:
            worker.release()
            raise

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_methods", ()):
            return partial(self._ask, name)
        raise AttributeError(f"{self.__dict__.get('id')}: no method {name!r}.")

    def _ask(self, method: str, rows: Any, **options: Any) -> Any:
        if isinstance(rows, np.ndarray) and not rows.flags.forc:
            # A pickle would write it row by row, and a linear model's last bits depend on the order in memory.
            rows = rows.copy("K")
        with self._named():
            return self._loaded().run(far.ask, self._key, method, rows, options)

    def _loaded(self) -> _Process:
        """The live process, with the sub-model in it."""
        process = self._worker.process()
        if self._process is not process:
            with self._lock:
                # Another thread may have loaded it while this one waited.
                if self._process is not process:
                    self._methods = process.run(far.load, self._key, self._make, self._wanted)
                    self._process = process
        return process

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except Ended as error:
            raise ModelError(str(error), where=self.id) from None

    def unload(self) -> None:
        """Give its memory back. The process ends with its last sub-model."""
        process, self._process = self._process, None
        if process is not None and not process.ended:
            with contextlib.suppress(Ended):
                process.run(far.drop, self._key)
        self._worker.release()
