"""The router: rows in, each scored by its sub-model, answers out in the order of the rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.budget import KEPT, chosen
from mmeframe.bundle import Bundle
from mmeframe.errors import BadInputError, ConfigError, MissingError, ModelError, forgotten, known_names, suggest
from mmeframe.graph import reached
from mmeframe.plugin import (
    Batch,
    BatchEvent,
    ComponentContext,
    ErrorEvent,
    EvictEvent,
    LoadEvent,
    ShadowEvent,
)
from mmeframe.plugin.components import runs_code
from mmeframe.plugin.observers import Observers
from mmeframe.route.asking import Question
from mmeframe.route.routing import Members, Routing
from mmeframe.route.table import NO_TARGET, Routed
from mmeframe.rows.batch import FrameBatch, as_batch
from mmeframe.rows.types import RefusedError, converter, is_compound, shown
from mmeframe.runtime.background import Background
from mmeframe.runtime.components import bring_code, load_component, observer_of, required
from mmeframe.runtime.deployment import Deployment, is_nested, nested
from mmeframe.runtime.files import load_record, shipped_code
from mmeframe.runtime.outputs import Answers
from mmeframe.runtime.residency import Host, Residency
from mmeframe.runtime.scoring import Scorer
from mmeframe.runtime.workers import Workers
from mmeframe.sections import ResidencySpec, RoutingSpec, TrafficSpec
from mmeframe.spec import ANNOTATE, Column, Component
from mmeframe.versions import HERE, faults, tell
from mmeframe.worker import Remote

__all__ = ["Answer", "Router"]

# Batches that may wait for their shadows; each keeps its rows in memory until it is done.
_WAITING = 64


@dataclass(frozen=True)
class Answer:
    """A scored batch.

    values: shape (n_rows,) or (n_rows, outputs), or a frame. routed: one target and reason per row, or one for all.
    """

    router: Router
    values: Any
    routed: Routed
    n_rows: int

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The annotated form: prediction, model_id, model_version, reason and arm, each with one value per row.

        Of several unnamed outputs the columns are ``prediction_0``, ``prediction_1`` ...
        """
        if isinstance(self.values, pd.DataFrame):
            columns: dict[str, Any] = {str(name): self.values[name].to_numpy() for name in self.values.columns}
        elif np.ndim(self.values) == 2:
            columns = {f"prediction_{number}": values for number, values in enumerate(self.values.T)}
        else:
            columns = {"prediction": self.values}
        target = np.broadcast_to(self.routed.target, (self.n_rows,))
        reason = np.broadcast_to(self.routed.reason, (self.n_rows,))
        notes = self.router.labels.of(target)
        if (text := self.router.missing_note) is not None:
            notes = [np.where(pd.isna(note), text, note).astype(object) for note in notes]
        model_id, version, arm = notes
        reasons = self.router.reasons.take(reason)
        return {**columns, "model_id": model_id, "model_version": version, "reason": reasons, "arm": arm}


def _as_declared(name: str, value: Any, kind: str) -> Any:
    """A parameter's value in its declared type; times as MLflow hands them over."""
    try:
        found = converter(kind)(value)
    except RefusedError as error:
        raise BadInputError(f"parameter {name!r} must be {shown(kind)}: {error}.") from None
    if kind == "datetime":
        return _time(value, found)
    return [*map(_time, value, found)] if isinstance(found, list) and _of_times(kind) else found


def _of_times(kind: str) -> bool:
    return bool(json.loads(kind)["items"]["type"] == "datetime")


def _time(given: Any, read: Any) -> Any:
    """A date where a date was given, else a time; ``read``: it, as a column has it."""
    moment = read.astype("M8[us]").item()
    return moment.date() if len(str(given)) == len("2024-01-01") else moment


class Labels:
    """Id, version and arm of sub-models by number, read when the first row needs them; None for none."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        # The last place is for NO_TARGET, which is -1.
        self._known = np.zeros(len(bundle) + 1, bool)
        self._known[NO_TARGET] = True
        self._texts = {name: np.full(len(bundle) + 1, None, object) for name in ("id", "version", "arm")}

    def of(self, target: Any) -> list[Any]:
        """An array of objects for each of the three. target: shape (n_rows,)."""
        if not self._known[target].all():
            new = np.unique(target[~self._known[target]])
            for name, texts in self._texts.items():
                texts[new] = self._bundle.texts(name, new)
            self._known[new] = True
        return [texts.take(target) for texts in self._texts.values()]


class Router:
    """A bundle, live. Immutable after construction; ``predict`` may be called from any number of threads.

    bundle: the bundle to serve. code: the archive of embedded plugins, if the artifact has one. deployment: what the
    deployment changes. Raises ConfigError for values that do not fit the fleet.
    """

    def __init__(self, bundle: Bundle, code: Path | None = None, deployment: Deployment | None = None) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.name: str = manifest["name"]
        self.spec = RoutingSpec.from_json(manifest["routing"])
        self.annotate: bool = manifest["output"]["annotate"]
        self.method: str = manifest["output"]["method"]
        self.missing_note: str | None = manifest["output"]["missing_note"]
        self.schemas = bundle.schemas
        self.union = tuple(Column(*column) for column in manifest["union"])
        self._nested = frozenset(it.name for it in self.union if it.type == "any" or is_compound(it.type))
        # Parameters of sub-models, with their types.
        self._params: dict[str, str] = {name: kind for name, (kind, _) in manifest["params"].items()}
        self._skip: bool = manifest["output"]["on_error"] == "skip"
        self._code = code
        bring_code(manifest, code)
        # Made one by one when asked for: there may be many.
        self.records = bundle
        self._inputs, self._arrays = bundle.array("inputs"), bundle.array("arrays")
        self.labels = Labels(bundle)
        self.members = Members(bundle.record, bundle.position, bundle.array("routed"), bundle.combined())
        deployment = self._deployment = deployment or Deployment()
        if not is_nested():
            # Before anything is loaded, which may end the process.
            tell(faults(required(manifest, code), bundle.pickled(HERE)))
        self.observers = self._observers(dict(manifest["observers"]), deployment)
        self.background = Background(_WAITING)
        self.routing = self._routing(manifest, deployment)
        self.table, self.strategies, self.params = self.routing.table, self.routing.strategies, self.routing.params
        self.reasons = np.array(self.table.reasons, object)
        read = [name for strategy in self.strategies.values() for name in strategy.inputs().columns]
        self._declared = frozenset([*(column.name for column in self.union), *read])
        # Of equal combiners, which are one, any has what all have prepared.
        combiner_of = {number: bundle[number].loader for number in self.members.of}
        places = {at: f"models.{bundle.id(number)}.combine" for number, at in combiner_of.items()}
        self._loaders = [self._component(it, places.get(at, "")) for at, it in enumerate(manifest["loaders"])]
        self._workers = Workers(bundle, code) if manifest["isolation"] == "process" else None
        forbidden = deployment.who_forbids_pickle(manifest["allow_pickle"])
        if forbidden:
            self._refuse_code(forbidden)
        combiners = {
            number: (self._loaders[combiner_of[number]], [self._number(id_) for id_ in of])
            for number, of in self.members.of.items()
        }
        self.residency = self._residency(ResidencySpec.from_json(manifest["residency"]), deployment)
        # What combines others answers in the fleet's shape.
        outputs = [[Column(*column) for column in it["columns"]] for it in manifest["outputs"]]
        shapes = bundle.array("outputs")
        if combiners:
            shapes = shapes.copy()
            shapes[[*combiners]] = len(outputs)
        self._answers = Answers(manifest["answer"], [*outputs, []], shapes, bundle.id)
        self._scorer = Scorer(
            bundle.id,
            self._inputs,
            self._arrays,
            self.schemas,
            self.union,
            self._answers,
            combiners,
            self.residency,
            self.method,
            self._skip,
            self._params_of,
        )

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        code: Path | None = None,
        expect: str | None = None,
        deployment: Deployment | None = None,
    ) -> Router:
        """Open and verify a bundle folder. ``expect``: the digest it must have."""
        return cls(Bundle(folder, expect), code, deployment)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, also one in another process, opens the same bundle with the same settings: nothing live is copied."""
        return _reopened, (self.bundle.folder.absolute(), self.bundle.digest, self._code, self._deployment)

    def _residency(self, built: ResidencySpec, deployment: Deployment) -> Residency:
        spec = deployment.residency(built)
        host = Host(
            self.bundle.id,
            self.bundle.array("memory").item,
            self._load,
            self._size,
            self._unload,
            self._loaded,
            self._evicted,
        )
        numbers: Sequence[int] = range(len(self.bundle))
        if self.members.of:
            numbers = [number for number in numbers if number not in self.members.of]
        try:
            pinned, preload = (
                [number for number in found if number not in self.members.of]
                for found in (
                    chosen(spec.pin, "residency.pin", self._ids, self.bundle.position),
                    chosen(spec.preload, "residency.preload", self._ids, self.bundle.position),
                )
            )
            return Residency(spec, numbers, host, pinned, preload)
        except ConfigError as error:
            error.where = deployment.place(error.where)
            raise

    def _ids(self) -> list[str]:
        return self.bundle.column("id")

    def close(self) -> None:
        """End the processes that sub-models live in, as also happens when the router is collected."""
        if self._workers is not None:
            self._workers.close()

    def _routing(self, manifest: Mapping[str, Any], deployment: Deployment) -> Routing:
        strategies = {part.name: load_component(part.strategy, manifest, self._code) for part in self.spec.parts}
        gates = {name for strategy in strategies.values() for name in strategy.inputs().models}
        return Routing(
            self.spec,
            self.members,
            self.bundle.routes(),
            strategies,
            {part.name: self.bundle.component_files(f"routing.keys.{part.name}") for part in self.spec.parts},
            deployment.traffic(TrafficSpec.from_json(manifest["traffic"]), self.bundle.arms()),
            deployment.disabled_models(manifest["disabled_models"], self._ids, gates),
            self.union,
            self._ask,
        )

    def _component(self, recorded: Mapping[str, Any], where: str) -> Any:
        component = load_component(Component.from_json(recorded), self.bundle.manifest, self._code)
        component.bind(ComponentContext(self.bundle.component_files(where)))
        return component

    def _observers(self, built: Mapping[str, Any], deployment: Deployment) -> Observers:
        found = {}
        for name in deployment.observers(built):
            if name in built:
                found[name] = self._component(built[name], f"observers.{name}")
            else:
                found[name], files = observer_of(name, deployment.place("observers"))
                found[name].bind(ComponentContext(files))
        return Observers(found)

    def _refuse_code(self, where: str) -> None:
        """Raises ModelError naming the sub-models that could run code of their own, before any is deserialised."""
        # Sub-models are many, and few of them differ in what decides.
        known: dict[tuple[Any, ...], bool] = {}
        columns = zip(*map(self.bundle.column, ("id", "loader", "flavor_options", "files")), strict=True)
        ids = []
        for number, (id_, loader, options, files) in enumerate(columns):
            # What combines others has no files.
            if number in self.members.of:
                continue
            names = tuple(file["path"] for file in files)
            place = (loader, options, names)
            if place not in known:
                known[place] = runs_code(self._loaders[loader], names, json.loads(options))
            if known[place]:
                ids.append(id_)
        if ids:
            raise ModelError(
                "there are sub-models whose files can run code, which is not allowed here.",
                where=where,
                hint=known_names(ids, "They are"),
            )

    def _load(self, number: int) -> Any:
        record = self.records[number]
        model: Any
        with nested():
            if self._workers is not None and shipped_code(record):
                model = self._workers.load(number, record, (self.method, "predict"))
            else:
                model = load_record(self.bundle, record, self._loaders[record.loader])
        if record.routed and not callable(getattr(model, self.method, None)):
            raise ModelError(f"it has no method {self.method!r}.", where=record.id)
        return model

    def _size(self, number: int, model: Any) -> int:
        record = self.records[number]
        # What another process holds was measured when it was built.
        if isinstance(model, Remote):
            return record.memory
        size: int = self._loaders[record.loader].size(model)
        return size + KEPT

    def _unload(self, model: Any) -> None:
        if isinstance(model, Remote):
            model.unload()

    def _loaded(self, event: LoadEvent) -> None:
        self.observers.tell("on_load", event)

    def _evicted(self, event: EvictEvent) -> None:
        self.observers.tell("on_evict", event)

    def _ask(self, model_id: str, batch: Batch) -> Any:
        """What a gate is told by its sub-model."""
        assert isinstance(batch, FrameBatch)  # noqa: S101 - this host makes no other
        return self._scorer.key(batch, self._number(model_id))

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score rows: an array or frame of predictions, or the annotated columns where they are asked for.

        data: a DataFrame, a dict of columns or a list of rows. params: routing parameters, and ``annotate``.
        Raises BadInputError, UnknownKeyError or ModelError.
        """
        annotate = None
        if isinstance(params, Mapping) and ANNOTATE in params:
            params = dict(params)
            annotate = params.pop(ANNOTATE)
            if annotate is not None and not isinstance(annotate, bool):
                raise BadInputError(f"parameter {ANNOTATE!r} must be true or false, not {type(annotate).__name__}.")
        answer = self.answer(data, params)
        return answer.columns if (self.annotate if annotate is None else annotate) else answer.values

    def answer(self, data: Any, params: Mapping[str, Any] | None = None) -> Answer:
        """Like ``predict``, with where every row went and why."""
        start = time.perf_counter() if self.observers else 0.0
        batch, given = self._request(data, params)
        try:
            routed = self._route(batch, given)
            values, failed = self._scorer.score(batch, routed.target)
        except ModelError as error:
            if self.observers:
                self.observers.tell("on_error", ErrorEvent(error.where, len(batch), error, shadow=False))
            raise
        if failed:
            routed = self._failed(routed, failed, len(batch))
        if isinstance(values, pd.DataFrame):
            values = values.set_axis(batch.index)
        answer = Answer(self, values, routed, len(batch))
        if self.observers:
            self._tell(answer, time.perf_counter() - start)
            if self.routing.traffic.shadow and len(batch):
                self._shadow(batch, answer)
        return answer

    def _route(self, batch: FrameBatch, given: Mapping[str, Any]) -> Routed:
        """Where every row goes: nowhere, for all rows, if a gate fails and failures are skipped."""
        try:
            return self.routing.route(batch, given)
        except ModelError as error:
            if not self._skip:
                raise
            if self.observers:
                self.observers.tell("on_error", ErrorEvent(error.where, len(batch), forgotten(error), shadow=False))
            return Routed(NO_TARGET, self.table.failed)

    def _request(self, data: Any, params: Mapping[str, Any] | None) -> tuple[FrameBatch, Mapping[str, Any]]:
        """Rows with the parameters of sub-models, and those of routing."""
        batch = self._batch(data)
        if not params:
            return batch, {}
        if not isinstance(params, Mapping):
            raise BadInputError(f"parameters must be a map of names to values, not {type(params).__name__}.")
        if unnamed := [type(name).__name__ for name in params if not isinstance(name, str)]:
            raise BadInputError(f"the name of a parameter must be text, not {unnamed[0]}.")
        given = dict(params)
        for name in [name for name in given if name in self._params]:
            value = given.pop(name)
            if value is not None:
                batch.params[name] = _as_declared(name, value, self._params[name])
        if unknown := [name for name in given if name not in self.routing.params]:
            known = [*self.routing.params, *self._params, ANNOTATE]
            raise BadInputError(f"there is no parameter {unknown[0]!r}.", hint=suggest(unknown[0], known, "Parameters"))
        return batch, given

    def _batch(self, data: Any) -> FrameBatch:
        return as_batch(data, self._declared, self._nested)

    def _params_of(self, number: int) -> Mapping[str, Any]:
        """Parameters that a sub-model declares."""
        found: Mapping[str, Any] = self.records[number].flavor_options.get("params", {})
        return found

    def _failed(self, routed: Routed, failed: Mapping[int, ModelError], n_rows: int) -> Routed:
        """With the reason of the rows whose sub-model failed, in a router that skips them."""
        target = np.broadcast_to(routed.target, (n_rows,))
        reason = np.array(np.broadcast_to(routed.reason, (n_rows,)))
        for number, error in failed.items():
            rows = target == number
            reason[rows] = self.table.failed
            if self.observers:
                event = ErrorEvent(self.bundle.id(number), int(rows.sum()), error, shadow=False)
                self.observers.tell("on_error", event)
        return Routed(target, reason)

    def explain(self, data: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """For each row why its sub-model would answer it; nothing is predicted, but by a gate."""
        return self.routing.explain(*self._request(data, params))

    def score(self, model_id: str, data: Any) -> Any:
        """One sub-model's answer for all rows, past routing. Raises MissingError for an unknown id."""
        number = self._number(model_id)
        users = [number for number in self.members.of if self.members.routed[number]]
        needs = {self.bundle.id(number): of for number, of in self.members.of.items()}
        if not self.members.routed[number] and model_id not in reached(map(self.bundle.id, users), needs):
            return self._scorer.key(self._batch(data), number)
        return self._scorer.whole(self._batch(data), number, Question(self.method))

    def shaped(self, model_id: str, answer: Any) -> Any:
        """A sub-model's own answer in the shape of the router's. Raises ModelError if it is not what it declares."""
        return self._answers.whole(answer, self._number(model_id))

    def _number(self, model_id: str) -> int:
        number = self.bundle.position(model_id)
        if number is None:
            raise MissingError(f"no sub-model named {model_id!r}.", hint=suggest(model_id, self._ids()))
        return number

    # -- observers ---------------------------------------------------------------------------------------------

    def _tell(self, answer: Answer, seconds: float) -> None:
        def count(values: Any, names: Callable[[Any], Any]) -> dict[str, int]:
            numbers, counts = np.unique(np.broadcast_to(values, (answer.n_rows,)), return_counts=True)
            found = zip(names(numbers), counts, strict=True)
            return {str(name): int(count) for name, count in found if name is not None}

        models = count(answer.routed.target, lambda numbers: self.labels.of(numbers)[0])
        reasons = count(answer.routed.reason, self.reasons.take)
        self.observers.tell("on_batch", BatchEvent(answer.n_rows, seconds, models, reasons))

    def _shadow(self, batch: FrameBatch, answer: Answer) -> None:
        """Queue the rows whose key has a shadow arm, with what the caller was told."""
        target = np.broadcast_to(answer.routed.target, (answer.n_rows,))
        for arm, variants in self.routing.shadows(target):
            rows = np.flatnonzero(variants != NO_TARGET)
            # A copy: the caller may change its frame once it has its answer.
            frame, params = batch.frame.take(rows), batch.params
            told = answer.values.take(rows) if isinstance(answer.values, pd.DataFrame) else answer.values[rows]
            self.background.submit(partial(self._score_shadow, arm, frame, params, target[rows], variants[rows], told))

    def _score_shadow(
        self, arm: str, frame: pd.DataFrame, params: dict[str, Any], target: Any, variants: Any, told: Any
    ) -> None:
        for number in np.unique(variants).tolist():
            rows = np.flatnonzero(variants == number)
            record, start = self.records[number], time.perf_counter()
            try:
                batch = self._batch(frame.take(rows))
                batch.params = params
                shadow, failed = self._scorer.score(batch, number)
                problem: Exception | None = failed.get(number)
            except Exception as error:  # noqa: BLE001 - whatever a shadow does, it is told and goes no further
                problem = forgotten(error)
            if problem is not None:
                self.observers.tell("on_error", ErrorEvent(record.id, len(rows), problem, shadow=True))
                continue
            seconds = time.perf_counter() - start
            answers = told.take(rows).to_numpy() if isinstance(told, pd.DataFrame) else told[rows]
            self.observers.tell(
                "on_shadow",
                ShadowEvent(
                    self.bundle.id(int(target[rows[0]])),
                    record.id,
                    arm,
                    len(rows),
                    seconds,
                    answers,
                    shadow.to_numpy() if isinstance(shadow, pd.DataFrame) else shadow,
                ),
            )


def _reopened(folder: Path, digest: str, code: Path | None, deployment: Deployment) -> Router:
    """What a pickled or copied router becomes. Raises MissingError if its bundle is not here, or is another one now."""
    what = ""
    if not folder.is_dir():
        what = "the router was opened from this folder, which is not here."
    elif Bundle(folder).digest != digest:
        what = "the router was opened from this folder, which has another bundle now."
    if what:
        hint = "A copy opens the same files: share the folder, or load the model here with mlflow.pyfunc.load_model."
        raise MissingError(what, where=str(folder), hint=hint)
    return Router.open(folder, code=code, expect=digest, deployment=deployment)
