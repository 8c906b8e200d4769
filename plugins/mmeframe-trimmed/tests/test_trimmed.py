"""The combiner ``trimmed``: through its own methods, as the host calls them, and from config."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mmeframe import api
from mmeframe.errors import ProblemsError
from mmeframe.plugin import ConfigError
from mmeframe.plugin.components import make_component
from mmeframe.plugin.manager import load_plugins
from mmeframe.testing import CombinerCase, CombinerConformance
from scipy.stats import trim_mean

from mmeframe_trimmed.combiner import TrimmedCombiner, TrimmedConf

README = Path(__file__).parents[1] / "README.md"
NAN, INF = math.nan, math.inf

# No example database: the tests write nothing beside the code.
quick = settings(max_examples=200, deadline=None, database=None)


NUMBERS = np.random.default_rng(0).normal(size=(10, 24))


@pytest.mark.process
@pytest.mark.smoke
class TestConformance(CombinerConformance):
    """What every combiner promises: numbers, whole numbers and probabilities, with something cut and without."""

    cases = (
        CombinerCase("trimmed", answers=NUMBERS, id="default"),
        CombinerCase("trimmed", answers=NUMBERS, options={"cut": 0.3}, id="six-of-ten"),
        CombinerCase("trimmed", answers=NUMBERS[:3], options={"cut": 0.0}, id="nothing"),
        CombinerCase("trimmed", answers=np.arange(36).reshape(3, 12) % 7, options={"cut": 0.4}, id="whole-numbers"),
        CombinerCase("trimmed", answers=NUMBERS.reshape(5, 16, 3), options={"cut": 0.2}, id="probabilities"),
    )


def combined(*answers: Any, cut: float) -> np.ndarray:
    """The answers of so many sub-models, combined."""
    of = [f"m{number}" for number in range(len(answers))]
    return TrimmedCombiner(TrimmedConf(of=of, cut=cut)).combine([np.asarray(answer) for answer in answers])


@pytest.mark.parametrize(
    ("answers", "cut", "expected"),
    [
        pytest.param([[1], [2], [3], [4], [100]], 0.2, [3.0], id="one-at-each-end"),
        pytest.param([[9], [1], [2], [3], [-9]], 0.2, [2.0], id="in-any-order"),
        pytest.param([[1, 50], [2, 3], [30, 4], [3, 5], [4, 1]], 0.2, [3.0, 4.0], id="others-for-each-row"),
        pytest.param([[1], [2], [3], [4], [100]], 0.4, [3.0], id="all-but-the-middle"),
        pytest.param([[1], [2], [4], [100]], 0.49, [3.0], id="the-middle-of-an-even-number"),
        pytest.param([[1], [2], [4], [100]], 0.2, [26.75], id="too-few-to-leave-one-out"),
        pytest.param([[1], [9]], 0.49, [5.0], id="two"),
        pytest.param([[7]], 0.49, [7.0], id="one"),
        pytest.param([[1], [2], [6]], 0.0, [3.0], id="nothing-cut"),
        pytest.param([[[1, 6]], [[2, 5]], [[9, -8]]], 0.34, [[2.0, 5.0]], id="each-value-for-itself"),
        pytest.param([[1.0], [NAN], [3.0]], 0.34, [NAN], id="a-missing-answer"),
        pytest.param([[1.0, 1.0], [NAN, 2.0], [3.0, 9.0]], 0.34, [NAN, 2.0], id="missing-in-one-row"),
        pytest.param([[1.0], [INF], [-INF]], 0.34, [1.0], id="infinities-are-cut"),
        pytest.param([[1.0], [INF], [INF]], 0.34, [INF], id="more-infinities-than-are-cut"),
        pytest.param([[INF], [-INF]], 0.0, [NAN], id="infinities-against-one-another"),
    ],
)
def test_trimmed_means(answers, cut, expected):
    """``cut`` of the answers are left out at each end, whole ones only; a missing one is not left out silently."""
    found = combined(*answers, cut=cut)

    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("cut", "answers", "left_out"),
    [
        pytest.param(0.29, 100, 29, id="binary-would-make-it-28"),
        pytest.param(0.1, 30, 3, id="tenths"),
        pytest.param(0.1, 9, 0, id="less-than-one"),
        pytest.param(0.4999, 10_001, 4999, id="rounded-down"),
        pytest.param(1e-9, 10, 0, id="with-an-exponent"),
    ],
)
def test_how_many_are_left_out(cut, answers, left_out):
    """The share is counted as it was written. Of 0, 1, 2 ... without one end the mean is where the middle moved to."""
    low = combined(*([float(2**30)] for _ in range(left_out)), *([0.0] for _ in range(answers - left_out)), cut=cut)
    more = [[float(2**30)]] * (left_out + 1) + [[0.0]] * (answers - left_out - 1)

    assert low == [0.0]
    assert combined(*more, cut=cut) > [0.0]


@quick
@given(
    rows=st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n), min_size=1, max_size=24)
    ),
    cut=st.sampled_from([0.0, 0.125, 0.25, 0.375]),
)
def test_it_is_what_scipy_answers(rows, cut):
    """With shares that binary numbers hold exactly there is no difference to ``scipy.stats.trim_mean``."""
    np.testing.assert_allclose(combined(*rows, cut=cut), trim_mean(np.array(rows), cut), rtol=1e-12, atol=1e-6)


@quick
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=15),
    st.randoms(),
)
def test_the_order_of_the_sub_models_changes_nothing(answers, random):
    """Not even the last bit."""
    shuffled = random.sample(answers, len(answers))

    assert combined(*([it] for it in answers), cut=0.2) == combined(*([it] for it in shuffled), cut=0.2)


def test_a_row_alone_has_the_same_bits():
    """The last bit of a row does not depend on how many rows there are."""
    answers = np.random.default_rng(0).normal(size=(19, 300))

    whole = combined(*answers, cut=0.1)

    assert [combined(*answers[:, row : row + 1], cut=0.1)[0] for row in range(300)] == whole.tolist()


def test_what_was_answered_stays_as_it_was():
    """The sub-models' own arrays are not sorted: others may read them."""
    answers = [np.array([3.0]), np.array([1.0]), np.array([2.0])]

    TrimmedCombiner(TrimmedConf(of=["a", "b", "c"], cut=0.34)).combine(answers)

    assert [answer.tolist() for answer in answers] == [[3.0], [1.0], [2.0]]


def test_missing_among_objects():
    """None, as ``on_error: skip`` leaves it, is missing."""
    found = combined(np.array([1.0, None], object), [1.0, 2.0], [1.0, 2.0], cut=0.34)

    assert np.isnan(found).tolist() == [False, True]


def test_no_rows():
    """No rows have no answers."""
    assert combined(np.empty(0), np.empty(0), cut=0.1).shape == (0,)
    assert combined(np.empty((0, 3)), np.empty((0, 3)), cut=0.1).shape == (0, 3)


def test_types_of_answers():
    """Numbers become doubles; text, booleans and times are refused, with what would do."""
    combiner = TrimmedCombiner(TrimmedConf(of=["a"]))

    assert {combiner.answer_type(kind, 1) for kind in ("integer", "long", "float", "double")} == {"double"}
    for kind in ("boolean", "string", "datetime", "binary"):
        with pytest.raises(ConfigError, match=f"answers of type {kind} cannot be combined as numbers") as caught:
            combiner.answer_type(kind, 1)
        assert caught.value.hint == "kind: vote takes the most frequent answer."


# -- as a plugin ---------------------------------------------------------------


def test_the_installed_plugin_is_found():
    """The entry point is loaded without a fault, and offers one combiner."""
    (info,) = [plugin for plugin in load_plugins().plugins if plugin.distribution == "mmeframe-trimmed"]

    assert (info.name, info.module, info.version) == ("trimmed", "mmeframe_trimmed.plugin", "0.1.0")
    assert (info.status, info.reason) == ("ok", "")
    assert info.provides == {"combiner": ["trimmed"]}


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        pytest.param("0.5", "input should be less than 0.5", id="all"),
        pytest.param("-0.1", "input should be greater than or equal to 0", id="negative"),
        pytest.param(".nan", "input should be", id="nan"),
        pytest.param("a lot", "input should be a valid number", id="text"),
    ],
)
def test_options_are_checked_with_the_config(cut, text):
    """A wrong share is a problem of the config that names it, before anything is read."""
    combine = f"{{kind: trimmed, of: [a], cut: {cut}}}"
    with pytest.raises(ProblemsError) as caught:
        api.compose(
            "name=x",
            "routing.levels=[[]]",
            "+models.a={uri: x, key: none}",
            f"+models.all={{key: {{}}, combine: {combine}}}",
        )

    (problem,) = caught.value.problems
    assert problem.where == "models.all.combine.cut"
    assert text in problem.what


# -- the README ----------------------------------------------------------------


@pytest.mark.build
def test_the_example_of_the_readme_works(tmp_path, monkeypatch):
    """The README's config is a router over five registered models, and its answers are their trimmed mean."""
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.dummy import DummyRegressor

    monkeypatch.chdir(tmp_path)
    (config,) = re.findall(r"^```yaml\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    experiment = Path("conf/experiment/price.yaml")
    experiment.parent.mkdir(parents=True)
    experiment.write_text(config, encoding="utf-8")
    rows = pd.DataFrame({"x": [1.0, 2.0]})
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    for number, price in enumerate([10.0, 11.0, 12.0, 13.0, 1000.0], start=1):
        model = DummyRegressor(strategy="constant", constant=price).fit(rows, [0.0, 0.0])
        name = f"price_{number}"
        info = mlflow.sklearn.log_model(
            model,
            name=name,
            signature=infer_signature(rows, model.predict(rows)),
            pip_requirements=["scikit-learn"],
            registered_model_name=name,
            serialization_format="cloudpickle",
        )
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", info.registered_model_version)

    logged = api.build("experiment=price", config_dirs=["conf"])

    assert yaml.safe_load(config)["models"]["all"]["combine"]["cut"] == 0.2
    assert api.load_router(logged.model_uri).predict(rows).tolist() == [12.0, 12.0]


def test_the_readme_lists_every_option():
    """No option is without a row in the README's table."""
    table = README.read_text(encoding="utf-8").split("## Options")[1].split("##")[0]

    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(vars(TrimmedConf()))


def test_what_is_recorded_can_be_made():
    """The bundle stores kind, class and options; a served router makes the combiner of them."""
    spec = api.compose(
        "name=x",
        "routing.levels=[[]]",
        "+models.a={uri: x, key: none}",
        "+models.all={key: {}, combine: {kind: trimmed, of: [a], cut: 0.25}}",
    )

    (entry,) = [model for model in spec.models if model.combine]
    combiner = make_component(entry.combine)

    assert entry.combine.to_json() == {
        "kind": "trimmed",
        "target": "mmeframe_trimmed.combiner:TrimmedCombiner",
        "config": "mmeframe_trimmed.combiner:TrimmedConf",
        "options": {"of": ["a"], "cut": 0.25},
    }
    assert combiner.combine([np.array([1.0])]).tolist() == [1.0]
