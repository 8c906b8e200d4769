"""Other versions than those that made a sub-model: compared when it is validated, built and loaded; told by name."""

from __future__ import annotations

import ctypes
import logging
import pickle
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import skops.io as skops_io
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mmeframe import api, versions
from mmeframe.errors import ProblemsError
from mmeframe.versions import HERE, other_libraries
from tests import fleets
from tests.conftest import Store

ROUTED = ("routing=column", "routing.column=key")
ROWS = fleets.rows(6)[["x1", "x2"]]
ANOTHER = "3.10.13" if HERE != "3.10" else "3.12.1"
MINOR = ".".join(ANOTHER.split(".")[:2])
SKLEARN = metadata.version("scikit-learn")
WARN = "environment.python=warn"


class Crash:
    """A pickle that ends whoever loads it, as bytecode of another Python can."""

    def __reduce__(self) -> Any:
        return _end, ()


def _end() -> None:
    ctypes.string_at(0)


def made_by(path: str, python: str | None = None, requirement: str | None = None) -> str:
    """A model folder that says of itself that another Python, or another library, wrote it."""
    described = Path(path) / "MLmodel"
    content = yaml.safe_load(described.read_text())
    if python is not None:
        content["flavors"]["python_function"]["python_version"] = python
    described.write_text(yaml.safe_dump(content, sort_keys=False))
    if requirement is not None:
        needs = Path(path) / "requirements.txt"
        name = requirement.split("==")[0]
        lines = [line for line in needs.read_text().splitlines() if not line.startswith(name)]
        needs.write_text("\n".join([*lines, requirement]) + "\n")
    return path


@pytest.fixture(scope="module")
def crashing(keep: Callable[..., str]) -> Callable[..., str]:
    def make(**made: str) -> str:
        path = keep(fleets.fitted(0), ROWS)
        (Path(path) / "model.pkl").write_bytes(pickle.dumps(Crash()))
        return made_by(path, **made)

    return make


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mmeframe"]


def model(id_: str, path: str) -> str:
    return f"+models.{id_}.uri={path}"


def problems(module_store: Store, verb: str, *overrides: str) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        getattr(api, verb)("name=versions", *ROUTED, *overrides, module_store.override, plugins=fleets.plugins())
    assert all(problem.hint for problem in caught.value.problems)
    return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]


@pytest.mark.parametrize("verb", ["validate", "plan", "build"])
def test_pickles_of_another_python_are_refused_before_they_are_loaded(module_store, crashing, keep, verb):
    """All of them in one line; whoever loads one would be gone."""
    bad = crashing(python=ANOTHER)

    found = problems(
        module_store, verb, *(model(id_, bad) for id_ in "abcde"), model("good", keep(fleets.fitted(0), ROWS))
    )

    assert found == [
        f"environment.python: 'a', 'b', 'c' and 2 more were pickled by Python {MINOR}, and this is Python {HERE}."
    ]


@pytest.mark.process
@pytest.mark.build
@pytest.mark.parametrize(
    "made",
    [
        pytest.param({"python": ANOTHER}, id="python"),
        pytest.param({"requirement": "scikit-learn==0.24.2"}, id="library"),
    ],
)
def test_a_crash_is_a_message_that_names_the_sub_model(module_store, crashing, keep, made):
    """Pickles that may crash are tried in a process of their own; the others go on to be proved."""
    bad, good = crashing(**made), keep(fleets.fitted(0), ROWS)
    settled = f"+environment.override.scikit-learn={SKLEARN}"

    found = problems(module_store, "build", model("bad", bad), model("good", good), WARN, settled)

    assert found == ["models.bad: its process ended with signal 11."]


class CrashByValue:
    """The same in bytecode, as cloudpickle writes what nobody can import."""

    def __reduce__(self) -> Any:
        return lambda: ctypes.string_at(0), ()


@pytest.mark.build
@pytest.mark.process
@pytest.mark.parametrize(
    ("verb", "declared"),
    [("validate", ""), ("plan", ""), ("build", ""), ("build", "{inputs: [x1, x2], outputs: double}")],
)
def test_bytecode_of_an_unknown_python_is_tried_elsewhere(module_store, tmp_path, verb, declared):
    """A bare file does not say who wrote it: each that crashes is named, and the others are looked at."""
    files = {"a": CrashByValue(), "b": CrashByValue(), "good": fleets.fitted(0)}
    for id_, it in files.items():
        (tmp_path / f"{id_}.joblib").write_bytes(cloudpickle.dumps(it))
    signatures = [f"+models.{id_}.signature={declared}" for id_ in "ab"] if declared else []

    found = problems(module_store, verb, *(model(id_, str(tmp_path / f"{id_}.joblib")) for id_ in files), *signatures)

    assert found == [f"models.{id_}: its process ended with signal 11." for id_ in "ab"]


@pytest.mark.build
@pytest.mark.process
def test_bytecode_of_this_python_is_built_in(module_store, tmp_path):
    """The answers are those of the file, with or without a declared signature."""
    scaled = make_pipeline(FunctionTransformer(lambda rows: rows * 2), fleets.fitted(0)).fit(ROWS, ROWS["x1"])
    (tmp_path / "a.cloudpickle").write_bytes(cloudpickle.dumps(scaled))

    config = ("name=bytecode", *ROUTED, model("a", str(tmp_path / "a.cloudpickle")), module_store.override)
    logged = api.build(*config, plugins=fleets.plugins())

    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
    assert logged.notes == ()
    assert router.predict(ROWS.assign(key="a")).tolist() == scaled.predict(ROWS).tolist()


@pytest.mark.process
@pytest.mark.build
def test_pickles_of_another_python_that_are_wanted_are_told_once(module_store, keep, caplog, monkeypatch):
    """By the build, and once by each process that loads the router, before it loads a sub-model."""
    monkeypatch.setattr(versions, "_told", set())
    path = made_by(keep(fleets.fitted(0), ROWS), ANOTHER)
    config = ("name=wanted", *ROUTED, model("a", path), model("b", path), WARN, module_store.override)
    said = f"'a', 'b' were pickled by Python {MINOR}, and this is Python {HERE}"

    with caplog.at_level(logging.WARNING, "mmeframe"):
        logged = api.build(*config, plugins=fleets.plugins())
        built = ours(caplog)
        routers = [api.load_router(logged.model_uri, tracking_uri=module_store.uri) for _ in range(2)]

    assert logged.notes == (f"environment.python: {said}.",)
    assert built == []
    assert ours(caplog) == [f"{said}: loading it may fail, or end the process."]
    assert routers[0].bundle.pickled() == {"a": MINOR, "b": MINOR}
    assert routers[0].predict(ROWS.assign(key="a")).tolist() == fleets.fitted(0).predict(ROWS).tolist()


@pytest.mark.process
@pytest.mark.build
def test_other_versions_of_libraries_are_told_once_by_name(module_store, keep, caplog, monkeypatch):
    """With both versions, however many sub-models ask for it, in validate, build and where the router is loaded."""
    monkeypatch.setattr(versions, "_told", set())
    path = made_by(keep(fleets.fitted(0), ROWS), requirement="scikit-learn==0.24.2")
    config = ("name=libraries", *ROUTED, *(model(id_, path) for id_ in "abc"), module_store.override)
    said = f"scikit-learn==0.24.2 is required, and {SKLEARN} is installed here."

    fleet = api.validate(*config, plugins=fleets.plugins())
    logged = api.build(*config, plugins=fleets.plugins())
    with caplog.at_level(logging.WARNING, "mmeframe"):
        for _ in range(2):
            api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    assert fleet.warnings == (f"environment: {said} The build proves the sub-models with the installed one.",)
    assert logged.notes == fleet.warnings
    assert ours(caplog) == [said]


@pytest.mark.process
@pytest.mark.build
def test_a_router_is_compared_without_being_loaded(run, module_store, keep):
    """``validate`` of a logged router warns of what loading it would."""
    path = made_by(keep(fleets.fitted(0), ROWS), ANOTHER, "scikit-learn==0.24.2")
    run("build", "name=compared", *ROUTED, model("a", path), WARN, module_store.override)

    done = run("validate", "model=models:/compared/1", module_store.override)

    assert done.code == 0
    assert f"warning: 'a' was pickled by Python {MINOR}, and this is Python {HERE}" in done.err
    assert f"warning: scikit-learn==0.24.2 is required, and {SKLEARN} is installed here." in done.err


@pytest.mark.process
@pytest.mark.build
def test_which_python_has_pickled_what(module_store, keep, tmp_path):
    """What its description says; of a bare file nobody knows more than which one has read it. Of data: none."""
    bare = tmp_path / "bare.pkl"
    bare.write_bytes(pickle.dumps(fleets.fitted(0)))
    skops = tmp_path / "safe.skops"
    skops_io.dump(fleets.fitted(0), skops)
    models = (
        model("bare", str(bare)),
        model("safe", str(skops)),
        model("old", made_by(keep(fleets.fitted(0), ROWS), ANOTHER)),
    )
    both = "+models.both.combine={kind:mean,of:[bare,old]}"

    logged = api.build("name=who", *ROUTED, *models, both, WARN, module_store.override, plugins=fleets.plugins())

    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
    assert router.bundle.pickled() == {"bare": HERE, "old": MINOR}


@pytest.mark.process
def test_what_holds_no_pickle_may_be_of_any_python(module_store, tmp_path, keep):
    """Its files are data: the build goes on, and says where they came from."""
    import mlflow
    import xgboost as xgb
    from mlflow.models import infer_signature

    booster = xgb.train({"max_depth": 2}, xgb.DMatrix(ROWS, label=ROWS["x1"]), 2)
    mlflow.xgboost.save_model(booster, str(tmp_path / "m"), signature=infer_signature(ROWS, ROWS["x1"]))
    path = made_by(str(tmp_path / "m"), ANOTHER)

    fleet = api.validate("name=data", *ROUTED, model("a", path), module_store.override, plugins=fleets.plugins())

    assert fleet.warnings[0] == f"environment: 1 sub-model without pickles came from Python {MINOR}."


RELEASES = st.tuples(*[st.integers(0, 30)] * 3).map(lambda it: ".".join(map(str, it)))


@given(RELEASES, st.sampled_from(["==", ">=", "<=", "!=", "~="]))
def test_a_version_is_told_where_it_is_not_admitted(release, operator):
    """As pip would judge it; distributions that are not here, and markers of other places, are none of this."""
    from packaging.specifiers import SpecifierSet

    line = f"scikit-learn{operator}{release}"
    elsewhere = f'{line} ; os_name == "another"'
    admitted = SpecifierSet(f"{operator}{release}").contains(SKLEARN)

    said = f"{line} is required, and {SKLEARN} is installed here."
    assert other_libraries([line, "not-installed==1", elsewhere]) == (() if admitted else (said,))
