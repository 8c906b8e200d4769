"""What may run code: pickles only where they are allowed, and never what a skops file names without our trust."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from mmeframe import api
from mmeframe.bundle import BundleWriter, FileRef
from mmeframe.errors import ConfigError, ModelError, ProblemsError
from mmeframe.runtime import Router
from mmeframe.runtime.deployment import Deployment
from tests import flavors, fleets
from tests.conftest import Store

ROUTED = ("routing=column", "routing.column=key")
FORBID = "bundle.allow_pickle=false"
ROWS = fleets.rows(20)[["x1", "x2"]]
# What an attacker ships: it writes a file as soon as anything makes it live.
EVIL = '''
import os
import pathlib

from sklearn.base import BaseEstimator, RegressorMixin


def strike():
    pathlib.Path(os.environ["STRUCK"]).write_text("run")


class Made(RegressorMixin, BaseEstimator):
    """Strikes when it is made or filled."""

    def __new__(cls, *args, **kwargs):
        strike()
        return super().__new__(cls)

    def __setstate__(self, state):
        strike()
        self.__dict__.update(state)

    def fit(self, X, y):
        return self

    def predict(self, X):
        return X["x1"].to_numpy()


class Reduced:
    """Strikes when it is unpickled."""

    def __reduce__(self):
        return strike, ()
'''


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The attacker's module, importable here, as it would be from a package that the process has."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "evil_types.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path / "home"))
    monkeypatch.setenv("STRUCK", str(tmp_path / "struck"))
    import evil_types  # type: ignore[import-not-found]

    yield evil_types
    del sys.modules["evil_types"]


@pytest.fixture
def struck(evil: Any) -> Path:
    """Where code of the attacker leaves a trace."""
    return Path(os.environ["STRUCK"])


def skops(folder: Path, model: Any, trusted: list[str] | None = None) -> str:
    """Save an estimator in MLflow's default format."""
    path = tempfile.mkdtemp(prefix="model_", dir=folder)
    mlflow.sklearn.save_model(
        model,
        path,
        signature=mlflow.models.infer_signature(ROWS, ROWS["x1"].to_numpy()),
        pip_requirements=fleets.pins(),
        serialization_format="skops",
        skops_trusted_types=trusted,
    )
    return path


@pytest.fixture
def pickled(struck: Path, evil: Any, tmp_path: Path) -> str:
    """A sub-model whose pickle strikes, beside an honest description."""
    path = fleets.keep(tmp_path, fleets.fitted(0), ROWS)
    (Path(path) / "model.pkl").write_bytes(pickle.dumps(evil.Reduced()))
    return path


@pytest.fixture
def crafted(struck: Path, evil: Any, tmp_path: Path) -> str:
    """A sub-model whose skops file has a type that strikes, which its own MLmodel file calls trusted."""
    path = skops(tmp_path, evil.Made(), ["evil_types.Made"])
    assert struck.exists(), "MLflow itself makes it, as it believes the file"
    struck.unlink()
    return path


def call_it(path: str, form: str) -> None:
    """Let the description of a cloudpickle say that it has another format."""
    described = Path(path) / "MLmodel"
    described.write_text(described.read_text().replace("_format: cloudpickle", f"_format: {form}"))


def validate(store: Store, path: str, *overrides: str) -> Any:
    return api.validate("name=r", *ROUTED, flavors.models({"m": path}), store.override, *overrides)


def build(store: Store, path: str, *overrides: str) -> Any:
    return api.build("name=r", *ROUTED, flavors.models({"m": path}), store.override, *overrides)


def router(store: Store, logged: Any) -> Router:
    return api.load_router(logged.model_uri, tracking_uri=store.uri)


# -- pickles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [validate, build])
@pytest.mark.parametrize("method", ["predict", "score_samples"])
def test_a_planted_pickle_is_refused_before_it_is_read(module_store, pickled, struck, verb, method):
    """Also where the answers of another method would have to be found by asking."""
    with pytest.raises(ProblemsError) as caught:
        verb(module_store, pickled, FORBID, f"output.method={method}")

    (problem,) = caught.value.problems
    assert problem.where == "bundle.allow_pickle"
    assert problem.hint.startswith("They are: m. Log them without code_paths and with serialization_format=")
    assert not struck.exists()


@pytest.mark.build
def test_a_deployment_forbids_what_the_build_allowed(module_store, tmp_path, monkeypatch):
    """By a variable, or by ``model_config``; neither gives back what the other takes."""
    honest = fleets.keep(tmp_path, fleets.fitted(0), ROWS)
    uri = build(module_store, honest).model_uri
    folder = api.load_router(uri, tracking_uri=module_store.uri).bundle.folder
    said = "there are sub-models whose files can run code, which is not allowed here.\n  They are: m."

    with fleets.active(module_store.uri):
        mlflow.pyfunc.load_model(uri)
        with pytest.raises(ModelError) as by_config:
            mlflow.pyfunc.load_model(uri, model_config={"bundle_allow_pickle": "false"})
        monkeypatch.setenv("MMEFRAME_ALLOW_PICKLE", "false")
        with pytest.raises(ModelError) as by_variable:
            mlflow.pyfunc.load_model(uri, model_config={"bundle_allow_pickle": True})
    Router.open(folder)

    assert str(by_config.value) == f"model_config.bundle_allow_pickle: {said}"
    assert str(by_variable.value) == f"MMEFRAME_ALLOW_PICKLE: {said}"


def test_what_the_build_forbids_no_deployment_allows():
    """The bundle's word is kept, whatever variables and ``model_config`` say."""
    turned = Deployment({"bundle_allow_pickle": "true"}, {"MMEFRAME_ALLOW_PICKLE": "1"})

    assert turned.who_forbids_pickle(allowed=True) is None
    assert turned.who_forbids_pickle(allowed=False) == "bundle.allow_pickle"


@pytest.mark.parametrize("given", ["no", "", 2])
def test_a_value_that_is_neither_true_nor_false_is_refused(given):
    """Nobody should believe that pickles are forbidden when they are not."""
    with pytest.raises(ConfigError, match="is neither true nor false"):
        Deployment({"bundle_allow_pickle": given}).who_forbids_pickle(allowed=True)


@pytest.mark.build
def test_a_bundle_that_forbids_pickles_says_so_and_is_served(module_store, tmp_path):
    """Formats without code are built and served as ever; the manifest and ``model_config`` record the choice."""
    paths = {"trees": skops(tmp_path, RandomForestRegressor(3).fit(ROWS, ROWS["x1"]), ["sklearn.tree._tree.Tree"])}
    paths["boosted"] = flavors.NUMBERS["xgboost"]["booster"].save("xgboost", tmp_path)
    logged = api.build("name=r", *ROUTED, flavors.models(paths), module_store.override, FORBID)

    with fleets.active(module_store.uri):
        model = mlflow.pyfunc.load_model(logged.model_uri)
    assert model.model_config["bundle_allow_pickle"] == "false"
    assert model.unwrap_python_model().router.bundle.manifest.allow_pickle is False
    expected = flavors.load(paths["trees"]).predict(ROWS)
    np.testing.assert_array_equal(model.predict(ROWS.assign(key="trees")), expected)


@pytest.mark.build
@pytest.mark.parametrize("by", ["bundle.allow_pickle", "MMEFRAME_ALLOW_PICKLE"])
def test_a_planted_pickle_is_refused_at_load(module_store, tmp_path, pickled, struck, by):
    """A bundle that was rewritten, digests and all: refused where the bundle or the deployment forbids pickles."""
    allowed = by != "bundle.allow_pickle"
    safe = skops(tmp_path, fleets.fitted(0))
    opened = router(module_store, build(module_store, safe, f"bundle.allow_pickle={str(allowed).lower()}"))
    with BundleWriter(tmp_path / "bundle") as writer:
        stored = writer.add((Path(pickled) / "model.pkl").read_bytes())
        options = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
        record = replace(opened.records[0], files=(FileRef("model.pkl", stored),), flavor_options=options)
        writer.finish(opened.bundle.manifest, [record])

    with pytest.raises(ModelError, match=rf"^{by}: there are sub-models .*\n  They are: m"):
        Router.open(
            tmp_path / "bundle", deployment=Deployment({}, {"MMEFRAME_ALLOW_PICKLE": "false"} if allowed else {})
        )
    assert not struck.exists()


def cases() -> dict[str, tuple[str, str, bool]]:
    return {
        f"{flavor}-{name}": (flavor, name, case.code)
        for flavor, named in flavors.NUMBERS.items()
        for name, case in named.items()
    }


@pytest.mark.parametrize(("flavor", "name", "code"), cases().values(), ids=cases())
def test_which_files_can_run_code(module_store, tmp_path, flavor, name, code):
    """A library's own format and skops cannot; pickles can."""
    path = flavors.NUMBERS[flavor][name].save(flavor, tmp_path)
    if not code:
        assert validate(module_store, path, FORBID).models
        return
    with pytest.raises(ProblemsError, match=r"^bundle.allow_pickle: there are sub-models whose files can run code"):
        validate(module_store, path, FORBID)


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["x1"].to_numpy()


def _python_model(folder: Path) -> str:
    path = str(folder / "python")
    signature = mlflow.models.infer_signature(ROWS, ROWS["x1"].to_numpy())
    mlflow.pyfunc.save_model(path, python_model=Echo(), signature=signature, pip_requirements=fleets.pins())
    return path


def _from_code(folder: Path) -> str:
    script, path = folder / "script.py", str(folder / "from_code")
    script.write_text(
        "import mlflow\nclass Echo(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n        return model_input['x1'].to_numpy()\n"
        "mlflow.models.set_model(Echo())\n"
    )
    signature = mlflow.models.infer_signature(ROWS, ROWS["x1"].to_numpy())
    mlflow.pyfunc.save_model(path, python_model=str(script), signature=signature, pip_requirements=fleets.pins())
    return path


def _with_code(folder: Path) -> str:
    (folder / "helpers_of_mine.py").write_text("")
    path = str(folder / "with_code")
    mlflow.sklearn.save_model(
        fleets.fitted(0),
        path,
        signature=mlflow.models.infer_signature(ROWS, ROWS["x1"].to_numpy()),
        pip_requirements=fleets.pins(),
        code_paths=[str(folder / "helpers_of_mine.py")],
    )
    return path


def test_all_that_can_run_code_are_one_problem(module_store, tmp_path):
    """Python models, models from code, modules of a sub-model's own, joblib: each id, in one report, shortened."""
    joblib = fleets.keep(tmp_path, fleets.fitted(0), ROWS)
    call_it(joblib, "joblib")
    plain = fleets.keep(tmp_path, fleets.fitted(0), ROWS)
    paths = {"python": _python_model(tmp_path), "script": _from_code(tmp_path), "modules": _with_code(tmp_path)}
    paths |= {"joblib": joblib, "safe": skops(tmp_path, fleets.fitted(0))}
    paths |= {f"zz{number:02}": plain for number in range(14)}

    with pytest.raises(ProblemsError) as caught:
        api.validate("name=r", *ROUTED, flavors.models(paths), module_store.override, FORBID)

    (problem,) = caught.value.problems
    listed = ", ".join(f"zz{number:02}" for number in range(12))
    assert problem.hint.startswith(f"They are: joblib, modules, python, script, {listed} and 2 more. Log them")


# -- skops -------------------------------------------------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize("allowed", ["true", "false"])
def test_a_crafted_skops_file_never_runs_untrusted(module_store, crafted, struck, allowed):
    """What the artifact calls trusted is not believed, whether pickles are allowed or not."""
    with pytest.raises(ProblemsError) as caught:
        build(module_store, crafted, f"bundle.allow_pickle={allowed}")

    assert str(caught.value) == (
        "models.m: its skops file has types that are not trusted: evil_types.Made.\n"
        "  If you trust these types, set MMEFRAME_SKOPS_TRUSTED=evil_types.Made where the router "
        "is served, and bundle.skops_trusted=[evil_types.Made] where it is built."
    )
    assert not struck.exists()


@pytest.mark.build
def test_a_build_may_trust_more_and_its_router_does_not(module_store, crafted, struck, monkeypatch):
    """``bundle.skops_trusted`` is for the build and stays out of the artifact: whoever serves says it again."""
    logged = build(module_store, crafted, "bundle.skops_trusted=evil_types.Made")
    assert struck.exists()
    struck.unlink()
    assert "MMEFRAME_SKOPS_TRUSTED" not in os.environ

    with pytest.raises(ModelError, match="its skops file has types that are not trusted"):
        router(module_store, logged)
    assert not struck.exists()

    monkeypatch.setenv("MMEFRAME_SKOPS_TRUSTED", "other.Type, evil_types.Made")
    answer = router(module_store, logged).predict(ROWS.assign(key="m"))
    np.testing.assert_array_equal(answer, ROWS["x1"])


@pytest.mark.build
def test_a_pickle_that_calls_itself_skops_is_no_skops_file(module_store, pickled, struck):
    """The description chooses the reader, and skops reads no pickle."""
    call_it(pickled, "skops")

    with pytest.raises(Exception, match="File is not a zip file"):
        build(module_store, pickled, FORBID)
    assert not struck.exists()


@pytest.mark.parametrize("name", ["Tree", "a b.C", "9.x"])
def test_a_trusted_type_needs_its_module(name):
    """A name that can be no type is told at its place in the config."""
    with pytest.raises(ProblemsError, match=r"^bundle.skops_trusted\[0\]: name a type with its module"):
        api.compose("name=r", "routing=column", "routing.column=k", f"bundle.skops_trusted=['{name}']")


class Planted:
    """Its pickle makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def test_a_bare_pickle_is_not_loaded_to_be_described(module_store, tmp_path):
    """Its columns would be found by loading it: where pickles are forbidden it is refused before that."""
    trap, touched = tmp_path / "trap.pkl", tmp_path / "touched"
    trap.write_bytes(pickle.dumps(Planted(str(touched))))

    with pytest.raises(ProblemsError) as caught:
        api.validate(
            "name=bare",
            "routing=column",
            "routing.column=key",
            f"+models.trap.uri={trap}",
            "bundle.allow_pickle=false",
            module_store.override,
        )

    assert [problem.where for problem in caught.value.problems] == ["bundle.allow_pickle"]
    assert "trap" in str(caught.value)
    assert not touched.exists()
