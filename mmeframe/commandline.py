"""What a command line is made of: flags, what a command says of itself, and how words are read.

Every run and every TAB begins here: imports the standard library and the messages only.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmeframe.errors import UsageError, nearest

if TYPE_CHECKING:
    from mmeframe.api import Job

__all__ = ["FLAGS", "HYDRA", "Command", "ConfigCommand", "Flag", "Flags", "PlainCommand", "parse"]


@dataclass(frozen=True)
class Flag:
    """A flag. ``value``: what the help calls its value, empty for a switch; ``help``: empty if another line has it.

    own: only commands that name it take it. word: may be written like an override, as ``model=URI``: Hydra's grammar
    chokes on ( = , in a path. field: of ``Flags``, where it differs from the name; many: it is a list there.
    """

    name: str
    value: str = ""
    help: str = ""
    own: bool = False
    word: bool = False
    field: str = ""
    many: bool = False

    @property
    def place(self) -> str:
        """The field of ``Flags`` that it fills."""
        return self.field or self.name[2:].replace("-", "_")

    def put(self, flags: Flags, value: str) -> None:
        """Note that it was given."""
        if self.many:
            getattr(flags, self.place).append(value)
        else:
            setattr(flags, self.place, value if self.value else True)

    def given(self, flags: Flags) -> bool:
        """Whether it was."""
        return getattr(flags, self.place) not in (None, False, [])


_own = partial(Flag, own=True)
_ALL = (
    Flag(
        "--config-dir",
        "DIR",
        "your own configs; they win over the shipped ones (repeatable)",
        field="config_dirs",
        many=True,
    ),
    Flag("--config-name", "NAME", "another primary config than the command's own"),
    _own(
        "--model",
        "URI",
        "the router, any MLflow model URI (default: the config's registered name); also model=URI",
        word=True,
    ),
    _own("--data", "FILE", "a table to score or explain, such as rows.csv or rows.parquet; also data=FILE", word=True),
    _own("--params", "JSON", """request parameters, for instance '{"dow": 1}'"""),
    _own("--plugin", "NAME", "init: a package mmeframe-NAME; --kind strategy, loader, source, combiner or observer"),
    _own("--kind", "KIND"),
    _own(
        "--allow",
        "NAME",
        "train: a package whose estimators, or a table MODULE:NAME, that the config may name (repeatable)",
        many=True,
    ),
    _own("--limit", "N", "explain: how many rows (default: the first 40 to show, all to --json and --out)"),
    _own("--out", "FILE", "where to write the scored, or explained, table (default: standard output)"),
    Flag("--json", help="results for machines"),
    Flag("--debug", help="tracebacks, of plugins too, and all log messages; plugins: how long imports take"),
    _own("--exit-code", help="plan: end with 3 where build would change something, with 0 where not"),
    Flag(
        "-p",
        "MODULE, -p no:NAME",
        "add a plugin module, or disable a plugin, or a component of one (no:mmeframe-geo.geohash)",
        field="plugins",
        many=True,
    ),
    Flag("--help"),
    Flag("-h", field="help"),
    Flag("--version"),
)
FLAGS: Mapping[str, Flag] = {flag.name: flag for flag in _ALL}

# Handed to hydra.main, with the values of those that take one; a value that is anything is not listed.
HYDRA: Mapping[str, Sequence[str] | None] = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
    "--package": (),
    **dict.fromkeys(("--multirun", "-m", "--resolve", "--hydra-help")),
}


@dataclass
class Flags:
    """A command line that was read."""

    command: str = ""
    overrides: list[str] = field(default_factory=list)
    config_dirs: list[str] = field(default_factory=list)
    config_name: str | None = None
    model: str | None = None
    data: str | None = None
    params: str | None = None
    limit: str | None = None
    out: str | None = None
    plugin: str | None = None
    kind: str | None = None
    plugins: list[str] = field(default_factory=list)
    allow: list[str] = field(default_factory=list)
    json: bool = False
    debug: bool = False
    exit_code: bool = False
    help: bool = False
    version: bool = False
    hydra: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a command says of itself. ``flags``: those that only some commands take, and this one does."""

    name: str
    summary: str
    examples: Sequence[str]
    flags: Sequence[str] = ()

    def check(self, flags: Flags) -> None:
        """Raises UsageError for a flag that the command does not take, or that was written as an override."""
        for word in flags.overrides:
            name, equals, value = word.partition("=")
            if equals and (flag := FLAGS.get(f"--{name}")) and (not flag.own or flag.name in self.flags):
                written = f"{flag.name} {shlex.quote(value)}" if flag.value else flag.name
                raise UsageError(f"{name} is a flag.", where=word, hint=f"Write {written}.")
            file = Path(word)
            if "--data" in self.flags and file.is_file() and file.suffix not in (".yaml", ".yml"):
                raise UsageError("this is not an override: it has no value.", where=word, hint=f"Write data={word}.")
        for name, flag in FLAGS.items():
            if flag.own and name not in self.flags and flag.given(flags):
                raise UsageError(f"{self.name} takes no {name}.", hint=f"See mmeframe {self.name} --help.")


@dataclass(frozen=True, kw_only=True)
class ConfigCommand(Command):
    """A command that composes a config.

    short: words that stand for an option. refuse: raises UsageError for words that it cannot take, before the config is
    composed.
    """

    run: Callable[[Job, Flags], int]
    short: Mapping[str, str] = field(default_factory=dict)
    refuse: Callable[[Flags], None] | None = None

    def check(self, flags: Flags) -> None:
        super().check(flags)
        if self.refuse is not None:
            self.refuse(flags)


def _no_words(flags: Flags) -> Iterable[str]:
    del flags
    return ()


@dataclass(frozen=True, kw_only=True)
class PlainCommand(Command):
    """A command that composes none. ``words``: what may follow the words that are there, for completion."""

    run: Callable[[Flags], int]
    words: Callable[[Flags], Iterable[str]] = _no_words


def parse(argv: Sequence[str], commands: Mapping[str, Command]) -> Flags:
    """Read a command line. Raises UsageError for an unknown flag; an unknown command is left to the caller."""
    flags, rest = Flags(), list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            _read_flag(flags, word, rest)
        elif equals and (flag := FLAGS.get(f"--{name}")) and flag.word:
            flag.put(flags, value)
        elif not flags.command and word and not equals and word[0] not in "+~":
            flags.command = word
        else:
            flags.overrides.append(word)
    command = commands.get(flags.command)
    if isinstance(command, ConfigCommand) and command.short:
        words = [word.partition("=") for word in flags.overrides]
        flags.overrides = [f"{command.short.get(name, name)}{equals}{value}" for name, equals, value in words]
    return flags


def _read_flag(flags: Flags, word: str, rest: list[str]) -> None:
    """Note a flag; its value may be the next word."""
    name, equals, value = word.partition("=")
    if (flag := FLAGS.get(name)) and flag.value:
        if not equals and not rest:
            raise UsageError(f"{name} needs a value.", hint="Run mmeframe --help.")
        flag.put(flags, value if equals else rest.pop(0))
    elif flag and not equals:
        flag.put(flags, "")
    elif name in HYDRA:
        flags.hydra.append(word)
        takes = HYDRA[name] is not None and not equals
        if takes and rest and not rest[0].startswith("-") and "=" not in rest[0]:
            flags.hydra.append(rest.pop(0))
    else:
        known = (*FLAGS, *HYDRA)
        close = nearest(name, known) or next((flag for flag in known if flag.startswith(f"-{name}")), None)
        guess = f"Did you mean {close}? " if close else ""
        raise UsageError(f"there is no flag {name}.", hint=f"{guess}Run mmeframe --help.")
