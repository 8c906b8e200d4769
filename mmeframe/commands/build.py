"""``mmeframe build``: log one router, prove it, register it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mmeframe.budget import size_text
from mmeframe.commandline import ConfigCommand
from mmeframe.commands.texts import warn
from mmeframe.errors import count
from mmeframe.output import emit, progress_bar, say

if TYPE_CHECKING:
    from mmeframe.api import Job
    from mmeframe.commandline import Flags
    from mmeframe.spec import Logged

__all__ = ["COMMAND"]


def _run(work: Job, flags: Flags) -> int:
    with progress_bar() as progress:
        logged = work.build(progress)
    warn(logged.notes)
    emit(flags.json, dataclasses.asdict(logged), lambda: _show(logged, work.spec.tracking.uri))
    return 0


def _show(logged: Logged, store: str | None) -> None:
    done = "logged " if logged.same_as is None else "same as"
    size = f"{count(logged.sub_models, 'sub-model')}, {size_text(logged.bytes)}"
    say(f"{done}  {logged.model_uri} ({size})" + ("" if logged.same_as is None else ": nothing was registered"))
    if logged.version:
        alias = f", alias {logged.alias}" if logged.alias else ""
        say(f"version  {logged.version} of {logged.name}{alias}")
    if logged.same_as is None and (logged.unchanged or logged.resumed or logged.described):
        say(f"packed   {_packed(logged)}")
    say(f"digest   {logged.digest}")
    say(f"serve    mmeframe serve model={logged.model_uri}" + (f" tracking.uri={store}" if store else ""))


def _packed(logged: Logged) -> str:
    """Which sub-models are new, and where the others come from."""
    others = count(logged.sub_models - logged.unchanged - logged.resumed, "sub-model")
    read = f"; {logged.described:,} were read by an interrupted build" if logged.described else ""
    same = f"; {logged.unchanged:,} did not change since version {logged.since}" if logged.unchanged else ""
    before = f"; {logged.resumed:,} by an interrupted build" if logged.resumed else ""
    return f"{others}{read}{same}{before}"


COMMAND = ConfigCommand(
    name="build",
    summary="log one router from config, prove it, register it",
    examples=(
        "mmeframe build experiment=flights",
        "mmeframe build name=days routing=column routing.column=dow +models.mon.uri=models:/mon@champion",
        "mmeframe build --config-dir conf --config-name my_router tracking.alias=champion",
    ),
    run=_run,
)
