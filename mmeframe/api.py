"""What the command line, notebooks and tests call. Every function takes Hydra overrides, as the command line does.

A ``Job`` gives values; the functions give plain data where ``--json`` prints it.
"""

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
from mmeframe.errors import MissingError, ProblemsError, UsageError
from mmeframe.plugin.manager import Plugins, load_plugins
from mmeframe.sections import RouterSpec
from mmeframe.spec import Logged

if TYPE_CHECKING:
    from mmeframe.bundle import Bundle
    from mmeframe.fleet.facts import Planned, RouterFacts
    from mmeframe.fleet.fleet import Fleet
    from mmeframe.fleet.released import ReleasedBuild
    from mmeframe.publish.journal import BuildJournal
    from mmeframe.route.explain import Covered, Explained
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

# Commands that take a logged router as it was built, so that the config need not declare one.
_CLIENTS = ("predict", "serve", "show")


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
    """A composed and validated config, with the plugins that it was validated against.

    Methods that only look take the store that ``store()`` has opened, so that several share it. uri: of a logged
    router; without it the config's own is meant.
    """

    composed: Composed
    spec: RouterSpec
    plugins: Plugins
    # What a training may name besides scikit-learn's estimators.
    allow: tuple[str, ...] = ()
    # Whether it is about a logged router, of which the config says no more than where it is.
    client: bool = False

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The config's MLflow store, active while the block runs; so is what it trusts in skops files."""
        from mmeframe.store.store import using_store

        with using_store(self.spec.tracking.uri) as store, _trusting(self.spec.bundle.skops_trusted):
            yield store

    def fleet(
        self,
        store: Store,
        previous: ReleasedBuild | None = None,
        journal: BuildJournal | None = None,
        progress: Progress = _silent,
    ) -> Fleet:
        """The config's sub-models, pinned, described and checked against one another."""
        from mmeframe.fleet.resolve import resolve

        return resolve(self.spec, self.plugins, store, progress, previous, journal)

    def validate(self, store: Store, progress: Progress = _silent) -> Fleet:
        """The fleet, with all that can be known of it without loading; or, with ``validate.load``, by that.

        Raises ProblemsError, or BuildError for plugins that cannot be embedded.
        """
        from mmeframe.publish.log import prove_fleet

        fleet = self.fleet(store, progress=progress)
        if self.spec.validate.load:
            proved = prove_fleet(fleet, self.plugins, progress)
            return dataclasses.replace(fleet, warnings=(*fleet.warnings, *proved))
        self._wrapping(fleet)
        return fleet

    def plan(self, store: Store, uri: str | None = None) -> Planned:
        """What a build would log, and how that differs from the router at ``uri``, else from the registered one."""
        from mmeframe.fleet.changes import compare
        from mmeframe.fleet.facts import Plan, Planned
        from mmeframe.fleet.released import find_released

        against, bundle = self._against(store, uri)
        ours, newest = self._versions(store, against) if bundle else (None, None)
        home = bundle.folder if bundle else None
        with find_released(store, self.spec, ours, home) if ours else nullcontext() as previous:
            # Its notes say which files have changed; all are read all the same, for what there is to say of them.
            fleet = self.fleet(store, dataclasses.replace(previous, stamps={}) if previous else None)
            around = self._wrapping(fleet)
            found = compare(fleet, bundle, against, self.plugins)
            if newest != ours:
                found = dataclasses.replace(found, newest=newest)
            if previous is not None:
                told = {*found.added, *(it.id for it in found.changed)}
                others = [it for it in fleet.models if not it.of and it.id not in told]
                files = [it.id for it in others if not previous.has(it.id, it.stamp)]
                found = dataclasses.replace(found, files=files)
        changes = bundle is None or not found.is_empty
        # What differs may show there, too. One that another mmeframe wrote, or that is damaged, is built anew.
        rest = ours is not None and (previous is None or around != previous.wrapping)
        if rest and not changes:
            found = dataclasses.replace(found, differing=("wrapping",))
        return Planned(Plan(fleet), found, changes or rest)

    def _against(self, store: Store, uri: str | None) -> tuple[str | None, Bundle | None]:
        """What a plan is compared with: the URI that was given or is registered, and its bundle, None for none."""
        from mmeframe.bundle import Bundle, artifact
        from mmeframe.store.routers import fetch

        against, bundle = None, None
        try:
            against = self.find(store, uri)
            folder = fetch(store, against) / artifact.BUNDLE
            bundle = Bundle(folder) if folder.is_dir() else None
        except MissingError:
            if uri is not None:
                raise
        if uri is not None and bundle is None:
            raise MissingError(f"{uri} is not a router of mmeframe.", where="--model")
        return against, bundle

    def _versions(self, store: Store, against: str | None) -> tuple[str | None, str | None]:
        """Which version of the config's own router a URI means, None for what is none; and which is the newest."""
        from mmeframe.store.store import registered_name

        name = registered_name(against or "")
        if name is None or name != self.spec.tracking.register_as:
            return None, None
        models = store.named([name])
        version, _ = store.pin(str(against), models)
        return (version.version, models[name].versions[0].version) if version else (None, None)

    def _wrapping(self, fleet: Fleet) -> str:
        """The digest of what a build would put around the bundle. Raises what that would raise."""
        from mmeframe.publish.wrapping import wrapping

        return wrapping(fleet, self.plugins).digest

    def coverage(self, store: Store, uri: str | None, data: Path, params: Mapping[str, Any]) -> Covered:
        """What a table reaches."""
        from mmeframe.route.explain import Coverage

        return Coverage(*self._ways(store, uri)).read(data, params).report()

    def explain(self, store: Store, uri: str | None, data: Path, params: Mapping[str, Any]) -> Explained:
        """The ways of a table's rows, which are read while the store is open."""
        from mmeframe.route.explain import Explained

        routing, union, _ = self._ways(store, uri)
        return Explained(routing, union, data, params)

    def _ways(self, store: Store, uri: str | None) -> tuple[Routing, Sequence[Column], Mapping[str, Sequence[str]]]:
        """How rows are routed, over which columns, and which of those are wider than some sub-model's own."""
        if uri is not None:
            from mmeframe.fleet.facts import promoted
            from mmeframe.store.routers import load

            router = load(store, uri)
            return router.routing, router.union, promoted(router.union, router.schemas)
        from mmeframe.fleet.routing import routing_of

        fleet = self.fleet(store)
        return routing_of(fleet), fleet.union.columns, fleet.union.promoted

    def build(self, progress: Progress = _silent) -> Logged:
        """Log, prove and register the router."""
        import yaml

        from mmeframe.fleet.released import find_released
        from mmeframe.publish.journal import open_journal
        from mmeframe.publish.log import log_router

        with (
            self.store() as store,
            find_released(store, self.spec) as previous,
            open_journal(store, self.spec) as journal,
        ):
            fleet = self.fleet(store, previous if self.spec.bundle.reuse else None, journal, progress)
            config = (yaml.safe_load(self.composed.text), self.composed.overrides)
            logged = log_router(fleet, self.plugins, store, journal, config, progress, previous)
            gone = previous.gone({model.id for model in fleet.models}) if previous else []
        told = self.plugins.router_logged(self.spec, logged) if logged.same_as is None else ()
        return dataclasses.replace(logged, notes=(*gone, *fleet.warnings, *logged.notes, *told))

    def train(self, progress: Progress = _silent) -> Trained:
        """Train and register the sub-models of the ``train`` section."""
        import yaml

        from mmeframe.train import allowance
        from mmeframe.train import train as run

        allow = allowance(self.allow)
        if problems := self.plugins.check_spec(self.spec):
            raise ProblemsError(problems)
        tree = yaml.safe_load(self.composed.text)
        with self.store() as store:
            return run(self.spec, store, progress, (tree, self.composed.overrides), allow)

    def find(self, store: Store, uri: str | None) -> str:
        """The URI that a command means: what was given, else the config's registered router."""
        from mmeframe.publish.log import find_router

        return uri or find_router(store, self.spec.tracking)

    def show(self, store: Store, uri: str | None) -> RouterFacts:
        """What is inside a logged router: read from its bundle, nothing is loaded."""
        return _facts(store, self.find(store, uri))


def _facts(store: Store, uri: str) -> RouterFacts:
    from mmeframe.fleet.facts import RouterFacts
    from mmeframe.store.routers import reading

    with reading(store, uri) as bundle:
        return RouterFacts.of(uri, bundle)


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
    return job_of(composed, loaded, logged, allow)


def job_of(composed: Composed, plugins: Plugins, logged: bool = False, allow: Sequence[str] = ()) -> Job:
    """Validate a composed config: whole for commands that know sub-models, else what a client needs."""
    # A plan compares a config with a logged router, where there is a config.
    compares = composed.command == "plan" and any(composed.tree.get(section) for section in ("models", "sources"))
    client = (logged and not compares) or composed.command in _CLIENTS
    spec = (parse_client if client else parse)(composed, plugins)
    return Job(composed, spec, plugins, tuple(allow), client)


def compose(
    *overrides: str,
    command: str = "build",
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
    plugins: Iterable[str] | Plugins = (),
) -> RouterSpec:
    """The validated config of a command, as ``--config-dir``, ``--config-name`` and ``-p`` choose it.

    plugins: names of modules, ``no:NAME`` to leave one out, or plugins that are loaded already.
    Raises ProblemsError with all problems in one report. Example::

        spec = mmeframe.compose("experiment=flights", "tracking.alias=champion")
        assert spec.tracking.alias == "champion"
    """
    return job(command, overrides, config_dirs=config_dirs, config_name=config_name, plugins=plugins).spec


def validate(
    *overrides: str,
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
    plugins: Iterable[str] | Plugins = (),
) -> Fleet:
    """Check the config, the store and every sub-model's description; packs nothing.

    Raises ProblemsError with all problems in one report. Example::

        fleet = mmeframe.validate("experiment=flights")
        print([model.id for model in fleet.models], *fleet.warnings)
    """
    work = job("validate", overrides, config_dirs=config_dirs, config_name=config_name, plugins=plugins)
    with work.store() as store:
        return work.validate(store)


def plan(
    *overrides: str,
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
    plugins: Iterable[str] | Plugins = (),
) -> dict[str, Any]:
    """What ``build`` would log, as plain data: sub-models, routing, schema, requirements, warnings.

    Example::

        found = mmeframe.plan(config_dirs=["conf"], config_name="delays")
        print([model["uri"] for model in found["sub_models"]])
    """
    from mmeframe.fleet.facts import Plan

    work = job("plan", overrides, config_dirs=config_dirs, config_name=config_name, plugins=plugins)
    with work.store() as store:
        return Plan(work.validate(store)).to_json()


def coverage(
    *overrides: str,
    data: str | Path,
    params: Mapping[str, Any] | None = None,
    model: str | None = None,
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
    plugins: Iterable[str] | Plugins = (),
) -> dict[str, Any]:
    """What a table reaches: each of its keys, with rows, sub-model and reason; sub-models without rows.

    model: the URI of a logged router; without it the config's own fleet is meant, which need not be built. Example::

        found = mmeframe.coverage("experiment=flights", data="today.parquet")
        assert found["coverage"] > 0.99, found["without_model"]
    """
    logged = model is not None
    work = job("validate", overrides, config_dirs=config_dirs, config_name=config_name, plugins=plugins, logged=logged)
    with work.store() as store:
        return work.coverage(store, model, Path(data), params or {}).to_json()


def explain(
    *overrides: str,
    data: str | Path,
    params: Mapping[str, Any] | None = None,
    model: str | None = None,
    limit: int | None = None,
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
    plugins: Iterable[str] | Plugins = (),
) -> list[dict[str, Any]]:
    """For each row of a table: its key, the route through every level, the arm, the sub-model, its version, the reason.

    model: the URI of a logged router; without it the config's own fleet is meant, which need not be built. limit: how
    many rows, all if None. Example::

        for row in mmeframe.explain(model="models:/flights@champion", data="today.parquet", limit=10):
            print(row["key"], row["model_id"], row["reason"])
    """
    logged = model is not None
    work = job("explain", overrides, config_dirs=config_dirs, config_name=config_name, plugins=plugins, logged=logged)
    with work.store() as store:
        return [row.to_json() for row in work.explain(store, model, Path(data), params or {}).rows(limit)]


def build(
    *overrides: str,
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
    plugins: Iterable[str] | Plugins = (),
    progress: Progress = _silent,
) -> Logged:
    """Log, prove and register the router of a config.

    progress: told what is done, how much of it, and of how much. Raises ProblemsError, or BuildError where the logged
    router does not answer as its sub-models do. Example::

        logged = mmeframe.build("experiment=flights", "tracking.alias=champion")
        print(logged.model_uri, logged.version, *logged.notes)
    """
    return job("build", overrides, config_dirs=config_dirs, config_name=config_name, plugins=plugins).build(progress)


def train(
    *overrides: str,
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
    plugins: Iterable[str] | Plugins = (),
    allow: Sequence[str] = (),
    progress: Progress = _silent,
) -> Trained:
    """Train and register sub-models as the config's ``train`` section says.

    allow: packages and tables that the config may name, as ``--allow`` takes them. progress: as of ``build``. Example::

        trained = mmeframe.train("experiment=flights", "train.holdout=0.1")
        print({model.name: model.metrics for model in trained.models})
    """
    work = job("train", overrides, config_dirs=config_dirs, config_name=config_name, plugins=plugins, allow=allow)
    return work.train(progress)


def load_router(uri: str, *, tracking_uri: str | None = None) -> Router:
    """The live router behind any MLflow model URI, as MLflow loads it.

    Raises MissingError if there is no model at the URI, or if it is not a router of mmeframe. Example::

        router = mmeframe.load_router("models:/flights@champion")
        answer = router.predict(rows, {"annotate": True})
    """
    from mmeframe.store.routers import load
    from mmeframe.store.store import using_store

    with using_store(tracking_uri) as store:
        return load(store, uri)


def predict_table(
    uri: str,
    data: str | Path,
    out: str | Path,
    *,
    tracking_uri: str | None = None,
    params: Mapping[str, Any] | None = None,
    batch_rows: int = 100_000,
    keep: str | Sequence[str] = "all",
    annotate: bool | None = None,
    progress: Progress = _silent,
) -> Scored:
    """Score a table to a file, in pieces of ``batch_rows``.

    keep: columns of the data that stand before the answers: ``all``, ``none``, or some. annotate: whether answers say
    who gave them, None for what the router does. Example::

        scored = mmeframe.predict_table("models:/flights@champion", "rows.csv", "scored.parquet", keep=["flight"])
        print(scored.rows, scored.reasons)
    """
    from mmeframe.tables import Wanted, score_table

    router = load_router(uri, tracking_uri=tracking_uri)
    wanted = Wanted(params, annotate, batch_rows, keep)
    return score_table(router, Path(data), wanted, out=Path(out), progress=progress)


def show(uri: str, *, tracking_uri: str | None = None) -> dict[str, Any]:
    """What is inside a logged router: read from its bundle, nothing is loaded.

    Example::

        print([model["id"] for model in mmeframe.show("models:/flights@champion")["sub_models"]])
    """
    from mmeframe.store.store import using_store

    with using_store(tracking_uri) as store:
        return _facts(store, uri).to_json()
