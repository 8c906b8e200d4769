"""Shared fixtures: real MLflow stores in temporary folders, real sub-models, real servers."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest

from mmeframe.testing.command import CommandResult as Done
from mmeframe.testing.stores import LocalStore as Store
from mmeframe.testing.stores import copy_of
from tests import fleets

if TYPE_CHECKING:
    from mmeframe.runtime import Router


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The documents go first: they take longest, and a worker that begins with them last would work alone."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the developer's own settings, and every cache folder is the test's own."""
    for name in list(os.environ):
        if name.startswith("MMEFRAME_") or name in (
            "MLFLOW_TRACKING_URI",
            "MLFLOW_EXPERIMENT_ID",
            "MLFLOW_EXPERIMENT_NAME",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def store(mmeframe_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of the test's own, in the working directory, as MLflow's default would be."""
    monkeypatch.chdir(mmeframe_store.folder)
    return mmeframe_store


@pytest.fixture(scope="session")
def template_store(_mmeframe_template: Store) -> Path:
    """The folder of an empty store with its tables made: copying it saves two seconds per test."""
    return _mmeframe_template.folder


@pytest.fixture(scope="module")
def module_store(_mmeframe_template: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the module's own, which its tests share; not MLflow's active one."""
    return copy_of(_mmeframe_template, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def keep(module_store: Store) -> Callable[..., str]:
    """``fleets.keep`` in the module's folder: (model, rows, answers=None, **options) -> path."""
    return partial(fleets.keep, module_store.folder)


@pytest.fixture(scope="module")
def make(module_store: Store) -> Callable[..., Router]:
    """Build a router in the module's store and load it: (*overrides, name="made", notes=()) -> router.

    notes: what the build says, None for whatever it is.
    """
    from mmeframe import api

    def build(*overrides: str, name: str = "made", notes: tuple[str, ...] | None = ()) -> Router:
        logged = api.build(f"name={name}", *overrides, module_store.override, plugins=fleets.plugins())
        # Tests of a module build other sub-models under one name.
        told = tuple(note for note in logged.notes if "that this build lacks" not in note)
        assert notes is None or told == notes
        return api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    return build


@pytest.fixture(scope="module")
def importable(module_store: Store) -> Iterator[Callable[[str, str], ModuleType]]:
    """A module of a text, importable for as long as the module's tests run: (name, text) -> module."""
    home = module_store.folder / "code"
    home.mkdir()
    sys.path.insert(0, str(home))

    def module(name: str, text: str) -> ModuleType:
        (home / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield module
    sys.path.remove(str(home))


@pytest.fixture(scope="session")
def week(tmp_path_factory: pytest.TempPathFactory, _mmeframe_template: Store) -> Store:
    """A store with seven weekday models (day_0 ... day_6) and a global one (all_days), aliased champion.

    Ridge models of x1 and x2. Shared by many tests: register routers under names of their own, change nothing else.
    """
    store = copy_of(_mmeframe_template, tmp_path_factory.mktemp("week"))
    fleets.log_week(store.folder)
    return store


@pytest.fixture(scope="session")
def for_server(_mmeframe_template: Store) -> Callable[[Path], Store]:
    """Put an empty store into a folder, for a tracking server that proxies artifacts."""
    return lambda folder: copy_of(_mmeframe_template, folder, "mlflow-artifacts:/0")


@pytest.fixture
def run(mmeframe_cli: Callable[..., Done]) -> Callable[..., Done]:
    """Run a command line in this process."""
    return mmeframe_cli
