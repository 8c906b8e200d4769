"""MLflow stores of tests: sqlite files, copied from one that has its tables already."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmeframe.environ import variables

__all__ = ["LocalStore", "active", "copy_of", "make_store"]

_FILE, _ARTIFACTS = "mlflow.db", "mlruns"
# Where stores of this process put what is logged; without it, below the working directory of whoever runs the tests.
_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"


@dataclass(frozen=True)
class LocalStore:
    """An MLflow store in a folder of its own."""

    folder: Path

    @property
    def uri(self) -> str:
        """What ``MLFLOW_TRACKING_URI`` and ``tracking.uri`` take."""
        return f"sqlite:///{self.folder}/{_FILE}"

    @property
    def override(self) -> str:
        """``tracking.uri=...`` for a command line."""
        return f"tracking.uri={self.uri}"


def make_store(folder: Path) -> LocalStore:
    """An empty store with all its tables, which take MLflow two seconds to make."""
    from mlflow import MlflowClient

    store = LocalStore(folder)
    with _artifacts_in(folder):
        MlflowClient(tracking_uri=store.uri, registry_uri=store.uri).search_experiments()
    return store


def copy_of(template: LocalStore, folder: Path, artifacts: str = "") -> LocalStore:
    """An empty store in another folder. artifacts: the URI that its files go to, if it is not below that."""
    store = LocalStore(folder)
    shutil.copy(template.folder / _FILE, folder / _FILE)
    with contextlib.closing(sqlite3.connect(folder / _FILE)) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (artifacts or f"{folder / _ARTIFACTS}/0",))
    return store


@contextlib.contextmanager
def active(store: LocalStore) -> Iterator[None]:
    """Make a store MLflow's own while the block runs, for tracking and registry; a run that is left open is ended."""
    import mlflow

    from mmeframe.store.store import using_store

    with _artifacts_in(store.folder), using_store(store.uri):
        try:
            yield
        finally:
            while mlflow.active_run():
                mlflow.end_run()


def _artifacts_in(folder: Path) -> contextlib.AbstractContextManager[None]:
    return variables({_ROOT: str(folder / _ARTIFACTS)})
