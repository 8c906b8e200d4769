"""What may stand in place of an unfinished word of a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmeframe.completion.files import files
from mmeframe.completion.shells import read_line

if TYPE_CHECKING:
    from mmeframe.cli import Flags

__all__ = ["Grammar", "complete"]

_HYDRA_VALUES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
_HYDRA_VALUES |= {"-c": _HYDRA_VALUES["--cfg"], "-i": _HYDRA_VALUES["--info"]}
# Flags that only some commands take; and those of commands that compose no config.
_TABLE_FLAGS = ("--model", "--data", "--params", "--out")
_PLAIN_FLAGS = ("--json", "--debug", "--help", "-p")


@dataclass(frozen=True)
class Grammar:
    """The command line, as the dispatcher knows it.

    commands: with a line about each. plain: those that compose no config. uses: command -> names of the flags that only
    some take. parse: raises MmeframeError for what cannot be read.
    """

    commands: Mapping[str, str]
    plain: Mapping[str, Sequence[str]]
    flags: Sequence[str]
    valued: Sequence[str]
    uses: Mapping[str, Sequence[str]]
    parse: Callable[[Sequence[str]], Flags]


def complete(shell: str, arguments: Sequence[str], grammar: Grammar) -> list[str]:
    """Answer a shell: bash sends its line, the cursor's place and its break characters, the others send words.

    Whatever is wrong with the line, there is no error: nobody could read it.
    """
    if shell == "bash":
        text, point, breaks = arguments
        line = read_line(text.encode()[: int(point)].decode(errors="ignore"), breaks)
        return [line.insertion(word) for word in _candidates(line.words[1:], grammar)]
    return _candidates(list(arguments), grammar)


def _candidates(words: Sequence[str], grammar: Grammar) -> list[str]:
    *before, current = words or [""]
    try:
        found = _of(before, current, grammar)
    except Exception:  # noqa: BLE001 - of plugins, too; at a TAB nobody could read an error
        return []
    return sorted({word for word in found if word.startswith(current) and "\n" not in word})


def _of(before: list[str], current: str, grammar: Grammar) -> Iterable[str]:
    last = before[-1] if before else ""
    if last in grammar.valued:
        return _values(last, current, grammar.parse(before[:-1]))
    if last in _HYDRA_VALUES and "=" not in current:
        return _HYDRA_VALUES[last]
    flags = grammar.parse(before)
    name, equals, value = current.partition("=")
    if equals and name in grammar.valued:
        return [f"{name}={found}" for found in _values(name, value, flags)]
    if current.startswith("-"):
        return _flags(flags.command, grammar)
    if not flags.command:
        return grammar.commands
    if flags.command not in grammar.commands:
        return ()
    if flags.command in grammar.plain:
        return _plain(flags, grammar)
    uses = grammar.uses.get(flags.command, ())
    if equals and name == "data":
        return [f"data={found}" for found in files(value)]
    from mmeframe.completion.overrides import overrides

    return overrides(flags, current, [word for word in ("model", "data") if word in uses])


def _flags(command: str, grammar: Grammar) -> Iterable[str]:
    if command in grammar.plain:
        return _PLAIN_FLAGS
    taken = [f"--{name}" for name in grammar.uses.get(command, ())]
    return [flag for flag in grammar.flags if flag not in _TABLE_FLAGS or flag in taken or not command]


def _plain(flags: Flags, grammar: Grammar) -> Iterable[str]:
    """What follows a command that composes no config."""
    if flags.command == "plugins" and flags.overrides == ["show"]:
        from mmeframe.listing import known_names
        from mmeframe.plugin.manager import load_plugins

        return known_names(load_plugins(flags.plugins))
    return () if flags.overrides else grammar.plain[flags.command]


def _values(flag: str, value: str, flags: Flags) -> Iterable[str]:
    """Values of a flag that has one."""
    if flag == "--config-dir":
        return files(value, folders=True)
    if flag in ("--data", "--out"):
        return files(value)
    if flag not in ("--config-name", "-p"):
        return ()
    from mmeframe.config.layout import config_dirs, group_names, places
    from mmeframe.plugin.manager import load_plugins

    # What an earlier word disables may be named again, and a misspelt one there is no reason for silence.
    loaded = load_plugins([switch for switch in flags.plugins if not switch.startswith("no:")])
    if flag == "--config-name":
        return group_names("", places(config_dirs(flags.config_dirs), loaded), loaded)
    return ["no:", *(f"no:{name}" for it in loaded.plugins[1:] for name in (it.name, it.distribution) if name)]
