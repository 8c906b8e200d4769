"""``manifest.json``: all that a bundle says of its fleet as a whole. Nothing else reads or writes that file.

The script that MLflow runs before anything of a router is verified is the exception: it can import nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Self

from mmeframe._version import __version__
from mmeframe.bundle.format import FORMAT, MANIFEST, canonical_json, file_of
from mmeframe.errors import CorruptBundleError, MmeframeError
from mmeframe.rows.outputs import Outputs
from mmeframe.sections import OutputSpec, ResidencySpec, RoutingSpec, SignatureSpec, TrafficSpec
from mmeframe.spec import Column, ComponentSpec

__all__ = ["Manifest", "PackFacts", "PluginFacts", "StoredArray"]

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PluginFacts:
    """The distribution that a plugin's module is of, and its version; None where there is none."""

    distribution: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array among the blobs: numpy's name of its type, and the digest of its bytes."""

    type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PackFacts:
    """What the pack has: its size in bytes, and where its index begins."""

    blobs: int = 0
    bytes: int = 0
    index_offset: int = 0
    index_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The facts of a fleet. A build begins with what the config and the sub-models say, and adds what it packs.

    union: the columns of all sub-models. answer: what the router answers. params: of requests, name -> type and
    default. environment: requirements of all sub-models. inputs: key part -> columns that it reads, with their types.
    outputs, schemas, requirements, loaders: of sub-models, each stored once; records have their numbers.
    plugins: by module; code: digests of mmeframe's code and of theirs. components: config path -> file that the
    component there has prepared -> digest. routes: the route table's arrays. records: the digest of their file.
    bytes: of the files of all sub-models. artifact: what lies around the bundle -> digest, None for a file that is not
    there; empty before a build has come that far. digest: of all other fields, as it was read; not before.
    """

    name: str
    mmeframe: str = __version__
    format: int = FORMAT
    routing: RoutingSpec = field(default_factory=lambda: RoutingSpec((), ()))
    traffic: TrafficSpec = field(default_factory=TrafficSpec)
    disabled_models: tuple[str, ...] = ()
    isolation: str = "shared"
    observers: tuple[tuple[str, ComponentSpec], ...] = ()
    residency: ResidencySpec = field(default_factory=ResidencySpec)
    allow_pickle: bool = True
    output: OutputSpec = field(default_factory=OutputSpec)
    signature: SignatureSpec = field(default_factory=SignatureSpec)
    union: tuple[Column, ...] = ()
    answer: Outputs = field(default_factory=lambda: Outputs(()))
    params: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    environment: tuple[str, ...] = ()
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    outputs: tuple[Outputs, ...] = ()
    schemas: tuple[tuple[Column, ...], ...] = ()
    requirements: tuple[tuple[str, ...], ...] = ()
    loaders: tuple[ComponentSpec, ...] = ()
    plugins: Mapping[str, PluginFacts] = field(default_factory=dict)
    code: Mapping[str, str | None] = field(default_factory=dict)
    components: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    routes: Mapping[str, StoredArray] = field(default_factory=dict)
    records: str = ""
    pack: PackFacts = PackFacts()
    sub_models: int = 0
    bytes: int = 0
    artifact: Mapping[str, str | None] = field(default_factory=dict)
    digest: str = field(default="", compare=False)

    @classmethod
    def read(cls, folder: Path, expect: str | None = None) -> Self:
        """The manifest of a bundle. ``expect``: a digest from elsewhere that it must have.

        Raises CorruptBundleError for another content than its digest's or the expected one, MissingError if there is
        none, MmeframeError for one that this version does not know.
        """
        path = file_of(folder, MANIFEST)
        raw = path.read_bytes()
        try:
            data = json.loads(raw)
            found, digest = int(data["format"]), str(data.pop("digest"))
            computed = _digest(data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            actual = hashlib.sha256(raw).hexdigest()
            raise CorruptBundleError(str(path), expect or "(unknown)", actual, "it is not a manifest") from None
        by = data.get("mmeframe", "of the version that built it")
        if found > FORMAT:
            what = f"bundle format {found} is newer than this mmeframe reads ({FORMAT})."
            raise MmeframeError(what, where=str(path), hint=f"Install mmeframe {by} or newer.")
        if computed != digest:
            raise CorruptBundleError(str(path), digest, computed)
        _check_expected(path, computed, expect)
        try:
            return cls(**_fields_of(data), digest=digest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"it is not a manifest that this mmeframe ({__version__}) reads: {type(error).__name__}: {error}."
            hint = f"Install mmeframe {by}, or build the router again."
            raise MmeframeError(what, where=str(path), hint=hint) from error

    def to_json(self) -> dict[str, Any]:
        """What the file says, but for the digest."""
        found = {it.name: _plain(getattr(self, it.name)) for it in fields(self) if it.name != "digest"}
        if not self.artifact:
            del found["artifact"]
        return found

    def write(self, folder: Path) -> str:
        """Write the file with its digest, which is returned."""
        # What the file will say is what gets digested: tuples become lists here, not at the reader.
        data = json.loads(canonical_json(self.to_json()))
        digest = data["digest"] = _digest(data)
        text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return digest

    def content_digest(self) -> str:
        """The digest that it had before a build sealed it: the same for the same fleet, whatever lies around it."""
        return _digest({name: value for name, value in self.to_json().items() if name != "artifact"})


def _digest(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(data)).hexdigest()


def _check_expected(path: Path, found: str, expect: str | None) -> None:
    if expect in (None, found):
        return
    hint = "MMEFRAME_EXPECT_DIGEST asks for another build; 'mmeframe show' prints the digest of each."
    if not _DIGEST.fullmatch(str(expect)):
        hint = f"MMEFRAME_EXPECT_DIGEST is {expect!r}, and a digest has 64 digits; 'mmeframe show' prints it."
    raise CorruptBundleError(str(path), str(expect), found, "it is not the expected bundle", hint)


def _fields_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all fields. Raises what is raised for a field that lacks, is unknown, or has another value."""
    known = {it.name for it in fields(Manifest)} - {"digest"}
    if odd := known ^ {*data, "artifact"}:
        raise ValueError(f"fields that are missing or unknown: {', '.join(sorted(odd))}")
    return {name: _READ.get(name, _as_it_is)(value) for name, value in data.items()}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(it) for name, it in value.items()}
    return [_plain(it) for it in value] if isinstance(value, list | tuple) else value


def _as_it_is(value: Any) -> Any:
    return value


def _columns(items: Any) -> tuple[Column, ...]:
    return tuple(Column(*it) for it in items)


def _each(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda items: tuple(map(read, items))


def _by_name(read: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda items: {name: read(**it) for name, it in items.items()}


# Fields -> what makes a value of what the file says; the others are as they are there.
_READ: dict[str, Callable[[Any], Any]] = {
    "routing": RoutingSpec.from_json,
    "traffic": TrafficSpec.from_json,
    "disabled_models": tuple,
    "observers": _each(lambda it: (it[0], ComponentSpec.from_json(it[1]))),
    "residency": ResidencySpec.from_json,
    "output": lambda it: OutputSpec(**it),
    "signature": lambda it: SignatureSpec(**it),
    "union": _columns,
    "answer": Outputs.from_json,
    "environment": tuple,
    "outputs": _each(Outputs.from_json),
    "schemas": _each(_columns),
    "requirements": _each(tuple),
    "loaders": _each(ComponentSpec.from_json),
    "plugins": _by_name(PluginFacts),
    "routes": _by_name(StoredArray),
    "pack": lambda it: PackFacts(**it),
}
