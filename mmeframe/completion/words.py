"""What may stand in place of an unfinished word of a command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mmeframe.commandline import FLAGS, HYDRA, Command, ConfigCommand, Flags, PlainCommand, parse
from mmeframe.completion.files import files
from mmeframe.completion.shells import read_line

__all__ = ["complete"]

Commands = Mapping[str, ConfigCommand | PlainCommand]
# Of the flags that any command may have, those of commands that compose no config.
_PLAIN_FLAGS = ("--json", "--debug", "--help", "-p")


def complete(shell: str, arguments: Sequence[str], commands: Commands) -> list[str]:
    """Answer a shell: bash sends its line, the cursor's place and its break characters, the others send words.

    Whatever is wrong with the line, there is no error: nobody could read it.
    """
    if shell == "bash":
        text, point, breaks = arguments
        line = read_line(text.encode()[: int(point)].decode(errors="ignore"), breaks)
        return [line.insertion(word) for word in _candidates(line.words[1:], commands)]
    return _candidates(list(arguments), commands)


def _candidates(words: Sequence[str], commands: Commands) -> list[str]:
    *before, current = words or [""]
    try:
        found = _of(before, current, commands)
    except Exception:  # noqa: BLE001 - of plugins, too; at a TAB nobody could read an error
        return []
    return sorted({word for word in found if word.startswith(current) and "\n" not in word})


def _of(before: list[str], current: str, commands: Commands) -> Iterable[str]:
    last = before[-1] if before else ""
    if last in FLAGS and FLAGS[last].value:
        return _values(last, current, parse(before[:-1], commands))
    if HYDRA.get(last) and "=" not in current:
        return HYDRA[last] or ()
    flags = parse(before, commands)
    name, equals, value = current.partition("=")
    if equals and name in FLAGS and FLAGS[name].value:
        return [f"{name}={found}" for found in _values(name, value, flags)]
    command = commands.get(flags.command)
    if current.startswith("-"):
        return _flags(command)
    if not flags.command:
        return commands
    if command is None:
        return ()
    if isinstance(command, PlainCommand):
        return command.words(flags)
    if equals and name == "data":
        return [f"data={found}" for found in files(value)]
    from mmeframe.completion.overrides import overrides

    return overrides(flags, current, [flag[2:] for flag in command.flags if FLAGS[flag].word])


def _flags(command: Command | None) -> Iterable[str]:
    """Those that a command takes; all, where none is known."""
    if isinstance(command, PlainCommand):
        return (*_PLAIN_FLAGS, *command.flags)
    found = [name for name, flag in FLAGS.items() if command is None or not flag.own or name in command.flags]
    return [name for name in (*found, *HYDRA) if name.startswith("--") or name == "-p"]


def _values(flag: str, value: str, flags: Flags) -> Iterable[str]:
    """Values of a flag that has one."""
    if flag == "--config-dir":
        return files(value, folders=True)
    if flag in ("--data", "--out"):
        return files(value)
    if flag not in ("--config-name", "-p"):
        return ()
    from mmeframe.config.quick_choices import config_dirs, group_names, places
    from mmeframe.plugin.manager import load_plugins

    # What an earlier word disables may be named again, and a misspelt one there is no reason for silence.
    loaded = load_plugins([switch for switch in flags.plugins if not switch.startswith("no:")])
    if flag == "--config-name":
        return group_names("", places(config_dirs(flags.config_dirs), loaded), loaded)
    return ["no:", *(f"no:{name}" for it in loaded.plugins[1:] for name in (it.name, it.distribution) if name)]
