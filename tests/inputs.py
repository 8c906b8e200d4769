"""Batches that a router meets, and what each must get: used in process and through MLflow's own server."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

NAN = float("nan")
X = {"x1": [0.5, -1.0, 2.0], "x2": [1.0, 0.0, -0.5]}


def _batch(dow: object, **features: object) -> pd.DataFrame:
    return pd.DataFrame({**X, **features, "dow": dow})


def _text_dtype(dtype: str) -> pd.Series:
    return pd.Series(["3", None, "6"], dtype=dtype)


# (frame, sub-model of each row, reason of each row) for a router over the week: weekday by column, else everyone.
ANSWERED = [
    pytest.param(_batch([0, 3, 6]), ["day_0", "day_3", "day_6"], ["exact"] * 3, id="integer-keys"),
    pytest.param(_batch(["0", "3", "6"]), ["day_0", "day_3", "day_6"], ["exact"] * 3, id="integer-keys-as-text"),
    pytest.param(_batch([0.0, 3.0, 6.0]), ["day_0", "day_3", "day_6"], ["exact"] * 3, id="whole-floats"),
    pytest.param(
        _batch([0.0, NAN, 6.0]), ["day_0", "everyone", "day_6"], ["exact", "fallback", "exact"], id="nan-key-falls-back"
    ),
    pytest.param(
        _batch(np.array([0, None, 6], object)),
        ["day_0", "everyone", "day_6"],
        ["exact", "fallback", "exact"],
        id="none-key-falls-back",
    ),
    pytest.param(
        _batch(pd.array([0, None, 6], dtype="Int64")),
        ["day_0", "everyone", "day_6"],
        ["exact", "fallback", "exact"],
        id="nullable-integers",
    ),
    pytest.param(
        _batch(pd.Categorical(["3", "9", "6"])),
        ["day_3", "everyone", "day_6"],
        ["exact", "fallback", "exact"],
        id="category-of-text",
    ),
    *(
        pytest.param(
            _batch(_text_dtype(dtype)),
            ["day_3", "everyone", "day_6"],
            ["exact", "fallback", "exact"],
            id=f"text-dtype-{dtype}",
        )
        for dtype in ("str", "string[python]", "string[pyarrow]", "object")
    ),
    pytest.param(_batch([0, 9, 6]), ["day_0", "everyone", "day_6"], ["exact", "fallback", "exact"], id="unknown-key"),
    pytest.param(
        _batch([0.0, 2.5, 6.0]), ["day_0", "everyone", "day_6"], ["exact", "fallback", "exact"], id="no-rounding"
    ),
    pytest.param(
        _batch(["03", "3", " 3"]), ["everyone", "day_3", "everyone"], ["fallback", "exact", "fallback"], id="03"
    ),
    pytest.param(_batch([True, True, False]), ["everyone"] * 3, ["fallback"] * 3, id="bools-are-not-0-and-1"),
    pytest.param(_batch([0, 3, 6], x1=[1, 2, 3]), ["day_0", "day_3", "day_6"], ["exact"] * 3, id="integer-features"),
    pytest.param(
        _batch([0, 3, 6], x1=pd.array([1, 2, 3], dtype="Int64")),
        ["day_0", "day_3", "day_6"],
        ["exact"] * 3,
        id="nullable-features",
    ),
    pytest.param(
        _batch([0, 3, 6], more=["a", "b", "c"]), ["day_0", "day_3", "day_6"], ["exact"] * 3, id="extra-column"
    ),
    pytest.param(
        _batch([0, 3, 6])[["dow", "x2", "x1"]],
        ["day_0", "day_3", "day_6"],
        ["exact"] * 3,
        id="columns-in-another-order",
    ),
    pytest.param(
        _batch([0, 3, 6]).set_axis([7, 7, 7]), ["day_0", "day_3", "day_6"], ["exact"] * 3, id="duplicate-index"
    ),
    pytest.param(_batch([4, 4, 4]), ["day_4"] * 3, ["exact"] * 3, id="one-key"),
    pytest.param(_batch([5, 5, 5]).head(1), ["day_5"], ["exact"], id="one-row"),
    pytest.param(_batch([5, 5, 5]).head(0), [], [], id="no-rows"),
]

# (frame, what the message says)
REFUSED = [
    pytest.param(_batch([0, 3, 6]).drop(columns="x2"), "column 'x2' (double) is missing", id="missing-feature"),
    pytest.param(_batch([0, 3, 6]).drop(columns="dow"), "column 'dow' is missing", id="missing-key-column"),
    pytest.param(
        _batch([0, 3, 6]).rename(columns={"x2": "x_2"}), "Did you mean 'x_2'?", id="nearest-name-of-a-missing-column"
    ),
    pytest.param(_batch([0, 3, 6], x1=["a", "b", "c"]), "column 'x1' must be double", id="text-in-a-number-column"),
    pytest.param(_batch([[0], [3, 6], [6]]), "routing.keys.dow: a routing key must be one value", id="list-key"),
    pytest.param(_batch([0, 3, 6], x1=["1", "2", "3"]), "column 'x1' must be double", id="numbers-as-text"),
    pytest.param(
        _batch([0, 3, 6], x1=[True, False, True]), "column 'x1' must be double", id="bools-in-a-number-column"
    ),
]
