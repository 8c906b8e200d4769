"""The far side of a worker: a process that runs functions for the one that started it, and ends with it.

Started with one end of a socket pair. Each connection that comes through it has a thread, and carries one request at a
time. Both sides are one user's and trust each other: messages are pickles, with the buffers of arrays beside them.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmeframe.errors import refused_by

__all__ = ["ClosedError", "Failure", "ask", "drop", "load", "main", "receive", "send"]

_HEAD = struct.Struct("<QQ")
# Seconds that a process has to end, once nobody needs it.
_LAST = 5

_live: dict[int, Any] = {}


class ClosedError(ConnectionError):
    """The other side is gone."""


class Failure:
    """What a function raised: our own errors as they are, of others only text, since their classes may not be known."""

    def __init__(self, error: BaseException) -> None:
        self.own = error if type(error).__module__ == "mmeframe.errors" else None
        self.kind, self.text = type(error).__name__, str(error)
        self.refused_by = refused_by(error)
        self.trace = "".join(traceback.format_exception(error))


def send(connection: socket.socket, message: Any) -> None:
    """Nothing is sent of a message that cannot be pickled. Raises OSError if the other side is gone."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, 5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    lengths = [len(buffer) for buffer in raw]
    connection.sendall(struct.pack(f"<{2 + len(raw)}Q", len(body), len(raw), *lengths) + body)
    for buffer in raw:
        connection.sendall(buffer)


def receive(connection: socket.socket) -> Callable[[], Any]:
    """A whole message, read but not yet understood: the result unpickles it. Raises ClosedError or OSError."""
    length, count = _HEAD.unpack(_read(connection, _HEAD.size))
    lengths = struct.unpack(f"<{count}Q", _read(connection, 8 * count))
    body = _read(connection, length)
    buffers = [_read(connection, size) for size in lengths]
    return lambda: pickle.loads(body, buffers=buffers)  # noqa: S301 - from the process at the other end of our socket


def _read(connection: socket.socket, length: int) -> Any:
    # Writable, as arrays made of it must be; and not zeroed first, as a bytearray is.
    data: Any = np.empty(length, np.uint8)
    view = memoryview(data)
    while len(view):
        got = connection.recv_into(view)
        if not got:
            raise ClosedError
        view = view[got:]
    return data


def main(descriptor: int) -> None:
    """Serve connections until the other side is gone, however it went."""
    # Ctrl-C in a terminal reaches every process there; the one that started this decides what it means.
    signal.signal(signal.SIGINT, lambda *_: None)
    os.set_inheritable(descriptor, False)
    with socket.socket(fileno=descriptor) as control:
        while descriptors := socket.recv_fds(control, 1, 1)[1]:
            os.set_inheritable(descriptors[0], False)
            connection = socket.socket(fileno=descriptors[0])
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()
    # What libraries do at exit, such as removing temporary files, is done; but a thread of theirs cannot hold it up.
    signal.alarm(_LAST)


def _serve(connection: socket.socket) -> None:
    with connection:
        while True:
            try:
                message = receive(connection)
                answer = _run(message)
                try:
                    send(connection, answer)
                except OSError:
                    raise
                except Exception as error:  # noqa: BLE001 - an answer that cannot be pickled
                    send(connection, Failure(error))
            except OSError:
                return


def _run(message: Callable[[], Any]) -> Any:
    try:
        function, args = message()
        return function(*args)
    except BaseException as error:  # noqa: BLE001 - sys.exit() of a library, too, is told and ends nothing
        return Failure(error)


def load(key: int, make: Callable[[], Any], methods: tuple[str, ...]) -> list[str]:
    """Make a sub-model and keep it under a key; returns which of the methods it has."""
    model = make()
    _live[key] = model
    return [method for method in methods if callable(getattr(model, method, None))]


def ask(key: int, method: str, rows: Any, options: Mapping[str, Any]) -> Any:
    return getattr(_live[key], method)(rows, **options)


def drop(key: int) -> None:
    _live.pop(key, None)
