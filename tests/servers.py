"""Real servers, started for a test and stopped by it; all on the loopback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: Any

    @property
    def text(self) -> str:
        return json.dumps(self.body) if not isinstance(self.body, str) else self.body


@dataclass(frozen=True)
class Endpoint:
    """A running scoring server."""

    url: str

    def post(self, body: bytes, content_type: str) -> Reply:
        request = urllib.request.Request(f"{self.url}/invocations", body, {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Reply(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            raw = error.read().decode()
            with contextlib.suppress(ValueError):
                return Reply(error.code, json.loads(raw))
            return Reply(error.code, raw)

    def json(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> Reply:
        # Not DataFrame.to_json: it rounds numbers.
        plain = frame.astype(object).where(frame.notna(), None)
        body: dict[str, Any] = {"dataframe_split": {"columns": list(plain), "data": plain.to_numpy().tolist()}}
        if params is not None:
            body["params"] = dict(params)
        return self.post(json.dumps(body).encode(), "application/json")

    def raw(self, body: Mapping[str, Any]) -> Reply:
        return self.post(json.dumps(body).encode(), "application/json")

    def csv(self, frame: pd.DataFrame) -> Reply:
        return self.post(frame.to_csv(index=False).encode(), "text/csv")

    def parquet(self, frame: pd.DataFrame) -> Reply:
        buffer = io.BytesIO()
        frame.to_parquet(buffer)
        return self.post(buffer.getvalue(), "application/vnd.apache.parquet")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: list[str], url: str, *, cwd: Path, env: Mapping[str, str] | None = None, path: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the block ends; wait for ``url`` to answer first. Its whole process group is stopped."""
    bin_ = path or str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = cwd / f"server-{free_port()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environment, **(env or {})},
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    try:
        _wait(url, process, log)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(15)


@contextlib.contextmanager
def mlflow_server(folder: Path, *options: str, port: int | None = None) -> Iterator[str]:
    """MLflow's tracking server over a folder's own store, with an artifact proxy; its URL.

    ``mlflow.db`` may be there already. Without its job runners, which take longer to start than all the rest.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts"), *options]
    if "--artifacts-only" not in options:
        command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/health", cwd=folder, env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}):
        yield url


def _wait(url: str, process: subprocess.Popen[str], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"the server stopped with {process.returncode}: {log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server does not answer: {log.read_text()[-3000:]}")


@contextlib.contextmanager
def mlflow_serve(
    uri: str, *, cwd: Path, env: Mapping[str, str] | None = None, path: str | None = None
) -> Iterator[Endpoint]:
    """``mlflow models serve`` as anybody would run it."""
    port = free_port()
    bin_ = path or str(Path(sys.executable).parent)
    command = [f"{bin_}/mlflow", "models", "serve", "-m", uri, "-p", str(port), "--env-manager", "local"]
    with running(command, f"http://127.0.0.1:{port}/ping", cwd=cwd, env=env, path=path):
        yield Endpoint(f"http://127.0.0.1:{port}")
