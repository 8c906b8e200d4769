"""What hostile requests cost: bytes in, seconds and bytes out, and how both grow when the request doubles.

``python -m tests.benchmarks.hostile``: a growth of 2 is linear. What is refused is timed with its message.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.errors import MmeframeError
from mmeframe.plugin import NamePattern
from mmeframe.rows import batch
from mmeframe.rows.schema import check_frame
from mmeframe.spec import Column
from tests import fuzz

ROUNDS = 3
SIXTY = tuple(Column(f"feature_{number}", "double") for number in range(60))
GOOD: dict[str, Any] = {"key": "a", "time": "2013-01-01", "text": "qq", "number": 1.0, "x1": 0.5, "x2": 1.0}


def _wide(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(np.zeros((1, len(names))), columns=pd.Index(names, dtype=object))


def _rows(n: int, **columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({name: columns.get(name, [value] * n) for name, value in GOOD.items()})


def _sparse(n: int) -> list[dict[str, int]]:
    return [{f"c{at}-{row}": 1 for at in range(9)} for row in range(n)]


def _pattern(name: str) -> None:
    NamePattern("*a*a*a*a*a*b{k}", ("k",), "here").read(name)


def cases(key: Any, every: Any, typed: Any) -> list[tuple[str, int, Callable[[int], Any], Callable[[Any], Any]]]:
    """Label, a first size, what makes a request of that size, and what answers it."""
    ask, ask_all = key.predict, every.predict
    flat = dict.fromkeys(fuzz.TYPES, 1.0)
    return [
        ("columns twice", 20_000, lambda n: _wide([f"c{at % (n // 2)}" for at in range(n)]), ask),
        ("60 missing among others", 20_000, lambda n: _wide([f"other_{at}" for at in range(n)]), _sixty),
        ("20 long names of columns", 100_000, lambda n: _wide([f"x{at}" + "x" * n for at in range(20)]), ask),
        (
            "rows without a common column",
            100,
            lambda n: [{f"c{at}-{row}": 1 for at in range(9)} for row in range(n)],
            ask,
        ),
        ("long unknown keys", 100_000, lambda n: _rows(5, key=[f"{at}" * n for at in range(5)]), ask),
        ("many unknown keys", 20_000, lambda n: _rows(n, key=[f"k{at}" for at in range(n)]), ask),
        ("a long time", 100_000, lambda n: _rows(1, time=["2013-01-01" + " " * n + "1Z"]), ask_all),
        (
            "a long time with an offset",
            100_000,
            lambda n: _rows(1, time=["2013-01-01T10:00" + " " * n + "1Z"]),
            ask_all,
        ),
        ("many times", 10_000, lambda n: _rows(n, time=[f"2013-01-01T10:00:00.{at:06}Z" for at in range(n)]), ask_all),
        ("a long text", 200_000, lambda n: _rows(1, text=["q" * n]), ask_all),
        ("many objects as keys", 10_000, lambda n: _rows(n, key=[7, "a", 0.5, None] * (n // 4)), ask_all),
        ("a long list in a cell", 100_000, lambda n: [{**flat, "string": "a", "list": [[1] * n]}], typed.predict),
        ("a long parameter", 100_000, lambda n: (_rows(1), {"tenant": "t" * n}), lambda it: ask_all(*it)),
        ("many parameters", 20_000, lambda n: (_rows(1), {f"p{at}": 1 for at in range(n)}), lambda it: ask_all(*it)),
        ("a name and a pattern", 2_000, lambda n: "a" * n, _pattern),
        ("texts of one hash", 4_000, lambda n: _rows(n, key=pd.array(_same_texts(n), "str")), ask_all),
        ("whole numbers of one hash", 4_000, lambda n: _rows(n, key=_same_words(n)), ask_all),
        (
            "wide whole numbers of one hash",
            4_000,
            lambda n: _rows(n, key=[at * (2**61 - 1) for at in range(n)]),
            ask_all,
        ),
    ]


def _same_texts(n: int) -> list[str]:
    """Texts of 16 letters to which Arrow gives one hash: the product of each half with a constant, reversed, or-ed."""
    first, second = np.uint64(11400714785074694791), np.uint64(14029467366897019727)
    back, found = np.uint64(pow(int(first), -1, 2**64)), list[str]()
    random = np.random.default_rng(0)
    while len(found) < n:
        ends = random.integers(0x30, 0x7A, (500_000, 8), np.uint8)
        starts = ((np.uint64(1) ^ (ends.view("<u8").ravel() * second).byteswap()).byteswap() * back).view(np.uint8)
        starts = starts.reshape(-1, 8)
        plain = ((starts > 0x1F) & (starts < 0x7F)).all(axis=1)
        found += [(bytes(end) + bytes(start)).decode() for end, start in zip(ends[plain], starts[plain], strict=True)]
    return found[:n]


def _same_words(n: int) -> np.ndarray[Any, Any]:
    """Whole numbers to which pandas gives one hash, ``(k >> 33) ^ k ^ (k << 11)`` in 32 bits."""
    high = np.arange(n, dtype=np.uint64)
    low = part = np.uint64(12345) ^ high
    for _ in range(2):
        part = (part << np.uint64(11)) & np.uint64(2**32 - 1)
        low = low ^ part
    return (high << np.uint64(33) | low).astype(np.int64)


def _sixty(frame: pd.DataFrame) -> Any:
    return check_frame(frame, SIXTY, frozenset(column.name for column in SIXTY))


def _size(request: Any) -> int:
    if isinstance(request, pd.DataFrame):
        return int(request.memory_usage(index=False, deep=True).sum()) + sum(map(len, request.columns))
    return len(str(request))


def cost(request: Any, answer: Callable[[Any], Any]) -> tuple[float, int]:
    """Seconds, the median of some, and characters of the error, if it is one."""
    times, said = [], 0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        try:
            answer(request)
        except MmeframeError as error:
            said = len(str(error))
        times.append(time.perf_counter() - start)
    return statistics.median(times), said


def remembered() -> int:
    """Bytes of the names that are kept after requests with 200 lists of names of 1 MB each."""
    for number in range(200):
        batch.as_batch(_wide([f"{number}-{at}" + "x" * 100_000 for at in range(10)]))
    return sum(it.bytes for it in batch._known.values())


def main() -> None:
    print("| request | bytes in | s | characters out | twice: s | growth | four times: s | growth |")
    print("|---|---|---|---|---|---|---|---|")
    with fuzz.fleet() as found:
        for label, size, make, answer in cases(*(target.router for target in found)):
            requests = [make(size * times) for times in (1, 2, 4)]
            (one, said), (two, _), (four, _) = (cost(request, answer) for request in requests)
            growth = f"{two:.4f} | {two / one:.1f} | {four:.4f} | {four / two:.1f}"
            print(f"| {label} | {_size(requests[0]):,} | {one:.4f} | {said:,} | {growth} |")
    print(f"Remembered of 200 lists of names of 1 MB: {remembered():,} bytes.")


if __name__ == "__main__":
    main()
