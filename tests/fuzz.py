"""Hostile requests to real routers: ``python -m tests.fuzz --cases 20000 --seed 1`` (``make fuzz``).

Each case is one request, made of a seed: to ``Router.predict``, or to the functions of MLflow's scoring server. Right
is an answer whose every row has its sub-model's own value, and a sub-model that the row's key may reach; or an error of
ours, 400 or 404, which shows no control characters and is short. Those of 500 are faults: nothing here deserves one.
What MLflow itself refuses before a router sees it is counted apart.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime as dt
import io
import json
import logging
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests import fleets

# A text that no answer of ours is longer than, whatever the request was.
LONGEST = 10_000
KEYS = ("7", "a", "0.5", "True", "Zürich", "2020-01-02T00:00:00")

# A model of columns of all of MLflow's types, which takes any rows.
TYPED = """
import mlflow

class Typed(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [float(params["scale"]) if params else 1.0] * len(model_input)
"""
TYPES = ("integer", "long", "float", "double", "boolean", "string", "binary", "datetime")


# -- routers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A router as MLflow loads it. columns: those that it reads. params: of requests."""

    name: str
    model: Any
    columns: tuple[str, ...]
    params: tuple[str, ...]

    @property
    def router(self) -> Any:
        return self.model.unwrap_python_model().router


def targets(folder: Path, uri: str) -> list[Target]:
    """Three routers over the week that the store holds: by one key, by all strategies, and of columns of all types."""
    import mlflow

    from mmeframe import api

    def built(name: str, *overrides: str) -> Any:
        logged = api.build(f"name={name}", *overrides, f"tracking.uri={uri}", plugins=fleets.plugins())
        with fleets.active(uri):
            return mlflow.pyfunc.load_model(logged.model_uri)

    by_key = [
        f"+models.k{day}={{uri:'models:/day_{day}@champion',key:{{key:{json.dumps(key)}}}}}"
        for day, key in enumerate(KEYS)
    ]
    one = built("fuzz_key", "routing=column", "routing.column=key", "output.annotate=true", *by_key)
    every = built("fuzz_all", *_parts(folder), *_LEVELS, "output.annotate=true")
    typed = built("fuzz_typed", "routing=param", "routing.param=tenant", *_typed(folder))
    return [
        Target("key", one, ("key", "x1", "x2"), ()),
        Target("all", every, ("key", "time", "text", "number", "x1", "x2"), ("tenant",)),
        Target("typed", typed, tuple(_typed_names()), ("tenant", "scale", "steps")),
    ]


def _parts(folder: Path) -> list[str]:
    rules = "[{key:late,when:{column:number,operator:'>',value:30}},{key:red,when:{any:[{column:text,operator:contains,"
    rules += "value:q},{column:time,operator:'>=',value:'2013-07-01T00:00:00Z'}]}}]"
    return [
        "+routing@routing.keys.key=column",
        "routing.keys.key.column=key",
        "+routing@routing.keys.month=datepart",
        "routing.keys.month.column=time",
        "routing.keys.month.part=month",
        "routing.keys.month.timezone=Europe/Berlin",
        "+routing@routing.keys.piece=pattern",
        "routing.keys.piece.column=text",
        "routing.keys.piece.regex='(?P<key>..)$'",
        "+routing@routing.keys.reach=bins",
        "routing.keys.reach.column=number",
        "+routing.keys.reach.bins={near:[null,500],far:[1000,null]}",
        "+routing@routing.keys.rule=rules",
        f"routing.keys.rule.rules={rules}",
        "+routing@routing.keys.zone=lookup",
        "routing.keys.zone.part=key",
        "+routing.keys.zone.values={a:north,t:south}",
        "+routing@routing.keys.half=hash",
        "routing.keys.half.columns=[text,number]",
        "+routing.keys.half.shares={a:0.4,b:0.3}",
        "+routing@routing.keys.tenant=param",
        "routing.keys.tenant.param=tenant",
        "routing.keys.tenant.column=key",
    ]


_LEVELS = (
    "routing.levels=[[key,month],[piece],[reach],[rule],[zone],[half],[tenant],[]]",
    "routing.on_unknown=skip",
    "+models.one={uri:'models:/day_0@champion',key:{key:a,month:1}}",
    "+models.two={uri:'models:/day_1@champion',key:{piece:qq}}",
    "+models.three={uri:'models:/day_2@champion',key:{reach:far}}",
    "+models.four={uri:'models:/day_3@champion',key:{rule:red}}",
    "+models.five={uri:'models:/day_4@champion',key:{zone:north}}",
    "+models.six={uri:'models:/day_5@champion',key:{half:a}}",
    "+models.seven={uri:'models:/day_6@champion',key:{tenant:t}}",
    "+models.everyone={uri:'models:/all_days@champion',key:{}}",
    "+models.canary={uri:'models:/all_days@champion',key:{},arm:canary}",
    "+traffic.arms={canary:0.4}",
    "traffic.sticky=key",
)


def _typed_names() -> list[str]:
    return [*TYPES, "list", "map", "object", "any"]


def _typed(folder: Path) -> list[str]:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array, Map, Object, Property

    inputs = [ColSpec(DataType[name], name, required=name in ("double", "string")) for name in TYPES]
    inputs += [
        ColSpec(Array(Array(DataType.long)), "list", required=False),
        ColSpec(Map(DataType.double), "map", required=False),
        ColSpec(
            Object([Property("a", DataType.string), Property("b", DataType.datetime, required=False)]), "object", False
        ),
        ColSpec(AnyType(), "any", required=False),
    ]
    params = ParamSchema(
        [ParamSpec("scale", DataType.double, 1.0), ParamSpec("steps", DataType.long, [1], shape=(-1,))]
    )
    path = folder / "typed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        space: dict[str, Any] = {}
        exec(TYPED, space)
        mlflow.pyfunc.save_model(
            str(path),
            python_model=space["Typed"](),
            signature=ModelSignature(Schema(inputs), Schema([ColSpec(DataType.double)]), params),
            pip_requirements=fleets.pins(),
        )
    return [f"+models.{key}={{uri:'{path}',key:{{tenant:{key}}}}}" for key in ("t", "u")]


# -- what requests are made of ---------------------------------------------------------------------------------------


class Unequal:
    """A cell that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("4711")

    __hash__ = None  # type: ignore[assignment]


class Unsaid:
    """A cell, or a name, that has no text."""

    def __str__(self) -> str:
        raise RuntimeError("4711")

    __repr__ = __str__


class Undecided:
    """A cell whose comparison is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])

    def __hash__(self) -> int:
        raise ValueError("4711")


def huge(digits: int) -> int:
    return 10**digits + 7


TEXTS = (
    "a",
    "7",
    "qq",
    "t",
    "u",
    "Zürich",
    "",
    " ",
    "\x1b[31mred\x1b[0m",
    "a\x00b",
    "\ud800",
    "x\udfff",
    "\u202e",
    "\n\r",
    "2013-01-01",
    "2020-01-02T00:00:00",
    "2013-01-01T10:00:00Z",
    "2013-07-01 10:00+01:00",
    "now",
    "NaT",
    "9999-12-31T23:59:59Z",
    "0000-00-00",
    "1" * 400,
    "1e999",
    "é" * 3000,
    "\x1b]0;title\x07",
    "nan",
    "None",
    "True",
    "-0",
    "١٢٣",
    "{",
    "'",
    "=",
    "YWJj",
)
PLAIN: tuple[Any, ...] = (
    *TEXTS,
    0,
    7,
    -1,
    0.5,
    1e308,
    -0.0,
    2**53,
    2**53 + 1,
    2**63,
    2**64,
    10**25,
    huge(400),
    -huge(400),
    float("nan"),
    float("inf"),
    True,
    False,
    None,
    1e-320,
    1e16,
    1e300,
    [],
    [1],
    [[1, 2], [3]],
    ["a", None],
    {},
    {"a": "b"},
    {"a": 1.5},
    {"a": None, "b": "2013-01-01"},
)
STRANGE: tuple[Callable[[], Any], ...] = (
    Unequal,
    Unsaid,
    Undecided,
    object,
    lambda: huge(5000),
    lambda: Decimal("sNaN"),
    lambda: Decimal("NaN"),
    lambda: Decimal("1E+999999999"),
    lambda: Decimal("-1E-999999999"),
    lambda: Decimal(7),
    lambda: Decimal("Infinity"),
    lambda: 1j,
    lambda: b"\xff\x00",
    lambda: bytearray(b"a"),
    lambda: Fraction(1, 3),
    lambda: dt.date(9999, 12, 31),
    lambda: pd.Timestamp.min.to_pydatetime(warn=False),
    lambda: dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    lambda: dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-12))),
    lambda: dt.time(1),
    lambda: dt.timedelta(days=10**8),
    lambda: pd.NaT,
    lambda: pd.NA,
    lambda: pd.Timestamp("2013-01-01", tz="Asia/Tokyo"),
    lambda: pd.Timedelta(1),
    lambda: pd.Period("2020-01", "M"),
    lambda: pd.Interval(0, 1),
    lambda: np.float16(7),
    lambda: np.longdouble(7),
    lambda: np.datetime64("NaT"),
    lambda: np.datetime64("2020-01-01T00", "h"),
    lambda: np.datetime64(2**40, "Y"),
    lambda: np.str_("a"),
    lambda: np.bytes_(b"a"),
    lambda: np.array(7),
    lambda: np.array([1, 2]),
    lambda: np.void(b"a"),
    lambda: np.timedelta64(1, "Y"),
    lambda: {1, 2},
    lambda: range(3),
    lambda: (1, 2),
    lambda: iter(()),
    lambda: len,
    lambda: int,
    lambda: {1: 2},
    lambda: {Unsaid: 1},
    lambda: pd.Series([1]),
    lambda: pd.DataFrame(),
    lambda: memoryview(b"a"),
    lambda: ...,
    lambda: nested(2000),
    lambda: np.complex64(1),
    lambda: np.ma.masked,
)


NUMBERS = ("Int64", "float32", "float16", "uint64", "boolean", "Float32")
DTYPES = ("str", *NUMBERS, "string[pyarrow]", "datetime64[us, UTC]")


def nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


class Maker:
    """Makes one request of a seed. json: whether it can be written as JSON."""

    def __init__(self, seed: int, target: Target) -> None:
        self.pick, self.target = random.Random(seed), target

    def cell(self, json_only: bool) -> Any:
        if json_only or self.pick.random() < 0.5:
            return self.pick.choice(PLAIN)
        return self.pick.choice(STRANGE)()

    def good(self, name: str) -> Any:
        """A value that a column may well have."""
        return {
            "key": lambda: self.pick.choice([*KEYS, 7, 7.0, 0.5, True]),
            "time": lambda: self.pick.choice(["2013-01-01T10:00:00Z", "2014-03-05", None]),
            "text": lambda: self.pick.choice(["abqq", "zz", None]),
            "number": lambda: self.pick.choice([1, 2000, 35.5, None]),
            "integer": lambda: self.pick.choice([1, -5]),
            "long": lambda: self.pick.choice([1, 2**60]),
            "boolean": lambda: self.pick.random() < 0.5,
            "string": lambda: self.pick.choice(["a", "b"]),
            "binary": lambda: "YWJj",
            "datetime": lambda: "2020-01-01",
            "list": lambda: [[1], [2, 3]],
            "map": lambda: {"a": 1.0},
            "object": lambda: {"a": "b"},
            "any": lambda: self.pick.choice([1, "a", [1]]),
        }.get(name, self.pick.gauss)()

    def name(self, json_only: bool) -> Any:
        names: list[Any] = ["x1", "X1", "", "\x1b[31m", "\ud800", "é" * 2000, "0", "key ", "keyy"]
        if not json_only:
            names += [None, 7, 1.5, True, (1, 2), float("nan"), b"key", dt.date(2020, 1, 1), huge(5000)]
            if self.pick.random() < 0.3:
                names = [Unsaid(), Unequal]
        return self.pick.choice(names)

    def table(self, json_only: bool) -> tuple[list[Any], list[list[Any]]]:
        """Names, and for each a column."""
        n_rows = self.pick.choice([0, 1, 1, 2, 3, 5, 17])
        names: list[Any] = list(self.target.columns)
        for _ in range(self.pick.choice([0, 0, 0, 1, 2])):
            names.insert(self.pick.randrange(len(names) + 1), self.name(json_only))
        if self.pick.random() < 0.1:
            names.pop(self.pick.randrange(len(names)))
        spoilt = {place for place in range(len(names)) if self.pick.random() < 0.25}
        one = self.pick.random() < 0.3
        columns = []
        for place, name in enumerate(names):
            made = name if isinstance(name, str) else ""
            column = [self.good(made) for _ in range(n_rows)]
            if place in spoilt and n_rows:
                if one:
                    column = [self.cell(json_only)] * n_rows
                else:
                    column = [self.cell(json_only) if self.pick.random() < 0.5 else cell for cell in column]
            columns.append(column)
        return names, columns

    def params(self, json_only: bool) -> Any:
        if self.pick.random() < 0.03:
            return self.pick.choice([[], "a", 7, [1]]) if json_only else {}
        found: dict[Any, Any] = {}
        for name in self.target.params:
            if self.pick.random() < 0.8:
                good = {"tenant": "t", "scale": 2.0, "steps": [1, 2]}[name]
                found[name] = self.cell(json_only) if self.pick.random() < 0.3 else good
        if self.pick.random() < 0.1:
            name = self.name(json_only)
            with contextlib.suppress(Exception):
                found[name] = self.cell(json_only)
        if self.pick.random() < 0.05:
            found["annotate"] = self.cell(json_only)
        return found or None

    def data(self) -> Any:
        """What ``Router.predict`` is given."""
        if self.pick.random() < 0.02:
            return self.pick.choice(STRANGE)() if self.pick.random() < 0.5 else self.pick.choice(PLAIN)
        way = self.pick.choice(["frame", "frame", "frame", "columns", "records", "typed", "category"])
        # pandas writes a decimal's billion digits out where it is asked for another type.
        names, columns = self.table(way == "typed")
        if way == "records":
            return [self._named(names, row) for row in zip(*columns, strict=True)]
        if way == "columns":
            found = self._named(names, columns)
            if self.pick.random() < 0.1:
                found[self.pick.choice(list(found))] = self.cell(False)
            return found
        frame = pd.DataFrame({place: pd.Series(_objects(cells), dtype=object) for place, cells in enumerate(columns)})
        with contextlib.suppress(Exception):
            frame = frame.infer_objects() if self.pick.random() < 0.7 else frame
        for place in frame.columns if way != "frame" else ():
            with contextlib.suppress(Exception):
                kinds = (
                    ["category"]
                    if way == "category"
                    else [
                        "str",
                        "Int64",
                        "float32",
                        "float16",
                        "uint64",
                        "string[pyarrow]",
                        "datetime64[us, UTC]",
                        "boolean",
                        "Float32",
                    ]
                )
                frame[place] = frame[place].astype(self.pick.choice(kinds))
        frame.columns = pd.Index(_objects(names), dtype=object)
        if self.pick.random() < 0.05:
            frame.columns = pd.MultiIndex.from_tuples([(str(place), "x1") for place in range(len(names))])
        if len(frame) and self.pick.random() < 0.2:
            frame.index = [self.pick.choice([0, "a"])] * len(frame)
        return frame

    @staticmethod
    def _named(names: list[Any], values: Any) -> dict[Any, Any]:
        found = {}
        for name, value in zip(names, values, strict=True):
            with contextlib.suppress(Exception):
                found[name] = value
        return found

    def request(self) -> tuple[bytes, str]:
        """A body and its type, as a client sends them to MLflow's server."""
        names, columns = self.table(True)
        names = [str(name) for name in names]
        rows = [list(row) for row in zip(*columns, strict=True)]
        way = self.pick.choice(["split", "split", "records", "inputs", "instances", "csv", "parquet", "ragged", "junk"])
        if way == "csv":
            with contextlib.suppress(Exception):
                return pd.DataFrame(dict(zip(range(len(names)), columns, strict=True))).to_csv(
                    index=False, header=names
                ).encode(), "text/csv"
        if way == "parquet":
            with contextlib.suppress(Exception):
                buffer = io.BytesIO()
                pd.DataFrame(dict(zip(names, columns, strict=True))).to_parquet(buffer)
                return buffer.getvalue(), "application/vnd.apache.parquet"
        body: dict[str, Any] = {"dataframe_split": {"columns": names, "data": rows}}
        if way == "records":
            body = {"dataframe_records": [dict(zip(names, row, strict=True)) for row in rows]}
        elif way == "inputs":
            body = {"inputs": dict(zip(names, columns, strict=True))}
        elif way == "instances":
            body = {"instances": [dict(zip(names, row, strict=True)) for row in rows]}
        elif way == "ragged" and rows:
            body["dataframe_split"]["data"][-1].pop()
        elif way == "junk":
            body = {"dataframe_split": self.pick.choice(PLAIN)}
        params = self.params(True)
        if params is not None:
            body["params"] = params
        text = json.dumps(body)
        if self.pick.random() < 0.02:
            text = text.replace("0.5", "[" * 100_000 + "]" * 100_000, 1)
        if self.pick.random() < 0.02:
            text = text.replace("7", "1" + "0" * 5000, 1)
        return text.encode(), "application/json"


def _objects(cells: list[Any]) -> Any:
    found = np.empty(len(cells), object)
    for place, cell in enumerate(cells):
        found[place] = cell
    return found


# -- what came of it ---------------------------------------------------------------------------------------------------


def outcome(target: Target, seed: int, served: bool) -> str:
    """One word for what a request came to; a fault has a colon, and what is wrong after it."""
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

    from mmeframe.errors import MmeframeError

    maker = Maker(seed, target)
    if served:
        body, kind = maker.request()
        try:
            reply = scoring_server.invocations(body, kind, target.model, target.model.metadata.get_input_schema())
        except MlflowException as error:
            if not isinstance(error.__cause__, MmeframeError):
                return _theirs(error)
            return _error(error.__cause__, json.loads(error.serialize_as_json())["message"])
        except Exception as error:
            return _theirs(error)
        return _served(reply)
    data, params = maker.data(), maker.params(False)
    try:
        answer = target.router.predict(data, params)
    except MmeframeError as error:
        return _error(error, str(error))
    except Exception as error:
        return f"uncaught: {_where(error)}"
    return _right(target, data, answer)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "mmeframe" in frame.filename]
    return f"{type(error).__name__} at {' '.join(ours[-3:])}"


def _theirs(error: BaseException) -> str:
    """MLflow's own error: right if no frame of ours is behind it."""
    seen: BaseException | None = error
    while seen is not None:
        if any("mmeframe/runtime" in frame.filename for frame in traceback.extract_tb(seen.__traceback__)):
            return f"uncaught: {_where(seen)}"
        seen = seen.__cause__ or seen.__context__
    return "mlflow"


def _error(error: Any, text: str) -> str:
    code = error.code
    if code not in ("bad_input", "unknown_key"):
        return f"{code}: {text[:300]!r} from {_where(error.__cause__ or error)}"
    if len(text) > LONGEST:
        return f"long: {len(text)}"
    if any(not letter.isprintable() and letter != "\n" for letter in text):
        return f"raw: {text[:300]!r}"
    if "4711" in text:
        return f"data: {text[:300]!r}"
    return "404" if code == "unknown_key" else "400"


def _served(reply: Any) -> str:
    json.loads(reply.response)
    return "answered" if reply.status == 200 else str(reply.status)


def _right(target: Target, data: Any, answer: Any) -> str:
    if target.name == "typed" or not isinstance(answer, Mapping):
        return "answered"
    ids, values = answer["model_id"], answer["prediction"]
    columns = target.router._batch(data)
    x1, x2 = (columns.numbers(name) for name in ("x1", "x2"))
    keys = columns.column("key")
    for row, (id_, value) in enumerate(zip(ids, values, strict=True)):
        if id_ is None:
            continue
        day = 20 if id_ in ("everyone", "canary") else _DAYS.get(id_, ord(id_[-1]) - ord("0"))
        model = _model(day)
        wanted = model.coef_[0] * x1[row] + model.coef_[1] * x2[row] + model.intercept_
        if not np.isclose(value, wanted, rtol=1e-9, atol=1e-9, equal_nan=True):
            return f"wrong: row {row} of {id_} is {value}, not {wanted}"
        if target.name == "key" and not _means(keys[row], KEYS[day]):
            return f"wrong: key {keys[row]!r} reached {id_}"
    return "answered"


_DAYS = {name: day for day, name in enumerate(["one", "two", "three", "four", "five", "six", "seven"])}
_models: dict[int, Any] = {}


def _model(day: int) -> Any:
    if day not in _models:
        _models[day] = fleets.fitted(day)
    return _models[day]


def _means(value: Any, key: str) -> bool:
    """Whether a value may stand for a key: as its text, as a number, or as a time."""
    plain = value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value
    return str(plain) in (key, f"{key}.0", f"{key} 00:00:00", key.replace("T", " "))


def run(found: list[Target], cases: range) -> tuple[collections.Counter[str], dict[str, list[str]]]:
    """Counts of outcomes, and for each fault the cases that have it: a case is ``target/way/seed``."""
    logging.disable(logging.CRITICAL)
    counts: collections.Counter[str] = collections.Counter()
    faults: dict[str, list[str]] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for seed in cases:
                target, served = found[seed % len(found)], seed // len(found) % 2 == 1
                said = outcome(target, seed, served)
                counts[said.partition(":")[0]] += 1
                if ":" in said:
                    faults.setdefault(said, []).append(f"{target.name}/{'served' if served else 'predict'}/{seed}")
    finally:
        logging.disable(logging.NOTSET)
    return counts, faults


@contextlib.contextmanager
def fleet() -> Iterator[list[Target]]:
    """The routers, in a store that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = fleets.make_store(folder)
        with fleets.inside(folder):
            fleets.log_week(folder)
            yield targets(folder, uri)


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--cases", type=int, default=20_000)
    reader.add_argument("--seed", type=int, default=0)
    given = reader.parse_args()
    with fleet() as found:
        start = time.perf_counter()
        counts, faults = run(found, range(given.seed, given.seed + given.cases))
        seconds = time.perf_counter() - start
    for fault, places in sorted(faults.items(), key=lambda it: -len(it[1])):
        print(f"{len(places):6} {fault}  {' '.join(places[:3])}")
    print(
        f"{given.cases:,} requests in {seconds:.0f} s: {', '.join(f'{n:,} {word}' for word, n in counts.most_common())}"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
