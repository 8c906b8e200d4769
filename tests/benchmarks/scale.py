"""Many sub-models: building, opening, loading and dropping them, beside the tutorial's way and beside ideals.

Ridge models in bare pickles that a manifest lists; each differs. What a process costs is measured in processes of their
own. Nothing else should run: ``python -m tests.benchmarks.scale --help``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests import fleets
from tests.benchmarks.dispatch import BY_COLUMN, COLUMNS, line

KEYS = (1_000, 10_000, 100_000)
LAZY = {"MMEFRAME_RESIDENCY_KIND": "lazy"}


def rows_of(keys: Sequence[int]) -> pd.DataFrame:
    """One row for each of some keys."""
    random = np.random.default_rng(len(keys))
    frame = pd.DataFrame(random.standard_normal((len(keys), len(COLUMNS))), columns=COLUMNS)
    return frame.assign(key=np.asarray(keys))


# -- a fleet -------------------------------------------------------------------------------------------------------


@contextmanager
def fleet_of(keys: int) -> Iterator[Path]:
    """A folder with a store, a pickle for each key and the manifest ``fleet.csv``; it is the working directory."""
    from sklearn.linear_model import Ridge

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random = np.random.default_rng(keys)
        frame = pd.DataFrame(random.standard_normal((200, len(COLUMNS))), columns=COLUMNS)
        model = Ridge().fit(frame, frame["x0"])
        uri = fleets.make_store(folder)
        (folder / "models").mkdir()
        for key in range(keys):
            write(folder, model, key, random)
        listed = {"id": [f"key_{key}" for key in range(keys)], "key": range(keys)}
        paths = [str(folder / "models" / f"model_{key}.pkl") for key in range(keys)]
        pd.DataFrame({**listed, "uri": paths}).to_csv(folder / "fleet.csv", index=False)
        with fleets.inside(folder), fleets.active(uri):
            yield folder


def write(folder: Path, model: Any, key: int, random: Any) -> None:
    """A model of its own for a key: the same estimator with other coefficients; its intercept is the key."""
    model.coef_, model.intercept_ = random.standard_normal(len(COLUMNS)), float(key)
    (folder / "models" / f"model_{key}.pkl").write_bytes(pickle.dumps(model))


def build(folder: Path) -> tuple[Any, float]:
    """Build and register the router; returns it and the seconds."""
    from mmeframe import api

    signature = f"sources.k.signature={{inputs:[{','.join(COLUMNS)}],outputs:double}}"
    source = ("+source@sources.k=manifest", f"sources.k.path={folder / 'fleet.csv'}", signature)
    start = time.perf_counter()
    logged = api.build("name=scale", *BY_COLUMN, *source, "residency=lazy", "build.unchanged=register")
    return logged, time.perf_counter() - start


def home_of(logged: Any) -> Path:
    """The router's folder in the local store: what ``load_model`` is given, so that nothing is copied."""
    import mlflow

    return Path(mlflow.MlflowClient().get_logged_model(logged.model_id).artifact_location.removeprefix("file://"))


def child(task: str, home: Path, *argv: Any, **variables: str) -> dict[str, Any]:
    """What a task measures in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--task", task, str(home), *map(str, argv)]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, **variables}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rss() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def percentile(times: Sequence[float], share: float) -> float:
    return float(np.percentile(times, share)) if times else float("nan")


# -- tasks, each in a process of its own ---------------------------------------------------------------------------


def task_open(home: str) -> dict[str, Any]:
    """Open the router once MLflow and scikit-learn are imported, and once more when all else is imported too."""
    import mlflow
    import sklearn.linear_model  # noqa: F401

    before, start = rss(), time.perf_counter()
    mlflow.pyfunc.load_model(home)
    first = {"seconds": time.perf_counter() - start, "rss": rss() - before}
    again = []
    for _ in range(5):
        start = time.perf_counter()
        mlflow.pyfunc.load_model(home)
        again.append(time.perf_counter() - start)
    return {**first, "again": statistics.median(again)}


def task_tutorial(home: str, folder: str, keys: str) -> dict[str, Any]:
    """MLflow's tutorial: a PythonModel whose load_context loads every sub-model with its flavor."""
    import mlflow

    del home
    paths = [str(Path(folder) / "flavored" / f"key_{key}") for key in range(int(keys))]
    mlflow.sklearn.load_model(paths[0])
    start = time.perf_counter()
    models = [mlflow.sklearn.load_model(path) for path in paths]
    return {"seconds": time.perf_counter() - start, "models": len(models)}


def task_cold(home: str, keys: str) -> dict[str, Any]:
    """First and second predictions of sub-models, their own deserialisation, and the look-up of a warm one."""
    import mlflow

    router = mlflow.pyfunc.load_model(home).unwrap_python_model().router
    frame = rows_of(range(min(int(keys), 400)))
    first, again, own = [], [], []
    for number in range(len(frame)):
        row = frame.iloc[[number]]
        start = time.perf_counter()
        router.predict(row)
        cold = time.perf_counter()
        router.predict(row)
        warm = time.perf_counter()
        record = router.bundle[router.bundle.position(f"key_{number}")]
        data = bytes(router.bundle.blob(record.files[0].sha256))
        read = time.perf_counter()
        pickle.loads(data)
        done = time.perf_counter()
        first.append(cold - start)
        again.append(warm - cold)
        own.append(done - read)
    look = []
    for _ in range(20_000):
        start = time.perf_counter()
        for _ in router.residency.acquire([0]):
            pass
        look.append(time.perf_counter() - start)
    medians = {"first": first, "again": again, "own": own, "look": look}
    return {name: statistics.median(times) for name, times in medians.items()}


def task_resident(home: str) -> dict[str, Any]:
    """All sub-models in memory at once."""
    import gc

    import mlflow
    import sklearn.linear_model  # noqa: F401

    router = mlflow.pyfunc.load_model(home).unwrap_python_model().router
    for _ in router.residency.acquire([0]):
        pass
    gc.collect()
    before, start = rss(), time.perf_counter()
    for number in range(len(router.bundle)):
        for _ in router.residency.acquire([number]):
            pass
    seconds = time.perf_counter() - start
    gc.collect()
    return {"rss": rss() - before, "bytes": router.residency.statistics().bytes, "seconds": seconds}


def task_zipf(home: str, seconds: str) -> dict[str, Any]:
    """Requests by Zipf's law and a budget of a tenth: hits beside an ideal LRU's, and how long warm requests take."""
    import mlflow

    whole = mlflow.pyfunc.load_model(home).unwrap_python_model().router
    keys = [int(id_.removeprefix("key_")) for id_ in whole.bundle.column("id")]
    sizes = [whole.residency._expected(number) for number in range(len(keys))]
    limit = sum(sizes) // 10
    os.environ["MMEFRAME_RESIDENCY_MAX_BYTES"] = str(limit)
    router = mlflow.pyfunc.load_model(home).unwrap_python_model().router
    asked = zipf(len(keys), 200_000)
    most, stop = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.wait(0.002):
            # Cheaper than statistics, which would disturb.
            most = max(most, router.residency._bytes + router.residency._inflight)

    watching = threading.Thread(target=watch)
    watching.start()
    ideal = ideal_hits(asked, sizes, limit)
    for number in asked:
        for _ in router.residency.acquire([number]):
            pass
    found = router.residency.statistics()
    stop.set()
    watching.join()
    for number in range(len(keys)):
        for _ in whole.residency.acquire([number]):
            pass
    rounds = [warm_requests(it, keys, asked, float(seconds)) for _ in range(3) for it in (whole, router)]
    return {
        "limit": limit,
        "most": most,
        "hits": found.hits / (found.hits + found.misses),
        "ideal": ideal,
        "p99": statistics.median(rounds[::2]),
        "p99_loads": statistics.median(rounds[1::2]),
    }


def zipf(n_models: int, n_requests: int, exponent: float = 1.0) -> list[int]:
    """Numbers of sub-models, the k-th most wanted 1/k as often as the first; who is wanted is shuffled."""
    random = np.random.default_rng(0)
    share = 1 / np.arange(1, n_models + 1) ** exponent
    ranks = random.choice(n_models, n_requests, p=share / share.sum())
    found: list[int] = random.permutation(n_models)[ranks].tolist()
    return found


def ideal_hits(asked: Sequence[int], memory: Sequence[int], limit: int) -> float:
    """The hit rate of an LRU that knows the sizes."""
    cache: OrderedDict[int, None] = OrderedDict()
    used = hits = 0
    for number in asked:
        if number in cache:
            cache.move_to_end(number)
            hits += 1
            continue
        while used + memory[number] > limit:
            gone, _ = cache.popitem(last=False)
            used -= memory[gone]
        cache[number] = None
        used += memory[number]
    return hits / len(asked)


def warm_requests(router: Any, keys: Sequence[int], asked: Sequence[int], seconds: float) -> float:
    """The 99th percentile of one-row requests for what is in memory, while two threads ask by Zipf's law."""
    frame = rows_of(keys)
    until = time.perf_counter() + seconds

    def ask(begin: int, times: list[float]) -> None:
        place = begin
        while (start := time.perf_counter()) < until:
            number = asked[place % len(asked)]
            place += 1
            row = frame.iloc[[number]]
            warm = number in router.residency._live
            start = time.perf_counter()
            router.predict(row)
            if warm:
                times.append(time.perf_counter() - start)

    lists: list[list[float]] = [[], []]
    threads = [threading.Thread(target=ask, args=(50_000 * n, times)) for n, times in enumerate(lists)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return percentile([*lists[0], *lists[1]], 99)


# -- tables --------------------------------------------------------------------------------------------------------


def tutorial(folder: Path, keys: int, home: Path) -> list[str]:
    """Opening beside the tutorial's way, for the same models saved as MLflow saves them."""
    import mlflow
    from mlflow.models import infer_signature

    frame = pd.DataFrame(np.eye(3, len(COLUMNS)), columns=COLUMNS)
    with (folder / "models" / "model_0.pkl").open("rb") as file:
        model = pickle.load(file)
    for key in range(keys):
        model.intercept_ = float(key)
        mlflow.sklearn.save_model(
            model,
            folder / "flavored" / f"key_{key}",
            signature=infer_signature(frame, model.predict(frame)),
            pip_requirements=fleets.pins(),
            serialization_format="cloudpickle",
        )
    old = statistics.median(child("tutorial", home, folder, keys)["seconds"] for _ in range(3))
    lazy = statistics.median(child("open", home)["again"] for _ in range(3))
    eager = statistics.median(child("open", home, MMEFRAME_RESIDENCY_KIND="eager")["again"] for _ in range(3))
    return [
        line("way", "s", "tutorial / it"),
        line("---", "---", "---"),
        line("tutorial's `load_context`", f"{old:.2f}", "1"),
        line("`load_model`, eager (>= 10)", f"{eager:.3f}", f"{old / eager:.0f}"),
        line("`load_model`, lazy (>= 100)", f"{lazy:.3f}", f"{old / lazy:.0f}"),
    ]


def changed(folder: Path, keys: int, count: int) -> None:
    """Other coefficients for some of the models."""
    with (folder / "models" / "model_0.pkl").open("rb") as file:
        model = pickle.load(file)
    random = np.random.default_rng(1)
    for key in range(0, keys, keys // count):
        write(folder, model, key, random)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure fleets of many sub-models.")
    parser.add_argument("--keys", type=int, nargs="+", default=KEYS, help=f"sub-models (default: {KEYS})")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each round of warm requests")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task: Callable[..., dict[str, Any]] = globals()[f"task_{options.task[0]}"]
        print(json.dumps(task(*options.task[1:])))
        return
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    lines = {name: [] for name in ("tutorial", "build", "open", "memory", "zipf")}
    for keys in options.keys:
        with fleet_of(keys) as folder:
            logged, seconds = build(folder)
            home = home_of(logged)
            files = sum(path.is_file() for path in home.rglob("*"))
            changed(folder, keys, 10)
            _, again = build(folder)
            lines["build"].append(line(f"{keys:,}", f"{seconds:.1f}", files, f"{again:.2f}", f"{seconds / again:.1f}"))
            opened = [child("open", home) for _ in range(3)]
            cold = child("cold", home, keys)
            lines["open"].append(
                line(
                    f"{keys:,}",
                    f"{statistics.median(it['seconds'] for it in opened):.3f}",
                    f"{statistics.median(it['again'] for it in opened):.3f}",
                    f"{statistics.median(it['rss'] for it in opened) / 2**20:.1f}",
                    f"{(cold['first'] - cold['again'] - cold['own']) * 1e3:.3f}",
                    f"{cold['own'] * 1e3:.3f}",
                    f"{cold['look'] * 1e6:.2f}",
                )
            )
            if keys <= 1_000:
                lines["tutorial"] += tutorial(folder, keys, home)
            found = child("resident", home, MMEFRAME_RESIDENCY_MAX_BYTES="64GiB")
            lines["memory"].append(
                line(
                    f"{keys:,}",
                    f"{found['rss'] / keys:.0f}",
                    f"{found['bytes'] / keys:.0f}",
                    f"{found['rss'] / found['bytes']:.2f}",
                    f"{found['seconds']:.1f}",
                )
            )
            if keys == 10_000:
                found = child("zipf", home, options.seconds)
                ratio = found["p99_loads"] / found["p99"]
                lines["zipf"].append(
                    line(
                        f"{found['most'] / found['limit']:.3f}",
                        f"{found['hits']:.4f}",
                        f"{found['ideal']:.4f}",
                        f"{found['p99'] * 1e3:.2f}",
                        f"{found['p99_loads'] * 1e3:.2f}",
                        f"{ratio:.2f}",
                    )
                )
    heads = {
        "build": ("sub-models", "build s", "files (<= 20)", "rebuild, 10 changed, s", "build / rebuild (>= 10)"),
        "open": (
            "sub-models",
            "lazy `load_model` s",
            "once more s",
            "RSS MiB",
            "cold beyond warm and unpickling ms (<= 3)",
            "unpickling ms",
            "warm look-up µs (<= 5)",
        ),
        "memory": ("sub-models", "RSS each (<= 5,120)", "accounted each", "RSS / accounted (<= 1.25)", "loading all s"),
        "zipf": ("most / budget (<= 1)", "hit rate", "ideal LRU", "p99 ms", "p99 with loads ms", "ratio (<= 1.5)"),
    }
    for name, found in ((name, found) for name, found in lines.items() if found):
        if name in heads:
            print(line(*heads[name]))
            print(line(*["---"] * len(heads[name])))
        print("\n".join(found), end="\n\n")


if __name__ == "__main__":
    main()
