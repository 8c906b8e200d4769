"""Log one router to MLflow: the only place that does. Atomic to others: they see a whole version, or none."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import mmeframe
from mmeframe.bundle import Bundle
from mmeframe.bundle.artifact import content_digest, seal
from mmeframe.cache import work_folder
from mmeframe.environ import variables
from mmeframe.errors import BuildError, ConfigError, CorruptBundleError, Report, UsageError
from mmeframe.fleet.embed import ARCHIVE, Embedded, embedded_files, plugin_requirements, used_plugins, write_archive
from mmeframe.fleet.environment import merge
from mmeframe.fleet.examples import example_request
from mmeframe.fleet.manifest import components
from mmeframe.fleet.probe import probe
from mmeframe.fleet.released import STAMPS, WRAPPING, ReleasedBuild
from mmeframe.fleet.resolve import Fleet
from mmeframe.fleet.signature import as_sent, mlflow_signature
from mmeframe.plugin.manager import Plugins
from mmeframe.publish.journal import FULL, BuildJournal
from mmeframe.publish.pack import pack
from mmeframe.redact import redact_override, redact_tree
from mmeframe.rows.types import shown
from mmeframe.sections import RouterSpec, TrackingSpec
from mmeframe.shipped import without_bytecode
from mmeframe.spec import Column, Logged
from mmeframe.store.cleanup import (
    BUILD_TAG,
    Undo,
    close_leftovers,
    end_runs,
    forget_empty,
    forget_models,
    forget_versions,
    lease,
    restore_alias,
)
from mmeframe.store.folders import ModelFolder
from mmeframe.store.store import ROUTER_TAG, Progress, Store
from mmeframe.versions import installed, quietly

__all__ = [
    "experiment_id",
    "log_folder",
    "log_router",
    "move_alias",
    "prove_fleet",
    "record_config",
    "register",
    "taken",
    "wrapping",
]

_BUNDLE = "bundle"


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
            undo.keep()
            return logged
        owner = lease()
        undo.add(lambda: end_runs(client, experiment, owner, "FAILED"))
        run_id = _start_run(client, experiment, spec.tracking, spec.name, owner)
        record_config(client, run_id, config)
        client.log_text(run_id, json.dumps(_stamps(fleet)), STAMPS)
        tags = {
            **redact_tree(spec.tracking.tags, "tags"),
            "mmeframe.version": mmeframe.__version__,
            "mmeframe.sub_models": str(len(fleet.models)),
            "mmeframe.columns": _columns(fleet)[:5000],
            WRAPPING: around.digest,
        }

        def save(path: str, model: Any) -> None:
            tags[ROUTER_TAG] = _save(path, model, fleet, journal.bundle, around, folder)

        progress("logging", 0, 1)
        try:
            model_id = log_folder(client, experiment, run_id, spec.name, save, folder / "model", tags, undo)
        except Exception as error:
            said = _of_the_disk(error)
            if said is None:
                raise
            raise BuildError(
                f"the router cannot be written: {said}.",
                where="tracking.uri",
                hint="Free space there, in the cache folder (MMEFRAME_CACHE_DIR) and in the temporary one (TMPDIR).",
            ) from error
        progress("logging", 1, 1)
        digest = tags[ROUTER_TAG]
        copy = None
        if ModelFolder(client.get_logged_model(model_id).artifact_location).here is None:
            copy = folder / "logged"
            copy.mkdir()
        notes += _prove(f"models:/{model_id}", digest, fleet, progress, copy)
        _lineage(client, run_id, fleet)
        size = Bundle(journal.bundle).manifest["bytes"]
        version = None
        if spec.tracking.register_as:
            version = register(client, spec.tracking.register_as, model_id, run_id, tags, undo)
            if spec.tracking.alias:
                move_alias(client, spec.tracking.register_as, spec.tracking.alias, version, undo)
        client.set_terminated(run_id, "FINISHED")
        undo.keep()
    return Logged(
        model_uri=f"models:/{spec.tracking.register_as}/{version}" if version else f"models:/{model_id}",
        model_id=model_id,
        run_id=run_id,
        experiment_id=experiment,
        name=spec.tracking.register_as or spec.name,
        version=version,
        alias=spec.tracking.alias if version else None,
        digest=digest,
        sub_models=len(fleet.models),
        bytes=size,
        **_taken_over(fleet),
        described=sum(
            model.kept is None and model.stamp is not None and journal.facts(model.id, model.stamp) is not None
            for model in fleet.models
        ),
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What an artifact holds beside its bundle. code: of mmeframe and plugins, empty if an index serves them all."""

    requirements: list[str]
    code: Embedded
    signature: Any
    digest: str


def wrapping(fleet: Fleet, plugins: Plugins) -> Wrapping:
    """What wraps a fleet's bundle. Raises ProblemsError, or BuildError."""
    modules = used_plugins(components(fleet).values(), plugins)
    requirements = _requirements(fleet, modules)
    code = embedded_files(modules, fleet.spec.environment.indexed)
    signature = _signature(fleet)
    digest = hashlib.sha256(json.dumps([requirements, signature.to_dict(), _deployment(fleet.spec)]).encode())
    for name, file in code.files:
        digest.update(f"\0{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return Wrapping(requirements, code, signature, digest.hexdigest())


def _holds(previous: ReleasedBuild, store: Store, spec: RouterSpec, content: str, around: str) -> bool:
    """Whether a version that was proved, and is still the newest, holds all that would be logged, every byte whole."""
    then = content_digest(previous.bundle.manifest)
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
    if stamps != {"sub_models": previous.stamps, "installed": previous.installed}:
        # Files that were only touched, or proved with another library: neither is read, or told of, again.
        client.log_text(previous.run_id, json.dumps(stamps), STAMPS)
    before = dict(client.get_registered_model(name).aliases).get(tracking.alias)
    if tracking.alias and str(before) != previous.version:
        move_alias(client, name, tracking.alias, previous.version, undo)
        was = f"it was version {before}" if before else "it is new"
        notes.append(f"alias {tracking.alias} now means version {previous.version} of {name}; {was}.")
    return Logged(
        model_uri=f"models:/{name}/{previous.version}",
        model_id=previous.model_id,
        run_id=previous.run_id,
        experiment_id=str(client.get_run(previous.run_id).info.experiment_id),
        name=name,
        version=previous.version,
        alias=tracking.alias,
        digest=previous.bundle.digest,
        sub_models=len(fleet.models),
        bytes=previous.bundle.manifest["bytes"],
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


def log_folder(
    client: Any,
    experiment: str,
    run_id: str,
    name: str,
    save: Callable[[str, Any], None],
    folder: Path,
    tags: Mapping[str, str],
    undo: Undo,
    params: Mapping[str, str] | None = None,
) -> str:
    """Create a LoggedModel, let ``save(path, mlflow_model)`` write it, upload it; returns its id.

    The steps of ``Model.log`` without its look-ups per metric and without a second load; safe in threads, because
    nothing of MLflow's fluent state is used.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    undo.add(lambda: forget_models(client, experiment, run_id, name))
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


def register(client: Any, name: str, model_id: str, run_id: str, tags: Mapping[str, str], undo: Undo) -> str:
    """Make a LoggedModel the next version of a registered model, which is created if it is new."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException:
        undo.add(lambda: forget_empty(client, name))
        client.create_registered_model(name)
    undo.add(lambda: forget_versions(client, run_id, name))
    version = client.create_model_version(name, f"models:/{model_id}", run_id, tags=dict(tags), model_id=model_id)
    number = str(version.version)
    # MLflow's own interface shows a logged model's versions from this tag.
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": number}])})
    return number


def move_alias(client: Any, name: str, alias: str, version: str, undo: Undo) -> None:
    """Point an alias at a version; what is taken back points it where it pointed before."""
    before = dict(client.get_registered_model(name).aliases).get(alias)
    undo.add(lambda: restore_alias(client, name, alias, version, before))
    client.set_registered_model_alias(name, alias, version)


def _requirements(fleet: Fleet, modules: Mapping[str, Any]) -> list[str]:
    report = Report()
    wanted: list[tuple[str, Any]] = [("the sub-models", fleet.requirements)]
    wanted += plugin_requirements(modules, fleet.spec.environment.indexed)
    merged = list(merge(wanted, fleet.spec.environment, report))
    report.check()
    if "mmeframe" in fleet.spec.environment.indexed:
        merged.append(f"mmeframe=={mmeframe.__version__}")
    return merged


def _start_run(client: Any, experiment: str, tracking: TrackingSpec, name: str, owner: str) -> str:
    tags = {**redact_tree(tracking.tags, "tags"), BUILD_TAG: owner, "mlflow.source.name": "mmeframe build"}
    with taken("the store cannot be written"):
        run = client.create_run(experiment, tags=tags, run_name=tracking.run_name or f"build-{name}")
    return str(run.info.run_id)


def record_config(client: Any, run_id: str, config: tuple[Mapping[str, Any], tuple[str, ...]]) -> None:
    """Store what was asked for with the run. Raises ConfigError for a store that takes no artifacts."""
    import yaml

    tree, overrides = config
    with taken("the store's artifacts cannot be written"):
        client.log_text(run_id, yaml.safe_dump(redact_tree(tree), sort_keys=False), "mmeframe/config.yaml")
        client.log_text(run_id, "".join(f"{redact_override(line)}\n" for line in overrides), "mmeframe/overrides.txt")


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
        hint = "Look at who may write there, and at the artifact location of the experiment (tracking.experiment_name)."
        raise ConfigError(f"{what}: {said.rstrip('.')}.", where=where, hint=hint) from error


def _columns(fleet: Fleet) -> str:
    return ", ".join(
        f"{column.name} {shown(column.type)}" for column in [*_routing_columns(fleet), *fleet.union.columns]
    )


def _routing_columns(fleet: Fleet) -> list[Column]:
    """Columns that only routing reads; optional where a parameter may carry the key."""
    known = {column.name for column in fleet.union.columns}
    found = {}
    for inputs in fleet.inputs.values():
        for name, kind in inputs.columns.items():
            if name not in known:
                found[name] = Column(name, kind, not inputs.params)
    # They are only hashed, so any type will do.
    return list(found.values()) + [
        Column(name, "any") for name in fleet.spec.traffic.sticky if name not in known and name not in found
    ]


def _nulls(fleet: Fleet) -> set[str]:
    """Notes that a row may be without: no sub-model answers it, or one that has no version."""
    if fleet.spec.output.missing_note is not None:
        return set()
    if fleet.spec.may_skip:
        return {"model_id", "model_version", "arm"}
    return {"model_version"} if any(model.version is None for model in fleet.models if model.routed) else set()


def _signature(fleet: Fleet) -> Any:
    spec = fleet.spec
    params = dict.fromkeys(name for inputs in fleet.inputs.values() for name in inputs.params)
    routing = _routing_columns(fleet)
    read = {name for inputs in fleet.inputs.values() for name in inputs.columns} | {*spec.traffic.sticky}
    needed = {name for it in fleet.inputs.values() if not it.params for name in it.columns} | {*spec.traffic.sticky}
    # A column that some sub-model does without is required all the same if routing reads it.
    union = [replace(column, required=column.required or column.name in needed) for column in fleet.union.columns]
    return mlflow_signature(
        spec.signature.mode,
        [as_sent(column) if column.name in read else column for column in union],
        [as_sent(column) for column in routing],
        fleet.outputs,
        params,
        spec.output.annotate,
        _nulls(fleet),
        fleet.params,
    )


def _save(path: str, model: Any, fleet: Fleet, bundle: Path, around: Wrapping, scratch: Path) -> str:
    """Write the router's model folder, whole; returns the digest that covers it."""
    import mlflow.pyfunc

    archive = scratch / ARCHIVE
    if around.code.files:
        write_archive(archive, around.code)
    rows, given = example_request(fleet)
    columns = {it.name: shown(it.type) for it in [*_routing_columns(fleet), *fleet.union.columns]}
    # A uv project in the working directory would replace the requirements; and nothing needs to be installed to log.
    with variables({"MLFLOW_UV_AUTO_DETECT": "false", "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true"}):
        mlflow.pyfunc.save_model(
            path,
            python_model=str(files("mmeframe") / "runtime" / "entrypoint.py"),
            artifacts={_BUNDLE: str(bundle)},
            code_paths=[str(archive)] if around.code else None,
            signature=around.signature,
            input_example=(rows, given) if given else rows,
            pip_requirements=around.requirements,
            mlflow_model=model,
            # What a deployment may change: MLflow drops overrides of names that are not stored.
            model_config=_deployment(fleet.spec),
            # One text: MLflow reads the file three times to load a model, and each name and value takes a while.
            metadata={"mmeframe": {"sub_models": len(fleet.models), "columns": json.dumps(columns)}},
        )
    # MLflow notes where things lay on this machine; only their names matter to whoever loads the model.
    flavor = model.flavors["python_function"]
    flavor["artifacts"][_BUNDLE]["uri"] = _BUNDLE
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    described = Path(path) / "MLmodel"
    model.save(str(described))
    digest = seal(Path(path))
    # Outside of what it covers.
    model.metadata["mmeframe"]["digest"] = digest
    model.save(str(described))
    return digest


def _deployment(spec: RouterSpec) -> dict[str, str]:
    """What a deployment may change, in the form of its variables; ``runtime.deployment`` reads it."""
    shares = ",".join(f"{arm}={share!r}" for arm, share in sorted(spec.traffic.arms.items()))
    residency = {f"residency_{name}": _setting(value) for name, value in spec.residency.to_json().items()}
    return {
        "traffic_arms": shares,
        "disabled_models": _line(spec.disabled_models),
        "observers": _line(name for name, _ in spec.observers),
        "bundle_allow_pickle": str(spec.bundle.allow_pickle).lower(),
        **residency,
    }


def _setting(value: Any) -> str:
    return "none" if value is None else _line(value) if isinstance(value, list) else str(value)


def _line(values: Iterable[str]) -> str:
    """One line of CSV; what would end it is quoted."""
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().removesuffix("\r\n")


def prove_fleet(fleet: Fleet, plugins: Plugins, progress: Progress) -> list[str]:
    """Pack, save, load back and probe a router as a build does; nothing of it stays. Raises what a build would."""
    from mlflow.models import Model

    with work_folder() as folder:
        around = wrapping(fleet, plugins)
        (folder / "journal").mkdir()
        journal = BuildJournal(folder / "journal", {})
        _, notes = pack(fleet, plugins, journal, progress)
        journal.close()
        digest = _save(str(folder / "model"), Model(), fleet, journal.bundle, around, folder)
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
        raise BuildError(f"the store gave back another bundle: {router.bundle.digest} instead of {digest}.")
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
