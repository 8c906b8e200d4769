"""Sub-models of many libraries, each small, saved with MLflow's own functions."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import infer_signature

from tests import fleets

ROWS = pd.DataFrame(np.random.default_rng(0).standard_normal((60, 3)), columns=["a", "b", "c"])
NUMBER = 2 * ROWS["a"] - ROWS["b"]
BINARY = (NUMBER > 0).astype(int)
THREE = pd.Series(np.digitize(NUMBER, [-1.0, 1.0]))
GROUPS = np.repeat(np.arange(6), 10)
QUIET = {"verbose": -1, "min_child_samples": 2, "n_estimators": 3, "num_threads": 1}
CAT = {"iterations": 3, "verbose": False, "allow_writing_files": False, "thread_count": 1}


@dataclass(frozen=True)
class Case:
    """A fitted model, and how it is saved. arrays: the build finds it taking arrays. code: its file can run code."""

    fit: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    arrays: bool = True
    code: bool = False

    def save(self, flavor: str, folder: Path) -> str:
        """A plain MLflow model folder; returns its path."""
        path = tempfile.mkdtemp(prefix="model_", dir=folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = self.fit()
            flavors = import_module(f"mlflow.{flavor}")
            plain = tempfile.mkdtemp(dir=folder)
            flavors.save_model(model, plain, pip_requirements=fleets.pins(), **self.options)
            answers = load(plain).predict(ROWS)
            signature = infer_signature(ROWS, np.asarray(answers) if np.ndim(answers) == 2 else answers)
            flavors.save_model(model, path, pip_requirements=fleets.pins(), signature=signature, **self.options)
        return path


def load(path: str) -> Any:
    """By MLflow's pyfunc."""
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(path, suppress_warnings=True)


def asked(model: Any, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """A library's own answer for the frame that it was fitted on, whose categories are categories."""
    if type(model).__module__ == "xgboost.core":
        import xgboost

        return np.asarray(model.predict(xgboost.DMatrix(frame, enable_categorical=True)))
    return np.asarray(model.predict(frame))


def keep(folder: Path, flavor: str, model: Any, frame: pd.DataFrame, answers: Any = None, **options: Any) -> str:
    """A fitted model as an MLflow model folder, with the signature that MLflow infers of the frame; returns its path.

    answers: what it declares to answer, by default what it answers for the frame.
    """
    path = tempfile.mkdtemp(prefix="model_", dir=folder)
    if flavor == "sklearn":
        options["serialization_format"] = "cloudpickle"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(frame, asked(model, frame) if answers is None else answers)
        flavors = import_module(f"mlflow.{flavor}")
        flavors.save_model(model, path, signature=signature, pip_requirements=fleets.pins(), **options)
    return path


def xgb(name: str, target: Any, fitted: dict[str, Any] | None = None, **options: Any) -> Callable[[], Any]:
    def fit() -> Any:
        import xgboost

        if name == "train":
            return xgboost.train(options, xgboost.DMatrix(ROWS, target), 3)
        return getattr(xgboost, name)(n_estimators=3, **options).fit(ROWS, target, **fitted or {})

    return fit


def lgb(name: str, target: Any, fitted: dict[str, Any] | None = None, **options: Any) -> Callable[[], Any]:
    def fit() -> Any:
        import lightgbm

        if name == "train":
            return lightgbm.train({**QUIET, **options}, lightgbm.Dataset(ROWS, target))
        return getattr(lightgbm, name)(**QUIET, **options).fit(ROWS, target, **fitted or {})

    return fit


def cat(name: str, target: Any, fitted: dict[str, Any] | None = None, **options: Any) -> Callable[[], Any]:
    def fit() -> Any:
        import catboost

        wanted = {**CAT, **options}
        model = catboost.CatBoost(wanted) if name == "CatBoost" else getattr(catboost, name)(**wanted)
        return model.fit(ROWS, target, **fitted or {})

    return fit


def stats(make: Callable[[Any], Any]) -> Callable[[], Any]:
    def fit() -> Any:
        import statsmodels.api

        return make(statsmodels.api)

    return fit


def _formula(_: Any) -> Any:
    import statsmodels.formula.api

    return statsmodels.formula.api.ols("y ~ a + np.exp(b)", ROWS.assign(y=NUMBER)).fit()


# Flavor -> name -> case; all of a group answer in one shape, so that one router can have them.
NUMBERS = {
    "xgboost": {
        "booster": Case(xgb("train", NUMBER)),
        "json": Case(xgb("train", NUMBER), {"model_format": "json"}),
        "linear": Case(xgb("train", NUMBER, booster="gblinear")),
        "regressor": Case(xgb("XGBRegressor", NUMBER)),
        "linear_regressor": Case(xgb("XGBRegressor", NUMBER, booster="gblinear"), arrays=False),
        "forest": Case(xgb("XGBRFRegressor", NUMBER)),
        "ranker": Case(xgb("XGBRanker", THREE, {"qid": GROUPS})),
    },
    "lightgbm": {
        "booster": Case(lgb("train", NUMBER)),
        "regressor": Case(lgb("LGBMRegressor", NUMBER)),
        "cloudpickle": Case(lgb("LGBMRegressor", NUMBER), {"serialization_format": "cloudpickle"}, code=True),
        "pickle": Case(lgb("LGBMRegressor", NUMBER), {"serialization_format": "pickle"}, code=True),
        "ranker": Case(
            lgb("LGBMRanker", THREE, {"group": [10] * 6}),
            {"skops_trusted_types": ["lightgbm.sklearn.LGBMRanker", "collections.defaultdict"]},
        ),
    },
    "catboost": {
        "regressor": Case(cat("CatBoostRegressor", NUMBER)),
        "json": Case(cat("CatBoostRegressor", NUMBER), {"format": "json"}),
        "plain": Case(cat("CatBoost", NUMBER)),
        "ranker": Case(cat("CatBoostRanker", THREE, {"group_id": GROUPS}, loss_function="YetiRank")),
    },
    "statsmodels": {
        "ols": Case(stats(lambda sm: sm.OLS(NUMBER, ROWS).fit()), code=True),
        "poisson": Case(stats(lambda sm: sm.GLM(THREE, ROWS, family=sm.families.Poisson()).fit()), code=True),
        "formula": Case(stats(_formula), arrays=False, code=True),
        "without_data": Case(stats(_formula), {"remove_data": True}, arrays=False, code=True),
    },
}
LABELS = {
    "xgboost": {
        "binary": Case(xgb("XGBClassifier", BINARY)),
        "three": Case(xgb("XGBClassifier", THREE)),
        "forest": Case(xgb("XGBRFClassifier", BINARY)),
    },
    "lightgbm": {
        "binary": Case(lgb("LGBMClassifier", BINARY), arrays=False),
        "three": Case(lgb("LGBMClassifier", THREE), arrays=False),
    },
    "catboost": {"binary": Case(cat("CatBoostClassifier", BINARY))},
}
# Three numbers per row.
WIDE = {
    "xgboost": {"three": Case(xgb("train", THREE, objective="multi:softprob", num_class=3))},
    "lightgbm": {"three": Case(lgb("train", THREE, objective="multiclass", num_class=3))},
}
# A probability for each of three classes, which the model knows.
CLASSES = {"statsmodels": {"logit": Case(stats(lambda sm: sm.MNLogit(MIXED, ROWS).fit(disp=0)), code=True)}}
MIXED = np.random.default_rng(1).integers(0, 3, len(ROWS))
# One label per row, in a column.
COLUMN = {"catboost": {"three": Case(cat("CatBoostClassifier", THREE))}}
GROUPED = {"numbers": NUMBERS, "labels": LABELS, "wide": WIDE, "classes": CLASSES, "column": COLUMN}
ALL = [(group, flavor, name) for group, cases in GROUPED.items() for flavor, named in cases.items() for name in named]


def models(paths: dict[str, str]) -> str:
    """The override that declares these folders as sub-models, each its own key."""
    entries = ",".join(f"{id_}:{{uri:'{path}'}}" for id_, path in paths.items())
    return f"+models={{{entries}}}"
