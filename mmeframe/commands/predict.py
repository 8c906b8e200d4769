"""``mmeframe predict``: score a table with a logged router."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmeframe.commandline import ConfigCommand
from mmeframe.commands.params import params, routing_params
from mmeframe.commands.texts import counts
from mmeframe.errors import UsageError
from mmeframe.output import emit, note, progress_bar

if TYPE_CHECKING:
    from mmeframe.api import Job
    from mmeframe.commandline import Flags

__all__ = ["COMMAND"]


def _run(work: Job, flags: Flags) -> int:
    from mmeframe.store.routers import load
    from mmeframe.tables import Wanted, score_table

    if flags.data is None:
        hint = "mmeframe predict --data rows.csv --out out.csv"
        raise UsageError("predict needs a table.", where="--data", hint=hint)
    settings, annotate = work.spec.predict, params(flags.params).get("annotate")
    wanted = Wanted(routing_params(flags.params), annotate, settings.batch_rows, settings.keep)
    with work.store() as store:
        router = load(store, work.find(store, flags.model))
        with progress_bar() as progress:
            scored = score_table(
                router,
                Path(flags.data),
                wanted,
                out=Path(flags.out) if flags.out else None,
                stream=None if flags.json else sys.stdout,
                progress=progress,
            )
    place = f" to {scored.out}" if scored.out else ""
    note(f"scored {scored.rows:,} rows{place}" + (f" ({counts(scored.reasons)})" if scored.reasons else ""))
    emit(flags.json, dataclasses.asdict(scored), lambda: None)
    return 0


COMMAND = ConfigCommand(
    name="predict",
    summary="score a table (CSV, Parquet, JSON, ...) with a logged router",
    examples=(
        "mmeframe predict model=models:/flights@champion data=rows.csv --out scored.parquet",
        """mmeframe predict model=models:/dow_router@champion data=rows.csv --params '{"dow": 1, "annotate": true}'""",
    ),
    run=_run,
    flags=("--model", "--data", "--params", "--out"),
)
