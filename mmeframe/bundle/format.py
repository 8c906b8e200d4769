"""What both the writer and the reader of a bundle must agree on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmeframe.errors import MissingError

__all__ = [
    "ARRAY",
    "FORMAT",
    "FRAME",
    "MAGIC",
    "MANIFEST",
    "MEMORY",
    "PACK",
    "RECORDS",
    "FileRef",
    "SubModelFacts",
    "SubModelRecord",
    "canonical_json",
    "file_of",
]

FORMAT = 1
MANIFEST, RECORDS, PACK, MEMORY = "manifest.json", "records.arrow", "pack.bin", "memory.bin"
MAGIC = b"MMEPACK\x01"
# Forms of sub-models: they take frames, or arrays of doubles.
FRAME, ARRAY = "frame", "array"


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file of a sub-model: its path inside the model folder, and the sha256 of its bytes (32 bytes)."""

    path: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class SubModelFacts:
    """What is told of a sub-model, before a build and of a logged router.

    routed: a key reaches it. of: the ids whose answers it combines, in which case it has no files.
    """

    id: str
    uri: str
    name: str | None
    version: str | None
    model_id: str | None
    arm: str
    key: Mapping[str, str]
    flavor: str
    routed: bool = field(default=True, kw_only=True)
    of: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def declared_key(self) -> dict[str, str] | None:
        """Its key, None where no key reaches it."""
        return dict(self.key) if self.routed else None

    @property
    def is_file(self) -> bool:
        """Whether it is known by its files alone, and by nothing of a store."""
        return not (self.of or self.version or self.model_id)

    def to_json(self, loader: str) -> dict[str, Any]:
        """loader: the kind of its loader, or of its combiner."""
        found = {name: getattr(self, name) for name in ("id", "arm", "uri", "version", "model_id", "flavor")}
        key = {"id": found.pop("id"), "key": self.declared_key}
        return {**key, **found, "loader": loader, "of": list(self.of)}


@dataclass(frozen=True, slots=True)
class SubModelRecord(SubModelFacts):
    """Everything that the runtime knows about one sub-model without opening its bytes.

    ``loader``, ``inputs``, ``outputs`` and ``requirements`` are numbers into lists of the manifest, where equal ones
    are stored once; ``loader`` is the combiner of one that combines others. ``flavor_options`` is the flavor's section
    of the MLmodel file. ``form``: of its rows, FRAME or ARRAY, which its loader can make it take. ``bytes``: of its
    files; ``memory``: that it takes live, with what the router keeps for it. ``python``: the minor version whose
    pickles it holds, empty for none.
    """

    flavor_options: Mapping[str, Any]
    loader: int
    inputs: int
    outputs: int
    requirements: int
    bytes: int
    memory: int
    files: tuple[FileRef, ...] = field(default=())
    form: str = FRAME
    python: str = ""


def canonical_json(data: Any) -> bytes:
    """JSON that is the same for the same data: sorted keys, no spaces, UTF-8."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def file_of(folder: Path, name: str) -> Path:
    """One of the files of a bundle. Raises MissingError if it is not there."""
    path = folder / name
    if not path.is_file():
        what = f"the bundle has no {name}."
        raise MissingError(what, where=str(path), hint="Download the model again, or rebuild it.")
    return path
