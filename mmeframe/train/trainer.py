"""Fit one sub-model per key, and one on all rows; log and register them without inference.

Everything that can be known before the first fit is checked before it: keys, names, types, requirements, what writes
the sub-models, and whether the store takes what is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.cache import work_folder
from mmeframe.errors import ConfigError
from mmeframe.redact import redact_tree
from mmeframe.sections import RouterSpec, TrainSpec
from mmeframe.store.cleanup import BUILD_TAG, Undo, close_leftovers, forget_empty, lease
from mmeframe.store.store import Store
from mmeframe.store.writing import RunWriter, experiment_id, record_config, taken
from mmeframe.train.allow import estimator_class
from mmeframe.train.fitting import Fitted, fit_all, make_estimator, rows_for
from mmeframe.train.names import key_text, registered_names
from mmeframe.train.rows import Key, read_rows
from mmeframe.train.saving import Writer, check_serialization, requirements_of, signature_of

if TYPE_CHECKING:
    from mmeframe.store.store import Progress

__all__ = ["Trained", "TrainedModel", "train"]

# What MLflow keeps of a parameter's value, and how many it takes at once.
_PARAM_LENGTH, _PARAMS = 5000, 100


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
    make = partial(make_estimator, estimator_class(settings.estimator.class_, allow), settings)
    estimator = make()
    requirements = requirements_of(settings)
    check_serialization(estimator, settings)
    rows = rows_for(estimator, read_rows(spec, settings, allow))
    kept = {key: found for key, found in rows.of.items() if len(found) >= settings.min_rows}
    names = registered_names(kept, len(rows), spec, settings, store)
    writer = Writer(settings, signature_of(rows), requirements)
    with _run(spec, settings, store, config) as (experiment, run_id):
        _check_registry(store.client, next(iter(names.values())), run_id)
        fitted, failed, warned = fit_all(make, rows, kept, settings, progress)
        log = _Log(store.client, experiment, run_id, writer, names, redact_tree(spec.tracking.tags, "tags"))
        models = log.all(fitted, progress)
    return Trained(
        tuple(models),
        len(rows) + rows.dropped,
        rows.dropped,
        rows.no_key,
        {key_text(key, settings): len(found) for key, found in rows.of.items() if key not in kept},
        run_id,
        failed,
        warned,
    )


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
class _Log:
    """Logs and registers sub-models of one run. ``tags``: of the config, on each of them."""

    client: Any
    experiment: str
    run_id: str
    writer: Writer
    names: Mapping[Key | None, str]
    tags: Mapping[str, str]

    def all(self, fitted: Sequence[Fitted], progress: Progress) -> list[TrainedModel]:
        overall = next((model for model in fitted if model.key is None), None)
        logged: list[TrainedModel] = []
        with work_folder() as folder:
            for number, model in enumerate(fitted):
                progress("logging", number, len(fitted))
                known = overall.of_keys.get(model.key, {}) if overall and model.key is not None else {}
                logged.append(self._one(model, known, folder / str(number)))
        progress("logging", len(fitted), len(fitted))
        return logged

    def _one(self, model: Fitted, global_metrics: Mapping[str, float], folder: Path) -> TrainedModel:
        settings, name = self.writer.settings, self.names[model.key]
        parts = {} if model.key is None else dict(zip(settings.key, model.key, strict=True))
        tags = {**self.tags, "mmeframe.rows": str(model.rows), **parts}

        def save(path: str, described: Any) -> None:
            self.writer.write(model.model, path, described)

        with Undo() as undo:
            store = RunWriter(self.client, self.experiment, self.run_id, undo)
            model_id = store.log_folder(_model_name(name), save, folder, tags, _params(settings))
            shutil.rmtree(folder, ignore_errors=True)
            version = store.register(name, model_id, tags)
            self._log_metrics(model_id, model.metrics, global_metrics)
            if settings.alias:
                store.move_alias(name, settings.alias, version)
            undo.keep()
        key = None if model.key is None else key_text(model.key, settings)
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
