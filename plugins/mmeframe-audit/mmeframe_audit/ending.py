"""What waits is written when a server is told to end (SIGTERM).

Uvicorn, which MLflow serves with, ends as a process that has no handler: killed by the signal, once it has answered
what it had begun. No interpreter exits then, and nothing that is registered for its exit is run.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from typing import Any
from weakref import WeakSet

from mmeframe_audit.files import Log

__all__ = ["LOGS", "watch"]

# Of this process.
LOGS: WeakSet[Log] = WeakSet()


def watch() -> None:
    """Hear of SIGTERM before whoever handles it now; called by every observer, from whichever thread.

    Only the main thread may: where a router is loaded in another one, its logs are written after ``every_s`` seconds.
    """
    before = signal.getsignal(signal.SIGTERM)
    heard = isinstance(before, partial) and before.func is _ending
    if threading.current_thread() is threading.main_thread() and not heard and before not in (None, signal.SIG_IGN):
        signal.signal(signal.SIGTERM, partial(_ending, before))


def _ending(before: Any, signum: int, frame: Any) -> None:
    if callable(before):
        # It may go on answering for a while.
        for log in list(LOGS):
            log.hurry()
        before(signum, frame)
        return
    for log in list(LOGS):
        log.close()
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
