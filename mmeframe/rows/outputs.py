"""What a sub-model, or a router, answers, as its signature declares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmeframe.spec import Column

__all__ = ["Outputs"]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a sub-model answers: named columns, or ``width`` unnamed numbers per row (0: one value).

    aligned: the columns are classes, which other sub-models may lack; ``fill`` is what they get there, a float as text.
    classes: the labels that the answers are about, as the sub-model has them, where that is known. labels: the texts
    that one value per row may be, where a sub-model has told when it was loaded.
    """

    columns: tuple[Column, ...]
    width: int = 0
    aligned: bool = False
    fill: str = "nan"
    classes: tuple[str | int | float | bool, ...] = ()
    labels: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        columns = [column.to_json() for column in self.columns]
        return {**asdict(self), "columns": columns, "classes": list(self.classes), "labels": list(self.labels)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outputs:
        columns = tuple(Column(*column) for column in data["columns"])
        return cls(**{**data, "columns": columns, "classes": tuple(data["classes"]), "labels": tuple(data["labels"])})

    @property
    def single(self) -> bool:
        """One value per row."""
        return len(self.columns) == 1 and not self.width and not self.aligned
