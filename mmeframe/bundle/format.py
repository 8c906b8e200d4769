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
class SubModelRecord:
    """Everything that the runtime knows about one sub-model without opening its bytes.

    ``loader``, ``inputs``, ``outputs`` and ``requirements`` are numbers into lists of the manifest, where equal ones
    are stored once. ``flavor_options`` is the flavor's section of the MLmodel file. ``routed``: a key reaches it;
    ``form``: of its rows, FRAME or ARRAY, which its loader can make it take; ``of``: the ids whose answers it combines,
    in which case it has no files and ``loader`` is its combiner. ``bytes``: of its files; ``memory``: that it takes
    live, with what the router keeps for it. ``python``: the minor version whose pickles it holds, empty for none.
    """

    id: str
    uri: str
    name: str | None
    version: str | None
    model_id: str | None
    arm: str
    key: Mapping[str, str]
    flavor: str
    flavor_options: Mapping[str, Any]
    loader: int
    inputs: int
    outputs: int
    requirements: int
    bytes: int
    memory: int
    files: tuple[FileRef, ...] = field(default=())
    routed: bool = True
    form: str = FRAME
    of: tuple[str, ...] = ()
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
