"""A plugin of combiners: one keeps every promise, each of the others breaks one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmeframe.plugin import Combiner, CombinerConf, CombinerPlugin, ConfigError, hookimpl


@dataclass
class SomeConf(CombinerConf):
    """Options of all of them."""


class Good(Combiner[SomeConf]):
    def answer_type(self, kind: str, width: int) -> str:
        if kind not in ("integer", "long", "float", "double"):
            raise ConfigError(f"answers of type {kind} have no order.")
        return kind

    def combine(self, answers: Sequence[Any]) -> Any:
        return np.maximum.reduce(list(answers))


class Lists(Good):
    def combine(self, answers: Sequence[Any]) -> Any:
        return super().combine(answers).tolist()


class OneForAll(Good):
    def combine(self, answers: Sequence[Any]) -> Any:
        return np.array([np.max(super().combine(answers))])


class NeedsRows(Good):
    def combine(self, answers: Sequence[Any]) -> Any:
        return super().combine(answers) - np.max(answers) * 0


class Centred(Good):
    def combine(self, answers: Sequence[Any]) -> Any:
        found = super().combine(answers)
        return found - (found.mean() if len(found) else 0)


class Warns(Good):
    def combine(self, answers: Sequence[Any]) -> Any:
        return np.nanmax(np.array(answers, float), axis=0)


class Fills(Good):
    def combine(self, answers: Sequence[Any]) -> Any:
        found = super().combine(answers)
        return found + np.isnan(found).any()


class SaysText(Good):
    def answer_type(self, kind: str, width: int) -> str:
        return "string" if kind == "double" else super().answer_type(kind, width)


class SaysNumber(Good):
    def answer_type(self, kind: str, width: int) -> str:
        return "number" if kind == "string" else kind


class Stumbles(Good):
    def answer_type(self, kind: str, width: int) -> str:
        return {"long": "long", "double": "double"}[kind]


class Writes(Good):
    def combine(self, answers: Sequence[Any]) -> Any:
        found = answers[0] if answers[0].flags.writeable else answers[0].copy()
        for answer in answers:
            np.maximum(found, answer, out=found)
        return found


class Counts(Good):
    seen = 0

    def combine(self, answers: Sequence[Any]) -> Any:
        self.seen += 1
        return super().combine(answers) + self.seen


class Remembers(Good):
    def combine(self, answers: Sequence[Any]) -> Any:
        self.answers = answers
        time.sleep(0.001)
        return super().combine(self.answers)


BROKEN = [it for it in list(vars().values()) if isinstance(it, type) and issubclass(it, Good)]


@hookimpl
def mmeframe_combiners():
    return [
        CombinerPlugin(kind.__name__.lower(), SomeConf, f"{__name__}:{kind.__name__}", "for tests") for kind in BROKEN
    ]
