"""Keys that a sub-model predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmeframe.builtin.gate import GateConf, GateStrategy
from mmeframe.errors import ModelError
from mmeframe.plugin import ComponentContext
from mmeframe.rows.batch import as_batch
from mmeframe.rows.keys import canonical
from tests.builtin.options import made, problems

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0]})


def keys(answers: Any) -> list[str | None]:
    """Keys by a sub-model that gives these answers."""
    strategy = GateStrategy(GateConf("clusters"))
    asked = []

    def score(model_id: str, batch: Any) -> Any:
        asked.append((model_id, len(batch)))
        return answers

    strategy.bind(ComponentContext(score=score))
    found = [canonical(key) for key in strategy.route_keys(as_batch(ROWS), {})]
    assert asked == [("clusters", 3)]
    return found


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param(np.array([0, 1, 0]), ["0", "1", "0"], id="clusters"),
        pytest.param(np.array([0.0, 1.0, np.nan]), ["0", "1", None], id="floats"),
        pytest.param(np.array(["eu", "us", None], object), ["eu", "us", None], id="classes"),
        pytest.param(np.array([True, False, True]), ["True", "False", "True"], id="bools"),
        pytest.param(np.array([[0], [1], [0]]), ["0", "1", "0"], id="one-column"),
        pytest.param(pd.DataFrame({"prediction": ["eu", "us", None]}), ["eu", "us", None], id="frame"),
        pytest.param(pd.Series([1, 2, 3]), ["1", "2", "3"], id="series"),
        pytest.param([1, 2, 3], ["1", "2", "3"], id="list"),
    ],
)
def test_the_answer_is_the_key(answers, expected):
    """The sub-model is asked once for the whole batch, and what it says of a row is the row's key."""
    assert keys(answers) == expected


def test_probabilities_are_no_key():
    """Several numbers per row are refused, with the sub-model's id."""
    with pytest.raises(ModelError) as caught:
        keys(np.full((3, 2), 0.5))

    assert str(caught.value) == (
        "clusters: it returns an answer of shape (2,) for each row, which is no routing key.\n"
        "  A gate predicts one value per row: a class or a cluster, not probabilities."
    )


def test_inputs():
    """It asks one sub-model, and could give any key."""
    strategy = GateStrategy(GateConf("clusters"))
    inputs = strategy.inputs()

    assert (inputs.models, dict(inputs.columns), inputs.parts, strategy.keys()) == (("clusters",), {}, (), None)


def test_options():
    """The sub-model must be named."""
    assert problems("routing strategy", kind="gate") == [
        "at.model: this option is required.\n  Set it: at.model=<value>."
    ]
    assert made("routing strategy", kind="gate", model="clusters").conf == GateConf("clusters")
