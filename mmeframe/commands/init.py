"""``mmeframe init``: write a project or a plugin package into a folder, and say what to do there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mmeframe.commandline import PlainCommand
from mmeframe.errors import UsageError
from mmeframe.output import emit, say

if TYPE_CHECKING:
    from mmeframe.commandline import Flags

__all__ = ["COMMAND"]


def _run(flags: Flags) -> int:
    from mmeframe.scaffold import new_plugin, new_project

    folders = [Path(word) for word in flags.overrides]
    if len(folders) > 1 or (not folders and flags.plugin is None):
        hint = "mmeframe init shop, or mmeframe init --plugin geohash [FOLDER]"
        raise UsageError("init needs one folder.", where="init", hint=hint)
    if flags.plugin is None:
        if flags.kind is not None:
            raise UsageError("only a plugin has a kind.", where="--kind", hint="Add --plugin NAME.")
        made = new_project(folders[0])
        todo = "pip install -r requirements.txt; make train validate build test"
    else:
        made = new_plugin(flags.plugin, flags.kind or "strategy", folders[0] if folders else None)
        todo = "python -m pip install -e '.[test]'; make test"
    emit(flags.json, {"files": [str(path) for path in made]}, lambda: _show(made, todo))
    return 0


def _show(made: list[Path], todo: str) -> None:
    for path in made:
        say(f"wrote    {path}")
    say(f"next     cd {os.path.commonpath([path.parent for path in made])}; {todo}")


COMMAND = PlainCommand(
    name="init",
    summary="start a project of your own, or a package with a plugin",
    examples=("mmeframe init shop", "mmeframe init --plugin geohash", "mmeframe init --plugin onnx --kind loader"),
    run=_run,
    flags=("--plugin", "--kind"),
)
