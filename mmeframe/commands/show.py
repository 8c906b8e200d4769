"""``mmeframe show``: what is inside a logged router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmeframe.budget import size_text
from mmeframe.commandline import ConfigCommand
from mmeframe.commands.texts import levels_text, of_model, show_columns, show_traffic
from mmeframe.errors import count
from mmeframe.output import emit, say, table

if TYPE_CHECKING:
    from mmeframe.api import Job
    from mmeframe.commandline import Flags
    from mmeframe.fleet.facts import RouterFacts
    from mmeframe.sections import ResidencySpec

__all__ = ["COMMAND"]


def _run(work: Job, flags: Flags) -> int:
    with work.store() as store:
        found = work.show(store, flags.model)
    emit(flags.json, found.to_json(), lambda: _show(found))
    return 0


def _show(found: RouterFacts) -> None:
    facts = found.manifest
    say(f"router   {facts.name} ({found.uri})")
    say(f"built by mmeframe {facts.mmeframe}, bundle format {facts.format}")
    say(f"digest   {facts.digest}")
    fleet = count(len(found.sub_models), "sub-model")
    say(f"size     {size_text(facts.bytes)} in {fleet}, {size_text(facts.pack.bytes)} packed")
    for part in facts.routing.parts:
        options = ", ".join(f"{k}={v}" for k, v in part.strategy.options.items() if v is not None)
        say(f"key      {part.name}: {part.strategy.kind}({options})")
    say(f"levels   {levels_text(facts.routing.levels)}; unknown keys: {facts.routing.on_unknown}")
    say(f"memory   {_residency(facts.residency)}")
    for module, plugin in facts.plugins.items():
        say(f"plugin   {plugin.distribution or module} {plugin.version or '(embedded module)'}")
    for it in found.other_code_here:
        say(f"differs  {it.name} {it.before}; here: {it.after or '(not installed)'}")
    rows = [[*of_model(it, found.kind_of(it)), size_text(it.bytes), size_text(it.memory)] for it in found.sub_models]
    table("sub-models", ["id", "key", "arm", "uri", "flavor", "loader", "size", "memory"], rows)
    show_traffic(facts.traffic, facts.disabled_models)
    show_columns([(it.name, it.type, it.required) for it in facts.union], found.routing_columns)
    say("requirements: " + ", ".join(facts.environment))


def _residency(options: ResidencySpec) -> str:
    """The kind, and what bounds or fills it."""
    shown = {
        "max_bytes": None if options.max_bytes is None else size_text(options.max_bytes),
        "max_models": options.max_models,
        "pin": " ".join(options.pin),
        "preload": " ".join(options.preload),
        "ttl_s": options.ttl_s,
    }
    return ", ".join([options.kind, *(f"{name}={value}" for name, value in shown.items() if value)])


COMMAND = ConfigCommand(
    name="show",
    summary="what is inside a logged router",
    examples=("mmeframe show model=models:/flights@champion", "mmeframe show experiment=flights --json"),
    run=_run,
    flags=("--model",),
)
