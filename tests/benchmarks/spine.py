"""Logging a sub-model, beside what MLflow's tutorial does, interleaved in one run."""

from __future__ import annotations

import logging
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import fleets


def median_of(rounds: int, **work: Callable[[], Any]) -> dict[str, float]:
    """Median seconds of each, interleaved, so that a slow phase of the machine hits all of them.

    In another order each round: what has run before decides what the processor's caches hold.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    names, chance = list(work), random.Random(0)
    for _ in range(rounds):
        chance.shuffle(names)
        for name in names:
            start = time.perf_counter()
            work[name]()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Print the table."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = fleets.make_store(folder)
        with fleets.inside(folder), fleets.active(uri):
            print(logging_speed())


def logging_speed() -> str:
    """Seconds per sub-model: `mmeframe train`'s way, MLflow's with requirements given, and MLflow's default."""
    import mlflow
    from mlflow.models import infer_signature

    from mmeframe.store.cleanup import Undo
    from mmeframe.store.writing import RunWriter

    example = fleets.rows(5)[["x1", "x2"]]
    model = fleets.fitted(0)
    signature = infer_signature(example, model.predict(example))
    client = mlflow.MlflowClient()
    run_id = client.create_run("0").info.run_id
    count = iter(range(10_000))

    def ours() -> None:
        name = f"ours_{next(count)}"

        def save(path: str, described: Any) -> None:
            mlflow.sklearn.save_model(
                model, path, mlflow_model=described, signature=signature, pip_requirements=fleets.pins()
            )

        with Undo() as undo, tempfile.TemporaryDirectory() as folder:
            writer = RunWriter(client, "0", run_id, undo)
            writer.register(name, writer.log_folder(name, save, Path(folder) / "model", {}), {})
            undo.keep()

    def given() -> None:
        fleets.log_sklearn(model, f"given_{next(count)}", example, alias=None)

    def default() -> None:
        with mlflow.start_run():
            name = f"default_{next(count)}"
            mlflow.sklearn.log_model(model, name=name, signature=signature, registered_model_name=name)

    found = median_of(3, ours=ours, given=given, default=default)
    lines = ["| logging and registering one small model | s | x ours |", "|---|---|---|"]
    labels = {"ours": "as `mmeframe train` does", "given": "MLflow, requirements given", "default": "MLflow's default"}
    lines += [f"| {labels[name]} | {seconds:.3f} | {seconds / found['ours']:.1f} |" for name, seconds in found.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
