"""The router: rows in, each scored by its sub-model, answers out in the order of the rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.budget import chosen
from mmeframe.bundle import Bundle
from mmeframe.errors import BadInputError, ConfigError, MissingError, ModelError, forgotten, suggest
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
from mmeframe.plugin.observers import Observers
from mmeframe.route.asking import Question
from mmeframe.route.routing import Arms, ModelIndex, Parts, Routing
from mmeframe.route.table import NO_TARGET, Routed
from mmeframe.rows.batch import FrameBatch
from mmeframe.runtime.account import Host
from mmeframe.runtime.background import Background
from mmeframe.runtime.components import bound_component, bring_code, load_component, observer_of, required
from mmeframe.runtime.deployment import Deployment, is_nested
from mmeframe.runtime.loading import Loading
from mmeframe.runtime.outputs import Answers
from mmeframe.runtime.request import Requests
from mmeframe.runtime.residency import Residency
from mmeframe.runtime.scoring import Scorer, SubModels
from mmeframe.runtime.taking import takings
from mmeframe.spec import ANNOTATE, ComponentSpec
from mmeframe.versions import HERE, faults, tell

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
        manifest, output = bundle.manifest, bundle.manifest.output
        self.bundle = bundle
        # Made one by one when asked for: there may be many.
        self.records = bundle
        self.name, self.routing_spec = manifest.name, manifest.routing
        self.schemas, self.union = manifest.schemas, manifest.union
        self.annotate, self.method, self.missing_note = output.annotate, output.method, output.missing_note
        self._skip = output.on_error == "skip"
        self._code, self._deployment = code, deployment or Deployment()
        bring_code(manifest, code)
        self.labels = Labels(bundle)
        self.members = ModelIndex(bundle.record, bundle.position, bundle.array("routed"), bundle.combined())
        if not is_nested():
            # Before anything is loaded, which may end the process.
            tell(faults(required(manifest, code), bundle.pickled(HERE)))
        self.observers = self._observers(dict(manifest.observers))
        self.background = Background(_WAITING)
        self.routing = self._routing()
        self.table, self.strategies, self.params = self.routing.table, self.routing.strategies, self.routing.params
        self.reasons = np.array(self.table.reasons, object)
        read = [name for strategy in self.strategies.values() for name in strategy.inputs().columns]
        requests = Requests(self.union, read, manifest.params, self.params)
        # Bound once, and not for each request.
        self._request, self._batch = requests.read, requests.batch
        self._loading = Loading(bundle, code, self.members.of)
        if forbidden := self._deployment.who_forbids_pickle(manifest.allow_pickle):
            self._loading.refuse_code(forbidden)
        self.residency = self._residency()
        self._answers, self._scorer = self._scoring()

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

    def _residency(self) -> Residency:
        bundle, deployment, loading = self.bundle, self._deployment, self._loading
        spec, memory = deployment.residency(bundle.manifest.residency), bundle.array("memory").item
        host = Host(bundle.id, memory, loading.load, loading.size, loading.unload, self._loaded, self._evicted)
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

    def _scoring(self) -> tuple[Answers, Scorer]:
        bundle, manifest = self.bundle, self.bundle.manifest
        combiners = {
            number: (self._loading.combiner(number), [self._number(id_) for id_ in of])
            for number, of in self.members.of.items()
        }
        # What combines others answers in the fleet's shape.
        outputs = [it.columns for it in manifest.outputs]
        shapes = bundle.array("outputs")
        if combiners:
            shapes = shapes.copy()
            shapes[[*combiners]] = len(outputs)
        answers = Answers(manifest.answer, [*outputs, ()], shapes, bundle.id)
        form, forms = bundle.coded("form")
        taking = bundle.array("inputs") * len(forms) + form
        models = SubModels(bundle.id, taking, takings(self.schemas, forms), combiners, self._params_of)
        return answers, Scorer(models, self.union, answers, self.residency, manifest.output)

    def _ids(self) -> list[str]:
        return self.bundle.column("id")

    def close(self) -> None:
        """End the processes that sub-models live in, as also happens when the router is collected."""
        self._loading.close()

    def _routing(self) -> Routing:
        manifest, deployment = self.bundle.manifest, self._deployment
        strategies = {
            part.name: load_component(part.strategy, manifest, self._code) for part in self.routing_spec.parts
        }
        gates = {name for strategy in strategies.values() for name in strategy.inputs().models}
        files = {name: self.bundle.component_files(f"routing.keys.{name}") for name in strategies}
        arms = Arms(
            deployment.traffic(manifest.traffic, self.bundle.arms()),
            deployment.disabled_models(manifest.disabled_models, self._ids, gates),
            self.union,
        )
        return Routing(self.routing_spec, self.members, self.bundle.routes(), Parts(strategies, files, self._ask), arms)

    def _observers(self, built: Mapping[str, ComponentSpec]) -> Observers:
        found = {}
        for name in self._deployment.observers(built):
            if name in built:
                found[name] = bound_component(built[name], self.bundle, self._code, f"observers.{name}")
            else:
                found[name], files = observer_of(name, self._deployment.place("observers"))
                found[name].bind(ComponentContext(files))
        return Observers(found)

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
