"""``mmeframe serve``: MLflow's scoring server on a logged router."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mmeframe.commandline import ConfigCommand
from mmeframe.errors import MmeframeError
from mmeframe.output import note

if TYPE_CHECKING:
    from mmeframe.api import Job
    from mmeframe.commandline import Flags

__all__ = ["COMMAND"]


def _run(work: Job, flags: Flags) -> int:
    """Become MLflow's scoring server: no idle parent process stays behind."""
    from mmeframe.store.routers import verified

    with work.store() as store:
        uri = work.find(store, flags.model)
        # Named here, in a line: the server would end with a traceback.
        folder, bundle = verified(store, uri)
    settings = work.spec.serve
    _check_address(settings.host, settings.port)
    note(f"serving {uri} on http://{settings.host}:{settings.port}/invocations (Ctrl-C stops it)")
    command = [sys.executable, "-m", "uvicorn", "mlflow.pyfunc.scoring_server.app:app"]
    command += ["--host", settings.host, "--port", str(settings.port), "--workers", str(settings.workers)]
    command += ["--log-level", "info" if flags.debug else "warning"]
    environment = {**os.environ, "__pyfunc_model_path__": str(folder), "MMEFRAME_EXPECT_DIGEST": bundle.digest}
    # A copy in the cache folder must stay what was downloaded: MLflow runs the entrypoint where it lies.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606 - exactly this server, no shell


def _check_address(host: str, port: int) -> None:
    """Raises MmeframeError if nothing can listen there, naming the options that say where."""
    import socket

    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        what = f"nothing can listen on {host}:{port}: {error.strerror or error}."
        raise MmeframeError(what, where="serve.port", hint="Choose another serve.port, or serve.host.") from None


COMMAND = ConfigCommand(
    name="serve",
    summary="serve a logged router over HTTP with MLflow's scoring server",
    examples=("mmeframe serve model=models:/flights@champion serve.port=5001", "mmeframe serve experiment=flights"),
    run=_run,
    flags=("--model",),
)
