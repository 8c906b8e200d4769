"""One answer of several sub-models' answers."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import errors
from mmeframe.errors import ConfigError
from mmeframe.testing import CombinerCase, CombinerConformance
from tests.builtin.options import made, problems
from tests.fleets import plugins

NAN, INF = math.nan, math.inf
NUMBERS = tuple(np.random.default_rng(1).normal(size=(5, 40)))
COUNTS = tuple(np.random.default_rng(2).integers(-3, 4, size=(4, 40)))
SHARES = tuple(np.random.default_rng(3).dirichlet([1.0, 1.0, 1.0], size=(3, 40)))
LABELS = tuple(np.random.default_rng(4).choice(["red", "green", "light blue"], size=(5, 40)))


@pytest.mark.process
@pytest.mark.smoke
class TestBuiltins(CombinerConformance):
    """What every combiner promises, on numbers, counts, probabilities and labels."""

    cases = (
        CombinerCase("mean", NUMBERS, id="mean"),
        CombinerCase("mean", COUNTS, id="mean-of-counts"),
        CombinerCase("mean", SHARES, id="mean-of-shares"),
        CombinerCase("median", NUMBERS, id="median"),
        CombinerCase("median", SHARES, id="median-of-shares"),
        CombinerCase("weighted", NUMBERS, options={"weights": [1, 2, 3, 4, 0.5]}, id="weighted"),
        CombinerCase("weighted", SHARES, options={"weights": [1, 0, 2]}, id="weighted-shares"),
        CombinerCase("vote", LABELS, id="vote"),
        CombinerCase("vote", COUNTS, id="vote-on-counts"),
        CombinerCase("vote", [labels == "red" for labels in LABELS], id="vote-on-bools"),
    )


def test_all_combiners_are_checked():
    """A new one joins the list."""
    registered = plugins().registered["combiner"].items()

    assert {name for name, entry in registered if entry.plugin.name == "builtin"} == {
        case.kind for case in TestBuiltins.cases
    }


def combined(kind: str, *answers: Any, **options: Any) -> np.ndarray:
    """The answers of so many sub-models, combined."""
    of = [f"m{number}" for number in range(len(answers))]
    return made("combiner", kind=kind, of=of, **options).combine([np.asarray(answer) for answer in answers])


@pytest.mark.parametrize(
    ("kind", "answers", "options", "expected"),
    [
        pytest.param("mean", [[1, 2], [3, 5]], {}, [2.0, 3.5], id="mean-of-whole-numbers"),
        pytest.param("mean", [[1.5], [NAN]], {}, [NAN], id="mean-nan"),
        pytest.param("mean", [[INF], [1.0]], {}, [INF], id="mean-inf"),
        pytest.param("mean", [[INF], [-INF]], {}, [NAN], id="mean-both-infs"),
        pytest.param("mean", [[4]], {}, [4.0], id="mean-of-one"),
        pytest.param("mean", [[[1, 2]], [[3, 4]]], {}, [[2.0, 3.0]], id="mean-of-rows"),
        pytest.param("median", [[1], [9], [2]], {}, [2.0], id="median-odd"),
        pytest.param("median", [[1], [9], [2], [4]], {}, [3.0], id="median-even"),
        pytest.param("median", [[1.0], [NAN], [2.0]], {}, [NAN], id="median-nan"),
        pytest.param("median", [[[1, 6]], [[2, 5]], [[3, 4]]], {}, [[2.0, 5.0]], id="median-of-rows"),
        pytest.param("weighted", [[1], [5]], {"weights": [3, 1]}, [2.0], id="weights"),
        pytest.param("weighted", [[1], [5]], {"weights": [0.3, 0.1]}, [2.0], id="weights-are-ratios"),
        pytest.param("weighted", [[1.0], [NAN]], {"weights": [1, 0]}, [1.0], id="a-weight-of-0-leaves-out"),
        pytest.param("weighted", [[1.0], [NAN]], {"weights": [1, 0.1]}, [NAN], id="weighted-nan"),
        pytest.param("weighted", [[[1, 2]], [[3, 4]]], {"weights": [1, 1]}, [[2.0, 3.0]], id="weighted-rows"),
    ],
)
def test_numbers(kind, answers, options, expected):
    """Numbers are combined elementwise, as doubles; a missing one is not left out silently."""
    found = combined(kind, *answers, **options)

    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-15)


@pytest.mark.parametrize("kind", ["mean", "median"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64", "object"])
def test_types_of_numbers(kind, dtype):
    """Every type of number becomes a double before anything is added: nothing overflows or loses digits."""
    large = 2**31 - 1 if dtype == "int32" else 2**20

    assert combined(kind, np.array([large], dtype), np.array([large], dtype)).tolist() == [float(large)]


def test_missing_among_objects():
    """None, as on_error: skip leaves it, is NaN to a mean."""
    assert np.isnan(combined("mean", np.array([1.0, None], object), np.array([1.0, 2.0]))).tolist() == [False, True]


@pytest.mark.parametrize("kind", ["mean", "median", "weighted"])
def test_a_row_alone_has_the_same_bits(kind):
    """The last bit of a row does not depend on how many rows there are."""
    models, rows = 19, 300
    options = {"weights": [0.1 * number for number in range(1, models + 1)]} if kind == "weighted" else {}
    answers = np.random.default_rng(0).normal(size=(models, rows))

    whole = combined(kind, *answers, **options)

    assert [combined(kind, *answers[:, row : row + 1], **options)[0] for row in range(rows)] == whole.tolist()


@pytest.mark.parametrize("kind", ["mean", "median", "vote"])
def test_no_rows(kind):
    """No rows have no answers."""
    assert len(combined(kind, np.empty(0), np.empty(0))) == 0


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([["a", "b"], ["b", "b"], ["b", "a"]], ["b", "b"], id="text"),
        pytest.param([["a"], ["long text"], ["long text"]], ["long text"], id="text-of-several-lengths"),
        pytest.param([[1], [2], [2]], [2], id="ints"),
        pytest.param([[True], [False], [True]], [True], id="bools"),
        pytest.param([[1.5], [1.5], [2.5]], [1.5], id="floats"),
        pytest.param([["b"], ["a"]], ["b"], id="a-tie"),
        pytest.param([["c"], ["b"], ["a"], ["b"], ["c"]], ["c"], id="a-tie-of-pairs"),
        pytest.param([["c"], ["b"], ["a"], ["a"], ["b"]], ["b"], id="a-tie-that-the-first-is-not-in"),
        pytest.param([[-1], [0], [0]], [0], id="minus-one-is-a-value"),
    ],
)
def test_votes(answers, expected):
    """What most say; of equally many, the one given first in ``of``."""
    found = combined("vote", *answers)

    assert found.tolist() == expected
    assert found.dtype.kind == np.asarray(answers[0]).dtype.kind or found.dtype == object


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([["a", None], [None, None], [None, None]], ["a", None], id="text"),
        pytest.param([[True, None], [None, None]], [True, None], id="bools"),
        pytest.param([[NAN, NAN], [1.0, NAN], [NAN, NAN]], [1.0, NAN], id="floats"),
    ],
)
def test_missing_votes(answers, expected):
    """A missing answer is no vote, however many miss; a row without votes has no answer."""
    kind = object if None in answers[0] else float
    found = combined("vote", *[np.array(answer, kind) for answer in answers])

    assert str(found.tolist()) == str(expected)


def test_missing_votes_among_whole_numbers():
    """A sub-model that skipped rows gives floats beside the others' ints."""
    found = combined("vote", np.array([7, 8]), np.array([NAN, 9.0]))

    assert found.tolist() == [7.0, 8.0]


def test_times():
    """Times are voted on too, NaT being none."""
    times = [np.array([time], "M8[ns]") for time in ("NaT", "2013-01-01", "2013-01-02", "2013-01-02")]

    assert combined("vote", *times).tolist() == times[-1].tolist()
    assert np.isnat(combined("vote", times[0], times[0])).all()


def test_one_voter():
    """A vote of one is its answer."""
    assert combined("vote", ["a", "b"]).tolist() == ["a", "b"]


def test_probabilities_cannot_be_voted_on():
    """Rows of several answers are refused."""
    with pytest.raises(ConfigError, match="only one answer per row can be voted on, and these have 3"):
        made("combiner", kind="vote", of=["a"]).answer_type("double", 3)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=4, max_size=4), min_size=1, max_size=8),
)
def test_votes_like_a_counter(rows):
    """Any votes are counted as Python's Counter counts them, which keeps the order of those that came first."""
    answers = [np.array([row[at] for row in rows], object) for at in range(4)]
    counted = [Counter(vote for vote in row if vote is not None).most_common(1) for row in rows]

    assert combined("vote", *answers).tolist() == [top[0][0] if top else None for top in counted]


@pytest.mark.parametrize("kind", ["mean", "median", "weighted"])
def test_types_that_are_no_numbers(kind):
    """Of numbers it makes doubles; text, booleans and times are refused, with what would do."""
    options = {"weights": [1]} if kind == "weighted" else {}
    combiner = made("combiner", kind=kind, of=["a"], **options)

    assert {combiner.answer_type(one, 1) for one in ("integer", "long", "float", "double")} == {"double"}
    for one in ("boolean", "string", "datetime", "binary"):
        with pytest.raises(ConfigError, match=f"answers of type {one} cannot be combined as numbers") as caught:
            combiner.answer_type(one, 1)
        assert caught.value.hint == "kind: vote takes the most frequent answer."


@pytest.mark.parametrize(("kind", "what"), [("vote", "cannot be voted on"), ("mean", "cannot be combined as numbers")])
def test_lists_are_not_combined(kind, what):
    """No cure is told that does not help."""
    with pytest.raises(ConfigError, match=f"answers that are lists or objects {what}") as caught:
        made("combiner", kind=kind, of=["a"]).answer_type('{"items":{"type":"double"},"type":"array"}', 0)

    assert not caught.value.hint


def test_votes_keep_the_type():
    """The answer of a vote is one of the answers."""
    combiner = made("combiner", kind="vote", of=["a"])

    assert [combiner.answer_type(kind, 1) for kind in ("string", "long", "boolean")] == ["string", "long", "boolean"]


@pytest.mark.parametrize("kind", ["mean", "median", "vote", "weighted"])
@pytest.mark.parametrize(
    ("of", "found"),
    [
        pytest.param([], "at.of: it names no sub-models; list the ids whose answers are combined.", id="none"),
        pytest.param(["a", "b", "a"], "at.of: duplicate 'a'.", id="twice"),
        pytest.param(
            [7],
            f"at.of[0]: input should be a valid string.\n  YAML read this as int 7; {errors.QUOTE}.",
            id="int",
        ),
    ],
)
def test_wrong_ids(kind, of, found):
    """Every combiner needs ids, each once."""
    options = {"weights": [1.0] * len(of)} if kind == "weighted" and of else {}

    assert found in problems("combiner", kind=kind, of=of, **options)


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        pytest.param(
            None,
            "at.weights: there are 0 weights for 2 sub-models; write one for each, in order.",
            id="left-out",
        ),
        pytest.param(
            [1], "at.weights: there are 1 weights for 2 sub-models; write one for each, in order.", id="too-few"
        ),
        pytest.param([0, 0.0], "at.weights: all weights are 0.", id="zero"),
        pytest.param([1, -1], "at.weights[1]: input should be greater than or equal to 0.", id="negative"),
        pytest.param([1, INF], "at.weights[1]: input should be a finite number.", id="inf"),
        pytest.param([NAN, 1], "at.weights[0]: input should be a finite number.", id="nan"),
        pytest.param([1, "2"], "at.weights[1]: input should be a valid number.", id="text"),
        pytest.param([1, True], "at.weights[1]: input should be a valid number.", id="bool"),
    ],
)
def test_wrong_weights(weights, found):
    """One number of 0 or more for each sub-model, and not only zeros."""
    given_ = {} if weights is None else {"weights": weights}

    assert problems("combiner", kind="weighted", of=["a", "b"], **given_) == [found]
