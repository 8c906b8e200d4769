"""The folder of this user's where things are kept that can be made again, and work folders that nobody has to clean.

Lowest layer: the standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmeframe.errors import MmeframeError

__all__ = ["cache_folder", "locked", "refused", "work_folder"]


def cache_folder() -> Path:
    """``MMEFRAME_CACHE_DIR``, else a folder of this user's in the temporary directory that nobody else can enter.

    Raises MmeframeError if that folder belongs to somebody else, or takes no files.
    """
    chosen = os.environ.get("MMEFRAME_CACHE_DIR")
    if chosen:
        path = Path(chosen).absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise refused(path, error) from error
        return path
    path = Path(tempfile.gettempdir()) / f"mmeframe-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise MmeframeError(
            "the cache folder is not a private folder of this user.",
            where=str(path),
            hint="Set MMEFRAME_CACHE_DIR to a folder that only this user can write.",
        )
    return path


@contextlib.contextmanager
def work_folder(kind: str = "work", prefix: str = "") -> Iterator[Path]:
    """A folder to fill, in ``kind`` of the cache folder; gone at the end. Those of processes that were killed go, too.

    Each is locked by who fills it, and the system unlocks what a process leaves, however it ends.
    prefix: where folders stay beside it, what those of work begin with. Raises MmeframeError if the cache folder
    takes no files.
    """
    home = cache_folder() / kind
    with contextlib.ExitStack() as held:
        try:
            home.mkdir(exist_ok=True)
            # The folder around it is locked until this one is.
            with locked(home, wait=True):
                for left in home.glob(f"{prefix}*"):
                    with contextlib.suppress(OSError), locked(left):
                        shutil.rmtree(left, ignore_errors=True)
                work = Path(tempfile.mkdtemp(prefix=prefix, dir=home)).resolve()
                held.callback(shutil.rmtree, work, ignore_errors=True)
                held.enter_context(locked(work))
        except OSError as error:
            raise refused(home, error) from error
        yield work


def refused(folder: Path, error: OSError) -> MmeframeError:
    """What to raise for a folder in the cache that cannot be written."""
    return MmeframeError(
        f"the cache folder takes no files: {error.strerror}.",
        where=str(folder),
        hint="Free space there, or set MMEFRAME_CACHE_DIR to another folder that this user can write.",
    )


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Nobody else has the folder while the block runs. Raises OSError if somebody has it, unless it shall wait."""
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        # A process that was forked meanwhile has the same lock, and would keep it if this only closed its own end.
        fcntl.flock(number, fcntl.LOCK_UN)
        os.close(number)
