"""Keys from a request parameter, or from a column that carries it instead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmeframe.builtin.param import ParamConf, ParamStrategy
from mmeframe.errors import BadInputError
from mmeframe.rows.batch import FrameBatch
from mmeframe.rows.keys import canonical

PARAM_ONLY, EITHER = ParamConf("dow"), ParamConf("dow", column="day")


def route(conf: ParamConf, params: dict[str, object], **columns: object) -> object:
    """Raw keys for a request of three rows, whose parameters come as texts."""
    frame = pd.DataFrame({"x": [0, 0, 0], **columns})
    return ParamStrategy(conf).route_keys(FrameBatch(frame), {name: canonical(value) for name, value in params.items()})


@pytest.mark.parametrize("conf", [PARAM_ONLY, EITHER], ids=["param", "either"])
@pytest.mark.parametrize("value", [3, "3", 0, "", False], ids=repr)
def test_the_parameter_routes_the_whole_request(conf, value):
    """One scalar counts for all rows; zero, false and empty text are values."""
    assert route(conf, {"dow": value}) == canonical(value)


@pytest.mark.parametrize(
    "params",
    [pytest.param({}, id="left-out"), pytest.param({"dow": None}, id="null"), pytest.param({"dwo": 3}, id="misspelt")],
)
def test_a_parameter_that_was_not_given(params):
    """There is no default: without the parameter nothing is routed."""
    with pytest.raises(BadInputError) as caught:
        route(PARAM_ONLY, params)

    assert str(caught.value) == (
        "parameter 'dow' was not given.\n"
        "  It has no default. MLflow drops parameters that it does not know: check the spelling."
    )


def test_neither_parameter_nor_column():
    """The hint names the column that would do as well."""
    with pytest.raises(BadInputError) as caught:
        route(EITHER, {})

    assert caught.value.hint.endswith("check the spelling. Or send the column 'day'.")


@pytest.mark.parametrize("params", [{}, {"dow": None}], ids=["left-out", "null"])
def test_the_column_routes_its_rows(params):
    """CSV, Parquet and Spark rows carry no parameters: the column does."""
    assert list(route(EITHER, params, day=[1, 2, 3])) == [1, 2, 3]


def test_a_column_that_config_does_not_name_is_not_looked_at():
    """A column of the parameter's name is data like any other."""
    with pytest.raises(BadInputError, match=r"^parameter 'dow' was not given"):
        route(PARAM_ONLY, {}, dow=[1, 2, 3])


@pytest.mark.parametrize(
    ("value", "column"),
    [
        pytest.param(3, [3, 3, 3], id="integers"),
        pytest.param("3", [3, 3, 3], id="text-and-integers"),
        pytest.param(3, ["3", "3", "3"], id="integer-and-text"),
        pytest.param(3, [3.0, np.nan, 3.0], id="floats-with-missing"),
        pytest.param("a", ["a", None, "a"], id="text-with-missing"),
        pytest.param("a", pd.Categorical(["a", None, "a"]), id="category"),
        pytest.param(3, pd.array([3, None, 3], dtype="Int64"), id="nullable"),
        pytest.param(3, [None, None, None], id="all-missing"),
        pytest.param(True, [True, True, True], id="bools"),
    ],
)
def test_both_sent_and_equal(value, column):
    """Equal keys pass, as keys are compared; a row without a value takes the parameter's."""
    assert canonical(route(EITHER, {"dow": value}, day=column)) == canonical(value)


@pytest.mark.parametrize(
    ("value", "column", "rows"),
    [
        pytest.param(3, [3, 4, 3], "1 rows (1)", id="one-row"),
        pytest.param(3, [4, 3, 5], "2 rows (0, 2)", id="two-rows"),
        pytest.param("03", [3, 3, 3], "3 rows (0, 1, 2)", id="text-is-not-parsed"),
        pytest.param("a", ["a", "b", None], "1 rows (1)", id="text"),
        pytest.param(1, [True, True, True], "3 rows (0, 1, 2)", id="a-bool-is-no-number"),
        pytest.param(1, pd.Series([1, True, 1.0], dtype=object), "1 rows (1)", id="a-bool-among-numbers"),
        pytest.param(3, pd.Categorical(["3", "4", "3"]), "1 rows (1)", id="category"),
    ],
)
def test_both_sent_and_different(value, column, rows):
    """Rows that say something else are an error naming the rows, not the values."""
    with pytest.raises(BadInputError) as caught:
        route(EITHER, {"dow": value}, day=column)

    assert str(caught.value) == (
        f"parameter 'dow' and column 'day' differ in {rows}.\n  Send one of the two, or equal values."
    )


def test_many_rows_that_differ():
    """A few of the rows are named, and all are counted."""
    batch = FrameBatch(pd.DataFrame({"day": [7] * 1000}))

    with pytest.raises(BadInputError) as caught:
        ParamStrategy(EITHER).route_keys(batch, {"dow": "3"})

    assert caught.value.what == "parameter 'dow' and column 'day' differ in 1000 rows (0, 1, 2, 3, 4 ...)."


def test_no_rows():
    """An empty batch cannot differ."""
    batch = FrameBatch(pd.DataFrame({"day": pd.Series([], dtype=object)}))

    assert ParamStrategy(EITHER).route_keys(batch, {"dow": "3"}) == "3"


@pytest.mark.parametrize(
    ("conf", "columns"), [pytest.param(PARAM_ONLY, {}, id="param"), pytest.param(EITHER, {"day": "key"}, id="either")]
)
def test_inputs(conf, columns):
    """The strategy says which parameter and which column it reads."""
    inputs = ParamStrategy(conf).inputs()

    assert (dict(inputs.columns), inputs.params) == (columns, ("dow",))
