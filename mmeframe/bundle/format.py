"""What both the writer and the reader of a bundle must agree on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "FORMAT",
    "MAGIC",
    "MANIFEST",
    "MEMORY",
    "PACK",
    "RECORDS",
    "FileRef",
    "SubModelRecord",
    "canonical_json",
    "manifest_digest",
    "write_manifest",
]

FORMAT = 1
MANIFEST, RECORDS, PACK, MEMORY = "manifest.json", "records.arrow", "pack.bin", "memory.bin"
MAGIC = b"MMEPACK\x01"


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
    ``arrays``: its loader can make it take arrays instead of frames; ``of``: the ids whose answers it combines, in
    which case it has no files and ``loader`` is its combiner. ``bytes``: of its files; ``memory``: that it takes live,
    with what the router keeps for it. ``python``: the minor version whose pickles it holds, empty for none.
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
    arrays: bool = False
    of: tuple[str, ...] = ()
    python: str = ""


def canonical_json(data: Any) -> bytes:
    """JSON that is the same for the same data: sorted keys, no spaces, UTF-8."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """The sha256 of a manifest without its own ``digest`` field."""
    return hashlib.sha256(canonical_json({k: v for k, v in manifest.items() if k != "digest"})).hexdigest()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Write a manifest with its digest, which is returned."""
    # What the file will say is what gets digested: tuples become lists here, not at the reader.
    plain = json.loads(canonical_json(manifest))
    plain["digest"] = manifest_digest(plain)
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return str(plain["digest"])
