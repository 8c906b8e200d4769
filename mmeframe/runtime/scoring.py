"""Ask sub-models for their rows, and put the answers back into the order of the batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import pandas as pd

from mmeframe.errors import BadInputError, ModelError, forget, forgotten, listed, refused_by
from mmeframe.plugin import Combiner
from mmeframe.route.asking import Question, asked, call, combine, flat, holed
from mmeframe.route.table import NO_TARGET
from mmeframe.rows.batch import FrameBatch
from mmeframe.rows.labels import unlabelled
from mmeframe.rows.schema import check_frame, required
from mmeframe.runtime.outputs import Answers
from mmeframe.runtime.taking import Taking
from mmeframe.sections import OutputSpec
from mmeframe.spec import Column

__all__ = ["ModelHolder", "Scorer", "SubModels", "gathered"]

Rows = np.ndarray[Any, np.dtype[np.intp]]
Matrix = np.ndarray[Any, np.dtype[np.float64]]


class ModelHolder(Protocol):
    """Hands out live sub-models, and errors in place of those that cannot be loaded."""

    def acquire(self, targets: Sequence[int]) -> Generator[Mapping[int, Any]]: ...
    def waves(self, groups: Sequence[Sequence[int]]) -> Generator[tuple[Sequence[int], Mapping[int, Any]]]: ...


@dataclass(frozen=True, slots=True)
class SubModels:
    """The sub-models of a fleet by their numbers.

    name: the id of one. taking: which of ``takings`` is its own. combiners: of those that combine others, with the
    numbers of those. params_of: names of the parameters that one declares.
    """

    name: Callable[[int], str]
    taking: Sequence[int]
    takings: Sequence[Taking]
    combiners: Mapping[int, tuple[Combiner[Any], Sequence[int]]] = field(default_factory=dict)
    params_of: Callable[[int], Collection[str]] = lambda _: ()


class Scorer:
    """Immutable after construction; shared by threads.

    union: the columns of all sub-models. output: the method that is called; with ``on_error: skip`` the rows of a
    sub-model that fails are left without an answer, instead of the request.
    """

    def __init__(
        self, models: SubModels, union: Sequence[Column], answers: Answers, residency: ModelHolder, output: OutputSpec
    ) -> None:
        self._name, self._params_of = models.name, models.params_of
        self._taking, self._takings = models.taking, models.takings
        self._union, self._answers, self.residency = union, answers, residency
        self._method, self._skip = output.method, output.on_error == "skip"
        # Of a request without parameters.
        self._question = Question(output.method)
        self._combiners = {number: combiner for number, (combiner, _) in models.combiners.items()}
        self._of = {number: others for number, (_, others) in models.combiners.items()}
        # All forms of a schema share it.
        schemas = {id(taking.schema): taking.schema for taking in models.takings}.values()
        self._shared = tuple(
            column for column in union if all(_has(schema, column) for schema in schemas) and not holed([column])
        )

    def score(self, batch: FrameBatch, target: Any) -> tuple[Any, Mapping[int, ModelError]]:
        """Answers in the order of the rows, and the sub-models that failed, whose rows are null.

        target: shape (n_rows,), or a number if all rows have one sub-model.
        """
        n_rows = len(batch)
        # Libraries refuse empty frames, so without rows no sub-model is asked.
        if n_rows == 0:
            check_frame(batch.frame, self._union, required(self._union))
            return self._answers.nothing(0), {}
        only: int | None
        if isinstance(target, int):
            only = target
        elif n_rows == 1:
            only = int(target[0])
        else:
            counts = np.bincount(target + 1, minlength=1)
            wanted = np.flatnonzero(counts)
            only = int(wanted[0]) - 1 if len(wanted) == 1 else None
        if only is None:
            return self._groups(batch, target, counts, wanted - 1)
        if only == NO_TARGET:
            return self._answers.nothing(n_rows), {}
        try:
            return self._answers.whole(self.whole(batch, only, self._asks(batch)), only), {}
        except ModelError as error:
            if not self._skip:
                raise
            return self._answers.nothing(n_rows), {only: forgotten(error)}

    def _asks(self, batch: FrameBatch) -> Question:
        return Question(self._method, batch.params) if batch.params else self._question

    def whole(self, batch: FrameBatch, target: int, question: Question) -> Any:
        """One sub-model on all rows, which are handed over without a copy where they have its types already."""
        leaves = self._leaves([target])
        held = self.residency.acquire(leaves)
        try:
            live = next(held)
            taking = self._takings[self._taking[target]]
            if taking.takes_matrix and (matrix := batch.matrix(taking.schema)) is not None:
                answer = self._call(live[target], target, question, matrix)
            else:
                answer = self._ask(live, target, partial(self._own_frame, batch.frame), question)
        except BaseException as error:
            forget(error)
            raise
        finally:
            held.close()
        return answer

    def key(self, batch: FrameBatch, target: int) -> Any:
        """What a gate predicts, or a combination that is one: whatever shape the fleet's own answers have."""
        if target not in self._of:
            return self.whole(batch, target, Question(params=batch.params))
        answers = [flat(self.key(batch, number)) for number in self._of[target]]
        return combine(self._combiners[target], self._name(target), answers)

    def _schema(self, target: int) -> Sequence[Column]:
        return self._takings[self._taking[target]].schema

    def _own_frame(self, frame: pd.DataFrame, target: int) -> pd.DataFrame:
        own = self._schema(target)
        return check_frame(frame, own, required(own))

    def _leaves(self, targets: Iterable[int]) -> list[int]:
        """The sub-models with files behind these: what combines others needs those."""
        if not self._of:
            return list(targets)
        found: dict[int, None] = {}
        for target in targets:
            found |= dict.fromkeys(self._leaves(self._of[target]) if target in self._of else [target])
        return list(found)

    def _groups(self, batch: FrameBatch, target: Any, counts: Any, wanted: Any) -> tuple[Any, Mapping[int, ModelError]]:
        """Bring each sub-model's rows together with one take, and put the answers back with one scatter."""
        # A small unsigned type makes numpy's stable sort a radix sort.
        codes = (target + 1).astype(np.uint8 if len(counts) <= 256 else np.uint16) if len(counts) < 65_536 else target
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(counts[wanted + 1]).tolist()
        groups = [
            (int(number), start, end)
            for number, start, end in zip(wanted, [0, *ends], ends, strict=False)
            if number != NO_TARGET
        ]
        failed: dict[int, ModelError] = {}
        pieces: list[tuple[int, int, Any]] = []
        cut = self._cut(batch, order, groups)
        # As many sub-models at a time as there is room for.
        waves = self.residency.waves([self._leaves([number]) for number, _, _ in groups])
        try:
            for wave, live in waves:
                for number, start, end in map(groups.__getitem__, wave):
                    try:
                        answer = self._answers.aligned(cut(live, number, start, end), number)
                    except ModelError as error:
                        if not self._skip:
                            raise
                        failed[number] = forgotten(error)
                    else:
                        pieces.append((start, end, answer))
        except BaseException as error:
            forget(error)
            raise
        finally:
            waves.close()
        return self._answers.gather(sorted(pieces, key=itemgetter(0)), order, len(batch)), failed

    def _cut(self, batch: FrameBatch, order: Rows, groups: Sequence[tuple[int, int, int]]) -> Any:
        """How a group is asked: on slices of an array where all sub-models take arrays of one schema, or of frames."""
        ways = {self._taking[number] for number, _, _ in groups}
        if len(ways) == 1 and (taking := self._takings[ways.pop()]).takes_matrix:
            matrix = batch.matrix(taking.schema)
            if matrix is not None:
                rows, question = gathered(matrix, order, len(groups)), self._asks(batch)
                return lambda live, number, start, end: self._call(live[number], number, question, rows[start:end])
        return self._cut_frames(batch.frame, order, groups[0][1], self._asks(batch))

    def _cut_frames(self, frame: pd.DataFrame, order: Rows, first: int, question: Question) -> Any:
        """Columns that all sub-models share with one type are checked and converted once, for all of their rows.

        The others only for the rows of those that have them: no row is refused, or changed, for what another needs.
        Rows before ``first`` have no sub-model, and need nothing.
        """
        names = [column.name for column in self._union if column.name in frame.columns]
        taken = unlabelled(frame[names].take(order[first:]))
        also = [name for name in frame.columns if name not in names]
        checked = check_frame(taken, self._shared, required(self._shared), also)
        rest = taken[[name for name in names if name not in checked.columns]]

        def ask(live: Mapping[int, Any], number: int, start: int, end: int) -> Any:
            def own(leaf: int) -> pd.DataFrame:
                rows = slice(start - first, end - first)
                return self._complete(_part(checked, rows), partial(_part, rest, rows), also, leaf)

            return self._ask(live, number, own, question)

        return ask

    def _complete(
        self, shared: pd.DataFrame, rest: Callable[[], pd.DataFrame], also: Sequence[str], target: int
    ) -> pd.DataFrame:
        """A sub-model's own columns, in its order: the shared ones, and its others from what was sent."""
        schema = self._schema(target)
        own = [column for column in schema if column.name not in shared.columns]
        if own:
            try:
                shared = pd.concat([shared, check_frame(rest(), own, required(own), also)], axis=1)
            except BadInputError as error:
                # Other sub-models do without these columns, so it matters whose they are.
                raise BadInputError(error.what, where=self._name(target), hint=error.hint) from None
        names = [column.name for column in schema if column.name in shared.columns]
        return shared if names == list(shared.columns) else shared[names]

    def _ask(self, live: Mapping[int, Any], target: int, own: Callable[[int], pd.DataFrame], question: Question) -> Any:
        """One sub-model on its rows. own: the frame of a sub-model's number, with exactly its columns and types.

        Sub-models that are combined get a frame each: what one writes into its own, the others do not see.
        """
        if target not in self._of:
            taking = self._takings[self._taking[target]]

            def ask(rows: pd.DataFrame) -> Any:
                return self._call(live[target], target, question, taking.give(rows))

            return asked(taking.holed, own(target), ask)
        answers = [self._answers.aligned(self._ask(live, it, own, question), it) for it in self._of[target]]
        return self._answers.combined(answers, partial(combine, self._combiners[target], self._name(target)))

    def _call(self, model: Any, target: int, question: Question, rows: Any) -> Any:
        if type(model) is ModelError:
            raise model
        try:
            if question.params:
                question = question.of(self._params_of(target))
            return call(model, question, rows, partial(self._name, target), self._answers.kind)
        except ModelError as error:
            if not error.hint:
                self._excused(error, rows, target)
            raise

    def _excused(self, error: ModelError, rows: Any, target: int) -> None:
        """Name the columns whose values a sub-model may not take, which is then for the caller to mend."""
        schema = self._schema(target)
        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=[it.label for it in schema])
        missing = [it.name for it in schema if it.label not in frame or frame[it.label].isna().any()]
        endless = [it.name for it in schema if it.type in _FLOATING and np.isinf(frame[it.label]).any()]
        found = {"missing values": missing, "infinite values": endless}
        error.hint = " ".join(f"Columns with {what} in its rows: {', '.join(it)}." for what, it in found.items() if it)
        kinds = [it.name for it in schema if it.type not in _FLOATING]
        refused = refused_by(error.__cause__)
        if refused == "library" and kinds and not error.hint:
            error.hint = f"It may not know a value in one of its columns {listed(kinds)}."
        if refused and error.hint:
            error.code = "bad_input"


_FLOATING = ("float", "double")


# Places that a processor writes to in turn without looking their pages up again: entries of its first-level TLB.
_STREAMS = 64


def gathered(matrix: Matrix, order: Rows, n_groups: int) -> Matrix:
    """The rows ``order`` of a matrix, which bring those of each group together.

    pandas holds columns together. So for a few groups each column is read in sequence, and its cells are sent to their
    places, which are in sequence too within a group: 10 to 25 % of a whole request less than fetching cells from all
    over the column. Beyond 64 groups these places are too many, and fetching takes 10 to 20 % less.
    """
    if matrix.flags.c_contiguous or n_groups > _STREAMS:
        return matrix.take(order, axis=0)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    columns = np.empty((matrix.shape[1], len(order)))
    for number, column in enumerate(columns):
        column[place] = matrix[:, number]
    return columns.T


def _has(schema: Sequence[Column], column: Column) -> bool:
    """Whether a sub-model has a column with the same type, and needs it as much; it may know it by a number."""
    return any((own.name, own.type, own.required) == (column.name, column.type, column.required) for own in schema)


def _part(frame: pd.DataFrame, rows: slice) -> pd.DataFrame:
    """Rows of a frame that stand together, labelled 0 to n - 1."""
    part = frame.iloc[rows]
    part.index = pd.RangeIndex(len(part))
    return part
