"""Run a command line of mmeframe in this process, and leave the process as it was."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmeframe.cli import main, parse_argv
from mmeframe.errors import MmeframeError, UsageError

__all__ = ["CommandResult", "run_command"]

_LEVEL = "MLFLOW_LOGGING_LEVEL"


@dataclass(frozen=True)
class CommandResult:
    """One run of the command line: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The result of a command with ``--json``."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """What a reader sees, without the space between columns, rules and empty lines."""
        squeezed = [" ".join(line.split()) for line in self.out.splitlines()]
        return [line for line in squeezed if line.strip(" ─")]


def run_command(argv: Sequence[str]) -> CommandResult:
    """What ``mmeframe`` does with these words. Raises UsageError for ``serve``, which would replace this process."""
    _refuse_serve(argv)
    out, err = io.StringIO(), io.StringIO()
    with _as_it_was(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([*argv])
        except SystemExit as error:
            # Hydra ends the process of its own flags.
            code = error.code if isinstance(error.code, int) else 1
    return CommandResult(code, out.getvalue(), err.getvalue())


def _refuse_serve(argv: Sequence[str]) -> None:
    try:
        flags = parse_argv(argv)
    except MmeframeError:
        # The command says so itself.
        return
    if flags.command == "serve" and not flags.help:
        hint = "Start it with subprocess: [sys.executable, '-m', 'mmeframe', 'serve', ...]."
        raise UsageError("serve becomes a server in place of this process.", where="mmeframe_cli", hint=hint)


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Hydra's own state, the arguments of the process, levels of logs and filters of warnings, restored at the end."""
    logger = logging.getLogger("mmeframe")
    argv, level, said = sys.argv, logger.level, os.environ.get(_LEVEL)
    hydra = _global_hydra()
    with warnings.catch_warnings():
        try:
            yield
        finally:
            sys.argv = argv
            logger.setLevel(level)
            if said is None:
                os.environ.pop(_LEVEL, None)
            if _global_hydra() is not hydra:
                sys.modules["hydra.core.global_hydra"].GlobalHydra.instance().hydra = hydra


def _global_hydra() -> Any:
    """Hydra as an application of the user's has it initialised, None where nobody has imported it."""
    module = sys.modules.get("hydra.core.global_hydra")
    return module.GlobalHydra.instance().hydra if module else None
