"""What the registered version has already: sub-models that did not change are neither read nor tried again.

A build leaves a stamp of each sub-model with its run: of what it came from, and of what decided how it was read. Files
on this machine are known by size and time of change, as ``make`` knows them; models of the registry whose files lie
elsewhere by their versions.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmeframe._version import __version__
from mmeframe.bundle import Bundle, FileRef, Manifest
from mmeframe.bundle.format import FRAME
from mmeframe.cache import work_folder
from mmeframe.errors import count, listed
from mmeframe.fleet.signature import Param
from mmeframe.rows.outputs import Outputs
from mmeframe.shipped import CODE
from mmeframe.spec import Column, ComponentSpec
from mmeframe.versions import installed

if TYPE_CHECKING:
    from mmeframe.plugin import SubModelEntry
    from mmeframe.sections import RouterSpec
    from mmeframe.store.folders import ModelFolder
    from mmeframe.store.store import Store

__all__ = [
    "STAMPS",
    "WRAPPING",
    "EarlierBuild",
    "Facts",
    "Kept",
    "Packed",
    "ReleasedBuild",
    "find_released",
    "stamp_of",
]

# Of the build run's artifacts: sub_models, {id: [stamp, Python version, method whose answers are recorded]}; and
# installed, the versions of distributions with which they were proved.
STAMPS = "mmeframe/stamps.json"
# Of a version: the digest of what it holds beside its bundle.
WRAPPING = "mmeframe.wrapping"
_BUNDLE = "artifacts/bundle"
_FIELDS = (
    *("flavor", "flavor_options", "loader", "inputs", "outputs", "requirements"),
    *("files", "python", "memory", "form"),
)


@dataclass(frozen=True)
class Packed:
    """A sub-model's files in a pack, and what loading it has shown: see ``methods.tried``.

    python: the minor version of Python whose pickles they hold, empty where they hold none.
    """

    files: tuple[FileRef, ...] = ()
    python: str = ""
    memory: int = 0
    form: str = FRAME
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """What an earlier build has packed.

    blob: gives bytes by their digest; raises CorruptBundleError. since: the registered version that has them; None if
    they are of an interrupted build, so that nobody has compared their answers yet.
    """

    packed: Packed
    blob: Callable[[bytes], memoryview]
    since: str | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a sub-model's own files say of it.

    method: whose answers ``outputs`` are. kept: what an earlier build has packed of it.
    """

    flavor: str
    options: Mapping[str, Any]
    loader: ComponentSpec
    inputs: tuple[Column, ...]
    outputs: Outputs
    requirements: tuple[str, ...] = ()
    python: str = ""
    method: str = "predict"
    kept: Kept | None = None

    @property
    def params(self) -> Mapping[str, Param]:
        """Parameters of requests that it declares."""
        found: Mapping[str, Param] = self.options.get("params", {})
        return found


class EarlierBuild(Protocol):
    """An earlier build."""

    def facts(self, id_: str, stamp: str) -> Facts | None:
        """What is known of a sub-model that is the same as then, None for all others."""
        ...


@dataclass(frozen=True)
class ReleasedBuild:
    """A registered version of a router, as a rule the newest.

    stamps: by id, with the Python that a sub-model was made with, and the method whose answers are recorded.
    installed: the versions of their distributions where it was built. wrapping: the digest of what the version holds
    beside its bundle.
    """

    version: str
    bundle: Bundle
    stamps: Mapping[str, Sequence[str]]
    installed: Mapping[str, str | None]
    model_id: str = ""
    run_id: str = ""
    wrapping: str = ""

    def has(self, id_: str, stamp: str | None) -> bool:
        """Whether a sub-model was built in as it is now; False where nobody can tell."""
        return stamp is not None and id_ in self.stamps and self.stamps[id_][0] == stamp

    def facts(self, id_: str, stamp: str) -> Facts | None:
        """What is recorded of a sub-model that is the same as then, None for all others.

        Those that ship code are read again: what they share with others is judged from their files. Where a library has
        changed since, nothing is kept: the sub-model is packed, and so proved, with the one that is here.
        """
        then, python, method = self.stamps.get(id_, ("", "", ""))
        at = self._numbers.get(id_) if then == stamp else None
        if at is None:
            return None
        record = {name: column[at] for name, column in self._columns.items()}
        files = tuple(FileRef(file["path"], file["sha256"]) for file in record["files"])
        if any(ref.path.startswith(CODE) for ref in files):
            return None
        outputs, needs = self._manifest.outputs[record["outputs"]], record["requirements"]
        packed = Packed(files, record["python"], record["memory"], record["form"], outputs.labels)
        return Facts(
            flavor=record["flavor"],
            options=self._options[record["flavor_options"]],
            loader=self._manifest.loaders[record["loader"]],
            inputs=self._manifest.schemas[record["inputs"]],
            outputs=outputs,
            requirements=self._manifest.requirements[needs],
            python=python,
            method=method,
            kept=Kept(packed, self.bundle.blob, self.version) if self._proved_here[needs] else None,
        )

    def gone(self, ids: Collection[str]) -> list[str]:
        """Notes about sub-models that it has, and a build of these does not."""
        lacking = [id_ for id_ in self._numbers if id_ not in ids]
        what = f"version {self.version} has {count(len(lacking), 'sub-model')} that this build lacks"
        return [f"{what}: {listed(lacking)}. Rows of their keys go to the next level."] if lacking else []

    @property
    def _manifest(self) -> Manifest:
        return self.bundle.manifest

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {id_: number for number, id_ in enumerate(self.bundle.column("id"))}

    @cached_property
    def _columns(self) -> dict[str, list[Any]]:
        """The fields of all records that facts are made of: to make every record would take longer than the rest."""
        return {name: self.bundle.column(name) for name in _FIELDS}

    # Thousands of sub-models have the same ones.

    @cached_property
    def _options(self) -> dict[str, Mapping[str, Any]]:
        return {text: json.loads(text) for text in set(self._columns["flavor_options"])}

    @cached_property
    def _proved_here(self) -> list[bool]:
        """Whether the distributions of each are those that are installed here."""
        return [installed(lines).items() <= self.installed.items() for lines in self._manifest.requirements]


@contextmanager
def find_released(
    store: Store, spec: RouterSpec, version: str | None = None, home: Path | None = None
) -> Iterator[ReleasedBuild | None]:
    """A version of the router, the newest by default, as long as the block runs; None where none can be used.

    home: its bundle, where that is here already.

    A bundle of another version of mmeframe may hold other facts.
    """
    name = spec.tracking.register_as
    if not name or not (spec.bundle.reuse or spec.build.unchanged == "skip" or version):
        yield None
        return
    with work_folder() as folder:
        try:
            found = _open(store, name, folder, version, home)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, everything is read anew
            found = None
        yield found


def _open(store: Store, name: str, folder: Path, version: str | None, home: Path | None) -> ReleasedBuild | None:
    import mlflow

    from mmeframe.store.folders import ModelFolder
    from mmeframe.store.store import ROUTER_TAG

    model = store.named([name]).get(name)
    versions = model.versions if model else ()
    wanted = next((it for it in versions if version in (None, it.version)), None)
    if wanted is None or wanted.model_id is None or wanted.tags.get("mmeframe.version") != __version__:
        return None
    run_id = store.client.get_model_version(name, wanted.version).run_id
    found = json.loads(Path(store.client.download_artifacts(run_id, STAMPS, str(folder))).read_text(encoding="utf-8"))
    if home is None:
        location = store.locations([wanted.model_id])[wanted.model_id]
        here = ModelFolder(location).here
        uri = f"{location.rstrip('/')}/{_BUNDLE}"
        home = here / _BUNDLE if here else Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    bundle = Bundle(home, wanted.tags.get(ROUTER_TAG))
    around = wanted.tags.get(WRAPPING, "")
    return ReleasedBuild(
        wanted.version, bundle, found["sub_models"], found["installed"], wanted.model_id, run_id, around
    )


def stamp_of(entry: SubModelEntry, folder: ModelFolder, how: Sequence[Any]) -> str | None:
    """What an entry comes from and how it is read, None if that cannot be told without reading it.

    how: what decides it for all entries, beside the versions of mmeframe and Python.
    """
    source: list[Any] = [entry.name, entry.version, entry.model_id]
    if folder.here is not None:
        # Of registered models, too: somebody may set another signature, or update the requirements.
        source += _listed(os.path.abspath(folder.here))
    elif entry.model_id is None and entry.version is None:
        return None
    else:
        # A registered model that was deleted may have been made again, with the same versions of others.
        source.append(folder.location)
    loader = entry.loader.to_json() if isinstance(entry.loader, ComponentSpec) else entry.loader
    # What was built in unproved is tried once it is to be proved.
    read = [entry.flavor, loader, entry.signature, entry.prove, __version__, sys.version_info[:2], how]
    # In its own order: that of a signature's columns is the order in which a sub-model gets them.
    text = json.dumps([source, read], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _listed(path: str) -> Iterator[tuple[str, int, int]]:
    """Every file with its size and time of change, in one order."""
    if not os.path.isdir(path):
        facts = os.stat(path)
        yield path, facts.st_size, facts.st_mtime_ns
        return
    with os.scandir(path) as found:
        items = sorted(found, key=lambda item: item.name)
    for item in items:
        # Where a link leads, everything is listed by its own path: inside the folder, or it is not taken.
        if item.is_dir(follow_symlinks=False):
            yield from _listed(item.path)
        else:
            facts = item.stat()
            yield item.path, facts.st_size, facts.st_mtime_ns
