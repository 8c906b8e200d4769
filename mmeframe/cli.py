"""``mmeframe COMMAND [flags] [Hydra overrides]``: a thin dispatcher.

Imports nothing heavy until a command is known, so that ``--help`` is instant. Ordinary runs use Hydra's compose API and
write no files; Hydra's own flags are handed to ``hydra.main``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import mmeframe
from mmeframe.errors import MmeframeError, Problem, ProblemsError, UsageError, legible, legible_lines, nearest, suggest

if TYPE_CHECKING:
    from mmeframe.plugin.manager import Plugins

__all__ = ["COMMANDS", "Flags", "entry", "main", "show_traceback"]

COMMANDS: dict[str, str] = {
    "demo": "train, build, score and serve on 336,776 real flights",
    "train": "fit and register one sub-model per key, and a global one",
    "build": "log one router from config, prove it, register it",
    "validate": "check the config and every sub-model, and what a table reaches; log nothing",
    "plan": "show what build would log, and what that would change",
    "explain": "show for each row of a table which sub-model answers it, and why",
    "predict": "score a CSV, Parquet or JSON file with a logged router",
    "serve": "serve a logged router over HTTP with MLflow's scoring server",
    "show": "what is inside a logged router",
    "plugins": "installed plugins, what they register, and why any is broken; options of one: plugins show NAME",
    "schema": "a JSON Schema of config files, with which editors check and complete them",
    "init": "start a project of your own, or a package with a plugin",
    "completion": "a script that completes command lines in bash, zsh or fish",
}

# Flags with a value, and switches.
_VALUED = (
    "--config-dir",
    "--config-name",
    "--model",
    "--data",
    "--params",
    "--limit",
    "--out",
    "-p",
    "--plugin",
    "--kind",
    "--allow",
)
_SWITCHES = ("--json", "--debug", "--exit-code", "--help", "-h", "--version")
# Handed to hydra.main. A value may follow --cfg, --info and --package.
_HYDRA = ("--cfg", "-c", "--info", "-i", "--multirun", "-m", "--package", "--resolve", "--hydra-help")
_HYDRA_VALUED = ("--cfg", "-c", "--info", "-i", "--package")
# Short forms of a command's own options.
_SHORT = {"validate": {"load": "validate.load"}}
# Overrides that stand for flags: Hydra's grammar chokes on ( = , in a path.
_SUGAR = {"model": "--model", "data": "--data"}

_HELP = f"""mmeframe {mmeframe.__version__}: many models behind one endpoint.

Usage: mmeframe COMMAND [flags] [overrides]

Commands:
{{commands}}

Flags:
  --config-dir DIR     your own configs; they win over the shipped ones (repeatable)
  --config-name NAME   another primary config than the command's own
  --model URI          the router, any MLflow model URI (default: the config's registered name); also model=URI
  --data FILE          a table to score or explain: .csv .parquet .json .jsonl; also data=FILE
  --params JSON        request parameters, for instance '{{{{"dow": 1}}}}'
  --plugin NAME        init: a package mmeframe-NAME; --kind strategy, loader, source, combiner or observer
  --allow NAME         train: a package whose estimators, or a table MODULE:NAME, that the config may name (repeatable)
  --limit N            explain: how many rows (default: the first 40 to show, all to --json and --out)
  --out FILE           where to write the scored, or explained, table (default: standard output)
  --json               results for machines
  --debug              tracebacks, of plugins too, and all log messages; plugins: how long imports take
  --exit-code          plan: end with 3 where build would change something, with 0 where not
  -p MODULE, -p no:NAME   add a plugin module, or disable a plugin, or a component of one (no:mmeframe-geo.geohash)
  --cfg job, --info, --multirun, --package   Hydra's own; --hydra-help explains them

Overrides are Hydra's: routing=column routing.column=dow +models.a.uri=models:/a@champion
'mmeframe COMMAND --help' shows a command's options and examples.
Environment: MLFLOW_TRACKING_URI, MMEFRAME_CONFIG_DIR, MMEFRAME_PLUGINS, MMEFRAME_DISABLE_PLUGINS, MMEFRAME_CACHE_DIR,
MMEFRAME_EXPECT_DIGEST, MMEFRAME_TRAFFIC_ARMS, MMEFRAME_DISABLED_MODELS, MMEFRAME_ALLOW.
"""


@dataclass
class Flags:
    """A parsed command line."""

    command: str
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
    hydra: list[str] = field(default_factory=list)


def parse_argv(argv: Sequence[str]) -> Flags:
    """Split a command line. Raises UsageError for an unknown command or flag."""
    flags = Flags("")
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word.startswith("-") and name in _VALUED:
            if not equals and not rest:
                raise UsageError(f"{name} needs a value.", hint="Run mmeframe --help.")
            _set(flags, name, value if equals else rest.pop(0))
        elif word in _SWITCHES:
            _set(flags, word, "")
        elif word.startswith("-") and name in _HYDRA:
            flags.hydra.append(word)
            if name in _HYDRA_VALUED and not equals and rest and not rest[0].startswith("-") and "=" not in rest[0]:
                flags.hydra.append(rest.pop(0))
        elif word.startswith("-"):
            close = nearest(name, (*_VALUED, *_SWITCHES, *_HYDRA))
            guess = f"Did you mean {close}? " if close else ""
            raise UsageError(f"there is no flag {name}.", hint=f"{guess}Run mmeframe --help.")
        elif equals and name in _SUGAR:
            _set(flags, _SUGAR[name], value)
        elif not flags.command and word and not equals and word[0] not in "+~":
            flags.command = word
        else:
            flags.overrides.append(word)
    short = _SHORT.get(flags.command, {})
    for at, (name, equals, value) in enumerate(word.partition("=") for word in flags.overrides):
        flags.overrides[at] = f"{short.get(name, name)}{equals}{value}"
    return flags


def _set(flags: Flags, name: str, value: str) -> None:
    if name == "--config-dir":
        flags.config_dirs.append(value)
    elif name == "-p":
        flags.plugins.append(value)
    elif name == "--allow":
        flags.allow.append(value)
    elif name in ("--help", "-h"):
        flags.help = True
    elif name == "--version":
        flags.command = "version"
    elif name in ("--json", "--debug", "--exit-code"):
        setattr(flags, name[2:].replace("-", "_"), True)
    else:
        setattr(flags, name[2:].replace("-", "_"), value)


def main(argv: Sequence[str]) -> int:
    """Run a command line; returns the exit code: 0 ok, 1 failed or missing, 2 usage or config, 130 interrupted."""
    # What machines asked for holds for a command line that cannot be read, too.
    flags = Flags("", json="--json" in argv, debug="--debug" in argv)
    try:
        if list(argv[:2]) == ["completion", "words"]:
            return _complete(argv[2:])
        flags = parse_argv(argv)
        return _run(flags)
    except KeyboardInterrupt as error:
        _say("interrupted.", notes=error)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as in `mmeframe show ... | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MmeframeError as error:
        if flags.debug:
            raise
        return _report(error, flags)
    except Exception as error:
        if flags.debug:
            raise
        first = (str(error).splitlines() or [""])[0]
        ours = MmeframeError(f"{type(error).__name__}: {first}", hint="Run again with --debug for the traceback.")
        ours.__notes__ = list(getattr(error, "__notes__", ()))
        return _report(ours, flags)


def _run(flags: Flags) -> int:
    if flags.command == "version":
        print(mmeframe.__version__)
        return 0
    if not flags.command and "--hydra-help" in flags.hydra:
        flags.command = "build"
    if not flags.command:
        if flags.overrides:
            raise UsageError(f"name a command before {flags.overrides[0]!r}.", hint=_known_commands())
        width = max(map(len, COMMANDS))
        listed = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
        print(_HELP.format(commands=listed), end="")
        return 0 if flags.help else 2
    if flags.command not in COMMANDS:
        close = nearest(flags.command, COMMANDS)
        guess = f"Did you mean {close!r}? " if close else ""
        raise UsageError(f"there is no command {flags.command!r}.", hint=guess + _known_commands())
    _quieten(flags.debug)
    from mmeframe import commands

    if flags.help:
        return commands.help_for(flags, COMMANDS[flags.command])
    if flags.command == "init":
        return commands.init(flags)
    if flags.command in _PLAIN:
        return _plain(flags)
    from mmeframe.plugin.manager import load_plugins

    plugins = load_plugins(flags.plugins)
    _warn_broken(plugins)
    try:
        return commands.delegate(flags, plugins) if flags.hydra else commands.run(flags, plugins)
    finally:
        if flags.debug:
            _show_errors(plugins)


# Commands that compose no config, with what may follow them.
_PLAIN: dict[str, Sequence[str]] = {
    "plugins": ("show",),
    "schema": ("routing", "source", "observer", "residency"),
    "completion": ("bash", "zsh", "fish"),
}


def _plain(flags: Flags) -> int:
    if flags.command == "plugins":
        from mmeframe.listing import plugins

        return plugins(flags, _show_errors if flags.debug else None)
    known, given = _PLAIN[flags.command], " ".join(flags.overrides)
    if given not in known and (given or flags.command == "completion"):
        noun = "shell" if flags.command == "completion" else "group with a schema of its own"
        what = f"there is no {noun} {given!r}." if given else f"name a {noun}."
        raise UsageError(what, where=flags.command, hint=suggest(given, known))
    if flags.command == "schema":
        from mmeframe.listing import schema

        return schema(flags)
    from mmeframe.completion import script

    print(script(given), end="")
    return 0


def _complete(argv: Sequence[str]) -> int:
    """What a script of ``mmeframe completion`` asks for at each TAB."""
    from mmeframe.commands import USES
    from mmeframe.completion import Grammar, complete

    if not argv or argv[0] not in _PLAIN["completion"]:
        raise UsageError("the scripts of mmeframe completion call this.", where="completion words")
    long = [flag for flag in (*_VALUED, *_SWITCHES, *_HYDRA) if flag.startswith("--") or flag == "-p"]
    for word in complete(argv[0], argv[1:], Grammar(COMMANDS, _PLAIN, long, _VALUED, USES, parse_argv)):
        print(word)
    return 0


def _known_commands() -> str:
    return f"Commands: {', '.join(COMMANDS)}."


def _warn_broken(plugins: Plugins) -> None:
    for plugin in plugins.plugins:
        if plugin.status == "broken":
            _say(f"plugin {plugin.title} is broken: {plugin.reason}", level="warning")


def _show_errors(plugins: Plugins) -> None:
    """Tracebacks of what plugins raised when they were imported, and in their hooks."""
    for plugin in plugins.plugins:
        if plugin.error is not None:
            _say(f"plugin {plugin.title} raised:", level="debug")
            show_traceback(type(plugin.error), plugin.error, plugin.error.__traceback__)


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As Python shows it, without secrets: libraries repeat URLs and values."""
    import traceback

    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        print(legible(line), file=sys.stderr)


def _quieten(debug: bool) -> None:
    """MLflow and its libraries speak only when something is wrong."""
    import logging

    logging.getLogger("mmeframe").setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        import warnings

        warnings.filterwarnings("ignore", module=r"mlflow(\.|$)")


def _report(error: MmeframeError, flags: Flags) -> int:
    report = error if isinstance(error, ProblemsError) else ProblemsError([Problem.of(error)])
    problems = report.problems
    if flags.json:
        import json

        listed = [{"where": p.where, "what": p.what, "hint": p.hint, "code": p.code} for p in problems]
        print(json.dumps({"ok": False, "problems": listed}, indent=1))
    if len(problems) > 1:
        _say(f"{len(problems)} problems:")
        for line in report.lines():
            print(line, file=sys.stderr)
    else:
        _say(str(problems[0]))
    _notes(error)
    return 2 if report.in_config else 1


def _say(text: str, *, level: str = "error", notes: BaseException | None = None) -> None:
    print(legible_lines(f"{level}: {text}"), file=sys.stderr)
    if notes is not None:
        _notes(notes)


def _notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        print(legible_lines(note), file=sys.stderr)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    del signum, frame
    raise KeyboardInterrupt


def entry() -> Any:
    """The ``mmeframe`` command. SIGTERM is treated as Ctrl-C, so that a half-made router is taken back."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.excepthook = show_traceback
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
