"""``mmeframe plan``: what a build would log, and what that would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmeframe.commandline import ConfigCommand
from mmeframe.commands.show import COMMAND as SHOW
from mmeframe.commands.texts import few, key_text, levels_text, of_model, show_columns, show_traffic, warn
from mmeframe.errors import UsageError, count, listed
from mmeframe.output import emit, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmeframe.api import Job
    from mmeframe.commandline import Flags
    from mmeframe.fleet.changes import Difference
    from mmeframe.fleet.facts import Plan, Planned
    from mmeframe.spec import KeyPart

__all__ = ["COMMAND"]

# The exit code of a plan that would change something, where a script asks for it.
_SOMETHING = 3


def _run(work: Job, flags: Flags) -> int:
    if work.client:
        # No config to compare: what the router itself says.
        if flags.exit_code:
            hint = "Name one: --config-name NAME."
            raise UsageError("there is no config to compare.", where="--exit-code", hint=hint)
        return SHOW.run(work, flags)
    with work.store() as store:
        planned = work.plan(store, flags.model)
    warn(planned.plan.fleet.warnings)
    emit(flags.json, {"plan": planned.to_json()}, lambda: _show(planned))
    return _SOMETHING if flags.exit_code and planned.changes else 0


def _show(planned: Planned) -> None:
    difference = planned.difference
    _show_plan(planned.plan)
    _show_difference(difference)
    if any(model.is_file for model in planned.plan.fleet.models) and difference.against and difference.files is None:
        say("  files on disk are not compared: build says how many of them changed")


def _show_plan(plan: Plan) -> None:
    from mmeframe.rows.types import shown

    fleet, spec = plan.fleet, plan.fleet.spec
    tracking = spec.tracking
    alias = f"@{tracking.alias}" if tracking.alias else ""
    say(f"router {spec.name}, to be registered as {tracking.register_as}{alias}")
    for part in spec.routing.parts:
        _show_part(part, fleet.declared_keys[part.name])
    say(f"levels: {levels_text(spec.routing.levels)}; unknown keys: {spec.routing.on_unknown}")
    rows = [of_model(it, it.loader.kind) for it in fleet.models]
    table(count(len(rows), "sub-model"), ["id", "key", "arm", "uri", "flavor", "loader"], rows)
    show_traffic(spec.traffic, spec.disabled_models)
    show_columns([(it.name, shown(it.type), it.required) for it in fleet.union.columns], plan.routing_columns)
    for name, (kind, of) in plan.params.items():
        say(f"parameter {name} ({kind}): {listed(of)}")
    say("requirements: " + ", ".join(fleet.requirements))
    for name, changes in fleet.csv_changes.items():
        say(f"{name}, as CSV readers take it: " + ", ".join(f"{key} as {change}" for key, change in changes.items()))
    for id_, replacement in fleet.dropped:
        say(f"dropped: {id_} (replaced by {replacement})")
    for where, path in plan.paths.items():
        say(f"{where}: {path}")


def _show_part(part: KeyPart, declared: Sequence[str]) -> None:
    values = ", ".join(declared[:10]) + (" ..." if len(declared) > 10 else "")
    options = ", ".join(f"{name}={value}" for name, value in part.strategy.options.items() if value is not None)
    say(f"key {part.name}: {part.strategy.kind}({options}), declared: {values}")


def _show_difference(found: Difference) -> None:
    from mmeframe.fleet.changes import PARTS

    if found.against is None:
        say("nothing is registered yet: every sub-model is new")
        return
    say(f"against {found.against}:")
    for word, names in (("added", found.added), ("removed", found.removed)):
        if names:
            say(f"  {word}: {few(names)}")
    for it in found.changed[:10]:
        say(f"  changed: {it.id}: {it.before} -> {it.after}")
    for key in found.retargeted[:10]:
        say(f"  retargeted: {key_text(key.key)}, arm {key.arm}: {key.before} -> {key.after}")
    for code in found.code:
        say(f"  code: {code.name}: {code.before or '(not used)'} -> {code.after or '(not used)'}")
    for name, what in PARTS.items():
        if name in found.differing:
            say(f"  {name}: {what} differ")
    if found.files:
        say(f"  other files: {few(found.files)}")
    if found.newest:
        say(f"  it is not the newest version, which is {found.newest}")
    if found.is_empty:
        say("  no difference")


COMMAND = ConfigCommand(
    name="plan",
    summary="show what build would log, and what that would change",
    examples=("mmeframe plan experiment=flights", "mmeframe plan experiment=flights model=models:/flights/1"),
    run=_run,
    flags=("--model", "--exit-code"),
)
