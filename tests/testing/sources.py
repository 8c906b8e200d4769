"""A plugin of model sources: one keeps every promise, each of the others breaks one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from mmeframe.plugin import MissingError, ModelSource, ModelSourcePlugin, SourceConf, SubModelEntry, hookimpl


@dataclass
class SomeConf(SourceConf):
    """Options of all of them."""

    # A file with one name on each line.
    path: str = "names.txt"


class Good(ModelSource[SomeConf]):
    def expand(self) -> Iterable[SubModelEntry]:
        where = f"sources.{self.context.name}"
        path = Path(self.conf.path)
        if not path.is_file():
            raise MissingError(f"there is no file {path.absolute()}.", where=f"{where}.path")
        for name in path.read_text().split():
            if name not in self.context.taken:
                yield self.entry(SubModelEntry(name, f"models:/{name}/1", {"key": name}, name=name, origin=where))

    def entry(self, entry: SubModelEntry) -> Any:
        return entry


class Nothing(Good):
    def expand(self) -> Iterable[SubModelEntry]:
        return []


class Dicts(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return {"id": entry.id, "uri": entry.uri}


class NoUri(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, uri="")


class NoOrigin(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, origin="")


class OtherPart(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, key={"store": entry.id})


class BoolKey(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, key={"key": entry.id == "a"})


class OneId(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, id="m")


class OneKey(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, key={"key": 7})


numbers = count()


class AnyOrder(Good):
    def expand(self) -> Iterable[SubModelEntry]:
        found = list(super().expand())
        return found if next(numbers) % 2 else reversed(found)


class Numbered(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, version=str(next(numbers)))


class OtherLoader(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, loader="no_such_loader")


class InArm(Good):
    def entry(self, entry: SubModelEntry) -> Any:
        return replace(entry, arm=self.conf.arm)


class TakesAll(Good):
    def bind(self, context: Any) -> None:
        super().bind(replace(context, taken=frozenset()))


class Reads(Good):
    def expand(self) -> Iterable[SubModelEntry]:
        Path(self.conf.path).read_text()
        return super().expand()


BROKEN = [it for it in list(vars().values()) if isinstance(it, type) and issubclass(it, Good)]


@hookimpl
def mmeframe_model_sources():
    return [
        ModelSourcePlugin(kind.__name__.lower(), SomeConf, f"{__name__}:{kind.__name__}", "for tests")
        for kind in BROKEN
    ]
