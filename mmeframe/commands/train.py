"""``mmeframe train``: fit and register sub-models."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mmeframe.commandline import ConfigCommand
from mmeframe.errors import count
from mmeframe.output import emit, note, progress_bar, say, table

if TYPE_CHECKING:
    from mmeframe.api import Job
    from mmeframe.commandline import Flags
    from mmeframe.train import Trained

__all__ = ["COMMAND", "show_trained"]


def _run(work: Job, flags: Flags) -> int:
    with progress_bar() as progress:
        trained = work.train(progress)
    emit(flags.json, dataclasses.asdict(trained), lambda: show_trained(trained))
    return 0


def show_trained(trained: Trained) -> None:
    """The table of sub-models that training made."""
    from mmeframe.train.metrics import LABELS

    whose = {"holdout": "metrics", "global's": "global_metrics"}
    columns = {
        f"{title} {label}": [getattr(model, field).get(name) for model in trained.models]
        for title, field in whose.items()
        for name, label in LABELS.items()
    }
    columns = {title: cells for title, cells in columns.items() if any(cell is not None for cell in cells)}
    rows = [
        ["(all)" if m.key is None else m.key, m.name, m.version, m.rows, *(cells[at] for cells in columns.values())]
        for at, m in enumerate(trained.models)
    ]
    table(f"{count(len(rows), 'sub-model')} trained", ["key", "registered as", "version", "rows", *columns], rows)
    if trained.dropped:
        say(f"{trained.dropped:,} of {trained.rows:,} rows have no target and were dropped")
    if trained.no_key:
        say(f"{trained.no_key:,} rows have no key; only the global sub-model learnt from them")
    for key, rows_ in list(trained.skipped.items())[:10]:
        say(f"key {key} has only {rows_} rows and got no sub-model")
    for key, why in list(trained.failed.items())[:10]:
        say(f"key {key} got no sub-model: {why}")
    for name, times in trained.warnings.items():
        note(f"warning: the fits warned {times:,} times with {name}")


COMMAND = ConfigCommand(
    name="train",
    summary="fit and register one sub-model per key, and a global one",
    examples=(
        "mmeframe train experiment=flights --allow mmeframe.train.datasets:flights",
        "mmeframe train experiment=flights --allow mmeframe.train.datasets:flights train.holdout=0.1",
    ),
    run=_run,
    flags=("--allow",),
)
