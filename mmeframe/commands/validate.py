"""``mmeframe validate``: whether a config holds, and what a table reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.commandline import ConfigCommand
from mmeframe.commands.params import routing_params
from mmeframe.commands.texts import counts, few, key_text, levels_text, warn
from mmeframe.errors import UsageError, count
from mmeframe.output import emit, note, progress_bar, say, table

if TYPE_CHECKING:
    from mmeframe.api import Job
    from mmeframe.commandline import Flags
    from mmeframe.fleet.fleet import Fleet
    from mmeframe.route.explain import Covered
    from mmeframe.store.store import Progress, Store

__all__ = ["COMMAND"]


@dataclass(frozen=True)
class _Validated:
    """What was found to hold; ``covered``: what a table reaches, None where none was named."""

    sub_models: int
    columns: int
    levels: Sequence[Sequence[str]]
    warnings: Sequence[str]
    covered: Covered | None = None

    def to_json(self) -> dict[str, Any]:
        facts = {"sub_models": self.sub_models, "columns": self.columns, "warnings": list(self.warnings)}
        return facts | ({"coverage": self.covered.to_json()} if self.covered else {})


def _run(work: Job, flags: Flags) -> int:
    settings = work.spec.validate
    gate = settings.min_coverage
    if gate is not None and flags.data is None:
        raise UsageError("validate.min_coverage needs a table.", where="--data", hint="Name one with --data FILE.")
    if settings.load and flags.model is not None:
        what = "a logged router was loaded and proved when it was built."
        raise UsageError(what, where="validate.load", hint="Leave it out, or leave --model out to prove a config.")
    with work.store() as store, progress_bar() as progress:
        found = _found(work, flags, store, progress)
    warn(found.warnings)
    covered = found.covered
    low = covered is not None and gate is not None and (covered.coverage < gate or not covered.rows)
    emit(flags.json, found.to_json(), lambda: _show(found, settings.load), ok=not low)
    if low and covered is not None and gate is not None:
        said = f"{covered.coverage:.4%} of the rows reach a sub-model, not {gate:.4%}"
        note(f"error: validate.min_coverage: {said if covered.rows else f'{flags.data} has no rows'}.")
    return int(low)


def _found(work: Job, flags: Flags, store: Store, progress: Progress) -> _Validated:
    facts = _of_config(work.validate(store, progress)) if flags.model is None else _of_router(store, flags.model)
    covered = None
    if flags.data is not None:
        covered = work.coverage(store, flags.model, Path(flags.data), routing_params(flags.params))
    return _Validated(*facts, covered)


_Facts = tuple[int, int, Sequence[Sequence[str]], Sequence[str]]


def _of_config(fleet: Fleet) -> _Facts:
    return len(fleet.models), len(fleet.union.columns), fleet.spec.routing.levels, fleet.warnings


def _of_router(store: Store, uri: str) -> _Facts:
    """Of a logged one, after every byte of it was checked."""
    from mmeframe.store.routers import verified
    from mmeframe.versions import HERE, faults

    _, bundle = verified(store, uri)
    manifest = bundle.manifest
    warnings = [*faults(manifest.environment, bundle.pickled(HERE))]
    return len(bundle), len(manifest.union), manifest.routing.levels, warnings


def _show(found: _Validated, loaded: bool) -> None:
    proved = ", loaded and proved" if loaded else ""
    shown = f"{count(found.sub_models, 'sub-model')}{proved}, {count(found.columns, 'column')}"
    say(f"ok: {shown}, levels: {levels_text(found.levels)}")
    if found.covered is not None:
        _show_coverage(found.covered)


def _show_coverage(found: Covered) -> None:
    say(f"coverage: {found.covered:,} of {found.rows:,} rows ({found.coverage:.2%}): {counts(found.reasons)}")
    rows = [[key_text(it.key), it.rows, it.model_id or "(none)", it.reason] for it in found.keys]
    table(count(len(rows), "key"), ["key", "rows", "sub-model", "reason"], rows)
    for title, names in (
        ("keys without a sub-model", [key_text(it.key) for it in found.without_model]),
        ("sub-models that no row reaches", found.unreached),
        ("columns with several types", [f"{name} ({', '.join(types)})" for name, types in found.promoted.items()]),
        ("predict would refuse this table", found.faults),
    ):
        if names:
            say(f"{title}: {few(names, '; ')}")


COMMAND = ConfigCommand(
    name="validate",
    summary="check the config and every sub-model, and what a table reaches; log nothing",
    examples=(
        "mmeframe validate experiment=flights",
        "mmeframe validate --config-dir conf --config-name my_router data=rows.csv validate.min_coverage=0.99",
    ),
    run=_run,
    flags=("--model", "--data", "--params"),
    short={"load": "validate.load"},
)
