"""The conformance kit as pytest runs it: one list of checks per kind, behind a base class and a decorator.

Checks are no methods of a test class, so none is overridden by accident. What a component does not keep is named in
``expected_failed_checks``, with the reason, and fails as soon as it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mmeframe.errors import UsageError, suggest
from mmeframe.plugin.components import import_target
from mmeframe.testing._pytest import pytest
from mmeframe.testing.cases import Case, CombinerCase, LoaderCase, ObserverCase, SourceCase, StrategyCase

if TYPE_CHECKING:
    from mmeframe.testing.check import Check

__all__ = [
    "CombinerConformance",
    "ModelLoaderConformance",
    "ModelSourceConformance",
    "ObserverConformance",
    "RoutingStrategyConformance",
    "checks_of",
    "parametrize_with_checks",
]

F = TypeVar("F", bound=Callable[..., Any])

# Methods of the base that a class of an author's must not replace.
_OWN = ("test_keeps", "pytest_generate_tests")


def checks_of(case: Case | type[Case]) -> Sequence[Check[Any]]:
    """The checks of a case, or of a kind of cases, in the order in which they run."""
    checks: Sequence[Check[Any]] = import_target(case.of_kind.checks)
    return checks


def parametrize_with_checks(
    cases: Sequence[Case], *, expected_failed_checks: Mapping[str, str] | None = None
) -> Callable[[F], F]:
    """Run a test once for each case and each check of its kind; the test has the arguments ``case`` and ``check``::

        @parametrize_with_checks([StrategyCase("geohash", rows=ROWS)])
        def test_geohash(case, check):
            check(case)

    expected_failed_checks: name of a check -> why all these cases fail it. One that passes all the same fails the test.
    Raises UsageError for a name that is no check of these cases.
    """
    if not isinstance(cases, Sequence) or not cases or not all(isinstance(case, Case) for case in cases):
        hint = "StrategyCase, LoaderCase, SourceCase, CombinerCase and ObserverCase are cases."
        raise UsageError("this takes a list of cases.", where="parametrize_with_checks", hint=hint)
    expected = expected_failed_checks or {}
    _known_checks(expected, [check for case in cases for check in checks_of(case)], "expected_failed_checks")
    mark = pytest.mark.parametrize(("case", "check"), list(_parameters(cases, expected)))
    return lambda function: mark(function)


def _parameters(cases: Iterable[Case], expected: Mapping[str, str]) -> Iterator[Any]:
    for case in cases:
        for check in checks_of(case):
            reason = expected.get(check.name)
            marks = () if reason is None else (pytest.mark.xfail(reason=reason, strict=True),)
            yield pytest.param(case, check, id=f"{case.id}-{check.name}", marks=marks)


def _known_checks(expected: Mapping[str, str], checks: Iterable[Check[Any]], where: str) -> None:
    names = [check.name for check in checks]
    for name, reason in expected.items():
        if name not in names:
            raise UsageError(f"there is no check {name!r}.", where=where, hint=suggest(name, names, "Checks"))
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(f"say why {name!r} is expected to fail.", where=where, hint=f'{{"{name}": "reason"}}')


class _Conformance:
    """Base of the classes that authors extend; the cases, and what they do not keep."""

    case_type: ClassVar[type[Case]]
    # What is tried.
    cases: ClassVar[Sequence[Any]] = ()
    # Name of a check -> why all these cases fail it.
    expected_failed_checks: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "case_type" in vars(cls):
            return
        own = [name for name in vars(cls) if name.startswith("check_") or name in _OWN]
        if own:
            raise UsageError(
                f"{own[0]} cannot be overridden.",
                where=cls.__name__,
                hint='Name what is not kept: expected_failed_checks = {"check_x": "reason"}.',
            )
        if not isinstance(cls.cases, Sequence):
            hint = "Files that a case needs are made by functions: model=, rows= and files= take them."
            raise UsageError(
                "this is a list of cases, known before any test runs.", where=f"{cls.__name__}.cases", hint=hint
            )
        wrong = [case for case in cls.cases if not isinstance(case, cls.case_type)]
        if wrong:
            hint = f"It takes {cls.case_type.__name__}."
            raise UsageError(f"{type(wrong[0]).__name__} is no case of it.", where=f"{cls.__name__}.cases", hint=hint)
        where = f"{cls.__name__}.expected_failed_checks"
        _known_checks(cls.expected_failed_checks, checks_of(cls.case_type), where)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if metafunc.function.__name__ != "test_keeps":
            return
        if not self.cases:
            hint = f"cases = [{self.case_type.__name__}(...)]"
            raise UsageError("there are no cases.", where=f"{type(self).__name__}.cases", hint=hint)
        metafunc.parametrize(("case", "check"), list(_parameters(self.cases, self.expected_failed_checks)))

    def test_keeps(self, case: Case, check: Callable[[Case], None]) -> None:
        """The component keeps what every component of its kind promises."""
        check(case)


class RoutingStrategyConformance(_Conformance):
    """What every routing strategy promises; set ``cases`` to a list of ``StrategyCase``."""

    case_type = StrategyCase


class ModelLoaderConformance(_Conformance):
    """What every model loader promises; set ``cases`` to a list of ``LoaderCase``."""

    case_type = LoaderCase


class ModelSourceConformance(_Conformance):
    """What every model source promises; set ``cases`` to a list of ``SourceCase``."""

    case_type = SourceCase


class CombinerConformance(_Conformance):
    """What every combiner promises; set ``cases`` to a list of ``CombinerCase``."""

    case_type = CombinerCase


class ObserverConformance(_Conformance):
    """What every observer promises; set ``cases`` to a list of ``ObserverCase``."""

    case_type = ObserverCase
