"""What a config declares: strategies, sub-models with their keys, levels and arms; nothing of a sub-model is read."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmeframe.budget import check_residency
from mmeframe.errors import ConfigError, MmeframeError, Report, suggest
from mmeframe.fleet.members import Members
from mmeframe.fleet.signature import natural
from mmeframe.plugin import RoutingInputs, RoutingStrategy, SubModelEntry
from mmeframe.plugin.components import make_component
from mmeframe.plugin.manager import Plugins
from mmeframe.rows.keys import csv_twins
from mmeframe.sections import RouterSpec
from mmeframe.spec import MAIN_ARM, ComponentSpec
from mmeframe.store.store import Store

__all__ = ["Declared", "read_as_keys"]


def read_as_keys(inputs: Mapping[str, RoutingInputs]) -> list[str]:
    """Parts whose keys stand in a column: computed ones, and those of parameters, are never read from a CSV file."""
    return [part for part, it in inputs.items() if "key" in it.columns.values()]


@dataclass
class Declared:
    """Reads what is declared, and checks it as far as that goes.

    routers: ids of source entries that are none, because their files have shown that they are routers. dropped: source
    entries that explicit ones replaced. prepared: config path of a component -> the files that it puts into the bundle.
    """

    spec: RouterSpec
    plugins: Plugins
    store: Store
    report: Report = field(default_factory=Report)
    routers: frozenset[str] = frozenset()
    dropped: list[tuple[str, str]] = field(default_factory=list)
    inputs: dict[str, RoutingInputs] = field(default_factory=dict)
    prepared: dict[str, Mapping[str, bytes]] = field(default_factory=dict)

    def read(self) -> tuple[dict[str, RoutingStrategy[Any]], list[SubModelEntry]]:
        """The strategies and the sub-models."""
        self.report.take(self.plugins.check_spec(self.spec))
        strategies = self._strategies()
        members = Members(
            self.spec, self.plugins, self.store, self.report, self.dropped, self.report.warnings, self.routers
        )
        entries = members.read()
        routed = [entry for entry in entries if entry.routed]
        self._levels(routed)
        self._keys(routed)
        self._arms(routed, members.overlaid)
        self._uses(entries)
        self._resident(entries)
        return strategies, entries

    def _strategies(self) -> dict[str, RoutingStrategy[Any]]:
        """What each strategy reads, and the tables of its config, so that a wrong one is found before a build."""
        made = self.prepare({f"routing.keys.{part.name}": part.strategy for part in self.spec.routing.parts})
        strategies = {where.removeprefix("routing.keys."): strategy for where, strategy in made.items()}
        self.inputs = {part: strategy.inputs() for part, strategy in strategies.items()}
        return strategies

    def prepare(self, components: Mapping[str, ComponentSpec]) -> dict[str, Any]:
        """The components, made, with what each puts into the bundle; their faults join the report."""
        made = {}
        for where, component in components.items():
            try:
                made[where] = make_component(component)
                self.prepared[where] = made[where].prepare()
            except MmeframeError as error:
                self.report.below(where).of(error)
            except Exception as error:  # noqa: BLE001 - a plugin's own code
                self.report.add(where, f"{component.kind} cannot prepare: {type(error).__name__}: {error}.")
        return made

    def _levels(self, entries: Sequence[SubModelEntry]) -> None:
        levels = [frozenset(level) for level in self.spec.routing.levels]
        used = {frozenset(entry.key or {}) for entry in entries}
        lost: dict[frozenset[str], list[str]] = {}
        for entry in entries:
            parts = frozenset(entry.key or {})
            if parts not in levels:
                lost.setdefault(parts, []).append(entry.id)
        for parts, ids in lost.items():
            listed = [list(level) for level in self.spec.routing.levels]
            # Before those that ask for less, which would take its rows.
            at = next((at for at, level in enumerate(listed) if parts.issuperset(level)), len(listed))
            wanted = str([*listed[:at], sorted(parts), *listed[at:]]).replace("'", "").replace(" ", "")
            kind = f"the parts {', '.join(sorted(parts))}" if parts else "no key (the global sub-model)"
            more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
            have = "have" if len(ids) > 1 else "has"
            self.report.add(
                "routing.levels", f"{ids[0]!r}{more} {have} {kind}, and no level does.", f"Set routing.levels={wanted}."
            )
        # A family that could not be read may have brought one.
        unread = any(problem.where.startswith("sources") for problem in self.report.problems)
        if frozenset() in levels and frozenset() not in used and not unread:
            self.report.add(
                "routing.levels", "the level [] has no sub-model.", "Declare one with key: {}, or remove the level."
            )

    def _keys(self, entries: Sequence[SubModelEntry]) -> None:
        """Two keys that a CSV reader makes one are an error."""
        for part in read_as_keys(self.inputs):
            values = {str((entry.key or {})[part]) for entry in entries if part in (entry.key or {})}
            for value, plain in csv_twins(sorted(values, key=natural)):
                how = "leading zeros" if value.lstrip("0") == plain else "how they are written"
                self.report.add(
                    f"routing.keys.{part}",
                    f"the keys {value!r} and {plain!r} differ only in {how}.",
                    "CSV files and spreadsheets cannot tell them apart. Rename one.",
                )

    def _arms(self, entries: Sequence[SubModelEntry], overlaid: Mapping[str, SubModelEntry]) -> None:
        """Every variant has a main sub-model of its key; traffic names arms and keys that there are.

        overlaid: entries of sources that explicit ones of the same id have taken the place of.
        """
        keys: dict[str, dict[Any, str]] = {}
        for entry in entries:
            keys.setdefault(entry.arm, {})[frozenset((entry.key or {}).items())] = entry.id
        main = keys.pop(MAIN_ARM, {})
        for arm, found in keys.items():
            lost = [id_ for key, id_ in found.items() if key not in main]
            if lost:
                more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
                what = f"{lost[0]!r}{more} of arm {arm!r} has no main sub-model for its key."
                hint = "Declare one: an arm is a variant of it."
                if (theirs := overlaid.get(lost[0])) is not None and theirs.arm == MAIN_ARM:
                    hint = f"It replaces the sub-model of {theirs.origin} with the same id. Give it another id, "
                    hint += f"with its uri and key: models.{lost[0]}_{arm}."
                self.report.add(f"models.{lost[0]}", what, hint)
        traffic = self.spec.traffic
        if traffic.shadow and not self.spec.observers:
            self.report.warnings.append(
                "traffic.shadow: shadows are scored for observers, and there are none: nothing will be scored. "
                "Add one with +observer@observers.<name>=log."
            )
        for where, arms in (("traffic.arms", traffic.arms), ("traffic.shadow", traffic.shadow)):
            for arm in arms:
                if arm not in keys:
                    what = f"no sub-model has the arm {arm!r}."
                    self.report.add(where, what, suggest(arm, keys, "Arms of the sub-models"))
        for arm, wanted in traffic.only.items():
            for key in wanted:
                if arm in keys and frozenset(key.items()) not in keys[arm]:
                    shown = ", ".join(f"{part}={value}" for part, value in key.items())
                    self.report.add(f"traffic.only.{arm}", f"no sub-model of arm {arm!r} is for {shown}.")

    def _uses(self, entries: Sequence[SubModelEntry]) -> None:
        """Sub-models that gates and combinations name exist, do not combine themselves, and are used if unrouted."""
        ids = {entry.id: entry for entry in entries}
        used: set[str] = set()
        for part, inputs in self.inputs.items():
            for name in inputs.models:
                used.add(name)
                if name not in ids:
                    self.report.add(
                        f"routing.keys.{part}", f"there is no sub-model {name!r}.", suggest(name, ids, "Ids")
                    )
        needs = {entry.id: entry.of for entry in entries if entry.of}
        for id_, of in needs.items():
            used |= set(of)
            for name in of:
                if name not in ids:
                    self.report.add(f"models.{id_}.combine.of", f"there is no sub-model {name!r}.", suggest(name, ids))
        for entry in entries:
            if not entry.routed and entry.id not in used:
                what = "nothing uses it: it has key: none, and no gate or combination names it."
                self.report.add(entry.origin, what, "Give it a key, or remove it.")
        for name in self.spec.disabled_models:
            if name not in ids:
                self.report.add("disabled_models", f"there is no sub-model {name!r}.", suggest(name, ids, "Ids"))
            elif any(name in inputs.models for inputs in self.inputs.values()):
                hint = "Disable the sub-models that it sends rows to."
                self.report.add("disabled_models", f"{name!r} is a gate, and decides where rows go.", hint)

    def _resident(self, entries: Sequence[SubModelEntry]) -> None:
        """What is to be in memory exists, and is not too many; their bytes are known when they are packed."""
        ids = [entry.id for entry in entries]
        unknown = []
        for option in ("pin", "preload"):
            for name in getattr(self.spec.residency, option):
                if name not in ids and not fnmatch.filter(ids, name):
                    unknown.append(name)
                    where = f"residency.{option}"
                    self.report.add(where, f"there is no sub-model {name!r}.", suggest(name, ids, "Ids"))
        if unknown:
            return
        try:
            combined = {entry.id for entry in entries if entry.combine}
            check_residency(replace(self.spec.residency, max_bytes=None), ids, combined, lambda _: 0)
        except ConfigError as error:
            self.report.of(error)
