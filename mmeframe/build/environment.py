"""One set of requirements for a fleet: sub-models' pins merged, conflicts named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

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
        line = line.split(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("-"):
            if not line.startswith(("-c ", "--constraint ")):
                left.append(line.split()[0])
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
    return requirement.url is not None and redact(requirement.url) != requirement.url


@dataclass
class _Need:
    """One distribution under one marker, with who asked for what."""

    name: str
    marker: str
    url: str | None = None
    extras: set[str] = field(default_factory=set)
    wants: list[tuple[SpecifierSet, str]] = field(default_factory=list)

    def pins(self) -> dict[str, str]:
        """Exact versions asked for, each with the first who did."""
        found: dict[str, str] = {}
        for specifier, owner in self.wants:
            for clause in specifier:
                if clause.operator in ("==", "===") and "*" not in clause.version:
                    found.setdefault(clause.version, owner)
        return found

    def conflict(self) -> str:
        """Two requests that no version satisfies, or an empty text."""
        pins = self.pins()
        if len({Version(pin) for pin in pins}) > 1:
            (one, by), (two, other) = sorted(pins.items())[:2]
            return f"{by} needs {self.name}=={one} and {other} needs {self.name}=={two}."
        for pin, by in pins.items():
            for specifier, owner in self.wants:
                if not specifier.contains(pin, prereleases=True):
                    return f"{by} needs {self.name}=={pin} and {owner} needs {self.name}{specifier}."
        return ""

    def text(self) -> str:
        both = SpecifierSet(",".join(sorted({str(clause) for specifier, _ in self.wants for clause in specifier})))
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        at = f" @ {self.url}" if self.url else str(both)
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
            need.url = need.url or requirement.url
            need.extras |= requirement.extras
            need.wants.append((override.get(name, requirement.specifier), owner))
    for need in needs.values():
        _settle(need, spec.merge, problems)
    for name, specifier in override.items():
        needs.setdefault((name, ""), _Need(name, "", wants=[(specifier, "environment.override")]))
    mlflow = override.get("mlflow", SpecifierSet(f"=={metadata.version('mlflow')}"))
    needs[("mlflow", "")] = _Need("mlflow", "", wants=[(mlflow, "mmeframe")])
    return tuple(sorted(need.text() for need in needs.values()))


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
        highest = max(pins, key=Version)
        need.wants = [(SpecifierSet(f"=={highest}"), pins[highest])]
        return
    problems.append(
        Problem(
            "environment",
            conflict,
            f"Choose one with '+environment.override.{need.name}=\"==<version>\"', or set environment.merge=highest.",
            "fleet",
        )
    )
