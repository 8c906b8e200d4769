"""The cache folder: the user's choice, or a private one that nobody else can enter."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path

import pytest

from mmeframe.cache import CONTENT, cache_folder, digests_in, is_whole, locked, put, seal
from mmeframe.errors import MmeframeError


@pytest.fixture(params=["chosen", "temporary"])
def around(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the cache folder of this user goes into, however that is named."""
    monkeypatch.delenv("MMEFRAME_CACHE_DIR", raising=False)
    if request.param == "chosen":
        monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "in" / "a"))
        return tmp_path / "in" / "a"
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.fixture
def private(around: Path) -> Path:
    """Where the cache folder goes; the folder around it is there."""
    around.mkdir(parents=True, exist_ok=True)
    return around / f"mmeframe-{os.getuid()}"


def test_an_empty_choice_is_none(tmp_path, monkeypatch):
    """A variable that is set to nothing is not a folder."""
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert cache_folder() == tmp_path / f"mmeframe-{os.getuid()}"


def test_the_cache_folder_is_private(around):
    """Nobody else can enter it, wherever it is; the folder around it is made, and the second call finds both again."""
    expected = around / f"mmeframe-{os.getuid()}"

    assert (cache_folder(), cache_folder(), oct(expected.stat().st_mode & 0o777)) == (expected, expected, "0o700")


def test_anybody_may_write_around_it(private):
    """As into a volume of a pod, whose folder belongs to root and is open to all."""
    private.parent.chmod(0o777)

    assert cache_folder() == private


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o777], ids=oct)
def test_a_cache_folder_that_others_can_enter(private, mode):
    """A folder that somebody else may have filled is not used."""
    private.mkdir()
    private.chmod(mode)

    with pytest.raises(MmeframeError) as caught:
        cache_folder()

    assert str(caught.value) == (
        f"{private}: the cache folder is not a private folder of this user: somebody else may have filled it.\n"
        "  Remove it; it is created again. Or set MMEFRAME_CACHE_DIR to another folder that this user can write."
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_cache_folder_of_somebody_else(private):
    """A folder with the right name and mode but another owner is not used."""
    private.mkdir(mode=0o700)
    os.chown(private, 65534, 65534)

    with pytest.raises(MmeframeError, match="not a private folder"):
        cache_folder()


def test_a_cache_folder_that_cannot_be_made(tmp_path, monkeypatch):
    """The folder that the variable names is told, with the system's reason and what to do."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "file"))

    with pytest.raises(MmeframeError) as caught:
        cache_folder()

    assert str(caught.value) == (
        f"{tmp_path / 'file'}: the cache folder takes no files: File exists.\n"
        "  Free space there, or set MMEFRAME_CACHE_DIR to another folder that this user can write."
    )


def link_to_a_folder(path: Path) -> None:
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


def plain_file(path: Path) -> None:
    path.write_text("x")


@pytest.mark.parametrize("make", [link_to_a_folder, link_to_nothing, plain_file])
def test_something_else_in_place_of_the_cache_folder(private, make):
    """A link that somebody laid, or a file, is refused with the path and the way out."""
    make(private)

    with pytest.raises(MmeframeError) as caught:
        cache_folder()

    assert (caught.value.where, "MMEFRAME_CACHE_DIR" in caught.value.hint) == (str(private), True)


# -- folders that are what they were -------------------------------------------------------------------------------


def filled(folder: Path) -> Path:
    (folder / "in" / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"1")
    (folder / "in" / "deep" / "b").write_bytes(b"")
    return folder


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_digests_of_a_folder(tmp_path):
    """Every file, at any depth."""
    assert digests_in(filled(tmp_path / "x")) == {"a": sha256(b"1"), "in/deep/b": sha256(b"")}


def beside(folder: Path) -> Path:
    """A folder with the same content beside it."""
    return filled(folder.with_name("elsewhere"))


def file_by_link(folder: Path) -> None:
    (folder / "a").unlink()
    (folder / "a").symlink_to(beside(folder) / "a")


def folder_by_link(folder: Path) -> None:
    shutil.rmtree(folder / "in")
    (folder / "in").symlink_to(beside(folder) / "in")


def all_by_link(folder: Path) -> None:
    elsewhere = beside(folder)
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)


def no_file(folder: Path) -> None:
    (folder / "a").unlink()
    os.mkfifo(folder / "a")


def hidden_link(folder: Path) -> None:
    (folder / ".more").symlink_to("nowhere")


@pytest.mark.parametrize("harm", [file_by_link, folder_by_link, all_by_link, no_file, hidden_link, shutil.rmtree])
def test_a_folder_with_something_else_in_it(tmp_path, harm):
    """Links, also to the same content, and what is no file: nobody may read through them. Nor is there a gone one."""
    harm(filled(tmp_path / "x"))

    assert digests_in(tmp_path / "x") is None


def sealed(folder: Path) -> Path:
    folder.mkdir()
    filled(folder / CONTENT)
    seal(folder)
    return folder


def changed(folder: Path) -> None:
    (folder / CONTENT / "a").write_bytes(b"2")


def cut(folder: Path) -> None:
    (folder / CONTENT / "a").write_bytes(b"")


def lost(folder: Path) -> None:
    (folder / CONTENT / "in" / "deep" / "b").unlink()


def more(folder: Path) -> None:
    (folder / CONTENT / "__pycache__").mkdir()
    (folder / CONTENT / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"")


def no_listing(folder: Path) -> None:
    (folder / "listing.json").unlink()


def cut_listing(folder: Path) -> None:
    (folder / "listing.json").write_text((folder / "listing.json").read_text()[:-9])


def other_listing(folder: Path) -> None:
    (folder / "listing.json").write_text("[1]")


def emptied(folder: Path) -> None:
    shutil.rmtree(folder / CONTENT)
    (folder / "listing.json").write_text("{}")


HARMS = [changed, cut, lost, more, no_listing, cut_listing, other_listing, emptied]


@pytest.mark.parametrize("harm", HARMS)
def test_a_sealed_folder(tmp_path, harm):
    """It is whole as long as it holds exactly what it held, and its list is there."""
    folder = sealed(tmp_path / "x")
    assert is_whole(folder)

    harm(folder)

    assert not is_whole(folder)


def test_what_is_damaged_is_replaced(tmp_path):
    """The new folder is where the old one was, which is moved away whole."""
    target, made = sealed(tmp_path / "x"), tmp_path / "work" / "new"
    changed(target)
    made.parent.mkdir()
    sealed(made)

    put(made, target, is_whole)

    assert (is_whole(target), (tmp_path / "work" / "was" / CONTENT / "a").read_bytes()) == (True, b"2")


def test_what_another_process_made_stays(tmp_path):
    """The first one wins: whoever uses it keeps its files."""
    target, made = sealed(tmp_path / "x"), tmp_path / "work" / "new"
    before = target.stat().st_ino
    made.parent.mkdir()
    sealed(made)

    put(made, target, is_whole)

    assert (target.stat().st_ino, is_whole(made)) == (before, True)


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


@pytest.mark.process
def test_a_lock_does_not_stay_with_a_child(tmp_path):
    """A process that was forked while a folder was locked outlives the block, and the folder is free all the same."""
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    child = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    try:
        with locked(tmp_path):
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_folder_that_is_not_there_keeps_no_caller_alive(tmp_path):
    """Its error is gone with the call, and so is what the callers held: no garbage collection is needed for that."""

    class Held:
        pass

    def look() -> weakref.ref[Held]:
        held = Held()
        assert digests_in(tmp_path / "nowhere") is None
        return weakref.ref(held)

    gc.disable()
    try:
        assert look()() is None
    finally:
        gc.enable()
