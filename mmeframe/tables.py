"""Score a table from file to file, in pieces, with the types that the router declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mmeframe.errors import BadInputError, UsageError, suggest
from mmeframe.route.reading import column_types, read_rows, without_rows
from mmeframe.rows.columnar import stored_types
from mmeframe.rows.formats import untyped
from mmeframe.rows.parts import Types
from mmeframe.rows.separated import AS_TEXT
from mmeframe.rows.writing import writer

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
    other = "text" if out is None or untyped(out, "--out") else "any"
    notes, keep = router.annotate if wanted.annotate is None else wanted.annotate, wanted.keep
    declared = Types(_declared(router, types), partial(_stored, data, keep))
    with writer(out, stream, declared) as write:
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


def _stored(data: Path, keep: str | Sequence[str]) -> dict[str, Any]:
    """Types of the kept columns where the data has Arrow's: they stay what they are."""
    stored = stored_types(data)
    return {name: stored[name] for name in _kept(stored, keep) if name in stored}


def _declared(router: Router, types: Mapping[str, str]) -> dict[str, str]:
    """MLflow's names of the types of columns and answers, for those without any value."""
    answer = router.bundle.manifest.answer
    inputs = {name: "string" if kind in AS_TEXT else kind for name, kind in types.items()}
    answers = {column.name: column.type for column in answer.columns}
    answers |= {f"prediction_{number}": "double" for number in range(answer.width)}
    return {**inputs, **answers, **dict.fromkeys(_NOTES, "string")}
