"""Fit one sub-model per value of a key part, and one on all rows; log and register them without inference.

The key of a row is computed by the router's own strategy, so training and serving cannot disagree about it.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.build.cleanup import Undo
from mmeframe.build.environment import distributions_of
from mmeframe.build.log import experiment_id, log_folder, move_alias, register
from mmeframe.build.store import Store
from mmeframe.cache import work_folder
from mmeframe.errors import ConfigError, MissingError, listed, suggest
from mmeframe.keys import NA_WORDS, canonical, is_whole
from mmeframe.plugin import ComponentContext, RoutingInputs
from mmeframe.plugin.components import make_component
from mmeframe.redact import redact_tree
from mmeframe.runtime.batch import FrameBatch
from mmeframe.spec import Reader, RouterSpec, TrainSpec
from mmeframe.train.names import check_written, name_of

if TYPE_CHECKING:
    import pandas as pd

    from mmeframe.build.store import Progress

__all__ = ["Trained", "TrainedModel", "read", "train"]

_SKOPS_PACKAGES = ("sklearn", "numpy", "builtins", "functools", "scipy")
# How scikit-learn's own checks of features begin.
_NOT_FINITE = re.compile(r"Input (X )?contains (NaN|infinity)")


@dataclass(frozen=True)
class TrainedModel:
    """One registered sub-model. Errors are root mean squared, on held-out rows of its key; ``key`` None: all rows."""

    name: str
    version: str
    model_id: str
    key: str | None
    rows: int
    error: float | None
    global_error: float | None


@dataclass(frozen=True)
class Trained:
    """What ``train`` made. ``dropped``: rows without a target; ``skipped``: keys with too few rows -> rows."""

    models: tuple[TrainedModel, ...]
    rows: int
    dropped: int
    no_key: int
    skipped: Mapping[str, int]
    run_id: str


@dataclass
class _Fitted:
    key: str | None
    model: Any
    rows: int
    error: float | None
    errors: dict[str, float]


def read(reader: Reader, packages: tuple[str, ...], keys: frozenset[str] = frozenset()) -> pd.DataFrame:
    """The table to train on: a file, or an object of an allowed package (called if it is a function).

    keys: columns that carry a routing key; in a CSV file "02108" stays itself there.
    """
    import pandas as pd

    if reader.path:
        path = Path(reader.path)
        if not path.is_file():
            raise MissingError(f"there is no file {path.absolute()}.", where="train.reader.path")
        if path.suffix == ".csv":
            names = pd.read_csv(path, nrows=0).columns
            missing = {name: [""] if name in keys else sorted(NA_WORDS) for name in names}
            table = pd.read_csv(path, dtype=dict.fromkeys(keys, str), keep_default_na=False, na_values=missing)
            for name in keys & set(table.columns):
                table[name] = _plain_numbers(table[name])
        elif path.suffix in (".parquet", ".json"):
            table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, dtype=False)
        else:
            raise ConfigError(f"{path.name} is none of .csv, .parquet, .json.", where="train.reader.path")
    else:
        found: Any = _allowed(reader.object or "", packages, "train.reader.object", ":")
        table = found if isinstance(found, pd.DataFrame) or not callable(found) else found()
    if not isinstance(table, pd.DataFrame):
        raise ConfigError(f"it gave {type(table).__name__}, not a DataFrame.", where="train.reader")
    return table


def _plain_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """A text column as numbers, if it holds nothing but whole ones, as programs write them (``7``, ``7.0``)."""
    import pandas as pd

    whole = column.dropna().str.fullmatch(r"-?(?:0|[1-9]\d*)(?:\.0+)?").all()
    return pd.to_numeric(column) if whole else column


def _allowed(name: str, packages: tuple[str, ...], where: str, separator: str) -> Any:
    """The object behind a dotted name, from the packages that the config allows."""
    module, _, attribute = name.rpartition(separator)
    if name.split(".")[0].split(":")[0] not in packages:
        hint = f"Add its package to train.packages ({', '.join(packages)}) if you trust it."
        raise ConfigError(f"{name!r} is not from an allowed package.", where=where, hint=hint)
    try:
        home = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{name!r} cannot be imported: {error}.", where=where) from None
    if not hasattr(home, attribute):
        raise ConfigError(f"{module} has no {attribute!r}.", where=where, hint=suggest(attribute, dir(home), "It has"))
    return getattr(home, attribute)


def train(spec: RouterSpec, store: Store, progress: Progress) -> Trained:
    """Train, log, register and alias. On failure nothing stays half-made: finished sub-models are kept whole.

    Raises ConfigError for columns or classes that do not exist, and for a sub-model that cannot be fitted.
    """
    settings = spec.train
    if settings is None:
        raise ConfigError("the config has no train section for this command.", where="train")
    part = next(part for part in spec.routing.parts if part.name == settings.key)
    strategy = make_component(part.strategy)
    inputs = strategy.inputs()
    carriers = frozenset(name for name, kind in inputs.columns.items() if kind == "key") | frozenset(inputs.params)
    table = read(settings.reader, settings.packages, carriers)
    _check_columns(table, settings)
    total = len(table)
    table = table[table[settings.target].notna()].reset_index(drop=True)
    dropped = total - len(table)
    keys = _keys(strategy, inputs, table)
    no_key = sum(key is None for key in keys)
    rows_of = _rows_by_key(keys)
    skipped = {key: len(rows) for key, rows in rows_of.items() if len(rows) < settings.min_rows}
    rows_of = {key: rows for key, rows in rows_of.items() if key not in skipped}
    _check_names(rows_of, settings)
    check_written(spec, settings, rows_of, store)
    held = _holdout(rows_of, len(table), settings)
    _estimator(settings)  # fail before the work, not in it
    fitted = _fit_all(table, rows_of, held, settings, progress)
    run_id, models = _log_all(fitted, spec, settings, store, table, progress)
    return Trained(tuple(models), total, dropped, no_key, skipped, run_id)


def _check_names(rows_of: Mapping[str, Any], settings: TrainSpec) -> None:
    """Refuse keys that cannot be part of a registered name, before the first fit; the keys are data, and not shown."""
    if not rows_of and not settings.global_as:
        hint = f"Every key has fewer than train.min_rows={settings.min_rows} rows, and train.global_as is null."
        raise ConfigError("there is nothing to train.", where="train", hint=hint)
    bad = sum(1 for key in rows_of if set(key) & set("/:") or not key.isprintable())
    if bad:
        hint = "MLflow's registered names hold no / and no :. Clean the column first."
        raise ConfigError(f"{bad} keys cannot be part of a registered name.", where="train.register_as", hint=hint)


def _check_columns(table: pd.DataFrame, settings: TrainSpec) -> None:
    for where, names in (
        ("train.target", [settings.target]),
        ("train.features.numeric", settings.features.numeric),
        ("train.features.categorical", settings.features.categorical),
    ):
        for name in names:
            if name not in table.columns:
                hint = suggest(name, table.columns, "Its columns")
                raise ConfigError(f"the table has no column {name!r}.", where=where, hint=hint)


def _keys(strategy: Any, inputs: RoutingInputs, table: pd.DataFrame) -> list[str | None]:
    """The canonical key of each row, as the router will compute it; None where it is missing."""
    strategy.bind(ComponentContext(strategy.prepare()))
    if inputs.params and not inputs.columns:
        # A key that requests carry as a parameter is a column of the training table, of the same name.
        name = inputs.params[0]
        if name not in table.columns:
            hint = suggest(name, table.columns, "Its columns")
            raise ConfigError(f"the table has no column {name!r} to group by.", where="train.key", hint=hint)
        raw = table[name].array
    else:
        raw = strategy.route_keys(FrameBatch(table), {})
    import pandas as pd

    positions, uniques = pd.factorize(pd.Series(raw))
    texts = [*(canonical(value) for value in uniques), None]
    return [texts[position] for position in positions]


def _rows_by_key(keys: list[str | None]) -> dict[str, np.ndarray[Any, Any]]:
    import pandas as pd

    groups = pd.Series(range(len(keys))).groupby(pd.Series(keys, dtype=object), sort=False).indices
    rows = {str(key): np.asarray(found) for key, found in groups.items()}
    return dict(
        sorted(rows.items(), key=lambda item: (not is_whole(item[0]), int(item[0]) if is_whole(item[0]) else 0))
    )


def _holdout(rows_of: Mapping[str, Any], n_rows: int, settings: TrainSpec) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The same held-out rows for every sub-model: a share of each key, so that their errors can be compared."""
    held = np.zeros(n_rows, bool)
    random = np.random.default_rng(settings.seed)
    for rows in rows_of.values():
        held[random.choice(rows, int(len(rows) * settings.holdout), replace=False)] = True
    return held


def _estimator(settings: TrainSpec) -> Any:
    """A fresh pipeline: numeric columns as they are, categorical ones encoded, then the config's estimator."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    kind = _allowed(settings.estimator.class_, settings.packages, "train.estimator.class", ".")
    try:
        estimator = kind(**settings.estimator.params)
    except TypeError as error:
        raise ConfigError(str(error), where="train.estimator.params") from None
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
    table: pd.DataFrame, rows_of: Mapping[str, Any], held: Any, settings: TrainSpec, progress: Progress
) -> list[_Fitted]:
    features = _features(table, settings)
    target = table[settings.target]
    work: dict[str | None, Any] = {}
    work.update(rows_of)
    if settings.global_as:
        work[None] = np.arange(len(table))
    done = 0

    def fit(key: str | None, rows: Any) -> _Fitted:
        used = rows[~held[rows]]
        model = _estimator(settings)
        test = rows[held[rows]]
        error, errors = None, {}
        with _explained(key, features.iloc[rows], target.iloc[used], settings):
            model.fit(features.iloc[used], target.iloc[used])
            guessed = np.asarray(model.predict(features.iloc[test])) if len(test) else None
        if guessed is not None:
            error = _rmse(target.iloc[test], guessed)
            if key is None:
                missed = np.full(len(table), np.nan)
                missed[test] = np.asarray(target.iloc[test]) - guessed if target.dtype.kind in "iuf" else np.nan
                errors = {
                    k: float(np.sqrt(np.nanmean(missed[r[held[r]]] ** 2))) for k, r in rows_of.items() if held[r].any()
                }
        return _Fitted(key, model, len(used), error, errors)

    fitted = []
    with ThreadPoolExecutor(settings.jobs or os.cpu_count() or 1) as pool:
        for result in pool.map(lambda item: fit(*item), work.items()):
            fitted.append(result)
            done += 1
            progress("training", done, len(work))
    return fitted


def _features(table: pd.DataFrame, settings: TrainSpec) -> pd.DataFrame:
    """The columns to learn from, the categorical ones first.

    A column of whole numbers may be missing one day: doubles hold that, and MLflow advises the same.
    """
    numbers = {}
    for name in settings.features.numeric:
        try:
            numbers[name] = table[name].astype(float)
        except (TypeError, ValueError):
            what = f"the column {name!r} ({table[name].dtype}) holds what is no number."
            hint = "Clean it, or list it in train.features.categorical."
            raise ConfigError(what, where="train.features.numeric", hint=hint) from None
    return table[[*settings.features.categorical, *settings.features.numeric]].assign(**numbers)


@contextmanager
def _explained(key: str | None, features: pd.DataFrame, target: pd.Series[Any], settings: TrainSpec) -> Iterator[None]:
    """Say which sub-model a library refuses, and what is known about its rows.

    The library's text may hold data: it is only the cause, save for a text about the estimator's own parameters.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ == "InvalidParameterError":
            raise ConfigError(str(error), where="train.estimator.params") from error
        who = "the global sub-model" if key is None else f"the sub-model of {settings.key} {key!r}"
        what = f"{who} cannot be trained: {settings.estimator.class_} raised {type(error).__name__}"
        gaps = _gaps(features, settings)
        if gaps and _NOT_FINITE.match(str(error)):
            what = f"{what}, for missing or infinite values in {gaps} of {len(features)} rows."
            hint = "Clean the table, or choose an estimator that takes missing values: HistGradientBoosting* does."
            raise ConfigError(what, where="train.features", hint=hint) from error
        seen = f"{len(target)} rows with {target.nunique()} different values of {target.name!r} ({target.dtype})"
        hint = f"It had {seen}. Regressors need numbers, classifiers classes. --debug shows the cause."
        raise ConfigError(f"{what}.", where="train.estimator", hint=hint) from error


def _gaps(features: pd.DataFrame, settings: TrainSpec) -> str:
    """Numeric columns with values that are no finite number, and in how many rows: ``'a' in 3, 'b' in 1``."""
    counts = (~np.isfinite(features[list(settings.features.numeric)])).sum()
    found = [f"{name!r} in {count}" for name, count in counts.items() if count]
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more columns" if found[8:] else "")


def _rmse(target: Any, guessed: Any) -> float | None:
    if target.dtype.kind not in "iuf":
        return None
    return float(np.sqrt(np.mean((np.asarray(target) - guessed) ** 2)))


def _log_all(
    fitted: list[_Fitted], spec: RouterSpec, settings: TrainSpec, store: Store, table: pd.DataFrame, progress: Progress
) -> tuple[str, list[TrainedModel]]:
    client = store.client
    experiment = experiment_id(client, spec.tracking)
    run = client.create_run(
        experiment, tags=redact_tree(spec.tracking.tags), run_name=spec.tracking.run_name or f"train-{spec.name}"
    )
    run_id = run.info.run_id
    overall = next((model for model in fitted if model.key is None), None)
    writer = _Writer(settings, _signature(table, settings), _requirements(settings))
    logged: list[TrainedModel] = []
    try:
        with work_folder() as folder:
            for number, model in enumerate(fitted):
                progress("logging", number, len(fitted))
                at = folder / str(number)
                logged.append(_log(model, overall, writer, client, experiment, run_id, at))
        progress("logging", len(fitted), len(fitted))
        client.set_terminated(run_id, "FINISHED")
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    return run_id, logged


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


def _log(
    model: _Fitted,
    overall: _Fitted | None,
    writer: _Writer,
    client: Any,
    experiment: str,
    run_id: str,
    folder: Path,
) -> TrainedModel:
    settings = writer.settings
    everyone = model.key is None
    name = name_of(model.key, settings)
    tags = {"mmeframe.rows": str(model.rows)} | ({} if everyone else {settings.key: str(model.key)})
    global_error = None if everyone or overall is None else overall.errors.get(str(model.key))

    def save(path: str, described: Any) -> None:
        writer.write(model.model, path, described)

    with Undo() as undo:
        model_id = log_folder(client, experiment, run_id, _model_name(name), save, folder, tags, undo)
        shutil.rmtree(folder, ignore_errors=True)
        version = register(client, name, model_id, run_id, tags, undo)
        for metric, value in (("holdout_rmse", model.error), ("global_holdout_rmse", global_error)):
            if value is not None and np.isfinite(value):
                client.log_metric(run_id, metric, value, model_id=model_id)
        if settings.alias:
            move_alias(client, name, settings.alias, version, undo)
        undo.keep()
    return TrainedModel(name, version, model_id, model.key, model.rows, model.error, global_error)


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
    if others := [name for name in unknown if name.split(".")[0] not in _SKOPS_PACKAGES]:
        what = f"a skops file that anybody loads cannot hold these types: {listed(others)}."
        hint = "Set train.serialization=cloudpickle, for sub-models whose files can run code."
        raise ConfigError(what, where="train.serialization", hint=hint)
    return unknown


def _signature(table: pd.DataFrame, settings: TrainSpec) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from sklearn.base import is_regressor

    categorical = [ColSpec(_column_type(table[name]), name) for name in settings.features.categorical]
    numeric = [ColSpec(DataType.double, name) for name in settings.features.numeric]
    # A regressor answers with doubles whatever it learnt from; a classifier with the labels that it was given.
    regressor = is_regressor(_estimator(settings))
    answer = DataType.double if regressor else _column_type(table[settings.target])
    return ModelSignature(Schema([*categorical, *numeric]), Schema([ColSpec(answer, "prediction")]))


def _column_type(series: pd.Series[Any]) -> Any:
    from mlflow.types import DataType

    return {"b": DataType.boolean, "i": DataType.long, "u": DataType.long, "f": DataType.double}.get(
        series.dtype.kind, DataType.string
    )


def _requirements(settings: TrainSpec) -> list[str]:
    """What a sub-model needs, said and not inferred: MLflow would start a process per model to find out."""
    package = settings.estimator.class_.split(".")[0]
    names = ["mlflow", "scikit-learn", "pandas", "numpy", distributions_of([package]).get(package, package)]
    names += [settings.serialization] if settings.serialization in ("skops", "cloudpickle") else []
    return [f"{name}=={metadata.version(name)}" for name in dict.fromkeys(names)]
