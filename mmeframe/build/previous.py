"""What the registered version has already: sub-models that did not change are neither read nor tried again.

A build leaves a stamp of each sub-model with its run: of what it came from, and of what decided how it was read. Files
on this machine are known by size and time of change, as ``make`` knows them; models of the registry by their versions.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mmeframe
from mmeframe.build.signature import Outputs
from mmeframe.bundle import Bundle, SubModelRecord
from mmeframe.spec import Column, Component

if TYPE_CHECKING:
    from mmeframe.build.store import ModelFolder, Store
    from mmeframe.plugin import SubModelEntry
    from mmeframe.spec import RouterSpec

__all__ = ["STAMPS", "Previous", "find_previous", "stamp_of"]

# Of the build run's artifacts: {id: [stamp, Python version]}.
STAMPS = "mmeframe/stamps.json"
_BUNDLE = "artifacts/bundle"


@dataclass(frozen=True)
class Previous:
    """The newest registered version of a router. ``stamps``: by id, with the Python that a sub-model was made with."""

    version: str
    bundle: Bundle
    stamps: Mapping[str, tuple[str, str]]

    def unchanged(self, id_: str, stamp: str | None) -> SubModelRecord | None:
        """What is recorded of a sub-model that is the same as then, None for all others.

        Those that ship code are read again: what they share with others is judged from their files.
        """
        if stamp is None or self.stamps.get(id_, ("", ""))[0] != stamp:
            return None
        record = self._records.get(id_)
        return None if record is None or any(ref.path.startswith("code/") for ref in record.files) else record

    @cached_property
    def _records(self) -> dict[str, SubModelRecord]:
        return {record.id: record for record in self.bundle}

    def inputs(self, record: SubModelRecord) -> tuple[Column, ...]:
        return tuple(Column(*column) for column in self.bundle.manifest["schemas"][record.inputs])

    def outputs(self, record: SubModelRecord) -> Outputs:
        found = self.bundle.manifest["outputs"][record.outputs]
        columns = tuple(Column(*column) for column in found["columns"])
        return Outputs(columns, found["width"], found["aligned"], found["fill"])

    def requirements(self, record: SubModelRecord) -> tuple[str, ...]:
        return tuple(self.bundle.manifest["requirements"][record.requirements])

    def loader(self, record: SubModelRecord) -> Component:
        return Component.from_json(self.bundle.manifest["loaders"][record.loader])


@contextmanager
def find_previous(store: Store, spec: RouterSpec) -> Iterator[Previous | None]:
    """The newest version of the router, as long as the block runs; None where there is none that can be used.

    Answers of another method than ``predict`` are found by asking, so those fleets are always read whole; and a bundle
    of another version of mmeframe may hold other facts.
    """
    name = spec.tracking.register_as
    if not name or not spec.bundle.reuse or spec.output.method != "predict":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="mmeframe-previous-") as folder:
        try:
            found = _open(store, name, Path(folder))
        except Exception:  # noqa: BLE001 - whatever is wrong with it, everything is read anew
            found = None
        yield found


def _open(store: Store, name: str, folder: Path) -> Previous | None:
    import mlflow

    from mmeframe.build.store import ModelFolder

    model = store.named([name]).get(name)
    newest = model.versions[0] if model and model.versions else None
    if newest is None or newest.model_id is None or newest.tags.get("mmeframe.version") != mmeframe.__version__:
        return None
    run_id = store.client.get_model_version(name, newest.version).run_id
    stamps = json.loads(Path(store.client.download_artifacts(run_id, STAMPS, str(folder))).read_text(encoding="utf-8"))
    location = store.locations([newest.model_id])[newest.model_id]
    here = ModelFolder(location).here
    uri = f"{location.rstrip('/')}/{_BUNDLE}"
    home = here / _BUNDLE if here else Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    bundle = Bundle(home, newest.tags.get("mmeframe.digest"))
    return Previous(newest.version, bundle, {id_: (stamp, python) for id_, (stamp, python) in stamps.items()})


def stamp_of(entry: SubModelEntry, folder: ModelFolder, skops_trusted: tuple[str, ...]) -> str | None:
    """What an entry comes from and how it is read, None if that cannot be told without reading it."""
    source: Any
    if entry.model_id is not None or entry.version is not None:
        source = [entry.name, entry.version, entry.model_id]
    elif folder.here is not None:
        source = list(_listed(folder.here))
    else:
        return None
    loader = entry.loader.to_json() if isinstance(entry.loader, Component) else entry.loader
    read = [entry.flavor, loader, entry.signature, mmeframe.__version__, sys.version_info[:2], skops_trusted]
    text = json.dumps([source, read], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _listed(path: Path) -> Iterator[tuple[str, int, int]]:
    """Every file with its size and time of change, in one order."""
    if not path.is_dir():
        facts = path.stat()
        yield str(path.absolute()), facts.st_size, facts.st_mtime_ns
        return
    for item in sorted(os.scandir(path), key=lambda item: item.name):
        yield from _listed(Path(item.path))
