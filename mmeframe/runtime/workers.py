"""Sub-models in processes of their own: one for each code that sub-models ship (``isolation: process``).

A process imports one module of a name. Sub-models that ship different ones under that name each need their own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from mmeframe.bundle import Bundle, FileRef, SubModelRecord
from mmeframe.plugin import ComponentContext
from mmeframe.runtime.components import bring_code, load_component
from mmeframe.runtime.files import load_record, shipped_code
from mmeframe.worker import Remote, Worker

__all__ = ["Workers"]


class Workers:
    """The sub-models of a bundle that ship code, in one process for each code.

    code: the archive of embedded plugins, if the artifact has one.
    """

    def __init__(self, bundle: Bundle, code: Path | None) -> None:
        self._bundle, self._code = bundle, code
        self._lock = threading.Lock()
        self._by_code: dict[tuple[FileRef, ...], Worker] = {}

    def load(self, number: int, record: SubModelRecord, methods: Sequence[str]) -> Remote:
        """A sub-model, live in the worker of its code. Raises what loading it raises."""
        with self._lock:
            worker = self._by_code.setdefault(shipped_code(record), Worker())
        make = partial(_from_bundle, str(self._bundle.folder.absolute()), self._bundle.digest, self._code, number)
        return Remote(worker, record.id, make, methods, record.bytes)

    def close(self) -> None:
        """End all processes."""
        for worker in self._by_code.values():
            worker.close()


def _from_bundle(folder: str, digest: str, code: Path | None, number: int) -> Any:
    """Runs in a worker: the sub-model by its own loader, from the same verified bytes."""
    bundle = _opened(folder, digest, code)
    record, manifest = bundle.record(number), bundle.manifest
    loader = load_component(manifest.loaders[record.loader], manifest, code)
    loader.bind(ComponentContext())
    return load_record(bundle, record, loader)


@cache
def _opened(folder: str, digest: str, code: Path | None) -> Bundle:
    bundle = Bundle(folder, digest)
    bring_code(bundle.manifest, code)
    return bundle
