"""How long commands take to start: wall seconds of real processes, the best of several, beside a bare interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import fleets

ROUNDS = 5


def wall(command: list[str], cwd: Path) -> float:
    """Best wall time of a process, in seconds."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run(
            command, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        times.append(time.perf_counter() - start)
    return min(times)


_STORE_CALLS = """
import time, mlflow
from mlflow import MlflowClient
from mmeframe.store.store import using_store
start = time.perf_counter()
with using_store(None) as store:
    store.named([f"day_{day}" for day in range(7)])
    ids = [version.model_id for model in store.models("day_%") for version in model.versions]
    store.locations(ids)
print(time.perf_counter() - start)
"""


def main() -> None:
    """Print one line per command: seconds, and the ratio to a bare interpreter."""
    python = [sys.executable]
    mmeframe = [*python, "-m", "mmeframe"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fleets.make_store(folder)
        fleets.log_week(folder)
        models = [f"+models.day_{day}={{uri:'models:/day_{day}@champion',key:{{dow:{day}}}}}" for day in range(7)]
        validate = [*mmeframe, "validate", "name=x", "routing=column", "routing.column=dow", *models]
        bare = wall([*python, "-c", "pass"], folder)
        imports = wall([*python, "-c", "import mlflow"], folder)
        said = subprocess.run([*python, "-c", _STORE_CALLS], cwd=folder, check=True, capture_output=True, text=True)
        store = json.loads(said.stdout.splitlines()[-1])
        found = {
            "python -c pass": bare,
            "python -c 'import mlflow'": imports,
            "mmeframe --help": wall([*mmeframe, "--help"], folder),
            "mmeframe plugins": wall([*mmeframe, "plugins"], folder),
            "mmeframe validate (7 inline models)": wall(validate, folder),
        }
    print("| command | s | x bare python |\n|---|---|---|")
    for label, seconds in found.items():
        print(f"| `{label}` | {seconds:.3f} | {seconds / bare:.1f} |")
    beyond = found["mmeframe validate (7 inline models)"] - imports - store
    print(f"validate beyond importing MLflow ({imports:.2f} s) and the store's calls ({store:.2f} s): {beyond:.2f} s\n")


if __name__ == "__main__":
    main()
