"""What a check is: a promise that every component of a kind keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from mmeframe.testing.cases import Case

__all__ = ["BrokenError", "Check", "expect"]

C = TypeVar("C", bound="Case")


class BrokenError(AssertionError):
    """What a component did instead of what it promises."""


@dataclass(frozen=True)
class Check(Generic[C]):
    """A decorator of the function that checks. Called with a case, it raises AssertionError if the promise is broken.

    function: named ``check_x``; the first paragraph of its docstring is the promise.
    """

    function: Callable[[C], None]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def promised(self) -> str:
        paragraph = (self.function.__doc__ or "").strip().partition("\n\n")[0]
        return " ".join(paragraph.split())

    def __call__(self, case: C) -> None:
        __tracebackhide__ = True
        try:
            self.function(case)
        except BrokenError as broken:
            raise AssertionError(f"{case}: {broken}\n  Promised: {self.promised}") from broken.__cause__
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{case}: {self.name} ended with {said}\n  Promised: {self.promised}") from error


def expect(kept: Any, broken: str) -> None:
    """Raises BrokenError with what the component did instead, unless ``kept``."""
    __tracebackhide__ = True
    if not kept:
        raise BrokenError(broken)
