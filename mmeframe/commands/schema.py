"""``mmeframe schema``: a JSON Schema of configs, or of the files in a group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmeframe.commandline import PlainCommand
from mmeframe.errors import UsageError, suggest
from mmeframe.output import note

if TYPE_CHECKING:
    from mmeframe.commandline import Flags

__all__ = ["COMMAND"]

_GROUPS = ("routing", "source", "observer", "residency")


def _run(flags: Flags) -> int:
    import json

    from mmeframe.commands.plugins import check_configs
    from mmeframe.config.json_schema import json_schema
    from mmeframe.plugin.manager import load_plugins

    given = " ".join(flags.overrides)
    if given and given not in _GROUPS:
        what = f"there is no group with a schema of its own {given!r}."
        raise UsageError(what, where="schema", hint=suggest(given, _GROUPS))
    loaded = load_plugins(flags.plugins)
    check_configs(loaded)
    for plugin in loaded.plugins:
        if plugin.status == "broken":
            note(f"warning: the schema lacks what {plugin.title} provides: {plugin.reason}")
    print(json.dumps(json_schema(loaded, given or None), indent=1))
    return 0


def _words(flags: Flags) -> Iterable[str]:
    return () if flags.overrides else _GROUPS


COMMAND = PlainCommand(
    name="schema",
    summary="a JSON Schema of config files, with which editors check and complete them",
    examples=(
        "mmeframe schema > mmeframe.schema.json        # of a config; its first line then names it:",
        "# yaml-language-server: $schema=mmeframe.schema.json",
        "mmeframe schema routing > routing.schema.json # of a file in the group routing",
    ),
    run=_run,
    words=_words,
)
