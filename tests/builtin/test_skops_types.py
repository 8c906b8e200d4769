"""The types that skops files may make: those that fitted estimators need, and nothing that could do harm."""

from __future__ import annotations

import importlib
import os
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import BisectingKMeans
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes IterativeImputer importable
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, TweedieRegressor
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OutputCodeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.random_projection import SparseRandomProjection
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from mmeframe.builtin._skops_types import TRUSTED

ROWS = pd.DataFrame(np.abs(np.random.default_rng(0).standard_normal((60, 3))), columns=["a", "b", "c"])
ROWS["d"] = np.arange(60) % 4
TARGET = ROWS["a"] + 0.1
CLASSES = np.arange(60) % 2
MIXED = ColumnTransformer(
    [
        (
            "numbers",
            make_pipeline(SimpleImputer(), StandardScaler()),
            make_column_selector("[ab]", dtype_include=np.number),
        ),
        ("kinds", OneHotEncoder(), ["c"]),
    ]
)
ESTIMATORS = [
    (AdaBoostClassifier(n_estimators=2), CLASSES),
    (BaggingRegressor(n_estimators=2), TARGET),
    (BisectingKMeans(2), None),
    (CalibratedClassifierCV(LogisticRegression(), cv=2), CLASSES),
    (CalibratedClassifierCV(LogisticRegression(), cv=2, method="isotonic"), CLASSES),
    (DecisionTreeClassifier(), CLASSES),
    (GaussianProcessClassifier(RBF() + WhiteKernel()), CLASSES),
    (GaussianProcessRegressor(Matern()), TARGET),
    (GradientBoostingClassifier(n_estimators=2), CLASSES),
    (GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=2, scoring="r2"), TARGET),
    (HistGradientBoostingRegressor(max_iter=2, loss="poisson"), TARGET),
    (HistGradientBoostingRegressor(max_iter=2, categorical_features=["d"]), TARGET),
    (make_pipeline(IterativeImputer(max_iter=2), Ridge()), TARGET),
    (IsolationForest(n_estimators=2), None),
    (KNeighborsClassifier(metric="manhattan"), CLASSES),
    (KNeighborsRegressor(algorithm="ball_tree", p=3), TARGET),
    (MLPRegressor(hidden_layer_sizes=(2,), max_iter=2), TARGET),
    (MLPRegressor(hidden_layer_sizes=(2,), max_iter=2, solver="sgd"), TARGET),
    (make_pipeline(KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), Ridge()), TARGET),
    (make_pipeline(MIXED, Ridge()), TARGET),
    (make_pipeline(SelectKBest(f_regression, k=2), Ridge()), TARGET),
    (make_pipeline(SparseRandomProjection(2), Ridge()), TARGET),
    (make_pipeline(SplineTransformer(3), Ridge()), TARGET),
    (OutputCodeClassifier(LogisticRegression()), CLASSES),
    (RandomForestClassifier(2), CLASSES),
    (SGDClassifier(loss="modified_huber"), CLASSES),
    (StackingRegressor([("r", Ridge())], cv=2), TARGET),
    (SVC(), CLASSES),
    (TunedThresholdClassifierCV(LogisticRegression(), cv=2), CLASSES),
    (TweedieRegressor(power=1.5), TARGET),
    (VotingClassifier([("l", LogisticRegression())]), CLASSES),
]


@pytest.mark.parametrize(("estimator", "target"), ESTIMATORS, ids=[type(it).__name__ for it, _ in ESTIMATORS])
def test_fitted_estimators_need_nothing_else(estimator, target):
    """scikit-learn's own: trees, boosting, neighbours, kernels, networks, searches and compositions of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = estimator.fit(ROWS, target)

    assert set(skops.io.get_untrusted_types(data=skops.io.dumps(fitted))) <= TRUSTED


@pytest.mark.process
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("kind", ["Regressor", "Classifier"])
def test_pipelines_of_other_libraries_need_nothing_else(library, kind):
    """XGBoost's and LightGBM's estimators as the last step."""
    made = {"xgboost": "XGB", "lightgbm": "LGBM"}[library] + kind
    estimator = getattr(pytest.importorskip(library), made)(n_estimators=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make_pipeline(StandardScaler(), estimator).fit(ROWS, CLASSES)

    assert set(skops.io.get_untrusted_types(data=skops.io.dumps(fitted))) <= TRUSTED


def test_every_trusted_type_exists():
    """A list of what is not there could one day trust something else of that name."""
    for name in TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize(
    "harmful",
    [
        "joblib.memory.Memory",
        "builtins.eval",
        "os.system",
        "operator.methodcaller",
        "scipy.stats._distn_infrastructure.rv_continuous_frozen",
        "scipy.stats._continuous_distns.reciprocal_gen",
    ],
)
def test_what_could_do_anything_is_not_trusted(harmful):
    """Nothing that unpickles, compiles a text, or calls whatever it is given."""
    assert harmful not in TRUSTED


def test_a_partial_is_as_trusted_as_its_function():
    """Some estimators hold one; around a function that is not trusted it is refused."""
    assert set(skops.io.get_untrusted_types(data=skops.io.dumps(partial(np.mean, axis=0)))) <= TRUSTED
    assert (
        "posix.system" in set(skops.io.get_untrusted_types(data=skops.io.dumps(partial(os.system, "true")))) - TRUSTED
    )
