"""A plugin of combiners: one keeps every promise, each of the others breaks one."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmeframe.plugin import Combiner, CombinerConf, CombinerPlugin, ComponentContext, ConfigError, hookimpl


@dataclass
class SomeConf(CombinerConf):
    """Options of all of them."""

    # A file with a weight for each answer.
    table: str | None = None


class Good(Combiner[SomeConf]):
    def answer_type(self, kind: str, width: int) -> str:
        if kind not in ("integer", "long", "float", "double"):
            raise ConfigError(f"answers of type {kind} have no order.")
        return kind

    def combine(self, answers: Sequence[Any]) -> Any:
        return np.maximum.reduce(list(answers))


class Weighs(Good):
    def prepare(self) -> Mapping[str, bytes]:
        return {"weights": Path(str(self.conf.table)).read_bytes()}

    def bind(self, context: ComponentContext) -> None:
        self.weights = json.loads(bytes(context.files["weights"]))

    def combine(self, answers: Sequence[Any]) -> Any:
        return np.sum([weight * answer for weight, answer in zip(self.weights, answers, strict=True)], axis=0)


class MostSay(Good):
    """Answers with objects, whatever it is given, and None where nobody says anything."""

    def answer_type(self, kind: str, width: int) -> str:
        return "string"

    def combine(self, answers: Sequence[Any]) -> Any:
        said = [Counter(it for it in row if it is not None) for row in zip(*answers, strict=True)]
        return np.array([row.most_common(1)[0][0] if row else None for row in said], object)


class BindsFirst(Weighs):
    def answer_type(self, kind: str, width: int) -> str:
        return "double" if self.weights else kind


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
