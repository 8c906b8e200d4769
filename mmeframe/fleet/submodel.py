"""One sub-model of a fleet: where it comes from, what its files say, and how it is loaded from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmeframe.bundle.format import SubModelFacts
from mmeframe.errors import BuildError
from mmeframe.fleet.released import Facts
from mmeframe.plugin import SubModelEntry, SubModelFiles
from mmeframe.plugin.components import make_component
from mmeframe.redact import redact
from mmeframe.spec import Column, ComponentSpec
from mmeframe.store.folders import ModelFolder

__all__ = ["OwnFiles", "PinnedModel", "kept_files", "sub_model"]


@dataclass(frozen=True, kw_only=True)
class PinnedModel(Facts, SubModelFacts):
    """A pinned sub-model. ``loader`` is the combiner of one that combines others."""

    folder: ModelFolder
    # Modules that the model ships beside its data -> digest of their files.
    code: Mapping[str, str] = field(default_factory=dict)
    origin: str
    # Whether a build refuses it where it answers no probe rows.
    prove: bool = True
    # What it comes from, where that can be told without reading it.
    stamp: str | None = None

    def load(self, root: Path) -> Any:
        """The live sub-model, by its own loader from its own folder ``root``."""
        return make_component(self.loader).load(self.files(root))

    def files(self, root: Path) -> SubModelFiles:
        """What a loader is given of its own folder ``root``."""
        return OwnFiles(self, root)


class OwnFiles:
    """The ``SubModelFiles`` of the plugin API over a sub-model's original folder."""

    def __init__(self, model: PinnedModel, root: Path) -> None:
        self.id, self.flavor, self._root, self._place = model.id, model.flavor, root, model.folder
        self.options: Mapping[str, Any] = model.options
        self.columns: Sequence[Column] = model.inputs

    @property
    def names(self) -> Sequence[str]:
        return self._place.files(self._root)

    def read(self, name: str) -> memoryview:
        if name not in self.names:
            raise BuildError(f"{self._place.place} has no file {name!r}.", where=f"models.{self.id}")
        return memoryview((self._root / name).read_bytes())

    def folder(self) -> Path:
        return self._root


def sub_model(entry: SubModelEntry, folder: ModelFolder, **facts: Any) -> PinnedModel:
    """The sub-model of a pinned entry. facts: what ``Facts`` has, and more that is known of it."""
    return PinnedModel(
        id=entry.id,
        uri=redact(entry.uri),
        key={part: str(value) for part, value in (entry.key or {}).items()},
        arm=entry.arm,
        name=entry.name,
        version=entry.version,
        model_id=entry.model_id,
        folder=folder,
        origin=entry.origin,
        routed=entry.routed,
        of=entry.of,
        prove=entry.prove is not False,
        **facts,
    )


def kept_files(loader: ComponentSpec, names: Sequence[str], options: Mapping[str, Any], where: str) -> set[str]:
    """The files that a loader keeps of a model folder. Raises BuildError for one that is for other models."""
    try:
        return set(make_component(loader).keep(names, options))
    except Exception as error:
        what = f"{loader.kind} cannot tell its files: {type(error).__name__}: {error}."
        hint = "It may be for other flavors: leave loader out, or choose one for this model's."
        raise BuildError(what, where=where, hint=hint) from error
