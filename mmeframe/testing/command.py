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
from pathlib import Path
from typing import Any, NoReturn

from mmeframe.cli import main
from mmeframe.environ import variables
from mmeframe.errors import UsageError

__all__ = ["CommandResult", "run_command"]

_LEVEL, _DIRS = "MLFLOW_LOGGING_LEVEL", "MMEFRAME_CONFIG_DIR"


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


def run_command(argv: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> CommandResult:
    """What ``mmeframe`` does with these words. ``serve`` does all but serve: that would replace this process.

    config_dirs: folders of configs, after those that the words and the environment name.
    """
    out, err = io.StringIO(), io.StringIO()
    with _as_it_was(config_dirs), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([*argv])
        except SystemExit as error:
            # Hydra ends the process of its own flags.
            code = error.code if isinstance(error.code, int) else 1
    return CommandResult(code, out.getvalue(), err.getvalue())


def _no_server(*_: Any) -> NoReturn:
    hint = "Start it with subprocess: [sys.executable, '-m', 'mmeframe', 'serve', ...]."
    raise UsageError("it becomes a server in place of this process, which runs tests.", where="serve", hint=hint)


@contextlib.contextmanager
def _as_it_was(config_dirs: Sequence[str | Path]) -> Iterator[None]:
    """What a command changes, restored at the end: Hydra's state, arguments and path, levels of logs, warnings."""
    logger = logging.getLogger("mmeframe")
    argv, path, level, execve, hydra = sys.argv, list(sys.path), logger.level, os.execve, _global_hydra()
    dirs = os.pathsep.join(filter(None, [os.environ.get(_DIRS), *map(str, config_dirs)]))
    with warnings.catch_warnings(), variables({_DIRS: dirs, _LEVEL: os.environ.get(_LEVEL)}):
        os.execve = _no_server  # type: ignore[assignment]
        try:
            yield
        finally:
            os.execve = execve
            sys.argv, sys.path[:] = argv, path
            logger.setLevel(level)
            if _global_hydra() is not hydra:
                sys.modules["hydra.core.global_hydra"].GlobalHydra.instance().hydra = hydra


def _global_hydra() -> Any:
    """Hydra as an application of the user's has it initialised, None where nobody has imported it."""
    module = sys.modules.get("hydra.core.global_hydra")
    return module.GlobalHydra.instance().hydra if module else None
