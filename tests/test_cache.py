"""The cache folder: the user's choice, or a private one that nobody else can enter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mmeframe.cache import cache_folder, locked
from mmeframe.errors import MmeframeError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the private cache folder of this user goes, below a temporary directory of the test's own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.delenv("MMEFRAME_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp" / f"mmeframe-{os.getuid()}"


def test_the_chosen_cache_folder(tmp_path, monkeypatch):
    """MMEFRAME_CACHE_DIR is taken, and made if it is not there."""
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "a" / "b"))

    assert (cache_folder(), (tmp_path / "a" / "b").is_dir()) == (tmp_path / "a" / "b", True)


def test_an_empty_choice_is_none(temporary, monkeypatch):
    """A variable that is set to nothing is not a folder."""
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", "")

    assert cache_folder() == temporary


def test_the_default_cache_folder_is_private(temporary):
    """Nobody else can enter the default folder; the second call finds it again."""
    assert (cache_folder(), cache_folder(), oct(temporary.stat().st_mode & 0o777)) == (temporary, temporary, "0o700")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o777], ids=oct)
def test_a_cache_folder_that_others_can_enter(temporary, mode):
    """A folder that somebody else may have filled is not used."""
    temporary.mkdir()
    temporary.chmod(mode)

    with pytest.raises(MmeframeError) as caught:
        cache_folder()

    assert str(caught.value) == (
        f"{temporary}: the cache folder is not a private folder of this user.\n"
        "  Set MMEFRAME_CACHE_DIR to a folder that only this user can write."
    )


def test_a_cache_folder_of_somebody_else(temporary, monkeypatch):
    """A folder with the right name and mode but another owner is not used."""
    temporary.mkdir(mode=0o700)
    other = os.getuid() + 1
    temporary.rename(temporary.with_name(f"mmeframe-{other}"))
    monkeypatch.setattr(os, "getuid", lambda: other)

    with pytest.raises(MmeframeError, match="not a private folder"):
        cache_folder()


def link_to_a_folder(path: Path) -> None:
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


def plain_file(path: Path) -> None:
    path.write_text("x")


@pytest.mark.parametrize("make", [link_to_a_folder, link_to_nothing, plain_file])
def test_something_else_in_place_of_the_cache_folder(temporary, make):
    """A link that somebody laid, or a file, is refused with the path and the way out."""
    make(temporary)

    with pytest.raises(MmeframeError) as caught:
        cache_folder()

    assert (caught.value.where, "MMEFRAME_CACHE_DIR" in caught.value.hint) == (str(temporary), True)


FORKED = """
import os, signal, sys
from pathlib import Path
from mmeframe.cache import locked

with locked(Path(sys.argv[1])):
    if not (child := os.fork()):
        os.close(1)
        signal.pause()
print(child)
"""


def test_a_lock_does_not_stay_with_a_child(tmp_path):
    """A process that was forked while a folder was locked outlives the block, and the folder is free all the same."""
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    child = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    try:
        with locked(tmp_path):
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
