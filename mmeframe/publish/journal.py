"""A build under way, on disk: an interrupted one is resumed by the next build of that router.

Whatever ends the process, its last line may be lost, and nothing else: facts, and the places of bytes in the pack, are
appended as they are found. Bytes are verified by their digests when they are taken over.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe._version import __version__
from mmeframe.bundle import PACK, BundleWriter, FileRef
from mmeframe.cache import cache_folder, locked, refused
from mmeframe.errors import CorruptBundleError, ProblemsError
from mmeframe.fleet.released import Facts, Kept, Packed
from mmeframe.rows.outputs import Outputs
from mmeframe.spec import Column, ComponentSpec

if TYPE_CHECKING:
    from mmeframe.fleet.submodel import PinnedModel
    from mmeframe.sections import RouterSpec
    from mmeframe.store.store import Store

__all__ = ["FULL", "BuildJournal", "open_journal"]

_BUNDLE, _JOURNAL = "bundle", "journal.jsonl"
# Journals that nobody went on with are removed by the first build after this.
_KEPT_S = 7 * 24 * 3600
# What the system says of a disk that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BuildJournal:
    """What a build has found and packed so far; ``known`` holds the same of an interrupted one."""

    def __init__(self, folder: Path, known: Mapping[str, tuple[str, Facts]]) -> None:
        self.bundle = folder / _BUNDLE
        self.bundle.mkdir()
        self.known = known
        self._journal = (folder / _JOURNAL).open("w", encoding="utf-8")
        self._facts: dict[str, int] = {}
        # How many things this build has noted; and the ids of sub-models that are as they were.
        self._things = 0
        self._current: set[str] = set()
        self._line({"mmeframe": __version__})

    def facts(self, id_: str, stamp: str) -> Facts | None:
        """What is known of a sub-model that is the same as then, None for all others."""
        found = self.known.get(id_)
        if found is None or found[0] != stamp:
            return None
        self._current.add(id_)
        return found[1]

    @property
    def further(self) -> bool:
        """Whether this build has come further than the interrupted one that it resumed."""
        return self._things > sum(1 + (self.known[id_][1].kept is not None) for id_ in self._current)

    def describe(self, model: PinnedModel) -> None:
        """Note what a sub-model is, unless that cannot be told again without reading it."""
        if not _noted(model):
            return
        facts = {
            "flavor": model.flavor,
            "options": model.options,
            "loader": model.loader.to_json(),
            "inputs": [column.to_json() for column in model.inputs],
            "outputs": model.outputs.to_json(),
            "requirements": model.requirements,
            "python": model.python,
            "method": model.method,
        }
        text = json.dumps(facts, sort_keys=True)
        # Thousands of sub-models have the same.
        if text not in self._facts:
            self._facts[text] = len(self._facts)
            self._line({"facts": facts})
        self._line({"id": model.id, "stamp": model.stamp, "of": self._facts[text]})
        self._things += 1

    def pack(self, model: PinnedModel, writer: BundleWriter, packed: Packed) -> None:
        """Note where a sub-model's bytes lie, which have been written."""
        if not _noted(model):
            return
        writer.flush()
        files = [[ref.path, ref.sha256.hex(), *writer.place(ref.sha256)] for ref in packed.files]
        shown = {"python": packed.python, "memory": packed.memory, "form": packed.form, "labels": packed.labels}
        self._line({"packed": model.id, "files": files, **shown})
        self._things += 1

    def _line(self, line: Mapping[str, Any]) -> None:
        try:
            self._journal.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._journal.flush()
        except OSError as error:
            raise refused(self.bundle.parent, error) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            # What could not be written is told already.
            self._journal.close()


def _noted(model: PinnedModel) -> bool:
    """Not what ships code, nor what the registered version has: the next build takes it from there, too.

    Nor what was refused before it was loaded: its columns, or its answers, are not known.
    """
    told = model.stamp is not None and bool(model.inputs and model.outputs.columns)
    return told and not model.code and not (model.kept and model.kept.since)


@contextlib.contextmanager
def open_journal(store: Store, spec: RouterSpec) -> Iterator[BuildJournal]:
    """A journal of the router, as long as the block runs. If that fails, it stays, or an older one that has more in it.

    On a full disk it goes. Raises MmeframeError if the cache folder takes no files.
    """
    home = cache_folder() / "builds"
    name = hashlib.sha256(f"{store.place}\n{spec.name}\n{spec.tracking.register_as}".encode()).hexdigest()[:32]
    with contextlib.ExitStack() as held:
        try:
            home.mkdir(exist_ok=True)
            with locked(home, wait=True):
                _forget_old(home)
                old = _left(home, name, held)
                folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=home))
                held.enter_context(locked(folder))
            journal = BuildJournal(folder, _read(old, held) if old is not None and spec.bundle.reuse else {})
        except OSError as error:
            raise refused(home, error) from error
        try:
            yield journal
        except BaseException as error:
            cause = error.__cause__
            full = isinstance(cause, OSError) and cause.errno in FULL
            mine = not full and journal.further
            _forget(old if mine else folder)
            if (mine or old is not None) and not isinstance(error, ProblemsError):
                error.add_note(
                    "The sub-models read and packed so far are kept: the next build of this router resumes from there."
                )
            raise
        finally:
            journal.close()
        _forget(old)
        _forget(folder)


def _left(home: Path, name: str, held: contextlib.ExitStack) -> Path | None:
    """A router's journal with the most in it, of builds that are gone, held; the others are removed."""
    found: dict[Path, contextlib.ExitStack] = {}
    for folder in home.glob(f"{name}-*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as lock:
            lock.enter_context(locked(folder))
            found[folder] = lock.pop_all()
    best = max(found, key=_lines, default=None)
    for folder, lock in found.items():
        if folder == best:
            held.push(lock)
        else:
            _forget(folder)
            lock.close()
    return best


def _forget_old(home: Path) -> None:
    """Remove drafts of all routers that nobody went on with."""
    for folder in home.iterdir():
        with contextlib.suppress(OSError), locked(folder):
            if time.time() - folder.stat().st_mtime > _KEPT_S:
                _forget(folder)


def _forget(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(folder: Path) -> int:
    try:
        return (folder / _JOURNAL).read_bytes().count(b"\n")
    except OSError:
        return 0


def _read(folder: Path, held: contextlib.ExitStack) -> dict[str, tuple[str, Facts]]:
    """Of each sub-model the stamp, and what is known of it. Nothing of another version of mmeframe."""
    facts: list[Facts] = []
    found: dict[str, tuple[str, Facts]] = {}
    places: dict[bytes, tuple[int, int]] = {}
    try:
        lines = (folder / _JOURNAL).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pack = None
    # There is none before everything is read.
    with contextlib.suppress(OSError):
        pack = held.enter_context((folder / _BUNDLE / PACK).open("rb")).fileno()
    for line in map(_parsed, lines):
        if line is None or line.get("mmeframe", __version__) != __version__:
            break
        if "facts" in line:
            facts.append(_facts(line["facts"]))
        elif "id" in line:
            found[line["id"]] = line["stamp"], facts[line["of"]]
        elif "packed" in line and pack is not None:
            refs = tuple(FileRef(path, bytes.fromhex(digest)) for path, digest, _, _ in line["files"])
            places |= {bytes.fromhex(digest): (start, length) for _, digest, start, length in line["files"]}
            stamp, known = found[line["packed"]]
            packed = Packed(refs, line["python"], line["memory"], line["form"], tuple(line["labels"]))
            kept = Kept(packed, partial(_blob, pack, places))
            found[line["packed"]] = stamp, replace(known, kept=kept)
    return found


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        # The process ended while it was written.
        return None
    return found


def _facts(stored: Mapping[str, Any]) -> Facts:
    return Facts(
        flavor=stored["flavor"],
        options=stored["options"],
        loader=ComponentSpec.from_json(stored["loader"]),
        inputs=tuple(Column(*column) for column in stored["inputs"]),
        outputs=Outputs.from_json(stored["outputs"]),
        requirements=tuple(stored["requirements"]),
        python=stored["python"],
        method=stored["method"],
    )


def _blob(pack: int, places: Mapping[bytes, tuple[int, int]], sha256: bytes) -> memoryview:
    """Raises CorruptBundleError if the bytes are not what was written."""
    start, length = places[sha256]
    data = os.pread(pack, length, start)
    actual = hashlib.sha256(data).digest()
    if actual != sha256:
        raise CorruptBundleError(PACK, sha256.hex(), actual.hex())
    return memoryview(data)
