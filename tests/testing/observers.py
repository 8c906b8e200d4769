"""A plugin of observers: one keeps every promise, each of the others breaks one."""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from mmeframe.plugin import Observer, ObserverConf, ObserverPlugin, hookimpl


@dataclass
class SomeConf(ObserverConf):
    """Options of all of them."""


class Good(Observer[SomeConf]):
    rows = 0

    def on_batch(self, event: Any) -> None:
        self.rows += int(event.rows)


class OnlyPython(Good):
    def on_batch(self, event: Any) -> None:
        json.dumps(dict(event.models))


class OnlyNumbers(Good):
    def on_shadow(self, event: Any) -> None:
        abs(event.answers - event.shadow_answers)


class Writes(Good):
    def on_batch(self, event: Any) -> None:
        event.models.clear()


class Slow(Good):
    def on_load(self, event: Any) -> None:
        time.sleep(0.03)


class OneByOne(Good):
    busy = False

    def on_batch(self, event: Any) -> None:
        if self.busy:
            raise RuntimeError("already busy")
        self.busy = True
        time.sleep(0.0005)
        self.busy = False


class InAThread(Good):
    def bind(self, context: Any) -> None:
        self.queue: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        while True:
            self.queue.get()
            self.queue.task_done()

    def on_batch(self, event: Any) -> None:
        self.queue.put(event)
        self.queue.join()


BROKEN = [it for it in list(vars().values()) if isinstance(it, type) and issubclass(it, Good)]


@hookimpl
def mmeframe_observers():
    return [
        ObserverPlugin(kind.__name__.lower(), SomeConf, f"{__name__}:{kind.__name__}", "for tests") for kind in BROKEN
    ]
