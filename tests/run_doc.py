"""Run the code blocks of a document in order, in the working directory: ``python run_doc.py FILE``.

Python blocks share one namespace; a block that begins with a comment naming a file (``# name.py``, ``# conf/x.yaml``)
is written to that file. Lines of bash blocks that are plain mmeframe commands run in this process, the rest in bash.
``text`` blocks are for reading, and so is a block marked ``notest``; those marked ``tutorial`` need an environment of
their own, and run in ``tests/test_scaffold.py``; ``text output`` is what the bash block before it
prints, ``...`` standing for anything.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"# (?P<name>[\w./-]+\.(?:py|ya?ml|toml|csv|txt))$")
# A command that is run in this process: variables, mmeframe's words, and what is done with its exit code.
_PLAIN = re.compile(
    r"(?:export (?P<exported>(?:[A-Z_]+=\S+ *)+)"
    r"|(?P<variables>(?:[A-Z_]+=\S+ +)*)(?P<command>mmeframe (?!serve)(?:(?! [|&>]).)*?)"
    r"(?P<merged> 2>&1)?(?P<told> \|\| echo \"exit code \$\?\")?)"
)
_KNOWN = {"python", "bash", "yaml", "text", "toml"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the other words of its info string, and where it begins."""

    language: str
    words: tuple[str, ...]
    body: str
    line: int


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document."""
    text = document.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        found.append(Block(language, tuple(words), match["body"], text.count("\n", 0, match.start()) + 1))
    return found


def run(document: Path) -> None:
    """Run every block; raises with the place of the first that fails."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    said = ""
    for block in blocks(document):
        place = f"{document.name}:{block.line}"
        if block.language not in _KNOWN:
            raise AssertionError(f"{place}: unknown block language {block.language!r}")
        if "output" in block.words and not _matches(block.body, said):
            raise AssertionError(f"{place}: this is not what was printed:\n{said}")
        if {"notest", "tutorial"} & set(block.words) or block.language == "text":
            continue
        try:
            said = _run_block(block, namespace)
        except BaseException as error:
            raise AssertionError(f"{place}: {type(error).__name__}: {error}") from error


def _matches(expected: str, said: str) -> bool:
    pattern = ".*?".join(re.escape(piece) for piece in expected.strip().split("..."))
    return re.search(pattern, said, re.DOTALL) is not None


def file_of(block: Block) -> Path | None:
    """The file that a block is to be written to."""
    named = _NAMED.match(block.body.splitlines()[0])
    return Path(named["name"]) if named else None


def _run_block(block: Block, namespace: dict[str, object]) -> str:
    """Run one block; returns what it printed, if it is a command."""
    if path := file_of(block):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.body, encoding="utf-8")
    elif block.language == "python":
        exec(compile(block.body, "<block>", "exec"), namespace)
    elif block.language == "yaml":
        import yaml

        yaml.safe_load(block.body)
    elif block.language == "bash":
        return _run_bash(block.body)
    return ""


def _run_bash(body: str) -> str:
    lines = body.replace("\\\n", "").splitlines()
    if all(map(_is_plain, lines)):
        said = io.StringIO()
        # Variables that a line exports are there until the block ends.
        with mock.patch.dict(os.environ), contextlib.redirect_stdout(said):
            for line in lines:
                _run_plain(line)
        return said.getvalue()
    # The reader has the port that the text names; a test takes one that is free.
    for port in dict.fromkeys(re.findall(r"serve\.port=(\d+)", body)):
        body = body.replace(port, str(_free_port()))
    return _bash(body)


def _bash(script: str) -> str:
    environment = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; set -euo pipefail\n"
    ran = subprocess.run(["bash", "-c", environment + script], check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_plain(line: str) -> bool:
    simple = line.startswith(("#", "make ", "printf ", "cut ")) and "<<" not in line
    return not line.strip() or simple or _PLAIN.fullmatch(line) is not None


def _run_plain(line: str) -> None:
    plain = _PLAIN.fullmatch(line)
    if plain is None:
        if line.startswith("make "):
            # The targets exist and their recipes hold together; what they run is tested as it is.
            subprocess.run(
                ["make", "-C", str(ROOT), "-n", *shlex.split(line, comments=True)[1:]], check=True, capture_output=True
            )
        else:
            print(_bash(line), end="")
        return
    variables = dict(word.split("=", 1) for word in shlex.split(plain["exported"] or plain["variables"]))
    if plain["exported"]:
        os.environ.update(variables)
        return
    from mmeframe.cli import main

    errors = contextlib.redirect_stderr(sys.stdout) if plain["merged"] else contextlib.nullcontext()
    with mock.patch.dict(os.environ, variables), errors:
        code = main(shlex.split(plain["command"], comments=True)[1:])
    if code and plain["told"]:
        print(f"exit code {code}")
    elif code:
        raise AssertionError(f"exit code {code}: {line}")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
