"""What is written to an MLflow store: experiments, what a run was asked for, models, versions and aliases."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmeframe.errors import ConfigError
from mmeframe.redact import redact_override, redact_tree
from mmeframe.sections import TrackingSpec
from mmeframe.store.cleanup import Undo, forget_empty, forget_models, forget_versions, restore_alias

__all__ = ["RunWriter", "experiment_id", "record_config", "taken"]


def experiment_id(client: Any, tracking: TrackingSpec) -> str:
    """The experiment by name, made if it is new; without a name MLflow's active one, else the default."""
    if tracking.experiment_name:
        return _named_experiment(client, tracking.experiment_name)
    if tracking.uri is None and os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return os.environ["MLFLOW_EXPERIMENT_ID"]
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") if tracking.uri is None else None
    return _named_experiment(client, name) if name else "0"


def _named_experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    with taken("the store cannot be written"):
        return str(found.experiment_id if found else client.create_experiment(name))


def record_config(client: Any, run_id: str, config: tuple[Mapping[str, Any], tuple[str, ...]]) -> None:
    """Store what was asked for with the run. Raises ConfigError for a store that takes no artifacts."""
    import yaml

    tree, overrides = config
    with taken("the store's artifacts cannot be written"):
        client.log_text(run_id, yaml.safe_dump(redact_tree(tree), sort_keys=False), "mmeframe/config.yaml")
        client.log_text(run_id, "".join(f"{redact_override(line)}\n" for line in overrides), "mmeframe/overrides.txt")


@dataclass(frozen=True)
class RunWriter:
    """Writes what a run makes, one step each. What can be taken back joins ``undo`` first."""

    client: Any
    experiment: str
    run_id: str
    undo: Undo

    def log_folder(
        self,
        name: str,
        save: Callable[[str, Any], None],
        folder: Path,
        tags: Mapping[str, str],
        params: Mapping[str, str] | None = None,
    ) -> str:
        """Create a LoggedModel, let ``save(path, mlflow_model)`` write it, upload it; returns its id.

        The steps of ``Model.log`` without its look-ups per metric and without a second load; safe in threads, because
        nothing of MLflow's fluent state is used.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model

        client, experiment, run_id = self.client, self.experiment, self.run_id
        self.undo.add(lambda: forget_models(client, experiment, run_id, name))
        logged = client.create_logged_model(
            experiment, name=name, source_run_id=run_id, tags=dict(tags), params=dict(params or {})
        )
        model_id = str(logged.model_id)
        described = Model(
            artifact_path=logged.artifact_location, model_uuid=model_id, run_id=run_id, model_id=model_id, metadata=None
        )
        save(str(folder), described)
        # Some are known only now.
        client.set_logged_model_tags(model_id, dict(tags))
        client.log_model_artifacts(model_id, str(folder))
        client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        return model_id

    def register(self, name: str, model_id: str, tags: Mapping[str, str]) -> str:
        """Make a LoggedModel the next version of a registered model, which is created if it is new."""
        from mlflow.exceptions import MlflowException

        client, run_id = self.client, self.run_id
        try:
            client.get_registered_model(name)
        except MlflowException:
            self.undo.add(lambda: forget_empty(client, name))
            client.create_registered_model(name)
        self.undo.add(lambda: forget_versions(client, run_id, name))
        version = client.create_model_version(name, f"models:/{model_id}", run_id, tags=dict(tags), model_id=model_id)
        number = str(version.version)
        # MLflow's own interface shows a logged model's versions from this tag.
        versions = json.dumps([{"name": name, "version": number}])
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": versions})
        return number

    def move_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version; what is taken back points it where it pointed before."""
        client = self.client
        before = dict(client.get_registered_model(name).aliases).get(alias)
        self.undo.add(lambda: restore_alias(client, name, alias, version, before))
        client.set_registered_model_alias(name, alias, version)


@contextmanager
def taken(what: str, where: str = "tracking.uri") -> Iterator[None]:
    """Name a store that does not take what is written, whatever its library raises. where: what named it."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while found := cause.__cause__ or cause.__context__:
            cause = found
        said = getattr(cause, "strerror", None) or f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
        hint = "Check the permissions there, and the artifact location of the experiment (tracking.experiment_name)."
        raise ConfigError(f"{what}: {said.rstrip('.')}.", where=where, hint=hint) from error
