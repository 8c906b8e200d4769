"""One set of requirements for a fleet: sub-models' pins merged, conflicts named."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from typing import Any

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mmeframe.errors import Report
from mmeframe.redact import redact
from mmeframe.sections import EnvironmentSpec

__all__ = ["distributions_of", "merge", "read_requirements"]

# Top-level packages and modules in lines of a RECORD or of a top_level.txt.
_SHIPPED = re.compile(r"^(\w+)(?:$|/|\.py,|\.[^/,\n]+\.(?:so|pyd),)", re.MULTILINE)
_ENDLESS = re.compile(r"\d{100}")


# Thousands of sub-models have the same few texts.
@lru_cache(maxsize=1024)
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
            secret = _has_credentials(Requirement(_finite(line)))
        except (InvalidRequirement, InvalidSpecifier):
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


def distributions_of(packages: Collection[str]) -> dict[str, str]:
    """Installed distributions that ship these top-level packages, by package; the others are left out.

    Lists of shipped files are searched as text: ``metadata.packages_distributions`` makes a path of each file and looks
    whether it is there, which takes several times as long where MLflow is installed.
    """
    found: dict[str, str] = {}
    for distribution in metadata.distributions() if packages else ():
        files = distribution.read_text("top_level.txt") or distribution.read_text("RECORD") or ""
        for package in set(_SHIPPED.findall(files)).intersection(packages):
            found.setdefault(package, distribution.metadata["Name"])
    return found


def _finite(text: str) -> str:
    """The text. Raises InvalidSpecifier where it has a number that no version has, and Python may refuse to read."""
    if _ENDLESS.search(text):
        raise InvalidSpecifier(text)
    return text


def _has_credentials(requirement: Requirement) -> bool:
    """User info, a query or a token; the bare user of ssh, as in ``git+ssh://git@host``, and a port are none."""
    plain = re.sub(r"(?<=ssh://)[^/:@\s]+@", "", requirement.url or "")
    plain = re.sub(r"(?<=://)([^/:@\s]+):\d{1,5}(?=/)", r"\1", plain)
    return redact(plain) != plain


def _version(text: str) -> Version | None:
    """A version of PEP 440, None for what only ``===`` can name."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


@dataclass(frozen=True, slots=True)
class _Want:
    """What one owner asks of one distribution."""

    owner: str
    specifier: SpecifierSet
    marker: str = ""
    url: str | None = None
    extras: frozenset[str] = frozenset()


@dataclass
class _Need:
    """All that is asked of one distribution at the same time.

    chosen: the exact version that ``settle`` found; it takes the place of those that were asked for.
    """

    name: str
    wants: list[_Want] = field(default_factory=list)
    chosen: Specifier | None = None

    def settle(self, policy: str) -> str:
        """Choose the exact version, if any was asked for. Returns two requests that clash, or an empty text."""
        urls: dict[str, str] = {}
        for want in self.wants:
            if want.url:
                urls.setdefault(want.url, want.owner)
        if len(urls) > 1:
            one, two = list(urls.values())[:2]
            return f"{one} and {two} need {self.name} from two URLs."
        pins, ranges = self._clauses(exact=True), self._clauses(exact=False)
        rivals = ranges if policy == "highest" else {**pins, **ranges}
        self.chosen = _highest(pins, rivals)
        if self.chosen is not None:
            return ""
        pair = _excluded(pins, rivals) if pins else _apart(ranges)
        asked = [f"{owner} needs {self.name}{clause}" for clause, owner in pair]
        return f"{' and '.join(asked)}." if asked else ""

    def can_choose(self) -> bool:
        """Whether ``environment.merge=highest`` would settle it."""
        pins, ranges = self._clauses(exact=True), self._clauses(exact=False)
        return _highest(pins, ranges) is not None and len({want.url for want in self.wants if want.url}) < 2

    def lines(self) -> Iterator[str]:
        """One requirement per marker, with everything that was asked under it."""
        for marker in {want.marker for want in self.wants}:
            wants = [want for want in self.wants if want.marker == marker]
            extras = ",".join(sorted({extra for want in wants for extra in want.extras}))
            clauses = [clause for want in wants for clause in want.specifier]
            kept = {str(self.chosen if self.chosen and _is_exact(clause) else clause) for clause in clauses}
            url = next((want.url for want in wants if want.url), None)
            at = f" @ {url}" if url else str(SpecifierSet(",".join(sorted(kept))))
            yield f"{self.name}{f'[{extras}]' if extras else ''}{at}" + (f" ; {marker}" if marker else "")

    def _clauses(self, *, exact: bool) -> dict[Specifier, str]:
        """Exact versions, or ranges, sorted, each with the first who asked for it."""
        asked = [(clause, want.owner) for want in self.wants for clause in want.specifier if _is_exact(clause) == exact]
        found: dict[Specifier, str] = {}
        for clause, owner in sorted(asked, key=lambda item: str(item[0])):
            found.setdefault(clause, owner)
        return found


def merge(wanted: Sequence[tuple[str, Iterable[str]]], spec: EnvironmentSpec, report: Report) -> tuple[str, ...]:
    """Merge requirement lists into one, sorted by name; markers stay as they were written.

    wanted: (who asks, requirements). Exactly one mlflow is kept, this environment's: it is what wrote the router; with
    all extras that were asked for. What no version of a distribution satisfies here becomes a problem, unless
    ``environment.override`` names it, or ``environment.merge`` is ``highest`` and the ranges admit an exact version.
    """
    override = _overrides(spec.override, report)
    mlflow = _Want("mmeframe", override.get("mlflow", SpecifierSet(f"=={metadata.version('mlflow')}")))
    needs: dict[tuple[str, str], _Need] = {}
    for owner, lines in [*wanted, ("environment.extra", spec.extra)]:
        for requirement in _parsed(owner, lines, report):
            name: str = canonicalize_name(requirement.name)
            together = "" if _holds(requirement.marker) else str(requirement.marker)
            if name == "mlflow" and not together:
                mlflow = replace(mlflow, extras=mlflow.extras | requirement.extras)
            if name not in ("mlflow", "mmeframe"):
                want = _want(owner, requirement, override.get(name))
                needs.setdefault((name, together), _Need(name)).wants.append(want)
    for need in needs.values():
        if clash := need.settle(spec.merge):
            report.add("environment", clash, _cure(need), "fleet")
    asked = {name for name, _ in needs}
    added = [
        _Need(name, [_Want("environment.override", override[name])]) for name in override.keys() - asked - {"mlflow"}
    ]
    return tuple(sorted(line for need in [*needs.values(), *added, _Need("mlflow", [mlflow])] for line in need.lines()))


def _parsed(owner: str, lines: Iterable[str], report: Report) -> Iterator[Requirement]:
    """What can be stored of one owner's lines; what cannot becomes a problem."""
    for line in lines:
        try:
            requirement = Requirement(_finite(line))
        except (InvalidRequirement, InvalidSpecifier):
            report.add(owner, f"{line!r} is no requirement.", "Write it as pip does: name==1.2.")
            continue
        if _has_credentials(requirement):
            hint = "Requirements are stored in the clear. Let pip ask a keyring or .netrc, and leave them out here."
            report.add(owner, f"the URL of {requirement.name} holds credentials.", hint)
            continue
        yield requirement


def _want(owner: str, requirement: Requirement, override: SpecifierSet | None) -> _Want:
    """A requirement as it counts: an override takes the place of its versions and of its URL."""
    want = _Want(
        owner, requirement.specifier, str(requirement.marker or ""), requirement.url, frozenset(requirement.extras)
    )
    return want if override is None else replace(want, owner="environment.override", specifier=override, url=None)


def _holds(marker: Marker | None) -> bool:
    """Whether pip would install it here. A marker that cannot be evaluated (``os_name ~= 'x'``) holds nowhere."""
    try:
        return marker is None or marker.evaluate()
    except ValueError:
        return False


def _is_exact(clause: Specifier) -> bool:
    return clause.operator in ("==", "===") and "*" not in clause.version


def _allows(clause: Specifier, pin: Specifier) -> bool:
    """Whether a request admits an exact version; ``==2.0`` admits ``2.0+cpu``, as PEP 440 says."""
    if str(clause) == str(pin):
        return True
    return _version(pin.version) is not None and clause.contains(pin.version, prereleases=True)


def _highest(pins: Collection[Specifier], judges: Collection[Specifier]) -> Specifier | None:
    """The highest exact version that all judges admit; of equal ones ``===``, which admits less."""

    def rank(pin: Specifier) -> tuple[bool, Any, str]:
        version = _version(pin.version)
        return version is not None, version or pin.version, pin.operator

    return max((pin for pin in pins if all(_allows(judge, pin) for judge in judges)), key=rank, default=None)


def _excluded(pins: Mapping[Specifier, str], rivals: Mapping[Specifier, str]) -> list[tuple[Specifier, str]]:
    """The first exact version and the first request that rule one another out, each with its owner."""
    for pin, owner in pins.items():
        for rival, other in rivals.items():
            if not _allows(rival, pin) and not (_is_exact(rival) and _allows(pin, rival)):
                return [(pin, owner), (rival, other)]
    return []


def _apart(ranges: Mapping[Specifier, str]) -> list[tuple[Specifier, str]]:
    """Two ranges without a common version, each with its owner: the highest floor lies above the lowest ceiling."""
    bounds = {clause: _bounds(clause) for clause in ranges}
    floors = {clause: floor for clause, (floor, _) in bounds.items() if floor}
    ceilings = {clause: ceiling for clause, (_, ceiling) in bounds.items() if ceiling}
    if not floors or not ceilings:
        return []
    low, high = max(floors, key=floors.__getitem__), min(ceilings, key=ceilings.__getitem__)
    (floor, above), (ceiling, included) = floors[low], ceilings[high]
    if floor < ceiling or (floor == ceiling and included and not above):
        return []
    return [(low, ranges[low]), (high, ranges[high])]


def _bounds(clause: Specifier) -> tuple[tuple[Version, bool] | None, tuple[Version, bool] | None]:
    """Where a range begins, and whether above that; where it ends, and whether with that. None: at no version."""
    version = _version(clause.version.removesuffix(".*"))
    if version is None or clause.operator == "!=":
        return None, None
    if clause.operator in (">", ">="):
        return (version, clause.operator == ">"), None
    if clause.operator == "<=":
        return None, (version, True)
    # <2 leaves out the candidates of 2, unless it names one: it ends before the first of them.
    if clause.operator == "<":
        return None, (version if version.is_prerelease else Version(f"{version}.dev0"), False)
    if clause.operator == "~=":
        return (version, False), (_end_of_series(version, version.release[:-1]), False)
    return (Version(f"{version}.dev0"), False), (_end_of_series(version, version.release), False)


def _end_of_series(version: Version, series: tuple[int, ...]) -> Version:
    """The first version after 1.4.*: 1.5.dev0."""
    return Version(f"{version.epoch}!{'.'.join(map(str, [*series[:-1], series[-1] + 1]))}.dev0")


def _overrides(given: Mapping[str, str], report: Report) -> dict[str, SpecifierSet]:
    found: dict[str, SpecifierSet] = {}
    for name, text in given.items():
        try:
            found[canonicalize_name(name)] = SpecifierSet(_finite(text if not text[:1].isdigit() else f"=={text}"))
        except InvalidSpecifier:
            where = f"environment.override.{name}"
            report.add(where, f"{text!r} is no version specifier.", "Write ==1.2 or >=1.2,<2.")
    return found


def _cure(need: _Need) -> str:
    """What would settle a clash: ``highest`` only where it would."""
    hint = f"Choose one with '+environment.override.{need.name}=\"==<version>\"'"
    return f"{hint}, or set environment.merge=highest." if need.can_choose() else f"{hint}."
