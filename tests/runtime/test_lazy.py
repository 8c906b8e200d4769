"""Routers that load sub-models when rows ask for them: answers, knobs, bounds, broken files, many threads."""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mmeframe import api
from mmeframe.errors import ConfigError, ModelError, ProblemsError
from mmeframe.runtime import Router
from tests import fleets
from tests.conftest import Store

PLUGINS = fleets.plugins()
N = 60
ROUTED = ("routing=column", "routing.column=key")
SIGNED = "sources.all.signature={inputs:[x],outputs:double}"


@pytest.fixture(scope="module")
def source(module_store: Store) -> tuple[str, ...]:
    """A folder of sub-models m_0 ... of which each answers with its own number."""
    home = module_store.folder / "numbers"
    home.mkdir()
    for number in range(N):
        model = LinearRegression().fit(pd.DataFrame({"x": [0.0, 1.0]}), [number, number])
        (home / f"m_{number}.pkl").write_bytes(pickle.dumps(model))
    return ("+source@sources.all=folder", f"sources.all.path={home}", "sources.all.pattern='m_{key}.pkl'", SIGNED)


Build = Callable[..., Any]


@pytest.fixture(scope="module")
def build(module_store: Store, source: tuple[str, ...]) -> Build:
    def call(name: str, *overrides: str) -> Any:
        return api.build(f"name={name}", *ROUTED, *source, *overrides, module_store.override, plugins=PLUGINS)

    return call


@pytest.fixture(scope="module")
def lazy(build: Build) -> str:
    """The URI of a router that was built to be lazy."""
    return str(build("lazy", "residency=lazy").model_uri)


@pytest.fixture
def load(module_store: Store) -> Callable[..., Router]:
    def call(uri: str, **config: Any) -> Router:
        with fleets.active(module_store.uri):
            model = mlflow.pyfunc.load_model(uri, model_config=config or None)
        router: Router = model.unwrap_python_model().router
        return router

    return call


def rows(*keys: int) -> pd.DataFrame:
    return pd.DataFrame({"x": 0.5, "key": keys})


@pytest.mark.parametrize(
    "bound",
    [{}, {"residency_max_models": "1"}, {"residency_max_models": 7}, {"residency_max_bytes": "20KiB"}],
    ids=str,
)
def test_answers_do_not_depend_on_what_is_in_memory(load, lazy, bound):
    router = load(lazy, **bound)
    keys = np.random.default_rng(0).integers(0, N, 500)

    for _ in range(2):
        np.testing.assert_allclose(router.predict(rows(*keys)), keys)

    found = router.residency.statistics()
    assert found.max_models is None or found.resident <= found.max_models
    assert found.max_bytes is None or found.bytes <= found.max_bytes
    assert found.loads >= len(set(keys))


def test_nothing_is_loaded_before_it_is_asked_for(load, lazy):
    router = load(lazy)
    assert router.residency.statistics().loads == 0

    router.predict(rows(3, 5, 3))

    assert {id_ for id_, count in router.residency.statistics().models.items() if count.bytes} == {"m_3", "m_5"}


def test_a_variable_beats_the_config_that_beats_the_build(load, lazy, monkeypatch):
    monkeypatch.setenv("MMEFRAME_RESIDENCY_PRELOAD", "m_1,m_2")
    monkeypatch.setenv("MMEFRAME_RESIDENCY_MAX_MODELS", "4")

    router = load(lazy, residency_preload="m_*", residency_max_models="none", residency_ttl_s=100)

    spec = router.residency.spec
    assert (spec.kind, spec.preload, spec.max_models, spec.ttl_s) == ("lazy", ("m_1", "m_2"), 4, 100.0)
    assert router.residency.statistics().resident == 2


@pytest.mark.build
def test_lazy_where_it_was_built_eager_and_the_reverse(load, lazy, build, monkeypatch):
    eager = build("eager").model_uri
    assert load(eager).residency.statistics().resident == N
    assert load(lazy, residency_kind="eager").residency.statistics().resident == N

    monkeypatch.setenv("MMEFRAME_RESIDENCY_KIND", "lazy")
    assert load(eager).residency.statistics().resident == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KIND", "lasy", "MMEFRAME_RESIDENCY_KIND: 'lasy' is no kind: it is eager or lazy."),
        (
            "MAX_BYTES",
            "4 gigs",
            "MMEFRAME_RESIDENCY_MAX_BYTES: '4 gigs' is no max_bytes: write bytes, or a number with",
        ),
        ("MAX_BYTES", "0", "MMEFRAME_RESIDENCY_MAX_BYTES: '0' is no max_bytes: write bytes"),
        ("MAX_MODELS", "0", "MMEFRAME_RESIDENCY_MAX_MODELS: '0' is no max_models: it must be at least 1."),
        ("TTL_S", "soon", "MMEFRAME_RESIDENCY_TTL_S: 'soon' is no ttl_s"),
        ("PIN", "m_99", "MMEFRAME_RESIDENCY_PIN: there is no sub-model 'm_99'.\n  Did you mean"),
        ("PRELOAD", "x_*", "MMEFRAME_RESIDENCY_PRELOAD: there is no sub-model 'x_*'."),
        ("MAX_BYTES", "300", "MMEFRAME_RESIDENCY_MAX_BYTES: sub-model 'm_0' takes"),
    ],
)
def test_knobs_that_cannot_be(load, lazy, monkeypatch, name, value, said):
    monkeypatch.setenv(f"MMEFRAME_RESIDENCY_{name}", value)

    with pytest.raises(ConfigError) as caught:
        load(lazy)

    assert str(caught.value).startswith(said)


def test_a_bound_of_the_config_that_cannot_be(load, lazy):
    with pytest.raises(ConfigError, match=r"^model_config.residency_max_bytes: sub-model 'm_0' takes"):
        load(lazy, residency_max_bytes=300)


@pytest.mark.build
def test_an_option_without_effect(load, build, monkeypatch):
    uri = build("eager").model_uri
    monkeypatch.setenv("MMEFRAME_RESIDENCY_TTL_S", "5")

    with pytest.raises(ConfigError, match=r"^MMEFRAME_RESIDENCY_TTL_S: it has no effect with residency.kind=eager"):
        load(uri)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["residency=lazy", "residency.pin=[m_99]"], "residency.pin: there is no sub-model 'm_99'."),
        (["residency=lazy", "residency.preload=[x*]"], "residency.preload: there is no sub-model 'x*'."),
        (
            ["residency=lazy", "residency.max_models=1", "residency.pin=[m_1]"],
            "residency.max_models: 1 sub-model is pinned or preloaded and others need room beside them, and 1 may",
        ),
        (["residency.ttl_s=5"], "residency.ttl_s: every sub-model is in memory from the start, so this option has no"),
        (["+models.m_3.pin=true"], "models.m_3.pin: every sub-model is in memory from the start, so this option has"),
    ],
)
def test_options_that_validate_refuses(module_store, source, overrides, said):
    with pytest.raises(ProblemsError) as caught:
        api.validate("name=bad", *ROUTED, *source, *overrides, module_store.override, plugins=PLUGINS)

    assert str(caught.value.problems[0]).startswith(said)


@pytest.mark.build
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["residency.max_bytes=10KiB"], "residency.max_bytes: 60 sub-models in memory from the start would take"),
        (["residency=lazy", "residency.max_bytes=300"], "residency.max_bytes: sub-model 'm_0' takes"),
    ],
)
def test_a_budget_that_cannot_be_is_a_build_error(build, module_store, overrides, said):
    """Found before anything is logged."""
    with pytest.raises(ConfigError) as caught:
        build("small", *overrides)

    assert str(caught.value).startswith(said)
    with fleets.active(module_store.uri):
        assert mlflow.MlflowClient().search_registered_models("name = 'small'") == []


@pytest.mark.build
def test_pins_stay(build, load):
    uri = build("pinned", "residency=lazy", "residency.max_models=3", "+models.m_7.pin=true").model_uri
    router = load(uri)

    for key in range(20):
        router.predict(rows(key))

    resident = {id_ for id_, count in router.residency.statistics().models.items() if count.bytes}
    assert resident == {"m_7", "m_18", "m_19"}


@pytest.fixture
def damaged(build: Build, module_store: Store) -> Callable[..., str]:
    """A router whose sub-model m_4 has a flipped byte, by name and options."""

    def make(name: str, *overrides: str) -> str:
        logged = build(name, "residency=lazy", *overrides)
        with fleets.active(module_store.uri):
            model = mlflow.MlflowClient().get_logged_model(logged.model_id)
        folder = Path(model.artifact_location.removeprefix("file://")) / "artifacts" / "bundle"
        router = Router.open(folder)
        blob = bytes(router.bundle.blob(router.bundle[router.bundle.position("m_4")].files[0].sha256))
        pack = folder / "pack.bin"
        data = bytearray(pack.read_bytes())
        data[data.index(blob) + 10] ^= 1
        pack.write_bytes(data)
        return str(folder)

    return make


@pytest.mark.build
def test_a_damaged_sub_model_fails_its_own_rows(damaged):
    router = Router.open(damaged("damaged"))

    np.testing.assert_allclose(router.predict(rows(3, 5)), [3, 5])
    for _ in range(2):
        with pytest.raises(ModelError, match=r"^m_4: it cannot be loaded: .*pack\.bin: its digest does not match"):
            router.predict(rows(3, 4))
    assert router.residency.statistics().models["m_4"].failures == 1


@pytest.mark.build
def test_a_damaged_sub_model_is_skipped_where_failures_are(damaged):
    answer = Router.open(damaged("damaged_skip", "output.on_error=skip")).predict(rows(3, 4, 5), {"annotate": True})

    np.testing.assert_array_equal(answer["prediction"], [3, np.nan, 5])
    assert list(answer["reason"]) == ["exact", "model_error", "exact"]


@pytest.mark.build
def test_combinations_within_a_budget(build, load):
    both = "+models.both={combine:{kind:mean,of:[m_1,m_3]},key:{key:both}}"
    router = load(build("combined", "residency=lazy", "residency.max_models=2", both).model_uri)
    frame = pd.DataFrame({"x": 0.5, "key": ["both", "7", "9", "both"]})

    for _ in range(3):
        np.testing.assert_allclose(router.predict(frame), [2, 7, 9, 2])


@pytest.mark.build
def test_a_combination_that_never_fits(build, load):
    both = "+models.both={combine:{kind:mean,of:[m_1,m_3]},key:{key:both},prove:false}"
    router = load(build("combined_small", "residency=lazy", "residency.max_models=1", both).model_uri)

    with pytest.raises(ModelError, match=r"what it needs takes .*, which never fits at once"):
        router.predict(pd.DataFrame({"x": 0.5, "key": ["both"]}))


@pytest.mark.stress
@pytest.mark.parametrize(
    ("bound", "seconds"), [({"residency_max_models": 2}, 30), ({"residency_max_bytes": "3KiB"}, 3)]
)
def test_many_threads_and_room_for_two(load, lazy, bound, seconds):
    """16 threads, batches of 50 random keys, for half a minute: every sub-model gives its own number, whoever else
    loads and drops; what is in memory or being loaded never exceeds the bound; everybody goes on all the time.
    """
    router = load(lazy, **bound)
    start = time.monotonic()
    stop = start + seconds
    over: list[Any] = []

    def watch() -> int:
        asked = 0
        while time.monotonic() < stop:
            found = router.residency.statistics()
            asked += 1
            if found.resident > 2 or (found.max_bytes and found.bytes + found.loading > found.max_bytes):
                over.append(found)
            time.sleep(0.001)
        return asked

    def work(seed: int) -> int:
        own, done = random.Random(seed), 0
        while time.monotonic() < stop:
            keys = own.sample(range(N), 50)
            np.testing.assert_allclose(router.predict(rows(*keys)), keys)
            done += 1
        return done

    with ThreadPoolExecutor(17) as pool:
        watching = pool.submit(watch)
        done = list(pool.map(work, range(16)))

    assert (min(done) > 0, watching.result() > 100, over) == (True, True, [])
    found = router.residency.statistics()
    assert (found.loads - found.evictions, found.loading, found.failures) == (found.resident, 0, 0)
    # All of a batch cannot be there, so most of it was loaded for it.
    assert found.loads > 25 * sum(done)
