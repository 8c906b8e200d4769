"""How MLflow, and through it the host, fetches what the source lists: ``fsspec://s3/bucket/a`` is ``s3://bucket/a``.

MLflow knows some schemes itself, and reads other variables for them than fsspec does. With a scheme of its own, what
was listed is fetched by the same library, with the same credentials.
"""

from __future__ import annotations

import posixpath
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories

__all__ = ["FsspecArtifactRepository", "register"]


def register() -> None:
    """Make the scheme known to MLflow in this process.

    Not by an entry point: a tracking server with this package installed would then fetch whatever its clients name.
    """
    get_registered_artifact_repositories()["fsspec"] = FsspecArtifactRepository  # type: ignore[assignment]


class FsspecArtifactRepository(ArtifactRepository):
    """Reads a folder of an fsspec file system; writes nothing."""

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system, and the folder in it."""
        import fsspec

        protocol, _, rest = self.artifact_uri.removeprefix("fsspec://").partition("/")
        files, root = fsspec.core.url_to_fs(f"{protocol}://{rest}")
        return files, root.rstrip("/")

    def _at(self, path: str | None) -> str:
        root = self._place[1]
        return f"{root}/{path}" if path else root

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        files, root = self._place
        home = self._at(path)
        found = files.ls(home, detail=True)
        return [
            FileInfo(info["name"].rstrip("/")[len(root) + 1 :], info["type"] == "directory", info.get("size"))
            for info in found
            # A file lists itself.
            if info["name"].rstrip("/") != home
        ]

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        files, _ = self._place
        home = self._at(artifact_path)
        target = Path(dst_path or tempfile.mkdtemp()).resolve()
        found = files.find(home)
        if not found:
            raise MlflowException.invalid_parameter_value(f"there is nothing at {self.artifact_uri}/{artifact_path}")
        for path in found:
            inner = posixpath.normpath(posixpath.join(artifact_path, path[len(home) :].lstrip("/")))
            local = target / inner
            if target not in local.resolve().parents:
                raise MlflowException.invalid_parameter_value(f"{path} would be written outside of its folder")
            local.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(path, str(local))
        return str(target / artifact_path)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        del local_file, artifact_path
        raise MlflowException.invalid_parameter_value(f"{self.artifact_uri} is only read")

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        self.log_artifact(local_dir, artifact_path)
