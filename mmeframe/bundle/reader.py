"""Open a bundle folder, verify it, and hand out records and bytes."""

from __future__ import annotations

import bisect
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from mmeframe.bundle.format import MAGIC, MEMORY, PACK, RECORDS, FileRef, SubModelRecord, file_of
from mmeframe.bundle.manifest import Manifest
from mmeframe.errors import CorruptBundleError
from mmeframe.route.table import RouteTable

__all__ = ["Bundle"]

_FIELDS = tuple(field.name for field in fields(SubModelRecord))


class Bundle:
    """A bundle on disk, read-only; safe to share between threads and processes.

    What was verified is what is used: nothing is mapped, so whoever changes or cuts a file later changes no answer, and
    ends no process.

    expect: a digest from elsewhere that the bundle must have.
    Raises CorruptBundleError naming the file and both digests, MissingError for a missing file, MmeframeError
    for a format this version does not know.
    """

    def __init__(self, folder: str | Path, expect: str | None = None) -> None:
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder, expect)
        self.digest = self.manifest.digest
        self._records = self._open_records()
        # A cell of an array takes a third of the time that one of a table's column takes.
        self._columns = {name: _whole(self._records[name]) for name in self._records.column_names}
        self._ids = self._columns["id"]
        self._parts = [name for name in self._records.column_names if name.startswith("key:")]
        self._open_pack()

    def _open_records(self) -> Any:
        import pyarrow as pa

        path = file_of(self.folder, RECORDS)
        raw, expected = path.read_bytes(), self.manifest.records
        actual = hashlib.sha256(raw).hexdigest()
        if actual != expected:
            raise CorruptBundleError(str(path), expected, actual)
        table = pa.ipc.open_file(pa.py_buffer(raw)).read_all()
        return table.append_column("memory", pa.array(self._read_memory(len(table))))

    def _read_memory(self, count: int) -> Any:
        path = file_of(self.folder, MEMORY)
        raw = path.read_bytes()
        data, expected = raw[: 8 * count], raw[8 * count :].hex()
        actual = hashlib.sha256(data).hexdigest()
        if actual != expected:
            raise CorruptBundleError(str(path), expected, actual)
        return np.frombuffer(data, "<i8")

    def _open_pack(self) -> None:
        path, facts = file_of(self.folder, PACK), self.manifest.pack
        self._file = path.open("rb")
        size = os.fstat(self._file.fileno()).st_size
        start, count = facts.index_offset, facts.blobs
        index = self._read(start, max(size - start, 0))
        actual = hashlib.sha256(index).hexdigest()
        if actual != facts.index_sha256:
            raise CorruptBundleError(str(path), facts.index_sha256, actual, "its index does not match")
        if (head := self._read(0, len(MAGIC))) != MAGIC:
            wanted, found = (hashlib.sha256(part).hexdigest() for part in (MAGIC, head))
            raise CorruptBundleError(str(path), wanted, found, "its first bytes are not a pack's")
        self._digests = np.frombuffer(index, np.uint8, count * 32).reshape(count, 32)
        self._heads = np.ascontiguousarray(self._digests[:, :8]).view(">u8").ravel().astype(np.uint64)
        places = np.frombuffer(index, "<u8", count * 2, count * 32)
        self._offsets, self._lengths = places[:count], places[count:]

    def _read(self, start: int, length: int) -> bytes:
        """Bytes of the pack, fewer where it ends before. One call of the system reads 2 GiB at most."""
        pieces = []
        while length and (piece := os.pread(self._file.fileno(), length, start)):
            pieces.append(piece)
            start, length = start + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[SubModelRecord]:
        """All records. Whole columns at a time: twenty times faster than one record after another."""
        names = self._records.column_names
        return (self._made(dict(zip(names, row, strict=True))) for row in zip(*map(self.column, names), strict=True))

    def __getitem__(self, position: int) -> SubModelRecord:
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self.record(position)

    def id(self, position: int) -> str:
        """The id of one sub-model."""
        return str(self._ids[position].as_py())

    def column(self, name: str) -> list[Any]:
        """One field of all records, in their order."""
        found: list[Any] = self._records[name].to_pylist()
        return found

    def array(self, name: str) -> Any:
        """One field of all records that is a number or a flag. Numbers are not copied."""
        return self._columns[name].to_numpy(zero_copy_only=False)

    def coded(self, name: str) -> tuple[Any, list[str]]:
        """One field of all records that is a text with few values: numbers of these, not copied, and the values."""
        column = self._columns[name]
        return column.indices.to_numpy(), column.dictionary.to_pylist()

    def texts(self, name: str, positions: Any) -> Any:
        """One field that is a text, of the records at these places: an array of objects."""
        return self._records[name].take(positions).to_numpy()

    def arms(self) -> list[str]:
        """Names of all arms that sub-models with a key are of, sorted."""
        found: list[str] = self._records["arm"].filter(self._records["routed"]).unique().to_pylist()
        return sorted(found)

    def pickled(self, besides: str = "") -> dict[str, str]:
        """Ids of the sub-models that hold pickles -> the minor version of Python that wrote them.

        besides: a version that is left out, so that a router opens in the same time for any number of sub-models.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        found = self._records.select(["id", "python"])
        found = found.filter(pc.invert(pc.is_in(found["python"], pa.array(["", besides]))))
        return dict(zip(*(found[name].to_pylist() for name in ("id", "python")), strict=True))

    def combined(self) -> dict[int, list[str]]:
        """The sub-models that combine others, by number, with the ids of those."""
        import pyarrow.compute as pc

        of = self._records["of"]
        numbers = np.flatnonzero(pc.list_value_length(of).to_numpy())
        return {int(number): of[int(number)].as_py() for number in numbers}

    def routes(self) -> RouteTable:
        """The route table. It is read where it lies, so that opening costs the same for any number of sub-models."""
        arrays = {
            name: np.frombuffer(self.blob(bytes.fromhex(stored.sha256)), stored.type)
            for name, stored in self.manifest.routes.items()
        }
        routing = self.manifest.routing
        return RouteTable([part.name for part in routing.parts], routing.levels, arrays)

    def position(self, model_id: str) -> int | None:
        """The number of a sub-model, None if the fleet has no such id. O(log n), no dictionary."""
        at = bisect.bisect_left(range(len(self)), model_id, key=lambda i: str(self._ids[i].as_py()))
        return at if at < len(self) and self._ids[at].as_py() == model_id else None

    def record(self, position: int) -> SubModelRecord:
        """One record. Records are in the order of their ids."""
        return self._made({name: column[position].as_py() for name, column in self._columns.items()})

    def _made(self, row: dict[str, Any]) -> SubModelRecord:
        key = {name[4:]: row[name] for name in self._parts if row[name] is not None}
        files = tuple(FileRef(file["path"], file["sha256"]) for file in row["files"])
        row |= {"key": key, "files": files, "of": tuple(row["of"]), "flavor_options": json.loads(row["flavor_options"])}
        return SubModelRecord(**{name: row[name] for name in _FIELDS})

    def blob(self, sha256: bytes) -> memoryview:
        """The bytes with this digest, verified.

        Raises CorruptBundleError if they are not there or were changed.
        """
        head = np.uint64(int.from_bytes(sha256[:8], "big"))
        at = int(np.searchsorted(self._heads, head))
        while at < len(self._heads) and self._heads[at] == head and self._digests[at].tobytes() != sha256:
            at += 1
        if at == len(self._heads) or self._digests[at].tobytes() != sha256:
            raise CorruptBundleError(str(self.folder / PACK), sha256.hex(), "(nothing)", "it lacks a blob")
        data = self._read(int(self._offsets[at]), int(self._lengths[at]))
        actual = hashlib.sha256(data).digest()
        if actual != sha256:
            raise CorruptBundleError(str(self.folder / PACK), sha256.hex(), actual.hex())
        return memoryview(data)

    def verify(self) -> None:
        """Read every byte. Raises CorruptBundleError if any was changed."""
        for digest in self._digests:
            self.blob(digest.tobytes())

    def component_files(self, name: str) -> Mapping[str, memoryview]:
        """What a component's ``prepare`` returned at build, e.g. for ``routing.keys.site``."""
        files = self.manifest.components.get(name, {})
        return {path: self.blob(bytes.fromhex(digest)) for path, digest in files.items()}


def _whole(column: Any) -> Any:
    """A column as one array; to combine what is one already would copy it."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
