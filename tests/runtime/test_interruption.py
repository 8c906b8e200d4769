"""Ctrl-C and alarms inside of the residency manager: wherever one strikes, the account is right and nobody hangs."""

from __future__ import annotations

import contextlib
import ctypes
import dis
import itertools
import pickle
import random
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mmeframe.errors import ModelError
from mmeframe.runtime import account, residency, scoring
from mmeframe.runtime.residency import Residency
from tests.runtime.test_residency import SIZE, Shelf, scored, use

N = 6
MANAGER = (residency.__file__, account.__file__)
SIGNED = "sources.all.signature={inputs:[x],outputs:double}"
# After these Python looks whether it is to be interrupted.
_LOOKS = {"CALL", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD"}


class Interrupted(BaseException):
    """What strikes. Not an Exception, as KeyboardInterrupt is none."""


class Strike:
    """Raises at one of the places in the own code of some files where Python could be interrupted, the ``at``-th.

    Without ``at``, counts them.
    """

    def __init__(self, at: int = -1, files: Collection[str] = MANAGER) -> None:
        self.files = files
        self.at, self.seen, self.where = at, 0, ""
        self._last: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in self.files:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event != "opcode":
            # A frame begins or goes on with RESUME; it does not look on its way to a handler.
            self._last[frame] = "RESUME" if event == "call" else ""
        else:
            looked = self._last[frame] in _LOOKS
            self._last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if looked:
                self.seen += 1
                if self.seen - 1 == self.at:
                    self.where = f"{frame.f_code.co_name}, line {frame.f_lineno}, offset {frame.f_lasti}"
                    raise Interrupted
        return self


@contextmanager
def struck(strike: Strike) -> Iterator[None]:
    sys.settrace(strike)
    try:
        yield
    except Interrupted:
        pass
    finally:
        sys.settrace(None)


def check_whole(manager: Residency, shelf: Shelf, where: str) -> None:
    """Nothing is held, promised or waited for; what is counted is what is there; everything can be had, by anybody."""
    found = manager.statistics()
    alive = [live.bytes for live in manager._live.values()]
    assert (found.bytes, found.resident, found.loading) == (sum(alive), len(alive), 0), where
    facts = (manager._waves, manager._queue, manager._waiting, manager._loading, manager._busy, manager._leaving)
    assert [len(it) for it in (*facts, manager._over)] == [0] * 7, where
    counts = (manager._promised, manager._loads_promised, manager._loads_running, manager._inflight)
    assert counts == (0, 0, 0, 0), where
    assert manager._bytes - manager._marked_bytes == sum(live.bytes for live in manager._idle.values())
    assert {live.users for live in manager._live.values()} <= {0}
    shelf.broken.clear()
    shelf.sizes.clear()
    manager._measured.clear()
    manager._failed.clear()
    with ThreadPoolExecutor(1) as pool:
        # These last ones first: what is larger than it was expected leaves for them.
        everything = pool.submit(lambda: [use(manager, 3, 4, 5), use(manager, 0, 1, 2)])
        assert everything.result(timeout=20) == [[3, 4, 5], [0, 1, 2]]


def one(manager: Residency, shelf: Shelf) -> None:
    use(manager, 0)
    use(manager, 0)


def evicting(manager: Residency, shelf: Shelf) -> None:
    use(manager, 0, 1, 2)
    use(manager, 3, 4)


def in_waves(manager: Residency, shelf: Shelf) -> None:
    scored(manager, [[number] for number in range(4)])


def failing(manager: Residency, shelf: Shelf) -> None:
    shelf.broken.add(1)
    for _ in range(2):
        with closing(manager.acquire([0, 1])) as found:
            assert isinstance(next(found)[1], ModelError)


def larger(manager: Residency, shelf: Shelf) -> None:
    """All fit as they are expected, and not as they are."""
    shelf.sizes.update(dict.fromkeys(range(3), 2 * SIZE))
    with closing(manager.waves([[0], [1], [2]])) as waves:
        assert sum(len(wave) for wave, _ in waves) == 3


def refused(manager: Residency, shelf: Shelf) -> None:
    with closing(manager.acquire([0, 1, 2, 3])) as found:
        assert all(isinstance(it, ModelError) for it in next(found).values())


def waiting(manager: Residency, shelf: Shelf) -> None:
    """Another batch has the room, and gives it back when this one waits, or has been interrupted."""
    has, done = threading.Event(), threading.Event()

    def other() -> None:
        with closing(manager.acquire([3, 4, 5])) as found:
            next(found)
            has.set()
            while not (manager._waiting or done.is_set()):
                time.sleep(0.0005)

    holder = threading.Thread(target=other)
    holder.start()
    has.wait(10)
    try:
        use(manager, 0)
    finally:
        done.set()
        holder.join()


def expiring(manager: Residency, shelf: Shelf) -> None:
    use(manager, 0, 1)
    manager._expire()


@pytest.mark.stress
@pytest.mark.parametrize("load_workers", [1, 2])
@pytest.mark.parametrize("ask", [one, evicting, in_waves, failing, larger, refused, waiting, expiring])
def test_an_interruption_anywhere(ask: Callable[[Residency, Shelf], None], load_workers: int):
    """At every place of acquire, load and release where Python looks for interruptions, one after the other."""
    count = Strike()
    with struck(count):
        ask(*made(load_workers))
    assert count.seen > 50

    at = 0
    while True:
        manager, shelf = made(load_workers)
        strike = Strike(at)
        with struck(strike):
            ask(manager, shelf)
        check_whole(manager, shelf, strike.where)
        if strike.seen <= at:
            break
        at += 1
    assert at > 50


def made(load_workers: int) -> tuple[Residency, Shelf]:
    shelf = Shelf()
    return shelf.manager(N, max_bytes=3 * SIZE, load_workers=load_workers), shelf


@pytest.mark.build
@pytest.mark.stress
def test_an_interruption_anywhere_in_scoring(make, module_store):
    """At every place where rows are sent to sub-models and answers are brought back: alone, mixed, in waves."""
    home = module_store.folder / "numbers"
    home.mkdir()
    for number in range(4):
        model = LinearRegression().fit(pd.DataFrame({"x": [0.0, 1.0]}), [number, number])
        (home / f"m_{number}.pkl").write_bytes(pickle.dumps(model))
    source = (f"sources.all.path={home}", "sources.all.pattern='m_{key}.pkl'", SIGNED, "residency.max_models=2")
    router = make("routing=column", "routing.column=key", "+source@sources.all=folder", *source, "residency=lazy")
    batches = [pd.DataFrame({"x": 0.5, "key": keys}) for keys in ([1], [1, 1], [0, 1, 2, 3])]

    at = 0
    while True:
        strike = Strike(at, (scoring.__file__,))
        with struck(strike):
            for rows in batches:
                router.predict(rows)
        idle = router.residency.statistics()
        facts = (router.residency._waves, router.residency._busy, router.residency._over)
        assert (idle.loading, [len(it) for it in facts]) == (0, [0, 0, 0]), strike.where
        if strike.seen <= at:
            break
        at += 1

    assert at > 50
    for rows in batches:
        np.testing.assert_allclose(router.predict(rows), rows["key"])


# -- any number of them ------------------------------------------------------------------------------------------


def test_a_storm_of_interruptions(monkeypatch):
    """Threads of which each is struck again and again, wherever it is: also while it takes back what it had."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
    shelf = Shelf(sizes={0: SIZE + 20}, during=lambda number: time.sleep(0.0002))
    manager = shelf.manager(N, max_bytes=3 * SIZE, load_workers=2, failure_ttl_s=0)

    assert storm(manager, 1_000) > 0

    check_whole(manager, shelf, "a storm")


def storm(manager: Residency, times: int, n_threads: int = 6) -> int:
    """Interrupt threads that want everything, and start others for those that end; returns how many batches had it."""
    batches, wrong, stop, ready = list[int](), list[int](), threading.Event(), set[int]()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        ready.add(threading.get_ident())
        while not stop.is_set():
            with contextlib.suppress(Interrupted):
                batch(chance.sample(range(N), chance.choice([1, 2, 3])))

    def batch(numbers: list[int]) -> None:
        held = manager.acquire(numbers)
        try:
            live = next(held)
            # One that is larger than was expected does not fit beside two others.
            wrong.extend(number for number in numbers if getattr(live[number], "number", number) != number)
            batches.append(len(numbers))
        finally:
            held.close()

    chance, threads, seeds, done = random.Random(0), list[threading.Thread](), itertools.count(), 0
    while done < times:
        ready &= {thread.ident for thread in threads if thread.is_alive()}
        threads = [thread for thread in threads if thread.is_alive()]
        while len(threads) < n_threads:
            threads.append(threading.Thread(target=work, args=(next(seeds),)))
            threads[-1].start()
        time.sleep(chance.random() / 1_000)
        if ready:
            ident = ctypes.c_ulong(chance.choice([*ready]))
            done += ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Interrupted))
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    assert (wrong, [thread for thread in threads if thread.is_alive()]) == ([], [])
    return len(batches)
