"""One set of requirements for a fleet: sub-models' pins merged, conflicts named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mmeframe.errors import Problem
from mmeframe.redact import redact
from mmeframe.spec import EnvironmentSpec

__all__ = ["merge", "read_requirements"]


def read_requirements(text: str, constraints: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Requirements of a ``requirements.txt``, and the lines that a router cannot take over.

    ``-c constraints.txt``, as MLflow writes it, is followed; its lines only narrow what is required. Options such as
    ``--extra-index-url`` belong to the machine that installs, and may hold credentials: they are left out, and counted.
    """
    found: list[str] = []
    left: list[str] = []
    for line in text.splitlines():
        line = re.split(r"(?:^|\s)#", line)[0].strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("-"):
            if not line.startswith(("-c ", "--constraint ", "--constraint=")):
                left.append(line[:2] if line[1] != "-" else re.split(r"[\s=]", line)[0])
            continue
        try:
            secret = _has_credentials(Requirement(line))
        except InvalidRequirement:
            left.append(line.split("://")[0])
        else:
            if secret:
                left.append(redact(line))
            else:
                found.append(line)
    names = {canonicalize_name(Requirement(line).name) for line in found}
    narrower = read_requirements(constraints)[0] if constraints else ()
    found += [line for line in narrower if canonicalize_name(Requirement(line).name) in names]
    return tuple(found), tuple(left)


def _has_credentials(requirement: Requirement) -> bool:
    """User info or a query; the bare user of ssh, as in ``git+ssh://git@host``, is none."""
    plain = re.sub(r"(?<=ssh://)[^/:@\s]+@", "", requirement.url or "")
    return redact(plain) != plain


def _version(text: str) -> Version | None:
    """A version of PEP 440, None for what only ``===`` can name."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


@dataclass
class _Need:
    """One distribution under one marker, with who asked for what."""

    name: str
    marker: str
    urls: dict[str, str] = field(default_factory=dict)
    extras: set[str] = field(default_factory=set)
    wants: list[tuple[SpecifierSet, str]] = field(default_factory=list)

    def pins(self) -> dict[Specifier, str]:
        """Exact versions asked for, each with the first who did."""
        found: dict[Specifier, str] = {}
        for specifier, owner in self.wants:
            for clause in specifier:
                if clause.operator in ("==", "===") and "*" not in clause.version:
                    found.setdefault(clause, owner)
        return found

    def conflict(self) -> str:
        """Two requests that no version satisfies, or an empty text."""
        if len(self.urls) > 1:
            one, two = list(self.urls.values())[:2]
            return f"{one} and {two} need {self.name} from two URLs."
        pins = self.pins()
        if len({_version(pin.version) or pin.version for pin in pins}) > 1:
            (one_pin, one), (two_pin, two) = sorted(pins.items(), key=lambda item: str(item[0]))[:2]
            return f"{one} needs {self.name}{one_pin} and {two} needs {self.name}{two_pin}."
        if not pins and (apart := self._apart()):
            return apart
        for pin, by in pins.items():
            for specifier, owner in self.wants:
                if not _allows(specifier, pin):
                    return f"{by} needs {self.name}{pin} and {owner} needs {self.name}{specifier}."
        return ""

    def _apart(self) -> str:
        """Two ranges without a common version: the highest lower bound lies above the lowest upper one."""
        low: list[tuple[Version, bool, str, Specifier]] = []
        high: list[tuple[Version, bool, str, Specifier]] = []
        for specifier, owner in self.wants:
            for clause in specifier:
                bound = _version(clause.version)
                if bound is not None and clause.operator in (">", ">=", "<", "<="):
                    side = low if clause.operator[0] == ">" else high
                    side.append((bound, clause.operator in (">", "<"), owner, clause))
        if not low or not high:
            return ""
        floor = max(low, key=lambda item: (item[0], item[1]))
        ceiling = min(high, key=lambda item: (item[0], not item[1]))
        if floor[0] < ceiling[0] or (floor[0] == ceiling[0] and not floor[1] and not ceiling[1]):
            return ""
        return f"{floor[2]} needs {self.name}{floor[3]} and {ceiling[2]} needs {self.name}{ceiling[3]}."

    def text(self) -> str:
        both = SpecifierSet(",".join(sorted({str(clause) for specifier, _ in self.wants for clause in specifier})))
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        at = f" @ {next(iter(self.urls))}" if self.urls else str(both)
        return f"{self.name}{extras}{at}" + (f" ; {self.marker}" if self.marker else "")


def merge(
    wanted: Sequence[tuple[str, Iterable[str]]], spec: EnvironmentSpec, problems: list[Problem]
) -> tuple[str, ...]:
    """Merge requirement lists into one, sorted by name.

    wanted: (who asks, requirements). Exactly one mlflow is kept, this environment's: it is what wrote the router.
    Two exact versions of one distribution, or one outside another's range, become problems, unless
    ``environment.override`` names it or ``environment.merge`` is ``highest``.
    """
    override = _overrides(spec.override, problems)
    needs: dict[tuple[str, str], _Need] = {}
    for owner, lines in [*wanted, ("environment.extra", spec.extra)]:
        for line in lines:
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                shown = redact(line)
                problems.append(Problem(owner, f"{shown!r} is no requirement.", "Write it as pip does: name==1.2."))
                continue
            if _has_credentials(requirement):
                hint = "Requirements are stored in the clear. Let pip ask a keyring or .netrc, and leave them out here."
                problems.append(Problem(owner, f"the URL of {requirement.name} holds credentials.", hint))
                continue
            name: str = canonicalize_name(requirement.name)
            if name in ("mlflow", "mmeframe"):
                continue
            marker = str(requirement.marker or "")
            need = needs.setdefault((name, marker), _Need(name, marker))
            if requirement.url and name not in override:
                need.urls.setdefault(requirement.url, owner)
            need.extras |= requirement.extras
            need.wants.append((override.get(name, requirement.specifier), owner))
    for need in needs.values():
        _settle(need, spec.merge, problems)
    for name, specifier in override.items():
        if not any(known == name for known, _ in needs):
            needs[(name, "")] = _Need(name, "", wants=[(specifier, "environment.override")])
    mlflow = override.get("mlflow", SpecifierSet(f"=={metadata.version('mlflow')}"))
    needs[("mlflow", "")] = _Need("mlflow", "", wants=[(mlflow, "mmeframe")])
    return tuple(sorted(need.text() for need in needs.values()))


def _allows(specifier: SpecifierSet, pin: Specifier) -> bool:
    """Whether a request admits an exact version."""
    if _version(pin.version) is None:
        return str(specifier) in ("", str(pin))
    return specifier.contains(pin.version, prereleases=True)


def _overrides(given: Mapping[str, str], problems: list[Problem]) -> dict[str, SpecifierSet]:
    found: dict[str, SpecifierSet] = {}
    for name, text in given.items():
        try:
            found[canonicalize_name(name)] = SpecifierSet(text if not text[:1].isdigit() else f"=={text}")
        except InvalidSpecifier:
            where = f"environment.override.{name}"
            problems.append(Problem(where, f"{text!r} is no version specifier.", "Write ==1.2 or >=1.2,<2."))
    return found


def _settle(need: _Need, policy: str, problems: list[Problem]) -> None:
    conflict = need.conflict()
    if not conflict:
        return
    pins = need.pins()
    if policy == "highest" and pins:
        known = {pin: version for pin in pins if (version := _version(pin.version))}
        highest = max(known or pins, key=lambda pin: known.get(pin, pin.version))
        need.wants = [(SpecifierSet(str(highest)), pins[highest])]
        return
    problems.append(
        Problem(
            "environment",
            conflict,
            f"Choose one with '+environment.override.{need.name}=\"==<version>\"', or set environment.merge=highest.",
            "fleet",
        )
    )
