"""``mmeframe explain``: the way of each row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmeframe.commandline import ConfigCommand
from mmeframe.commands.params import routing_params
from mmeframe.commands.texts import counts, key_text
from mmeframe.errors import UsageError, count
from mmeframe.output import emit, emit_rows, note, progress_bar, say, table

if TYPE_CHECKING:
    from mmeframe.api import Job
    from mmeframe.commandline import Flags
    from mmeframe.route.explain import Explained
    from mmeframe.route.routing import ExplainedRow

__all__ = ["COMMAND"]

# Rows that are shown if nobody says how many.
_SHOWN = 40


def _run(work: Job, flags: Flags) -> int:
    if flags.data is None:
        raise UsageError("explain needs a table.", where="--data", hint="mmeframe explain --data rows.csv")
    limit = _limit(flags.limit)
    with work.store() as store:
        found = work.explain(store, flags.model, Path(flags.data), routing_params(flags.params))
        if flags.out is not None:
            _write(found, limit, Path(flags.out), flags.json)
        elif flags.json:
            emit_rows(row.to_json() for row in found.rows(limit))
        else:
            most = _SHOWN if limit is None else limit
            shown = list(found.rows(most))
            # Only a table that has more is read to its end.
            _show(shown, found.reasons() if len(shown) >= most else None)
    return 0


def _refuse(flags: Flags) -> None:
    """Raises UsageError for an output that is the input."""
    if flags.out is None or flags.data is None:
        return
    out, data = Path(flags.out), Path(flags.data)
    if out.exists() and data.exists() and out.samefile(data):
        what = "this is the input table; its columns would be lost."
        raise UsageError(what, where="--out", hint="Name another file.")


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise UsageError(f"this is not a number of rows: {text}.", where="--limit", hint="For instance --limit 100.")
    return int(text)


def _write(found: Explained, limit: int | None, out: Path, as_json: bool) -> None:
    from mmeframe.route.explain import write_explained

    with progress_bar() as progress:
        reasons = write_explained(found.rows(limit), found.routing.table.parts, out, progress)
    rows = sum(reasons.values())
    note(f"explained {rows:,} rows to {out}" + (f" ({counts(reasons)})" if reasons else ""))
    if as_json:
        emit(True, {"written": rows, "out": str(out), "reasons": reasons}, lambda: None)


def _show(found: Sequence[ExplainedRow], reasons: Mapping[str, int] | None) -> None:
    """reasons: of all rows, None where these are all."""
    from mmeframe.route.explain import route_text

    rows = [[it.row, key_text(it.key), route_text(it.route), *it.answer] for it in found]
    total = len(rows) if reasons is None else sum(reasons.values())
    columns = ["row", "key", "route", "arm", "sub-model", "version", "reason"]
    table(count(total, "row"), columns, rows, limit=len(rows))
    if reasons and total > len(rows):
        say(f"... and {total - len(rows):,} more (--limit N shows more, --out FILE writes all)")
        say(f"all rows: {counts(reasons)}")


COMMAND = ConfigCommand(
    name="explain",
    summary="show for each row of a table which sub-model answers it, and why",
    examples=(
        "mmeframe explain experiment=flights data=rows.csv",
        "mmeframe explain model=models:/flights@champion data=rows.csv --limit 1000 --out ways.csv",
    ),
    run=_run,
    flags=("--model", "--data", "--params", "--limit", "--out"),
    refuse=_refuse,
)
