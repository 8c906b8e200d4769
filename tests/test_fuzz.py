"""Hostile requests to real routers: every outcome is right, or an error of ours that says whose fault it is."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest

from mmeframe.errors import BadInputError, MmeframeError
from tests import fleets, fuzz

# Cases that were faults once; ``make fuzz`` runs other ones.
CASES = 900


@pytest.fixture(scope="module")
def targets(week, tmp_path_factory):
    with fleets.inside(week.folder):
        return fuzz.targets(tmp_path_factory.mktemp("typed"), week.uri)


def test_every_outcome_is_right_or_deserved(targets):
    """Nothing is uncaught, wrong, long or raw, in process and through the functions of MLflow's server."""
    counts, faults = fuzz.run(targets, range(CASES))

    assert faults == {}
    # Each kind of outcome is met, so that the test says something.
    assert min(counts[word] for word in ("answered", "400", "404", "mlflow")) > CASES // 50


@pytest.mark.parametrize(
    ("column", "cell", "what"),
    [
        pytest.param(
            "time",
            "\ud800",
            "it holds lists or objects, or text that is no Unicode",
            id="surrogate",
        ),
        pytest.param("time", Decimal("sNaN"), "column 'time' cannot be read: it holds a signalling NaN", id="datepart"),
        pytest.param(
            "text", fuzz.Unequal(), "column 'text' cannot be read as text: it holds lists or maps", id="pattern"
        ),
        pytest.param("number", Decimal("sNaN"), "column 'number' must be double: it holds values that", id="bins"),
        pytest.param("key", fuzz.Unsaid(), "a routing key has no text form: Unsaid.", id="no-text"),
        pytest.param("key", fuzz.huge(5000), "a routing key has no text form: int.", id="digits"),
        pytest.param("x1", float("inf"), "everyone: its predict failed with ValueError.", id="infinite"),
    ],
)
def test_whose_fault_it_is(targets, column, cell, what):
    """What no strategy and no sub-model can be asked to read is told as bad input, with the column."""
    good = {"key": "zz", "time": "2013-03-01", "text": "zzz", "number": 700.0, "x1": 0.5, "x2": 1.0}
    frame = pd.DataFrame({name: pd.Series([value], dtype=object) for name, value in (good | {column: cell}).items()})
    frame["x1"], frame["x2"] = frame["x1"].astype(float), frame["x2"].astype(float)
    with pytest.raises(MmeframeError) as caught:
        targets[1].router.predict(frame)

    assert caught.value.code == "bad_input"
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("params", "what"),
    [
        pytest.param(["tenant"], "parameters must be a map of names to values, not list.", id="list"),
        pytest.param({7: "t"}, "the name of a parameter must be text, not int.", id="number"),
        pytest.param({"tenant": [[1, 2], [3]]}, "a routing key must be one value, not list.", id="ragged"),
        pytest.param({"tenant": fuzz.huge(5000)}, "a routing key has no text form: int.", id="digits"),
        pytest.param({"\x1b[31m": 1}, r"there is no parameter '\x1b[31m'.", id="colour"),
    ],
)
def test_parameters_that_are_refused(targets, params, what):
    """Whatever is sent for a parameter, or instead of all of them."""
    frame = pd.DataFrame({"double": [1.0], "string": ["a"]})
    with pytest.raises(BadInputError) as caught:
        targets[2].router.predict(frame, params)

    assert caught.value.what == what
