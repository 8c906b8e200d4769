"""What a router does, as lines of JSON in the log."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from mmeframe.errors import ModelError
from mmeframe.plugin import BatchEvent, ErrorEvent, EvictEvent, LoadEvent, Observer, ShadowEvent
from mmeframe.testing import ObserverCase, ObserverConformance
from tests.builtin.options import made, problems

BATCH = BatchEvent(3, 0.01234567, {"day_0": 2, "day_1": 1}, {"exact": 3})


@pytest.mark.process
@pytest.mark.smoke
class TestLog(ObserverConformance):
    """What every observer promises."""

    cases = (ObserverCase("log"), ObserverCase("log", options={"every": 3, "level": "warning"}))


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG, "mmeframe.observer")
    return caplog


def observer(**options: Any) -> Observer:
    return made("observer", kind="log", **options)


def lines(log: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    assert all("\n" not in record.getMessage() for record in log.records)
    return [json.loads(record.getMessage(), parse_constant=pytest.fail) for record in log.records]


def shadow(answers: Any, others: Any) -> ShadowEvent:
    return ShadowEvent("day_0", "day_0~new", "new", len(answers), 0.5, np.asarray(answers), np.asarray(others))


def test_a_batch(log):
    """Who answered how many rows, why, and how long it took."""
    observer().on_batch(BATCH)

    assert lines(log) == [
        {
            "event": "batch",
            "rows": 3,
            "seconds": 0.012346,
            "models": {"day_0": 2, "day_1": 1},
            "reasons": {"exact": 3},
        }
    ]


def test_counts_of_numpy(log):
    """Counts may be numpy's."""
    observer().on_batch(BatchEvent(np.int64(1), np.float64(0.5), {"m": np.int64(1)}, {"exact": np.int32(1)}))

    assert lines(log)[0]["models"] == {"m": 1}


def test_a_load(log):
    """A sub-model that came into memory."""
    observer().on_load(LoadEvent("día\n0", 1.5, 2048))

    assert lines(log) == [{"event": "load", "model_id": "día\n0", "seconds": 1.5, "bytes": 2048}]


def test_an_eviction(log):
    """A sub-model that left memory."""
    observer().on_evict(EvictEvent("m", 2048, "budget"))

    assert lines(log) == [{"event": "evict", "model_id": "m", "bytes": 2048, "reason": "budget"}]


def test_an_error_without_its_text(log):
    """A library's text may hold rows: only the type of the error is told."""
    observer().on_error(ErrorEvent("day_0", 3, ModelError("row s3cr3t"), shadow=True))

    assert lines(log) == [{"event": "error", "model_id": "day_0", "rows": 3, "error": "ModelError", "shadow": True}]
    assert "s3cr3t" not in log.text


@pytest.mark.parametrize(
    ("answers", "others", "facts"),
    [
        pytest.param(
            [1.0, 2.0], [1.5, 2.0], {"one_missing": 0, "mean_difference": 0.25, "max_difference": 0.5}, id="floats"
        ),
        pytest.param([1, 5], [3, 5], {"one_missing": 0, "mean_difference": 1.0, "max_difference": 2.0}, id="ints"),
        pytest.param(
            [1.0, np.nan, np.nan],
            [2.0, np.nan, 3.0],
            {"one_missing": 1, "mean_difference": 1.0, "max_difference": 1.0},
            id="missing",
        ),
        pytest.param(
            [np.nan],
            [1.0],
            {"one_missing": 1, "mean_difference": None, "max_difference": None},
            id="nothing-to-compare",
        ),
        pytest.param(
            [np.inf, 1.0], [np.inf, 1.0], {"one_missing": 0, "mean_difference": 0.0, "max_difference": 0.0}, id="inf"
        ),
        pytest.param(
            [np.inf], [1.0], {"one_missing": 0, "mean_difference": "inf", "max_difference": "inf"}, id="infinitely-far"
        ),
        pytest.param(
            [1e308], [-1e308], {"one_missing": 0, "mean_difference": "inf", "max_difference": "inf"}, id="too-far"
        ),
        pytest.param(
            [[0.25, 0.75]],
            [[0.5, 0.5]],
            {"one_missing": 0, "mean_difference": 0.25, "max_difference": 0.25},
            id="probabilities",
        ),
        pytest.param(["a", "b", "c"], ["a", "b", "x"], {"one_missing": 0, "equal_share": 0.666667}, id="text"),
        pytest.param([True, False], [True, True], {"one_missing": 0, "equal_share": 0.5}, id="bools"),
        pytest.param(
            np.array(["a", None, None], object),
            np.array(["a", None, "b"], object),
            {"one_missing": 1, "equal_share": 0.666667},
            id="missing-text",
        ),
        pytest.param(["a", "1"], [1, 1], {"one_missing": 0, "equal_share": 0.0}, id="text-and-numbers"),
        pytest.param([1.0, 2.0], [[1.0, 2.0]], {"shapes": [[2], [1, 2]]}, id="other-shapes"),
        pytest.param([], [], {"one_missing": 0, "mean_difference": None, "max_difference": None}, id="no-rows"),
    ],
)
def test_a_shadow(log, answers, others, facts):
    """How far the shadow's answers are from those that the caller got, and none of the answers."""
    observer().on_shadow(shadow(answers, others))

    assert lines(log) == [
        {
            "event": "shadow",
            "model_id": "day_0",
            "shadow_id": "day_0~new",
            "arm": "new",
            "rows": len(answers),
            "seconds": 0.5,
            **facts,
        }
    ]


def test_every_third_batch(log):
    """With ``every: 3`` two of three batches are not told; all else is."""
    one = observer(every=3)
    for rows in range(1, 8):
        one.on_batch(BatchEvent(rows, 0.0, {}, {}))
        one.on_load(LoadEvent("m", 0.0, 1))

    assert [line["rows"] for line in lines(log) if line["event"] == "batch"] == [3, 6]
    assert sum(line["event"] == "load" for line in lines(log)) == 7


@pytest.mark.parametrize(("level", "number"), [("debug", 10), ("info", 20), ("warning", 30)])
def test_level(log, level, number):
    """All lines have the chosen level."""
    one = observer(level=level)
    one.on_batch(BATCH)
    one.on_load(LoadEvent("m", 0.0, 1))
    one.on_shadow(shadow([1.0], [2.0]))
    one.on_error(ErrorEvent("m", 1, ValueError(), shadow=False))

    assert [(record.name, record.levelno) for record in log.records] == [("mmeframe.observer", number)] * 4


def test_a_level_that_nobody_hears(log, monkeypatch):
    """Answers are not even compared when the line would go nowhere."""
    log.set_level(logging.WARNING, "mmeframe.observer")
    monkeypatch.setattr("mmeframe.builtin.log_observer._difference", pytest.fail)

    observer(level="info").on_shadow(shadow([1.0], [2.0]))

    assert log.records == []


def test_threads(log):
    """Batches of many threads are counted exactly."""
    one = observer(every=10)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: one.on_batch(BATCH), range(1000)))

    assert len(lines(log)) == 100


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"every": 0}, "at.every: input should be greater than or equal to 1."),
        ({"every": True}, "at.every: input should be a valid integer."),
        ({"level": "inf"}, "at.level: input should be 'debug', 'info' or 'warning'.\n  Did you mean 'info'?"),
    ],
)
def test_wrong_options(options, found):
    """Each mistake is told at its own path."""
    assert problems("observer", kind="log", **options) == [found]
