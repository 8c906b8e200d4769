"""Prove a router before anybody can see it: every sub-model, by id, against its own loader; and a whole request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from mmeframe.errors import BadInputError, MmeframeError, ModelError, Report, UnknownKeyError
from mmeframe.fleet.examples import Rows, example_request, fresh, made_up, same
from mmeframe.fleet.fleet import Fleet
from mmeframe.fleet.methods import Asked, asked, asked_alone, said, unanswered
from mmeframe.fleet.submodel import PinnedModel
from mmeframe.store.store import Progress

__all__ = ["probe"]

_SAMPLE = 1000
# Sub-models whose rows make a request.
_FEW = 3
# A request, and its parameters, to an answer.
Ask = Callable[[Any, dict[str, Any] | None], Any]


def probe(router: Any, ask: Ask, fleet: Fleet, progress: Progress) -> list[str]:
    """Compare the router's answers with those of the sub-models' own files, and send it a request.

    router: live, with ``score(id, frame)``. ask: how anybody asks it. Every sub-model that is new or has changed is
    compared, and every one that combines others is asked; above 1,000 of either an even sample.
    Returns warnings. Raises ProblemsError with everything that does not answer, or answers differently.
    """
    proof = _Proof(router, fleet)
    # What combines others has no files of its own.
    own_files = [model for model in fleet.models if not model.of and not (model.kept and model.kept.since)]
    sample = _sampled(own_files) + _sampled([model for model in fleet.models if model.of])
    for number, model in enumerate(sample):
        progress("probing", number, len(sample))
        with proof.of(model):
            if model.of:
                proof.combined(model)
            else:
                proof.compared(model)
    progress("probing", len(sample), len(sample))
    if not proof.report:
        proof.request(ask)
    proof.report.check()
    return list(dict.fromkeys(proof.warnings))


def _sampled(models: list[PinnedModel]) -> list[PinnedModel]:
    return models[:: max(1, len(models) // _SAMPLE)]


@dataclass
class _Proof:
    router: Any
    fleet: Fleet
    report: Report = field(default_factory=Report)
    warnings: list[str] = field(default_factory=list)
    # Rows that sub-models have answered, by id.
    taken: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._answering = self.fleet.answering
        self._unproved = {model.id for model in self.fleet.models if not model.prove}

    @contextmanager
    def of(self, model: PinnedModel) -> Iterator[None]:
        """Whatever goes wrong is this sub-model's, and the others are looked at all the same."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the router must answer, whatever the reason
            # Its rows may be logged ones: only our own texts never hold what is in them.
            why, hint = (error.what, error.hint) if isinstance(error, MmeframeError) else (type(error).__name__, "")
            self.refused(model.id, f"the router cannot ask it: {why}", hint)

    def refused(self, id_: str, what: str, hint: str = "") -> None:
        """A problem, or a warning where the config says that it is none."""
        if id_ in self._unproved:
            self.warnings.append(f"{id_}: {what.rstrip('.')}; it is included all the same, because of prove=false.")
        else:
            self.report.take([unanswered(id_, what, hint)])

    def compared(self, model: PinnedModel) -> None:
        """The router answers as the sub-model's own files do, and in the shape that the sub-model declares."""
        from mmeframe.rows.answers import as_prediction

        # A gate is asked to predict, whatever the others are asked.
        method = self.fleet.spec.output.method if model.id in self._answering else "predict"
        with model.folder.local() as root:
            own = self.fleet.live.run(_own_answer, model, root, method)
        if own.rows is None:
            self.refused(model.id, f"it answered none of its probe rows: {own.refusal}", own.hint)
            return
        answer = self.router.score(model.id, fresh(own.rows))
        kind = model.outputs.columns[0].type if model.outputs.single else ""
        if not same(answer, as_prediction(own.answer, len(own.rows), model.id, kind)):
            hint = (
                "Its predict may be random, or depend on something outside its files. If that is meant, set "
                f"+models.{model.id}.prove=false."
            )
            self.refused(model.id, "the router answers differently from the sub-model's own files", hint)
            return
        self.taken[model.id] = own.rows
        if model.routed:
            self._shaped(model, answer)

    def _shaped(self, model: PinnedModel, answer: Any) -> None:
        """An answer of another shape than the sub-model declares is a problem; what is left out of one is a warning."""
        try:
            self.router.shaped(model.id, answer)
        except ModelError as error:
            self.refused(model.id, error.what, error.hint)
            return
        declared = {column.name for column in model.outputs.columns}
        more = [str(name) for name in getattr(answer, "columns", ()) if name not in declared]
        if more and len(declared) > 1 and not model.outputs.aligned:
            left_out = f"its signature does not declare its answers {', '.join(more)}; they are left out."
            self.warnings.append(f"{model.id}: {left_out}")

    def combined(self, model: PinnedModel) -> None:
        """What combines others answers; how, nobody else knows."""

        def ask(rows: Any) -> Any:
            answer = self.router.score(model.id, rows)
            return self.router.shaped(model.id, answer) if model.routed else answer

        found = asked(ask, chain(made_up(model.inputs), self._of_members(model)))
        if found.rows is None:
            self.refused(model.id, f"it answered none of its probe rows: {found.refusal}")
        else:
            self.taken[model.id] = found.rows

    def _of_members(self, model: PinnedModel) -> Iterator[Rows]:
        """Rows with what each of the combined sub-models takes."""
        members = {member.id: member for member in self.fleet.models}
        rows = next(made_up(model.inputs)).frame.astype(object)
        for known in filter(None, (self._known(members[id_]) for id_ in model.of)):
            for name, values in known.items():
                rows[name] = [values[number % len(values)] for number in range(len(rows))]
        yield Rows(rows, made_up=False)

    def _known(self, model: PinnedModel) -> dict[str, list[Any]]:
        """Columns of rows that a sub-model takes."""
        rows = self.taken.get(model.id)
        if rows is None and not model.of:
            with model.folder.local() as root:
                rows = self.fleet.live.run(_own_answer, model, root, "predict").rows
        return {} if rows is None or not len(rows) else {name: list(rows[name]) for name in rows.columns}

    def request(self, ask: Ask) -> None:
        """A request goes the whole way: the example that is stored, or else rows that sub-models have answered."""
        first = self._failure(ask, *example_request(self.fleet))
        if first is None:
            return
        # Its rows are made up, so the text holds nobody's data.
        text = str(first).splitlines()[0]
        self.warnings.append(f"the router refused its made-up input example: {text}")
        routed = [model for model in self.fleet.models if model.routed]
        for model in routed[:_FEW]:
            if not model.of and model.id not in self.taken:
                with self.of(model):
                    self.compared(model)
        taken = {model.id: self.taken[model.id] for model in routed if len(self.taken.get(model.id, ()))}
        last = self._failure(ask, *example_request(self.fleet, taken)) if taken else first
        if last is not None:
            self._unanswered(last, first)

    def _failure(self, ask: Ask, rows: Any, given: dict[str, Any]) -> Exception | None:
        try:
            ask(rows, given or None)
        except Exception as error:  # noqa: BLE001 - rows may be nonsense to a model or a strategy
            return error
        return None

    def _unanswered(self, last: Exception, first: Exception) -> None:
        """Keys and values that nobody can make up for a strategy are no fault of the router's; all else is."""
        cause = last.__cause__ if isinstance(last.__cause__, MmeframeError) else last
        where, hint = (cause.where, cause.hint) if isinstance(cause, MmeframeError) else ("", "")
        if isinstance(cause, BadInputError | UnknownKeyError):
            return
        if isinstance(cause, ModelError) and where in {model.id for model in self.fleet.models}:
            self.refused(where, f"it does not answer in a whole request: {cause.what}")
        else:
            what = f"the router does not answer its own input example: {said(first)}"
            self.report.add(where, what, hint, "fleet")


def _own_answer(model: PinnedModel, root: Path, method: str) -> Asked:
    return asked_alone(model.load(root), model, root, method)
