"""The files of sub-models, wherever they lie: read one by one, listed, or downloaded, the next few ahead."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mmeframe.cache import work_folder
from mmeframe.errors import BuildError, MissingError
from mmeframe.shipped import CODE
from mmeframe.store.reach import said

__all__ = ["ModelFile", "ModelFolder", "code_of", "fetched"]

# Sub-models that are downloaded at a time, ahead of the one that is worked on.
_DOWNLOADS = 8


@dataclass(frozen=True)
class ModelFolder:
    """A sub-model's files, wherever they are; downloaded when read."""

    location: str

    @cached_property
    def here(self) -> Path | None:
        """The folder itself where it is on this machine, else None."""
        if ":" not in self.location:
            return Path(self.location)
        parts = urlsplit(self.location)
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        return Path(self.location) if not parts.scheme else None

    @property
    def place(self) -> str:
        """Where a reader finds it: the whole path, or the address."""
        return self.location if self.here is None else str(self.here.absolute())

    def files(self, root: Path) -> list[str]:
        """Paths of all files in the folder, which is on this machine at ``root``. Raises what ``_files_in`` does."""
        return _files_in(root)

    @cached_property
    def _files_here(self) -> list[str]:
        assert self.here is not None  # noqa: S101 - only asked where it is
        return _files_in(self.here)

    def read(self, name: str) -> bytes | None:
        """One file, None if there is no such file. Raises BuildError for a link that leads out of the folder."""
        if self.here is not None:
            path = self.here / name
            return path.read_bytes() if path.is_file() and name in self._files_here else None
        import mlflow

        if name not in self._remote_names:
            return None
        with work_folder() as folder:
            uri = f"{self.location.rstrip('/')}/{name}"
            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder))).read_bytes()

    @cached_property
    def _remote_names(self) -> frozenset[str]:
        """What lies in the folder, listed once: a file that is not there is known from one that cannot be fetched."""
        import mlflow

        found = mlflow.artifacts.list_artifacts(artifact_uri=self.location)
        return frozenset(item.path.rsplit("/", 1)[-1] for item in found)

    def names(self) -> list[str]:
        """Paths of all files inside the folder; nothing is downloaded. Raises BuildError for a link that leads out."""
        if self.here is not None:
            return list(self._files_here)
        return list(_listed(self.location.rstrip("/")))

    @contextmanager
    def local(self) -> Iterator[Path]:
        """The whole folder on this machine, for as long as the block runs.

        Raises BuildError for a link that leads out of it: whoever loads the folder would follow that.
        """
        if self.here is not None:
            _files_in(self.here)
            yield self.here
            return
        import mlflow

        with work_folder() as folder:
            yield Path(mlflow.artifacts.download_artifacts(self.location, dst_path=str(folder)))


@dataclass(frozen=True)
class ModelFile(ModelFolder):
    """A bare estimator file, as the one file of a folder: ``name`` is what it is called there."""

    name: str

    def files(self, root: Path) -> list[str]:
        del root
        return [self.name]

    def names(self) -> list[str]:
        return [self.name]

    def read(self, name: str) -> bytes | None:
        if name != self.name:
            return None
        if self.here is not None:
            return self.here.read_bytes()
        with self.local() as folder:
            return (folder / name).read_bytes()

    @contextmanager
    def local(self) -> Iterator[Path]:
        """A folder that holds the file and nothing of what lies beside it."""
        with work_folder() as folder:
            path = folder / self.name
            if self.here is not None:
                path.symlink_to(self.here.absolute())
            else:
                import mlflow

                Path(mlflow.artifacts.download_artifacts(self.location, dst_path=str(folder))).rename(path)
            yield folder


def _files_in(root: Path) -> list[str]:
    """Paths of all files in a sub-model's folder, sorted; its links are followed as long as they stay inside.

    Raises BuildError for a link that leads out: a router would carry whatever its builder may read.
    """
    home = os.path.realpath(root)

    def walk(folder: str, linked: bool) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if link := entry.is_symlink():
                    leads = os.path.realpath(entry.path)
                    if os.path.commonpath([home, leads]) != home:
                        name = os.path.relpath(entry.path, root)
                        what = f"its link {name!r} leads out of its folder, to {leads}."
                        raise BuildError(what, hint="Put a copy of that into the folder.")
                if entry.is_dir():
                    # Below a link no other one is followed: they may lead in circles.
                    if not (linked and link):
                        yield from walk(entry.path, linked or link)
                elif entry.is_file():
                    yield os.path.relpath(entry.path, root)

    return sorted(walk(os.fspath(root), linked=False))


def code_of(folder: ModelFolder, root: Path) -> dict[str, bytes]:
    """What a model ships in its code folder, by the path in there, with its sha256. root: its own folder, here."""
    names = [name for name in folder.files(root) if name.startswith(CODE) and "__pycache__" not in name.split("/")]
    return {name[len(CODE) :]: hashlib.sha256((root / name).read_bytes()).digest() for name in names}


def fetched(folders: Sequence[tuple[str, ModelFolder]]) -> Generator[AbstractContextManager[Path]]:
    """Every folder in its turn, on this machine for as long as its block runs; the next few are downloaded meanwhile.

    folders: each with the config path of whose it is. A block begins with MissingError, which has that path, for a
    folder that cannot be downloaded. Close the generator where not all are asked for.
    """
    begun: dict[int, Future[tuple[ExitStack, Path]]] = {}
    ahead = 0
    pool = ThreadPoolExecutor(_DOWNLOADS, "mmeframe-download")
    try:
        for place in range(len(folders)):
            for number in range(ahead, min(place + _DOWNLOADS, len(folders))):
                if folders[number][1].here is None:
                    begun[number] = pool.submit(_fetch, folders[number][1])
                ahead = number + 1
            yield _opened(begun, place, *folders[place])
    finally:
        pool.shutdown(cancel_futures=True)
        for future in begun.values():
            if not future.cancelled() and future.exception() is None:
                future.result()[0].close()


@contextmanager
def _opened(
    begun: dict[int, Future[tuple[ExitStack, Path]]], place: int, where: str, folder: ModelFolder
) -> Iterator[Path]:
    try:
        held, root = begun.pop(place).result() if place in begun else _fetch(folder)
    except Exception as error:
        what = f"{folder.location} cannot be downloaded: {said(error)}"
        raise MissingError(what, where=where, hint="Check that it exists, and run the command again.") from error
    with held:
        yield root


def _fetch(folder: ModelFolder) -> tuple[ExitStack, Path]:
    held = ExitStack()
    return held, held.enter_context(folder.local())


def _listed(location: str, inside: str = "") -> Iterator[str]:
    """Paths of all files in a folder of an artifact store."""
    import mlflow

    for item in mlflow.artifacts.list_artifacts(artifact_uri=f"{location}/{inside}".rstrip("/")):
        name = item.path.rsplit("/", 1)[-1]
        path = f"{inside}/{name}" if inside else name
        if item.is_dir:
            yield from _listed(location, path)
        else:
            yield path
