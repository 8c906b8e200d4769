"""What a check is: a promise that every component of a kind keeps, and the rule by which new ones come in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import mmeframe

if TYPE_CHECKING:
    from mmeframe.testing.cases import Case

__all__ = ["FIRST", "BrokenError", "Check", "NewCheckWarning", "expect", "promise"]

# The first version with checks: a plugin tested with it has never passed without them.
FIRST = "0.1"

C = TypeVar("C", bound="Case")


class BrokenError(AssertionError):
    """What a component did instead of what it promises."""


class NewCheckWarning(UserWarning):
    """A component breaks a promise that is checked since this minor version. With the next one the check fails."""


@dataclass(frozen=True)
class Check(Generic[C]):
    """Called with a case, it raises AssertionError if the component breaks the promise.

    function: named ``check_x``; the first paragraph of its docstring is the promise. since: the minor version that
    brought the check.
    """

    function: Callable[[C], None]
    since: str = FIRST

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def promised(self) -> str:
        paragraph = (self.function.__doc__ or "").strip().partition("\n\n")[0]
        return " ".join(paragraph.split())

    def warns(self, version: str) -> bool:
        """Whether a broken promise is only a warning in a version of mmeframe: in the minor that brought the check."""
        return self.since != FIRST and _minor(version) <= _minor(self.since)

    def __call__(self, case: C) -> None:
        __tracebackhide__ = True
        try:
            self.firmly(case)
        except AssertionError as error:
            if not self.warns(mmeframe.__version__):
                raise
            told = f"{error}\n  {self.name} is new in mmeframe {self.since}, and fails from the next minor version on."
            warnings.warn(NewCheckWarning(told), stacklevel=2)

    def firmly(self, case: C) -> None:
        """The same, however new the check is."""
        __tracebackhide__ = True
        try:
            self.function(case)
        except BrokenError as broken:
            raise AssertionError(f"{case}: {broken}\n  Promised: {self.promised}") from broken.__cause__
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{case}: {self.name} ended with {said}\n  Promised: {self.promised}") from error


def promise(since: str = FIRST) -> Callable[[Callable[[Any], None]], Check[Any]]:
    """Make a check of a function. since: the version that is worked on, for a check that plugins have not seen yet."""
    return lambda function: Check(function, since)


def expect(kept: Any, broken: str) -> None:
    """Raises BrokenError with what the component did instead, unless ``kept``."""
    __tracebackhide__ = True
    if not kept:
        raise BrokenError(broken)


def _minor(version: str) -> tuple[int, ...]:
    from packaging.version import Version

    return Version(version).release[:2]
