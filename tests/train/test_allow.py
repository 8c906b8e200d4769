"""What the config of a training may name: it runs no code that whoever runs it has not allowed."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator
from sklearn.utils import all_estimators

from mmeframe import api
from mmeframe.cli import main
from mmeframe.errors import ConfigError, ProblemsError, UsageError
from mmeframe.train.allow import allowance, estimator_class, table_object

# A package with what a config could name, and a module beside it.
SHOP = """
import sys
from pathlib import Path
from subprocess import Popen, check_output
from sklearn.linear_model import Ridge
from shop_elsewhere import Elsewhere

LOG = []

def run(*args, **options):
    LOG.append("run")

class Mine(Ridge):
    pass

class Plain:
    "The protocol of an estimator without its base class."
    def fit(self, X, y):
        return self
    def predict(self, X):
        return [0.0] * len(X)
    def get_params(self, deep=True):
        return {}
    def set_params(self, **params):
        return self

class Task:
    def __init__(self, *args, **options):
        LOG.append("task")
    def fit(self, X, y):
        return self

def sales():
    import pandas as pd
    LOG.append("sales")
    return pd.DataFrame({"shop": ["a"] * 30, "x": range(30), "y": range(30)})
"""
ELSEWHERE = """
from sklearn.linear_model import Ridge

class Elsewhere(Ridge):
    pass
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "shop_models.py").write_text(SHOP)
    (tmp_path / "shop_elsewhere.py").write_text(ELSEWHERE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "shop_models"
    for name in ("shop_models", "shop_elsewhere"):
        sys.modules.pop(name, None)


# -- estimators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "allow", "what"),
    [
        pytest.param("sklearn.utils._testing.check_output", (), "is no estimator", id="function-of-an-allowed-package"),
        pytest.param("sklearn.utils.Bunch", (), "is no estimator", id="class-of-an-allowed-package"),
        pytest.param("sklearn.base.np", (), "is no estimator", id="module-in-a-module"),
        pytest.param("os.system", (), "not allowed", id="function"),
        pytest.param("subprocess.Popen", (), "not allowed", id="class"),
        pytest.param("shop_models.Mine", (), "not allowed", id="package"),
        pytest.param("shop_models.Mine", ("shop",), "not allowed", id="a-prefix-is-no-package"),
        pytest.param("shop_models.Mine", ("shop_models:Mine",), "not allowed", id="a-table-is-no-package"),
        pytest.param("shop_models.run", ("shop_models",), "is no estimator", id="own-function"),
        pytest.param("shop_models.Popen", ("shop_models",), "is no estimator", id="imported-class"),
        pytest.param("shop_models.Task", ("shop_models",), "is no estimator", id="half-a-protocol"),
        pytest.param("shop_models.Elsewhere", ("shop_models",), "not allowed", id="defined-elsewhere"),
        pytest.param("Ridge", (), "names no class of a module", id="no-module"),
        pytest.param(".Ridge", (), "names no class of a module", id="relative"),
        pytest.param("sklearn..Ridge", (), "cannot be imported", id="dots"),
        pytest.param("sklearn.nothing.Ridge", (), "cannot be imported", id="no-such-module"),
    ],
)
def test_what_is_no_allowed_estimator_is_not_called(shop, name, allow, what):
    """Nor imported, where its package is not allowed."""
    with pytest.raises(ConfigError, match=what) as caught:
        estimator_class(name, allow)

    assert caught.value.where == "train.estimator.class"
    found = sys.modules.get("shop_models")
    assert found is None or ("shop_models" in allow and found.LOG == [])


@pytest.mark.parametrize(
    ("name", "allow"),
    [
        ("sklearn.linear_model.Ridge", ()),
        ("shop_models.Mine", ("shop_models",)),
        ("shop_models.Plain", ("other", "shop_models")),
        ("shop_models.Ridge", ("shop_models",)),
        ("shop_models.Elsewhere", ("shop_models", "shop_elsewhere")),
        ("xgboost.XGBRegressor", ("xgboost",)),
        ("xgboost.sklearn.XGBRegressor", ("xgboost.sklearn",)),
        ("catboost.CatBoostRegressor", ("catboost",)),
        ("lightgbm.LGBMClassifier", ("lightgbm",)),
    ],
)
def test_what_is_allowed(shop, name, allow):
    """scikit-learn's base class, or its protocol, as CatBoost has it."""
    assert estimator_class(name, allow).__name__ == name.rpartition(".")[2]


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_has_estimators_only():
    """Whatever else lies in any module of it is refused, and every estimator of it is taken."""
    taken = set()
    for found in pkgutil.walk_packages(sklearn.__path__, "sklearn."):
        if "tests" in found.name or "conftest" in found.name:
            continue
        try:
            home = importlib.import_module(found.name)
        except ImportError:
            continue
        for name in dir(home):
            try:
                kind = estimator_class(f"{found.name}.{name}", ())
            except ConfigError:
                continue
            assert isinstance(kind, type)
            assert kind.__module__.startswith("sklearn.")
            assert issubclass(kind, BaseEstimator) or {"fit", "get_params", "set_params"} <= {*dir(kind)}
            taken.add(kind)
    assert taken >= {kind for _, kind in all_estimators()}


# -- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "allow", "what"),
    [
        pytest.param("os:getcwd", (), "not allowed", id="function"),
        pytest.param("sklearn.datasets:load_files", (), "not allowed", id="an-estimators-package"),
        pytest.param("mmeframe.demo:demo", (), "not allowed", id="our-own"),
        pytest.param("shop_models:sales", ("shop_models",), "not allowed", id="a-package-is-no-table"),
        pytest.param("shop_models:run", ("shop_models:sales",), "not allowed", id="another"),
        pytest.param("shop_models.sales", ("shop_models.sales",), "names no object", id="no-colon"),
        pytest.param("shop_models:nothing", ("shop_models:nothing",), "has no 'nothing'", id="not-there"),
    ],
)
def test_what_is_no_allowed_table(shop, name, allow, what):
    """A reader is called, so each is named by itself."""
    with pytest.raises(ConfigError, match=what) as caught:
        table_object(name, allow)

    assert caught.value.where == "train.reader.object"
    assert "shop_models" not in sys.modules or sys.modules["shop_models"].LOG == []


@pytest.mark.parametrize("name", ["mmeframe.train.datasets:weekly", "mmeframe.train.datasets:flights"])
def test_the_shipped_tables_are_tables_like_others(name):
    """They are allowed by whoever runs the training; each is a function that gives a table."""
    with pytest.raises(ConfigError, match=f"add --allow {name} to the command"):
        table_object(name, ())
    assert isinstance(table_object(name, (name,))(), pd.DataFrame)


# -- who allows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a b", "a/b.py", "a:", ":b", "a:b:c", "1a", "a..b", "a:b.c", "*", "a;b"])
def test_what_allows_nothing_is_refused(given):
    with pytest.raises(UsageError, match="names no package and no table"):
        allowance([given])


def test_the_variable_adds_to_the_flag(monkeypatch):
    monkeypatch.setenv("MMEFRAME_ALLOW", " xgboost, ,my_tables:sales ")
    assert allowance(["catboost"]) == ("catboost", "xgboost", "my_tables:sales")
    monkeypatch.delenv("MMEFRAME_ALLOW")
    assert allowance(()) == ()


TRAINING = (
    "name=shops",
    "routing=column",
    "routing.column=shop",
    "train.reader.object=shop_models:sales",
    "train.target=y",
    "train.features.numeric=[x]",
    "train.estimator.class=sklearn.linear_model.Ridge",
)


@pytest.mark.build
def test_the_command_line_allows(shop, store, run):
    """By the flag, which other commands do not take; the refusal shows it as the cure."""
    refused = run("train", *TRAINING)
    assert refused.code == 2
    assert "add --allow shop_models:sales to the command" in refused.err

    assert run("train", *TRAINING, "--allow", "shop_models:sales").code == 0
    assert "build takes no --allow" in run("build", "--allow=xgboost").err


@pytest.mark.parametrize("option", ["train.allow=[shop_models]", "train.packages=[shop_models]"])
def test_the_config_allows_nothing(shop, store, option):
    with pytest.raises(ProblemsError, match="option"):
        api.train(*TRAINING, f"+{option}")
    assert shop not in sys.modules


def test_a_command_in_a_config_is_not_run(store, tmp_path):
    """It is refused by a name, before anything is called with what the config gives."""
    proof = tmp_path / "proof"
    code = main(
        [
            "train",
            *TRAINING[:3],
            "train.reader.object=mmeframe.train.datasets:weekly",
            "train.target=y",
            "train.features.numeric=[x1]",
            "train.estimator.class=sklearn.utils._testing.check_output",
            f"+train.estimator.params={{args:[touch,'{proof}']}}",
            *("--allow", "mmeframe.train.datasets:weekly"),
        ]
    )

    assert code == 2
    assert not proof.exists()
