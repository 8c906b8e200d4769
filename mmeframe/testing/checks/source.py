"""What every model source promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmeframe.config.parse import key_fault
from mmeframe.errors import MmeframeError
from mmeframe.plugin import MAIN_ARM, SubModelEntry, canonical
from mmeframe.plugin.kinds import LOADER
from mmeframe.spec import ComponentSpec
from mmeframe.testing.cases import NAME, SourceCase
from mmeframe.testing.check import BrokenError, Check, expect
from mmeframe.testing.checks.common import COMMON_CHECKS

__all__ = [
    "SOURCE_CHECKS",
    "check_arm_is_the_hosts",
    "check_entries",
    "check_errors_are_told",
    "check_expands_alike",
    "check_expected",
    "check_leaves_out_what_is_taken",
    "check_loaders_exist",
    "check_unique",
]


@Check
def check_entries(case: SourceCase) -> None:
    """Each entry is a SubModelEntry with an id, a URI, and a key of the routing's parts, in text or whole numbers."""
    found = case.expanded()
    expect(found, "it brings no entries; a source that finds none says so with a MissingError")
    for entry in found:
        expect(isinstance(entry, SubModelEntry), f"it brings a {type(entry).__name__}, not a SubModelEntry")
        for name in ("id", "uri", "arm"):
            value = getattr(entry, name)
            expect(isinstance(value, str) and value, f"the {name} of {entry.id!r} is {value!r}")
        told = f"the origin of {entry.id!r} is {entry.origin!r}, and messages need sources.<name>"
        expect(entry.origin.startswith(f"sources.{NAME}"), told)
        for part, value in (entry.key or {}).items():
            expect(part in case.parts, f"the key of {entry.id!r} has {part!r}, which is no part of the routing")
            fault = key_fault(value)
            expect(not fault, f"the key of {entry.id!r} has {part}={value!r}: {fault}")


@Check
def check_unique(case: SourceCase) -> None:
    """In each arm an id stands once, and so does a key: of two entries for one, no row says which is meant."""
    found = case.expanded()
    ids = Counter((entry.arm, entry.id) for entry in found)
    twice = [id_ for (_, id_), times in ids.items() if times > 1]
    expect(not twice, f"it brings the id {twice[:1]} more than once")
    keys = Counter((entry.arm, frozenset(_texts(entry.key).items())) for entry in found if entry.key is not None)
    shown = [dict(key) for (_, key), times in keys.items() if times > 1]
    expect(not shown, f"it brings several sub-models for the key {shown[:1]}")


@Check
def check_expands_alike(case: SourceCase) -> None:
    """The same entries in the same order, by one source asked twice and by another that is made alike."""
    with case.workspace():
        source = case.bound()
        first, again, other = list(source.expand()), list(source.expand()), list(case.bound().expand())
    for told, found in (("asked again", again), ("made again", other)):
        ids = [entry.id for entry in first]
        expect([entry.id for entry in found] == ids, f"{told} it brings other entries, or in another order")
        expect(found == first, f"{told} it brings entries that differ")


@Check
def check_expected(case: SourceCase) -> None:
    """It brings what the case expects, where it says that."""
    if case.expected is None:
        return
    entries = case.expanded()
    ids, wanted = sorted(entry.id for entry in entries), sorted(case.expected)
    expect(ids == wanted, f"it brings {ids}, not {wanted}")
    if isinstance(case.expected, Mapping):
        for entry in entries:
            found, key = _texts(entry.key), _texts(case.expected[entry.id])
            expect(found == key, f"the key of {entry.id!r} is {found}, not {key}")


@Check
def check_loaders_exist(case: SourceCase) -> None:
    """An entry's loader is ``auto``, or one that is registered."""
    known = case.known.names(LOADER.noun)
    for entry in case.expanded():
        name = entry.loader.kind if isinstance(entry.loader, ComponentSpec) else entry.loader
        expect(name == "auto" or name in known, f"the loader of {entry.id!r} is {name!r}, which nobody registers")


@Check
def check_arm_is_the_hosts(case: SourceCase) -> None:
    """The options ``arm``, ``signature`` and ``prove`` are the host's: with them a source brings the same entries."""
    other = {"arm": "variant", "signature": {"inputs": {"x": "double"}, "outputs": "double"}, "prove": False}
    with_them = replace(case, options={**case.options, **other}, id="")
    without = replace(case, options={k: v for k, v in case.options.items() if k not in other}, id="")
    with case.workspace():
        found, plain = list(with_them.bound().expand()), list(without.bound().expand())
    changed = [one.id for one, two in zip(found, plain, strict=False) if one != two]
    expect(len(found) == len(plain) and not changed, f"with arm or signature it brings other entries: {changed[:3]}")


@Check
def check_leaves_out_what_is_taken(case: SourceCase) -> None:
    """A registered model that an explicit entry names (``context.taken``) is left out."""
    named = [entry.name for entry in case.expanded() if entry.name and entry.arm == MAIN_ARM]
    if len(named) > 1:
        found = case.expanded(taken=frozenset(named[:1]))
        expect(named[0] not in [entry.name for entry in found], f"it brings {named[0]!r}, which config names itself")


@Check
def check_errors_are_told(case: SourceCase) -> None:
    """Where its files are gone, or the routing has other parts, it says so with a ConfigError or MissingError."""
    for told, tried, parts in (
        ("without its files", replace(case, files={}), case.parts),
        ("with other key parts", case, ("another_part",)),
    ):
        try:
            tried.expanded(parts=parts)
        except MmeframeError as error:
            expect(error.what or getattr(error, "problems", ()), f"{told} its error says nothing")
        except Exception as error:
            raise BrokenError(f"{told} it ends with {type(error).__name__}: {error}") from error


SOURCE_CHECKS = (
    *COMMON_CHECKS,
    check_entries,
    check_unique,
    check_expands_alike,
    check_expected,
    check_loaders_exist,
    check_arm_is_the_hosts,
    check_leaves_out_what_is_taken,
    check_errors_are_told,
)


def _texts(key: Mapping[str, Any] | None) -> dict[str, str | None]:
    return {part: canonical(value) for part, value in (key or {}).items()}
