"""What it costs to send rows to their sub-models: mixed batches, one row, and batches with one key.

The limit of a mixed batch is what no dispatch can do without: the bare ``predict`` of every sub-model on its rows, one
take that brings those rows together, and one scatter that brings the answers back. Sub-models are Ridge models in
folders as MLflow saves them, routers are built and logged by ``mmeframe.api``; contenders are interleaved, and must
agree before they are timed. Nothing else should run: ``python -m tests.benchmarks.dispatch --help``.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests import fleets
from tests.benchmarks.spine import median_of

ROWS = (100_000, 1_000_000)
KEYS = (7, 100, 1_000, 10_000)
COLUMNS = [f"x{number}" for number in range(20)]
# Seconds that a cell may take, if the fewest rounds do not take longer.
SECONDS = 20.0
FEWEST_ROUNDS = 5
# Calls of each contender that scores one row.
CALLS = 5_000

BY_COLUMN = ("routing=column", "routing.column=key")
BY_PARAM = ("routing=param", "routing.param=key")

Medians = Mapping[str, float]
Work = dict[str, Callable[[], Any]]


# -- sub-models and routers ----------------------------------------------------------------------------------------


@dataclass
class Fleet:
    """Sub-models by key: ``named`` were fitted on frames and are what the folders hold, ``plain`` on arrays."""

    folder: Path
    named: list[Any]
    plain: list[Any]
    # One line of the table of builds for each router.
    built: list[str] = field(default_factory=list)

    def router(self, label: str, *overrides: str) -> Any:
        """Build and log a router over the fleet; returns it as MLflow loads it."""
        import mlflow

        from mmeframe import api

        since: dict[str, float] = {}
        until: dict[str, float] = {}

        def note(what: str, done: int, total: int) -> None:
            since.setdefault(what, time.perf_counter())
            until[what] = time.perf_counter()

        source = ("+source@sources.k=manifest", f"sources.k.path={self.folder / 'fleet.csv'}")
        start = time.perf_counter()
        logged = api.build("name=bench", *overrides, *source, progress=note)
        built = time.perf_counter()
        loaded = mlflow.pyfunc.load_model(logged.model_uri)
        phases = [f"{until[what] - since[what]:.1f}" for what in ("packing", "probing")]
        times = [f"{built - start:.1f}", *phases, f"{time.perf_counter() - built:.2f}"]
        self.built.append(line(f"{len(self.named):,}", label, *times))
        return loaded


@contextmanager
def fleet_of(keys: int) -> Iterator[Fleet]:
    """A fleet and its manifest in a folder of their own, with a store beside them, while the block runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = fleets.make_store(folder)
        with fleets.inside(folder), fleets.active(uri):
            named, plain = fitted(keys)
            save(named, folder)
            yield Fleet(folder, named, plain)


def fitted(keys: int) -> tuple[list[Any], list[Any]]:
    """For each key a Ridge that was fitted on a frame, and one that was fitted on the same rows as an array."""
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(keys)
    rows = random.standard_normal((200, len(COLUMNS)))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    answers = rows @ random.standard_normal((len(COLUMNS), keys)) + np.arange(keys)
    named = [Ridge().fit(frame, answer) for answer in answers.T]
    return named, [Ridge().fit(rows, answer) for answer in answers.T]


def save(models: Sequence[Any], folder: Path) -> None:
    """A folder for each sub-model, and the manifest that lists them.

    MLflow saves the first one. The others differ in their pickle alone, so that thousands take seconds.
    """
    import cloudpickle
    import mlflow
    from mlflow.models import infer_signature

    first = folder / "first"
    example = pd.DataFrame(np.eye(3, len(COLUMNS)), columns=COLUMNS)
    mlflow.sklearn.save_model(
        models[0],
        first,
        signature=infer_signature(example, models[0].predict(example)),
        pip_requirements=fleets.pins(),
        serialization_format="cloudpickle",
    )
    alike = [path for path in first.iterdir() if path.name != "model.pkl"]
    for key, model in enumerate(models):
        home = folder / f"key_{key}"
        home.mkdir()
        (home / "model.pkl").write_bytes(cloudpickle.dumps(model))
        for path in alike:
            os.link(path, home / path.name)
    keys = range(len(models))
    listed = {"id": [f"key_{key}" for key in keys], "uri": [str(folder / f"key_{key}") for key in keys], "key": keys}
    pd.DataFrame(listed).to_csv(folder / "fleet.csv", index=False)


# -- a mixed batch -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Rows of all keys, shuffled. ``frame``: the numeric columns in one block, as pandas lays them out, and ``key``."""

    frame: pd.DataFrame

    @classmethod
    def of(cls, rows: int, keys: int) -> Batch:
        random = np.random.default_rng(rows + keys)
        frame = pd.DataFrame(random.standard_normal((rows, len(COLUMNS))), columns=COLUMNS)
        frame["key"] = random.permutation(np.arange(rows) % keys)
        return cls(frame)

    @cached_property
    def matrix(self) -> np.ndarray[Any, Any]:
        """The numeric columns in the frame's own memory, shape (n_rows, 20)."""
        return view(self.frame)

    @cached_property
    def order(self) -> np.ndarray[Any, Any]:
        """The rows of each key together, shape (n_rows,)."""
        return np.argsort(self.frame["key"].to_numpy(), kind="stable")

    def cut(self, models: Sequence[Any]) -> list[tuple[Any, np.ndarray[Any, Any]]]:
        """Each sub-model with its rows, which are contiguous."""
        ends = np.cumsum(np.bincount(self.frame["key"], minlength=len(models)))[:-1]
        groups = np.split(self.matrix[self.order], ends)
        return [(model, np.array(rows, order="C")) for model, rows in zip(models, groups, strict=True) if len(rows)]


def view(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """A frame's numeric columns without a copy: what a dispatch can start from."""
    matrix = frame.iloc[:, : len(COLUMNS)].to_numpy()
    if not np.shares_memory(matrix, frame["x0"].to_numpy()):
        raise RuntimeError("pandas copied the numeric columns: the baseline would not start from the frame's memory")
    return matrix


def by_groupby(frame: pd.DataFrame, models: Sequence[Any]) -> pd.Series[Any]:
    """The dispatch that pandas offers: a frame for each key, and the answers back in the order of the rows."""
    parts = [pd.Series(models[key].predict(group[COLUMNS]), group.index) for key, group in frame.groupby("key")]
    return pd.concat(parts).reindex(frame.index)


def scattered(order: np.ndarray[Any, Any], answers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Answers in the order of the rows, in an array of their own, as a caller gets them."""
    out = np.empty(len(order), answers.dtype)
    out[order] = answers
    return out


def enforcement(pyfunc: Any, frame: pd.DataFrame) -> Callable[[], Any]:
    """What ``PyFuncModel.predict`` does to its input before it calls the model."""
    from mlflow.pyfunc import _validate_prediction_input

    inputs, params = pyfunc.metadata.get_input_schema(), pyfunc.metadata.get_params_schema()
    return lambda: _validate_prediction_input(frame, None, inputs, params, pyfunc.loader_module)


def mixed(batch: Batch, fleet: Fleet, checked: Any, union: Any, seconds: float) -> tuple[int, Medians]:
    """How many rounds, and the median of each contender on a mixed batch; all must give the same answers."""
    frame, matrix, order = batch.frame, batch.matrix, batch.order
    router, cut = checked.unwrap_python_model().router, batch.cut(fleet.plain)
    answers = np.concatenate([model.predict(rows) for model, rows in cut])
    whole: Work = {
        "groupby": lambda: by_groupby(frame, fleet.named),
        "router": lambda: router.predict(frame),
        "pyfunc": lambda: checked.predict(frame),
        "union": lambda: union.predict(frame),
    }
    agree(scattered(order, answers), **whole)
    parts: Work = {
        "bare": lambda: [model.predict(rows) for model, rows in cut],
        "take": lambda: np.take(matrix, order, axis=0),
        "scatter": lambda: scattered(order, answers),
        "enforcement": enforcement(union, frame),
    }
    return measured(seconds, **parts, **whole)


def agree(expected: Any, **work: Callable[[], Any]) -> None:
    """Raise AssertionError unless every contender gives the expected answers."""
    for name, run in work.items():
        np.testing.assert_allclose(np.asarray(run()), expected, rtol=1e-9, atol=1e-9, err_msg=name)


def measured(seconds: float, **work: Callable[[], Any]) -> tuple[int, Medians]:
    """How many rounds fit into ``seconds``, FEWEST_ROUNDS at least, and the median of each contender over them."""
    rounds = max(FEWEST_ROUNDS, int(seconds / sum(median_of(1, **work).values())))
    return rounds, median_of(rounds, **work)


def limit_of(found: Medians) -> float:
    return found["bare"] + found["take"] + found["scatter"]


MIXED_HEAD = (
    "rows x keys",
    "rounds",
    "bare predicts ms",
    "take ms",
    "scatter ms",
    "limit ms",
    "`Router.predict` / limit (<= 1.3)",
    "groupby / `Router.predict` (>= 4)",
    "pyfunc / limit",
    "(pyfunc with union - enforcement) / limit",
    "enforcement ms",
)


def mixed_line(rows: int, keys: int, rounds: int, found: Medians) -> str:
    limit = limit_of(found)
    ratios = (
        found["router"] / limit,
        found["groupby"] / found["router"],
        found["pyfunc"] / limit,
        (found["union"] - found["enforcement"]) / limit,
    )
    times = (found["bare"], found["take"], found["scatter"], limit)
    return line(
        f"{rows:,} x {keys:,}",
        rounds,
        *(f"{seconds * 1e3:.2f}" for seconds in times),
        *(f"{ratio:.2f}" for ratio in ratios),
        f"{found['enforcement'] * 1e3:.2f}",
    )


# -- how the cost grows --------------------------------------------------------------------------------------------


GROWTH_HEAD = ("between", "per", "`Router.predict` - bare predicts", "`Router.predict` - limit", "groupby - limit")


def growth(cells: Mapping[tuple[int, int], Medians]) -> list[str]:
    """Overhead per row, from the fewest to the most rows of a fleet, and per key, from the fewest to the most keys."""
    lines = []
    all_rows, all_keys = sorted({rows for rows, _ in cells}), sorted({keys for _, keys in cells})
    if len(all_rows) > 1:
        for keys in all_keys:
            few, many = (all_rows[0], keys), (all_rows[-1], keys)
            slopes = [f"{slope * 1e9:.1f} ns" for slope in overheads(cells[few], cells[many], many[0] - few[0])]
            lines.append(line(f"{few[0]:,} and {many[0]:,} rows, {keys:,} keys", "row", *slopes))
    if len(all_keys) > 1:
        for rows in all_rows:
            few, many = (rows, all_keys[0]), (rows, all_keys[-1])
            slopes = [f"{slope * 1e6:.2f} µs" for slope in overheads(cells[few], cells[many], many[1] - few[1])]
            lines.append(line(f"{few[1]:,} and {many[1]:,} keys, {rows:,} rows", "key", *slopes))
    return lines


def overheads(few: Medians, many: Medians, by: int) -> list[float]:
    """How three overheads grow from one cell to another, in seconds for each of ``by`` rows or keys."""
    found = [
        (it["router"] - it["bare"], it["router"] - limit_of(it), it["groupby"] - limit_of(it)) for it in (few, many)
    ]
    return [(after - before) / by for before, after in zip(*found, strict=True)]


# -- one row, and one key ------------------------------------------------------------------------------------------


ONE_ROW_HEAD = (
    "keys",
    "bare predict µs",
    "`Router.predict`, a frame: + µs (<= 60)",
    "`Router.predict`, a dict of lists: + µs",
    "pyfunc, a frame: + µs",
)


def one_row(fleet: Fleet, checked: Any, calls: int) -> str:
    """A request with one row, beside its sub-model on an array of that row."""
    keys = len(fleet.plain)
    frame = Batch.of(keys, keys).frame.head(1)
    key, row = int(frame["key"].iloc[0]), np.ascontiguousarray(view(frame))
    router, model, columns = checked.unwrap_python_model().router, fleet.plain[key], frame.to_dict("list")
    bare: Work = {"bare": lambda: model.predict(row)}
    work: Work = {"frame": lambda: router.predict(frame), "pyfunc": lambda: checked.predict(frame)}
    # Apart: the millisecond that a dict takes leaves nothing of the others in the processor's caches.
    apart: Work = {"dict": lambda: router.predict(columns)}
    agree(model.predict(row), **work, **apart)
    found, other = median_of(calls, **bare, **work), median_of(calls, **bare, **apart)
    beyond = [found["frame"] - found["bare"], other["dict"] - other["bare"], found["pyfunc"] - found["bare"]]
    return line(f"{keys:,}", f"{found['bare'] * 1e6:.1f}", *(f"{seconds * 1e6:.1f}" for seconds in beyond))


ONE_KEY_HEAD = (
    "rows",
    "rounds",
    "bare predict ms",
    "`frame.to_numpy()` µs",
    "by parameter: + µs",
    "`Router.predict` / bare (<= 1.02)",
    "by column: + µs",
    "factorize µs",
    "(`Router.predict` - factorize) / bare (<= 1.02)",
)


def one_key(rows: int, fleet: Fleet, checked: Any, by_param: Any, seconds: float) -> str:
    """A batch that is one sub-model's as a whole: by a parameter, and by a column with one key.

    The baseline of both is the sub-model on the frame's own memory; both frames share it.
    """
    key = len(fleet.plain) - 1
    alone = Batch.of(rows, 1).frame[COLUMNS]
    keyed = alone.assign(key=key)
    matrix, column, model = view(alone), keyed["key"].to_numpy(), fleet.plain[key]
    if not np.shares_memory(matrix, view(keyed)):
        raise RuntimeError("pandas copied the frame: the baselines of the two would differ")
    routers = [pyfunc.unwrap_python_model().router for pyfunc in (by_param, checked)]
    work: Work = {
        "bare": lambda: model.predict(matrix),
        "param": lambda: routers[0].predict(alone, {"key": key}),
        "column": lambda: routers[1].predict(keyed),
    }
    agree(model.predict(matrix), **work)
    parts: Work = {"view": alone.to_numpy, "factorize": lambda: pd.factorize(column)}
    return one_key_line(rows, *measured(seconds, **work, **parts))


def one_key_line(rows: int, rounds: int, found: Medians) -> str:
    bare, by_column = found["bare"], found["column"] - found["factorize"]
    return line(
        f"{rows:,}",
        rounds,
        f"{bare * 1e3:.3f}",
        f"{found['view'] * 1e6:.0f}",
        f"{(found['param'] - bare) * 1e6:.0f}",
        f"{found['param'] / bare:.3f}",
        f"{(found['column'] - bare) * 1e6:.0f}",
        f"{found['factorize'] * 1e6:.0f}",
        f"{by_column / bare:.3f}",
    )


# -- tables --------------------------------------------------------------------------------------------------------


BUILDS_HEAD = ("sub-models", "router", "`api.build` s", "packing s", "probing s", "`load_model` s")


def line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def head(cells: Sequence[str]) -> str:
    return f"{line(*cells)}\n|{'---|' * len(cells)}"


def table(cells: Sequence[str], lines: Sequence[str]) -> None:
    if lines:
        print("", head(cells), *lines, sep="\n", flush=True)


def given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the dispatch of rows to sub-models, beside its limit.")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="rows of a batch (default: %(default)s)")
    parser.add_argument("--keys", type=int, nargs="+", default=KEYS, help="sub-models (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for one cell (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=CALLS, help="of one row (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of numerical libraries (default: as many as they take)")
    return parser.parse_args()


def main() -> None:
    """Print a table per subject; the lines of mixed batches as they come."""
    import mlflow  # noqa: F401 - it sets the level of its logger when it is imported
    from threadpoolctl import threadpool_limits

    options = given()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with threadpool_limits(options.threads):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    cells: dict[tuple[int, int], Medians] = {}
    builds, rows_alone, keys_alone = [], [], []
    print(head(MIXED_HEAD), flush=True)
    for keys in options.keys:
        with fleet_of(keys) as fleet:
            checked = fleet.router("checked", *BY_COLUMN)
            union = fleet.router("union", *BY_COLUMN, "signature.mode=union")
            for rows in options.rows:
                rounds, found = mixed(Batch.of(rows, keys), fleet, checked, union, options.seconds)
                cells[rows, keys] = found
                print(mixed_line(rows, keys, rounds, found), flush=True)
            rows_alone.append(one_row(fleet, checked, options.calls))
            if not keys_alone:
                by_param = fleet.router("by a parameter", *BY_PARAM)
                keys_alone = [one_key(rows, fleet, checked, by_param, options.seconds) for rows in options.rows]
            builds += fleet.built
    table(GROWTH_HEAD, growth(cells))
    table(ONE_ROW_HEAD, rows_alone)
    table(ONE_KEY_HEAD, keys_alone)
    table(BUILDS_HEAD, builds)


if __name__ == "__main__":
    main()
