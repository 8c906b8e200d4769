"""``kind: log``: what a router does, as lines of JSON in the log."""

from __future__ import annotations

import json
import logging
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmeframe.plugin import BatchEvent, ErrorEvent, EvictEvent, LoadEvent, Observer, ObserverConf, ShadowEvent

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LogConf", "LogObserver"]

_LOGGER = logging.getLogger("mmeframe.observer")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


@dataclass
class LogConf(ObserverConf):
    """Options of ``kind: log``."""

    # One batch in this many is logged; loads, shadows and errors always are.
    every: Annotated[int, Field(ge=1, strict=True)] = 1
    # The level of all lines, of the logger mmeframe.observer.
    level: Literal["debug", "info", "warning"] = "info"


class LogObserver(Observer[LogConf]):
    """One line for each event: ids, counts, seconds and types of errors; never a value of the data."""

    def __init__(self, conf: LogConf) -> None:
        super().__init__(conf)
        self._level = _LEVELS[conf.level]
        self._lock = threading.Lock()
        self._batches = 0

    def on_batch(self, event: BatchEvent) -> None:
        with self._lock:
            self._batches += 1
            if self._batches % self.conf.every:
                return
        self._log(
            "batch",
            rows=event.rows,
            seconds=_seconds(event.seconds),
            models=dict(event.models),
            reasons=dict(event.reasons),
        )

    def on_load(self, event: LoadEvent) -> None:
        self._log("load", model_id=event.model_id, seconds=_seconds(event.seconds), bytes=event.bytes)

    def on_evict(self, event: EvictEvent) -> None:
        self._log("evict", model_id=event.model_id, bytes=event.bytes, reason=event.reason)

    def on_shadow(self, event: ShadowEvent) -> None:
        if _LOGGER.isEnabledFor(self._level):
            self._log(
                "shadow",
                model_id=event.model_id,
                shadow_id=event.shadow_id,
                arm=event.arm,
                rows=event.rows,
                seconds=_seconds(event.seconds),
                **_difference(event.answers, event.shadow_answers),
            )

    def on_error(self, event: ErrorEvent) -> None:
        # The type only: a library's text may hold rows of the request.
        self._log(
            "error", model_id=event.model_id, rows=event.rows, error=type(event.error).__name__, shadow=event.shadow
        )

    def _log(self, name: str, **facts: Any) -> None:
        if _LOGGER.isEnabledFor(self._level):
            _LOGGER.log(self._level, json.dumps({"event": name, **facts}, default=_plain))


def _plain(value: Any) -> Any:
    """numpy's numbers, which counts may be."""
    return value.item()


def _seconds(seconds: float) -> float:
    return round(float(seconds), 6)


def _difference(answers: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> dict[str, Any]:
    """How far two sub-models' answers lie apart: for numbers the mean and the largest distance, else the share of equal
    ones. Answers that both miss are equal; ``one_missing`` counts those that one of them misses.
    """
    import numpy as np
    import pandas as pd

    if np.shape(answers) != np.shape(others):
        return {"shapes": [list(np.shape(answers)), list(np.shape(others))]}
    left, right = np.asarray(answers), np.asarray(others)
    lost, gone = pd.isna(left), pd.isna(right)
    both = ~(lost | gone)
    facts: dict[str, Any] = {"one_missing": int((lost != gone).sum())}
    if {left.dtype.kind, right.dtype.kind} <= set("iuf"):
        first, second = left[both].astype(np.float64), right[both].astype(np.float64)
        # Equal infinities are no distance apart, which their difference would not say.
        with np.errstate(over="ignore"):
            apart = np.abs(np.subtract(first, second, out=np.zeros_like(first), where=first != second))
            mean, largest = (float(apart.mean()), float(apart.max())) if apart.size else (None, None)
        return facts | {"mean_difference": _number(mean), "max_difference": _number(largest)}
    equal = lost & gone
    equal[both] = left[both].astype(object) == right[both].astype(object)
    return facts | {"equal_share": round(float(equal.mean()), 6) if equal.size else None}


def _number(value: float | None) -> float | str | None:
    """JSON has no infinity."""
    return value if value is None or math.isfinite(value) else str(value)
