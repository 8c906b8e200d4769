"""Bytes of sub-models that are really alive stay within the budget, whatever fails, and whoever keeps the error.

Payloads are weighed by weak references and by tracemalloc, with the garbage collector switched off: what only it could
free counts as alive.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pandas as pd
import pytest

from mmeframe import api
from mmeframe.errors import ModelError
from mmeframe.plugin.manager import load_plugins
from mmeframe.runtime import Router
from tests import fleets
from tests.conftest import Store

# Of one payload, and of all that may be in memory: three of them with what is around them.
SIZE, BUDGET = 1 << 20, 3_500_000
N = 8
HEAVY = """
import weakref
from dataclasses import dataclass
import numpy as np
from sklearn.base import BaseEstimator
from mmeframe.plugin import Observer, ObserverConf, ObserverPlugin, hookimpl

# By what they do: numbers of those that fail. And: weak references to payloads; most bytes that were alive; errors.
FAILS, ALIVE, MOST, KEPT = {"load": {}, "predict": {}}, [], [0], []

def weigh():
    ALIVE[:] = [it for it in ALIVE if it() is not None]
    alive = sum(payload.nbytes for it in ALIVE if (payload := it()) is not None)
    MOST[0] = max(MOST[0], alive)
    return alive

class Heavy(BaseEstimator):
    def __init__(self, number=0):
        self.number = number
    def fit(self, X, y=None):
        self.payload_ = np.full(SIZE // 8, self.number % 4.0)
        return self
    def predict(self, X):
        payload = self.payload_
        if self.number in FAILS["predict"]:
            try:
                raise OSError("its first cause")
            except OSError as error:
                raise FAILS["predict"][self.number]("cannot") from error
        return X["x1"].to_numpy() * 0 + payload[0]
    def __setstate__(self, state):
        super().__setstate__(state)
        payload = self.payload_
        ALIVE.append(weakref.ref(payload))
        weigh()
        if self.number in FAILS["load"]:
            raise FAILS["load"][self.number]("cannot be made")

@dataclass
class KeepConf(ObserverConf):
    pass

class Keep(Observer[KeepConf]):
    def on_error(self, event):
        KEPT.append(event)

@hookimpl
def mmeframe_observers():
    return [ObserverPlugin("keep", KeepConf, f"{__name__}:Keep", "keeps every error")]
""".replace("SIZE", str(SIZE))


@pytest.fixture(scope="module")
def heavy(importable: Callable[..., Any]) -> Any:
    return importable("heavy_models", HEAVY)


Build = Callable[[str, str], Router]


@pytest.fixture(scope="module")
def build(heavy: Any, keep: Callable[..., str], module_store: Store) -> Build:
    """A lazy router over the sub-models 0 to 7, of which the 0 has the shadow 7, and the 6 can be a gate."""
    rows = fleets.rows(10)[["x1", "x2"]]
    paths = [keep(heavy.Heavy(number).fit(rows), rows, code_paths=[heavy.__file__]) for number in range(N)]

    @cache
    def built(kind: str, on_error: str) -> str:
        models = [f"+models.m{number}={{uri:'{path}',key:{{key:{number}}}}}" for number, path in enumerate(paths[:6])]
        logged = api.build(
            f"name={kind}_{on_error}",
            f"output.on_error={on_error}",
            *kinds[kind],
            *models,
            "residency=lazy",
            f"residency.max_bytes={BUDGET}",
            "residency.failure_ttl_s=0",
            "+observer@observers.keep=keep",
            module_store.override,
            plugins=load_plugins([heavy.__name__]),
        )
        return logged.model_uri

    by_column = ("routing=column", "routing.column=key")
    shadow = (f"+models.m7={{uri:'{paths[7]}',key:{{key:0}},arm:new}}", "traffic.shadow=[new]")
    gate = ("+routing@routing.keys.key=gate", "routing.keys.key.model=m6", f"+models.m6={{uri:'{paths[6]}',key:none}}")
    kinds = {"column": by_column, "shadow": (*by_column, *shadow), "gate": gate}
    return lambda kind, on_error: api.load_router(built(kind, on_error), tracking_uri=module_store.uri)


@pytest.fixture
def alive(heavy: Any) -> Iterator[Callable[[], int]]:
    """Bytes of payloads that are alive; nothing fails before and after, and no garbage is collected in between."""
    gc.disable()
    tracemalloc.start()
    yield heavy.weigh
    tracemalloc.stop()
    gc.enable()
    heavy.KEPT.clear()
    for failing in heavy.FAILS.values():
        failing.clear()


def frame(*keys: int) -> pd.DataFrame:
    return pd.DataFrame({"x1": 0.5, "x2": 1.0, "key": keys})


def batches() -> Iterator[pd.DataFrame]:
    """One row, all rows of one sub-model, and rows of many, each again and again."""
    for start in range(12):
        yield frame(start % 6)
        yield frame(*[start % 6] * 3)
        yield frame(*[(start + step) % 6 for step in range(4)])


@pytest.mark.build
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("what", ["predict", "load"])
@pytest.mark.parametrize(
    ("kind", "failing", "how"),
    [
        ("column", (1, 3), ValueError),
        ("column", (1, 3), KeyboardInterrupt),
        ("gate", (6,), ValueError),
        ("gate", (6,), KeyboardInterrupt),
        # Ctrl-C strikes the main thread, which scores no shadows.
        ("shadow", (7,), ValueError),
    ],
)
def test_failures_keep_nothing_alive(build, heavy, alive, kind, failing, what, how, on_error):
    """Neither errors that callers and observers keep, nor frames of what failed, was interrupted or is a shadow's."""
    router = build(kind, on_error)
    # What the build left, and the router of another test.
    gc.collect()
    heavy.MOST[0] = 0
    heavy.FAILS[what].update(dict.fromkeys(failing, how))
    kept: list[BaseException] = []
    before = tracemalloc.get_traced_memory()[0] - alive()

    for rows in batches():
        try:
            router.predict(rows)
        except (ModelError, KeyboardInterrupt) as error:
            kept.append(error)
        router.background.wait()
        assert alive() <= BUDGET
        assert router.residency.statistics().loading == 0

    assert len(kept) + len(heavy.KEPT) >= 6
    assert heavy.MOST[0] <= BUDGET + SIZE
    # What was asked, answered and kept, and no payload among it.
    assert tracemalloc.get_traced_memory()[0] - before <= BUDGET + SIZE // 2
    assert all(isinstance(error.__cause__, ValueError) or how is KeyboardInterrupt for error in kept)
