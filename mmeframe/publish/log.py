"""Log one router to MLflow: the only place that does. Atomic to others: they see a whole version, or none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmeframe._version import __version__
from mmeframe.bundle import Bundle
from mmeframe.cache import work_folder
from mmeframe.errors import BuildError, CorruptBundleError, UsageError
from mmeframe.fleet.fleet import Fleet
from mmeframe.fleet.probe import probe
from mmeframe.fleet.released import STAMPS, WRAPPING, ReleasedBuild
from mmeframe.plugin.manager import Plugins
from mmeframe.publish.journal import FULL, BuildJournal
from mmeframe.publish.pack import pack
from mmeframe.publish.wrapping import Wrapping, columns, save, wrapping
from mmeframe.redact import redact_tree
from mmeframe.sections import RouterSpec, TrackingSpec
from mmeframe.shipped import without_bytecode
from mmeframe.spec import Logged
from mmeframe.store.cleanup import BUILD_TAG, Undo, close_leftovers, end_runs, lease
from mmeframe.store.folders import ModelFolder
from mmeframe.store.store import ROUTER_TAG, Progress, Store
from mmeframe.store.writing import RunWriter, experiment_id, record_config, taken
from mmeframe.versions import installed, quietly

__all__ = ["find_router", "log_router", "prove_fleet"]


def log_router(
    fleet: Fleet,
    plugins: Plugins,
    store: Store,
    journal: BuildJournal,
    config: tuple[Mapping[str, Any], tuple[str, ...]],
    progress: Progress,
    previous: ReleasedBuild | None = None,
) -> Logged:
    """Pack, log, load back, probe, record lineage, register, alias, in this order.

    journal: where the bundle is written.
    config: the unresolved config tree and the overrides, stored with the run after redaction.
    previous: the newest version; where it holds all of this already, nothing is logged, unless that is wanted.
    On any exception, KeyboardInterrupt too, everything is taken back and the exception gets notes that say so.
    """
    spec, client = fleet.spec, store.client
    with work_folder() as folder, Undo() as undo:
        around = wrapping(fleet, plugins)
        content, notes = pack(fleet, plugins, journal, progress)
        experiment = experiment_id(client, spec.tracking)
        notes += close_leftovers(client, experiment)
        if previous is not None and _holds(previous, store, spec, content, around.digest):
            logged = _same(previous, store, fleet, notes, undo)
        else:
            logged = _NewVersion(fleet, client, journal, folder, progress, undo).log(experiment, around, config, notes)
        undo.keep()
    return logged


@dataclass(frozen=True)
class _NewVersion:
    """Makes a version of a router. folder: for what is written before it is uploaded."""

    fleet: Fleet
    client: Any
    journal: BuildJournal
    folder: Path
    progress: Progress
    undo: Undo

    def log(
        self,
        experiment: str,
        around: Wrapping,
        config: tuple[Mapping[str, Any], tuple[str, ...]],
        notes: list[str],
    ) -> Logged:
        """All of it, in a run of its own. notes: of what was done before."""
        fleet, client, tracking, journal = self.fleet, self.client, self.fleet.spec.tracking, self.journal
        owner = lease()
        self.undo.add(lambda: end_runs(client, experiment, owner, "FAILED"))
        run_id = _start_run(client, experiment, tracking, fleet.spec.name, owner)
        record_config(client, run_id, config)
        client.log_text(run_id, json.dumps(_stamps(fleet)), STAMPS)
        tags = self._tags(around)
        writer = RunWriter(client, experiment, run_id, self.undo)
        model_id = self._upload(writer, around, tags)
        notes = notes + self._prove(model_id, tags[ROUTER_TAG])
        _lineage(client, run_id, fleet)
        size = Bundle(journal.bundle).manifest.bytes
        version = self._register(writer, model_id, tags)
        client.set_terminated(run_id, "FINISHED")
        return Logged(
            model_uri=f"models:/{tracking.register_as}/{version}" if version else f"models:/{model_id}",
            model_id=model_id,
            run_id=run_id,
            experiment_id=experiment,
            name=tracking.register_as or fleet.spec.name,
            version=version,
            alias=tracking.alias if version else None,
            digest=tags[ROUTER_TAG],
            sub_models=len(fleet.models),
            bytes=size,
            **_taken_over(fleet),
            described=sum(
                model.kept is None and model.stamp is not None and journal.facts(model.id, model.stamp) is not None
                for model in fleet.models
            ),
            notes=tuple(notes),
        )

    def _tags(self, around: Wrapping) -> dict[str, str]:
        """Of the logged model and its version, but for the digest, which is known once it is saved."""
        names = ", ".join(f"{name} {kind}" for name, kind in columns(self.fleet).items())
        return {
            **redact_tree(self.fleet.spec.tracking.tags, "tags"),
            "mmeframe.version": __version__,
            "mmeframe.sub_models": str(len(self.fleet.models)),
            "mmeframe.columns": names[:5000],
            WRAPPING: around.digest,
        }

    def _upload(self, writer: RunWriter, around: Wrapping, tags: dict[str, str]) -> str:
        """Save and upload the model; returns its id. tags: get the digest. Raises BuildError for a full disk."""

        def write(path: str, model: Any) -> None:
            tags[ROUTER_TAG] = save(path, model, self.fleet, self.journal.bundle, around, self.folder)

        name, folder = self.fleet.spec.name, self.folder / "model"
        self.progress("logging", 0, 1)
        try:
            model_id = writer.log_folder(name, write, folder, tags)
        except Exception as error:
            said = _of_the_disk(error)
            if said is None:
                raise
            raise BuildError(
                f"the router cannot be written: {said}.",
                where="tracking.uri",
                hint="Free space there, in the cache folder (MMEFRAME_CACHE_DIR) and in the temporary one (TMPDIR).",
            ) from error
        self.progress("logging", 1, 1)
        return model_id

    def _prove(self, model_id: str, digest: str) -> list[str]:
        copy = None
        if ModelFolder(self.client.get_logged_model(model_id).artifact_location).here is None:
            copy = self.folder / "logged"
            copy.mkdir()
        return _prove(f"models:/{model_id}", digest, self.fleet, self.progress, copy)

    def _register(self, writer: RunWriter, model_id: str, tags: Mapping[str, str]) -> str | None:
        """The new version, with the alias; None where it is not to be registered."""
        tracking = self.fleet.spec.tracking
        if not tracking.register_as:
            return None
        version = writer.register(tracking.register_as, model_id, tags)
        if tracking.alias:
            writer.move_alias(tracking.register_as, tracking.alias, version)
        return version


def _holds(previous: ReleasedBuild, store: Store, spec: RouterSpec, content: str, around: str) -> bool:
    """Whether a version that was proved, and is still the newest, holds all that would be logged, every byte whole."""
    then = previous.bundle.manifest.content_digest()
    if spec.build.unchanged != "skip" or (then, previous.wrapping) != (content, around):
        return False
    models = store.named([str(spec.tracking.register_as)]).values()
    # Its build may still be at it, or take it back; one that was killed has proved what it registered.
    newest = [version.version for model in models for version in model.versions[:1]]
    status = store.client.get_run(previous.run_id).info.status
    if newest != [previous.version] or status not in ("FINISHED", "KILLED"):
        return False
    try:
        previous.bundle.verify()
    except CorruptBundleError:
        return False
    return True


def _same(previous: ReleasedBuild, store: Store, fleet: Fleet, notes: list[str], undo: Undo) -> Logged:
    """The version that holds this fleet already; it gets the alias if that is elsewhere."""
    tracking, client = fleet.spec.tracking, store.client
    name = str(tracking.register_as)
    stamps = _stamps(fleet)
    experiment = str(client.get_run(previous.run_id).info.experiment_id)
    if stamps != {"sub_models": previous.stamps, "installed": previous.installed}:
        # Files that were only touched, or proved with another library: neither is read, or told of, again.
        client.log_text(previous.run_id, json.dumps(stamps), STAMPS)
    before = dict(client.get_registered_model(name).aliases).get(tracking.alias)
    if tracking.alias and str(before) != previous.version:
        RunWriter(client, experiment, previous.run_id, undo).move_alias(name, tracking.alias, previous.version)
        was = f"it was version {before}" if before else "it is new"
        notes.append(f"alias {tracking.alias} now means version {previous.version} of {name}; {was}.")
    return Logged(
        model_uri=f"models:/{name}/{previous.version}",
        model_id=previous.model_id,
        run_id=previous.run_id,
        experiment_id=experiment,
        name=name,
        version=previous.version,
        alias=tracking.alias,
        digest=previous.bundle.digest,
        sub_models=len(fleet.models),
        bytes=previous.bundle.manifest.bytes,
        **_taken_over(fleet),
        same_as=previous.version,
        notes=tuple(notes),
    )


def _stamps(fleet: Fleet) -> dict[str, Any]:
    """What the next build compares with: see ``previous.STAMPS``."""
    needed = {line for lines in {model.requirements for model in fleet.models} for line in lines}
    stamps = {model.id: [model.stamp, model.python, model.method] for model in fleet.models if model.stamp}
    return {"sub_models": stamps, "installed": installed(needed)}


def _taken_over(fleet: Fleet) -> dict[str, Any]:
    """What was not packed anew."""
    kept = [model.kept for model in fleet.models if model.kept]
    return {
        "unchanged": sum(it.since is not None for it in kept),
        "since": next((it.since for it in kept if it.since), None),
        "resumed": sum(it.since is None for it in kept),
    }


def _of_the_disk(error: BaseException | None) -> str | None:
    """What the system says of a full disk behind an error of MLflow or of shutil, which repeat it, None for others."""
    while error is not None:
        for said in map(os.strerror, FULL):
            if said in str(error):
                return said
        error = error.__cause__ or error.__context__
    return None


def _start_run(client: Any, experiment: str, tracking: TrackingSpec, name: str, owner: str) -> str:
    tags = {**redact_tree(tracking.tags, "tags"), BUILD_TAG: owner, "mlflow.source.name": "mmeframe build"}
    with taken("the store cannot be written"):
        run = client.create_run(experiment, tags=tags, run_name=tracking.run_name or f"build-{name}")
    return str(run.info.run_id)


def prove_fleet(fleet: Fleet, plugins: Plugins, progress: Progress) -> list[str]:
    """Pack, save, load back and probe a router as a build does; nothing of it stays. Raises what a build would."""
    from mlflow.models import Model

    with work_folder() as folder:
        around = wrapping(fleet, plugins)
        (folder / "journal").mkdir()
        journal = BuildJournal(folder / "journal", {})
        _, notes = pack(fleet, plugins, journal, progress)
        journal.close()
        digest = save(str(folder / "model"), Model(), fleet, journal.bundle, around, folder)
        return notes + _prove(str(folder / "model"), digest, fleet, progress)


def _prove(uri: str, digest: str, fleet: Fleet, progress: Progress, copy: Path | None = None) -> list[str]:
    """Load the router as anybody would, and probe it.

    copy: a folder for one that lies elsewhere: MLflow would leave it in another until the process ends.
    """
    import mlflow.pyfunc

    # A store on this machine keeps what was logged, and nothing beside it.
    with quietly(), without_bytecode():
        loaded = mlflow.pyfunc.load_model(uri, suppress_warnings=True, dst_path=copy and str(copy))
    router = loaded.unwrap_python_model().router
    router.observers.mute()
    if router.bundle.digest != digest:
        raise BuildError(f"the store returned another bundle: {router.bundle.digest} instead of {digest}.")
    try:
        return probe(router, lambda rows, given: loaded.predict(rows, params=given), fleet, progress)
    finally:
        # MLflow keeps the last model from code that it loaded, and with it the processes of its sub-models.
        router.close()


def _lineage(client: Any, run_id: str, fleet: Fleet) -> None:
    """Sub-models that are LoggedModels become inputs of the build run."""
    from mlflow.entities import LoggedModelInput

    ids = sorted({model.model_id for model in fleet.models if model.model_id})
    for start in range(0, len(ids), 500):
        client.log_inputs(run_id, models=[LoggedModelInput(id_) for id_ in ids[start : start + 500]])
    client.log_param(run_id, "sub_models", len(fleet.models))
    if missing := [model.id for model in fleet.models if not model.model_id]:
        client.set_tag(run_id, "mmeframe.without_lineage", str(len(missing)))


def find_router(store: Store, tracking: TrackingSpec) -> str:
    """The URI of the registered router that a config means: by its alias, else its newest version.

    Raises MissingError if it was never registered, UsageError if the config has no name.
    """
    name = tracking.register_as
    if not name:
        raise UsageError("no router is named.", where="--model", hint="Give --model URI, or a config with a name.")
    uri = f"models:/{name}@{tracking.alias}" if tracking.alias else f"models:/{name}/latest"
    version, _ = store.pin(uri, store.named([name]))
    return f"models:/{name}/{version.version}" if version else uri
