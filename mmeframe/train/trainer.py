"""Fit one sub-model per key, and one on all rows; log and register them without inference.

Everything that can be known before the first fit is checked before it: keys, names, types, requirements, what writes
the sub-models, and whether the store takes what is written.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.cache import work_folder
from mmeframe.errors import ConfigError, count, listed
from mmeframe.fleet.environment import distributions_of
from mmeframe.plugin.components import make_component
from mmeframe.publish.steps import experiment_id, log_folder, move_alias, record_config, register, taken
from mmeframe.redact import redact_tree
from mmeframe.rows.keys import csv_twins
from mmeframe.spec import RouterSpec, TrainSpec
from mmeframe.store.cleanup import BUILD_TAG, Undo, close_leftovers, forget_empty, lease
from mmeframe.store.store import Store
from mmeframe.train.allow import estimator_class
from mmeframe.train.metrics import Answers, answers_of
from mmeframe.train.names import check_written
from mmeframe.train.rows import Key, Rows, read_rows

if TYPE_CHECKING:
    import pandas as pd

    from mmeframe.store.store import Progress

__all__ = ["Trained", "TrainedModel", "train"]

# How scikit-learn's own checks of features begin.
_NOT_FINITE = re.compile(r"Input (X )?contains (NaN|infinity)")
# What MLflow keeps of a parameter's value, and how many it takes at once.
_PARAM_LENGTH, _PARAMS = 5000, 100
# Packages whose types this process has made itself when it trains.
_OURS = ("sklearn", "numpy", "builtins", "functools", "scipy")


@dataclass(frozen=True)
class TrainedModel:
    """One registered sub-model. ``key``: its text, None for that of all rows; ``parts``: the same by key part.

    metrics: of its answers for held-out rows of its key; global_metrics: of the global sub-model's for the same rows.
    """

    name: str
    version: str
    model_id: str
    key: str | None
    parts: Mapping[str, str]
    rows: int
    metrics: Mapping[str, float]
    global_metrics: Mapping[str, float]


@dataclass(frozen=True)
class Trained:
    """What ``train`` made. ``dropped``: rows without a target; ``skipped``: keys with too few rows -> rows.

    failed: keys that could not be fitted -> why, with ``train.on_error: skip``. warnings: what libraries warned of
    during the fits -> how often.
    """

    models: tuple[TrainedModel, ...]
    rows: int
    dropped: int
    no_key: int
    skipped: Mapping[str, int]
    run_id: str
    failed: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, int] = field(default_factory=dict)


@dataclass
class _Fitted:
    """``of_keys``: of the global sub-model, how well it answers the held-out rows of each key."""

    key: Key | None
    model: Any
    rows: int
    metrics: Mapping[str, float]
    of_keys: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)


def train(
    spec: RouterSpec,
    store: Store,
    progress: Progress,
    config: tuple[Mapping[str, Any], tuple[str, ...]],
    allow: Sequence[str] = (),
) -> Trained:
    """Train, log, register and alias. On failure nothing stays half-made: finished sub-models are kept whole.

    config: the unresolved config tree and the overrides, stored with the run after redaction. allow: what the config
    may name, as ``allowance`` gives it.
    Raises ConfigError for columns or classes that do not exist, and for a sub-model that cannot be fitted.
    """
    settings = spec.train
    if settings is None:
        raise ConfigError("the config has no train section for this command.", where="train")
    make = partial(_estimator, estimator_class(settings.estimator.class_, allow), settings)
    estimator = make()
    requirements = _requirements(settings)
    _check_serialization(estimator, settings)
    rows = _for(estimator, read_rows(spec, settings, allow))
    kept = {key: found for key, found in rows.of.items() if len(found) >= settings.min_rows}
    names = _names(kept, len(rows), spec, settings, store)
    writer = _Writer(settings, _signature(rows), requirements)
    with _run(spec, settings, store, config) as (experiment, run_id):
        _check_registry(store.client, next(iter(names.values())), run_id)
        fitted, failed, warned = _fit_all(make, rows, kept, settings, progress)
        log = _Log(store.client, experiment, run_id, writer, names, redact_tree(spec.tracking.tags, "tags"))
        models = log.all(fitted, progress)
    return Trained(
        tuple(models),
        len(rows) + rows.dropped,
        rows.dropped,
        rows.no_key,
        {_text(key, settings): len(found) for key, found in rows.of.items() if key not in kept},
        run_id,
        failed,
        warned,
    )


def _text(key: Key, settings: TrainSpec) -> str:
    """The value of a key with one part, else ``region=eu, store=7``."""
    if len(key) == 1:
        return key[0]
    return ", ".join(f"{part}={value}" for part, value in zip(settings.key, key, strict=True))


def _names(
    kept: Mapping[Key, Any], n_rows: int, spec: RouterSpec, settings: TrainSpec, store: Store
) -> dict[Key | None, str]:
    """Registered names of all sub-models that will be made. Refused before the first fit; keys are data, not shown."""
    if not n_rows:
        hint = "The table has no row with a target. Look at train.reader and train.target."
        raise ConfigError("there is nothing to train.", where="train", hint=hint)
    if not kept and not settings.global_as:
        few = f"Every key has fewer than train.min_rows={settings.min_rows} rows with a target"
        hint = f"{few}, and train.global_as is null."
        raise ConfigError("there is nothing to train.", where="train", hint=hint)
    bad = sum(1 for key in kept if set("".join(key)) & set("/:") or not "".join(key).isprintable())
    if bad:
        what = f"{count(bad, 'key')} cannot be part of a registered name."
        hint = "MLflow takes no /, no : and no line breaks there. Clean the column first; of times train over a part, "
        raise ConfigError(what, where="train.register_as", hint=f"{hint}with routing=datepart.")
    _check_twins(kept, spec, settings)

    def name(key: Key) -> str:
        values = dict(zip(settings.key, key, strict=True))
        return re.sub(r"\{([^{}]*)\}", lambda match: values.get(match[1], match[0]), settings.register_as)

    names: dict[Key | None, str] = {key: name(key) for key in kept}
    shared = len(names) - len(set(names.values()))
    if shared:
        hint = "Put another separator between the parts, one that no key holds."
        raise ConfigError(
            f"{count(shared + 1, 'key')} would share registered names.", where="train.register_as", hint=hint
        )
    if settings.global_as is not None:
        names[None] = settings.global_as
    check_written(spec, settings, names, store)
    return names


def _check_twins(keys: Collection[Key], spec: RouterSpec, settings: TrainSpec) -> None:
    """Refuse keys that a build refuses, because a CSV reader makes two of them one."""
    for part in spec.routing.parts:
        if part.name not in settings.key or "key" not in make_component(part.strategy).inputs().columns.values():
            continue
        texts = {key[settings.key.index(part.name)] for key in keys}
        if twins := csv_twins(sorted(texts)):
            what = f"{count(len(twins), 'key')} and another one differ only in how they are written, as 007 and 7 do."
            hint = "A CSV file or a spreadsheet makes them one, and no router takes both. Clean the column first."
            raise ConfigError(what, where=f"routing.keys.{part.name}", hint=hint)


def _for(estimator: Any, rows: Rows) -> Rows:
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


def _estimator(kind: Any, settings: TrainSpec) -> Any:
    """A fresh pipeline: numeric columns as they are, categorical ones encoded, then the config's estimator, a kind."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    try:
        estimator = kind(**settings.estimator.params)
    except TypeError as error:
        raise ConfigError(str(error), where="train.estimator.params") from None
    if lacks := [name for name in ("fit", "predict", "get_params") if not hasattr(estimator, name)]:
        what = f"{settings.estimator.class_} is no estimator that answers rows: it has no {' and no '.join(lacks)}."
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


def _fit_all(
    make: Callable[[], Any], rows: Rows, kept: Mapping[Key, Any], settings: TrainSpec, progress: Progress
) -> tuple[list[_Fitted], dict[str, str], dict[str, int]]:
    """The sub-models, keys that could not be fitted with the reason, and what libraries warned of."""
    held = _holdout(kept, len(rows), settings)
    work: list[tuple[Key | None, Any]] = [*kept.items()]
    if settings.global_as:
        work.append((None, np.arange(len(rows))))

    def fit(item: tuple[Key | None, Any]) -> _Fitted | ConfigError:
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
                failed["(all)" if key is None else _text(key, settings)] = result.what
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
) -> _Fitted:
    used, test = found[~held[found]], found[held[found]]
    features, target = rows.features, rows.target
    with _explained(key, features.iloc[found], target.iloc[used], settings):
        model.fit(features.iloc[used], target.iloc[used])
        answers = answers_of(model, features.iloc[test], target.iloc[test]) if len(test) else None
    if answers is None:
        return _Fitted(key, model, len(used), {})
    of_keys = _of_keys(answers, test, kept, held) if key is None else {}
    return _Fitted(key, model, len(used), answers.metrics(), of_keys)


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
    return f"{settings.key[0]} {key[0]!r}" if len(key) == 1 else _text(key, settings)


def _gaps(features: pd.DataFrame, settings: TrainSpec) -> str:
    """Numeric columns with values that are no finite number, and in how many rows: ``'a' in 3, 'b' in 1``."""
    counts = (~np.isfinite(features[list(settings.features.numeric)])).sum()
    found = [f"{name!r} in {count}" for name, count in counts.items() if count]
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more columns" if found[8:] else "")


# -- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def _run(
    spec: RouterSpec, settings: TrainSpec, store: Store, config: tuple[Mapping[str, Any], tuple[str, ...]]
) -> Iterator[tuple[str, str]]:
    """The run of a training: experiment and run id. What was asked for is written first, so that a store that takes
    nothing is known before the work.
    """
    client, tracking = store.client, spec.tracking
    experiment = experiment_id(client, tracking)
    tags = {**redact_tree(tracking.tags, "tags"), BUILD_TAG: lease(), "mlflow.source.name": "mmeframe train"}
    with taken("the store cannot be written"):
        close_leftovers(client, experiment)
        run = client.create_run(experiment, tags=tags, run_name=tracking.run_name or f"train-{spec.name}")
    run_id = str(run.info.run_id)
    try:
        record_config(client, run_id, config)
        _log_params(client, run_id, _params(settings))
        yield experiment, run_id
        client.set_terminated(run_id, "FINISHED")
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise


def _check_registry(client: Any, name: str, run_id: str) -> None:
    """Write to the registry, which may be another store, and take it back. Raises ConfigError if it takes nothing."""
    from mlflow.exceptions import MlflowException

    with Undo() as undo, taken("the registry cannot be written", "MLFLOW_REGISTRY_URI"):
        try:
            known = client.get_registered_model(name) is not None
        except MlflowException:
            known = False
        if known:
            client.set_registered_model_tag(name, "mmeframe.run", run_id)
            client.delete_registered_model_tag(name, "mmeframe.run")
        else:
            undo.add(lambda: forget_empty(client, name))
            client.create_registered_model(name)


def _params(settings: TrainSpec) -> dict[str, str]:
    """What a fit depends on, as MLflow's parameters."""
    given = redact_tree(dict(settings.estimator.params))
    facts = {
        "estimator.class": settings.estimator.class_,
        **{f"estimator.params.{name}": value for name, value in given.items()},
        "target": settings.target,
        "features.numeric": ",".join(settings.features.numeric),
        "features.categorical": ",".join(settings.features.categorical),
        "holdout": settings.holdout,
        "seed": settings.seed,
        "min_rows": settings.min_rows,
        "serialization": settings.serialization,
    }
    return {name: str(value)[:_PARAM_LENGTH] for name, value in facts.items()}


def _log_params(client: Any, run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    found = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(found), _PARAMS):
        client.log_batch(run_id, params=found[start : start + _PARAMS])


@dataclass
class _Writer:
    """Writes sub-models as MLflow does. ``trusted``: the types of the last one, nearly always those of the next."""

    settings: TrainSpec
    signature: Any
    requirements: list[str]
    trusted: list[str] = field(default_factory=list)

    def write(self, model: Any, path: str, described: Any) -> None:
        """Save with exactly the types that the model needs; only a model unlike the last one is serialised twice."""
        if self.settings.serialization != "skops":
            self._save(model, path, described, None)
        elif not self._written_like_the_last(model, path, described):
            import skops.io

            shutil.rmtree(path, ignore_errors=True)
            self.trusted = _trusted(data=skops.io.dumps(model))
            self._save(model, path, described, self.trusted)

    def _written_like_the_last(self, model: Any, path: str, described: Any) -> bool:
        """Whether MLflow could load the file with the last one's types, and the file needs all of them."""
        from mlflow.exceptions import MlflowException

        try:
            self._save(model, path, described, self.trusted)
        except MlflowException:
            return False
        return _trusted(file=Path(path) / described.flavors["sklearn"]["pickled_model"]) == self.trusted

    def _save(self, model: Any, path: str, described: Any, trusted: list[str] | None) -> None:
        import mlflow.sklearn

        with _quiet():
            mlflow.sklearn.save_model(
                model,
                path,
                mlflow_model=described,
                serialization_format=self.settings.serialization,
                signature=self.signature,
                pip_requirements=self.requirements,
                skops_trusted_types=trusted,
            )


@dataclass
class _Log:
    """Logs and registers sub-models of one run. ``tags``: of the config, on each of them."""

    client: Any
    experiment: str
    run_id: str
    writer: _Writer
    names: Mapping[Key | None, str]
    tags: Mapping[str, str]

    def all(self, fitted: Sequence[_Fitted], progress: Progress) -> list[TrainedModel]:
        overall = next((model for model in fitted if model.key is None), None)
        logged: list[TrainedModel] = []
        with work_folder() as folder:
            for number, model in enumerate(fitted):
                progress("logging", number, len(fitted))
                known = overall.of_keys.get(model.key, {}) if overall and model.key is not None else {}
                logged.append(self._one(model, known, folder / str(number)))
        progress("logging", len(fitted), len(fitted))
        return logged

    def _one(self, model: _Fitted, global_metrics: Mapping[str, float], folder: Path) -> TrainedModel:
        client, settings, name = self.client, self.writer.settings, self.names[model.key]
        parts = {} if model.key is None else dict(zip(settings.key, model.key, strict=True))
        tags = {**self.tags, "mmeframe.rows": str(model.rows), **parts}

        def save(path: str, described: Any) -> None:
            self.writer.write(model.model, path, described)

        with Undo() as undo:
            model_id = log_folder(
                client, self.experiment, self.run_id, _model_name(name), save, folder, tags, undo, _params(settings)
            )
            shutil.rmtree(folder, ignore_errors=True)
            version = register(client, name, model_id, self.run_id, tags, undo)
            self._log_metrics(model_id, model.metrics, global_metrics)
            if settings.alias:
                move_alias(client, name, settings.alias, version, undo)
            undo.keep()
        key = None if model.key is None else _text(model.key, settings)
        return TrainedModel(name, version, model_id, key, parts, model.rows, model.metrics, global_metrics)

    def _log_metrics(self, model_id: str, own: Mapping[str, float], global_: Mapping[str, float]) -> None:
        named = {f"holdout_{name}": value for name, value in own.items()}
        named |= {f"global_holdout_{name}": value for name, value in global_.items()}
        for name, value in named.items():
            if np.isfinite(value):
                self.client.log_metric(self.run_id, name, value, model_id=model_id)


def _model_name(name: str) -> str:
    """A LoggedModel's name, in which MLflow refuses what a registered model's may have."""
    return "".join("_" if letter in "/:.%\"'" else letter for letter in name)


def _quiet() -> Any:
    """MLflow warns about pickles and hints at types; the config has chosen both."""
    import contextlib
    import logging

    @contextlib.contextmanager
    def hushed() -> Iterator[None]:
        logger = logging.getLogger("mlflow.sklearn")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)

    return hushed()


def _trusted(**dump: Any) -> list[str]:
    """Types that skops does not know and that this process has just made itself: only of scikit-learn and numpy.

    dump: ``data`` or ``file``, as skops takes them. Raises ConfigError for types of others.
    """
    import skops.io

    unknown: list[str] = skops.io.get_untrusted_types(**dump)
    if others := [name for name in unknown if name.split(".")[0] not in _OURS]:
        what = f"a skops file that anybody loads cannot hold these types: {listed(others)}."
        hint = "Set train.serialization=cloudpickle, for sub-models whose files can run code."
        raise ConfigError(what, where="train.serialization", hint=hint)
    return unknown


def _check_serialization(estimator: Any, settings: TrainSpec) -> None:
    """Refuse an estimator that could not be written, or not be read again. Raises ConfigError."""
    import pickle

    try:
        if settings.serialization != "skops":
            pickle.dumps(estimator)
            return
        import skops.io

        data = skops.io.dumps(estimator)
    except Exception as error:
        what = f"{settings.estimator.class_} cannot be written: {type(error).__name__}."
        hint = "Choose another estimator, or another serialization."
        raise ConfigError(what, where="train.serialization", hint=hint) from error
    _trusted(data=data)


def _signature(rows: Rows) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs: list[Any] = [ColSpec(column.type, column.name) for column in rows.columns]
    return ModelSignature(Schema(inputs), Schema([ColSpec(rows.answer, "prediction")]))


def _requirements(settings: TrainSpec) -> list[str]:
    """What a sub-model needs, said and not inferred: MLflow would start a process per model to find out.

    Raises ConfigError for an estimator of a package that cannot be required.
    """
    package = settings.estimator.class_.split(".")[0]
    names = ["mlflow", "scikit-learn", "pandas", "numpy", distributions_of([package]).get(package, package)]
    names += [settings.serialization] if settings.serialization in ("skops", "cloudpickle") else []
    try:
        return [f"{name}=={metadata.version(name)}" for name in dict.fromkeys(names)]
    except metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed as a distribution, so a router could not require it.",
            where="train.estimator.class",
            hint="Give it a pyproject.toml and install it: pip install -e <its folder>.",
        ) from None
