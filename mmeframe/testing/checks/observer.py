"""What every observer promises."""

from __future__ import annotations

import copy
import time
import warnings
from typing import Any

import numpy as np

from mmeframe.plugin import BatchEvent, ErrorEvent, EvictEvent, LoadEvent, ModelError, ShadowEvent
from mmeframe.plugin.observers import Observers
from mmeframe.testing import new_process as apart
from mmeframe.testing.cases import ObserverCase
from mmeframe.testing.check import BrokenError, Check, expect
from mmeframe.testing.checks.common import COMMON_CHECKS, check_prepare
from mmeframe.testing.threads_and_files import THREADS, in_threads

__all__ = [
    "EVENTS",
    "OBSERVER_CHECKS",
    "check_events",
    "check_events_are_kept",
    "check_fork",
    "check_quick",
    "check_threads",
]


def _array(values: Any, kind: Any = None) -> np.ndarray[Any, Any]:
    """Answers that nobody can change."""
    found = np.array(values, kind)
    found.flags.writeable = False
    return found


def _shadow(answers: Any, others: Any) -> ShadowEvent:
    return ShadowEvent("eu", "eu~next", "next", len(answers), 0.002, answers, others)


# Counts may be numpy's, too.
_ONE: Any = np.int64(1)
# Events of every type, by the method that is told them, as a router makes them.
EVENTS: tuple[tuple[str, Any], ...] = (
    ("on_batch", BatchEvent(3, 0.01, {"eu": 2, "us": 1}, {"exact": 3})),
    ("on_batch", BatchEvent(_ONE, np.float64(1e-6), {"día\n0": _ONE}, {"fallback": _ONE})),
    ("on_batch", BatchEvent(0, 0.0, {}, {})),
    ("on_batch", BatchEvent(2, 0.5, {}, {"unknown": 1, "missing_key": 1})),
    ("on_load", LoadEvent("eu", 1.5, 2**31)),
    ("on_evict", EvictEvent("eu", 2048, "budget")),
    ("on_evict", EvictEvent("us", 0, "ttl")),
    ("on_shadow", _shadow(_array([1.0, np.nan, np.inf]), _array([1.5, 2.0, np.inf]))),
    ("on_shadow", _shadow(_array([1, 2]), _array([1.0, 2.0]))),
    ("on_shadow", _shadow(_array(["a", None], object), _array(["a", "b"], object))),
    ("on_shadow", _shadow(_array([True]), _array([False]))),
    ("on_shadow", _shadow(_array([[0.25, 0.75]]), _array([[0.5, 0.5]]))),
    ("on_shadow", _shadow(_array([1.0, 2.0]), _array([[1.0, 2.0]]))),
    ("on_shadow", _shadow(_array([], float), _array([], float))),
    ("on_error", ErrorEvent("eu", 3, ModelError("its predict failed", where="eu"), shadow=False)),
    ("on_error", ErrorEvent("us", 1, MemoryError(), shadow=True)),
)
# Seconds that an event may take, of which a router's rows wait for each.
_QUICK = 0.02


@Check
def check_events(case: ObserverCase) -> None:
    """It takes events of every type, whatever is in them: a router goes on without an observer that raises."""
    observer = case.bound()
    for method, event in EVENTS:
        try:
            # Infinities among the answers may make numbers warn, which stops nobody where a router is served.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                getattr(observer, method)(event)
        except Exception as error:
            raise BrokenError(f"{method} raises {type(error).__name__}: {error}, when it is told {event}") from error


@Check
def check_events_are_kept(case: ObserverCase) -> None:
    """Events are shared with the router and with other observers: it changes nothing in them."""
    observer = case.bound()
    for method, event in EVENTS:
        told = copy.deepcopy(event)
        getattr(observer, method)(told)
        expect(repr(told) == repr(event), f"{method} changes its event: {told}, and it was {event}")


@Check
def check_quick(case: ObserverCase) -> None:
    """It is quick, or hands events to a queue: it is called in the thread that answers."""
    observer = case.bound()
    for method, event in dict(reversed(EVENTS)).items():
        seconds = []
        for _ in range(15):
            start = time.perf_counter()
            getattr(observer, method)(event)
            seconds.append(time.perf_counter() - start)
        # The least: a busy machine makes calls slow, never all of them.
        least = min(seconds)
        expect(least <= _QUICK, f"{method} takes {least * 1000:.0f} ms, for which every answer waits")


@Check
def check_threads(case: ObserverCase) -> None:
    """Several threads tell it at once."""
    host = Observers({"it": case.bound()})

    def tell(_: int) -> None:
        for _ in range(20):
            for method, event in EVENTS:
                host.tell(method, event)

    in_threads(tell)
    expect(not host.failures, f"the router drops it when {THREADS} threads tell it at once: it raises")


@Check
def check_fork(case: ObserverCase) -> None:
    """Servers fork: in a child it is told events as in the process that loaded the router."""
    code = apart.run("fork", (case.component.to_json(), case.prepared(), list(EVENTS)))["code"]
    expect(code is not None, "in a forked process it waits for ever: locks and threads do not come along")
    expect(code == 0, "in a forked process it raises, and is dropped")


OBSERVER_CHECKS = (
    *COMMON_CHECKS,
    check_prepare,
    check_events,
    check_events_are_kept,
    check_quick,
    check_threads,
    check_fork,
)
