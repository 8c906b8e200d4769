"""``kind: trimmed``: the mean of a row's answers without the lowest and the highest of them.

All that serving imports; it must not import ``plugin``, because no plugin is discovered there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from mmeframe.plugin import Combiner, CombinerConf, ConfigError
from pydantic import Field

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TrimmedCombiner", "TrimmedConf"]

_NUMBERS = ("integer", "long", "float", "double")


@dataclass
class TrimmedConf(CombinerConf):
    """Options of ``kind: trimmed``, beside ``of``."""

    # The share of the answers left out at each end: 0.1 of ten leaves out the lowest and the highest. 0 is the mean.
    cut: Annotated[float, Field(ge=0, lt=0.5)] = 0.1


class TrimmedCombiner(Combiner[TrimmedConf]):
    """The mean of what is left when the ``cut`` lowest and the ``cut`` highest answers of a row are taken away.

    A row's combined answer depends on that row's answers only, to the last bit, and not on the order of ``of``.
    A missing answer makes the row's combined answer NaN, as it does for the built-in ``mean``.
    """

    def answer_type(self, kind: str, width: int) -> str:
        del width
        if kind not in _NUMBERS:
            raise ConfigError(
                f"answers of type {kind} cannot be combined as numbers.",
                hint="kind: vote takes the most frequent answer.",
            )
        return "double"

    def combine(self, answers: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        import numpy as np

        # NaN sorts last, where it would be cut: it has to be found before.
        ranked = np.sort([np.asarray(answer, np.float64) for answer in answers], axis=0)
        out = _left_out(self.conf.cut, len(answers))
        left = ranked[out : len(answers) - out]
        total = np.zeros(ranked.shape[1:])
        # One addition after another: numpy's sums add in an order that depends on the number of rows.
        with np.errstate(over="ignore", invalid="ignore"):
            for answer in left:
                total += answer
        return np.where(np.isnan(ranked[-1]), np.nan, total / len(left))


def _left_out(cut: float, answers: int) -> int:
    """How many answers are left out at each end: whole ones only. At least one is left.

    Counted in decimals, as the share was written: 0.29 of 100 is 29, and not 28.999999999999996.
    """
    return int(Decimal(repr(cut)) * answers)
