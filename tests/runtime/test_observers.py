"""Observers and shadow arms: everything is told, and nothing of it reaches the caller."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mmeframe import api
from mmeframe.errors import BadInputError, ConfigError, ModelError
from mmeframe.plugin import Observer, ObserverConf
from mmeframe.plugin.manager import load_plugins
from mmeframe.plugin.observers import Observers
from mmeframe.runtime import Router
from tests import fleets
from tests.conftest import Store

# An observer that keeps what it is told, and may break; it brings a file of its own into the bundle.
WATCHING = """
from dataclasses import dataclass
from mmeframe.plugin import Observer, ObserverConf, ObserverPlugin, hookimpl

EVENTS = []
# At what those break that do.
BREAKS = {"load", "batch", "shadow", "error", "evict"}

@dataclass
class WatchConf(ObserverConf):
    # What its events are kept under.
    name: str = "eye"
    breaks: bool = False

class Watch(Observer[WatchConf]):
    def prepare(self):
        return {"motto": self.conf.name.encode()}
    def bind(self, context):
        self.motto = bytes(context.files["motto"]).decode()
    def on_batch(self, event): self._keep("batch", event)
    def on_load(self, event): self._keep("load", event)
    def on_shadow(self, event): self._keep("shadow", event)
    def on_error(self, event): self._keep("error", event)
    def on_evict(self, event): self._keep("evict", event)
    def _keep(self, what, event):
        if self.conf.breaks and what in BREAKS:
            raise ValueError("this observer is broken")
        EVENTS.append((self.motto, what, event))

@hookimpl
def mmeframe_observers():
    return [ObserverPlugin("KIND", WatchConf, f"{__name__}:Watch", "keeps what it is told")]
"""
BREAKS_AT = f"ValueError in watching.py, line {WATCHING[: WATCHING.index('raise ValueError')].count(chr(10)) + 1}"
# Sub-models that ship their own code: one raises with a row in its text, one waits until a test lets it go.
OWN = """
import threading
from sklearn.base import BaseEstimator

BEGUN, GO = threading.Event(), threading.Event()
GO.set()

class Picky(BaseEstimator):
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        if (X["x1"] > 5).any():
            raise RuntimeError(f"cannot take s3cr3t {X['x1'].max()}")
        return X["x1"].to_numpy() * 2

class Patient(BaseEstimator):
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        BEGUN.set()
        if not GO.wait(60):
            raise TimeoutError
        return X["x1"].to_numpy() * 3
"""
ROUTED = ("routing=column", "routing.column=key", "routing.on_unknown=skip")
ROWS = fleets.rows(40)[["x1", "x2"]]
EYE = ("+observer@observers.eye=watch",)

Keep = Callable[..., str]


@pytest.fixture(scope="module")
def own(importable: Callable[..., Any]) -> Any:
    """The module of OWN."""
    return importable("own_shadows", OWN)


@pytest.fixture(scope="module")
def watching(importable: Callable[..., Any]) -> Any:
    """The plugin of WATCHING."""
    return importable("watching", WATCHING.replace("KIND", "watch"))


@pytest.fixture(scope="module")
def plugins(watching: Any) -> Any:
    """The built-in plugins and the one of WATCHING, named as with ``-p watching``."""
    return load_plugins([watching.__name__])


@pytest.fixture
def events(watching: Any) -> Iterator[list[tuple[str, str, Any]]]:
    """What the observers of this test were told: (which, method, event)."""
    watching.EVENTS.clear()
    yield watching.EVENTS
    watching.EVENTS.clear()


def declared(paths: dict[str, str]) -> list[str]:
    """Sub-models by id; ``a_new`` is the arm new of the key a."""
    found = []
    for id_, path in paths.items():
        key, _, arm = id_.partition("_")
        found.append(f"+models.{id_}={{uri:'{path}',key:{{key:{key}}},arm:{arm or 'main'}}}")
    return found


@pytest.fixture(scope="module")
def paths(keep: Keep, own: Any) -> dict[str, str]:
    shipped = {"code_paths": [own.__file__]}
    return {
        "a": keep(fleets.fitted(1), ROWS),
        "b": keep(fleets.fitted(2), ROWS),
        "a_new": keep(own.Picky(), ROWS, **shipped),
        "c": keep(own.Picky(), ROWS, **shipped),
    }


@pytest.fixture(scope="module")
def shadowed(module_store: Store, paths: dict[str, str], plugins: Any) -> str:
    """The URI of a router whose key a has a shadow, with an observer that breaks before one that does not."""
    logged = api.build(
        "name=shadowed",
        *ROUTED,
        *declared(paths),
        "traffic.shadow=[new]",
        "+observer@observers.broken=watch",
        "observers.broken.breaks=true",
        "observers.broken.name=broken",
        *EYE,
        module_store.override,
        plugins=plugins,
    )
    assert logged.notes == ()
    return logged.model_uri


Load = Callable[[str], Router]


@pytest.fixture
def load(module_store: Store) -> Iterator[Load]:
    """Load a router of this test's own."""
    loaded: list[Router] = []

    def open_(uri: str) -> Router:
        loaded.append(api.load_router(uri, tracking_uri=module_store.uri))
        return loaded[-1]

    yield open_
    for router in loaded:
        router.background.wait()


@pytest.fixture
def loaded(module_store: Store) -> Callable[..., Router]:
    """Load a router with a ``model_config``."""

    def open_(uri: str, **config: Any) -> Router:
        with fleets.active(module_store.uri):
            model = mlflow.pyfunc.load_model(uri, model_config=config, suppress_warnings=True)
        return model.unwrap_python_model().router

    return open_


@pytest.fixture
def router(load: Load, shadowed: str, events: list[Any]) -> Router:
    """The router of ``shadowed``, just loaded; its loads are told already."""
    found = load(shadowed)
    events.clear()
    return found


def batch(keys: str, **columns: Any) -> pd.DataFrame:
    """One row for each letter."""
    return ROWS.head(len(keys)).assign(key=list(keys), **columns)


def told(events: list[tuple[str, str, Any]], what: str) -> list[Any]:
    """Events of one kind, as the observer that works was told."""
    return [event for name, kind, event in events if (name, kind) == ("eye", what)]


# -- what observers are told -----------------------------------------------------------------------------------------


def test_every_load_is_told(load, shadowed, events):
    """One event for each sub-model, when the router is opened."""
    load(shadowed)

    assert sorted(event.model_id for event in told(events, "load")) == ["a", "a_new", "b", "c"]


def test_a_batch_is_told(router, events):
    """Rows by sub-model and by reason; those without a sub-model have a reason only."""
    router.predict(batch("abaz"))

    (event,) = told(events, "batch")
    assert (event.rows, dict(event.models), dict(event.reasons)) == (4, {"a": 2, "b": 1}, {"exact": 3, "unknown": 1})


@pytest.mark.parametrize(
    ("keys", "models", "reasons"),
    [
        pytest.param("bbb", {"b": 3}, {"exact": 3}, id="one-sub-model"),
        pytest.param("b", {"b": 1}, {"exact": 1}, id="one-row"),
        pytest.param("zz", {}, {"unknown": 2}, id="no-sub-model"),
        pytest.param("", {}, {}, id="no-rows"),
    ],
)
def test_counts_of_simple_batches(router, events, keys, models, reasons):
    """Every batch is told, however simple."""
    router.predict(batch(keys))

    (event,) = told(events, "batch")
    assert (event.rows, dict(event.models), dict(event.reasons)) == (len(keys), models, reasons)


def test_a_failing_sub_model_is_told(router, events):
    """The sub-model and its error; the batch, which was not answered, is no batch."""
    with pytest.raises(ModelError) as caught:
        router.predict(batch("cc", x1=9.0))

    (event,) = told(events, "error")
    assert (event.model_id, event.rows, event.shadow) == ("c", 2, False)
    assert event.error is caught.value
    assert told(events, "batch") == []


def test_bad_rows_are_nobodys_failure(router, events):
    """A caller's mistake is not told as an error of a sub-model."""
    with pytest.raises(BadInputError):
        router.predict(batch("ab").drop(columns="x2"))

    assert events == []


def test_threads_are_told_apart(router, events):
    """Batches of many threads are all told, each with its own counts; shadows are told or counted as dropped."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: router.predict(batch("aab")), range(100)))
    router.background.wait()

    assert [dict(event.models) for event in told(events, "batch")] == [{"a": 2, "b": 1}] * 100
    assert len(told(events, "shadow")) + router.background.dropped == 100


# -- observers that break --------------------------------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize("what", ["load", "batch", "shadow", "error", "evict"])
def test_an_observer_that_breaks_changes_nothing(
    load, shadowed, module_store, paths, watching, events, caplog, monkeypatch, what
):
    """Whatever it breaks at: answers are those of a router without observers, the next observer is told everything.

    The broken one is logged once, with nothing of the rows, and told nothing more.
    """
    every = sorted(watching.BREAKS)
    monkeypatch.setattr(watching, "BREAKS", {what})
    monkeypatch.setenv("MMEFRAME_RESIDENCY_KIND", "lazy")
    monkeypatch.setenv("MMEFRAME_RESIDENCY_MAX_MODELS", "3")
    plain = api.load_router(
        api.build("name=plain", *ROUTED, *declared(paths), module_store.override).model_uri,
        tracking_uri=module_store.uri,
    )
    router, frame = load(shadowed), batch("abcabz")

    answers = []
    for _ in range(3):
        with pytest.raises(ModelError):
            router.predict(batch("cc", x1=9.0))
        answers.append(router.predict(frame))
        router.background.wait()

    np.testing.assert_array_equal(answers, [plain.predict(frame)] * 3)
    counts = {kind: len([1 for motto, it, _ in events if (motto, it) == ("eye", kind)]) for kind in every}
    assert (counts["batch"], counts["shadow"], counts["error"]) == (3, 3, 3)
    assert counts["load"] >= 4
    assert counts["evict"] >= 1
    told_before = [kind for motto, kind, _ in events if motto == "broken"]
    assert what not in told_before
    said = [record.getMessage() for record in caplog.records if record.name == "mmeframe"]
    assert said == [f"observers.broken: on_{what} failed ({BREAKS_AT}); the router goes on without this observer."]
    assert (router.observers.names, router.observers.failures) == (["eye"], {"broken": 1})


def test_threads_that_tell_a_broken_observer_at_once(caplog):
    """It is logged once, however many are telling it; each failure is counted, and the others are told everything."""
    told, together = [], threading.Barrier(8, timeout=30)

    class Broken(Observer):
        def on_batch(self, event):
            together.wait()
            raise ValueError("s3cr3t")

    class Counting(Observer):
        def on_batch(self, event):
            told.append(event)

    observers = Observers({"broken": Broken(ObserverConf()), "counting": Counting(ObserverConf())})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: observers.tell("on_batch", number), range(8)))
    observers.tell("on_batch", 8)

    assert sorted(told) == list(range(9))
    assert observers.failures == {"broken": 8}
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "observers.broken: on_batch failed"
    ]


# -- who is told, where a router is loaded ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "names"),
    [
        pytest.param("eye", ["eye"], id="one-of-two"),
        pytest.param("eye,broken", ["eye", "broken"], id="all"),
        pytest.param("", [], id="nobody"),
        pytest.param(" eye , eye", ["eye"], id="twice"),
    ],
)
@pytest.mark.parametrize("by", ["variable", "model_config"])
def test_who_is_told(load, loaded, shadowed, events, monkeypatch, by, given, names):
    """The list takes the place of the one that was built in."""
    if by == "variable":
        monkeypatch.setenv("MMEFRAME_OBSERVERS", given)

    router = load(shadowed) if by == "variable" else loaded(shadowed, observers=given)
    router.predict(batch("ab"))

    # The broken one is told once, and then dropped.
    assert sorted([*router.observers.names, *router.observers.failures]) == sorted(names)
    assert len(told(events, "batch")) == names.count("eye")


def test_the_variable_brings_an_observer_back(loaded, shadowed, monkeypatch):
    """What a ``model_config`` leaves out is one of the router's still."""
    monkeypatch.setenv("MMEFRAME_OBSERVERS", "eye")

    assert loaded(shadowed, observers="").observers.names == ["eye"]


def test_an_observer_of_the_deployment(load, shadowed, watching, events, monkeypatch):
    """A class is made with the defaults of its options, and with the files that it prepares, and told everything."""
    monkeypatch.setenv("MMEFRAME_OBSERVERS", f"{watching.__name__}:Watch")

    router = load(shadowed)
    router.predict(batch("ab"))

    assert router.observers.names == [f"{watching.__name__}:Watch"]
    assert [dict(event.models) for event in told(events, "batch")] == [{"a": 1, "b": 1}]
    assert len(told(events, "load")) == 4


OTHERS = """
from dataclasses import dataclass
from mmeframe.plugin import MISSING, Observer, ObserverConf

@dataclass
class PathConf(ObserverConf):
    path: str = MISSING

class Path(Observer[PathConf]): ...
class Silent(Observer): ...
class Other: ...
class Table(Observer):
    def prepare(self):
        raise ValueError("no table here")
"""


def test_an_observer_without_options(load, shadowed, importable, monkeypatch):
    """A class that names no options has none."""
    importable("other_observers", OTHERS)
    monkeypatch.setenv("MMEFRAME_OBSERVERS", "other_observers:Silent")

    assert load(shadowed).observers.names == ["other_observers:Silent"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(
            "eyes",
            "the router has no observer 'eyes'.\n  Did you mean 'eye'? Observers: broken, eye.",
            id="near",
        ),
        pytest.param(
            "no_such_module:Watch",
            "cannot import no_such_module:Watch: No module named 'no_such_module'.\n"
            "  Install it where the router is loaded, or leave it out.",
            id="no-module",
        ),
        pytest.param(
            "other_observers:Nobody",
            "module other_observers has no 'Nobody'.\n  Install it where the router is loaded, or leave it out.",
            id="no-class",
        ),
        pytest.param(
            "other_observers:Other", "other_observers:Other does not extend mmeframe.plugin.Observer.", id="another"
        ),
        pytest.param(
            "other_observers:Path",
            "other_observers:Path has options without a default: path.\n"
            "  Give them when the router is built: +observer@observers.<name>=<kind>.",
            id="an-option-without-a-default",
        ),
        pytest.param(
            "other_observers:Table",
            "other_observers:Table cannot be used: ValueError: no table here.",
            id="its-own-error",
        ),
    ],
)
def test_observers_that_nobody_has(load, shadowed, importable, monkeypatch, given, said):
    """The router does not load: a deployment that watches nothing must not look like one that does."""
    importable("other_observers", OTHERS)
    monkeypatch.setenv("MMEFRAME_OBSERVERS", f"eye,{given}")

    with pytest.raises(ConfigError) as caught:
        load(shadowed)

    assert str(caught.value) == f"MMEFRAME_OBSERVERS: {said}"


def test_a_model_config_names_no_classes(loaded, shadowed, watching):
    """It is stored in the artifact, which cannot name just any class of the process."""
    with pytest.raises(ConfigError, match=r"^model_config\.observers: the router has no observer 'watching") as caught:
        loaded(shadowed, observers="watching:Watch")

    assert "A class is named by the variable MMEFRAME_OBSERVERS only." in str(caught.value)


# -- shadows ---------------------------------------------------------------------------------------------------------


def test_a_shadow_is_told_with_both_answers(router, events):
    """The rows of its key only, in their order: what the caller got, and what the shadow would have said."""
    frame = batch("abcaza")

    answer = router.predict(frame)
    router.background.wait()

    (event,) = told(events, "shadow")
    assert (event.model_id, event.shadow_id, event.arm, event.rows) == ("a", "a_new", "new", 3)
    assert event.answers.tolist() == answer[[0, 3, 5]].tolist()
    assert event.shadow_answers.tolist() == (2 * frame["x1"].iloc[[0, 3, 5]]).tolist()


@pytest.mark.parametrize("keys", ["a", "aaa", "aab"])
def test_no_shadow_is_seen(router, keys):
    """The caller sees the main sub-model and its arm, whatever is scored behind it."""
    frame = batch(keys)

    answer = router.predict(frame, {"annotate": True})

    assert answer["model_id"].tolist() == list(keys)
    assert answer["arm"].tolist() == ["main"] * len(keys)
    own = {"a": fleets.fitted(1), "b": fleets.fitted(2)}
    wanted = [own[key].predict(ROWS.iloc[[row]])[0] for row, key in enumerate(keys)]
    np.testing.assert_allclose(answer["prediction"], wanted, rtol=1e-12)


def test_batches_without_the_shadows_key_have_no_shadow(router, events):
    """Nothing is queued for rows of other keys, or for no rows."""
    for keys in ("bcb", "zz", ""):
        router.predict(batch(keys))
    router.background.wait()

    assert told(events, "shadow") == []


def test_a_failing_shadow_is_told_and_goes_no_further(router, events):
    """The caller has its answer; observers are told of the error, as a shadow's."""
    answer = router.predict(batch("aab", x1=9.0))
    router.background.wait()

    assert np.isfinite(answer).all()
    (event,) = told(events, "error")
    assert (event.model_id, event.rows, event.shadow, type(event.error)) == ("a_new", 2, True, ModelError)
    assert told(events, "shadow") == []


def test_after_a_failing_shadow_the_next_is_scored(router, events):
    """The background thread outlives whatever a shadow does."""
    for x1 in (9.0, 1.0):
        router.predict(batch("a", x1=x1))
    router.background.wait()

    assert [kind for _, kind, _ in events if kind != "batch"] == ["error", "shadow"]


def test_a_disabled_shadow_is_not_scored(load, shadowed, events, monkeypatch):
    """disabled_models is the switch for a sub-model that must get no rows, at once; a shadow is one, too."""
    monkeypatch.setenv("MMEFRAME_DISABLED_MODELS", "a_new")
    router = load(shadowed)
    events.clear()

    answer = router.predict(batch("aa"), {"annotate": True})
    router.background.wait()

    assert answer["reason"].tolist() == ["exact", "exact"]
    assert told(events, "shadow") == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param("new=0.5", "MMEFRAME_TRAFFIC_ARMS: 'new' is a shadow, and takes no traffic.", id="share"),
        pytest.param("new=half", "MMEFRAME_TRAFFIC_ARMS: ", id="no-number"),
    ],
)
def test_a_shadow_takes_no_traffic_by_a_variable(load, shadowed, monkeypatch, value, found):
    """Its share stays 0, however it is given; what is no number is refused as that."""
    monkeypatch.setenv("MMEFRAME_TRAFFIC_ARMS", value)

    with pytest.raises(ConfigError) as caught:
        load(shadowed)

    assert str(caught.value).startswith(found)


def test_a_shadow_that_nobody_is_told_of_is_warned_about(module_store, paths, plugins):
    """Without observers a shadow does nothing at all: validate says so."""
    shadow = ("name=s", *ROUTED, *declared(paths), "traffic.shadow=[new]", module_store.override)

    assert api.validate(*shadow, *EYE, plugins=plugins).warnings == ()
    (warning,) = api.validate(*shadow, plugins=plugins).warnings
    assert warning.startswith("traffic.shadow: ")


@pytest.mark.build
def test_failures_of_a_router_that_skips(module_store, paths, plugins, load, events):
    """on_error: skip: the rows of a sub-model that failed are told as its error; so are those of a shadow."""
    logged = api.build(
        "name=skips",
        *ROUTED,
        *declared(paths),
        "traffic.shadow=[new]",
        "output.on_error=skip",
        *EYE,
        module_store.override,
        plugins=plugins,
    )
    router = load(logged.model_uri)
    events.clear()

    answer = router.predict(batch("cacb", x1=[9.0, 1.0, 1.0, 1.0]), {"annotate": True})
    router.predict(batch("aa", x1=9.0))
    router.background.wait()

    assert answer["reason"].tolist() == ["model_error", "exact", "model_error", "exact"]
    assert [dict(event.reasons) for event in told(events, "batch")] == [{"exact": 2, "model_error": 2}, {"exact": 2}]
    assert [(it.model_id, it.rows, it.shadow) for it in told(events, "error")] == [("c", 2, False), ("a_new", 2, True)]
    assert [event.rows for event in told(events, "shadow")] == [1]


# -- the queue -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patient(module_store: Store, paths: dict[str, str], keep: Keep, own: Any, plugins: Any) -> str:
    """The URI of a router whose shadow waits until a test lets it go."""
    slow = keep(own.Patient(), ROWS, code_paths=[own.__file__])
    models = declared({"a": paths["a"], "a_new": slow})
    shadow = ("traffic.shadow=[new]", *EYE)
    return api.build("name=patient", *ROUTED, *models, *shadow, module_store.override, plugins=plugins).model_uri


@pytest.fixture
def waiting(load: Load, patient: str, own: Any, events: list[Any]) -> Iterator[tuple[Router, Any]]:
    """The router of ``patient``, and the module with the event that lets its shadow go on."""
    router = load(patient)
    events.clear()
    own.GO.clear()
    own.BEGUN.clear()
    yield router, own
    own.GO.set()
    router.background.wait()


def test_callers_do_not_wait_for_shadows(waiting, events):
    """An answer is there while its shadow is still at work."""
    router, shadows = waiting

    answer = router.predict(batch("a"))

    assert np.isfinite(answer).all()
    assert shadows.BEGUN.wait(60)
    assert told(events, "shadow") == []
    shadows.GO.set()
    router.background.wait()
    assert len(told(events, "shadow")) == 1


def test_a_caller_may_change_its_rows_and_answers(waiting, events):
    """The shadow is scored on the rows, and compared with the answers, that there were."""
    router, shadows = waiting
    frame = batch("aaa").astype({"x1": object})
    frame["x1"] = [1.0, 2.0, 3.0]
    answer = router.predict(frame)
    kept = answer.tolist()

    frame.loc[:, "x1"] = 0.0
    answer[:] = 0.0
    shadows.GO.set()
    router.background.wait()

    (event,) = told(events, "shadow")
    assert event.shadow_answers.tolist() == [3.0, 6.0, 9.0]
    assert event.answers.tolist() == kept


def test_the_queue_is_bounded(waiting, events):
    """64 batches wait beside the one at work; more are dropped and counted, and their callers are answered."""
    router, shadows = waiting
    router.predict(batch("a"))
    assert shadows.BEGUN.wait(60)

    answers = [router.predict(batch("a")) for _ in range(64 + 7)]

    assert router.background.dropped == 7
    assert {tuple(answer) for answer in answers} == {tuple(answers[0])}
    shadows.GO.set()
    router.background.wait()
    assert len(told(events, "shadow")) == 65
    assert len(told(events, "batch")) == 72


# -- shadows of other kinds ------------------------------------------------------------------------------------------


@pytest.mark.build
def test_a_shadow_may_need_a_column_of_its_own(module_store, keep, paths, plugins, load, events):
    """Callers that do not send it are answered as ever; the shadow's failure is told."""
    wide = ROWS.assign(x3=ROWS["x1"])
    model = fleets.fitted(4).fit(wide, wide["x3"])
    models = declared({"a": paths["a"], "a_new": keep(model, wide)})
    shadow = ("traffic.shadow=[new]", *EYE, module_store.override)
    router = load(api.build("name=wide", *ROUTED, *models, *shadow, plugins=plugins).model_uri)
    events.clear()

    without = router.predict(batch("aa"))
    with_it = router.predict(batch("aa", x3=1.0))
    router.background.wait()

    assert without.tolist() == with_it.tolist()
    assert [(it.model_id, it.shadow, type(it.error)) for it in told(events, "error")] == [
        ("a_new", True, BadInputError)
    ]
    assert [event.rows for event in told(events, "shadow")] == [2]


@pytest.fixture(scope="module")
def classes(keep: Keep) -> dict[str, str]:
    """Classifiers of low and high, and one that has also seen mid."""
    words = np.where(ROWS["x1"] > 0, "high", "low")
    more = np.where(ROWS["x1"].abs() < 0.3, "mid", words)
    return {
        name: keep(LogisticRegression().fit(ROWS, labels), ROWS) for name, labels in (("two", words), ("three", more))
    }


@pytest.mark.build
def test_probabilities_of_a_shadow(module_store, classes, plugins, load, events):
    """Both answers have one shape, with the classes in the same order, so that they can be compared."""
    models = declared({"a": classes["two"], "b": classes["three"], "a_new": classes["three"]})
    more = ("output.method=predict_proba", "traffic.shadow=[new]", *EYE, module_store.override)
    router = load(api.build("name=shadow_proba", *ROUTED, *models, *more, plugins=plugins).model_uri)
    events.clear()
    frame = batch("aba")

    answer = router.predict(frame)
    router.background.wait()

    (event,) = told(events, "shadow")
    assert answer.columns.tolist() == ["high", "low", "mid"]
    np.testing.assert_array_equal(event.answers, answer.iloc[[0, 2]])
    np.testing.assert_allclose(event.shadow_answers, router.score("a_new", frame.iloc[[0, 2]]), rtol=1e-12)


def test_classes_that_only_a_shadow_knows(module_store, classes, plugins):
    """The caller's answer has the same columns with and without the shadow."""
    models = declared({"a": classes["two"], "a_new": classes["three"]})
    more = ("output.method=predict_proba", "traffic.shadow=[new]", *EYE, module_store.override)

    fleet = api.validate("name=only_shadow", *ROUTED, *models, *more, plugins=plugins)

    assert [column.name for column in fleet.outputs.columns] == ["high", "low"]


# -- the built-in log, and plugins that are installed ----------------------------------------------------------------


@pytest.mark.build
def test_the_built_in_log(module_store, paths, load, caplog):
    """Loads, batches, shadows and errors are lines of JSON; none of them holds a value of a row."""
    uri = api.build(
        "name=lines",
        *ROUTED,
        *declared(paths),
        "traffic.shadow=[new]",
        "+observer@observers.lines=log",
        "observers.lines.every=2",
        module_store.override,
    ).model_uri
    caplog.set_level(logging.INFO, "mmeframe.observer")
    caplog.clear()
    router = load(uri)
    for x1 in (1.0, 9.0):
        router.predict(batch("aab", x1=x1))
    with pytest.raises(ModelError):
        router.predict(batch("c", x1=9.0))
    router.background.wait()

    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "mmeframe.observer"]

    by_event: dict[str, list[Any]] = {}
    for line in lines:
        line.pop("seconds", None)
        by_event.setdefault(line.pop("event"), []).append(line)
    apart = np.abs(fleets.fitted(1).predict(batch("aa", x1=1.0)[["x1", "x2"]]) - 2.0)
    assert sorted(line["model_id"] for line in by_event["load"]) == ["a", "a_new", "b", "c"]
    # One batch of two is told.
    assert by_event["batch"] == [{"rows": 3, "models": {"a": 2, "b": 1}, "reasons": {"exact": 3}}]
    (shadow,) = by_event["shadow"]
    assert (shadow["model_id"], shadow["shadow_id"], shadow["rows"]) == ("a", "a_new", 2)
    assert (shadow["mean_difference"], shadow["max_difference"]) == pytest.approx((apart.mean(), apart.max()))
    assert sorted(by_event["error"], key=lambda line: line["shadow"]) == [
        {"model_id": "c", "rows": 1, "error": "ModelError", "shadow": False},
        {"model_id": "a_new", "rows": 2, "error": "ModelError", "shadow": True},
    ]
    assert "s3cr3t" not in caplog.text


@pytest.mark.build
def test_a_build_is_no_traffic(module_store, paths, plugins, events):
    """What a build asks of its router, to prove it, is not told as a batch."""
    models = declared({"a": paths["a"]})

    api.build("name=quiet", *ROUTED, *models, *EYE, module_store.override, plugins=plugins)

    assert {what for _, what, _ in events} == {"load"}


@pytest.mark.build
def test_an_installed_observer(module_store, paths, tmp_path, monkeypatch, load):
    """An observer of an installed distribution is chosen by its name, recorded with its version, and told."""
    site = tmp_path / "site"
    info = site / "acme_watch-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "acme_watch.py").write_text(WATCHING.replace("KIND", "acme"))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-watch\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[mmeframe]\nacme = acme_watch\n")
    (info / "RECORD").write_text("acme_watch.py,,\nacme_watch-1.2.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(site)
    models = declared({"a": paths["a"]})

    uri = api.build("name=acme", *ROUTED, *models, "+observer@observers.w=acme", module_store.override).model_uri
    router = load(uri)
    from acme_watch import EVENTS

    EVENTS.clear()
    router.predict(batch("aa"))

    assert [(kind, event.rows) for _, kind, event in EVENTS] == [("batch", 2)]
    recorded = api.show(uri, tracking_uri=module_store.uri)["plugins"]
    assert recorded == {"acme_watch": {"distribution": "acme-watch", "version": "1.2"}}


_ELSEWHERE = """
import sys
import mlflow, pandas as pd
router = mlflow.pyfunc.load_model(sys.argv[1])
router.predict(pd.DataFrame({"x1": [1.0], "x2": [2.0], "key": ["a"]}))
router.unwrap_python_model().router.background.wait()
import watching
print(watching.__file__)
print([kind for name, kind, _ in watching.EVENTS if name == "eye"])
"""


@pytest.mark.process
def test_an_observer_of_a_module_travels_in_the_artifact(module_store, shadowed, tmp_path):
    """Named with -p when the router was built, it is told in a process that has never heard of it."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": module_store.uri}
    environment.pop("PYTHONPATH", None)

    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, shadowed], env=environment, cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    home, kinds = done.stdout.splitlines()[-2:]
    assert "mmeframe.zip" in home
    assert kinds == "['load', 'load', 'load', 'load', 'batch', 'shadow']"


def test_a_misspelt_observer_is_named(module_store, paths, plugins):
    """The nearest kind is offered."""
    with pytest.raises(
        Exception, match=r"no observer named 'wach'.\n  Did you mean 'watch'\? Known: audit, log, watch\."
    ):
        api.validate(
            "name=s", *ROUTED, *declared(paths), "+observers.eye={kind:wach}", module_store.override, plugins=plugins
        )
