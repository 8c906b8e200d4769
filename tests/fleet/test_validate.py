"""What ``validate`` says ok to, ``build`` does: what is known without loading, or all with ``validate.load``."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import mlflow
import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import infer_signature

from mmeframe import api
from mmeframe.errors import ProblemsError
from mmeframe.fleet.pickles import of_main
from mmeframe.plugin.manager import Plugins, load_plugins
from tests import fleets
from tests.conftest import Store
from tests.plugin.projects import only

ROUTED = ("routing=column", "routing.column=key")
ROWS = fleets.rows(6)[["x1", "x2"]]
OWN = """
from sklearn.base import BaseEstimator

class Own(BaseEstimator):
    def __init__(self, kind="good"):
        self.kind = kind
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        if self.kind == "raises":
            raise ValueError("no luck")
        return X[["x1", "x2"]].to_numpy() if self.kind == "wide" else X["x1"].to_numpy()
"""


@pytest.fixture(scope="module")
def kept(importable: Callable[..., Any], keep: Callable[..., str]) -> Callable[[str], str]:
    """The override of a sub-model of a kind, which declares one double: kind -> override; its id is the kind."""
    own = importable("own_validated", OWN)
    return lambda kind: f"+models.{kind}.uri={keep(own.Own(kind), ROWS, np.zeros(len(ROWS)))}"


@pytest.fixture
def problems(module_store: Store) -> Callable[..., list[str]]:
    """Where and what of each problem: (verb, *overrides)."""

    def found(verb: str, *overrides: str) -> list[str]:
        with pytest.raises(ProblemsError) as caught:
            getattr(api, verb)("name=validated", *ROUTED, *overrides, module_store.override, plugins=fleets.plugins())
        return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]

    return found


# -- what can be known without loading ---------------------------------------------------------------------------------


class _OfMain:
    """Stands for a class of a notebook."""


@pytest.fixture(scope="module", autouse=True)
def notebook() -> Iterator[None]:
    """A class that only this session has."""
    _OfMain.__module__, _OfMain.__qualname__, _OfMain.__name__ = "__main__", "Scaler", "Scaler"
    main: Any = sys.modules["__main__"]
    main.Scaler = _OfMain
    yield
    del main.Scaler


DATA = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=300) | st.sampled_from(["__main__", "Scaler", "a b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(DATA, st.integers(0, 5), st.sampled_from(["nothing", "class", "object", "two"]))
def test_what_a_pickle_takes_from_main(data, protocol, kind):
    """Whatever stands around it, in every protocol; text that only looks like it is no name."""
    parts = {"nothing": [], "class": [_OfMain], "object": [_OfMain()], "two": [_OfMain(), data, _OfMain]}[kind]

    found = of_main(pickle.dumps([data, *parts, data], protocol))

    assert found == (None if kind == "nothing" else "Scaler")


def test_what_stands_in_a_file_by_value_needs_no_main():
    """cloudpickle stores what a notebook defines, with the name of where it was."""
    data = cloudpickle.dumps([_OfMain(), lambda x: x + 1])

    assert b"__main__" in data
    assert of_main(data) is None


def test_files_of_joblib_are_read_as_far_as_they_are_pickles():
    file = io.BytesIO()
    joblib.dump({"first": _OfMain(), "then": np.arange(1000.0)}, file)

    assert of_main(file.getvalue()) == "Scaler"


@pytest.mark.parametrize("bare", [True, False], ids=["file", "model"])
@pytest.mark.parametrize("verb", ["validate", "plan", "build"])
def test_a_pickle_of_a_session_is_refused_before_it_is_loaded(problems, keep, tmp_path, verb, bare):
    """Here it could be loaded, where it is served it could not."""
    path = Path(keep(fleets.fitted(0), ROWS)) / "model.pkl"
    path = tmp_path / "model.pkl" if bare else path
    path.write_bytes(pickle.dumps({"step": _OfMain()}))

    found = problems(verb, f"+models.a.uri={path if bare else path.parent}")

    assert found == ["models.a: model.pkl needs 'Scaler' of __main__, which only the session that wrote it has."]


@pytest.mark.process
@pytest.mark.parametrize(("flavor", "name"), [("sklearn", "model.pkl"), ("xgboost", "model.ubj")])
def test_a_file_that_is_gone(problems, keep, tmp_path, flavor, name):
    """Of a copy that was cut short: its description is not enough."""
    path = tmp_path / "model"
    if flavor == "sklearn":
        path = Path(keep(fleets.fitted(0), ROWS))
    else:
        booster = xgb.train({"max_depth": 2}, xgb.DMatrix(ROWS, label=ROWS["x1"]), 2)
        mlflow.xgboost.save_model(booster, str(path), signature=infer_signature(ROWS, ROWS["x1"]))
    (path / name).unlink()

    assert problems("validate", f"+models.a.uri={path}") == [f"models.a: {path} has no file {name!r}."]


@pytest.mark.parametrize("verb", ["validate", "plan", "build"])
@pytest.mark.parametrize("loader", ["xgboost", "lightgbm", "catboost"])
def test_a_loader_for_other_flavors(problems, keep, verb, loader):
    """What it would keep of the files is known without loading any."""
    (found,) = problems(verb, f"+models.a.uri={keep(fleets.fitted(0), ROWS)}", f"+models.a.loader={loader}")

    assert found.startswith(f"models.a.loader: {loader} cannot tell its files: KeyError: ")


ODD = """
from dataclasses import dataclass
from mmeframe.builtin.column import ColumnConf, ColumnStrategy
from mmeframe.plugin import RoutingStrategyPlugin, hookimpl

@dataclass
class OddConf(ColumnConf):
    pass

class Odd(ColumnStrategy):
    pass

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("odd", OddConf, f"{__name__}:Odd", "for a test")]
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """An installed plugin that needs a scikit-learn of its own."""
    home = tmp_path / "odd_plugin-1.0.dist-info"
    home.mkdir()
    (tmp_path / "odd_plugin.py").write_text(ODD)
    (home / "METADATA").write_text("Name: odd-plugin\nVersion: 1.0\nRequires-Dist: scikit-learn==0.1\n")
    (home / "entry_points.txt").write_text("[mmeframe]\nodd = odd_plugin\n")
    (home / "RECORD").write_text("odd_plugin.py,,\n")
    only(monkeypatch, tmp_path)
    return load_plugins()


@pytest.mark.build
@pytest.mark.parametrize("verb", ["validate", "plan", "build"])
def test_what_wraps_a_router_is_checked_too(kept, module_store, odd, verb):
    """A plugin's requirements that clash with the sub-models' own: nothing needs to be packed to see it."""
    config = ("name=wrapped", "routing=odd", "routing.column=key", kept("good"), module_store.override)

    with pytest.raises(ProblemsError, match=r"odd-plugin needs scikit-learn==0\.1") as caught:
        getattr(api, verb)(*config, plugins=odd)

    assert len(caught.value.problems) == 1


# -- what cannot -------------------------------------------------------------------------------------------------------


@pytest.mark.build
def test_with_load_validate_says_what_build_would(problems, kept, module_store):
    """In the same words; and leaves nothing in the store."""
    client = mlflow.MlflowClient(module_store.uri)
    before = len(client.search_runs(["0"]))
    fleet = (kept("good"), kept("raises"))

    found = problems("validate", *fleet, "validate.load=true")

    assert found == problems("build", *fleet)
    assert found == ["models.raises: it answered none of its probe rows: ValueError: no luck."]
    assert problems("validate", kept("good"), kept("wide"), "validate.load=true") == [
        "models.wide: it returned 2 values per row; its signature declares 1."
    ]
    assert len(client.search_runs(["0"])) == before
    assert not client.search_logged_models(["0"], "name = 'validated'")


@pytest.mark.parametrize("option", ["load=true", "validate.load=true"])
def test_the_command_says_that_it_has_loaded_them(run, kept, module_store, option):
    done = run("validate", "name=loaded", *ROUTED, kept("good"), module_store.override, option)

    assert (done.code, done.lines) == (0, ["ok: 1 sub-model, loaded and proved, 2 columns, levels: key"])


def test_without_load_nothing_is_loaded(run, kept, module_store):
    done = run("validate", "name=unloaded", *ROUTED, kept("raises"), module_store.override)

    assert (done.code, done.lines) == (0, ["ok: 1 sub-model, 2 columns, levels: key"])


def test_a_logged_router_was_proved_already(run):
    """An option that would do nothing is refused."""
    done = run("validate", "model=models:/any/1", "load=true")

    assert done.code == 2
    assert "validate.load: a logged router was loaded and proved when it was built." in done.err
