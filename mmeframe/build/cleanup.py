"""Undo what a build began: on failure and interruption at once, after a kill by the next build."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["BUILD_TAG", "Undo", "close_leftovers", "lease", "work_folder"]

BUILD_TAG = "mmeframe.build"
# A build of another machine is left alone for this long; nobody can see whether it still runs.
_PATIENCE_S = 24 * 3600
_PREFIX = "mmeframe-build-"


class Undo:
    """Steps to take back, newest first, unless ``keep`` is called.

    An exception that passes through, KeyboardInterrupt too, gets a note for each step, so that the user reads what
    was cleaned.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], Any]]] = []

    def add(self, what: str, step: Callable[[], Any]) -> None:
        self._steps.append((what, step))

    def keep(self) -> None:
        self._steps.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for what, step in reversed(self._steps):
            try:
                step()
                note = f"Cleaned up: {what}."
            except Exception as fault:  # noqa: BLE001 - the first error matters more; this one is told beside it
                note = f"Could not clean up {what}: {type(fault).__name__}: {fault}"
            if error is not None:
                error.add_note(note)


def _started(pid: int) -> str:
    """When a process started, in clock ticks: a process id alone may be used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def lease() -> str:
    """Names this process in tags: ``host:pid:start``."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _abandoned(owner: str, started_ms: int) -> bool:
    """Whether the process that a lease names is gone."""
    host, _, rest = owner.partition(":")
    pid, _, started = rest.partition(":")
    if host == socket.gethostname() and pid.isdigit():
        return _started(int(pid)) != started
    return time.time() - started_ms / 1000 > _PATIENCE_S


def work_folder() -> Path:
    """A temporary folder of this process; those of builds that were killed are removed."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = old.name.removeprefix(_PREFIX).split("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and not Path(f"/proc/{pid}").exists() and old.stat().st_uid == os.getuid():
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def close_leftovers(client: Any, experiment_id: str) -> list[str]:
    """Close what killed builds left in an experiment: running runs, pending models, versions without their end.

    Returns a line for each thing that was closed.
    """
    from mlflow.entities import LoggedModelStatus, RunStatus

    closed = []
    runs = client.search_runs([experiment_id], f"attributes.status = 'RUNNING' AND tags.`{BUILD_TAG}` LIKE '%'")
    for run in runs:
        if not _abandoned(run.data.tags[BUILD_TAG], run.info.start_time):
            continue
        models = client.search_logged_models([experiment_id], f"source_run_id = '{run.info.run_id}'")
        for version in client.search_model_versions(f"run_id = '{run.info.run_id}'"):
            client.delete_model_version(version.name, version.version)
            closed.append(f"version {version.version} of {version.name}, left by a killed build, was deleted")
        for model in models:
            if model.status == LoggedModelStatus.PENDING:
                client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
            client.delete_logged_model(model.model_id)
            closed.append(f"logged model {model.model_id}, left by a killed build, was deleted")
        client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))
        closed.append(f"run {run.info.run_id} of a killed build was closed")
    return closed
