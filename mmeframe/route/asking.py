"""Ask one live sub-model, or a combiner, about rows: what it is given, and what becomes of what it raises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.errors import FAULTS, BadInputError, MmeframeError, ModelError
from mmeframe.plugin import Combiner
from mmeframe.rows.answers import as_prediction, gather
from mmeframe.rows.labels import unlabelled
from mmeframe.rows.types import nullable
from mmeframe.spec import Column

__all__ = ["Question", "asked", "call", "combine", "flat", "holed"]


@dataclass(frozen=True, slots=True)
class Question:
    """What sub-models are asked beside rows. params: of the request, which only those are given that declare them."""

    method: str = "predict"
    params: Mapping[str, Any] = field(default_factory=dict)

    def of(self, names: Collection[str]) -> Question:
        """The same with some of its parameters."""
        return Question(self.method, {name: value for name, value in self.params.items() if name in names})


def holed(schema: Sequence[Column]) -> tuple[str, ...]:
    """Columns that a row may lack though their type has no null: optional whole numbers and booleans."""
    return tuple(column.name for column in schema if not column.required and not nullable(column.type))


def asked(holed: Sequence[str], rows: Any, ask: Callable[[Any], Any]) -> Any:
    """A sub-model's answer, whose rows may lack values of columns whose type has no null: they lack the columns then.

    So each row gets the answer that it gets alone. holed: names of such columns.
    """
    lacking = [name for name in holed if name in rows and not isinstance(rows[name].dtype, np.dtype)]
    if not lacking:
        return ask(rows)
    patterns, which = np.unique(rows[lacking].isna().to_numpy(), axis=0, return_inverse=True)
    pieces = []
    for number, pattern in enumerate(patterns):
        of = np.flatnonzero(which == number)
        left = rows.drop(columns=[name for name, lacks in zip(lacking, pattern, strict=True) if lacks]).take(of)
        types = {name: left[name].dtype.numpy_dtype for name in lacking if name in left}
        pieces.append((of, ask(unlabelled(left.astype(types)))))
    return gather(pieces, len(rows))


def call(model: Any, question: Question, rows: Any, name: Callable[[], str], kind: str = "") -> Any:
    """A live sub-model's answer: a frame, or an array of shape (n_rows,) or (n_rows, outputs).

    name: gives the sub-model's id. kind: as of ``as_prediction``.
    Raises ModelError with the id, whatever the sub-model raised.
    """
    try:
        ask = getattr(model, question.method)
        raw = ask(rows, params=question.params) if question.params else ask(rows)
    except FAULTS as error:
        model_id = name()
        if isinstance(error, BadInputError):
            # A loader's own text, which holds no data.
            raise BadInputError(error.what, where=model_id, hint=error.hint) from error
        if isinstance(error, ModelError) and error.where == model_id:
            # Its process ended, or could not load it again.
            raise
        # The text of a library's error may hold the caller's data: it stays in the chained exception.
        raise ModelError(f"its {question.method} failed with {type(error).__name__}.", where=model_id) from error
    if type(raw) is np.ndarray and raw.ndim == 1 and raw.dtype != object and len(raw) == len(rows):
        return raw
    return as_prediction(raw, len(rows), name(), kind)


def flat(answer: Any) -> Any:
    """One value per row where a frame or a table has one column: a combiner of keys gets arrays of one shape."""
    values = answer.to_numpy() if isinstance(answer, pd.DataFrame) else answer
    return values[:, 0] if np.ndim(values) == 2 and values.shape[1] == 1 else values


def combine(combiner: Combiner[Any], model_id: str, answers: Sequence[Any]) -> Any:
    """A combiner's answer for the rows of several sub-models. Raises ModelError, whatever it raised."""
    try:
        return as_prediction(combiner.combine(answers), len(answers[0]), model_id)
    except MmeframeError:
        raise
    except FAULTS as error:
        raise ModelError(f"its combiner failed with {type(error).__name__}.", where=model_id) from error
