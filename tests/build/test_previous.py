"""A build takes what did not change from the registered version, and says so."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from mmeframe import api
from tests import fleets
from tests.conftest import Store

PLUGINS = fleets.plugins()
ROUTED = ("routing=column", "routing.column=key")
ROWS = fleets.rows(6)[["x1", "x2"]].assign(key=list("abcabc"))

Build = Callable[..., Any]


def put(folder: Path, key: str, seed: int) -> None:
    """A bare file; written a second later than whatever was there before."""
    path = folder / f"{key}.pkl"
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(pickle.dumps(fleets.fitted(seed)))
    os.utime(path, ns=(before + 10**9, before + 10**9))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "models"
    home.mkdir()
    for seed, key in enumerate("abc"):
        put(home, key, seed)
    return home


@pytest.fixture
def build(module_store: Store, folder: Path, request: pytest.FixtureRequest) -> Build:
    name = "".join(letter for letter in request.node.name if letter.isalnum())

    def call(*overrides: str) -> Any:
        models = [f"+models.{path.stem}.uri={path}" for path in sorted(folder.glob("*.pkl"))]
        return api.build(f"name={name}", *ROUTED, *models, *overrides, module_store.override, plugins=PLUGINS)

    return call


def answers(logged: Any, store: Store) -> np.ndarray:
    found: np.ndarray = np.asarray(api.load_router(logged.model_uri, tracking_uri=store.uri).predict(ROWS))
    return found


def expected(seeds: dict[str, int]) -> np.ndarray:
    models = {key: fleets.fitted(seed) for key, seed in seeds.items()}
    rows = ROWS[["x1", "x2"]]
    return np.array([models[key].predict(rows.iloc[[row]])[0] for row, key in enumerate(ROWS["key"])])


def test_nothing_changed(build):
    """The same bundle again, without reading a sub-model."""
    first, second = build(), build()

    assert (first.unchanged, first.since) == (0, None)
    assert (second.unchanged, second.since) == (3, first.version)
    assert second.digest == first.digest


def test_one_changed(build, folder, module_store):
    first = build()
    put(folder, "b", 7)

    second = build()

    assert (second.unchanged, second.since) == (2, "1")
    assert second.digest != first.digest
    np.testing.assert_allclose(answers(first, module_store), expected({"a": 0, "b": 1, "c": 2}), rtol=1e-9)
    np.testing.assert_allclose(answers(second, module_store), expected({"a": 0, "b": 7, "c": 2}), rtol=1e-9)


def test_one_came_and_one_went(build, folder, module_store):
    build()
    put(folder, "d", 3)
    (folder / "c.pkl").unlink()

    second = build()

    assert (second.unchanged, second.sub_models) == (2, 3)
    assert [it["id"] for it in api.show(second.model_uri, tracking_uri=module_store.uri)["sub_models"]] == [
        "a",
        "b",
        "d",
    ]


@pytest.mark.parametrize(
    "option",
    [
        "bundle.reuse=false",
        "output.method=predict",
        "+models.a.signature={inputs:{x1:double,x2:double},outputs:double}",
        "residency=lazy",
    ],
)
def test_what_decides_how_it_is_read_counts_too(build, option):
    build()

    unchanged = {"bundle.reuse=false": 0, "+models.a.signature={inputs:{x1:double,x2:double},outputs:double}": 2}
    assert build(option).unchanged == unchanged.get(option, 3)


def test_registered_models_are_known_by_their_versions(week):
    source = ("+source@sources.days=registry", "sources.days.name='day_{dow}'")
    config = ("name=reused_week", "routing=column", "routing.column=dow", *source, week.override)
    first, second = api.build(*config), api.build(*config)

    assert (second.unchanged, second.digest) == (7, first.digest)


def test_a_version_whose_stamps_are_gone(build, module_store):
    """Nothing is lost: everything is read anew."""
    first = build()
    with fleets.active(module_store.uri):
        home = Path(mlflow.MlflowClient().get_run(first.run_id).info.artifact_uri.removeprefix("file://"))
    (home / "mmeframe" / "stamps.json").unlink()

    assert build().unchanged == 0


def test_a_damaged_version(build, module_store):
    first = build()
    with fleets.active(module_store.uri):
        home = mlflow.MlflowClient().get_logged_model(first.model_id).artifact_location.removeprefix("file://")
    pack = Path(home) / "artifacts" / "bundle" / "records.arrow"
    pack.write_bytes(pack.read_bytes()[:-1] + b"\0")

    second = build()

    assert second.unchanged == 0
    assert second.digest == first.digest
