"""From declared sub-models to a fleet: expanded, pinned, read, and checked against one another.

``validate`` and ``plan`` stop after this: nothing is downloaded but each model's small description files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from mmeframe.errors import MmeframeError, Report, count, known_names
from mmeframe.fleet.declared import Declared
from mmeframe.fleet.describe import Describer, Journal
from mmeframe.fleet.environment import merge
from mmeframe.fleet.fleet import Fleet
from mmeframe.fleet.live import LiveModels
from mmeframe.fleet.loadable import Loadable
from mmeframe.fleet.methods import discover, has_classes, labels
from mmeframe.fleet.modules import code_clashes, shadowing
from mmeframe.fleet.released import ReleasedBuild
from mmeframe.fleet.signature import (
    Param,
    Union,
    alike_labels,
    as_sent,
    readable,
    union_columns,
    union_outputs,
    union_params,
)
from mmeframe.fleet.submodel import PinnedModel, sub_model
from mmeframe.graph import reached
from mmeframe.plugin import ComponentContext, RoutingStrategy, SubModelEntry
from mmeframe.plugin.components import make_component
from mmeframe.plugin.manager import Plugins
from mmeframe.rows.keys import canonical
from mmeframe.rows.outputs import Outputs
from mmeframe.rows.types import is_compound, shown
from mmeframe.sections import RouterSpec
from mmeframe.spec import ANNOTATE, Column
from mmeframe.store.folders import ModelFolder, fetched
from mmeframe.store.store import Progress, Store, registered_name
from mmeframe.versions import other_libraries

__all__ = ["declared_entries", "resolve"]


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
    return _Resolver(Declared(spec, plugins, store), progress, previous, journal).run()


def declared_entries(
    spec: RouterSpec, plugins: Plugins, store: Store
) -> tuple[list[SubModelEntry], Mapping[str, Mapping[str, bytes]]]:
    """The sub-models that a config declares, with their keys, and what its components prepare: nothing of them is read.

    The store is only asked for sources that look there. Raises ProblemsError with every problem of what is declared.
    """
    config = Declared(spec, plugins, store)
    _, entries = config.read()
    config.report.check()
    return sorted(entries, key=lambda entry: entry.id), config.prepared


@dataclass
class _Resolver:
    config: Declared
    progress: Progress
    previous: ReleasedBuild | None
    journal: Journal | None
    looked_up: dict[str, set[str]] = field(default_factory=dict)
    _answering: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.spec, self.report = self.config.spec, self.config.report
        self.live = LiveModels(self.spec.isolation)

    def run(self) -> Fleet:
        strategies, entries = self.config.read()
        routed = [entry.id for entry in entries if entry.routed]
        self._answering = reached(routed, {entry.id: entry.of for entry in entries if entry.of})
        describer = self._describer()
        models = describer.read(entries)
        self._name(entries, models)
        if describer.routers:
            # Keys and levels were checked with them.
            it = self.config
            again = Declared(it.spec, it.plugins, it.store, routers=it.routers | describer.routers)
            return _Resolver(again, self.progress, self.previous, self.journal).run()
        loadable = Loadable(self.spec, self.report, self.live)
        if not self.spec.bundle.allow_pickle:
            models = loadable.without_code(models)
        models = self._methods(loadable.of_this_python(models))
        union = union_columns({model.id: model.inputs for model in models}, self.report)
        models = self._combined(models, entries)
        if not entries and not self.report:
            self.report.add("models", "there are no sub-models.", "Declare models, or sources that bring some.")
        return self._fleet(strategies, models, union)

    def _describer(self) -> Describer:
        return Describer(
            self.config.plugins,
            self.config.store,
            self.report,
            self.report.warnings,
            self.spec.bundle,
            self.live,
            lambda id_: self.spec.output.method if id_ in self._answering else "predict",
            [build for build in (self.previous, self.journal) if build is not None],
            self.journal,
            self.progress,
        )

    def _fleet(
        self, strategies: Mapping[str, RoutingStrategy[Any]], models: Sequence[PinnedModel], union: Union
    ) -> Fleet:
        """Of sub-models that are read, checked against one another. Raises ProblemsError."""
        self._reads(union)
        self._decides(union)
        self.config.prepare({f"observers.{name}": component for name, component in self.spec.observers})
        self.config.prepare({f"models.{model.id}.combine": model.loader for model in models if model.of})
        self._possible(strategies, models)
        outputs = self._answers(models)
        requirements = self._requirements(models)
        params = self._params(models)
        self._promotions(union)
        self._union_mode(union)
        if self.spec.isolation == "shared":
            code_clashes(models, self.report)
            shadowing(models, self.report)
        self.report.check()
        fleet = Fleet(
            self.spec,
            tuple(models),
            union,
            outputs,
            requirements,
            self.config.inputs,
            params,
            self.config.prepared,
            self.looked_up,
            tuple(self.config.dropped),
            live=self.live,
        )
        return replace(fleet, warnings=(*self.report.warnings, *self._changed_by_csv(fleet)))

    def _name(self, entries: Sequence[SubModelEntry], models: Sequence[PinnedModel]) -> None:
        """The name that a build writes is none that it reads: the router would be the sub-model's next version."""
        target = self.spec.tracking.register_as
        if not target:
            return
        taken = [entry.id for entry in entries if target in (entry.name, registered_name(entry.uri))]
        # A logged model may be registered under any name.
        unnamed = {model.model_id: model.id for model in models if model.model_id and not model.name}
        if unnamed and (registered := self.config.store.named([target]).get(target)):
            taken += [unnamed[it.model_id] for it in registered.versions if it.model_id in unnamed]
        if taken:
            what = f"{target!r} is the registered model of the sub-model {taken[0]!r}: the router would take its place."
            self.report.add("tracking.register_as", what, f"Choose another name: tracking.register_as={target}_router.")

    def _changed_by_csv(self, fleet: Fleet) -> Iterator[str]:
        """Warnings of keys that a CSV reader would change."""
        for part, changes in fleet.csv_changes.items():
            known = {*fleet.declared_keys[part], *self.looked_up.get(part, ())}
            some = ", ".join(f"{value!r} as {change}" for value, change in islice(changes.items(), 3))
            yield (
                f"routing.keys.{part}: CSV readers change {len(changes)} of {count(len(known), 'key')}: they take "
                f"{some}{' ...' if len(changes) > 3 else '.'} Rows with the changed value are refused: send "
                f"the column as text. "
                "'mmeframe predict' reads it so, and 'mmeframe plan' lists all."
            )

    def _reads(self, union: Union) -> None:
        """A strategy and the sub-models read a column of one kind; of another, no row would satisfy both."""
        types = {column.name: column.type for column in union.columns}
        for part, inputs in self.config.inputs.items():
            for name, kind in inputs.columns.items():
                found = types.get(name)
                if found is not None and not readable(found, kind):
                    self.report.add(
                        f"routing.keys.{part}",
                        f"it reads column {name!r} as {kind}, but the sub-models declare it as {found}.",
                        "Route by another column, or log the sub-models with the other type.",
                    )

    def _decides(self, union: Union) -> None:
        """Columns by which rows get their arm hold one value in each row: a list has no canonical text."""
        traffic = self.spec.traffic
        for column in union.columns if traffic.arms else ():
            if column.name in (traffic.sticky or union.names) and is_compound(column.type):
                self.report.add(
                    "traffic.sticky",
                    f"column {column.name!r} is {shown(column.type)} in the sub-models, and would decide a row's arm.",
                    "Name columns with one value in a row.",
                )

    def _possible(self, strategies: Mapping[str, RoutingStrategy[Any]], models: Sequence[PinnedModel]) -> None:
        """Sub-models that no row can reach, and keys without a sub-model that rows could have."""
        if self.report:
            return
        for part, strategy in strategies.items():
            where = f"routing.keys.{part}"
            keys = self._keys_of(strategy, where, models)
            declared = {model.key[part]: model.id for model in models if model.routed and part in model.key}
            gates = self.config.inputs[part].models
            if keys is None and gates:
                self.report.warnings.append(
                    f"{where}: the gate {gates[0]!r} has no classes, so the keys that it gives are not known and not "
                    "checked."
                )
            if keys is None or not declared:
                continue
            gives = known_names(keys, "It gives")
            if not set(keys) & set(declared):
                self.report.add(
                    where, "none of its keys has a sub-model.", f"{gives} {known_names(declared, 'Declared')}"
                )
            elif lost := [id_ for key, id_ in declared.items() if key not in keys]:
                more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
                self.report.warnings.append(f"{where}: no row reaches {lost[0]!r}{more}. {gives}")
            if all(part in level for level in self.spec.routing.levels):
                lacking = [key for key in keys if key not in declared]
                more = f" and {len(lacking) - 16} more" if len(lacking) > 16 else ""
                if lacking:
                    shown = ", ".join(map(repr, lacking[:16])) + more
                    self.report.warnings.append(
                        f"{where}: no sub-model is declared for {shown}, and every level uses this part."
                    )

    def _keys_of(self, strategy: RoutingStrategy[Any], where: str, models: Sequence[PinnedModel]) -> list[str] | None:
        """All keys that a strategy can give: what it says, or the classes of the sub-model that it asks."""
        strategy.bind(ComponentContext(self.config.prepared.get(where, {})))
        for part, values in strategy.part_keys().items():
            self.looked_up.setdefault(part, set()).update(values)
        keys = strategy.keys()
        gates = strategy.inputs().models
        if keys is None and len(gates) == 1:
            keys = self._classes({model.id: model for model in models}, gates[0])
        return None if keys is None else [str(canonical(key)) for key in keys]

    def _classes(self, models: Mapping[str, PinnedModel], id_: str) -> list[Any] | None:
        """The classes of a sub-model, or of those among which it lets them vote; None if it has none."""
        model = models[id_]
        if model.of:
            found = [self._classes(models, name) for name in model.of] if model.loader.kind == "vote" else [None]
            return None if None in found else list(dict.fromkeys(it for classes in found for it in classes or ()))
        with model.folder.local() as root:
            classes: list[Any] | None = self.live.run(labels, model, root)
            return classes

    # -- how the models fit -----------------------------------------------------------------------------------

    def _requirements(self, models: Iterable[PinnedModel]) -> tuple[str, ...]:
        distinct: dict[tuple[str, ...], str] = {}
        for model in models:
            distinct.setdefault(model.requirements, f"models.{model.id}")
        wanted = [(owner, lines) for lines, owner in distinct.items()]
        merged = merge(wanted, self.spec.environment, self.report)
        self.report.warnings.extend(
            [
                f"environment: {it} The build proves the sub-models with the installed one."
                for it in other_libraries(merged)
            ]
        )
        return merged

    def _methods(self, models: Sequence[PinnedModel]) -> list[PinnedModel]:
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
                    self.report.of(error)
                    del found[model.id]
                    continue
                found[model.id] = replace(model, outputs=outputs, method=method)
                if self.journal is not None:
                    self.journal.describe(found[model.id])
        self.progress(f"asking for {method}", len(todo), len(todo))
        return list(found.values())

    def _combined(self, models: Sequence[PinnedModel], entries: Sequence[SubModelEntry]) -> list[PinnedModel]:
        """With the sub-models that combine others: they take what those take together, and answer as their combiner."""
        found = {model.id: model for model in models}
        todo = {entry.id: entry for entry in entries if entry.combine}
        needs = {id_: entry.of for id_, entry in todo.items()}
        while ready := [id_ for id_, of in needs.items() if set(of) <= set(found)]:
            for id_ in ready:
                found[id_] = self._combine(todo[id_], [found[name] for name in needs.pop(id_)])
        return sorted(found.values(), key=lambda model: model.id)

    def _combine(self, entry: SubModelEntry, of: Sequence[PinnedModel]) -> PinnedModel:
        combiner = entry.combine
        assert combiner is not None  # noqa: S101 - only called for those that have one
        inputs = union_columns({model.id: model.inputs for model in of}, Report()).columns
        outputs = union_outputs({model.id: model.outputs for model in of}, self.report)
        try:
            kind, width = make_component(combiner).answer_type, outputs.width or len(outputs.columns)
            outputs = replace(outputs, columns=tuple(replace(c, type=kind(c.type, width)) for c in outputs.columns))
        except MmeframeError as error:
            self.report.below(f"models.{entry.id}.combine").of(error)
            outputs = Outputs(())
        made = {"loader": combiner, "inputs": inputs, "outputs": outputs}
        return sub_model(entry, ModelFolder(""), flavor="", options={}, **made)

    def _answers(self, models: Sequence[PinnedModel]) -> Outputs:
        """What the router answers with. A gate answers with a key, and a shadow nobody: no caller sees either."""
        # A combination without outputs is reported already.
        answers = {model.id: model.outputs for model in models if model.routed and model.outputs.columns}
        if not answers:
            return Outputs(())
        union_outputs(answers, self.report)
        self.report.warnings.extend(
            alike_labels({model.id: model.outputs.classes for model in models if model.id in self._answering})
        )
        hidden = {model.id for model in models if model.arm in self.spec.traffic.shadow}
        seen = union_outputs({id_: it for id_, it in answers.items() if id_ not in hidden} or answers, Report())
        if not self.spec.may_skip:
            return seen
        return replace(seen, columns=tuple(replace(column, required=False) for column in seen.columns))

    def _union_mode(self, union: Union) -> None:
        """Columns that routing reads are of any type to MLflow, and it reads no CSV with such a column."""
        types = {name: kind for it in self.config.inputs.values() for name, kind in it.columns.items()}
        types = dict.fromkeys(self.spec.traffic.sticky, "any") | types | {it.name: it.type for it in union.columns}
        read = [*(name for it in self.config.inputs.values() for name in it.columns), *self.spec.traffic.sticky]
        free = [name for name in read if as_sent(Column(name, types[name])).type == "any"]
        if self.spec.signature.mode == "union" and free:
            self.report.warnings.append(
                f"signature.mode=union declares {free[0]!r} with any type, so that MLflow leaves it as it is "
                "sent, and its server accepts no CSV. With signature.mode=checked it does."
            )

    def _params(self, models: Sequence[PinnedModel]) -> dict[str, Param]:
        routing = {name for inputs in self.config.inputs.values() for name in inputs.params}
        own = {model.id: model.params for model in models if model.params}
        return union_params(own, {*routing, ANNOTATE}, self.report)

    def _promotions(self, union: Union) -> None:
        for name, types in union.promoted.items():
            self.report.warnings.append(
                f"column {name!r} is {' and '.join(types)} in different sub-models; rows are checked as the wider "
                "type and cast back for each."
            )
