"""Put the answers of sub-models back into the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.errors import ModelError, suggest
from mmeframe.rows.answers import frame_of, gather, nulls, of_kind
from mmeframe.rows.outputs import Outputs
from mmeframe.spec import Column

__all__ = ["Answers"]

Rows = np.ndarray[Any, np.dtype[np.intp]]


class Answers:
    """The shape of a router's answers, and how those of its sub-models become that.

    answer: the manifest's declaration. own: the columns that sub-models answer with, which may be others than the
    fleet's or stand in another order; none for what combines answers of the fleet's shape. of: by number, which of
    ``own``. name: the id of a number, for messages.
    """

    def __init__(
        self,
        answer: Outputs,
        own: Sequence[Sequence[Column]],
        of: Sequence[int],
        name: Callable[[int], str],
    ) -> None:
        self.columns = answer.columns
        # The type of a row's one value, "" of answers with several.
        self.kind = self.columns[0].type if answer.single else ""
        self._width, self._fill, self._name = answer.width, float(answer.fill), name
        declared = [column.name for column in self.columns]
        # Columns that are classes make an array; several others a frame.
        self._classes = declared if answer.aligned else []
        self._frame = declared if len(declared) > 1 and not answer.aligned and not self._width else []
        self._own, self._of = [[column.name for column in columns] for columns in own], of
        self._needed = [[column.name for column in columns if column.required] for columns in own]
        places = {name: place for place, name in enumerate(self._classes)}
        # None where a sub-model's classes are the fleet's already, in its order: scikit-learn sorts "10" before "2".
        # A class that only a shadow knows has no place.
        self._places = [
            None if columns in ([], self._classes) else np.array([places.get(name, -1) for name in columns], np.intp)
            for columns in self._own
        ]

    def aligned(self, answer: Any, number: int) -> Any:
        """A sub-model's answer in the fleet's shape: an array, or a frame with all its columns.

        answer: a frame, or an array of shape (n_rows,) or (n_rows, outputs). Raises ModelError if it is another than
        the sub-model declares.
        """
        if self._frame:
            return self._framed(answer, number)
        if isinstance(answer, pd.DataFrame):
            answer = answer.to_numpy()
        if not self.kind:
            answer = of_kind(answer, self.columns[0].type)
        if self._classes:
            return self._by_class(answer, number)
        if answer.ndim == 1 + (self._width > 0) and answer.shape[1:] in ((), (self._width,)):
            return answer
        if not self._width and answer.shape[1] == 1:
            return answer[:, 0]
        raise self._other(answer, number, self._width or 1)

    def _by_class(self, answer: Any, number: int) -> Any:
        at = self._places[self._of[number]]
        width = len(self._classes) if at is None else len(at)
        if answer.shape[1:] != (width,):
            raise self._other(answer, number, width)
        if at is None:
            return answer
        out = np.full((len(answer), len(self._classes)), self._fill)
        known = at >= 0
        out[:, at[known]] = answer[:, known]
        return out

    def _framed(self, answer: Any, number: int) -> pd.DataFrame:
        if not isinstance(answer, pd.DataFrame):
            own = self._own[self._of[number]] or self._frame
            if np.shape(answer)[1:] != (len(own),):
                raise self._other(answer, number, len(own))
            answer = pd.DataFrame(answer, columns=own, copy=False)
        framed: pd.DataFrame = answer
        if list(framed.columns) == self._frame and object not in framed.dtypes.array:
            return framed
        if lacking := [name for name in self._needed[self._of[number]] if name not in framed]:
            answered = suggest(lacking[0], map(str, framed), "Columns")
            raise ModelError(
                f"its answer has no column {lacking[0]!r}, which it declares.",
                where=self._name(number),
                hint=f"Log it with the signature of what it answers. {answered}",
            )
        columns = {
            column.name: of_kind(framed[column.name].to_numpy(), column.type)
            if column.name in framed
            else nulls(column.type, len(framed))
            for column in self.columns
        }
        return frame_of(columns)

    def _other(self, answer: Any, number: int, declared: int) -> ModelError:
        found = answer.shape[1] if np.ndim(answer) == 2 else 1
        return ModelError(
            f"it returned {found} values per row; its signature declares {declared}.",
            where=self._name(number),
            hint="Log it with the signature of what it answers.",
        )

    def combined(self, answers: Sequence[Any], combine: Callable[[Sequence[Any]], Any]) -> Any:
        """What ``combine`` makes of aligned answers, which it gets as arrays of one shape."""
        if not self._frame:
            return combine(answers)
        return pd.DataFrame(combine([answer.to_numpy() for answer in answers]), columns=self._frame)

    def whole(self, answer: Any, number: int) -> Any:
        """One sub-model's answers for all rows."""
        return self._named(self.aligned(answer, number))

    def _named(self, values: Any) -> Any:
        return pd.DataFrame(values, columns=self._classes, copy=False) if self._classes else values

    def gather(self, pieces: Sequence[tuple[int, int, Any]], order: Rows, n_rows: int) -> Any:
        """All answers in the order of the rows.

        pieces: (start, end, aligned answer); a piece is for the rows ``order[start:end]``.
        """
        if not pieces:
            return self.nothing(n_rows)
        answers = [answer for _, _, answer in pieces]
        first = answers[0]
        alike = all(type(it) is np.ndarray and it.dtype == first.dtype for it in answers)
        if alike and sum(map(len, answers)) == n_rows:
            out = np.empty((n_rows, *first.shape[1:]), first.dtype)
            out[order] = np.concatenate(answers)
            return self._named(out)
        rows = (order[start:end] for start, end, _ in pieces)
        return self._named(gather(list(zip(rows, answers, strict=True)), n_rows))

    def nothing(self, n_rows: int) -> Any:
        """What rows get that no sub-model answers: nulls in the declared shape."""
        if self._width:
            return np.full((n_rows, self._width), np.nan)
        if self._classes:
            return self._named(np.full((n_rows, len(self._classes)), np.nan))
        if len(self.columns) == 1:
            return nulls(self.columns[0].type, n_rows)
        return frame_of({column.name: nulls(column.type, n_rows) for column in self.columns})
