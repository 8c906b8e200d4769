"""Score a table from file to file, in pieces, with the types that the router declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mmeframe.errors import BadInputError, UsageError, suggest
from mmeframe.route.reading import column_types, read_rows, without_rows
from mmeframe.rows.reading import AS_TEXT
from mmeframe.rows.writing import arrow_types, writer

if TYPE_CHECKING:
    import pandas as pd

    from mmeframe.runtime import Router
    from mmeframe.runtime.router import Answer

__all__ = ["Scored", "Wanted", "score_table"]


@dataclass(frozen=True)
class Scored:
    """What ``score_table`` did."""

    rows: int
    out: str | None
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Wanted:
    """How a table is scored. keep: columns of the data that stand before the answers: ``all``, ``none``, or some.

    params: of every request. annotate: whether answers say who gave them, None for what the router does.
    """

    params: Mapping[str, Any] | None = None
    annotate: bool | None = None
    batch_rows: int = 100_000
    keep: str | Sequence[str] = "all"


def score_table(
    router: Router,
    data: Path,
    wanted: Wanted,
    *,
    out: Path | None = None,
    stream: TextIO | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Scored:
    """Score ``data`` to ``out``, or as CSV to ``stream``.

    Raises UsageError for an output that cannot be written so, and what ``Router.predict`` raises.
    """
    rows = 0
    reasons: dict[str, int] = {}
    types = column_types(router.routing, router.union)
    other = "text" if out is None or out.suffix.lower() == ".csv" else "any"
    notes, keep = router.annotate if wanted.annotate is None else wanted.annotate, wanted.keep
    with writer(out, stream, _Types(router, data, keep)) as write:
        for piece in read_rows(data, router.routing, types, wanted.batch_rows, other):
            if not len(piece) and not len(piece.columns):
                piece = without_rows([*types, *_kept((), keep)])
            answer = router.answer(piece, wanted.params)
            scored = _beside(piece, _answers(answer, notes), keep)
            write(scored)
            for reason, count in _count(answer.columns["reason"]).items():
                reasons[reason] = reasons.get(reason, 0) + count
            rows += len(piece)
            progress("scoring", rows, 0)
    return Scored(rows, str(out) if out else None, reasons)


def _count(reasons: Any) -> dict[str, int]:
    import numpy as np

    names, counts = np.unique(reasons.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


_NOTES = ("model_id", "model_version", "reason", "arm")


def _answers(answer: Answer, notes: bool) -> dict[str, Any]:
    """The columns of a piece's answers: the same for every piece, whichever sub-models answered it."""
    return {name: values for name, values in answer.columns.items() if notes or name not in _NOTES}


def _kept(names: Iterable[str], keep: str | Sequence[str]) -> list[str]:
    return list(names) if keep == "all" else [] if keep == "none" else list(dict.fromkeys(keep))


def _beside(piece: pd.DataFrame, answers: Mapping[str, Any], keep: str | Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    names = _kept(piece.columns, keep)
    absent = [name for name in names if name not in piece.columns]
    if absent:
        known = suggest(absent[0], ["all", "none", *piece.columns], "all, none, or some of")
        raise BadInputError(f"the data has no column {absent[0]!r}.", where="predict.keep", hint=known)
    clash = [name for name in names if name in answers]
    if clash:
        raise UsageError(
            f"the data has a column {clash[0]!r} already.",
            where="predict.keep",
            hint="Set predict.keep=none, or list the columns to keep.",
        )
    return pd.concat([piece[names], pd.DataFrame(answers, index=piece.index)], axis=1)


class _Types:
    """What is known of a Parquet file's types before its values: pieces without a value have none of their own."""

    def __init__(self, router: Router, data: Path, keep: str | Sequence[str]) -> None:
        self._router, self._data, self._keep = router, data, keep

    @cached_property
    def stored(self) -> Mapping[str, Any]:
        """Types of the kept columns where the data is Parquet too: they stay what they are."""
        if self._data.suffix.lower() != ".parquet":
            return {}
        import pyarrow.parquet as pq

        schema = pq.read_schema(self._data)
        kept = _kept(schema.names, self._keep)
        return {field.name: field.type for field in schema if field.name in kept}

    @cached_property
    def declared(self) -> Mapping[str, Any]:
        """Types of columns without any value, as the router declares them."""
        answer = self._router.bundle.manifest.answer
        inputs = {
            name: "string" if kind in AS_TEXT else kind
            for name, kind in column_types(self._router.routing, self._router.union).items()
        }
        answers = {column.name: column.type for column in answer.columns}
        answers |= {f"prediction_{number}": "double" for number in range(answer.width)}
        return arrow_types({**inputs, **answers, **dict.fromkeys(_NOTES, "string")})
