"""A build takes what did not change from the registered version, and says so."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.models import infer_signature, set_signature

from mmeframe import api
from mmeframe.fleet import bare
from mmeframe.fleet.released import stamp_of
from mmeframe.plugin import SubModelEntry
from mmeframe.plugin.manager import load_plugins
from mmeframe.store.folders import ModelFolder
from tests import fleets
from tests.conftest import Store

pytestmark = pytest.mark.build

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


KEEPING = """
from dataclasses import dataclass
from mmeframe.builtin.sklearn_loader import SklearnConf, SklearnLoader
from mmeframe.plugin import ModelLoaderPlugin, hookimpl

@dataclass
class KeepingConf(SklearnConf):
    pass

class Keeping(SklearnLoader):
    def size(self, model):
        return 1000

@hookimpl
def mmeframe_model_loaders():
    return [ModelLoaderPlugin("keeping", KeepingConf, f"{__name__}:Keeping", "for a test")]
"""


def test_a_loader_of_a_plugin_that_changed(week, importable):
    """What it keeps of a sub-model and how it measures one may be another now, whatever version it has."""
    module = importable("keeping_loader", KEEPING)
    source = ("+source@sources.days=registry", "sources.days.name='day_{dow}'", "model_defaults.loader=keeping")
    config = ("name=keeping", "routing=column", "routing.column=dow", *source, week.override)

    def build() -> Any:
        return api.build(*config, plugins=load_plugins([module.__name__]))

    build()
    unchanged = build().unchanged
    Path(module.__file__).write_text(KEEPING.replace("1000", "2000"))
    # As in a new process: in this one the build would prove what it has imported.
    del sys.modules[module.__name__]

    assert (unchanged, build().unchanged, build().unchanged) == (7, 0, 7)


def test_registered_models_are_known_by_their_versions(week):
    source = ("+source@sources.days=registry", "sources.days.name='day_{dow}'")
    config = ("name=reused_week", "routing=column", "routing.column=dow", *source, week.override)
    first, second = api.build(*config), api.build(*config)

    assert (second.unchanged, second.digest) == (7, first.digest)


@pytest.mark.filterwarnings("ignore:X has feature names")
def test_columns_in_another_order(build, folder, module_store):
    """A sub-model that was fitted without names gets its columns in the declared order."""
    frame = fleets.rows(80)
    for key in "abc":
        model = fleets.fitted(0).fit(frame[["x1", "x2"]].to_numpy(), 3 * frame["x1"] - frame["x2"])
        (folder / f"{key}.pkl").write_bytes(pickle.dumps(model))

    def declared(*columns: str) -> list[str]:
        inputs = ",".join(f"{name}:double" for name in columns)
        return [f"+models.{key}.signature={{inputs:{{{inputs}}},outputs:double}}" for key in "abc"]

    build(*declared("x2", "x1"))

    second = build(*declared("x1", "x2"))

    assert second.unchanged == 0
    np.testing.assert_allclose(answers(second, module_store), model.predict(ROWS[["x1", "x2"]].to_numpy()), rtol=1e-9)


def test_another_version_of_a_library(build, folder, tmp_path, monkeypatch):
    """Requirements of a bare file are what is installed: that of all, not only of those that changed, too."""
    first = build()
    found = tmp_path / "site" / "scikit_learn-99.0.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: scikit-learn\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    # It remembers what it has looked up.
    monkeypatch.setattr(bare, "_pinned", bare._pinned.__wrapped__)
    put(folder, "b", 7)

    second = build()

    assert (first.sub_models, second.sub_models, second.unchanged) == (3, 3, 0)


def test_a_logged_model_with_another_signature(module_store):
    """MLflow writes it into the model's own files, under the same version."""
    rows = ROWS[["x1", "x2"]]
    with fleets.inside(module_store.folder), fleets.active(module_store.uri):
        info = fleets.log_sklearn(fleets.fitted(0), "signed", rows)
    config = ("name=signed_router", *ROUTED, "+models.a.uri=models:/signed/1", module_store.override)
    api.build(*config)
    with fleets.active(module_store.uri):
        narrow = infer_signature(rows.astype("float32"), fleets.fitted(0).predict(rows))
        set_signature(f"models:/{info.model_id}", narrow)

    second = api.build(*config)

    router = api.load_router(second.model_uri, tracking_uri=module_store.uri)
    assert (second.unchanged, [column.type for column in router.union]) == (0, ["float", "float"])


def test_a_registered_model_that_was_made_again(module_store, keep):
    """Version 1 of it is another model than version 1 was, and no LoggedModel tells them apart."""
    rows = ROWS.assign(key="a")
    config = ("name=again_router", *ROUTED, "+models.a.uri=models:/again/1", module_store.override)
    for seed in (1, 2):
        path = keep(fleets.fitted(seed), rows[["x1", "x2"]])
        with fleets.active(module_store.uri):
            client = mlflow.MlflowClient()
            client.create_registered_model("again")
            client.create_model_version("again", path)
        logged = api.build(*config)
        with fleets.active(module_store.uri):
            client.delete_registered_model("again")

        router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
        expected = fleets.fitted(seed).predict(rows[["x1", "x2"]])
        np.testing.assert_allclose(np.asarray(router.predict(rows)), expected, rtol=1e-9)


def test_a_registered_model_that_was_made_again_elsewhere():
    """The same where its files cannot be looked at."""
    entry = SubModelEntry("a", "models:/again/1", name="again", version="1")

    first, second = (stamp_of(entry, ModelFolder(f"s3://models/{run}"), ()) for run in ("r1", "r2"))

    assert None not in (first, second)
    assert first != second


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


def test_a_library_that_changed(build, tmp_path, monkeypatch, keep):
    """What was proved with another version is proved again with the one that is here, and once only."""
    monkeypatch.syspath_prepend(tmp_path)
    path = keep(fleets.fitted(0), ROWS[["x1", "x2"]])
    with (Path(path) / "requirements.txt").open("a") as lines:
        lines.write("\nown-library>=1\n")
    taken = []
    for version in ("1.0", "1.0", "2.0"):
        home = tmp_path / "own_library.dist-info"
        home.mkdir(exist_ok=True)
        (home / "METADATA").write_text(f"Name: own-library\nVersion: {version}\n")
        logged = build(f"+models.own.uri={path}", "build.unchanged=register")
        taken.append((logged.unchanged, logged.version))

    # The files of the folder need nothing of it.
    assert taken == [(0, "1"), (4, "2"), (3, "3")]
    assert build(f"+models.own.uri={path}", "build.unchanged=register").unchanged == 4
