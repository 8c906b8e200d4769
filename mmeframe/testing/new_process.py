"""What is tried in a new Python process: imports, memory and forks leave traces in the one that tries them.

``python -P -m mmeframe.testing.new_process FILE``: a pickled ``(action, argument, where the answer goes)``.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmeframe.errors import MmeframeError
from mmeframe.spec import Column
from mmeframe.testing.check import BrokenError

__all__ = ["HEAVY", "Files", "run"]

# Top-level modules that cost a command more than itself, and those that only some routers need.
HEAVY = (
    *("mlflow", "pandas", "sklearn", "scipy", "pyarrow", "polars", "dask", "ray", "pyspark", "matplotlib", "boto3"),
    *("torch", "tensorflow", "jax", "keras", "transformers", "xgboost", "lightgbm", "catboost", "statsmodels"),
    *("onnx", "onnxruntime", "hydra", "omegaconf"),
)
_SECONDS = 120
# Sub-models that are loaded to see what one takes, at most, and bytes after which that is seen well enough.
_MOST, _ENOUGH = 60, 256 * 2**20
# Seconds after which no more are loaded, and for which a forked process is waited for.
_LOADING, _FORKED = 2.0, 5.0


@dataclass
class Files:
    """The ``SubModelFiles`` of the plugin API over a folder; here, so that a new process has to import no more."""

    flavor: str
    options: Mapping[str, Any]
    names: Sequence[str]
    root: Path
    columns: Sequence[Column] = ()
    id: str = "the_case"

    def read(self, name: str) -> memoryview:
        if name not in self.names:
            raise MmeframeError(f"keep() does not keep a file {name!r}.", where=self.id)
        return memoryview((self.root / name).read_bytes())

    def folder(self) -> Path:
        return self.root


def run(action: str, argument: Any) -> Any:
    """What an action of this module returns for an argument, in a process that has imported nothing else.

    Raises BrokenError if it does not end, or ends in another way than by returning.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory(prefix="mmeframe-apart-") as folder:
        task, answer = Path(folder) / "task", Path(folder) / "answer"
        task.write_bytes(pickle.dumps((action, argument, str(answer))))
        command = [sys.executable, "-P", "-m", "mmeframe.testing.new_process", str(task)]
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter
                command, env=environment, capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise BrokenError(f"in a new process it did not end within {_SECONDS} seconds") from None
        if not answer.exists():
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise BrokenError(f"its process ended without an answer: {last}")
        return json.loads(answer.read_text())


def _discover(module: str) -> dict[str, Any]:
    """What importing a plugin's module brings beyond what every plugin imports."""
    import mmeframe.plugin.hookspecs  # noqa: F401 - what the host has already

    before = set(sys.modules)
    error = _said(lambda: importlib.import_module(module))
    heavy = [name for name in HEAVY if name in sys.modules and name not in before]
    return {"error": error, "heavy": heavy}


def _serve(targets: list[str]) -> dict[str, Any]:
    """Import classes where Hydra, OmegaConf and pluggy are not installed."""
    from mmeframe.plugin.components import import_target

    for name in ("hydra", "omegaconf", "pluggy"):
        sys.modules[name] = None  # type: ignore[assignment]
    return {"error": _said(lambda: [*map(import_target, targets)])}


def _load(argument: tuple[dict[str, Any], Any]) -> dict[str, Any]:
    """Load a sub-model many times: bytes that the process grows by for each, what its loader says, what is unpickled.

    argument: the loader, and the sub-model's files.
    """
    component, files = argument
    loader, unpickled = _made(component), dict[str, None]()
    sys.addaudithook(lambda event, found: _note(event, found, unpickled))
    # What the first ones leave behind, imports and caches, is not theirs.
    kept = [loader.load(files) for _ in range(3)]
    size, before, until = int(loader.size(kept[0])), _resident(), time.monotonic() + _LOADING
    count = 0
    while count < _MOST and _resident() - before < _ENOUGH and time.monotonic() < until:
        kept.append(loader.load(files))
        count += 1
    grown = (_resident() - before) / count if before else None
    return {"size": size, "grown": grown, "unpickled": list(unpickled)}


def _note(event: str, found: tuple[Any, ...], unpickled: dict[str, None]) -> None:
    if event == "pickle.find_class":
        unpickled[".".join(map(str, found[:2]))] = None


def _fork(argument: tuple[dict[str, Any], dict[str, bytes], list[tuple[str, Any]]]) -> dict[str, Any]:
    """Tell an observer events, fork, and tell it in the child what it was told before."""
    component, files, events = argument
    from mmeframe.plugin import ComponentContext
    from mmeframe.plugin.observers import Observers

    observer = _made(component)
    observer.bind(ComponentContext({name: memoryview(data) for name, data in files.items()}))
    host = Observers({"it": observer})
    for method, event in events:
        host.tell(method, event)
    child = os.fork()
    if not child:
        for method, event in events:
            host.tell(method, event)
        os._exit(1 if host.failures else 0)
    return {"code": _ended(child)}


def _ended(child: int) -> int | None:
    """The exit code of a child, None if it had to be stopped."""
    until = time.monotonic() + _FORKED
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _made(component: dict[str, Any]) -> Any:
    from mmeframe.plugin.components import make_component
    from mmeframe.spec import ComponentSpec

    return make_component(ComponentSpec.from_json(component))


def _said(function: Callable[[], Any]) -> str:
    """How a function fails, an empty text if it does not."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - told to whoever asked
        return f"{type(error).__name__}: {error}"
    return ""


def _resident() -> int:
    """Bytes of memory that the process holds; 0 where Linux's way to ask is not there."""
    gc.collect()
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if told.exists() else 0


_ACTIONS: dict[str, Callable[[Any], Any]] = {"discover": _discover, "serve": _serve, "load": _load, "fork": _fork}

if __name__ == "__main__":
    action, argument, answer = pickle.loads(Path(sys.argv[1]).read_bytes())  # noqa: S301 - written by ``run``
    Path(answer).write_text(json.dumps(_ACTIONS[action](argument)))
