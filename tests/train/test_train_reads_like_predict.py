"""A training file is scored as it was learnt from: one key and one value for each row, whatever its columns hold."""

from __future__ import annotations

import csv
import datetime
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mmeframe import api
from mmeframe.errors import ConfigError, MmeframeError
from tests import fleets

FORMATS = (".csv", ".parquet", ".jsonl")
_number = itertools.count()


def plain(cell: Any) -> Any:
    """A cell as JSON and CSV have it."""
    return cell.isoformat() if isinstance(cell, datetime.date) else cell


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    """Columns of Python's values as a file."""
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({name: plain(cell) for name, cell in row.items()}) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([["" if cell is None else plain(cell) for cell in row.values()] for row in rows])
    return path


def trained(store: Any, path: Path, *overrides: str, routing: Sequence[str] = ("routing=column", "routing.column=k")):
    """Train and build over a file with columns k and y: what was trained, the file scored by ``predict``, the URI."""
    name = f"t{next(_number)}"
    config = [
        f"name={name}",
        *routing,
        "routing.levels=[[k],[]]",
        f"train.reader.path={path}",
        "train.target=y",
        "train.key=k",
        "train.estimator.class=sklearn.tree.DecisionTreeRegressor",
        "train.holdout=0",
        "train.min_rows=1",
        f"train.register_as='{name}_{{k}}'",
        f"train.global_as={name}-all",
        store.override,
        *overrides,
    ]
    made = api.train(*config, plugins=fleets.plugins())
    logged = api.build(
        *config,
        "+source@sources.s=registry",
        f"sources.s.name='{name}_{{k}}'",
        f"+models.all={{uri:'models:/{name}-all@champion',key:{{}}}}",
        plugins=fleets.plugins(),
    )
    out = path.with_name(f"{name}.parquet")
    api.predict_table(logged.model_uri, path, out, annotate=True, keep="none", tracking_uri=store.uri, batch_rows=5)
    return made, pd.read_parquet(out), logged.model_uri


def reached(made: Any, scored: pd.DataFrame) -> None:
    """Every sub-model of a key answers as many rows as it has learnt from."""
    learnt = {model.name: model.rows for model in made.models if model.key is not None}
    assert scored["model_id"][scored["reason"] == "exact"].value_counts().to_dict() == learnt


def means(columns: dict[str, list[Any]], reasons: list[str], features: list[str]) -> list[float]:
    """What trees that are grown to the end answer: the mean of the rows with equal features, of the same key."""
    frame = pd.DataFrame({name: [repr(cell) for cell in cells] for name, cells in columns.items()})
    frame["y"] = columns["y"]
    own = frame.groupby(["k", *features])["y"].transform("mean")
    everyone = frame.groupby(features)["y"].transform("mean")
    return [a if reason == "exact" else b for a, b, reason in zip(own, everyone, reasons, strict=True)]


DAYS = [datetime.date(2024, 1, 1), datetime.date(2024, 2, 1), datetime.date(2024, 3, 1)]
TIMES = [datetime.datetime(2024, 1, 1, 12, 30), datetime.datetime(2024, 1, 2), datetime.datetime(1999, 12, 31)]  # noqa: DTZ001
# Cells of a key column -> their canonical keys, and the formats that can hold them.
KEYS = {
    "integers": ([7, 8, 10], ["7", "8", "10"], FORMATS),
    "integers-with-gaps": ([7, None, 8], ["7", None, "8"], FORMATS),
    "floats-with-gaps": ([7.0, None, 8.0], ["7", None, "8"], FORMATS),
    "fractions": ([7.5, 8.0, None], ["7.5", "8", None], (".parquet", ".jsonl")),
    "leading-zeros": (["007", "9", "08"], ["007", "9", "08"], FORMATS),
    "only-leading-zeros": (["007", "008", "010"], ["007", "008", "010"], FORMATS),
    "decimals-as-text": (["7.0", "8", "7.50"], ["7.0", "8", "7.50"], (".parquet", ".jsonl")),
    "words": (["NA", "true", "1e3"], ["NA", "true", "1e3"], FORMATS),
    "empty-text": (["a", "", "b"], ["a", None, "b"], FORMATS),
    "flags": ([True, False, None], ["True", "False", None], FORMATS),
    "flags-beside-numbers": ([True, 1, 0], ["True", "1", "0"], (".csv", ".jsonl")),
    "days": ([*DAYS], ["2024-01-01", "2024-02-01", "2024-03-01"], FORMATS),
    "spaces": ([" a", "a", "a "], [" a", "a", "a "], FORMATS),
}
# Cells of a feature -> how it may be listed, and the formats that can hold it.
FEATURES = {
    "integers": ([1, 2, 3], ("numeric", "categorical"), FORMATS),
    "integers-with-gaps": ([1, None, 3], ("numeric", "categorical"), FORMATS),
    "floats-with-gaps": ([1.5, None, 3.0], ("numeric", "categorical"), FORMATS),
    "flags": ([True, False, True], ("numeric", "categorical"), FORMATS),
    "flags-with-gaps": ([True, False, None], ("categorical",), (".csv",)),
    "digits-as-text": (["01", "1", "2"], ("categorical",), (".parquet", ".jsonl")),
    "text-with-gaps": (["a", None, "b c"], ("categorical",), FORMATS),
    "mixed": (["a", 1, 2.5], ("categorical",), (".csv",)),
    "days": ([*DAYS], ("categorical",), FORMATS),
    "times-with-gaps": ([TIMES[0], None, TIMES[1]], ("categorical",), FORMATS),
    "never": ([None, None, None], ("numeric", "categorical"), (".csv", ".jsonl")),
}


@pytest.mark.build
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_a_training_file_is_scored_as_it_was_learnt(module_store, tmp_path_factory, data):
    """For any columns, each row reaches the sub-model of its key, which knows the row's own features; as JSON too."""
    suffix = data.draw(st.sampled_from(FORMATS))
    kinds = st.sampled_from(sorted(name for name, (_, _, formats) in FEATURES.items() if suffix in formats))
    chosen = {f"f{at}": FEATURES[kind] for at, kind in enumerate(data.draw(st.lists(kinds, min_size=1, max_size=3)))}
    roles = {name: data.draw(st.sampled_from(how)) for name, (_, how, _) in chosen.items()}
    key = data.draw(st.sampled_from(sorted(name for name, (_, _, formats) in KEYS.items() if suffix in formats)))
    cells, texts, _ = KEYS[key]
    order = data.draw(st.permutations(range(9)))
    random = np.random.default_rng(len(order))
    columns = {
        "k": [cells[at % 3] for at in order],
        "y": [float(value) for value in random.integers(0, 100, 9)],
        **{name: [kind[0][at // 3] for at in order] for name, kind in chosen.items()},
    }
    path = write(tmp_path_factory.mktemp("table") / f"rows{suffix}", columns)
    listed = {role: [name for name in roles if roles[name] == role] for role in ("numeric", "categorical")}

    made, scored, uri = trained(
        module_store, path, *(f"train.features.{role}=[{','.join(names)}]" for role, names in listed.items())
    )

    wanted = [texts[at % 3] for at in order]
    assert {model.key for model in made.models} == {text for text in wanted if text} | {None}
    assert scored["reason"].tolist() == ["exact" if text else "fallback" for text in wanted]
    reached(made, scored)
    expected = means({**columns, "k": wanted}, scored["reason"].tolist(), list(chosen))
    assert scored["prediction"].tolist() == pytest.approx(expected)
    if suffix != ".csv":
        router = api.load_router(uri, tracking_uri=module_store.uri)
        rows = [
            {name: plain(cell) for name, cell in zip(columns, cells, strict=True)}
            for cells in zip(*columns.values(), strict=True)
        ]
        for some in (rows, rows[:1], rows[-1:]):
            answer = router.predict(some, {"annotate": True})
            places = [rows.index(row) for row in some]
            assert list(answer["model_id"]) == scored["model_id"].iloc[places].tolist()
            assert list(answer["prediction"]) == pytest.approx([expected[at] for at in places])


RULES = (
    "{key:zero,when:{column:id,operator:in,value:['00712','00799']}},"
    "{key:seven,when:{column:id,operator:'==',value:7}},"
    "{key:other,when:{column:id,operator:not_missing}}"
)
IDS = ["00712", "00799", "7.0", "", "12345", "00712", "8.0", "NA", "true"]


@pytest.mark.build
@pytest.mark.parametrize(
    "routing",
    [
        pytest.param(("+routing@routing.keys.k=pattern", "routing.keys.k.prefix_length=3"), id="pattern"),
        pytest.param(("+routing@routing.keys.k=hash", "+routing.keys.k.shares={a:0.5,b:0.5}"), id="hash"),
        pytest.param(
            (
                "+routing@routing.keys.k=rules",
                f"routing.keys.k.rules=[{RULES}]",
            ),
            id="rules",
        ),
        pytest.param(
            (
                "+routing@routing.keys.id=column",
                "+routing@routing.keys.k=lookup",
                "routing.keys.k.part=id",
                "routing.keys.k.table=table.csv",
                "routing.keys.k.to=group",
            ),
            id="lookup",
        ),
    ],
)
def test_strategies_that_read_text(module_store, tmp_path, monkeypatch, routing):
    """What a strategy reads of a file is the same when sub-models are trained and when rows are scored."""
    monkeypatch.chdir(tmp_path)
    write(Path("table.csv"), {"id": ["00712", "00799", "7", "NA"], "group": ["first", "second", "third", "third"]})
    column = "columns" if "hash" in routing[0] else "column"
    part = "id" if "lookup" in routing[1] else "k"
    named = () if "rules" in routing[0] else (f"routing.keys.{part}.{column}=id",)
    columns = {"id": IDS * 2, "x": [float(at) for at in range(18)], "y": [at / 2 for at in range(18)]}
    path = write(tmp_path / "rows.csv", columns)

    made, scored, _ = trained(module_store, path, "train.features.numeric=[x]", routing=(*routing, *named))

    assert len(made.models) > 2
    reached(made, scored)
    assert scored["prediction"].tolist() == pytest.approx(columns["y"])


LARGE = [str(2**53), "", str(2**53 + 1)]


@pytest.mark.build
@pytest.mark.parametrize(
    ("feature", "cells"),
    [
        *(
            (feature, cells)
            for feature in ("numeric", "categorical")
            for cells in (["7", "8"], ["7.5", ""], ["7.0", ""])
        ),
        ("categorical", ["007", "08"]),
        ("categorical", LARGE),
    ],
    ids=str,
)
def test_a_key_that_is_a_feature_too(module_store, tmp_path, feature, cells):
    """One cell of a CSV file is one key and one value, though two ask for it."""
    columns = {"id": cells * 3, "y": [float(at) for at in range(len(cells))] * 3}
    path = write(tmp_path / "rows.csv", columns)
    routing = ("+routing@routing.keys.k=column", "routing.keys.k.column=id")

    made, scored, _ = trained(module_store, path, f"train.features.{feature}=[id]", routing=routing)

    reached(made, scored)
    assert scored["prediction"].tolist() == columns["y"]


# -- what is refused, before anything is fitted ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "role", "suffix", "what"),
    [
        pytest.param([True, False, None], "numeric", ".csv", "the column 'f' (bool) holds what is no number", id="csv"),
        pytest.param(
            [True, False, None], "numeric", ".parquet", "the column 'f' (bool) holds what is no number", id="flags"
        ),
        pytest.param(["1", "2", "3"], "numeric", ".jsonl", "the column 'f' (str) holds what is no number", id="digits"),
        pytest.param([*DAYS], "numeric", ".parquet", "the column 'f' (date) holds what is no number", id="days"),
        pytest.param(
            [True, False, None], "categorical", ".parquet", "'f' must be boolean: 3 values are missing", id="gaps"
        ),
        pytest.param(["a", 1, 2.5], "categorical", ".jsonl", "'f' must be string: it holds", id="mixed"),
        pytest.param([[1], [2], []], "categorical", ".parquet", "'f' must be string: it holds", id="lists"),
        pytest.param([b"a", b"b", b""], "categorical", ".parquet", "'f' must be string: it holds bytes", id="bytes"),
        pytest.param(
            [2**53 + 1, None, 2], "categorical", ".jsonl", "'f' must be string: it holds integer", id="doubles"
        ),
        pytest.param([2**64 - 1, 1, 2], "categorical", ".jsonl", "'f' must be long: a value is out", id="large"),
    ],
)
def test_features_without_a_type_are_named(module_store, tmp_path, cells, role, suffix, what):
    """What no type of a signature holds is refused with the column and a cure, and nothing is trained."""
    path = write(tmp_path / f"rows{suffix}", {"k": [1, 2, 3] * 3, "y": [1.0, 2.0, 3.0] * 3, "f": cells * 3})

    with pytest.raises(ConfigError) as caught:
        trained(module_store, path, f"train.features.{role}=[f]")

    assert caught.value.where == f"train.features.{role}"
    assert what in caught.value.what
    assert caught.value.hint


def test_rows_without_a_target_have_features_too(module_store, tmp_path):
    """They are scored like others, so a gap in one of them counts."""
    columns = {"k": [1, 2] * 4, "y": [1.0] * 7 + [None], "f": [True, False] * 3 + [True, None]}

    with pytest.raises(ConfigError, match="'f' must be boolean: 1 values are missing"):
        trained(module_store, write(tmp_path / "rows.parquet", columns), "train.features.categorical=[f]")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("k,x,y\n1,2,3,4\n5,6,7\n", "in line 2", id="first"),
        pytest.param("k,x,y\n1,2,3\n5,6,7,8\n", "in line 3", id="later"),
        pytest.param("k,x,y\n1,2,3,4\n5,6,7,8\n", "in line 2", id="all"),
    ],
)
def test_rows_longer_than_the_header_are_refused(module_store, tmp_path, text, line):
    """Another column would become the key."""
    (tmp_path / "rows.csv").write_text(text)

    with pytest.raises(MmeframeError, match=line):
        trained(module_store, tmp_path / "rows.csv", "train.features.numeric=[x]")


# -- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize(
    ("cells", "suffix", "estimator", "answers"),
    [
        pytest.param([1, None, 3], ".csv", "Regressor", [1.0, 2.0, 3.0], id="integers-with-gaps"),
        pytest.param([True, None, False], ".csv", "Regressor", [1.0, 0.5, 0.0], id="flags-with-gaps-as-numbers"),
        pytest.param([1, None, 3], ".parquet", "Classifier", [1, 1, 3], id="labels-with-gaps"),
        pytest.param([True, None, False], ".csv", "Classifier", [True, False, False], id="flags-with-gaps"),
        pytest.param(["b", None, "a"], ".parquet", "Classifier", ["b", "a", "a"], id="text-with-gaps"),
    ],
)
def test_targets_with_gaps(module_store, tmp_path, suffix, cells, estimator, answers):
    """Rows without a target teach nothing; the others keep their values and their type."""
    columns = {"k": ["a"] * 9, "x": [1.0, None, 3.0] * 3, "y": cells * 3}
    path = write(tmp_path / f"rows{suffix}", columns)

    made, scored, _ = trained(
        module_store,
        path,
        "train.features.numeric=[x]",
        f"train.estimator.class=sklearn.tree.DecisionTree{estimator}",
    )

    assert (made.rows, made.dropped) == (9, 3)
    assert scored["prediction"].tolist()[0::3] == [answers[0]] * 3
    assert scored["prediction"].tolist()[2::3] == [answers[2]] * 3
