"""Real shells on a pseudo-terminal, to press TAB in."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Terminal", "bash", "zsh"]

# With its prompt a shell says that it reads keys: what is typed before would be shown twice.
_PROMPT = "ready> "
_PASTE = re.compile(r"\x1b\[\?2004[hl]")


def bash(folder: Path, environment: Mapping[str, str]) -> Terminal:
    """A bash that has sourced the script."""
    quiet = (
        "bind 'set bell-style none' 'set enable-bracketed-paste off' 'set show-all-if-ambiguous on' "
        "'set completion-query-items 0' 'set page-completions off' 'set colored-stats off'"
    )
    command = ["bash", "--norc", "--noprofile", "-i"]
    return Terminal(command, folder, environment, [quiet, 'eval "$(mmeframe completion bash)"'])


def zsh(folder: Path, environment: Mapping[str, str]) -> Terminal:
    """The same of zsh."""
    ready = "unset zle_bracketed_paste; bindkey -e; autoload -U compinit; compinit -u -D"
    return Terminal(["zsh", "-f", "-i"], folder, environment, [ready, 'eval "$(mmeframe completion zsh)"'])


class Terminal:
    """One interactive shell with the key bindings of Emacs."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], set_up: Sequence[str]
    ) -> None:
        self._master, slave = pty.openpty()
        # Wide, so that no line is wrapped.
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 500, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**environment, "TERM": "dumb", "PS1": _PROMPT, "HOME": str(folder)},
            start_new_session=True,
        )
        os.close(slave)
        self._shown()
        for line in set_up:
            self._type(f"{line}\r")

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def complete(self, line: str) -> list[str]:
        """The words of a line after TAB, as a command would get them."""
        shown = self._type(f"{line}\t\x01printf '<%s>\\n' \x05\r")
        return re.findall(r"^<(.*)>\r$", shown, re.MULTILINE)

    def offers(self, line: str) -> list[str]:
        """What TAB lists below a line that may go on in several ways."""
        shown = self._type(f"{line}\t\x01\x0b:\r")
        return shown.partition(line)[2].partition(_PROMPT)[0].split()

    def _type(self, keys: str) -> str:
        os.write(self._master, keys.encode())
        return self._shown()

    def _says_more(self, seconds: float) -> bool:
        # Not select(): it takes no file beyond the first 1,024 of a process.
        poll = select.poll()
        poll.register(self._master, select.POLLIN | select.POLLHUP)
        return bool(poll.poll(seconds * 1000))

    def _shown(self) -> str:
        """What comes until the shell waits for keys again."""
        shown, until = "", time.monotonic() + 60
        while not shown.endswith(_PROMPT) or self._says_more(0.05):
            if not self._says_more(max(0, until - time.monotonic())):
                raise TimeoutError(f"the shell says no more after:\n{shown}")
            shown = _PASTE.sub("", shown + os.read(self._master, 65536).decode())
        return shown
