"""Write a bundle folder; deterministic: equal content gives equal bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mmeframe.bundle.format import MAGIC, MEMORY, PACK, RECORDS, SubModelRecord, canonical_json
from mmeframe.bundle.manifest import Manifest, PackFacts, StoredArray
from mmeframe.errors import BuildError
from mmeframe.route.table import table_arrays

__all__ = ["BundleWriter"]


class BundleWriter:
    """Fill ``folder`` with the four files. Add blobs first, then call ``finish`` once.

    Use as a context manager, so that the pack is closed when a build fails half-way. Raises BuildError where the disk
    is full, or does not take the files for another reason.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._pack = (folder / PACK).open("wb")
        self._pack.write(MAGIC)
        self._blobs: dict[bytes, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):
            # What could not be written is told already.
            self._pack.close()

    def add(self, data: bytes | memoryview) -> bytes:
        """Store bytes once, whoever asks; returns their sha256 (32 bytes), which is their address."""
        digest = hashlib.sha256(data).digest()
        if digest not in self._blobs:
            with self._writing():
                self._blobs[digest] = (self._pack.tell(), len(data))
                self._pack.write(data)
        return digest

    def flush(self) -> None:
        """Hand what was added over to the system, so that it outlives this process."""
        with self._writing():
            self._pack.flush()

    def place(self, sha256: bytes) -> tuple[int, int]:
        """Where the bytes with this digest lie in the pack: their start and their number."""
        return self._blobs[sha256]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BuildError(
                f"the bundle cannot be written: {error.strerror}.",
                where=str(self.folder),
                hint="Free space there, or set MMEFRAME_CACHE_DIR to a folder on another disk.",
            ) from error

    def finish(self, manifest: Manifest, records: Iterable[SubModelRecord]) -> str:
        """Write the route table, the index, the records and the manifest; returns the bundle's digest.

        manifest: what it says of the fleet; what is counted and stored here is added. records: one per sub-model,
        sorted by id here. Raises ValueError for a key whose parts are those of no level.
        """
        rows = sorted(records, key=lambda record: record.id)
        routing = manifest.routing
        parts = [part.name for part in routing.parts]
        routes = self._add_routes(parts, routing.levels, rows)
        with self._writing():
            pack = self._finish_pack()
            digest = self._write_records(parts, rows)
            self._write_memory(rows)
            size = sum(record.bytes for record in rows)
            whole = replace(manifest, routes=routes, records=digest, pack=pack, sub_models=len(rows), bytes=size)
            return whole.write(self.folder)

    def _add_routes(
        self, parts: Sequence[str], levels: Sequence[Sequence[str]], rows: Sequence[SubModelRecord]
    ) -> dict[str, StoredArray]:
        """Store the arrays of the route table; returns the type and the digest of each."""
        numbers = [number for number, row in enumerate(rows) if row.routed]
        keys = {part: [rows[number].key.get(part) for number in numbers] for part in parts}
        arrays = table_arrays(parts, levels, keys, numbers, [rows[number].arm for number in numbers])
        # Bytes in one order on every machine.
        little = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}
        return {name: StoredArray(array.dtype.str, self.add(array.tobytes()).hex()) for name, array in little.items()}

    def _finish_pack(self) -> PackFacts:
        start = self._pack.tell()
        digests = sorted(self._blobs)
        places = [self._blobs[digest] for digest in digests]
        index = b"".join(
            [
                b"".join(digests),
                np.array([offset for offset, _ in places], "<u8").tobytes(),
                np.array([length for _, length in places], "<u8").tobytes(),
            ]
        )
        self._pack.write(index)
        size = self._pack.tell()
        self._pack.close()
        return PackFacts(len(digests), size, start, hashlib.sha256(index).hexdigest())

    def _write_memory(self, rows: Sequence[SubModelRecord]) -> None:
        """What was measured, one number for each record, and their sha256: no other digest covers them."""
        data = np.array([row.memory for row in rows], "<i8").tobytes()
        (self.folder / MEMORY).write_bytes(data + hashlib.sha256(data).digest())

    def _write_records(self, parts: Sequence[str], rows: Sequence[SubModelRecord]) -> str:
        import pyarrow as pa

        text = pa.string()
        columns: dict[str, Any] = {
            "id": pa.array([row.id for row in rows], text),
            "uri": pa.array([row.uri for row in rows], text),
            "name": pa.array([row.name for row in rows], text),
            "version": pa.array([row.version for row in rows], text),
            "model_id": pa.array([row.model_id for row in rows], text),
            "arm": pa.array([row.arm for row in rows], text).dictionary_encode(),
            "flavor": pa.array([row.flavor for row in rows], text).dictionary_encode(),
            "python": pa.array([row.python for row in rows], text).dictionary_encode(),
            "form": pa.array([row.form for row in rows], text).dictionary_encode(),
            "flavor_options": pa.array(
                [canonical_json(dict(row.flavor_options)).decode() for row in rows], text
            ).dictionary_encode(),
            "bytes": pa.array([row.bytes for row in rows], pa.int64()),
        }
        for number in ("loader", "inputs", "outputs", "requirements"):
            columns[number] = pa.array([getattr(row, number) for row in rows], pa.int32())
        columns["routed"] = pa.array([row.routed for row in rows], pa.bool_())
        columns["of"] = pa.array([list(row.of) for row in rows], pa.list_(text))
        for part in parts:
            columns[f"key:{part}"] = pa.array([row.key.get(part) for row in rows], text)
        columns["files"] = pa.array(
            [[{"path": file.path, "sha256": file.sha256} for file in row.files] for row in rows],
            pa.list_(pa.struct([("path", text), ("sha256", pa.binary(32))])),
        )
        table = pa.table(columns)
        path = self.folder / RECORDS
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return hashlib.sha256(path.read_bytes()).hexdigest()
