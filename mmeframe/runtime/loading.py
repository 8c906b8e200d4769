"""Make the sub-models of a bundle live, by the loaders that it records: here, or in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmeframe.budget import KEPT
from mmeframe.bundle import Bundle
from mmeframe.errors import ModelError, known_names
from mmeframe.plugin.components import runs_code
from mmeframe.runtime.components import bound_component
from mmeframe.runtime.deployment import nested
from mmeframe.runtime.files import load_record, shipped_code
from mmeframe.runtime.workers import Workers
from mmeframe.worker import Remote

__all__ = ["Loading"]


class Loading:
    """Immutable after construction; shared by threads.

    code: the archive of embedded plugins, if the artifact has one. of: sub-models that combine others, by number: they
    have a combiner in place of a loader.
    """

    def __init__(self, bundle: Bundle, code: Path | None, of: Mapping[int, Sequence[str]]) -> None:
        manifest = bundle.manifest
        self._bundle, self._method, self._of = bundle, manifest.output.method, of
        # Of equal combiners, which are one, any has what all have prepared.
        self._combiner_of = {number: bundle[number].loader for number in of}
        places = {at: f"models.{bundle.id(number)}.combine" for number, at in self._combiner_of.items()}
        self._loaders = [
            bound_component(it, bundle, code, places.get(at, "")) for at, it in enumerate(manifest.loaders)
        ]
        self._workers = Workers(bundle, code) if manifest.isolation == "process" else None

    def combiner(self, number: int) -> Any:
        """Of a sub-model that combines others."""
        return self._loaders[self._combiner_of[number]]

    def refuse_code(self, where: str) -> None:
        """Raises ModelError naming the sub-models that could run code of their own, before any is deserialised."""
        # Sub-models are many, and few of them differ in what decides.
        known: dict[tuple[Any, ...], bool] = {}
        columns = zip(*map(self._bundle.column, ("id", "loader", "flavor_options", "files")), strict=True)
        ids = []
        for number, (id_, loader, options, files) in enumerate(columns):
            # What combines others has no files.
            if number in self._of:
                continue
            names = tuple(file["path"] for file in files)
            place = (loader, options, names)
            if place not in known:
                known[place] = runs_code(self._loaders[loader], names, json.loads(options))
            if known[place]:
                ids.append(id_)
        if ids:
            raise ModelError(
                "there are sub-models whose files can run code, which is not allowed here.",
                where=where,
                hint=known_names(ids, "They are"),
            )

    def load(self, number: int) -> Any:
        """The live sub-model of a number. Raises what its loader raises, ModelError where it lacks the method."""
        record = self._bundle[number]
        model: Any
        with nested():
            if self._workers is not None and shipped_code(record):
                model = self._workers.load(number, record, (self._method, "predict"))
            else:
                model = load_record(self._bundle, record, self._loaders[record.loader])
        if record.routed and not callable(getattr(model, self._method, None)):
            raise ModelError(f"it has no method {self._method!r}.", where=record.id)
        return model

    def size(self, number: int, model: Any) -> int:
        """Bytes that a live one takes."""
        record = self._bundle[number]
        # What another process holds was measured when it was built.
        if isinstance(model, Remote):
            return record.memory
        size: int = self._loaders[record.loader].size(model)
        return size + KEPT

    def unload(self, model: Any) -> None:
        """Let go of one that was dropped."""
        if isinstance(model, Remote):
            model.unload()

    def close(self) -> None:
        """End the processes that sub-models live in."""
        if self._workers is not None:
            self._workers.close()
