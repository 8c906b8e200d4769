"""What the command line, notebooks and tests call. Every function takes Hydra overrides, as the command line does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.config import Composed, parse
from mmeframe.config import compose as _compose
from mmeframe.config.parse import parse_client
from mmeframe.environ import variables
from mmeframe.errors import CorruptBundleError, MissingError, MmeframeError, ProblemsError, UsageError, nearest
from mmeframe.plugin.manager import Plugins, load_plugins
from mmeframe.redact import redact
from mmeframe.rows.types import shown
from mmeframe.spec import Logged, RouterSpec

if TYPE_CHECKING:
    from mmeframe.bundle import Bundle
    from mmeframe.fleet.previous import Previous
    from mmeframe.fleet.resolve import Fleet
    from mmeframe.publish.draft import Draft
    from mmeframe.route.routing import Routing
    from mmeframe.runtime import Router
    from mmeframe.spec import Column
    from mmeframe.store.store import Progress, Store
    from mmeframe.tables import Scored
    from mmeframe.train import Trained

__all__ = [
    "Job",
    "build",
    "compose",
    "coverage",
    "explain",
    "load_router",
    "plan",
    "predict_table",
    "show",
    "train",
    "validate",
]


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total


@contextmanager
def _trusting(types: Sequence[str]) -> Iterator[None]:
    """Trust these types in skops files, beside those of the variable, which a logged router is proved with too."""
    name = "MMEFRAME_SKOPS_TRUSTED"
    before = os.environ.get(name)
    with variables({name: ",".join([*types, *([before] if before else [])])} if types else {}):
        yield


@dataclass(frozen=True)
class Job:
    """A composed and validated config, with the plugins that it was validated against."""

    composed: Composed
    spec: RouterSpec
    plugins: Plugins
    # What a training may name besides scikit-learn's estimators.
    allow: tuple[str, ...] = ()

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The config's MLflow store, active while the block runs; so is what it trusts in skops files."""
        from mmeframe.store.store import using_store

        with using_store(self.spec.tracking.uri) as store, _trusting(self.spec.bundle.skops_trusted):
            yield store

    def fleet(
        self,
        store: Store,
        previous: Previous | None = None,
        draft: Draft | None = None,
        progress: Progress = _silent,
    ) -> Fleet:
        from mmeframe.fleet.resolve import resolve

        return resolve(self.spec, self.plugins, store, progress, previous, draft)


def job(
    command: str,
    overrides: Sequence[str] = (),
    *,
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
    plugins: Iterable[str] | Plugins = (),
    logged: bool = False,
    allow: Sequence[str] = (),
) -> Job:
    """Compose and validate the config of a command.

    plugins: values of ``-p``, or plugins that are loaded already. logged: the command is about a logged router, so the
    config need not declare one. allow: values of ``--allow``. Raises ProblemsError with everything that is wrong,
    UsageError for overrides that are no texts.
    """
    for override in overrides:
        if not isinstance(override, str):
            what = f"an override is a text; this is a {type(override).__name__}."
            hint = 'Give each as an argument of its own, as in ("name=a", "routing=column"); those of a list with *.'
            raise UsageError(what, where="overrides", hint=hint)
    loaded = plugins if isinstance(plugins, Plugins) else load_plugins(plugins)
    composed = _compose(command, overrides, plugins=loaded, config_dirs=config_dirs, config_name=config_name)
    # A plan compares a config with a logged router, where there is a config.
    declares = any(composed.tree.get(section) for section in ("models", "sources"))
    return job_of(composed, loaded, logged and not (command == "plan" and declares), allow)


def job_of(composed: Composed, plugins: Plugins, logged: bool = False, allow: Sequence[str] = ()) -> Job:
    """Validate a composed config: whole for commands that know sub-models, else what a client needs."""
    client = logged or composed.command in ("predict", "serve", "show")
    return Job(composed, (parse_client if client else parse)(composed, plugins), plugins, tuple(allow))


def compose(*overrides: str, command: str = "build", **options: Any) -> RouterSpec:
    """The validated config of a command. options: ``config_dirs``, ``config_name``, ``plugins``."""
    return job(command, overrides, **options).spec


def validate(*overrides: str, **options: Any) -> Fleet:
    """Check the config, the store and every sub-model's description; packs nothing.

    Raises ProblemsError with all problems in one report.
    """
    return validate_job(job("validate", overrides, **options))


def validate_job(work: Job) -> Fleet:
    with work.store() as store:
        return checked(work, store)


def checked(work: Job, store: Store, progress: Progress = _silent) -> Fleet:
    """The fleet of a config, with all that can be known of it without loading; or, with ``validate.load``, by that.

    Raises ProblemsError, or BuildError for plugins that cannot be embedded.
    """
    from mmeframe.publish.log import prove_fleet

    fleet = work.fleet(store, progress=progress)
    if work.spec.validate.load:
        proved = prove_fleet(fleet, work.plugins, progress)
        return dataclasses.replace(fleet, warnings=(*fleet.warnings, *proved))
    _wrapped(work, fleet)
    return fleet


def plan(*overrides: str, **options: Any) -> dict[str, Any]:
    """What ``build`` would log, as plain data."""
    return plan_of(validate_job(job("plan", overrides, **options)))


def coverage(
    *overrides: str, data: str | Path, params: Mapping[str, Any] | None = None, model: str | None = None, **options: Any
) -> dict[str, Any]:
    """What a table reaches: each of its keys, with rows, sub-model and reason; sub-models without rows.

    model: the URI of a logged router; without it the config's own fleet is meant, which need not be built.
    """
    work = job("validate", overrides, logged=model is not None, **options)
    with work.store() as store:
        return coverage_of(work, store, model, Path(data), params or {})


def coverage_of(work: Job, store: Store, uri: str | None, data: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    from mmeframe.route.explain import Coverage

    routing, union, promoted = _routing(work, store, uri)
    return {**Coverage(routing, union).read(data, params).report(), "promoted": promoted}


def explain(
    *overrides: str,
    data: str | Path,
    params: Mapping[str, Any] | None = None,
    model: str | None = None,
    limit: int | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """For each row of a table: its key, the route through every level, the arm, the sub-model, its version, the reason.

    model: the URI of a logged router; without it the config's own fleet is meant, which need not be built. limit: how
    many rows, all if None.
    """
    work = job("explain", overrides, logged=model is not None, **options)
    with work.store() as store:
        return list(explained(work, store, model, Path(data), params or {}).rows(limit))


@dataclass(frozen=True)
class Explained:
    """What is to be told of a table, read as it is asked for."""

    routing: Routing
    union: Sequence[Column]
    data: Path
    params: Mapping[str, Any]

    def rows(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        from mmeframe.route.explain import explain_rows

        return explain_rows(self.routing, self.union, self.data, self.params, limit)

    def reasons(self) -> dict[str, int]:
        """How many rows have each reason, of all."""
        from mmeframe.route.explain import count_reasons

        return count_reasons(self.routing, self.union, self.data, self.params)


def explained(work: Job, store: Store, uri: str | None, data: Path, params: Mapping[str, Any]) -> Explained:
    routing, union, _ = _routing(work, store, uri)
    return Explained(routing, union, data, params)


def _routing(work: Job, store: Store, uri: str | None) -> tuple[Routing, Sequence[Column], Mapping[str, Sequence[str]]]:
    """The routing of a logged router, or of a config; with the union schema, and the columns that are promoted."""
    if uri is not None:
        router = load_from(store, uri)
        return router.routing, router.union, promoted_in(router.union, router.schemas)
    from mmeframe.fleet.routing import routing_of

    fleet = work.fleet(store)
    return routing_of(fleet), fleet.union.columns, fleet.union.promoted


def promoted_in(union: Iterable[Column], schemas: Iterable[Sequence[Column]]) -> dict[str, list[str]]:
    """Columns that are wider than some sub-model's own, with all types they have."""
    types: dict[str, set[str]] = {}
    for schema in schemas:
        for column in schema:
            types.setdefault(column.name, set()).add(shown(column.type))
    return {column.name: sorted(types[column.name]) for column in union if len(types[column.name]) > 1}


def planned(work: Job, store: Store, uri: str | None = None) -> tuple[Fleet, dict[str, Any], bool]:
    """The fleet of a config, what building it would change, and whether that is anything at all.

    Compared with the router at ``uri``, else with the registered one, if there is.
    """
    from mmeframe.bundle import Bundle
    from mmeframe.fleet.changes import compare
    from mmeframe.fleet.previous import find_previous

    against: str | None = None
    bundle = None
    try:
        against = find(work, uri, store)
        root = fetch(store, against) / "artifacts" / "bundle"
        bundle = Bundle(root) if root.is_dir() else None
    except MissingError:
        if uri is not None:
            raise
    if uri is not None and bundle is None:
        raise MissingError(f"{uri} is not a router of mmeframe.", where="--model")
    ours, newest = _versions(work, store, against) if bundle else (None, None)
    with find_previous(store, work.spec, ours, root) if ours else nullcontext() as previous:
        # Its notes say which files have changed; all are read all the same, for what there is to say of them.
        fleet = work.fleet(store, dataclasses.replace(previous, stamps={}) if previous else None)
        around = _wrapped(work, fleet)
        found = {"against": against if bundle else None, **compare(fleet, bundle, work.plugins)}
        found |= {"files": None, "newest": newest if newest != ours else None}
        if previous is not None:
            told = {*found["added"], *(it["id"] for it in found["changed"])}
            others = [it for it in fleet.models if not it.of and it.id not in told]
            found["files"] = [it.id for it in others if not previous.has(it.id, it.stamp)]
        changes = bundle is None or any(value for name, value in found.items() if name != "against")
        # What differs may show there, too. One that another mmeframe wrote, or that is damaged, is built anew.
        rest = ours is not None and (previous is None or around != previous.wrapping)
        return fleet, {**found, "wrapping": rest and not changes}, changes or rest


def _versions(work: Job, store: Store, against: str | None) -> tuple[str | None, str | None]:
    """Which version of the config's own router a URI means, None for what is none; and which is the newest."""
    from mmeframe.store.store import registered_name

    name = registered_name(against or "")
    if name is None or name != work.spec.tracking.register_as:
        return None, None
    models = store.named([name])
    version, _ = store.pin(str(against), models)
    return (version.version, models[name].versions[0].version) if version else (None, None)


def _wrapped(work: Job, fleet: Fleet) -> str:
    """The digest of what a build would put around the bundle. Raises what that would raise."""
    from mmeframe.publish.log import wrapping

    return wrapping(fleet, work.plugins).digest


def plan_of(fleet: Fleet) -> dict[str, Any]:
    """Plain data of a fleet: sub-models, routing, schema, requirements, what was dropped, warnings."""
    spec = fleet.spec
    return {
        "name": spec.name,
        "register_as": spec.tracking.register_as,
        "alias": spec.tracking.alias,
        "routing": {
            "keys": {
                part.name: {
                    "kind": part.strategy.kind,
                    **part.strategy.options,
                    "declared": list(fleet.declared[part.name]),
                }
                for part in spec.routing.parts
            },
            "levels": [list(level) for level in spec.routing.levels],
            "on_unknown": spec.routing.on_unknown,
        },
        "sub_models": [
            {
                "id": model.id,
                "key": dict(model.key) if model.routed else None,
                "arm": model.arm,
                "uri": model.uri,
                "version": model.version,
                "model_id": model.model_id,
                "flavor": model.flavor,
                "loader": model.loader.kind,
                "of": list(model.of),
            }
            for model in fleet.models
        ],
        "traffic": spec.traffic.to_json(),
        "disabled_models": list(spec.disabled_models),
        "isolation": spec.isolation,
        "columns": [{"name": c.name, "type": shown(c.type), "required": c.required} for c in fleet.union.columns],
        "routing_columns": {
            **{name: part for part, inputs in fleet.inputs.items() for name in inputs.columns},
            **dict.fromkeys(spec.traffic.sticky, "traffic.sticky"),
        },
        "answers": [{"name": c.name, "type": shown(c.type)} for c in fleet.outputs.columns],
        "params": {
            name: {"type": shown(kind), "of": [model.id for model in fleet.models if name in model.params]}
            for name, (kind, _) in fleet.params.items()
        },
        "promoted": {name: list(types) for name, types in fleet.union.promoted.items()},
        "requirements": list(fleet.requirements),
        "dropped": [{"id": id_, "replaced_by": by} for id_, by in fleet.dropped],
        "paths": _paths(spec),
        "csv_changes": fleet.csv_changes,
        "warnings": list(fleet.warnings),
    }


def _paths(spec: RouterSpec) -> dict[str, str]:
    """Relative paths of the config as they were understood."""
    found = {}
    components = [(f"sources.{name}", source) for name, source in spec.sources]
    components += [(f"routing.keys.{part.name}", part.strategy) for part in spec.routing.parts]
    for where, component in components:
        for name in ("path", "table"):
            if isinstance(component.options.get(name), str):
                found[f"{where}.{name}"] = str(Path(component.options[name]).absolute())
    return found


def build(*overrides: str, progress: Progress = _silent, **options: Any) -> Logged:
    """Log, prove and register the router of a config.

    Raises ProblemsError, or BuildError where the logged router does not answer as its sub-models do.
    """
    return build_job(job("build", overrides, **options), progress)


def build_job(work: Job, progress: Progress = _silent) -> Logged:
    import yaml

    from mmeframe.fleet.previous import find_previous
    from mmeframe.publish.draft import open_draft
    from mmeframe.publish.log import log_router

    with (
        work.store() as store,
        find_previous(store, work.spec) as previous,
        open_draft(store, work.spec) as draft,
    ):
        fleet = work.fleet(store, previous if work.spec.bundle.reuse else None, draft, progress)
        config = (yaml.safe_load(work.composed.text), work.composed.overrides)
        logged = log_router(fleet, work.plugins, store, draft, config, progress, previous)
    told = work.plugins.router_logged(work.spec, logged) if logged.same_as is None else ()
    return dataclasses.replace(logged, notes=(*fleet.warnings, *logged.notes, *told))


def train(*overrides: str, progress: Progress = _silent, **options: Any) -> Trained:
    """Train and register sub-models as the config's ``train`` section says.

    options: as of ``compose``, and ``allow``: packages and tables that the config may name, as ``--allow`` takes them.
    """
    return train_job(job("train", overrides, **options), progress)


def train_job(work: Job, progress: Progress = _silent) -> Trained:
    import yaml

    from mmeframe.train import allowance
    from mmeframe.train import train as run

    allow = allowance(work.allow)
    if problems := work.plugins.check_spec(work.spec):
        raise ProblemsError(problems)
    tree = yaml.safe_load(work.composed.text)
    with work.store() as store:
        return run(work.spec, store, progress, (tree, work.composed.overrides), allow)


def find(work: Job, uri: str | None, store: Store) -> str:
    """The URI that a command means: what was given, else the config's registered router."""
    from mmeframe.publish.log import find_router

    return uri or find_router(store, work.spec.tracking)


def load_router(uri: str, *, tracking_uri: str | None = None) -> Router:
    """The live router behind any MLflow model URI, as MLflow loads it.

    Raises MissingError if there is no model at the URI, or if it is not a router of mmeframe.
    """
    from mmeframe.store.store import using_store

    with using_store(tracking_uri) as store:
        return load_from(store, uri)


def load_from(store: Store, uri: str) -> Router:
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    from mmeframe.shipped import without_bytecode

    _check_registered(store, uri)
    root = fetch(store, uri)
    try:
        # MLflow imports code of the model. Of a router it is what was built.
        if (root / "artifacts" / "bundle").is_dir():
            opened(store, uri, root)
        # A copy in the cache folder must stay what was downloaded.
        with without_bytecode():
            loaded = mlflow.pyfunc.load_model(str(root), suppress_warnings=True)
    except (MlflowException, OSError) as error:
        if isinstance(error.__cause__, MmeframeError):
            # The router's entrypoint refuses this process, and MLflow says so in words of its own.
            raise error.__cause__ from error
        raise _not_read(uri, error, "loaded") from error
    try:
        model = loaded.unwrap_python_model()
    except MlflowException:
        model = None
    if not hasattr(model, "router"):
        raise MissingError(
            f"{uri} is not a router of mmeframe.", where="--model", hint="Build one with mmeframe build."
        )
    router: Router = model.router
    return router


def _not_read(uri: str, error: Exception, done: str = "read") -> MissingError:
    from mmeframe.store.store import as_written

    if isinstance(error, MmeframeError):
        raise error
    # A storage fails in its own ways, some without a word.
    said = (str(error).splitlines() or [type(error).__name__])[0]
    what = f"{uri} cannot be {done}: {said}"
    return MissingError(what, where="--model", hint=as_written(uri))


def _check_registered(store: Store, uri: str) -> None:
    """Name what is missing, with the nearest name, before MLflow does it without."""
    from mmeframe.store.store import registered_name

    _check_scheme(uri)
    name = registered_name(uri)
    if name:
        store.pin(uri, store.named([name]))


def _check_scheme(uri: str) -> None:
    scheme = uri.partition(":/")[0]
    near = nearest(scheme, ("models", "runs")) if ":/" in uri else None
    if near and near != scheme:
        where = f"{near}{uri[len(scheme) :]}"
        raise UsageError(f"{uri}: there is no scheme {scheme!r}.", where="--model", hint=f"Did you mean {where}?")


def predict_table(uri: str, data: str | Path, out: str | Path, **options: Any) -> Scored:
    """Score a CSV, Parquet or JSON file to a file. options: those of ``mmeframe.tables.score_table``."""
    from mmeframe.tables import score_table

    router = load_router(uri, tracking_uri=options.pop("tracking_uri", None))
    return score_table(router, Path(data), out=Path(out), **options)


def show(uri: str, *, tracking_uri: str | None = None) -> dict[str, Any]:
    """What is inside a logged router: read from its bundle, nothing is loaded."""
    from mmeframe.store.store import using_store

    with using_store(tracking_uri) as store:
        return show_from(store, uri)


def show_from(store: Store, uri: str) -> dict[str, Any]:
    import tempfile

    import mlflow

    from mmeframe.bundle import Bundle

    _check_registered(store, uri)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            root = Path(mlflow.artifacts.download_artifacts(uri, dst_path=None if _is_local(uri) else scratch))
        except Exception as error:
            raise _not_read(uri, error) from error
        bundle = root / "artifacts" / "bundle"
        if not bundle.is_dir():
            raise MissingError(f"{uri} is not a router of mmeframe.", where="--model")
        return _describe(uri, Bundle(bundle))


def fetch(store: Store, uri: str) -> Path:
    """The model folder on this machine: where it lies, or a copy in the cache folder, made once.

    A copy that is not what was downloaded any more, file by file, is made anew. Raises MissingError if there is no
    model at the URI, MmeframeError if the cache folder takes no files.
    """
    import hashlib

    import mlflow

    from mmeframe.cache import CONTENT, cache_folder, is_whole, put, refused, seal, work_folder
    from mmeframe.store.store import ModelFolder, registered_name

    location = uri
    _check_scheme(uri)
    name = registered_name(uri)
    version, model_id = store.pin(uri, store.named([name]) if name else {})
    if model_id:
        location = store.locations([model_id]).get(model_id, uri)
    elif version:
        location = version.source
    if here := ModelFolder(location).here:
        if not (here / "MLmodel").is_file():
            raise MissingError(f"there is no MLflow model at {uri}.", where="--model")
        return here
    try:
        # Somebody may log another router to the same place: its description names it.
        described = ModelFolder(location).read("MLmodel")
    except Exception as error:
        raise _not_read(uri, error) from error
    if described is None:
        raise MissingError(f"there is no MLflow model at {uri}.", where="--model")
    target = cache_folder() / "routers" / hashlib.sha256(location.encode() + b"\0" + described).hexdigest()[:32]
    if not is_whole(target):
        with work_folder("routers", ".downloading-") as work:
            made, inside = work / "new", work / "new" / CONTENT
            try:
                made.mkdir()
                Path(mlflow.artifacts.download_artifacts(location, dst_path=str(work / "download"))).rename(inside)
            except Exception as error:
                raise _not_read(uri, error) from error
            try:
                seal(made)
                put(made, target, is_whole)
            except OSError as error:
                raise refused(target.parent, error) from error
    return target / CONTENT


def opened(store: Store, uri: str, root: Path) -> Bundle:
    """The bundle of a logged router, after all that its digest covers was compared; no code of the router has run.

    root: its folder. Raises MissingError if it is no router, CorruptBundleError for what is not as it was built: as
    the store says, and ``MMEFRAME_EXPECT_DIGEST`` where it is set.
    """
    import os

    from mmeframe.bundle import Bundle, artifact

    if not (root / artifact.BUNDLE).is_dir():
        raise MissingError(f"{uri} is not a router of mmeframe.", where="--model")
    expect = os.environ.get("MMEFRAME_EXPECT_DIGEST")
    bundle = Bundle(root / artifact.BUNDLE, expect)
    logged = _logged_digest(store, uri)
    if logged not in (None, bundle.digest):
        what = "the store knows another digest of this router"
        raise CorruptBundleError(str(bundle.folder), logged, bundle.digest, what)
    artifact.check(root, bundle.manifest, strict=(expect or logged) is not None)
    artifact.forget_bytecode(root)
    return bundle


def _logged_digest(store: Store, uri: str) -> str | None:
    """What the store says of a router, None for one that it does not know."""
    from mmeframe.store.store import ROUTER_TAG, registered_name

    name = registered_name(uri)
    version, model_id = store.pin(uri, store.named([name]) if name else {})
    if version is not None:
        return version.tags.get(ROUTER_TAG)
    models = store.logged_models(f"model_id = '{model_id}'", ()) if model_id else ()
    return next((model.tags.get(ROUTER_TAG) for model in models), None)


def verified(store: Store, uri: str) -> tuple[Path, Bundle]:
    """A logged router's folder and its bundle, every byte of it checked. Raises CorruptBundleError for another one."""
    root = fetch(store, uri)
    bundle = opened(store, uri, root)
    bundle.verify()
    return root, bundle


def _is_local(uri: str) -> bool:
    return "://" not in uri and not uri.startswith(("models:/", "runs:/"))


def _describe(uri: str, bundle: Any) -> dict[str, Any]:
    from mmeframe.fleet.embed import code_changes

    manifest: Mapping[str, Any] = bundle.manifest
    return {
        "uri": redact(uri),
        "name": manifest["name"],
        "mmeframe": manifest["mmeframe"],
        "format": manifest["format"],
        "digest": bundle.digest,
        "bytes": manifest["bytes"],
        "pack_bytes": manifest["pack"]["bytes"],
        "routing": manifest["routing"],
        "traffic": manifest["traffic"],
        "disabled_models": manifest["disabled_models"],
        "isolation": manifest["isolation"],
        "residency": manifest["residency"],
        "output": manifest["output"],
        "columns": manifest["union"],
        "routing_columns": {
            **{name: part for part, inputs in manifest["inputs"].items() for name in inputs["columns"]},
            **dict.fromkeys(manifest["traffic"]["sticky"], "traffic.sticky"),
        },
        "answer": manifest["answer"],
        "environment": manifest["environment"],
        "plugins": manifest["plugins"],
        "other_code_here": code_changes(manifest),
        "sub_models": [
            {
                "id": record.id,
                "key": dict(record.key) if record.routed else None,
                "arm": record.arm,
                "uri": record.uri,
                "version": record.version,
                "model_id": record.model_id,
                "flavor": record.flavor,
                "loader": manifest["loaders"][record.loader]["kind"],
                "of": list(record.of),
                "bytes": record.bytes,
                "memory": record.memory,
            }
            for record in bundle
        ],
    }
