"""``kind: audit``: who answered how many rows of each batch, and why, in Parquet files.

All that serving imports; it must not import ``plugin``, because no plugin is discovered there.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from mmeframe.plugin import (
    MISSING,
    BatchEvent,
    ComponentContext,
    ErrorEvent,
    Observer,
    ObserverConf,
    ShadowEvent,
)
from pydantic import Field

from mmeframe_audit import ending
from mmeframe_audit.files import Log

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AuditConf", "AuditObserver"]


@dataclass
class AuditConf(ObserverConf):
    """Options of ``kind: audit``."""

    # The folder of the files where the router is served; it is made with the first file. $NAME is an environment
    # variable there, ~ the home of who serves, and a relative path is from the working directory.
    folder: str = MISSING
    # Seconds after which what waits in memory is written: what a process that is killed loses at most.
    every_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 10.0
    # Records in one file: it is written sooner when so many wait.
    records: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    # Records that may wait in memory, as when the disk is slow; what comes then is left out, and counted.
    waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    # Whether answers are logged, too: for each row that a shadow arm was scored on both answers. These are data.
    answers: bool = False


class AuditObserver(Observer[AuditConf]):
    """One record for each batch, and for each sub-model that failed; for each shadow too with ``answers``.

    Whoever predicts puts a record on a queue, never waits, and never sees an error. The thread that writes starts with
    the first record, in the process that has it: servers fork.
    """

    def __init__(self, conf: AuditConf) -> None:
        super().__init__(conf)
        self._start()
        # The child of a fork has no writing thread, and must not write what its parent will.
        again = weakref.WeakMethod(self._start)
        os.register_at_fork(after_in_child=lambda: (start := again()) and start())

    def bind(self, context: ComponentContext) -> None:
        del context
        # While the interpreter exits, when the last file is written, it is too late to import these.
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401

        ending.watch()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._log: Log | None = None

    @property
    def dropped(self) -> int:
        """Records of this process that are in no file and never will be."""
        return 0 if self._log is None else self._log.dropped

    def flush(self) -> None:
        """Wait until every record so far is in a file, or dropped."""
        if self._log is not None:
            self._log.flush()

    def on_batch(self, event: BatchEvent) -> None:
        self._put("batch", event.rows, event.models, event.reasons, seconds=float(event.seconds))

    def on_error(self, event: ErrorEvent) -> None:
        # The kind of what the library raised, and not its text, which may hold rows of the request.
        cause = event.error.__cause__ or event.error
        self._put("error", event.rows, {event.model_id: event.rows}, error=type(cause).__name__)

    def on_shadow(self, event: ShadowEvent) -> None:
        if self.conf.answers:
            self._put(
                "shadow",
                event.rows,
                {event.model_id: event.rows},
                seconds=float(event.seconds),
                shadow_id=event.shadow_id,
                arm=event.arm,
                answers=_text(event.answers),
                shadow_answers=_text(event.shadow_answers),
            )

    def _put(
        self, event: str, rows: int, models: Mapping[str, int], reasons: Mapping[str, int] | None = None, **more: Any
    ) -> None:
        record = {
            "time": time.time_ns() // 1000,
            "event": event,
            "rows": int(rows),
            "models": _counts(models),
            "reasons": _counts(reasons or {}),
            **more,
        }
        if (log := self._log) is None:
            # Again under the lock: another thread may have made it while we waited.
            with self._lock:
                log = self._log = self._log or self._made()
        log.put(record)

    def _made(self) -> Log:
        conf = self.conf
        log = Log(conf.folder, every_s=conf.every_s, records=conf.records, waiting=conf.waiting, answers=conf.answers)
        # A router that is dropped takes its thread along.
        weakref.finalize(self, log.end).atexit = False
        ending.LOGS.add(log)
        return log


def _counts(found: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(str(name), int(count)) for name, count in found.items()]


def _text(answers: np.ndarray[Any, Any]) -> str:
    """Answers of any type and shape as JSON: missing ones are null, infinities and times are text."""
    import numpy as np
    import pandas as pd

    values = np.array(answers, object)
    if answers.dtype.kind == "f":
        values[np.isnan(answers)] = None
        infinite = np.isinf(answers)
        values[infinite] = answers[infinite].astype(str)
    elif answers.dtype.kind in "mM":
        values = answers.astype(str).astype(object)
        values[np.isnat(answers)] = None
    elif answers.dtype.kind == "O":
        values[pd.isna(values)] = None
        infinite = np.array([isinstance(it, float) and math.isinf(it) for it in values.flat], bool)
        values.flat[infinite] = values.flat[infinite].astype(str)
    return json.dumps(values.tolist(), default=str)
