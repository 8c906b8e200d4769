"""How something leaves the plugin API: told for some versions where it is used, then removed.

Whatever is marked here is listed, and mmeframe's own tests fail once the version is reached in which it was to go.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Deprecation", "deprecated", "deprecated_args", "overdue"]

F = TypeVar("F", bound=Callable[..., Any])
# Everything that was marked in this process.
_marked: list[Deprecation] = []


@dataclass(frozen=True, slots=True)
class Deprecation:
    """What goes, since which version that is told, in which it is gone, and what to use instead."""

    what: str
    since: str
    remove_in: str
    instead: str

    def warning(self) -> DeprecationWarning:
        text = f"{self.what} is deprecated since mmeframe {self.since} and will be gone in {self.remove_in}. "
        return DeprecationWarning(text + self.instead)


def _mark(what: str, since: str, remove_in: str, instead: str) -> Deprecation:
    found = Deprecation(what, since, remove_in, instead)
    _marked.append(found)
    return found


def deprecated(*, since: str, remove_in: str, instead: str) -> Callable[[F], F]:
    """Mark a function or method: whoever calls it is warned at the line of the call.

    instead: a sentence that says what to use.
    """

    def mark(function: F) -> F:
        told = _mark(f"{function.__qualname__}()", since, remove_in, instead)

        @functools.wraps(function)
        def warned(*args: Any, **kwargs: Any) -> Any:
            # A new one each time: where warnings are errors, it holds the frames of whoever was told.
            warnings.warn(told.warning(), stacklevel=2)
            return function(*args, **kwargs)

        return warned  # type: ignore[return-value]

    return mark


def deprecated_args(hook: str, *, since: str, remove_in: str, **instead: str) -> dict[str, Warning]:
    """For ``@hookspec(warn_on_impl_args=deprecated_args("mmeframe_x", since=..., remove_in=..., argument="Use ..."))``.

    pluggy warns at the line of every implementation that takes such an argument.
    """
    return {
        name: _mark(f"argument {name!r} of {hook}()", since, remove_in, sentence).warning()
        for name, sentence in instead.items()
    }


def overdue(version: str) -> list[Deprecation]:
    """What should be gone in ``version`` and is still here."""
    from packaging.version import Version

    now = Version(Version(version).base_version)
    return [it for it in _marked if Version(it.remove_in) <= now]
