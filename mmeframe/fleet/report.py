"""What is found wrong with a fleet, and what is only told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mmeframe.errors import Problem

__all__ = ["Report"]


@dataclass
class Report:
    """Problems, of which all stop a command at its end; warnings stop nothing."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, where: str, what: str, hint: str = "", code: Any = "config") -> None:
        self.problems.append(Problem(where, what, hint, code))
