"""What a sub-model of each flavor costs a server: its file, loading it, and memory in each worker.

A hundred models for each flavor, all fitted on scikit-learn's diabetes data (10 columns, other rows for each), all in
memory, in two processes at once: what both had of the same would be nobody's own. Nothing else should run:
``python -m tests.benchmarks.flavors --help``.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests import fleets
from tests.benchmarks.dispatch import line
from tests.benchmarks.scale import home_of

Fit = Callable[[pd.DataFrame, pd.Series], Any]


def ridge(frame: pd.DataFrame, target: pd.Series) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge().fit(frame, target)


def forest(frame: pd.DataFrame, target: pd.Series) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(50, min_samples_leaf=3, random_state=0).fit(frame, target)


def xgb(frame: pd.DataFrame, target: pd.Series) -> Any:
    import xgboost

    return xgboost.XGBRegressor(n_estimators=50, nthread=1).fit(frame, target)


def lgb(frame: pd.DataFrame, target: pd.Series) -> Any:
    import lightgbm

    return lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(frame, target), 50)


def cat(frame: pd.DataFrame, target: pd.Series) -> Any:
    import catboost

    options = {"iterations": 50, "verbose": False, "allow_writing_files": False, "thread_count": 1}
    return catboost.CatBoostRegressor(**options).fit(frame, target)


def ols(frame: pd.DataFrame, target: pd.Series) -> Any:
    import statsmodels.api

    return statsmodels.api.OLS(target, frame).fit()


def pickled(model: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(model))


def skopsed(model: Any, path: Path) -> None:
    import skops.io

    skops.io.dump(model, path)


def native(model: Any, path: Path) -> None:
    model.save_model(str(path))


def logged(flavor: str, **options: Any) -> Callable[[Any, Path], None]:
    def save(model: Any, path: Path) -> None:
        from importlib import import_module

        from mlflow.models import infer_signature

        frame, _ = rows(0)
        signature = infer_signature(frame, np.asarray(model.predict(frame)))
        import_module(f"mlflow.{flavor}").save_model(
            model, path, pip_requirements=fleets.pins(), signature=signature, **options
        )

    return save


# Name -> (how it is fitted, how it is saved, suffix of the file, config).
FLAVORS: dict[str, tuple[Fit, Callable[[Any, Path], None], str, tuple[str, ...]]] = {
    "sklearn, Ridge, pickle": (ridge, pickled, ".pkl", ()),
    "sklearn, Ridge, skops": (ridge, skopsed, ".skops", ()),
    "sklearn, 50 trees, pickle": (forest, pickled, ".pkl", ()),
    "sklearn, 50 trees, skops": (forest, skopsed, ".skops", ()),
    "xgboost, 50 trees": (xgb, native, ".ubj", ()),
    "lightgbm, 50 trees": (lgb, native, ".txt", ()),
    "catboost, 50 trees": (cat, native, ".cbm", ()),
    "statsmodels, OLS": (ols, logged("statsmodels"), "", ()),
    "statsmodels, OLS, `remove_data`": (ols, logged("statsmodels", remove_data=True), "", ()),
    "pyfunc, Ridge": (
        ridge,
        logged("sklearn", serialization_format="cloudpickle"),
        "",
        ("model_defaults.loader=pyfunc",),
    ),
}


def rows(seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """The diabetes data, other rows for every seed."""
    from sklearn.datasets import load_diabetes

    frame, target = load_diabetes(return_X_y=True, as_frame=True)
    chosen = np.random.default_rng(seed).integers(0, len(frame), len(frame))
    return frame.iloc[chosen].reset_index(drop=True), target.iloc[chosen].reset_index(drop=True)


@contextmanager
def routers(count: int) -> Iterator[Callable[[str], Path]]:
    """Builds the router of a flavor; gives its folder."""
    from mmeframe import api

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = fleets.make_store(folder)

        def build(flavor: str) -> Path:
            fit, save, suffix, config = FLAVORS[flavor]
            home = folder / str(len(os.listdir(folder)))
            home.mkdir()
            places = [str(home / f"m{number}{suffix}") for number in range(count)]
            for number, place in enumerate(places):
                save(fit(*rows(number)), Path(place))
            listed = {"id": [f"m{number}" for number in range(count)], "key": range(count), "uri": places}
            pd.DataFrame(listed).to_csv(home / "fleet.csv", index=False)
            frame, _ = rows(0)
            signature = f"sources.k.signature={{inputs:[{','.join(frame.columns)}],outputs:double}}"
            source = (
                "+source@sources.k=manifest",
                f"sources.k.path={home / 'fleet.csv'}",
                *([signature] if suffix else []),
            )
            return home_of(api.build(f"name=r{home.name}", "routing=column", "routing.column=key", *source, *config))

        with fleets.inside(folder), fleets.active(uri):
            yield build


def private() -> int:
    """Bytes that this process has for itself."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def worker(home: str) -> None:
    """All sub-models in memory: told on stdout, and measured when stdin says that the others are there, too."""
    import mlflow

    # Before anything is loaded: what reading a sub-model's file costs stays with this process.
    router = mlflow.pyfunc.load_model(home).unwrap_python_model().router
    for _ in router.residency.acquire([0]):
        pass

    gc.collect()
    before, start = private(), time.perf_counter()
    for number in range(1, len(router.bundle)):
        for _ in router.residency.acquire([number]):
            pass
    seconds = time.perf_counter() - start
    gc.collect()
    print("there", flush=True)
    sys.stdin.readline()
    after, count = private(), len(router.bundle) - 1
    sizes = [router.bundle.record(number).bytes for number in range(count)]
    accounted = router.residency.statistics().bytes / (count + 1)
    found = {"private": (after - before) / count, "seconds": seconds / count}
    print(json.dumps({**found, "file": float(np.mean(sizes)), "accounted": accounted}))


def measured(home: Path) -> dict[str, float]:
    """Of the first of two workers that have everything in memory at the same time."""
    command = [sys.executable, "-m", "tests.benchmarks.flavors", "--worker", str(home)]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, "MMEFRAME_RESIDENCY_KIND": "lazy"}
    workers = [
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for it in workers:
            while (said := it.stdout.readline()) != "there\n":
                if not said:
                    raise RuntimeError("a worker failed")
        found = []
        for it in workers:
            out, _ = it.communicate("\n")
            found.append(json.loads(out.splitlines()[-1]))
    finally:
        for it in workers:
            it.kill()
            it.wait()
    return found[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what a sub-model of each flavor costs.")
    parser.add_argument("--count", type=int, default=100, help="sub-models of each (default: 100)")
    parser.add_argument("--only", default="", help="flavors whose name begins so")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    for name in ("mlflow", "mlflow.sklearn"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print(line("flavor", "file KiB", "load ms", "accounted KiB", "private KiB, each worker"))
    print(line(*["---"] * 5))
    with routers(options.count) as build:
        for flavor in FLAVORS:
            if flavor.startswith(options.only):
                found = measured(build(flavor))
                sizes = [f"{found[name] / 1024:.1f}" for name in ("file", "accounted", "private")]
                print(line(flavor, sizes[0], f"{found['seconds'] * 1e3:.2f}", *sizes[1:]), flush=True)


if __name__ == "__main__":
    main()
