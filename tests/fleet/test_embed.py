"""Modules that sub-models ship: which may meet in one process, and which may not."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmeframe import api
from mmeframe.errors import ProblemsError
from tests import fleets

ROWS = fleets.rows(8)[["x1", "x2"]]


@pytest.fixture(scope="module")
def template(module_store) -> str:
    (module_store.folder / "any_module.py").write_text("")
    return fleets.keep(
        module_store.folder, fleets.fitted(0), ROWS, code_paths=[str(module_store.folder / "any_module.py")]
    )


@pytest.fixture
def ship(template, tmp_path) -> Callable[[str, Mapping[str, str]], str]:
    """A model folder with these files as its code: (name, path -> text) -> override that declares it."""

    def ship(name: str, files: Mapping[str, str]) -> str:
        folder = tmp_path / name
        shutil.copytree(template, folder)
        shutil.rmtree(folder / "code")
        for path, text in files.items():
            (folder / "code" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "code" / path).write_text(text)
        return f"+models.{name}={{uri:{folder},key:{{who:{name}}}}}"

    return ship


def validate(*overrides: str) -> Any:
    return api.validate("name=r", "routing=column", "routing.column=who", *overrides)


ALIKE = {
    "equal": ({"helper_a.py": "A = 1"}, {"helper_a.py": "A = 1"}),
    "other-names": ({"helper_a.py": "A = 1"}, {"helper_b.py": "A = 2"}),
    "one-has-more": ({"helper_a.py": "A = 1"}, {"helper_a.py": "A = 1", "helper_b.py": ""}),
    "equal-packages": (
        {"pkg_a/__init__.py": "", "pkg_a/in/deep.py": "A"},
        {"pkg_a/__init__.py": "", "pkg_a/in/deep.py": "A"},
    ),
    "parts-of-a-namespace": ({"ns_a/one.py": "A = 1"}, {"ns_a/two.py": "A = 2"}),
    "packages-in-a-namespace": ({"ns_a/one/__init__.py": "A"}, {"ns_a/two/__init__.py": "B"}),
    "data-of-other-modules": ({"helper_a.py": "", "rates.csv": "1"}, {"helper_b.py": "", "rates.csv": "2"}),
    "bytecode": ({"helper_a.py": "", "__pycache__/helper_a.cpython-311.pyc": "1"}, {"helper_a.py": ""}),
    "module-beside-folder": ({"helper_a.py": "", "helper_a/data.py": ""}, {"helper_b.py": ""}),
}
DIFFERENT = {
    "modules": ({"helper_a.py": "1"}, {"helper_a.py": "2"}, "'helper_a' that differs from the one"),
    "packages": ({"pkg_a/__init__.py": "1"}, {"pkg_a/__init__.py": "2"}, "'pkg_a' that differs from the one"),
    "deep": (
        {"pkg_a/__init__.py": "", "pkg_a/in/deep.py": "1"},
        {"pkg_a/__init__.py": "", "pkg_a/in/deep.py": "2"},
        "'pkg_a' that differs from the one",
    ),
    "package-with-more": (
        {"pkg_a/__init__.py": ""},
        {"pkg_a/__init__.py": "", "pkg_a/more.py": ""},
        "'pkg_a' that differs from the one",
    ),
    "module-and-package": ({"helper_a.py": ""}, {"helper_a/__init__.py": ""}, "'helper_a' that differs from the one"),
    "in-a-namespace": ({"ns_a/one.py": "1"}, {"ns_a/one.py": "2"}, "'ns_a.one' that differs from the one"),
    "package-before-namespace": (
        {"ns_a/__init__.py": ""},
        {"ns_a/one.py": ""},
        "'ns_a.one' that is hidden by the package 'ns_a'",
    ),
    "namespace-before-package": (
        {"ns_a/one.py": ""},
        {"ns_a/__init__.py": ""},
        "'ns_a' that hides the namespace package",
    ),
    "data-beside": (
        {"helper_a.py": "", "rates.csv": "1"},
        {"helper_a.py": "", "rates.csv": "2"},
        "'helper_a' that differs from the one",
    ),
    "data-in-a-package": (
        {"pkg_a/__init__.py": "", "pkg_a/rates.csv": "1"},
        {"pkg_a/__init__.py": "", "pkg_a/rates.csv": "2"},
        "'pkg_a' that differs from the one",
    ),
}


@pytest.mark.parametrize(("one", "two"), ALIKE.values(), ids=ALIKE)
def test_code_that_may_share_a_process(store, ship, one, two):
    """Equal modules are one; others have other names; parts of a namespace package complete one another."""
    assert validate(ship("one", one), ship("two", two)).warnings == ()


@pytest.mark.parametrize(("one", "two", "what"), DIFFERENT.values(), ids=DIFFERENT)
def test_code_that_may_not(store, ship, one, two, what):
    """Both sub-models and the module are named, and what to do; with isolation=process it may."""
    overrides = ship("one", one), ship("two", two)

    with pytest.raises(ProblemsError) as caught:
        validate(*overrides)

    assert str(caught.value) == (
        f"models.two: it ships a module {what} of 'one'.\n  One process can import only one of them. Rename one "
        "module, log both with the same code, or set isolation=process."
    )
    assert validate(*overrides, "isolation=process").warnings == ()


def test_a_module_that_a_distribution_has_too(store, ship):
    """A shipped module that hides an installed one does so for every sub-model; in a process of its own it may."""
    files = {"yaml/__init__.py": ""}

    (warning,) = validate(ship("one", files)).warnings
    assert warning == (
        "models.one: it ships a module 'yaml', which PyYAML has too; it does not load in a process that "
        "has imported the other one. isolation=process avoids that."
    )
    assert validate(ship("two", files), "isolation=process").warnings == ()


def test_an_isolation_that_does_not_exist(store):
    with pytest.raises(ProblemsError, match=r"isolation: .*'shared' or 'process'"):
        validate("isolation=proces")


# -- native sub-models with classes of their own -----------------------------------------------------------------

OWN = """
from sklearn.linear_model import LogisticRegression
class Own(LogisticRegression):
    def predict_proba(self, X):
        import own_lazy
        return own_lazy.change(super().predict_proba(X))
"""
LAZY = {"one": "def change(p): return p", "two": "def change(p): return p[:, ::-1].copy()"}


@contextmanager
def imported(folder: Path) -> Iterator[Any]:
    """The module own_estimator of a folder, as if it were installed, for as long as the block runs."""
    sys.path.insert(0, str(folder))
    try:
        import own_estimator

        yield own_estimator
    finally:
        sys.path.remove(str(folder))
        for name in ("own_estimator", "own_lazy"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def own(module_store) -> dict[str, str]:
    """Classifiers whose class is shipped; its module is equal, one that it imports later is not."""
    found = {}
    for name, lazy in LAZY.items():
        home = module_store.folder / f"own_{name}"
        home.mkdir()
        (home / "own_estimator.py").write_text(OWN)
        (home / "own_lazy.py").write_text(lazy)
        with imported(home) as module:
            model = module.Own().fit(ROWS, ["one", "two"] * 4)
            code = [str(home / "own_estimator.py"), str(home / "own_lazy.py")]
            found[name] = fleets.keep(module_store.folder, model, ROWS, code_paths=code)
    return found


@pytest.mark.build
@pytest.mark.process
def test_another_method_and_a_gate(own, module_store):
    """Classes, probabilities and a gate's keys are asked of the right code, when building and when answering."""
    from sklearn.linear_model import LogisticRegression

    models = [f"+models.{name}={{uri:{path},key:{{who:{name}}}}}" for name, path in own.items()]
    gate = f"+models.chooser={{uri:{own['two']},key:none}}"
    overrides = (*models, gate, "+routing@routing.keys.who=gate", "routing.keys.who.model=chooser", "isolation=process")
    with fleets.inside(module_store.folder):
        logged = api.build("name=own", *overrides, "output.method=predict_proba", module_store.override)
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    answer = router.predict(ROWS, {"annotate": True})

    plain = LogisticRegression().fit(ROWS, ["one", "two"] * 4)
    chosen = plain.predict(ROWS)
    expected = plain.predict_proba(ROWS)
    expected[chosen == "two"] = expected[chosen == "two"][:, ::-1]
    assert answer["model_id"].tolist() == chosen.tolist()
    assert pd.DataFrame({name: answer[name] for name in ("one", "two")}).to_numpy().tolist() == pytest.approx(expected)
    assert importlib.util.find_spec("own_lazy") is None
    router.close()


@pytest.mark.process
@pytest.mark.parametrize("isolation", ["shared", "process"])
def test_a_gate_with_a_class_of_its_own_explains(own, store, tmp_path, isolation):
    """Nothing is built yet: the gate is asked with its own files."""
    data = tmp_path / "rows.csv"
    ROWS.to_csv(data, index=False)
    models = [f"+models.{name}={{uri:{own['two']},key:{{who:{name}}}}}" for name in ("one", "two")]
    gate = f"+models.chooser={{uri:{own['two']},key:none}}"
    routing = ("+routing@routing.keys.who=gate", "routing.keys.who.model=chooser", f"isolation={isolation}")

    found = api.explain("name=r", *models, gate, *routing, data=data)

    assert {row["model_id"] for row in found} == {"one", "two"}
    for name in ("own_estimator", "own_lazy"):
        sys.modules.pop(name, None)
