"""A fleet that cannot answer never becomes a router: whatever rows can reach is asked before anything is registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import convert_input_example_to_serving_input
from mlflow.models.utils import _enforce_schema
from mlflow.types.schema import Array, ColSpec, DataType, Map, Object, Property, Schema
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from mmeframe import api
from mmeframe.errors import ProblemsError
from mmeframe.fleet.examples import fresh, made_up, same
from mmeframe.fleet.signature import read_columns
from mmeframe.plugin import Combiner, CombinerConf, CombinerPlugin, hookimpl
from mmeframe.plugin.manager import isolated_plugins
from tests import fleets
from tests.conftest import Store

ROUTED = ("routing=column", "routing.column=key")
ROWS = fleets.rows(6)[["x1", "x2"]]

OWN = '''
import datetime
import os
from sklearn.base import BaseEstimator

class Own(BaseEstimator):
    """Sums x1 and x2 as its kind says."""
    def __init__(self, kind="good"):
        self.kind = kind
    def fit(self, X, y=None):
        return self
    def predict(self, X):
        return getattr(self, self.kind)(X)
    def good(self, X):
        return X["x1"].to_numpy() + X["x2"].to_numpy()
    def raises(self, X):
        raise ValueError("no luck\\nwith these rows")
    def exits(self, X):
        raise SystemExit(0)
    def short(self, X):
        return self.good(X)[1:]
    def wide(self, X):
        return X[["x1", "x2"]].to_numpy()
    def random(self, X):
        return self.good(X) + int.from_bytes(os.urandom(4), "big")
    def only_its_own(self, X):
        if not (X["x1"] == 4242.5).all():
            raise ValueError("cannot take " + str(list(X["x1"])))
        return self.good(X)
    def tells(self, X):
        raise ValueError("cannot take " + str(list(X["x1"])))
    def numbers_as_text(self, X):
        return X["t"].astype(float).to_numpy()
    def dates_as_text(self, X):
        return X["t"].map(lambda text: float(datetime.date.fromisoformat(text).day)).to_numpy()
    def not_zero(self, X):
        if (X["x1"] == 0).any():
            raise ZeroDivisionError("a row is zero")
        return 1 / X["x1"].to_numpy()
    def bytes_(self, X):
        return X["b"].map(lambda it: float(len(it.decode()))).to_numpy()
    def one_row(self, X):
        (row,) = X["x1"]
        return [row]
    def empties(self, X):
        return X["l"].map(lambda it: it.pop() + 0.0).to_numpy()
    def lists(self, X):
        return X["l"].map(sum).to_numpy()
    def objects(self, X):
        return X["o"].map(lambda it: float(it["a"]) + len(it["b"])).to_numpy()
'''


@dataclass
class OddConf(CombinerConf):
    pass


class Odd(Combiner[OddConf]):
    """Answers with a row too few."""

    def combine(self, answers):
        return answers[0][1:]


class OddPlugin:
    @hookimpl
    def mmeframe_combiners(self):
        return [CombinerPlugin("odd", OddConf, f"{__name__}:Odd", "a row too few")]


@pytest.fixture(scope="module")
def own(importable: Callable[..., Any]) -> Any:
    return importable("own_unanswering", OWN)


@pytest.fixture(scope="module")
def keep_own(keep: Callable[..., str], own: Any) -> Callable[..., str]:
    """Save an estimator of a kind, which declares one double: (kind, rows=ROWS, **options) -> path."""

    def save(kind: str, rows: pd.DataFrame = ROWS, **options: Any) -> str:
        return keep(own.Own(kind), rows, np.zeros(len(rows)), **options)

    return save


@pytest.fixture
def refused(module_store: Store) -> Callable[..., list[str]]:
    """Build and be refused: (*overrides) -> where and what of each problem. Nothing is registered or left."""

    def build(*overrides: str, plugins: Any = None) -> list[str]:
        with pytest.raises(ProblemsError) as caught:
            api.build("name=refused", *ROUTED, *overrides, module_store.override, plugins=plugins or fleets.plugins())
        client = mlflow.MlflowClient(module_store.uri)
        assert not client.search_registered_models("name = 'refused'")
        assert not client.search_logged_models(["0"], "name = 'refused'")
        assert all(problem.hint for problem in caught.value.problems)
        return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]

    return build


def model(id_: str, path: str, more: str = "") -> str:
    return f"+models.{id_}={{uri:'{path}'{more}}}"


NO_LUCK = "it answered none of its probe rows: ValueError: no luck with these rows."


@pytest.mark.build
def test_all_that_never_answer_are_one_report(refused, keep_own):
    """By a key, in an arm, as a shadow, for a gate and in a combination; the library's reason in one line."""
    bad, good = keep_own("raises"), keep_own("good")

    found = refused(
        model("a", good),
        model("by_key", bad),
        model("variant", bad, ",key:{key:a},arm:canary"),
        "+traffic.arms.canary=0.5",
        model("shadow", bad, ",key:{key:a},arm:next"),
        "+traffic.shadow=[next]",
        "+observer@observers.log=log",
        model("member", bad, ",key:none"),
        "+models.pair.combine={kind:mean,of:[a,member]}",
    )

    assert found == [f"models.{id_}: {NO_LUCK}" for id_ in ("by_key", "member", "shadow", "variant")]


@pytest.mark.build
def test_a_gate_that_never_answers(keep_own):
    """Without its gate a router knows no key."""
    with pytest.raises(ProblemsError, match=r"models\.gate: it answered none of its probe rows"):
        api.build(
            "name=refused",
            "routing=gate",
            "routing.model=gate",
            model("gate", keep_own("raises"), ",key:none"),
            model("a", keep_own("good")),
            plugins=fleets.plugins(),
        )


@pytest.mark.build
def test_all_that_answer_in_another_shape_are_one_report(refused, keep_own):
    """A row too few, a value too many, a combiner of a wrong shape, and answers that are not twice the same."""
    good = keep_own("good")

    found = refused(
        model("a", good),
        model("b", good),
        model("short", keep_own("short")),
        model("wide", keep_own("wide")),
        model("random", keep_own("random")),
        "+models.odd.combine={kind:odd,of:[a,b]}",
        plugins=isolated_plugins(OddPlugin()),
    )

    assert found == [
        "models.random: the router answers differently from the sub-model's own files.",
        "models.short: the router cannot ask it: it gave 2 answers for 3 rows.",
        "models.wide: it returned 2 values per row; its signature declares 1.",
        "models.odd: it answered none of its probe rows: it gave 2 answers for 3 rows.",
    ]


@pytest.mark.build
def test_one_that_ends_the_process(refused, keep_own):
    """A build does not end with it, which would look like success."""
    assert refused(model("a", keep_own("exits"))) == ["models.a: it answered none of its probe rows: SystemExit: 0."]


def test_another_method_that_never_answers(refused, keep_own):
    """Before anything is packed: its answers are not known either."""
    found = refused(model("a", keep_own("good")), "output.method=raises")

    assert found == ["models.a: its raises refused the example rows (ValueError: no luck with these rows)."]


@pytest.mark.build
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(["+models.a.prove=false"], id="entry"),
        pytest.param(["model_defaults.prove=false"], id="default"),
        pytest.param(["model_defaults.prove=false", "+models.b.prove=true"], id="entry-over-default"),
    ],
)
def test_what_need_not_be_proved_is_built_in(module_store, keep_own, said, request):
    """The build says what it could not see; other sub-models are proved all the same."""
    models = (f"+models.a={{uri:'{keep_own('raises')}'}}", f"+models.b={{uri:'{keep_own('good')}'}}")
    name = f"name=unproved_{request.node.callspec.id}"

    logged = api.build(name, *ROUTED, *models, *said, module_store.override, plugins=fleets.plugins())

    unproved = (
        "a: it answered none of its probe rows: ValueError: no luck with these rows; it is included all the same, "
        "because of prove=false"
    )
    assert [note for note in logged.notes if "made-up" not in note] == [f"{unproved}."]


@pytest.mark.parametrize(
    ("said", "proved"),
    [
        pytest.param([], True, id="nothing"),
        pytest.param(["+sources.f.prove=false"], False, id="source"),
        pytest.param(["model_defaults.prove=false"], False, id="default"),
        pytest.param(["model_defaults.prove=false", "+sources.f.prove=true"], True, id="source-over-default"),
        pytest.param(["+sources.f.prove=false", "+models.a.prove=true"], True, id="entry-over-source"),
        pytest.param(["+models.a.prove=false"], False, id="entry"),
    ],
)
def test_who_says_whether_it_is_proved(module_store, tmp_path, keep_own, said, proved):
    """The entry, else its source, else model_defaults; field by field, so that the source's URI stays."""
    (tmp_path / "a").symlink_to(keep_own("good"))
    source = ("+source@sources.f=folder", f"sources.f.path={tmp_path}", "sources.f.pattern='{key}'")

    fleet = api.validate("name=who", *ROUTED, *source, *said, module_store.override, plugins=fleets.plugins())

    assert [(model.id, model.prove) for model in fleet.models] == [("a", proved)]


@pytest.mark.build
def test_what_was_built_in_unproved_is_proved_once_that_is_wanted(module_store, keep_own):
    """A registered version that nobody has proved is no proof."""
    config = ("name=later", *ROUTED, model("a", keep_own("raises")), module_store.override)
    api.build(*config, "+models.a.prove=false", plugins=fleets.plugins())

    with pytest.raises(ProblemsError, match="none of its probe rows"):
        api.build(*config, plugins=fleets.plugins())


TEXT = pd.DataFrame({"t": ["1.5", "2.5"]})
DATES = pd.DataFrame({"t": ["2020-02-01", "2020-03-05"]})
BYTES = pd.DataFrame({"b": [b"one", b"three"]})
LISTS = pd.DataFrame({"l": [[1.0, 2.0], [3.0]]})
OBJECTS = pd.DataFrame({"o": [{"a": 1, "b": ["x"]}, {"a": 2, "b": ["y", "z"]}]})


@pytest.mark.build
@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        pytest.param("numbers_as_text", TEXT, id="numbers-as-text"),
        pytest.param("dates_as_text", DATES, id="dates-as-text"),
        pytest.param("not_zero", ROWS, id="no-zeros"),
        pytest.param("one_row", ROWS, id="one-row"),
        pytest.param("bytes_", BYTES, id="bytes"),
        pytest.param("lists", LISTS, id="lists"),
        pytest.param("objects", OBJECTS, id="objects"),
        pytest.param("empties", LISTS, id="empties-what-it-gets"),
    ],
)
def test_honest_models_that_refuse_some_made_up_rows(make, keep_own, kind, rows):
    """Several kinds of values are tried; one that is taken is enough."""
    router = make(*ROUTED, model("a", keep_own(kind, rows)), name=f"honest_{kind}", notes=None)

    assert len(router.predict(rows.iloc[[1]].assign(key="a"))) == 1


SHOPS = pd.DataFrame({"shop": ["berlin", "paris", "rome"] * 4, "size": ["S", "L"] * 6, "x1": np.arange(12.0)})
CODED = ["shop", "size"]


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(make_pipeline(OneHotEncoder(), Ridge()), id="pipeline"),
        pytest.param(make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder(), Ridge()), id="imputed"),
        pytest.param(
            make_pipeline(make_column_transformer((OneHotEncoder(), CODED), remainder="passthrough"), Ridge()),
            id="some-columns",
        ),
        pytest.param(
            make_pipeline(
                make_column_transformer(
                    (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["shop"]),
                    (OrdinalEncoder(), ["size"]),
                    (StandardScaler(), ["x1"]),
                ),
                GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2),
            ),
            id="nested",
        ),
        pytest.param(
            GridSearchCV(make_pipeline(OneHotEncoder(), Ridge()), {"ridge__alpha": [1.0]}, cv=2), id="searched"
        ),
    ],
)
@pytest.mark.parametrize("loader", ["auto", "pyfunc"])
def test_encoders_that_know_only_their_own_categories(module_store, keep, estimator, loader, request):
    """scikit-learn's default: whatever else is made up, is refused."""
    columns = [*CODED, "x1"] if request.node.callspec.id.split("-", 1)[1] in ("some-columns", "nested") else CODED
    path = keep(clone(estimator).fit(SHOPS[columns], SHOPS["x1"]), SHOPS[columns])
    name = f"name=coded_{len(request.node.callspec.id)}"

    fleet = api.validate(
        name,
        *ROUTED,
        model("a", path, f",loader:{loader}"),
        "+models.b.combine={kind:mean,of:[a]}",
        "validate.load=true",
        module_store.override,
        plugins=fleets.plugins(),
    )

    assert [note.split(":")[0] for note in fleet.warnings] == ["the router refused its made-up input example"]


@pytest.mark.build
def test_models_that_only_take_what_they_were_logged_with(make, keep_own):
    """The recorded example is enough, for a combination of them too; and again when nothing of them has changed."""
    example = pd.DataFrame({"x1": [4242.5, 4242.5], "x2": [1.0, 2.0]})
    one, two = (keep_own("only_its_own", example, input_example=example) for _ in range(2))
    config = (*ROUTED, model("a", one), model("b", two), "+models.c.combine={kind:mean,of:[a,b]}")

    for _ in range(2):
        router = make(*config, "output.annotate=true", name="picky", notes=None)

    assert router.predict(example.assign(key="c"))["prediction"].tolist() == [4243.5, 4244.5]


@pytest.mark.build
def test_no_row_that_was_logged_is_shown(refused, keep_own):
    """The reason is about made-up rows, whatever the model has told of its own."""
    example = pd.DataFrame({"x1": [31337.25], "x2": [1.0]})

    found = refused(model("a", keep_own("tells", example, input_example=example)))

    assert found == ["models.a: it answered none of its probe rows: ValueError: cannot take [0.0, 1.0, 0.5]."]


PLAIN = st.sampled_from([kind for kind in DataType if kind.name != "binary"] + [DataType.binary])
TYPES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        inner.map(Array),
        inner.map(Map),
        st.dictionaries(st.sampled_from(["a", "b c", "d"]), st.tuples(inner, st.booleans()), min_size=1).map(
            lambda found: Object([Property(name, kind, required) for name, (kind, required) in found.items()])
        ),
    ),
    max_leaves=4,
)


@given(st.lists(TYPES, min_size=1, max_size=3))
def test_made_up_rows_have_the_declared_types(types):
    """MLflow's own enforcement takes every try, whatever types a signature has."""
    schema = Schema([ColSpec(kind, f"c{number}") for number, kind in enumerate(types)])
    columns = read_columns(schema)
    assert not isinstance(columns, str)

    for rows in made_up(columns):
        # MLflow converts values inside of lists where they are.
        assert len(_enforce_schema(fresh(rows.frame), schema)) in (1, 3)
        assert convert_input_example_to_serving_input(fresh(rows.frame))
        assert not rows.frame.isna().any(axis=None)
        # pandas' type of texts and times does not depend on the columns beside them.
        alone = [next(made_up([column])).frame.dtypes.iloc[0] for column in columns]
        assert rows.frame.dtypes.tolist() == alone


NESTED: dict[str, Callable[[float], Any]] = {
    "arrays": lambda x: [np.array([1.0, x]), np.array([2.0])],
    "lists": lambda x: [[1.0, x], [float("nan")]],
    "objects": lambda x: [{"a": {"b": [x, None]}}, None],
    "texts-and-numbers": lambda x: ["a", x],
}


@pytest.mark.parametrize("made", NESTED.values(), ids=NESTED)
def test_answers_with_values_inside_are_compared(made):
    """Nulls equal nulls, and numbers may differ in their last bits, however deep they are."""
    one, close, other = (pd.Series(made(x), dtype=object) for x in (0.5, 0.5 + 1e-13, 0.6))

    assert same(one, close)
    assert same(one.to_frame("x"), close.to_frame("x"))
    assert not same(one, other)
