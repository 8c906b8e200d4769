"""Code of sub-models and plugins that calls sys.exit() fails like any other: no server ends for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from mmeframe import api
from mmeframe.errors import ModelError, PluginError
from mmeframe.plugin.manager import load_plugins
from mmeframe.runtime import Router
from tests import fleets
from tests.conftest import Store

EXITING = """
import sys
from dataclasses import dataclass
from sklearn.base import BaseEstimator
from mmeframe.plugin import (
    Combiner, CombinerConf, CombinerPlugin, Observer, ObserverConf, ObserverPlugin, RoutingInputs, RoutingStrategy,
    RoutingStrategyPlugin, StrategyConf, hookimpl,
)

# Who exits, once the router is built.
WHO = set()

def here(who):
    if who in WHO:
        sys.exit(0)

class Model(BaseEstimator):
    def __init__(self, name=""):
        self.name = name
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        here(f"{self.name} predict")
        return X["x1"].to_numpy() * 0 + 1.0
    def __setstate__(self, state):
        super().__setstate__(state)
        here(f"{self.name} load")

@dataclass
class StrategyOptions(StrategyConf):
    pass

class Strategy(RoutingStrategy[StrategyOptions]):
    def inputs(self):
        return RoutingInputs({"key": "key"})
    def route_keys(self, batch, params):
        here("strategy")
        return batch.column("key")

@dataclass
class CombinerOptions(CombinerConf):
    pass

class Combine(Combiner[CombinerOptions]):
    def combine(self, answers):
        here("combiner")
        return answers[0]

@dataclass
class ObserverOptions(ObserverConf):
    pass

class Watch(Observer[ObserverOptions]):
    def on_batch(self, event):
        here("observer")
    def on_shadow(self, event):
        here("shadow observer")

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("exiting", StrategyOptions, f"{__name__}:Strategy", "may exit")]

@hookimpl
def mmeframe_combiners():
    return [CombinerPlugin("exiting", CombinerOptions, f"{__name__}:Combine", "may exit")]

@hookimpl
def mmeframe_observers():
    return [ObserverPlugin("exiting", ObserverOptions, f"{__name__}:Watch", "may exit")]
"""


@pytest.fixture(scope="module")
def exiting(importable: Callable[..., Any]) -> Any:
    return importable("exiting_code", EXITING)


@pytest.fixture(scope="module")
def logged(exiting: Any, keep: Callable[..., str], module_store: Store) -> str:
    rows = fleets.rows(10)[["x1", "x2"]]
    path = {
        name: keep(exiting.Model(name).fit(rows), rows, code_paths=[exiting.__file__]) for name in ("one", "two", "new")
    }
    uri: str = api.build(
        "name=exiting",
        "routing=exiting",
        f"+models.one={{uri:'{path['one']}',key:{{exiting:one}}}}",
        f"+models.two={{uri:'{path['two']}',key:{{exiting:two}}}}",
        f"+models.new={{uri:'{path['new']}',key:{{exiting:one}},arm:new}}",
        "+models.both={combine:{kind:exiting,of:[one,two]},key:{exiting:both}}",
        "traffic.shadow=[new]",
        "residency=lazy",
        "residency.failure_ttl_s=0",
        "+observer@observers.watch=exiting",
        module_store.override,
        plugins=load_plugins([exiting.__name__]),
    ).model_uri
    return uri


@pytest.fixture
def router(logged: str, exiting: Any, module_store: Store) -> Iterator[Router]:
    yield api.load_router(logged, tracking_uri=module_store.uri)
    exiting.WHO.clear()


def rows(*keys: str) -> pd.DataFrame:
    return pd.DataFrame({"x1": 0.5, "x2": 1.0, "key": keys})


@pytest.mark.parametrize(
    ("who", "key", "kind", "what"),
    [
        pytest.param("one predict", "one", ModelError, "one: its predict failed with SystemExit", id="predict"),
        pytest.param("one load", "one", ModelError, "one: it cannot be loaded: SystemExit", id="load"),
        pytest.param("combiner", "both", ModelError, "both: its combiner failed with SystemExit", id="combiner"),
        pytest.param("strategy", "one", PluginError, "the strategy failed with SystemExit", id="strategy"),
    ],
)
def test_a_request_fails_and_the_next_is_answered(router, exiting, who, key, kind, what):
    """As with any error: its kind is named, and the router goes on."""
    exiting.WHO.add(who)

    with pytest.raises(kind, match=what):
        router.predict(rows(key))

    exiting.WHO.clear()
    assert router.predict(rows("one", "two", "both")).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("who", ["observer", "shadow observer", "new predict", "new load"])
def test_observers_and_shadows_change_no_answer(router, exiting, who):
    """Nor do they end the thread that scores shadows."""
    exiting.WHO.add(who)

    assert router.predict(rows("one", "two")).tolist() == [1.0, 1.0]
    router.background.wait()
    exiting.WHO.clear()
    assert router.predict(rows("one")).tolist() == [1.0]
    router.background.wait()
    assert set(router.observers.failures) == ({"watch"} if "observer" in who else set())
