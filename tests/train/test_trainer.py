"""Training sub-models from a table: which are made, of what, and what is wrong with a config."""

from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from mlflow import MlflowClient
from mlflow.models import Model
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from mmeframe import api
from mmeframe.errors import ConfigError, MissingError, ProblemsError
from mmeframe.sections import Estimator, Features, Reader, TrainSpec
from mmeframe.train.saving import Writer


@pytest.fixture
def wine(store, tmp_path):
    """scikit-learn's wines with a store key: text keys, one of them rare; the alcohol is what is predicted."""
    features, _ = load_wine(return_X_y=True, as_frame=True)
    table = features[["malic_acid", "ash", "alcohol"]].copy()
    table["shop"] = ["02108", "10001", "94105"] * 59 + ["rare"]
    table["colour"] = np.where(features["color_intensity"] > 5, "dark", "light")
    path = tmp_path / "wine.csv"
    table.to_csv(path, index=False)
    return (
        "name=wine",
        "routing=column",
        "routing.column=shop",
        "routing.levels=[[shop],[]]",
        "+models.all={uri:'models:/wine_all@champion',key:{}}",
        f"train.reader.path={path}",
        "train.target=alcohol",
        "train.features.numeric=[malic_acid,ash]",
        "train.estimator.class=sklearn.linear_model.Ridge",
        "train.global_as=wine_all",
    )


@pytest.mark.build
def test_one_sub_model_per_key_and_one_for_all(wine):
    """Keys with too few rows get none; the global one learns from every row."""
    trained = api.train(*wine)

    names = {model.name: model.key for model in trained.models}
    assert names == {"wine_02108": "02108", "wine_10001": "10001", "wine_94105": "94105", "wine_all": None}
    assert trained.skipped == {"rare": 1}
    assert trained.models[-1].rows > sum(model.rows for model in trained.models[:-1]) - 3


@pytest.mark.build
def test_leading_zeros_of_a_csv_key_stay(wine, tmp_path):
    """A column of zip codes is text, though every one of them could be read as a number; 7.0 is 7."""
    table = pd.read_csv(tmp_path / "wine.csv", dtype={"shop": str}).query("shop != 'rare'")
    table.to_csv(tmp_path / "wine.csv", index=False)
    zips = api.train(*wine)
    table.assign(shop=np.arange(len(table)) % 2 + 0.0).to_csv(tmp_path / "wine.csv", index=False)
    numbers = api.train(*wine)

    assert [model.key for model in zips.models] == ["10001", "94105", "02108", None]
    assert [model.key for model in numbers.models] == ["0", "1", None]


@pytest.mark.build
@pytest.mark.smoke
def test_text_keys_of_a_parquet_table_stay_text(wine, tmp_path):
    """Parquet knows that 02108 is text; a router over it routes by the text."""
    table = pd.read_csv(tmp_path / "wine.csv", dtype={"shop": str})
    table.to_parquet(tmp_path / "wine.parquet")
    overrides = [item for item in wine if "reader" not in item]
    overrides += [f"train.reader.path={tmp_path / 'wine.parquet'}"]
    api.train(*overrides)

    logged = api.build(*overrides, "+source@sources.shops=registry", "sources.shops.name='wine_{shop}'")

    answer = api.load_router(logged.model_uri).predict(table, {"annotate": True})
    assert answer["model_id"][0] == "wine_02108"
    assert answer["model_id"][-1] == "all"


@pytest.mark.build
def test_sub_models_are_logged_with_what_a_router_needs(wine):
    """Signature, key tag, rows, metrics of both errors, alias; requirements without inference."""
    trained = api.train(*wine)

    client = MlflowClient()
    first = trained.models[0]
    model = client.get_logged_model(first.model_id)
    info = mlflow.models.get_model_info(f"models:/{first.model_id}")
    assert model.tags["shop"] == first.key
    assert model.tags["mmeframe.rows"] == str(first.rows)
    assert {metric.key for metric in model.metrics} == {"holdout_rmse", "global_holdout_rmse"}
    assert [(column.name, column.type.name) for column in info.signature.inputs] == [
        ("malic_acid", "double"),
        ("ash", "double"),
    ]
    assert str(client.get_model_version_by_alias(first.name, "champion").version) == first.version
    assert client.get_run(trained.run_id).info.status == "FINISHED"


@pytest.mark.build
def test_the_errors_are_of_held_out_rows(wine):
    """The global sub-model's error is measured on the same rows of the same key."""
    trained = api.train(*wine, "train.holdout=0.3")

    for model in trained.models[:-1]:
        assert 0.1 < model.metrics["rmse"] < 2
        assert 0.1 < model.global_metrics["rmse"] < 2
        assert model.rows == 59 - int(59 * 0.3)


@pytest.mark.build
def test_without_a_holdout_there_are_no_errors(wine):
    """train.holdout=0 learns from every row."""
    trained = api.train(*wine, "train.holdout=0")

    assert [model.metrics for model in trained.models] == [{}] * 4
    assert trained.models[0].rows == 59


@pytest.mark.build
def test_training_twice_gives_new_versions(wine):
    """The alias moves to the newest, and the same seed gives the same model."""
    first, second = api.train(*wine), api.train(*wine)

    assert [model.version for model in second.models] == ["2"] * 4
    assert [model.metrics for model in first.models] == [model.metrics for model in second.models]


@pytest.mark.parametrize("key", ["../../escape", "a/b", "a:b", "tab\there"])
def test_keys_that_cannot_be_names_are_refused_before_the_work(wine, tmp_path, key):
    """No folder and no model is made of them, and the data is not repeated in the message."""
    table = pd.read_csv(tmp_path / "wine.csv")
    table.loc[:40, "shop"] = key
    table.to_csv(tmp_path / "wine.csv", index=False)

    with pytest.raises(ConfigError, match="1 key cannot be part of a registered name") as caught:
        api.train(*wine)

    assert key not in str(caught.value)
    assert MlflowClient().search_registered_models() == []


@pytest.mark.build
def test_a_key_that_pandas_takes_for_missing_is_a_key(wine, tmp_path):
    """NA is a country."""
    table = pd.read_csv(tmp_path / "wine.csv")
    table.loc[:40, "shop"] = "NA"
    table.to_csv(tmp_path / "wine.csv", index=False)

    assert "NA" in [model.key for model in api.train(*wine).models]


def test_nothing_to_train_is_an_error(wine):
    """Every key too rare and no global one: exit 1 instead of an empty table."""
    overrides = [item for item in wine if "global_as" not in item]

    with pytest.raises(ConfigError, match="there is nothing to train"):
        api.train(*overrides, "train.min_rows=1000")


@pytest.mark.build
@pytest.mark.parametrize("form", ["skops", "cloudpickle", "pickle"])
def test_every_serialization(wine, form):
    """What is logged can be loaded by MLflow itself."""
    trained = api.train(*wine, f"train.serialization={form}")

    model = mlflow.pyfunc.load_model(f"models:/{trained.models[0].model_id}")
    assert model.predict(pd.DataFrame({"malic_acid": [1.0], "ash": [2.0]})).shape == (1,)


@pytest.mark.build
@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param("sklearn.linear_model.Ridge", id="one-hot"),
        pytest.param("sklearn.ensemble.HistGradientBoostingRegressor", id="own-categories"),
        pytest.param("sklearn.tree.DecisionTreeRegressor", id="tree"),
    ],
)
def test_categories_that_were_never_seen_are_answered(wine, estimator):
    """Text columns are encoded inside the sub-model; a new category is no error."""
    trained = api.train(*wine, "train.features.categorical=[colour]", f"train.estimator.class={estimator}")

    model = mlflow.pyfunc.load_model(f"models:/{trained.models[0].model_id}")
    answer = model.predict(pd.DataFrame({"colour": ["green"], "malic_acid": [1.0], "ash": [2.0]}))
    assert np.isfinite(answer).all()


@pytest.mark.build
def test_a_classifier_of_text(store, tmp_path):
    """Labels are text, so the answers are declared as text; the router gives the labels back."""
    features, target = load_iris(return_X_y=True, as_frame=True)
    table = features.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
    table["kind"] = target.map({0: "setosa", 1: "versicolor", 2: "virginica"})
    table["garden"] = np.where(np.arange(150) % 2, "east", "west")
    table.to_csv(tmp_path / "iris.csv", index=False)
    overrides = (
        "name=iris",
        "routing=column",
        "routing.column=garden",
        f"train.reader.path={tmp_path / 'iris.csv'}",
        "train.target=kind",
        "train.features.numeric=[petal_length,petal_width]",
        "train.estimator.class=sklearn.tree.DecisionTreeClassifier",
        "+source@sources.g=registry",
        "sources.g.name='iris_{garden}'",
    )
    overrides = [item for item in overrides if not item.startswith(("+source", "sources"))]
    api.train(*overrides)

    logged = api.build(*overrides, "+source@sources.g=registry", "sources.g.name='iris_{garden}'")

    answer = api.load_router(logged.model_uri).predict(table)
    assert (answer == table["kind"].to_numpy()).mean() > 0.95


@pytest.mark.build
def test_a_classifier_of_numbers_is_declared_as_what_it_answers(wine, tmp_path):
    """Whole-number labels are long, not double."""
    table = pd.read_csv(tmp_path / "wine.csv").assign(alcohol=lambda frame: (frame["alcohol"] > 13).astype(int))
    table.to_csv(tmp_path / "wine.csv", index=False)
    trained = api.train(*wine, "train.estimator.class=sklearn.tree.DecisionTreeClassifier")

    info = mlflow.models.get_model_info(f"models:/{trained.models[0].model_id}")
    assert [column.type.name for column in info.signature.outputs] == ["long"]


@pytest.mark.parametrize(
    ("override", "error", "text"),
    [
        pytest.param("train.target=alcool", ConfigError, "Did you mean 'alcohol'?", id="target"),
        pytest.param("train.features.numeric=[ashe]", ConfigError, "train.features.numeric", id="feature"),
        pytest.param("train.reader.path=nowhere.csv", MissingError, "there is no file", id="no-file"),
        pytest.param("train.estimator.class=os.system", ConfigError, "'os.system' is not allowed", id="package"),
        pytest.param(
            "train.estimator.class=sklearn.linear_model.Rigde", ConfigError, "Did you mean 'Ridge'?", id="class"
        ),
        pytest.param("+train.estimator.params.alhpa=2", ConfigError, "train.estimator.params", id="parameter"),
    ],
)
def test_mistakes_are_named_before_the_work(wine, override, error, text):
    """Nothing is logged, and the config path is in the message."""
    with pytest.raises(error) as caught:
        api.train(*wine, override)

    assert text in str(caught.value)
    assert MlflowClient().search_registered_models() == []


# -- sub-models that cannot be fitted --------------------------------------------------------------------------------


@pytest.fixture
def change(wine, tmp_path):
    """Write a text into one column of the table, in the first rows of one shop."""

    def run(column, value, shop="10001", rows=3):
        table = pd.read_csv(tmp_path / "wine.csv", dtype={"shop": str})
        table[column] = table[column].astype(object)
        table.loc[table.index[table["shop"] == shop][:rows], column] = value
        table.to_csv(tmp_path / "wine.csv", index=False)

    return run


def refused(wine, *overrides):
    """The error of a training that fails; nothing is registered."""
    with pytest.raises(ConfigError) as caught:
        api.train(*wine, *overrides)
    assert MlflowClient().search_registered_models() == []
    return caught.value


@pytest.mark.parametrize("value", [pytest.param("", id="missing"), pytest.param("inf", id="infinite")])
@pytest.mark.parametrize("holdout", [0, 0.9])
def test_an_estimator_that_refuses_missing_values(wine, change, value, holdout):
    """The key, the columns and their rows are named, also where only held-out rows are concerned."""
    change("ash", value)
    error = refused(wine, f"train.holdout={holdout}")

    assert str(error) == (
        "train.features: the sub-model of shop '10001' cannot be trained: sklearn.linear_model.Ridge raised ValueError,"
        " for missing or infinite values in 'ash' in 3 of 59 rows.\n"
        "  Clean the table, or choose an estimator that takes missing values: HistGradientBoosting* does."
    )


def test_missing_values_of_rows_without_a_sub_model_of_their_own(wine, change):
    """The global sub-model is named, and every column."""
    change("ash", "", shop="rare", rows=1)
    change("malic_acid", "", shop="rare", rows=1)
    error = refused(wine)

    assert error.what.startswith("the global sub-model cannot be trained: ")
    assert error.what.endswith("in 'malic_acid' in 1, 'ash' in 1 of 178 rows.")


@pytest.mark.build
def test_an_estimator_that_takes_missing_values(wine, change):
    """The advice works."""
    change("ash", "")

    trained = api.train(*wine, "train.estimator.class=sklearn.ensemble.HistGradientBoostingRegressor")

    assert len(trained.models) == 4


def test_any_other_failure_is_explained_without_data(wine, change):
    """The estimator's text is only the cause; key, rows and kind of target are said."""
    change("alcohol", "SECRET")
    error = refused(wine)

    assert str(error).startswith(
        "train.estimator: the sub-model of shop '10001' cannot be trained: sklearn.linear_model.Ridge raised ValueError"
    )
    assert "It had 48 rows with " in error.hint
    assert "'alcohol' (str)" in error.hint
    assert "SECRET" not in str(error)
    assert "SECRET" in str(error.__cause__)


def test_missing_values_are_not_blamed_for_another_failure(wine, change):
    """Features are blamed only where the estimator says so."""
    change("ash", "")
    error = refused(wine, "train.estimator.class=sklearn.ensemble.HistGradientBoostingClassifier", "train.holdout=0")

    assert error.where == "train.estimator"


def test_a_parameter_that_the_estimator_refuses(wine):
    """Its own text is about the config, and shown."""
    error = refused(wine, "+train.estimator.params.alpha=-1")

    assert error.where == "train.estimator.params"
    assert "'alpha' parameter of Ridge" in error.what


def test_text_in_a_numeric_column(wine, change):
    """The column is named before the first fit, and its text is not repeated."""
    change("ash", "SECRET")
    error = refused(wine)

    assert str(error) == (
        "train.features.numeric: the column 'ash' (str) holds what is no number.\n"
        "  Clean it, or list it in train.features.categorical."
    )


# -- types that skops is told to trust -------------------------------------------------------------------------------


@pytest.fixture
def writer(spec):
    """What writes sub-models as skops."""
    return Writer(spec, None, ["mlflow"])


@pytest.fixture
def spec():
    """The defaults of a train section."""
    return TrainSpec(
        reader=Reader(),
        key="shop",
        target="y",
        features=Features(),
        estimator=Estimator("sklearn.linear_model.Ridge"),
        holdout=0.2,
        seed=0,
        min_rows=20,
        register_as="r_{shop}",
        global_as=None,
        alias=None,
        serialization="skops",
        jobs=0,
    )


def trusted(folder):
    return Model.load(folder).flavors["sklearn"]["skops_trusted_types"]


def test_every_model_trusts_its_own_types_only(writer, tmp_path):
    """Whatever was written before, and each file can be loaded."""
    rows = np.arange(40.0).reshape(20, 2)
    models = [Ridge(), DecisionTreeRegressor(), DecisionTreeRegressor(), HistGradientBoostingRegressor(), Ridge()]

    for number, model in enumerate(models):
        writer.write(model.fit(rows, rows[:, 0]), str(tmp_path / str(number)), Model())

    tree, boosting = "sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    assert [trusted(tmp_path / str(number)) for number in range(5)] == [[], [tree], [tree], [boosting], []]
    for number, model in enumerate(models):
        loaded = mlflow.sklearn.load_model(str(tmp_path / str(number)))
        assert np.array_equal(loaded.predict(rows), model.predict(rows))


def test_models_alike_are_serialised_once(writer, tmp_path, monkeypatch):
    """The types of the last one are verified on the file that was saved."""
    rows = np.arange(40.0).reshape(20, 2)
    writer.write(DecisionTreeRegressor().fit(rows, rows[:, 0]), str(tmp_path / "a"), Model())
    monkeypatch.setattr(skops.io, "dumps", lambda model: pytest.fail("serialised again"))

    writer.write(DecisionTreeRegressor().fit(rows, rows[:, 1]), str(tmp_path / "b"), Model())

    assert trusted(tmp_path / "b") == ["sklearn.tree._tree.Tree"]


def test_types_of_other_packages_are_never_trusted(writer, tmp_path):
    """They are named, with the option that chooses another serialization."""
    rows = np.arange(40.0).reshape(20, 2)
    model = Stranger().fit(rows, rows[:, 0])

    for _ in range(2):
        with pytest.raises(ConfigError, match=r"cannot hold these types: tests\.train\.test_trainer\.Stranger"):
            writer.write(model, str(tmp_path / "a"), Model())


class Stranger(Ridge):
    """An estimator of a package that nobody vouches for."""


def test_a_config_without_a_train_section_says_what_is_missing():
    """Every required option at once."""
    with pytest.raises(ProblemsError) as caught:
        api.train("name=x", "routing=column", "routing.column=dow")

    paths = {problem.where for problem in caught.value.problems}
    assert paths == {"train.target", "train.estimator.class", "train.reader", "train.features"}
