"""Models that were fitted on pandas' categories answer behind a router as they did in the notebook."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import catboost
import cloudpickle
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from mmeframe import api
from mmeframe.builtin._fitted import as_fitted
from mmeframe.errors import ModelError, ProblemsError
from mmeframe.runtime import Router
from mmeframe.spec import Column
from mmeframe.testing import LoaderCase
from mmeframe.testing.checks.loader import files_of
from mmeframe.testing.new_process import Files
from tests import flavors, fleets
from tests.conftest import Store

N = 120
RANDOM = np.random.default_rng(3)
ROUTED = ("routing=column", "routing.column=key")
QUIET = {"verbose": -1, "min_child_samples": 2, "n_estimators": 3, "num_threads": 1}
CAT = {"iterations": 3, "verbose": False, "allow_writing_files": False, "thread_count": 1}

# Kind of category -> its values, in an order that is neither that of the alphabet nor that of the rows.
KINDS = {
    "text": pd.Categorical(RANDOM.choice(["b", "a", "c"], N), ["c", "b", "a"]),
    "digits": pd.Categorical(RANDOM.choice(["10", "2", "007"], N), ["2", "007", "10"]),
    "whole": pd.Categorical(RANDOM.choice([10, 2, 5], N), [10, 2, 5]),
    "boolean": pd.Categorical(RANDOM.choice([True, False], N), [True, False]),
    "ordered": pd.Categorical(RANDOM.choice(["low", "mid", "high"], N), ["low", "mid", "high"], ordered=True),
    "ordered_whole": pd.Categorical(RANDOM.choice([30, 10, 20], N), [30, 20, 10], ordered=True),
    "floating": pd.Categorical(RANDOM.choice([0.5, 1.25], N), [1.25, 0.5]),
}
ALL = pd.DataFrame({**KINDS, "x": RANDOM.standard_normal(N), "y": RANDOM.standard_normal(N)})
Fit = Callable[[pd.DataFrame, Any, str], Any]


def booster(table: pd.DataFrame, y: Any, _: str) -> Any:
    return xgboost.train({"nthread": 1}, xgboost.DMatrix(table, y, enable_categorical=True), 3)


def encoded(encoder: Any) -> Any:
    chosen = make_column_selector(dtype_include="category")
    return make_pipeline(make_column_transformer((encoder, chosen), remainder="passthrough"), Ridge())


def xgb() -> Any:
    return xgboost.XGBRegressor(n_estimators=3, n_jobs=1, enable_categorical=True)


def lgb() -> Any:
    return lightgbm.LGBMRegressor(**QUIET)


def formula(table: pd.DataFrame, y: Any, kind: str) -> Any:
    import statsmodels.formula.api

    return statsmodels.formula.api.ols(f"target ~ {kind} + x", table.assign(target=y)).fit()


# Name -> flavor, how it is fitted.
MODELS: dict[str, tuple[str, Fit]] = {
    "xgb_booster": ("xgboost", booster),
    "xgb": ("xgboost", lambda table, y, _: xgb().fit(table, y)),
    "xgb_pipeline": ("sklearn", lambda table, y, _: make_pipeline("passthrough", xgb()).fit(table, y)),
    "lgb_booster": ("lightgbm", lambda table, y, _: lightgbm.train(QUIET, lightgbm.Dataset(table, y))),
    "lgb": ("lightgbm", lambda table, y, _: lgb().fit(table, y)),
    "lgb_as_sklearn": ("sklearn", lambda table, y, _: lgb().fit(table, y)),
    "lgb_pipeline": ("sklearn", lambda table, y, _: make_pipeline("passthrough", lgb()).fit(table, y)),
    "lgb_search": ("sklearn", lambda table, y, _: GridSearchCV(lgb(), {"num_leaves": [3, 7]}, cv=2).fit(table, y)),
    "cat": ("catboost", lambda table, y, kind: catboost.CatBoostRegressor(**CAT, cat_features=[kind]).fit(table, y)),
    "hist": ("sklearn", lambda table, y, _: HistGradientBoostingRegressor(max_iter=3).fit(table, y)),
    "one_hot": ("sklearn", lambda table, y, _: encoded(OneHotEncoder(handle_unknown="ignore")).fit(table, y)),
    "ordinal": (
        "sklearn",
        lambda table, y, _: encoded(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)).fit(table, y),
    ),
    "formula": ("statsmodels", formula),
}
# Which kinds are tried with which model. XGBoost takes no categories of booleans and floats, CatBoost none of floats.
TRIED = {
    "xgb_booster": ["text", "digits", "whole", "ordered", "ordered_whole"],
    "xgb": ["text", "whole", "ordered"],
    "lgb_booster": list(KINDS),
    "lgb": ["text", "boolean", "ordered_whole"],
    "cat": ["text", "whole", "boolean", "ordered"],
    **{name: ["text", "ordered_whole"] for name in ("xgb_pipeline", "lgb_as_sklearn", "lgb_pipeline", "lgb_search")},
    **{name: ["digits", "whole"] for name in ("hist", "one_hot", "ordinal", "formula")},
}
CASES = [(kind, name) for name, kinds in TRIED.items() for kind in kinds]


def uris(paths: dict[str, str]) -> str:
    return f"+models={{{','.join(f'{id_}:{{uri:{path}}}' for id_, path in paths.items())}}}"


@pytest.fixture(scope="module")
def fitted() -> dict[str, tuple[str, Any]]:
    """Id -> kind, and a model of its category, ``x`` and ``y``."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, name in CASES:
            table = ALL[["y", kind, "x"]]
            target = table[kind].cat.codes * 2.0 + table["x"]
            found[f"{kind}_{name}"] = kind, MODELS[name][1](table, target, kind)
    return found


@pytest.fixture(scope="module")
def router(module_store: Store, fitted: dict[str, tuple[str, Any]]) -> Router:
    """All of them in one router."""
    paths = {}
    for kind, name in CASES:
        table = ALL[["y", kind, "x"]]
        # A formula takes only what it was fitted on, which nobody could make up.
        more = {"input_example": plain(table).head(3)} if name == "formula" else {}
        model = fitted[f"{kind}_{name}"][1]
        paths[f"{kind}_{name}"] = flavors.keep(module_store.folder, MODELS[name][0], model, table, **more)
    logged = api.build("name=categories", *ROUTED, uris(paths), module_store.override, plugins=fleets.plugins())
    return api.load_router(logged.model_uri, tracking_uri=module_store.uri)


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Values without categories, as JSON, CSV and Parquet have them."""
    return frame.assign(**{kind: np.asarray(frame[kind]) for kind in KINDS if kind in frame})


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    """Categories in another order, one of them unused."""
    return frame.assign(**{kind: frame[kind].cat.set_categories(sorted(frame[kind].cat.categories)) for kind in KINDS})


SENT = {
    "plain": plain,
    "as_they_were": lambda frame: frame,
    "other_categories": shuffled,
    "records": lambda frame: plain(frame).to_dict("records"),
}


@pytest.mark.parametrize("way", list(SENT))
def test_answers_are_those_on_the_fitted_frame(router, fitted, way):
    """Bit for bit, for every library and kind of category, in a batch where each row has another sub-model."""
    ids = list(fitted)
    rows = ALL.assign(key=[ids[at % len(ids)] for at in range(len(ALL))])

    answers = router.predict(SENT[way](rows))

    for id_, (kind, model) in fitted.items():
        mine = (rows["key"] == id_).to_numpy()
        np.testing.assert_array_equal(answers[mine], flavors.asked(model, ALL.loc[mine, ["y", kind, "x"]]), err_msg=id_)


def test_one_sub_model_answers_all_rows(router, fitted):
    """The same in batches of one sub-model."""
    for id_, (kind, model) in fitted.items():
        answers = router.predict(plain(ALL.head(9)).assign(key=id_))

        np.testing.assert_array_equal(answers, flavors.asked(model, ALL.head(9)[["y", kind, "x"]]), err_msg=id_)


@pytest.mark.parametrize(
    "id_",
    [
        "text_xgb",
        "text_xgb_booster",
        "text_xgb_pipeline",
        "text_lgb",
        "digits_lgb_booster",
        "text_lgb_search",
        "digits_hist",
    ],
)
def test_missing_and_unknown_texts_are_missing(router, fitted, id_):
    """A text that is none of the categories, and a null, are what a missing category is to the library."""
    kind, model = fitted[id_]
    values, known = ([*ALL[kind][:5], other] for other in ("never seen", None))
    values[1] = known[1] = None
    frame = plain(ALL.head(6)).assign(**{kind: values}, key=id_)

    answers = router.predict(frame)

    wanted = frame.assign(**{kind: pd.Categorical(known, KINDS[kind].categories)})[["y", kind, "x"]]
    np.testing.assert_array_equal(answers, flavors.asked(model, wanted))


# -- several categories, other columns, other orders -------------------------------------------------------------------

TWO = ALL[["ordered_whole", "x", "text", "boolean", "y"]].assign(
    count=RANDOM.integers(0, 9, N), flag=ALL["x"] > 0, single=ALL["y"].astype(np.float32) / 3
)
TARGET = TWO["text"].cat.codes * 2.0 + TWO["ordered_whole"].cat.codes + TWO["x"] + TWO["count"]


def loaded(folder: Path, flavor: str, model: Any, table: pd.DataFrame, answers: Any = None, **options: Any) -> Any:
    """A saved model as its loader makes it, told of the columns of ``table`` as its signature."""
    path = flavors.keep(folder, flavor, model, table, answers, **options)
    case = LoaderCase(flavor, lambda _: path, table)
    with files_of(case) as files:
        return case.make().load(files)


@pytest.mark.parametrize("name", ["xgb", "xgb_booster", "lgb", "lgb_booster", "lgb_pipeline"])
def test_several_categories_are_told_apart(tmp_path, name):
    """Categories, plain whole numbers and booleans stand side by side: each is what it was."""
    table = TWO.drop(columns="boolean") if name.startswith("xgb") else TWO
    flavor, fit = MODELS[name]
    model = fit(table, TARGET, "")

    live = loaded(tmp_path, flavor, model, table)

    np.testing.assert_array_equal(live.predict(plain(table)), flavors.asked(model, table))


@pytest.mark.parametrize("name", ["xgb", "xgb_booster", "lgb", "lgb_booster", "lgb_pipeline", "cat", "ridge", "ols"])
@pytest.mark.parametrize("numbers", [True, False], ids=["numbers", "categories"])
def test_columns_are_put_into_the_fitted_order(tmp_path, name, numbers):
    """A signature in another order than the model's: each column goes where it was when the model was fitted."""
    if name in ("ridge", "ols") and not numbers:
        name = "xgb"
    table = (ALL[["y", "x"]] if numbers else ALL[["y", "text", "x"]]).rename(columns={"y": "a b"})
    flavor, fit = ORDERED.get(name) or MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit(table, table["x"] - 2 * table["a b"], "text")
    expected = flavors.asked(model, table)

    live = loaded(tmp_path, flavor, model, table[["x", *table.columns[:-1]]], expected)

    np.testing.assert_array_equal(live.predict(table[["x", *table.columns[:-1]]]), expected)


def ols(table: pd.DataFrame, y: Any, _: str) -> Any:
    import statsmodels.api

    return statsmodels.api.OLS(y, table).fit()


ORDERED = {
    "ridge": ("sklearn", lambda table, y, _: Ridge().fit(table, y)),
    "ols": ("statsmodels", ols),
    "cat": (
        "catboost",
        lambda table, y, _: catboost.CatBoostRegressor(**CAT, cat_features=["text"] if "text" in table else []).fit(
            table, y
        ),
    ),
}


@pytest.mark.parametrize("names", [["Column_0", "Column_1"], ["0", "1"], ["x y", "z"]], ids=",".join)
@pytest.mark.parametrize("name", ["lgb_booster", "lgb_pipeline", "lgb_search", "cat", "xgb"])
def test_names_of_any_kind_put_columns_into_order(tmp_path, name, names):
    """Also names like those that libraries make up for arrays, and those that LightGBM changes."""
    table = ALL[["y", "x"]].set_axis(names, axis=1)
    flavor, fit = ORDERED.get(name) or MODELS[name]
    model = fit(table, ALL["y"] - 2 * ALL["x"], "")
    expected = flavors.asked(model, table)

    live = loaded(tmp_path, flavor, model, table[names[::-1]], expected)

    np.testing.assert_array_equal(live.predict(table[names[::-1]]), expected)


@pytest.mark.parametrize("name", ["lgb_booster", "lgb", "cat", "xgb"])
def test_a_model_of_arrays_takes_columns_as_they_come(tmp_path, name):
    """One that was fitted on an array knows no names: the signature's order is the array's."""
    flavor, fit = ORDERED.get(name) or MODELS[name]
    array = ALL[["y", "x"]].to_numpy()
    model = fit(array, ALL["y"] - 2 * ALL["x"], "")

    live = loaded(tmp_path, flavor, model, ALL[["y", "x"]], model.predict(array))

    np.testing.assert_array_equal(live.predict(ALL[["y", "x"]]), model.predict(array))


@pytest.mark.parametrize("name", ["xgb", "xgb_booster", "lgb", "lgb_booster"])
def test_whole_numbers_that_may_be_missing(tmp_path, name):
    """Beside a missing one MLflow calls whole numbers doubles: each is still its category."""
    gaps = pd.Categorical([None if at % 7 == 0 else it for at, it in enumerate(KINDS["whole"])], [10, 2, 5])
    table = ALL[["x"]].assign(whole=gaps)
    flavor, fit = MODELS[name]
    model = fit(table, table["whole"].cat.codes * 2.0 + ALL["x"], "")

    live = loaded(tmp_path, flavor, model, table)

    sent = table.assign(whole=np.asarray(gaps, float))
    np.testing.assert_array_equal(live.predict(sent), flavors.asked(model, table))


@pytest.mark.parametrize("around", ["voting", "calibrated", "search", "pipeline"])
@pytest.mark.parametrize("name", ["lgb", "cat", "xgb"])
def test_columns_are_put_into_the_order_of_a_booster_inside(tmp_path, around, name):
    """scikit-learn does not know the names that LightGBM changes, and none of CatBoost's."""
    inside = {"lgb": lightgbm.LGBMClassifier(**QUIET), "cat": catboost.CatBoostClassifier(**CAT)}
    inside["xgb"] = xgboost.XGBClassifier(n_estimators=3, n_jobs=1)
    table = ALL[["y", "x"]].rename(columns={"x": "x x"})
    makers = {**AROUND, "pipeline": partial(make_pipeline, "passthrough")}
    model = makers[around](clone(inside[name])).fit(table, (ALL["y"] - 2 * ALL["x"] > 0).astype(int))

    live = loaded(tmp_path, "sklearn", model, table[["x x", "y"]], model.predict(table))

    np.testing.assert_array_equal(live.predict_proba(table[["x x", "y"]]), model.predict_proba(table))
    other = flavors.keep(tmp_path, "sklearn", model, table.rename(columns={"y": "z"}), model.predict(table))
    assert "it was fitted on columns that its signature does not declare ('y')" in refusal(other, table, "sklearn")


class Ratios(BaseEstimator):
    """Another's estimator, which makes the columns of what it holds."""

    def fit(self, table: pd.DataFrame, y: Any) -> Ratios:
        self.estimator_ = lgb().fit(self.made(table), y)
        return self

    def made(self, table: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"ratio": table["x"] / table["y"], "y": table["y"]})

    def predict(self, table: pd.DataFrame) -> Any:
        return self.estimator_.predict(self.made(table))


def test_what_anothers_estimator_holds_is_its_own(tmp_path):
    """Its columns are not the signature's, and nothing is refused for that."""
    table = ALL[["y", "x"]]
    model = Ratios().fit(table, ALL["x"])

    live = loaded(tmp_path, "sklearn", model, table)

    np.testing.assert_array_equal(live.predict(table), model.predict(table))


GAPS = {
    "whole_category": pd.Categorical([None if at % 7 == 0 else at % 3 for at in range(N)], [2, 0, 1]),
    "boolean_category": pd.Categorical([None if at % 7 == 0 else at % 2 == 0 for at in range(N)], [True, False]),
    "whole": pd.array([None if at % 7 == 0 else at % 5 for at in range(N)], "Int64"),
}
TAKE_GAPS = {
    **{name: MODELS[name] for name in ("xgb_booster", "xgb", "lgb_booster", "lgb", "lgb_pipeline", "hist", "one_hot")},
    "imputed": ("sklearn", lambda table, y, _: make_pipeline(SimpleImputer(), Ridge()).fit(table, y)),
}


@pytest.mark.build
@pytest.mark.parametrize(
    ("gaps", "name"),
    [
        *(("whole_category", name) for name in TAKE_GAPS if name != "imputed"),
        *(("boolean_category", name) for name in TAKE_GAPS if name[0] not in "xi"),
        *(("whole", name) for name in TAKE_GAPS if name != "one_hot"),
    ],
)
def test_whole_numbers_and_booleans_with_gaps(module_store, gaps, name):
    """MLflow calls them optional, and rows come without those that they lack: to the model they are missing."""
    table = ALL[["x"]].assign(gaps=GAPS[gaps], y=ALL["y"])
    flavor, fit = TAKE_GAPS[name]
    model = fit(table, ALL["x"] + table["gaps"].isna(), "")
    expected = flavors.asked(model, table)
    path = flavors.keep(module_store.folder, flavor, model, table)

    logged = api.build("name=gaps", *ROUTED, uris({"m": path}), module_store.override, plugins=fleets.plugins())
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    rows = table.assign(key="m").astype({"gaps": object})
    np.testing.assert_array_equal(router.predict(rows), expected)
    # The last bits of a linear model depend on how many rows it is asked about.
    np.testing.assert_array_almost_equal_nulp(router.predict(rows[["key", "y", "x"]].iloc[[0]]), expected[[0]], nulp=4)


@pytest.mark.build
def test_a_reordered_sub_model_takes_no_arrays(module_store):
    """Rows of doubles do not pass a sub-model by as an array, in the signature's order, which is not its own."""
    table = ALL[["y", "x"]]
    model = lgb().fit(table, table["x"] - 2 * table["y"])
    path = flavors.keep(module_store.folder, "lightgbm", model, table[["x", "y"]], flavors.asked(model, table))

    logged = api.build("name=swapped", *ROUTED, uris({"m": path}), module_store.override, plugins=fleets.plugins())
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    np.testing.assert_array_equal(router.predict(table.assign(key="m")), flavors.asked(model, table))


def test_columns_that_a_step_makes_are_its_own(tmp_path):
    """A pipeline that makes its categories itself, of other names, gets its columns as they are."""
    chosen = make_column_selector(dtype_include="category")
    steps = make_column_transformer(("passthrough", chosen), remainder="passthrough").set_output(transform="pandas")
    table = ALL[["y", "text", "x"]]
    model = make_pipeline(steps, lgb()).fit(table, table["x"])

    live = loaded(tmp_path, "sklearn", model, table)

    np.testing.assert_array_equal(live.predict(plain(table)), flavors.asked(model, table))


AROUND = {
    "calibrated": lambda one: CalibratedClassifierCV(one, cv=2),
    "one_vs_rest": OneVsRestClassifier,
    "stacking": lambda one: StackingClassifier([("one", one)], LogisticRegression(), cv=2, passthrough=False),
    "voting": lambda one: VotingClassifier([("one", one)], voting="soft"),
    "search": lambda one: GridSearchCV(one, {"max_depth": [2, 3]}, cv=2),
    "nested": lambda one: make_pipeline("passthrough", CalibratedClassifierCV(make_pipeline("passthrough", one), cv=2)),
}


@pytest.mark.parametrize("around", list(AROUND))
@pytest.mark.parametrize(
    "inside",
    [
        lightgbm.LGBMClassifier(**QUIET),
        xgboost.XGBClassifier(n_estimators=3, n_jobs=1, enable_categorical=True),
    ],
    ids=["lgb", "xgb"],
)
def test_boosters_inside_other_estimators(tmp_path, around, inside):
    """However scikit-learn holds them, their categories are those of the whole."""
    table, target = ALL[["y", "text", "x"]], (ALL["text"] == "a").astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AROUND[around](clone(inside)).fit(table, target)

    live = loaded(tmp_path, "sklearn", model, table)

    np.testing.assert_array_equal(live.predict_proba(plain(table)), model.predict_proba(table))


def lowered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(text=frame["text"].str.lower().astype("category"))


def test_a_step_of_ones_own_makes_its_own_categories(tmp_path):
    """What a function makes of texts is not guessed: it gets them as plain MLflow hands them over."""
    table = ALL[["y", "text", "x"]].assign(text=np.char.upper(np.asarray(ALL["text"], str)))
    model = make_pipeline(FunctionTransformer(lowered), lgb()).fit(table, ALL["text"].cat.codes * 2.0)

    live = loaded(tmp_path, "sklearn", model, table)

    np.testing.assert_array_equal(live.predict(table), model.predict(table))


def test_other_methods_get_the_same_frames(tmp_path):
    """Whatever method is asked."""
    table = ALL[["y", "text", "x"]]
    model = lightgbm.LGBMClassifier(**QUIET).fit(table, ALL["ordered"].astype(str))

    live = loaded(tmp_path, "lightgbm", model, table)

    np.testing.assert_array_equal(live.predict_proba(plain(table)), model.predict_proba(table))
    assert list(live.classes_) == ["high", "low", "mid"]


def test_categories_of_single_precision(tmp_path):
    """A category of float32, which MLflow calls float, is looked up by what a float32 holds."""
    values = np.resize(np.array([0.1, 0.7, 0.2], np.float32), N)
    table = pd.DataFrame({"k": pd.Categorical(values), "x": ALL["x"]})
    model = lgb().fit(table, table["k"].cat.codes * 2.0)

    live = loaded(tmp_path, "lightgbm", model, table)

    np.testing.assert_array_equal(live.predict(table.assign(k=values)), model.predict(table))


VALUES = st.one_of(
    *(st.lists(it, min_size=2, max_size=6, unique=True) for it in (st.text(max_size=5), st.integers(-(2**31), 2**31))),
    st.just([True, False]),
)


@settings(max_examples=40, deadline=None)
@given(VALUES, st.data())
def test_any_categories_keep_their_codes(values, data):
    """Whatever they are, in whichever order: after a model was written and read, each value has the code it had."""
    rows = st.lists(st.sampled_from(values), min_size=8, max_size=8)
    table = pd.DataFrame({"x": np.arange(8.0), "k": pd.Categorical(data.draw(rows), values)})
    asked = pd.DataFrame({"x": np.arange(8.0), "k": pd.Categorical(data.draw(rows), values)})
    target = table["k"].cat.codes * 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = {str: "string", bool: "boolean", int: "long"}[type(values[0])]
        files = Files("", {}, [], Path(), [Column("x", "double"), Column("k", kind)])
        models = [lightgbm.train({**QUIET, "min_data_per_group": 1}, lightgbm.Dataset(table, target))]
        # Others XGBoost does not take, or garbles.
        if all(type(it) is int or (type(it) is str and it.isascii() and "\0" not in it) for it in values):
            models.append(booster(table, target, ""))
    for model in models:
        again = pickle.loads(pickle.dumps(model))
        live = as_fitted(SimpleNamespace(predict=partial(flavors.asked, again)), files, again)

        found = live.predict(asked.assign(k=np.asarray(asked["k"])))

        np.testing.assert_array_equal(found, flavors.asked(model, asked))


# -- bare files --------------------------------------------------------------------------------------------------------


@pytest.mark.build
def test_a_bare_estimator_tells_the_types_of_its_categories(tmp_path, module_store):
    """Found by loading it: the columns of categories have the type of those, the others are doubles."""
    table = TWO.drop(columns=["count", "flag", "single", "ordered_whole"])
    path = tmp_path / "model.cloudpickle"
    model = lgb().fit(table, TARGET)
    path.write_bytes(cloudpickle.dumps(model))

    logged = api.build("name=bare", *ROUTED, f"+models.m.uri={path}", module_store.override, plugins=fleets.plugins())
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    types = {"x": "double", "text": "string", "boolean": "boolean", "y": "double"}
    assert {column.name: column.type for column in router.union} == types
    np.testing.assert_array_equal(router.predict(plain(table).assign(key="m")), flavors.asked(model, table))


# -- what is refused ---------------------------------------------------------------------------------------------------


def older(path: str) -> None:
    """Make a file of XGBoost's of one that versions before 3.1 write: they did not record categories."""
    file = Path(path) / "model.json"
    model = json.loads(file.read_text())
    del model["learner"]["gradient_booster"]["model"]["cats"]
    file.write_text(json.dumps(model))


def refusal(path: str, table: pd.DataFrame, flavor: str) -> str:
    case = LoaderCase(flavor, lambda _: path, table)
    with files_of(case) as files, pytest.raises(ModelError) as caught:
        case.make().load(files)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["text", "whole"])
def test_an_older_xgboost_has_recorded_no_categories(tmp_path, kind):
    """Its codes would be guessed: it is refused, with what to do."""
    table = ALL[[kind, "x"]]
    path = flavors.keep(tmp_path, "xgboost", booster(table, ALL["x"], kind), table, model_format="json")
    older(path)

    assert refusal(path, table, "xgboost") == (
        f"the_case: XGBoost has not recorded the categories of its columns {kind!r}.\n"
        "  Fit it with XGBoost 3.1 or newer, which records them. If its rows hold the codes of categories, set "
        "models.the_case.loader=pyfunc, which hands columns over as the signature has them."
    )


@pytest.mark.parametrize("texts", [["köln", "berlin", "a"], ["日本", "a"], ["a", "é"]], ids=",".join)
@pytest.mark.parametrize("name", ["xgb", "xgb_booster", "xgb_pipeline"])
def test_xgboost_garbles_texts_outside_ascii(tmp_path, name, texts):
    """It cuts them into other texts: köln and berlin become köl and nberli, which no row would have."""
    table = ALL[["x"]].assign(city=pd.Categorical(np.resize(texts, N), texts))
    flavor, fit = MODELS[name]
    path = flavors.keep(tmp_path, flavor, fit(table, ALL["x"], ""), table)

    assert refusal(path, table, flavor) == (
        "the_case: XGBoost has garbled categories of its columns 'city': they have letters outside ASCII.\n"
        "  Fit it on categories of whole numbers, or of ASCII letters."
    )


def test_codes_stay_codes(tmp_path):
    """A booster that was fitted on codes, as arrays have them, gets its numbers as they are."""
    codes = np.column_stack([ALL["text"].cat.codes, ALL["x"]]).astype(float)
    matrix = xgboost.DMatrix(codes, ALL["y"], feature_types=["c", "q"], enable_categorical=True)
    model = xgboost.train({"nthread": 1}, matrix, 3)
    table = pd.DataFrame(codes, columns=["code", "x"])

    live = loaded(tmp_path, "xgboost", model, table, model.predict(matrix))

    np.testing.assert_array_equal(live.predict(table), model.predict(matrix))


def test_categories_that_could_be_of_several_columns_are_refused(tmp_path):
    """LightGBM does not say which columns its ordered categories are of, where others look the same."""
    table = ALL[["ordered_whole", "x"]].assign(count=RANDOM.integers(0, 3, N))
    path = flavors.keep(tmp_path, "lightgbm", lgb().fit(table, ALL["x"] + table["count"]), table)

    assert refusal(path, table, "lightgbm") == (
        "the_case: LightGBM has not recorded which of its columns are categories: 'ordered_whole', 'count' may be.\n"
        "  Fit it on categories of text, or without an order."
    )


@pytest.mark.parametrize(
    ("kind", "declared", "found"),
    [("text", "long", "string"), ("whole", "string", "integer"), ("boolean", "long", "boolean")],
)
def test_a_declared_type_holds_the_categories(tmp_path, kind, declared, found):
    """Texts in a column of numbers would all be missing: the signature is refused."""
    table = ALL[[kind, "x"]]
    other = table.assign(**{kind: {"long": 1, "string": "a"}[declared]})
    path = flavors.keep(tmp_path, "lightgbm", lgb().fit(table, ALL["x"]), other, ALL["x"])

    assert refusal(path, other, "lightgbm") == (
        f"the_case: its column {kind!r} is declared {declared}, and holds categories that are {found}.\n"
        "  Log it with the signature of the frame that it was fitted on."
    )


@pytest.mark.parametrize("name", ["xgb", "xgb_booster", "lgb", "lgb_booster", "cat"])
def test_a_signature_of_other_columns_is_refused(tmp_path, name):
    """LightGBM would take them by position, and answer with other numbers."""
    table = ALL[["y", "x"]]
    flavor, fit = ORDERED.get(name) or MODELS[name]
    model = fit(table, ALL["x"], "")
    path = flavors.keep(tmp_path, flavor, model, table.rename(columns={"y": "z"}), flavors.asked(model, table))

    assert refusal(path, table, flavor) == (
        "the_case: it was fitted on columns that its signature does not declare ('y'), and that declares others "
        "('z').\n  Log it with the signature of the frame that it was fitted on; or set "
        "models.the_case.loader=pyfunc, which hands columns over as the signature has them."
    )


def test_models_inside_that_disagree_are_refused(tmp_path):
    """Two boosters in one estimator that know different categories of one column."""
    table = ALL[["text", "x"]]
    parts = [
        lgb().fit(table.assign(text=table["text"].cat.set_categories(order)), ALL["x"])
        for order in (["a", "b", "c"], ["c", "b", "a"])
    ]
    both = VotingRegressor([("one", parts[0]), ("two", parts[1])])
    both.estimators_, both.feature_names_in_ = parts, np.array(table.columns, object)
    path = flavors.keep(tmp_path, "sklearn", both, table)

    assert refusal(path, table, "sklearn") == (
        "the_case: it holds several models, which know different categories of its column 'text'.\n"
        "  Fit them on one type: pandas' CategoricalDtype with all categories."
    )


@pytest.mark.build
def test_a_build_names_the_sub_model(module_store):
    """What a loader refuses stops the build."""
    table = ALL[["text", "x"]]
    path = flavors.keep(module_store.folder, "xgboost", booster(table, ALL["x"], ""), table, model_format="json")
    older(path)

    with pytest.raises(
        ProblemsError, match=re.escape("XGBoost has not recorded the categories of its columns 'text'.")
    ) as caught:
        api.build("name=old", *ROUTED, uris({"old": path}), module_store.override, plugins=fleets.plugins())

    assert [problem.where for problem in caught.value.problems] == ["models.old"]
