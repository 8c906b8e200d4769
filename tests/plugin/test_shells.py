"""TAB in real shells, with a strategy of a distribution that is really installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmeframe
from tests import terminals
from tests.causes import causes
from tests.plugin.conftest import Install
from tests.plugin.geohash import GEOHASH
from tests.terminals import Terminal, zsh


@pytest.fixture(scope="module")
@causes("process")
def surroundings(install: Install, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with files, and an environment in which ``mmeframe`` is a command that finds the distribution."""
    folder = tmp_path_factory.mktemp("terminal")
    for name in ("rows.csv", "two words.csv"):
        (folder / name).touch()
    (folder / "bin").mkdir()
    command = folder / "bin" / "mmeframe"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mmeframe "$@"\n')
    command.chmod(0o755)
    paths = [str(Path(mmeframe.__file__).parents[1]), str(install(GEOHASH))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MMEFRAME_", "BASH_"))}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    return folder, environment


@pytest.fixture(scope="module")
def bash(surroundings: tuple[Path, dict[str, str]]) -> Iterator[Terminal]:
    """A bash that has sourced the script."""
    shell = terminals.bash(*surroundings)
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        pytest.param("mmeframe bui", ["build"], id="command"),
        pytest.param("mmeframe predict --da", ["predict", "--data"], id="flag"),
        pytest.param("mmeframe predict --data ro", ["predict", "--data", "rows.csv"], id="file"),
        pytest.param("mmeframe predict data=tw", ["predict", "data=two words.csv"], id="file-with-a-space"),
        pytest.param("mmeframe predict --data 'tw", ["predict", "--data", "two words.csv"], id="file-in-quotes"),
        pytest.param("mmeframe build routing=geo", ["build", "routing=geohash"], id="kind-of-the-distribution"),
        pytest.param("mmeframe build routing=ci", ["build", "routing=city"], id="its-preset"),
        pytest.param("mmeframe build 'routing=geo", ["build", "routing=geohash"], id="in-quotes"),
        pytest.param("mmeframe build -m routing=column,geo", ["build", "-m", "routing=column,geohash"], id="sweep"),
        pytest.param(
            "mmeframe build routing=geohash routing.pre",
            ["build", "routing=geohash", "routing.precision="],
            id="its-option",
        ),
        pytest.param(
            "mmeframe build routing=city routing.pre", ["build", "routing=city", "routing.precision="], id="of-a-preset"
        ),
        pytest.param(
            "mmeframe build routing=town routing.box.", ["build", "routing=town", "routing.box.north="], id="nested"
        ),
        pytest.param(
            "mmeframe build routing=geohash routing.letters=up",
            ["build", "routing=geohash", "routing.letters=upper"],
            id="its-value",
        ),
        pytest.param("mmeframe build +observer@", ["build", "+observer@observers."], id="plus-and-at"),
        pytest.param("mmeframe build +routing@rou", ["build", "+routing@routing.keys."], id="after-at"),
        pytest.param(
            "mmeframe build +source@sources.x=buc", ["build", "+source@sources.x=bucket"], id="source-of-a-name"
        ),
        pytest.param("mmeframe build serve.po", ["build", "serve.port="], id="option-waits-for-its-value"),
        pytest.param("mmeframe build -p no:mmeframe-geo", ["build", "-p", "no:mmeframe-geohash"], id="colon"),
        pytest.param("mmeframe plugins show geo", ["plugins", "show", "geohash"], id="plugins-show"),
    ],
)
def test_tab_in_bash(bash, typed, completed):
    """One TAB completes the word that is typed; what bash reads is a word that mmeframe understands."""
    assert bash.complete(typed) == ["mmeframe", *completed]


def test_what_may_go_on_in_several_ways_is_listed(bash):
    """bash shows the choices, as it does for any command."""
    found = bash.offers("mmeframe build routing=geohash routing.")

    assert {"routing.precision=", "routing.column=", "routing.keys.", "routing.box."} <= set(found)


def test_not_the_first_command_of_a_line(bash):
    """What stands before it is none of its words."""
    assert bash.offers("true && X=1 mmeframe predict --da; mmeframe plugins show me") == ["mean", "median"]


def test_no_space_follows_what_goes_on(bash):
    """After an equals sign or a dot the next key belongs to the same word; after a whole word it does not."""
    assert bash.complete("mmeframe build serve.po\t80") == ["mmeframe", "build", "serve.port=80"]
    assert bash.complete("mmeframe bui\tx") == ["mmeframe", "build", "x"]


def test_a_path_to_the_command(bash, surroundings):
    """The mmeframe that is typed is the one that is asked."""
    assert bash.complete("bin/mmeframe bui") == ["bin/mmeframe", "build"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("shell", "check"),
    [
        pytest.param("bash", ["bash", "-n"], id="bash"),
        pytest.param("zsh", ["zsh", "-n"], id="zsh"),
        pytest.param("fish", ["fish", "--no-execute"], id="fish"),
    ],
)
def test_a_script_is_read_by_its_shell(surroundings, shell, check):
    """The shell itself finds no mistake in its script."""
    folder, environment = surroundings
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here; tests/completion looks at the text of its script")
    text = subprocess.run(
        ["mmeframe", "completion", shell], env=environment, cwd=folder, check=True, capture_output=True, text=True
    )

    done = subprocess.run([*check], input=text.stdout, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed here; its script's text is looked at")
def test_tab_in_zsh(surroundings):
    """zsh completes whole words, and puts a space only after what is finished."""
    shell = zsh(*surroundings)

    assert shell.complete("mmeframe build routing=geo") == ["mmeframe", "build", "routing=geohash"]
    assert shell.complete("mmeframe build +observer@") == ["mmeframe", "build", "+observer@observers."]
    assert shell.complete("mmeframe build serve.po\t80") == ["mmeframe", "build", "serve.port=80"]
    assert shell.complete("mmeframe bui\tx") == ["mmeframe", "build", "x"]
    assert shell.complete("mmeframe predict --data tw") == ["mmeframe", "predict", "--data", "two words.csv"]
    shell.close()


@pytest.mark.process
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed here; its script's text is looked at")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [("mmeframe build routing=geo", "routing=geohash"), ("mmeframe bui", "build"), ("mmeframe ", "plugins")],
)
def test_tab_in_fish(surroundings, typed, offered):
    """fish asks for whole words, the last one maybe empty."""
    folder, environment = surroundings
    line = f"mmeframe completion fish | source; complete -C '{typed}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", line], env=environment, cwd=folder, capture_output=True, text=True
    )

    assert offered in done.stdout.split()
