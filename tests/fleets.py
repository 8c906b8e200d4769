"""Real sub-models, logged with MLflow's own functions."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.bundle import Manifest
from mmeframe.plugin.manager import Plugins, load_plugins

REQUIREMENTS = ["mlflow", "scikit-learn", "skops", "cloudpickle"]


@cache
def plugins() -> Plugins:
    """The built-in plugins, found once: looking for installed ones takes a while."""
    return load_plugins()


def with_strategy(manifest: Manifest, **changes: Any) -> Manifest:
    """The same, with another strategy of its first key part."""
    part, *others = manifest.routing.parts
    part = replace(part, strategy=replace(part.strategy, **changes))
    return replace(manifest, routing=replace(manifest.routing, parts=(part, *others)))


@contextlib.contextmanager
def active(uri: str) -> Iterator[None]:
    """Make a store MLflow's own for a while."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder: MLflow puts artifacts beside its database."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def make_store(folder: Path) -> str:
    """An empty sqlite store with all its tables."""
    uri = f"sqlite:///{folder}/mlflow.db"
    with inside(folder), active(uri):
        from mlflow import MlflowClient

        MlflowClient().search_experiments()
    return uri


def pins() -> list[str]:
    """Exact requirements of this environment, as MLflow would write them."""
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in REQUIREMENTS]


def rows(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """x1, x2: standard normal; dow: 0 to 6 in turn."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.standard_normal((n, 2)), columns=["x1", "x2"])
    frame["dow"] = np.arange(n) % 7
    return frame


def fitted(seed: int) -> Any:
    """A Ridge of x1 and x2 that differs by seed."""
    from sklearn.linear_model import Ridge

    frame = rows(80, seed)
    return Ridge().fit(frame[["x1", "x2"]], (seed + 1) * frame["x1"] - frame["x2"] + seed)


def log_sklearn(
    model: Any,
    name: str,
    example: pd.DataFrame,
    *,
    alias: str | None = "champion",
    register: bool = True,
    requirements: list[str] | None = None,
    signature: Any = "infer",
    **options: Any,
) -> Any:
    """Log and register with MLflow, with alias. Returns MLflow's ModelInfo."""
    import mlflow
    from mlflow.models import infer_signature

    if isinstance(signature, str):
        signature = infer_signature(example, model.predict(example))
    with warnings.catch_warnings(), mlflow.start_run():
        warnings.simplefilter("ignore")
        info = mlflow.sklearn.log_model(
            model,
            name=name.replace("/", "_"),
            signature=signature,
            pip_requirements=pins() if requirements is None else requirements,
            registered_model_name=name if register else None,
            **options,
        )
    if register and alias:
        mlflow.MlflowClient().set_registered_model_alias(name, alias, info.registered_model_version)
    return info


def keep(folder: Path, model: Any, rows: pd.DataFrame, answers: Any = None, **options: Any) -> str:
    """Save an estimator as a plain MLflow model folder in ``folder``; returns its path.

    answers: what it declares to answer for ``rows``, by default what it predicts.
    """
    import mlflow
    from mlflow.models import infer_signature

    path = tempfile.mkdtemp(prefix="model_", dir=folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            path,
            signature=infer_signature(rows, model.predict(rows) if answers is None else answers),
            pip_requirements=pins(),
            serialization_format="cloudpickle",
            **options,
        )
    return path


def log_week(folder: Path) -> None:
    """day_0 ... day_6 and all_days."""
    example = rows(5)[["x1", "x2"]]
    with inside(folder), active(f"sqlite:///{folder}/mlflow.db"):
        for day in range(7):
            log_sklearn(fitted(day), f"day_{day}", example, tags={"dow": str(day)})
        log_sklearn(fitted(20), "all_days", example)


# Overrides of a router over the week: weekday by column, else the global sub-model.
WEEK = (
    "routing=column",
    "routing.column=dow",
    "routing.levels=[[dow],[]]",
    "+source@sources.days=registry",
    "sources.days.name='day_{dow}'",
    "+models.everyone={uri:'models:/all_days@champion',key:{}}",
)
