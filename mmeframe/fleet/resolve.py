"""From declared sub-models to a fleet: expanded, pinned, read, and checked against one another.

``validate`` and ``plan`` stop after this: nothing is downloaded but each model's small description files.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import islice
from typing import Any

from mmeframe.budget import check_residency
from mmeframe.errors import ConfigError, MmeframeError, Problem, ProblemsError, count, known_names, suggest
from mmeframe.fleet.describe import Describer, Journal
from mmeframe.fleet.environment import distributions_of, merge
from mmeframe.fleet.live import LiveModels
from mmeframe.fleet.members import Members
from mmeframe.fleet.methods import discover, has_classes, labels
from mmeframe.fleet.released import ReleasedBuild
from mmeframe.fleet.signature import (
    Param,
    Union,
    alike_labels,
    as_sent,
    natural,
    readable,
    union_columns,
    union_outputs,
    union_params,
)
from mmeframe.fleet.submodel import SubModel, sub_model
from mmeframe.graph import reached
from mmeframe.plugin import ComponentContext, RoutingInputs, RoutingStrategy, SubModelEntry
from mmeframe.plugin.components import holds_pickles, make_component, runs_code
from mmeframe.plugin.manager import Plugins
from mmeframe.rows.keys import canonical, csv_hazard, csv_twins
from mmeframe.rows.outputs import Outputs
from mmeframe.rows.types import is_compound, shown
from mmeframe.spec import ANNOTATE, MAIN_ARM, Column, Component, RouterSpec
from mmeframe.store.store import ModelFolder, Progress, Store, fetched, registered_name
from mmeframe.versions import HERE, minor, other_libraries, other_pythons, pickled_by

__all__ = ["Fleet", "declared", "resolve"]

PYFUNC = "python_function"


@dataclass
class Fleet:
    """Everything that a bundle needs to know. ``dropped``: source entries that explicit ones replaced."""

    spec: RouterSpec
    models: tuple[SubModel, ...]
    union: Union
    outputs: Outputs
    requirements: tuple[str, ...]
    inputs: Mapping[str, RoutingInputs]
    # Of sub-models: what a request may set.
    params: Mapping[str, Param] = field(default_factory=dict)
    # Config path of a component -> the files that it puts into the bundle.
    prepared: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    # Key part -> values that strategies of other parts know of it.
    looked_up: Mapping[str, Collection[str]] = field(default_factory=dict)
    dropped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    live: LiveModels = field(default_factory=lambda: LiveModels("shared"))

    @property
    def answering(self) -> set[str]:
        """Ids of the sub-models whose answers callers see, alone or in a combination; gates are not among them."""
        return reached([it.id for it in self.models if it.routed], {it.id: it.of for it in self.models})

    @property
    def csv_changes(self) -> dict[str, dict[str, str]]:
        """Key part -> its values, declared or looked up, that CSV readers change -> what they make of them."""
        known = {part: {*self.looked_up.get(part, ()), *self.declared[part]} for part in _read_as_keys(self.inputs)}
        return {part: changes for part, values in known.items() if (changes := _csv_changes(values))}

    @cached_property
    def declared(self) -> dict[str, tuple[str, ...]]:
        """Key part -> its declared values, sorted."""
        values: dict[str, set[str]] = {part.name: set() for part in self.spec.routing.parts}
        for model in self.models:
            for part, value in model.key.items() if model.routed else ():
                values[part].add(value)
        return {part: tuple(sorted(found, key=natural)) for part, found in values.items()}


def _read_as_keys(inputs: Mapping[str, RoutingInputs]) -> list[str]:
    """Parts whose keys stand in a column: computed ones, and those of parameters, are never read from a CSV file."""
    return [part for part, it in inputs.items() if "key" in it.columns.values()]


def _csv_changes(keys: Iterable[str]) -> dict[str, str]:
    return {key: change for key in sorted(keys, key=natural) if (change := csv_hazard(key))}


def resolve(
    spec: RouterSpec,
    plugins: Plugins,
    store: Store,
    progress: Progress,
    previous: ReleasedBuild | None = None,
    journal: Journal | None = None,
) -> Fleet:
    """Expand sources, pin every URI, read every model's description, and check that all of them fit.

    previous: whose sub-models are not read again where they did not change. journal: notes what is found, for a build.
    Raises ProblemsError with every problem of the fleet.
    """
    return _Resolver(spec, plugins, store, progress, previous, journal).run()


def declared(
    spec: RouterSpec, plugins: Plugins, store: Store
) -> tuple[list[SubModelEntry], Mapping[str, Mapping[str, bytes]]]:
    """The sub-models that a config declares, with their keys, and what its components prepare: nothing of them is read.

    The store is only asked for sources that look there. Raises ProblemsError with every problem of what is declared.
    """
    resolver = _Resolver(spec, plugins, store, lambda *_: None, None, None)
    _, entries = resolver.declared()
    if resolver.problems:
        raise ProblemsError(resolver.problems)
    return sorted(entries, key=lambda entry: entry.id), resolver.prepared


@dataclass
class _Resolver:
    spec: RouterSpec
    plugins: Plugins
    store: Store
    progress: Progress
    previous: ReleasedBuild | None
    journal: Journal | None
    # Ids of source entries whose files have shown that they are routers.
    routers: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    inputs: dict[str, RoutingInputs] = field(default_factory=dict)
    prepared: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    looked_up: dict[str, set[str]] = field(default_factory=dict)
    _answering: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.live = LiveModels(self.spec.isolation)

    def declared(self) -> tuple[dict[str, RoutingStrategy[Any]], list[SubModelEntry]]:
        """The strategies and the sub-models of the config, checked as far as that goes without reading any."""
        self.problems += self.plugins.check_spec(self.spec)
        strategies = self._strategies()
        members = Members(self.spec, self.plugins, self.store, self.problems, self.dropped, self.warnings, self.routers)
        entries = members.read()
        routed = [entry for entry in entries if entry.routed]
        self._levels(routed)
        self._keys(routed)
        self._arms(routed, members.overlaid)
        self._uses(entries)
        self._resident(entries)
        return strategies, entries

    def run(self) -> Fleet:
        strategies, entries = self.declared()
        routed = [entry for entry in entries if entry.routed]
        needs = {entry.id: entry.of for entry in entries if entry.of}
        self._answering = reached([entry.id for entry in routed], needs)
        describer = Describer(
            self.plugins,
            self.store,
            self.problems,
            self.warnings,
            self.spec.bundle,
            self.live,
            lambda id_: self.spec.output.method if id_ in self._answering else "predict",
            [build for build in (self.previous, self.journal) if build is not None],
            self.journal,
            self.progress,
        )
        models = describer.read(entries)
        self._name(entries, models)
        if describer.routers:
            # Keys and levels were checked with them.
            left = self.routers | describer.routers
            return _Resolver(
                self.spec, self.plugins, self.store, self.progress, self.previous, self.journal, left
            ).run()
        if not self.spec.bundle.allow_pickle:
            models = self._without_code(models)
        models = self._methods(self._of_this_python(models))
        union = union_columns({model.id: model.inputs for model in models}, self.problems)
        models = self._combined(models, entries)
        if not entries and not self.problems:
            self.problem("models", "there are no sub-models.", "Declare models, or sources that bring some.")
        self._reads(union)
        self._decides(union)
        self._prepare({f"observers.{name}": component for name, component in self.spec.observers})
        self._prepare({f"models.{model.id}.combine": model.loader for model in models if model.of})
        self._possible(strategies, models)
        outputs = self._answers(models)
        requirements = self._requirements(models)
        params = self._params(models)
        self._promotions(union)
        self._union_mode(union)
        if self.spec.isolation == "shared":
            self._code_clashes(models)
            self._shadowing(models)
        if self.problems:
            raise ProblemsError(self.problems)
        fleet = Fleet(
            self.spec,
            tuple(models),
            union,
            outputs,
            requirements,
            self.inputs,
            params,
            self.prepared,
            self.looked_up,
            tuple(self.dropped),
            live=self.live,
        )
        return replace(fleet, warnings=(*self.warnings, *self._changed_by_csv(fleet)))

    def problem(self, where: str, what: str, hint: str = "", code: Any = "config") -> None:
        self.problems.append(Problem(where, what, hint, code))

    def _strategies(self) -> dict[str, RoutingStrategy[Any]]:
        """What each strategy reads, and the tables of its config, so that a wrong one is found before a build."""
        made = self._prepare({f"routing.keys.{part.name}": part.strategy for part in self.spec.routing.parts})
        strategies = {where.removeprefix("routing.keys."): strategy for where, strategy in made.items()}
        self.inputs = {part: strategy.inputs() for part, strategy in strategies.items()}
        return strategies

    def _prepare(self, components: Mapping[str, Component]) -> dict[str, Any]:
        """The components, made, with what each puts into the bundle; their faults join the report."""
        made = {}
        for where, component in components.items():
            try:
                made[where] = make_component(component)
                self.prepared[where] = made[where].prepare()
            except ProblemsError as error:
                self.problems += [it.below(where) for it in error.problems]
            except MmeframeError as error:
                self.problems.append(Problem.of(error).below(where))
            except Exception as error:  # noqa: BLE001 - a plugin's own code
                self.problem(where, f"{component.kind} cannot prepare: {type(error).__name__}: {error}.")
        return made

    def _name(self, entries: Sequence[SubModelEntry], models: Sequence[SubModel]) -> None:
        """The name that a build writes is none that it reads: the router would be the sub-model's next version."""
        target = self.spec.tracking.register_as
        if not target:
            return
        taken = [entry.id for entry in entries if target in (entry.name, registered_name(entry.uri))]
        # A logged model may be registered under any name.
        unnamed = {model.model_id: model.id for model in models if model.model_id and not model.name}
        if unnamed and (registered := self.store.named([target]).get(target)):
            taken += [unnamed[it.model_id] for it in registered.versions if it.model_id in unnamed]
        if taken:
            what = f"{target!r} is the registered model of the sub-model {taken[0]!r}: the router would take its place."
            self.problem("tracking.register_as", what, f"Choose another name: tracking.register_as={target}_router.")

    # -- keys and levels ---------------------------------------------------------------------------------------

    def _levels(self, entries: Sequence[SubModelEntry]) -> None:
        levels = [frozenset(level) for level in self.spec.routing.levels]
        used = {frozenset(entry.key or {}) for entry in entries}
        lost: dict[frozenset[str], list[str]] = {}
        for entry in entries:
            parts = frozenset(entry.key or {})
            if parts not in levels:
                lost.setdefault(parts, []).append(entry.id)
        for parts, ids in lost.items():
            listed = [list(level) for level in self.spec.routing.levels]
            # Before those that ask for less, which would take its rows.
            at = next((at for at, level in enumerate(listed) if parts.issuperset(level)), len(listed))
            wanted = str([*listed[:at], sorted(parts), *listed[at:]]).replace("'", "").replace(" ", "")
            kind = f"the parts {', '.join(sorted(parts))}" if parts else "no key (the global sub-model)"
            more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
            have = "have" if len(ids) > 1 else "has"
            self.problem(
                "routing.levels", f"{ids[0]!r}{more} {have} {kind}, and no level does.", f"Set routing.levels={wanted}."
            )
        # A family that could not be read may have brought one.
        unread = any(problem.where.startswith("sources") for problem in self.problems)
        if frozenset() in levels and frozenset() not in used and not unread:
            self.problem(
                "routing.levels", "the level [] has no sub-model.", "Declare one with key: {}, or remove the level."
            )

    def _keys(self, entries: Sequence[SubModelEntry]) -> None:
        """Two keys that a CSV reader makes one are an error."""
        for part in _read_as_keys(self.inputs):
            values = {str((entry.key or {})[part]) for entry in entries if part in (entry.key or {})}
            for value, plain in csv_twins(sorted(values, key=natural)):
                how = "leading zeros" if value.lstrip("0") == plain else "how they are written"
                self.problem(
                    f"routing.keys.{part}",
                    f"the keys {value!r} and {plain!r} differ only in {how}.",
                    "A CSV file or a spreadsheet makes them one. Rename one.",
                )

    def _changed_by_csv(self, fleet: Fleet) -> Iterator[str]:
        """Warnings of keys that a CSV reader would change."""
        for part, changes in fleet.csv_changes.items():
            known = {*fleet.declared[part], *self.looked_up.get(part, ())}
            some = ", ".join(f"{value!r} as {change}" for value, change in islice(changes.items(), 3))
            yield (
                f"routing.keys.{part}: CSV readers change {len(changes)} of {count(len(known), 'key')}: they take "
                f"{some}{' ...' if len(changes) > 3 else '.'} Rows that come so are refused: send the column as text. "
                "'mmeframe predict' reads it so, and 'mmeframe plan' lists all."
            )

    def _arms(self, entries: Sequence[SubModelEntry], overlaid: Mapping[str, SubModelEntry]) -> None:
        """Every variant has a main sub-model of its key; traffic names arms and keys that there are.

        overlaid: entries of sources that explicit ones of the same id have taken the place of.
        """
        keys: dict[str, dict[Any, str]] = {}
        for entry in entries:
            keys.setdefault(entry.arm, {})[frozenset((entry.key or {}).items())] = entry.id
        main = keys.pop(MAIN_ARM, {})
        for arm, found in keys.items():
            lost = [id_ for key, id_ in found.items() if key not in main]
            if lost:
                more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
                what = f"{lost[0]!r}{more} of arm {arm!r} has no main sub-model for its key."
                hint = "Declare one: an arm is a variant of it."
                if (theirs := overlaid.get(lost[0])) is not None and theirs.arm == MAIN_ARM:
                    hint = (
                        f"It takes the place of the one that {theirs.origin} brings under its id. Give it another id, "
                    )
                    hint += f"with its uri and key: models.{lost[0]}_{arm}."
                self.problem(f"models.{lost[0]}", what, hint)
        traffic = self.spec.traffic
        if traffic.shadow and not self.spec.observers:
            self.warnings.append(
                "traffic.shadow: shadows are scored for observers, and there are none: nothing will be scored. "
                "Add one with +observer@observers.<name>=log."
            )
        for where, arms in (("traffic.arms", traffic.arms), ("traffic.shadow", traffic.shadow)):
            for arm in arms:
                if arm not in keys:
                    what = f"no sub-model has the arm {arm!r}."
                    self.problem(where, what, suggest(arm, keys, "Arms of the sub-models"))
        for arm, wanted in traffic.only.items():
            for key in wanted:
                if arm in keys and frozenset(key.items()) not in keys[arm]:
                    shown = ", ".join(f"{part}={value}" for part, value in key.items())
                    self.problem(f"traffic.only.{arm}", f"no sub-model of arm {arm!r} is for {shown}.")

    def _uses(self, entries: Sequence[SubModelEntry]) -> None:
        """Sub-models that gates and combinations name exist, do not combine themselves, and are used if unrouted."""
        ids = {entry.id: entry for entry in entries}
        used: set[str] = set()
        for part, inputs in self.inputs.items():
            for name in inputs.models:
                used.add(name)
                if name not in ids:
                    self.problem(f"routing.keys.{part}", f"there is no sub-model {name!r}.", suggest(name, ids, "Ids"))
        needs = {entry.id: entry.of for entry in entries if entry.of}
        for id_, of in needs.items():
            used |= set(of)
            for name in of:
                if name not in ids:
                    self.problem(f"models.{id_}.combine.of", f"there is no sub-model {name!r}.", suggest(name, ids))
        for entry in entries:
            if not entry.routed and entry.id not in used:
                what = "nothing uses it: it has key: none, and no gate or combination names it."
                self.problem(entry.origin, what, "Give it a key, or remove it.")
        for name in self.spec.disabled_models:
            if name not in ids:
                self.problem("disabled_models", f"there is no sub-model {name!r}.", suggest(name, ids, "Ids"))
            elif any(name in inputs.models for inputs in self.inputs.values()):
                hint = "Disable the sub-models that it sends rows to."
                self.problem("disabled_models", f"{name!r} is a gate, and decides where rows go.", hint)

    def _reads(self, union: Union) -> None:
        """A strategy and the sub-models read a column of one kind; of another, no row would satisfy both."""
        types = {column.name: column.type for column in union.columns}
        for part, inputs in self.inputs.items():
            for name, kind in inputs.columns.items():
                found = types.get(name)
                if found is not None and not readable(found, kind):
                    self.problem(
                        f"routing.keys.{part}",
                        f"it reads column {name!r} as {kind}, and the sub-models have it as {found}.",
                        "Route by another column, or log the sub-models with the other type.",
                    )

    def _resident(self, entries: Sequence[SubModelEntry]) -> None:
        """What is to be in memory exists, and is not too many; their bytes are known when they are packed."""
        ids = [entry.id for entry in entries]
        unknown = []
        for option in ("pin", "preload"):
            for name in getattr(self.spec.residency, option):
                if name not in ids and not fnmatch.filter(ids, name):
                    unknown.append(name)
                    where = f"residency.{option}"
                    self.problem(where, f"there is no sub-model {name!r}.", suggest(name, ids, "Ids"))
        if unknown:
            return
        try:
            combined = {entry.id for entry in entries if entry.combine}
            check_residency(replace(self.spec.residency, max_bytes=None), ids, combined, lambda _: 0)
        except ConfigError as error:
            self.problems.append(Problem.of(error))

    def _decides(self, union: Union) -> None:
        """Columns by which rows get their arm hold one value in each row: a list has no canonical text."""
        traffic = self.spec.traffic
        for column in union.columns if traffic.arms else ():
            if column.name in (traffic.sticky or union.names) and is_compound(column.type):
                self.problem(
                    "traffic.sticky",
                    f"column {column.name!r} is {shown(column.type)} in the sub-models, and would decide a row's arm.",
                    "Name columns with one value in a row.",
                )

    def _possible(self, strategies: Mapping[str, RoutingStrategy[Any]], models: Sequence[SubModel]) -> None:
        """Sub-models that no row can reach, and keys without a sub-model that rows could have."""
        if self.problems:
            return
        for part, strategy in strategies.items():
            where = f"routing.keys.{part}"
            keys = self._keys_of(strategy, where, models)
            declared = {model.key[part]: model.id for model in models if model.routed and part in model.key}
            if keys is None and self.inputs[part].models:
                self.warnings.append(
                    f"{where}: the gate {self.inputs[part].models[0]!r} has no classes, so the keys that it gives are "
                    "not known and not checked."
                )
            if keys is None or not declared:
                continue
            gives = known_names(keys, "It gives")
            if not set(keys) & set(declared):
                self.problem(where, "none of its keys has a sub-model.", f"{gives} {known_names(declared, 'Declared')}")
            elif lost := [id_ for key, id_ in declared.items() if key not in keys]:
                more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
                self.warnings.append(f"{where}: no row reaches {lost[0]!r}{more}. {gives}")
            if all(part in level for level in self.spec.routing.levels):
                lacking = [key for key in keys if key not in declared]
                more = f" and {len(lacking) - 16} more" if len(lacking) > 16 else ""
                if lacking:
                    shown = ", ".join(map(repr, lacking[:16])) + more
                    self.warnings.append(
                        f"{where}: no sub-model is declared for {shown}, and every level uses this part."
                    )

    def _keys_of(self, strategy: RoutingStrategy[Any], where: str, models: Sequence[SubModel]) -> list[str] | None:
        """All keys that a strategy can give: what it says, or the classes of the sub-model that it asks."""
        strategy.bind(ComponentContext(self.prepared.get(where, {})))
        for part, values in strategy.part_keys().items():
            self.looked_up.setdefault(part, set()).update(values)
        keys = strategy.keys()
        gates = strategy.inputs().models
        if keys is None and len(gates) == 1:
            keys = self._classes({model.id: model for model in models}, gates[0])
        return None if keys is None else [str(canonical(key)) for key in keys]

    def _classes(self, models: Mapping[str, SubModel], id_: str) -> list[Any] | None:
        """The classes of a sub-model, or of those among which it lets them vote; None if it has none."""
        model = models[id_]
        if model.of:
            found = [self._classes(models, name) for name in model.of] if model.loader.kind == "vote" else [None]
            return None if None in found else list(dict.fromkeys(it for classes in found for it in classes or ()))
        with model.folder.local() as root:
            classes: list[Any] | None = self.live.run(labels, model, root)
            return classes

    # -- how the models fit -----------------------------------------------------------------------------------

    def _requirements(self, models: Iterable[SubModel]) -> tuple[str, ...]:
        distinct: dict[tuple[str, ...], str] = {}
        for model in models:
            distinct.setdefault(model.requirements, f"models.{model.id}")
        wanted = [(owner, lines) for lines, owner in distinct.items()]
        merged = merge(wanted, self.spec.environment, self.problems)
        self.warnings += [f"environment: {it} The proof is made with that." for it in other_libraries(merged)]
        return merged

    def _of_this_python(self, models: Sequence[SubModel]) -> list[SubModel]:
        """The sub-models without pickles of another Python, unless those are wanted; and which may crash a process.

        Called before anything of a sub-model is loaded: a pickle of another Python may end this one without a word.
        """
        # Thousands have the same requirements. Which MLflow logged a pickle does not matter to it.
        others = cache(lambda lines: other_libraries(line for line in lines if not line.startswith("mlflow")))
        suspects = [it for it in models if it.python and (minor(it.python) != HERE or others(it.requirements))]
        with ThreadPoolExecutor(8) as pool:
            pickled = dict(zip([it.id for it in suspects], pool.map(self._holds_pickles, suspects), strict=True))
        self.live.risky = {id_ for id_, pickles in pickled.items() if pickles}
        refused: set[str] = set()
        for python, ids in other_pythons({it.id: minor(it.python) for it in suspects}).items():
            risky = [id_ for id_ in ids if pickled[id_]]
            harmless = len(ids) - len(risky)
            if harmless:
                self.warnings.append(
                    f"environment: {count(harmless, 'sub-model')} without pickles came from Python {python}."
                )
            if risky and self.spec.environment.python == "warn":
                self.warnings.append(f"environment.python: {pickled_by(python, risky)}.")
            elif risky:
                refused |= {*risky}
                hint = (
                    "Such a pickle may fail, or crash the process. Log them with this Python, or in a format that "
                    'holds no code (serialization_format="skops"); or build with that one. '
                    "environment.python=warn takes them."
                )
                self.problem("environment.python", f"{pickled_by(python, risky)}.", hint, "fleet")
        return [model for model in models if model.id not in refused]

    def _holds_pickles(self, model: SubModel) -> bool:
        names = self._names(model)
        return names is not None and holds_pickles(model.loader, names, model.options)

    def _without_code(self, models: Sequence[SubModel]) -> list[SubModel]:
        """The sub-models that can be made live without running code of their files; the others are reported.

        Called before anything of a sub-model is loaded, so that nothing of those runs here either.
        """
        with ThreadPoolExecutor(8) as pool:
            run = dict(zip([model.id for model in models], pool.map(self._runs_code, models), strict=True))
        refused = [id_ for id_, runs in run.items() if runs]
        if refused:
            self.problem(
                "bundle.allow_pickle",
                "there are sub-models whose files can run code: pickles, python models, or modules of their own.",
                f"{known_names(refused, 'They are')} Log them without code_paths and with "
                'serialization_format="skops", or in a format of their library that holds no code (XGBoost, CatBoost, '
                "a LightGBM booster); or set bundle.allow_pickle=true if you trust whoever logged them.",
                "fleet",
            )
        return [model for model in models if model.id not in refused]

    def _runs_code(self, model: SubModel) -> bool:
        names = self._names(model)
        return names is not None and runs_code(make_component(model.loader), names, model.options)

    def _names(self, model: SubModel) -> list[str] | None:
        """The files of a sub-model, None, with a problem, if they cannot be listed."""
        try:
            return model.folder.names()
        except Exception as error:  # noqa: BLE001 - a store fails in its own ways
            self.problem(f"models.{model.id}", f"its files cannot be listed: {error}", "", "missing")
            return None

    def _methods(self, models: Sequence[SubModel]) -> list[SubModel]:
        """Sub-models with what ``output.method`` answers, and their classes; a gate is always asked to predict."""
        method = self.spec.output.method
        answering = [model for model in models if model.id in self._answering]
        todo = [it for it in answering if it.method != method or (method == "predict" and has_classes(it))]
        if not todo:
            return list(models)
        found = {model.id: model for model in models}
        with closing(fetched([(f"models.{model.id}", model.folder) for model in todo])) as folders:
            for number, (model, folder) in enumerate(zip(todo, folders, strict=True)):
                self.progress(f"asking for {method}", number, len(todo))
                try:
                    with folder as root:
                        outputs = self.live.run(discover, model, root, method)
                except MmeframeError as error:
                    self.problems.append(Problem.of(error))
                    del found[model.id]
                    continue
                found[model.id] = replace(model, outputs=outputs, method=method)
                if self.journal is not None:
                    self.journal.describe(found[model.id])
        self.progress(f"asking for {method}", len(todo), len(todo))
        return list(found.values())

    def _combined(self, models: Sequence[SubModel], entries: Sequence[SubModelEntry]) -> list[SubModel]:
        """With the sub-models that combine others: they take what those take together, and answer as their combiner."""
        found = {model.id: model for model in models}
        todo = {entry.id: entry for entry in entries if entry.combine}
        needs = {id_: entry.of for id_, entry in todo.items()}
        while ready := [id_ for id_, of in needs.items() if set(of) <= set(found)]:
            for id_ in ready:
                found[id_] = self._combine(todo[id_], [found[name] for name in needs.pop(id_)])
        return sorted(found.values(), key=lambda model: model.id)

    def _combine(self, entry: SubModelEntry, of: Sequence[SubModel]) -> SubModel:
        combiner = entry.combine
        assert combiner is not None  # noqa: S101 - only called for those that have one
        inputs = union_columns({model.id: model.inputs for model in of}, []).columns
        outputs = union_outputs({model.id: model.outputs for model in of}, self.problems)
        try:
            kind, width = make_component(combiner).answer_type, outputs.width or len(outputs.columns)
            outputs = replace(outputs, columns=tuple(replace(c, type=kind(c.type, width)) for c in outputs.columns))
        except MmeframeError as error:
            self.problems.append(Problem.of(error).below(f"models.{entry.id}.combine"))
            outputs = Outputs(())
        made = {"loader": combiner, "inputs": inputs, "outputs": outputs}
        return sub_model(entry, ModelFolder(""), flavor="", options={}, **made)

    def _code_clashes(self, models: Iterable[SubModel]) -> None:
        """One process has one module of a name: the second model would silently run the first one's code."""
        owner: dict[str, tuple[str, str]] = {}
        # A package hides the parts of a namespace package of its name, whose modules have its name before theirs.
        spread: dict[str, str] = {}
        for model in models:
            for module, digest in model.code.items():
                rival, known = owner.setdefault(module, (model.id, digest))
                if known != digest:
                    self._clash(model.id, rival, module, "differs from the one")
                parents = [module[:at] for at, letter in enumerate(module) if letter == "."]
                for parent in parents:
                    spread.setdefault(parent, model.id)
                for hidden in [it for it in parents if it in owner and owner[it][0] != model.id]:
                    self._clash(model.id, owner[hidden][0], module, f"is hidden by the package {hidden!r}")
                if module in spread and spread[module] != model.id:
                    self._clash(model.id, spread[module], module, "hides the namespace package")

    def _clash(self, model_id: str, rival: str, module: str, how: str) -> None:
        self.problem(
            f"models.{model_id}",
            f"it ships a module {module!r} that {how} of {rival!r}.",
            "One process can import only one of them. Rename one module, log both with the same code, or set "
            "isolation=process.",
            "fleet",
        )

    def _shadowing(self, models: Iterable[SubModel]) -> None:
        """Which of a shipped and an installed module is imported depends on who comes first, for everybody."""
        owner = {module.split(".")[0]: model.id for model in models for module in model.code}
        installed = distributions_of(owner)
        for module, id_ in sorted(owner.items()):
            if module in installed:
                self.warnings.append(
                    f"models.{id_}: it ships a module {module!r}, which {installed[module]} has too; where other "
                    "code of that name is imported already, it does not load. isolation=process keeps it to this one."
                )

    def _answers(self, models: Sequence[SubModel]) -> Outputs:
        """What the router answers with. A gate answers with a key, and a shadow nobody: no caller sees either."""
        # A combination without outputs is reported already.
        answers = {model.id: model.outputs for model in models if model.routed and model.outputs.columns}
        if not answers:
            return Outputs(())
        union_outputs(answers, self.problems)
        self.warnings += alike_labels(
            {model.id: model.outputs.classes for model in models if model.id in self._answering}
        )
        hidden = {model.id for model in models if model.arm in self.spec.traffic.shadow}
        seen = union_outputs({id_: it for id_, it in answers.items() if id_ not in hidden} or answers, [])
        if not self.spec.may_skip:
            return seen
        return replace(seen, columns=tuple(replace(column, required=False) for column in seen.columns))

    def _union_mode(self, union: Union) -> None:
        """Columns that routing reads are of any type to MLflow, and it reads no CSV with such a column."""
        types = {name: kind for it in self.inputs.values() for name, kind in it.columns.items()}
        types = dict.fromkeys(self.spec.traffic.sticky, "any") | types | {it.name: it.type for it in union.columns}
        read = [*(name for it in self.inputs.values() for name in it.columns), *self.spec.traffic.sticky]
        free = [name for name in read if as_sent(Column(name, types[name])).type == "any"]
        if self.spec.signature.mode == "union" and free:
            self.warnings.append(
                f"signature.mode=union declares {free[0]!r} as a column of any type, which MLflow leaves as it is "
                "sent: its server then takes no CSV. signature.mode=checked does."
            )

    def _params(self, models: Sequence[SubModel]) -> dict[str, Param]:
        routing = {name for inputs in self.inputs.values() for name in inputs.params}
        own = {model.id: model.params for model in models if model.params}
        return union_params(own, {*routing, ANNOTATE}, self.problems)

    def _promotions(self, union: Union) -> None:
        for name, types in union.promoted.items():
            self.warnings.append(
                f"column {name!r} is {' and '.join(types)} in different sub-models; rows are checked as the wider "
                "type and cast back for each."
            )
