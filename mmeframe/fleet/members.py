"""Who belongs to a fleet: the sub-models that a config names, and those that its sources bring."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

from mmeframe.errors import FAULTS, MmeframeError, ProblemsError, Report, suggest
from mmeframe.fleet.brought import SourceRegistry, entry_fault, routers_left_out
from mmeframe.plugin import SourceContext, SubModelEntry
from mmeframe.plugin.components import make_component
from mmeframe.plugin.kinds import LOADER
from mmeframe.plugin.manager import Plugins
from mmeframe.rows.keys import canonical
from mmeframe.sections import RouterSpec
from mmeframe.spec import MAIN_ARM, ComponentSpec
from mmeframe.store.store import Store, registered_name

__all__ = ["Members"]


@dataclass
class Members:
    """Lists the entries of a fleet; what is wrong with any joins ``report``, what is left out ``warnings``.

    dropped: gets (id, id) of source entries that explicit ones replaced.
    routers: ids of source entries that are known to be routers.
    """

    spec: RouterSpec
    plugins: Plugins
    store: Store
    report: Report
    dropped: list[tuple[str, str]]
    warnings: list[str]
    routers: frozenset[str] = frozenset()
    # Id -> the source's entry that an explicit one of this id overrides.
    overlaid: dict[str, SubModelEntry] = field(default_factory=dict)

    def read(self) -> list[SubModelEntry]:
        """All, with canonical keys, sorted by id. Explicit ones win by id, field by field, and by (key, arm)."""
        parts = tuple(part.name for part in self.spec.routing.parts)
        explicit = {entry.id: entry for entry in self.spec.models}
        told = len(self.report)
        brought = self._expand(parts)
        all_brought = told == len(self.report)
        fleet: dict[str, SubModelEntry] = {}
        for entry in brought:
            if entry.id in fleet:
                rival = fleet[entry.id].origin
                self.report.add(
                    entry.origin, f"its id {entry.id!r} is also the id of an entry of {rival}.", "Exclude one."
                )
            fleet.setdefault(entry.id, entry)
        self.overlaid = {id_: fleet[id_] for id_ in explicit if id_ in fleet}
        fleet |= {id_: self._overlay(explicit[id_], theirs) for id_, theirs in self.overlaid.items()}
        for id_, entry in explicit.items():
            fleet.setdefault(id_, entry)
            # A source that failed may be the one that brings it.
            if not fleet[id_].uri and entry.combine is None and all_brought:
                self.report.add(f"models.{id_}.uri", "this option is required.", "No source brings this id either.")
        fleet = {
            id_: it if it.prove is not None else replace(it, prove=self.spec.model_defaults.prove)
            for id_, it in fleet.items()
        }
        keyed = [keyed for entry in fleet.values() if (keyed := self._key(entry, parts))]
        return self._unique(keyed, set(explicit))

    def _expand(self, parts: tuple[str, ...]) -> list[SubModelEntry]:
        found: list[SubModelEntry] = []
        left_out: set[str] = set()
        for name, component in self.spec.sources:
            registry, taken = SourceRegistry(self.store), self._taken(component.options["arm"])
            context = SourceContext(name=name, parts=parts, registry=registry, taken=taken)
            told = len(self.report)
            mine = list(self._brought(component, context))
            kept = [entry for entry in mine if entry.id not in self.routers]
            if not kept and told == len(self.report):
                self.report.add(
                    f"sources.{name}", "it brings no sub-models.", "Check its options, or remove it.", "fleet"
                )
            names = dict.fromkeys(it for it in registry.left_out if it not in taken)
            names |= {entry.id: None for entry in mine if entry.id in self.routers}
            if said := routers_left_out(names):
                self.warnings.append(f"sources.{name}: {said}")
                # It may be why the source does not find what it looks for.
                also = f" {said[:1].upper()}{said[1:]}"
                problems = self.report.problems
                problems[told:] = [replace(it, hint=f"{it.hint}{also}".strip()) for it in problems[told:]]
            left_out |= {*names}
            found += kept
        self._exclude(found, left_out)
        return found

    def _taken(self, arm: str) -> frozenset[str]:
        """Registered models that explicit entries name: they take these from every source, variants from their arm's.

        One with the id that the source gives overrides it field by field; a variant of another arm needs the main one.
        """
        mine = [entry for entry in self.spec.models if entry.arm in (MAIN_ARM, arm)]
        named = ((entry.id, registered_name(entry.uri)) for entry in mine)
        return frozenset(name for id_, name in named if name and id_ not in (name, f"{name}~{arm}"))

    def _brought(self, component: ComponentSpec, context: SourceContext) -> Iterator[SubModelEntry]:
        """What a source yields; each thing that cannot be a sub-model is a problem."""
        where = f"sources.{context.name}"
        try:
            source = make_component(component)
        except MmeframeError as error:
            self.report.below(where).of(error)
            return
        source.bind(context)
        try:
            for number, entry in enumerate(source.expand(), start=1):
                place = _origin(entry, where, number)
                if fault := entry_fault(entry):
                    self.report.add(place, f"{fault}.", "Leave it out, or mend it.", "fleet")
                else:
                    placed = entry if entry.origin in (where, place) else replace(entry, origin=place)
                    yield self._defaults(placed, component.options)
        except ProblemsError as error:
            self.report.of(error)
        except MmeframeError as error:
            at = f"{where}.{error.where}" if error.where == "filter" else error.where or where
            self.report.add(at, error.what, error.hint, error.code)
        except FAULTS as error:
            said = (str(error).splitlines() or [""])[0]
            what = f"{component.kind} failed: {type(error).__name__}: {said}"
            self.report.add(where, what, "Check the file or store that it reads.", "fleet")

    def _exclude(self, found: list[SubModelEntry], left_out: set[str]) -> None:
        """Take away what ``exclude`` names; a pattern that names nothing is a problem."""
        unused = []
        for pattern in self.spec.exclude:
            matched = {entry.id for entry in found if fnmatch.fnmatchcase(entry.id, pattern)}
            unused += [] if matched or fnmatch.filter(left_out, pattern) else [pattern]
            found[:] = [entry for entry in found if entry.id not in matched]
        for pattern in unused if not self.report else ():
            self.report.add(
                "exclude", f"no source brings {pattern!r}.", suggest(pattern, [entry.id for entry in found])
            )

    def _defaults(self, entry: SubModelEntry, options: Mapping[str, Any]) -> SubModelEntry:
        """What the source's options say of all, and ``model_defaults``, under what the entry itself says."""
        arm = options["arm"] if entry.arm == MAIN_ARM else entry.arm
        defaults = self.spec.model_defaults
        flavor = defaults.flavor if entry.flavor == "auto" else entry.flavor
        own = self._loader(entry.loader, f"{entry.origin}.loader")
        loader = self._loader(defaults.loader, "model_defaults.loader") if own == "auto" else own
        signature = entry.signature or options["signature"]
        prove = next(it for it in (entry.prove, options["prove"], defaults.prove) if it is not None)
        known = (entry.arm, entry.flavor, entry.loader, entry.signature, entry.prove)
        if arm == MAIN_ARM and known == (arm, flavor, loader, signature, prove):
            return entry
        id_ = entry.id if arm == MAIN_ARM else f"{entry.id}~{arm}"
        return replace(entry, id=id_, arm=arm, flavor=flavor, loader=loader, signature=signature, prove=prove)

    def _loader(self, loader: Any, where: str) -> ComponentSpec | str:
        if isinstance(loader, ComponentSpec):
            return loader
        if loader == "auto":
            return "auto"
        options = {"kind": loader} if isinstance(loader, str) else dict(loader)
        return self.plugins.get(LOADER.noun, options.pop("kind"), where).component(options)

    def _overlay(self, mine: SubModelEntry, theirs: SubModelEntry) -> SubModelEntry:
        """An explicit entry over a source's, field by field. Another URI forgets what the source had pinned."""
        return replace(
            mine if mine.uri or mine.combine else theirs,
            key=theirs.key if mine.key is None else mine.key,
            arm=theirs.arm if mine.arm == MAIN_ARM else mine.arm,
            routed=mine.routed,
            flavor=theirs.flavor if mine.flavor == "auto" else mine.flavor,
            loader=theirs.loader if mine.loader == "auto" else mine.loader,
            signature=_halves(mine.signature, theirs.signature),
            prove=theirs.prove if mine.prove is None else mine.prove,
            origin=mine.origin,
        )

    def _key(self, entry: SubModelEntry, parts: tuple[str, ...]) -> SubModelEntry | None:
        """The entry with canonical key values; None, with a problem, if they cannot be keys."""
        key = entry.key
        texts = [entry.id, entry.uri, *(key or {}).values()]
        if odd := [text for text in texts if isinstance(text, str) and not _unicode(text)]:
            what = f"{odd[0]!r} has bytes or halves of letters that are no UTF-8."
            self.report.add(entry.origin, what, "Give it another name.")
            return None
        if key is not None and all(type(value) is str and value for value in key.values()):
            # Text is itself.
            return entry
        if key is None:
            if len(parts) != 1:
                what = (
                    "it needs a key: routing has several parts." if parts else "it needs 'key: {}': no key is routed."
                )
                self.report.add(
                    f"{entry.origin}.key", what, f"Write key: {{{', '.join(f'{part}: ...' for part in parts)}}}."
                )
                return None
            key = {parts[0]: entry.id}
        found = {}
        for part, value in key.items():
            text = canonical(value) if isinstance(value, str | Integral) and not isinstance(value, bool) else None
            if not text:
                shown = "null" if value is None else f"the {type(value).__name__} {value!r}"
                self.report.add(
                    entry.origin,
                    f"the key part {part!r} of {entry.id!r} is {shown}; keys are text or whole numbers.",
                    "Quote it where it is declared.",
                )
                return None
            found[part] = text
        return replace(entry, key=found)

    def _unique(self, entries: list[SubModelEntry], explicit: set[str]) -> list[SubModelEntry]:
        """One sub-model per (key, arm): an explicit entry drops a source's; otherwise both are named."""
        owner: dict[Any, SubModelEntry] = {}
        for entry in sorted(entries, key=lambda entry: entry.id not in explicit):
            place = (frozenset((entry.key or {}).items()), entry.arm) if entry.routed else entry.id
            rival = owner.setdefault(place, entry)
            if rival is entry:
                continue
            if rival.id in explicit and entry.id not in explicit:
                self.dropped.append((entry.id, rival.id))
            else:
                key = (
                    ", ".join(f"{part}={value}" for part, value in (entry.key or {}).items()) or "the global sub-model"
                )
                arm = "" if entry.arm == MAIN_ARM else f", arm {entry.arm}"
                self.report.add(
                    entry.origin,
                    f"{entry.id!r} and {rival.id!r} ({rival.origin}) are both for {key}{arm}.",
                    "Exclude one, or give it another key or arm.",
                )
        return sorted(owner.values(), key=lambda entry: entry.id)


def _origin(entry: Any, where: str, number: int) -> str:
    """Where a thing stands that a source yields: what it says itself, else its number."""
    said = getattr(entry, "origin", None)
    return said if isinstance(said, str) and said not in ("", where) else f"{where} entry {number}"


def _unicode(text: str) -> bool:
    """Whether it is text that files can hold: names of files may be any bytes, and JSON may name half a letter."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _halves(mine: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """One declared signature over another: what it leaves out, the other says."""
    if not mine or not theirs:
        return mine or theirs
    return {half: mine[half] or theirs[half] for half in ("inputs", "outputs")}
