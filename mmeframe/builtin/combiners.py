"""``kind: mean``, ``median``, ``weighted`` and ``vote``: one answer of several sub-models' answers.

A row's combined answer depends on that row's answers only, to the last bit: sums go from sub-model to sub-model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, Field, StrictFloat, ValidationInfo

from mmeframe.plugin import Combiner, CombinerConf, ConfigError

if TYPE_CHECKING:
    import numpy as np

    Answers = Sequence[np.ndarray[Any, Any]]
    Doubles = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "MeanCombiner",
    "MeanConf",
    "MedianCombiner",
    "MedianConf",
    "VoteCombiner",
    "VoteConf",
    "WeightedCombiner",
    "WeightedConf",
]


def _distinct(of: list[str]) -> list[str]:
    if not of:
        raise ValueError("it names no sub-models; list the ids whose answers are combined")
    twice = sorted({name for name in of if of.count(name) > 1})
    if twice:
        raise ValueError(f"duplicate {twice[0]!r}")
    return of


def _one_each(weights: list[float], info: ValidationInfo) -> list[float]:
    of = info.data.get("of")
    if of is not None and len(weights) != len(of):
        raise ValueError(f"there are {len(weights)} weights for {len(of)} sub-models; write one for each, in order")
    if weights and not math.fsum(weights) > 0:
        raise ValueError("all weights are 0")
    return weights


# Also where it is left out, so that the list which is missing is asked for.
Of = Annotated[list[str], AfterValidator(_distinct), Field(validate_default=True)]
Weight = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]


@dataclass
class _OfConf(CombinerConf):
    # Ids of the sub-models whose answers are combined, in the order that counts.
    of: Of = field(default_factory=list)


@dataclass
class MeanConf(_OfConf):
    """Options of ``kind: mean``."""


@dataclass
class MedianConf(_OfConf):
    """Options of ``kind: median``."""


@dataclass
class WeightedConf(_OfConf):
    """Options of ``kind: weighted``."""

    # One number of 0 or more for each of them, in their order; only their ratios count. 0 leaves a sub-model out.
    weights: Annotated[list[Weight], AfterValidator(_one_each), Field(validate_default=True)] = field(
        default_factory=list
    )


@dataclass
class VoteConf(_OfConf):
    """Options of ``kind: vote``."""


def _nested(kind: str) -> bool:
    """Whether a type is an array, a map or an object, which MLflow describes in JSON."""
    return kind.startswith("{")


K = TypeVar("K", bound=CombinerConf)


class _OfNumbers(Combiner[K], Generic[K]):
    """Combines numbers to doubles, elementwise. A missing answer makes the row's combined answer NaN."""

    def answer_type(self, kind: str, width: int) -> str:
        del width
        if kind not in ("integer", "long", "float", "double"):
            if _nested(kind):
                raise ConfigError("answers that are lists or objects cannot be combined as numbers.")
            raise ConfigError(
                f"answers of type {kind} cannot be combined as numbers.",
                hint="kind: vote takes the most frequent answer.",
            )
        return "double"


class MeanCombiner(_OfNumbers[MeanConf]):
    """The mean of the answers."""

    def combine(self, answers: Answers) -> Doubles:
        return _weighted(answers, [1.0] * len(answers))


class MedianCombiner(_OfNumbers[MedianConf]):
    """The median of the answers; of an even number of them, the mean of the two in the middle."""

    def combine(self, answers: Answers) -> Doubles:
        import numpy as np

        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.median([np.asarray(answer, np.float64) for answer in answers], axis=0))


class WeightedCombiner(_OfNumbers[WeightedConf]):
    """The mean of the answers, each counted with its weight."""

    def combine(self, answers: Answers) -> Doubles:
        return _weighted(answers, self.conf.weights)


class VoteCombiner(Combiner[VoteConf]):
    """What most sub-models answer; of answers with equally many votes, that of the sub-model named first in ``of``.

    A missing answer is no vote; a row without any vote has no answer.
    """

    def answer_type(self, kind: str, width: int) -> str:
        if width > 1:
            raise ConfigError(
                f"only one answer per row can be voted on, and these have {width}.",
                hint="kind: mean combines probabilities.",
            )
        if _nested(kind):
            raise ConfigError("answers that are lists or objects cannot be voted on.")
        return kind

    def combine(self, answers: Answers) -> np.ndarray[Any, Any]:
        import numpy as np
        import pandas as pd

        codes, distinct = pd.factorize(_joined(answers))
        ballots = codes.reshape(len(answers), -1)
        # By pairs of voters: what each row costs does not grow with the number of distinct answers.
        votes = np.array([(ballots == ballot).sum(axis=0, dtype=np.int32) for ballot in ballots])
        votes[ballots == -1] = 0
        # The first of those with most votes.
        winner = np.take_along_axis(ballots, votes.argmax(axis=0)[np.newaxis], axis=0)[0]
        return _taken(distinct, winner)


def _weighted(answers: Answers, weights: Sequence[float]) -> Doubles:
    """One addition after another: numpy's sums add in an order that depends on the number of rows."""
    import numpy as np

    total = np.zeros(np.shape(answers[0]))
    with np.errstate(over="ignore", invalid="ignore"):
        for answer, weight in zip(answers, weights, strict=True):
            if weight:
                total += weight * np.asarray(answer, np.float64)
        return total / math.fsum(weights)


def _joined(answers: Answers) -> np.ndarray[Any, Any]:
    """All answers in a row, as objects where numpy has no type for them together, such as text of several lengths."""
    import numpy as np

    kinds = {answer.dtype.kind for answer in answers}
    plain = kinds <= set("iuf") or kinds in ({"b"}, {"M"})
    return np.concatenate([answer if plain else np.asarray(answer, object) for answer in answers])


def _taken(distinct: np.ndarray[Any, Any], codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values by their codes; -1 is NaN among numbers, NaT among times, else None."""
    import numpy as np

    found = np.asarray(distinct)
    if not (codes == -1).any():
        return found.take(codes)
    if found.dtype.kind in "iuf":
        return np.append(found.astype(np.float64), [np.nan]).take(codes)
    if found.dtype.kind == "M":
        return np.append(found, np.array(["NaT"], found.dtype)).take(codes)
    return np.append(found.astype(object), [None]).take(codes)
