"""``mmeframe COMMAND [flags] [Hydra overrides]``: a thin dispatcher.

Imports nothing heavy until a command is known, so that ``--help`` is instant. Ordinary runs use Hydra's compose API and
write no files; Hydra's own flags are handed to ``hydra.main``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from mmeframe._version import __version__
from mmeframe.commandline import Command, Flags, PlainCommand, parse
from mmeframe.commands import COMMANDS
from mmeframe.errors import MmeframeError, Problem, ProblemsError, UsageError, legible_lines, nearest
from mmeframe.output import show_plugin_errors, show_traceback

if TYPE_CHECKING:
    from mmeframe.plugin.manager import Plugins

__all__ = ["entry", "main"]


def main(argv: Sequence[str]) -> int:
    """Run a command line; returns the exit code: 0 ok, 1 failed or missing, 2 usage or config, 130 interrupted."""
    # What machines asked for holds for a command line that cannot be read, too.
    flags = Flags(json="--json" in argv, debug="--debug" in argv)
    try:
        if list(argv[:2]) == ["completion", "words"]:
            return _complete(argv[2:])
        flags = parse(argv, COMMANDS)
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
    if flags.version:
        print(__version__)
        return 0
    if not flags.command and "--hydra-help" in flags.hydra:
        flags.command = "build"
    if not flags.command:
        return _without_command(flags)
    if flags.command not in COMMANDS:
        close = nearest(flags.command, COMMANDS)
        guess = f"Did you mean {close!r}? " if close else ""
        raise UsageError(f"there is no command {flags.command!r}.", hint=guess + _known_commands())
    _quieten(flags.debug)
    command = COMMANDS[flags.command]
    if flags.help:
        return _help(command, flags)
    command.check(flags)
    if isinstance(command, PlainCommand):
        return command.run(flags)
    from mmeframe.commands import delegate, dispatch
    from mmeframe.plugin.manager import load_plugins

    plugins = load_plugins(flags.plugins)
    _warn_broken(plugins)
    try:
        return (delegate.delegate if flags.hydra else dispatch.run)(command, flags, plugins)
    finally:
        if flags.debug:
            show_plugin_errors(plugins)


def _without_command(flags: Flags) -> int:
    from mmeframe.commands.help import overview

    if flags.overrides:
        raise UsageError(f"name a command before {flags.overrides[0]!r}.", hint=_known_commands())
    print(overview(), end="")
    return 0 if flags.help else 2


def _help(command: Command, flags: Flags) -> int:
    from mmeframe.commands.help import show_help

    show_help(command, flags)
    return 0


def _complete(argv: Sequence[str]) -> int:
    """What a script of ``mmeframe completion`` asks for at each TAB."""
    from mmeframe.completion import SHELLS, complete

    if not argv or argv[0] not in SHELLS:
        raise UsageError("the scripts of mmeframe completion call this.", where="completion words")
    for word in complete(argv[0], argv[1:], COMMANDS):
        print(word)
    return 0


def _known_commands() -> str:
    return f"Commands: {', '.join(COMMANDS)}."


def _warn_broken(plugins: Plugins) -> None:
    for plugin in plugins.plugins:
        if plugin.status == "broken":
            _say(f"plugin {plugin.title} is broken: {plugin.reason}", level="warning")


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
