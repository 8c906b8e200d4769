"""Undo what a build began: on failure and interruption at once, after a kill by the next build."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = [
    "BUILD_TAG",
    "Undo",
    "close_leftovers",
    "end_runs",
    "forget_empty",
    "forget_models",
    "forget_versions",
    "lease",
    "restore_alias",
]

BUILD_TAG = "mmeframe.build"
# A build of another machine, or container, is left alone for this long: nobody can see whether it still runs.
_PATIENCE_S = 24 * 3600


class Undo:
    """Steps to take back, newest first, unless ``keep`` is called.

    A step is added before what it takes back is begun, and looks for what is there: a call may be interrupted after the
    store has done it. It returns lines that say what it cleaned; an exception that passes through, KeyboardInterrupt
    too, gets them as notes, so that the user reads them.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], list[str]]] = []

    def add(self, step: Callable[[], list[str]]) -> None:
        self._steps.append(step)

    def keep(self) -> None:
        self._steps.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for step in reversed(self._steps):
            try:
                notes = [f"Cleaned up: {line}." for line in step()]
            except Exception as fault:  # noqa: BLE001 - the first error matters more; this one is told beside it
                notes = [f"Could not clean up: {type(fault).__name__}: {fault}"]
            if error is not None:
                for note in notes:
                    error.add_note(note)


def forget_models(client: Any, experiment_id: str, run_id: str, name: str | None = None) -> list[str]:
    """Delete the LoggedModels of a run, or those with one name, that are no version of a registered model."""
    from mlflow.entities import LoggedModelStatus

    # Searches give the source of a version, which ends with the id, and not the id.
    used = {str(version.source).rpartition("/")[2] for version in client.search_model_versions(f"run_id = '{run_id}'")}
    wanted = f"source_run_id = '{run_id}'" + (f" AND name = '{name}'" if name else "")
    closed = []
    for model in client.search_logged_models([experiment_id], wanted):
        if model.model_id in used:
            continue
        if model.status == LoggedModelStatus.PENDING:
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        client.delete_logged_model(model.model_id)
        _delete_files(model.artifact_location)
        closed.append(f"logged model {model.model_id} was deleted")
    return closed


def _delete_files(location: str) -> None:
    """Give the space back at once: MLflow keeps the files of a deleted model until somebody collects its garbage.

    Stores that cannot delete keep them, as they would anyway.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with contextlib.suppress(Exception):
        repository: Any = get_artifact_repository(location)
        repository.delete_artifacts()


def forget_versions(client: Any, run_id: str, name: str | None = None) -> list[str]:
    """Delete the model versions that a run registered, or those of one registered model."""
    closed = []
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        if name in (None, version.name):
            client.delete_model_version(version.name, version.version)
            closed.append(f"version {version.version} of {version.name} was deleted")
    return closed


def restore_alias(client: Any, name: str, alias: str, version: str, before: str | None) -> list[str]:
    """Give an alias back to the version that it named before, if it names ``version`` now."""
    if str(dict(client.get_registered_model(name).aliases).get(alias)) != version:
        return []
    if before is None:
        client.delete_registered_model_alias(name, alias)
        return [f"alias {alias} of {name} was removed"]
    client.set_registered_model_alias(name, alias, before)
    return [f"alias {alias} of {name} names version {before} again"]


def forget_empty(client: Any, name: str) -> list[str]:
    """Delete a registered model that has no version."""
    found = client.search_registered_models(f"name = '{name}'")
    if not found or client.search_model_versions(f"name = '{name}'"):
        return []
    client.delete_registered_model(name)
    return [f"registered model {name} was deleted"]


def end_runs(client: Any, experiment_id: str, owner: str, status: str) -> list[str]:
    """Close the runs of one build."""
    closed = []
    for run in client.search_runs([experiment_id], f"attributes.status = 'RUNNING' AND tags.`{BUILD_TAG}` = '{owner}'"):
        client.set_terminated(run.info.run_id, status)
        closed.append(f"run {run.info.run_id} was marked {status}")
    return closed


def _started(pid: int) -> str:
    """When a process started, in clock ticks: a process id alone may be used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _place() -> str:
    """Where process ids mean what they mean here: a PID namespace of one run of one kernel.

    Containers may share a host name, and have process ids of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        # Nobody can tell, so nobody takes this one for a process of theirs.
        return f"{socket.gethostname()}/{uuid.uuid4().hex}"


def lease() -> str:
    """Names one build of this process in tags: ``host/boot/namespace:pid:start:number``."""
    return f"{_place()}:{os.getpid()}:{_started(os.getpid())}:{uuid.uuid4().hex[:8]}"


def _abandoned(owner: str, started_ms: int) -> bool:
    """Whether the process that a lease names is gone; of one that nobody here can see, whether it is old."""
    place, pid, started, *_ = [*owner.split(":"), "", "", ""]
    if place == _place() and pid.isdigit():
        return _started(int(pid)) != started
    return time.time() - started_ms / 1000 > _PATIENCE_S


def close_leftovers(client: Any, experiment_id: str) -> list[str]:
    """Close what killed builds and trainings left in an experiment: running runs, models that were not registered.

    Versions stay: one is whole before it is registered, and an alias may name it already. Returns a line for each
    thing that was closed.
    """
    closed = []
    for run in client.search_runs([experiment_id], f"attributes.status = 'RUNNING' AND tags.`{BUILD_TAG}` LIKE '%'"):
        owner, run_id = run.data.tags[BUILD_TAG], run.info.run_id
        if _abandoned(owner, run.info.start_time):
            closed += forget_models(client, experiment_id, run_id)
            closed += end_runs(client, experiment_id, owner, "KILLED")
    return [f"left by a process that was killed: {line}" for line in closed]
