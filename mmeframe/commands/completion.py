"""``mmeframe completion``: the script that a shell sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmeframe.commandline import PlainCommand
from mmeframe.errors import UsageError, suggest

if TYPE_CHECKING:
    from mmeframe.commandline import Flags

__all__ = ["COMMAND"]


def _run(flags: Flags) -> int:
    from mmeframe.completion import SHELLS, script

    given = " ".join(flags.overrides)
    if given not in SHELLS:
        what = f"there is no shell {given!r}." if given else "name a shell."
        raise UsageError(what, where="completion", hint=suggest(given, SHELLS))
    print(script(given), end="")
    return 0


def _words(flags: Flags) -> Iterable[str]:
    from mmeframe.completion import SHELLS

    return () if flags.overrides else SHELLS


COMMAND = PlainCommand(
    name="completion",
    summary="a script that completes command lines in bash, zsh or fish",
    examples=(
        """eval "$(mmeframe completion bash)"            # in ~/.bashrc""",
        """eval "$(mmeframe completion zsh)"             # in ~/.zshrc, after compinit""",
        "mmeframe completion fish > ~/.config/fish/completions/mmeframe.fish",
    ),
    run=_run,
    words=_words,
)
