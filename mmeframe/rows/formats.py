"""Formats of tables by the ending of a file's name, for whoever reads or writes one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from mmeframe.errors import UsageError

__all__ = ["KNOWN", "Form", "UnreadableError", "check_content", "form_of", "opened", "untyped"]


@dataclass(frozen=True)
class Form:
    """content: csv, json, lines, parquet or arrow. separator: of CSV's cells. packed: how a text is compressed."""

    content: str
    separator: str = ""
    packed: str | None = None


class UnreadableError(ValueError):
    """What is wrong with a file, and what to try."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


_PARQUET, _LINES, _ARROW = Form("parquet"), Form("lines"), Form("arrow")
_TEXTS: Mapping[str, Form] = {
    ".csv": Form("csv", ","),
    ".tsv": Form("csv", "\t"),
    ".json": Form("json"),
    ".jsonl": _LINES,
    ".ndjson": _LINES,
}
_TYPED: Mapping[str, Form] = {".parquet": _PARQUET, ".arrow": _ARROW, ".feather": _ARROW, ".ipc": _ARROW}
_PACKED = {".gz": "gzip", ".zst": "zstd"}
KNOWN = f"{', '.join(_TEXTS)} (also with {' or '.join(_PACKED)}), {', '.join(_TYPED)}"

# How files begin that tell what they are. An Arrow stream and a text do not.
_MAGIC: Mapping[bytes, str] = {
    b"PAR1\x15": "parquet",
    b"ARROW1\x00\x00": "arrow",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a workbook or another archive",
}


def form_of(path: Path, where: str, hint: str = "Rename or convert it.") -> Form:
    """By the name's ending, in any case; a folder is one of Parquet files. Raises UsageError for what is no table."""
    if path.is_dir():
        return _PARQUET
    *_, before, last = "", "", *(suffix.lower() for suffix in path.suffixes)
    if last in _PACKED and before in _TEXTS:
        return replace(_TEXTS[before], packed=_PACKED[last])
    found = _TEXTS.get(last) or _TYPED.get(last)
    if found is None:
        raise UsageError(f"{path} is none of {KNOWN}.", where=where, hint=hint)
    return found


def untyped(path: Path, where: str = "--data") -> bool:
    """Whether a table's cells are text without types, as they are in CSV."""
    return form_of(path, where).content == "csv"


def check_content(path: Path, form: Form) -> None:
    """Raises UnreadableError for a file that is evidently something else than its name says."""
    with path.open("rb") as file:
        head = file.read(8)
    if form.packed and not head:
        raise UnreadableError("it is empty", "Write or copy it again.")
    found = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if found not in (None, form.packed or form.content):
        ending = next((suffix for suffix, kind in _PACKED.items() if kind == found), "")
        hint = f"Name it {path.name}{ending}." if ending and not form.packed else "Rename or convert it."
        raise UnreadableError(f"its content is {found}, not what its name says", hint)


def opened(path: Path, form: Form) -> BinaryIO:
    """The bytes of a text, decompressed."""
    if form.packed is None:
        return path.open("rb")
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(path, compression=form.packed))
