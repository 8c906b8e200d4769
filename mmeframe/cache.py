"""The folder of this user's where things are kept that can be made again, and work folders that nobody has to clean.

Lowest layer: the standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mmeframe.errors import MmeframeError

__all__ = ["CONTENT", "cache_folder", "digests_in", "is_whole", "locked", "put", "refused", "seal", "work_folder"]


# Where in a sealed folder its content is, and the list of it.
CONTENT, _LISTING = "content", "listing.json"


def cache_folder() -> Path:
    """A folder of this user's that nobody else can enter, in ``MMEFRAME_CACHE_DIR``, else in the temporary directory.

    Anybody may be able to write into the folder around it. Raises MmeframeError if it belongs to somebody else, if
    others can enter it, or if it cannot be made.
    """
    around = Path(os.environ.get("MMEFRAME_CACHE_DIR") or tempfile.gettempdir()).absolute()
    path = around / f"mmeframe-{os.getuid()}"
    try:
        around.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        facts = path.lstat()
    except OSError as error:
        raise refused(around, error) from error
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise MmeframeError(
            "the cache folder is not a private folder of this user: somebody else may have filled it.",
            where=str(path),
            hint="Remove it; it is created again. Or set MMEFRAME_CACHE_DIR to another folder that this "
            "user can write.",
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


def digests_in(folder: Path) -> dict[str, bytes] | None:
    """The sha256 of every file in a folder, by path; None if there is none, or if anything in it is no regular file."""
    found: dict[str, bytes] = {}
    try:
        if folder.is_symlink():
            return None
        for home, folders, names in os.walk(folder, onerror=_raised):
            for name in names:
                path = os.path.join(home, name)
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    return None
                with open(path, "rb") as file:
                    found[os.path.relpath(path, folder)] = hashlib.file_digest(file, "sha256").digest()
            if any(os.path.islink(os.path.join(home, name)) for name in folders):
                return None
    except OSError:
        return None
    return found


def _raised(error: OSError) -> None:
    try:
        raise error
    finally:
        # The error has this frame: one that has the error, too, keeps what all its callers hold.
        del error


def seal(folder: Path) -> None:
    """Write down what ``CONTENT`` of a folder holds, so that ``is_whole`` can tell. Raises OSError."""
    found = digests_in(folder / CONTENT) or {}
    (folder / _LISTING).write_text(json.dumps({path: sha256.hex() for path, sha256 in found.items()}))


def is_whole(folder: Path) -> bool:
    """Whether a folder was sealed, and ``CONTENT`` of it holds exactly what it held then."""
    try:
        listed = {path: bytes.fromhex(sha256) for path, sha256 in json.loads((folder / _LISTING).read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return False
    return bool(listed) and digests_in(folder / CONTENT) == listed


def put(made: Path, target: Path, whole: Callable[[Path], bool]) -> None:
    """Move a folder to where all processes look for it, unless another one was faster: then what it made is whole, too.

    made: in a work folder beside the target, where what the target was goes, too. Raises OSError.
    """
    with locked(target.parent, wait=True):
        if whole(target):
            return
        with contextlib.suppress(FileNotFoundError):
            target.rename(made.with_name("was"))
        made.rename(target)


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
