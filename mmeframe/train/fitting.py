"""Fit the sub-models of a training, in threads: what fails is told by its key, and never with the rows' values."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.errors import ConfigError
from mmeframe.sections import TrainSpec
from mmeframe.train.metrics import Answers, answers_of
from mmeframe.train.names import key_text
from mmeframe.train.rows import Key, Rows

if TYPE_CHECKING:
    import pandas as pd

    from mmeframe.store.store import Progress

__all__ = ["Fitted", "fit_all", "make_estimator", "rows_for"]

# How scikit-learn's own checks of features begin.
_NOT_FINITE = re.compile(r"Input (X )?contains (NaN|infinity)")


@dataclass
class Fitted:
    """``of_keys``: of the global sub-model, how well it answers the held-out rows of each key."""

    key: Key | None
    model: Any
    rows: int
    metrics: Mapping[str, float]
    of_keys: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)


def rows_for(estimator: Any, rows: Rows) -> Rows:
    """The rows with the target that an estimator takes, and the type of its answers: doubles for a regressor."""
    from sklearn.base import is_regressor

    if rows.answer == "datetime":
        hint = "Train on a number, such as the days until then, or on classes."
        raise ConfigError("the target holds times.", where="train.target", hint=hint)
    if rows.answer == "string":
        target = rows.target.astype(object)
        return replace(rows, target=target, answer="double" if is_regressor(estimator) else "string")
    if is_regressor(estimator):
        return replace(rows, target=rows.target.astype(np.float64), answer="double")
    return rows


def _holdout(kept: Mapping[Key, Any], n_rows: int, settings: TrainSpec) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The same held-out rows for every sub-model: a share of each key, so that their errors can be compared."""
    held = np.zeros(n_rows, bool)
    random = np.random.default_rng(settings.seed)
    for found in kept.values():
        held[random.choice(found, int(len(found) * settings.holdout), replace=False)] = True
    return held


def make_estimator(kind: Any, settings: TrainSpec) -> Any:
    """A fresh pipeline: numeric columns as they are, categorical ones encoded, then the config's estimator, a kind."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    try:
        estimator = kind(**settings.estimator.params)
    except TypeError as error:
        raise ConfigError(str(error), where="train.estimator.params") from None
    if lacks := [name for name in ("fit", "predict", "get_params") if not hasattr(estimator, name)]:
        what = f"{settings.estimator.class_} cannot score rows: it has no {' and no '.join(lacks)}."
        raise ConfigError(what, where="train.estimator.class", hint="Name a regressor or a classifier.")
    if "random_state" in estimator.get_params() and "random_state" not in settings.estimator.params:
        estimator.set_params(random_state=settings.seed)
    if not settings.features.categorical:
        return estimator
    if "categorical_features" in estimator.get_params():
        encoder: Any = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
        )
        estimator.set_params(categorical_features=list(range(len(settings.features.categorical))))
    else:
        encoder = OneHotEncoder(handle_unknown="ignore")
    encode = ColumnTransformer(
        [("categorical", encoder, list(settings.features.categorical))], remainder="passthrough", sparse_threshold=0
    )
    return make_pipeline(encode, estimator)


def fit_all(
    make: Callable[[], Any], rows: Rows, kept: Mapping[Key, Any], settings: TrainSpec, progress: Progress
) -> tuple[list[Fitted], dict[str, str], dict[str, int]]:
    """The sub-models, keys that could not be fitted with the reason, and what libraries warned of."""
    held = _holdout(kept, len(rows), settings)
    work: list[tuple[Key | None, Any]] = [*kept.items()]
    if settings.global_as:
        work.append((None, np.arange(len(rows))))

    def fit(item: tuple[Key | None, Any]) -> Fitted | ConfigError:
        try:
            return _fit(make(), *item, rows, kept, held, settings)
        except ConfigError as error:
            # The estimator's own parameters are wrong for every key.
            if settings.on_error == "raise" or error.where == "train.estimator.params":
                raise
            return error

    fitted, failed = [], {}
    with (
        _unprinted(),
        warnings.catch_warnings(record=True) as warned,
        ThreadPoolExecutor(settings.jobs or os.cpu_count() or 1) as pool,
    ):
        warnings.simplefilter("always")
        for done, ((key, _), result) in enumerate(zip(work, pool.map(fit, work), strict=True), start=1):
            if isinstance(result, ConfigError):
                failed["(all)" if key is None else key_text(key, settings)] = result.what
            else:
                fitted.append(result)
            progress("training", done, len(work))
    if not fitted:
        raise ConfigError("no sub-model can be trained.", where="train", hint=next(iter(failed.values())))
    return fitted, failed, dict(Counter(sorted(it.category.__name__ for it in warned)))


@contextmanager
def _unprinted() -> Iterator[None]:
    """What libraries print while they fit goes nowhere: it would stand between the results.

    Compiled ones write past Python's stdout, so the whole process prints nothing meanwhile.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _fit(
    model: Any, key: Key | None, found: Any, rows: Rows, kept: Mapping[Key, Any], held: Any, settings: TrainSpec
) -> Fitted:
    used, test = found[~held[found]], found[held[found]]
    features, target = rows.features, rows.target
    with _explained(key, features.iloc[found], target.iloc[used], settings):
        model.fit(features.iloc[used], target.iloc[used])
        answers = answers_of(model, features.iloc[test], target.iloc[test]) if len(test) else None
    if answers is None:
        return Fitted(key, model, len(used), {})
    of_keys = _of_keys(answers, test, kept, held) if key is None else {}
    return Fitted(key, model, len(used), answers.metrics(), of_keys)


def _of_keys(answers: Answers, test: Any, kept: Mapping[Key, Any], held: Any) -> dict[Key, Mapping[str, float]]:
    """Metrics of the global sub-model for the held-out rows of each key. test: rows of the answers, ascending."""
    return {key: answers.of(np.searchsorted(test, found[held[found]])).metrics() for key, found in kept.items()}


@contextmanager
def _explained(key: Key | None, features: pd.DataFrame, target: pd.Series[Any], settings: TrainSpec) -> Iterator[None]:
    """Say which sub-model a library refuses, and what is known about its rows.

    The library's text may hold data: it is only the cause, save for a text about the estimator's own parameters.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ == "InvalidParameterError":
            raise ConfigError(str(error), where="train.estimator.params") from error
        who = "the global sub-model" if key is None else f"the sub-model of {_shown(key, settings)}"
        what = f"{who} cannot be trained: {settings.estimator.class_} raised {type(error).__name__}"
        gaps = _gaps(features, settings)
        if gaps and _NOT_FINITE.match(str(error)):
            what = f"{what}, for missing or infinite values in {gaps} of {len(features)} rows."
            hint = "Clean the table, or choose an estimator that takes missing values: HistGradientBoosting* does."
            raise ConfigError(what, where="train.features", hint=hint) from error
        kind = type(target.iloc[0]).__name__
        seen = f"{len(target)} rows with {target.nunique()} different values of {target.name!r} ({kind})"
        hint = f"It had {seen}. Regressors need numbers, classifiers two classes. train.on_error=skip leaves it out."
        hint = f"{hint} --debug shows the cause."
        raise ConfigError(f"{what}.", where="train.estimator", hint=hint) from error


def _shown(key: Key, settings: TrainSpec) -> str:
    return f"{settings.key[0]} {key[0]!r}" if len(key) == 1 else key_text(key, settings)


def _gaps(features: pd.DataFrame, settings: TrainSpec) -> str:
    """Numeric columns with values that are no finite number, and in how many rows: ``'a' in 3, 'b' in 1``."""
    counts = (~np.isfinite(features[list(settings.features.numeric)])).sum()
    found = [f"{name!r} in {count}" for name, count in counts.items() if count]
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more columns" if found[8:] else "")
