"""What checks of several kinds do: ask from many threads at once, and see which files are opened."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["THREADS", "in_threads", "opened"]

T = TypeVar("T")
THREADS = 8
_ROUNDS = 3


def in_threads(function: Callable[[int], T]) -> list[list[T]]:
    """What a function returns for 0 to 7 when so many threads call it at the same moment; several times over."""
    # The interpreter goes to another thread as soon as it can.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            return [_together(pool, function) for _ in range(_ROUNDS)]
    finally:
        sys.setswitchinterval(before)


def _together(pool: ThreadPoolExecutor, function: Callable[[int], T]) -> list[T]:
    gate = threading.Barrier(THREADS)

    def call(number: int) -> T:
        gate.wait()
        return function(number)

    return list(pool.map(call, range(THREADS)))


@contextlib.contextmanager
def opened() -> Iterator[set[str]]:
    """Absolute paths of the files that Python opens while the block runs, whether they are there or not."""
    found: set[str] = set()

    def noting(inner: Callable[..., Any]) -> Callable[..., Any]:
        def noted(file: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(file, str | bytes | os.PathLike):
                found.add(os.path.abspath(os.fsdecode(file)))
            return inner(file, *args, **kwargs)

        return noted

    places: list[tuple[Any, Any]] = [(module, module.open) for module in (builtins, io, os)]
    for module, inner in places:
        module.open = noting(inner)
    try:
        yield found
    finally:
        for module, inner in places:
            module.open = inner
