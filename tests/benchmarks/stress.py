"""Ten minutes of what a served router meets at its worst: ``make stress``, or ``python -m tests.benchmarks.stress``.

Threads ask a lazy router over 200 sub-models with room for 20; some of these fail to predict, some fail to load, some
are slow; callers keep the last errors. The main thread asks too, and an alarm interrupts it anywhere. Printed over
time: answers, wrong ones, batches in a row that did not come to an end (stuck), live payloads against the budget,
resident memory, open descriptors, threads. Ends with 1 if anything was wrong, stuck or above the budget.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests import fleets

# Of a payload; sub-models that fail to predict, fail to load now and then, and take their time.
SIZE = 256 << 10
FAILING, UNLOADABLE, SLOW = 17, 23, 13
# Seconds without an answer after which a thread counts as stuck, and between two alarms.
STUCK, ALARM = 60.0, 0.01
MODELS = f"""
import random, threading, time, weakref
import numpy as np
from sklearn.base import BaseEstimator

# Weak references to payloads, the most bytes of theirs that were alive, and whether any fail.
LOCK, ALIVE, MOST, ON = threading.Lock(), [], [0], [False]

def weigh():
    with LOCK:
        ALIVE[:] = [payload for payload in ALIVE if payload() is not None]
        live = len(ALIVE) * {SIZE}
        MOST[0] = max(MOST[0], live)
    return live


class Numbered(BaseEstimator):
    def __init__(self, number=0):
        self.number = number
    def fit(self, X, y=None):
        self.payload_ = np.full({SIZE} // 8, float(self.number))
        return self
    def predict(self, X):
        if ON[0] and self.number % {FAILING} == 0:
            raise ValueError("cannot")
        if self.number % {SLOW} == 0:
            time.sleep(0.01)
        return np.full(len(X), self.payload_[0])
    def __setstate__(self, state):
        super().__setstate__(state)
        ALIVE.append(weakref.ref(self.payload_))
        weigh()
        if self.number % {SLOW} == 0:
            time.sleep(0.02)
        if ON[0] and self.number % {UNLOADABLE} == 0 and random.random() < 0.5:
            raise OSError("cannot be made")
"""


class Alarm(BaseException):
    """Strikes the main thread."""


def build(home: Path, n_models: int, room: int) -> tuple[Any, Any]:
    """The router, and the module of its sub-models."""
    import pickle

    from mmeframe import api

    (home / "stress_models.py").write_text(MODELS)
    sys.path.insert(0, str(home))
    module = importlib.import_module("stress_models")
    rows = pd.DataFrame({"x": [0.0, 1.0]})
    (home / "fleet").mkdir()
    for number in range(n_models):
        (home / "fleet" / f"m_{number}.pkl").write_bytes(pickle.dumps(module.Numbered(number).fit(rows)))
    store = fleets.make_store(home)
    with fleets.inside(home):
        logged = api.build(
            "name=stress",
            "routing=column",
            "routing.column=key",
            "+source@sources.all=folder",
            f"sources.all.path={home}/fleet",
            "sources.all.pattern='m_{key}.pkl'",
            "sources.all.signature={inputs:[x],outputs:double}",
            "residency=lazy",
            f"residency.max_bytes={room * (SIZE + 4096)}",
            "residency.failure_ttl_s=0",
            "output.on_error=skip",
            f"tracking.uri={store}",
            plugins=fleets.plugins(),
        )
        return api.load_router(logged.model_uri, tracking_uri=store), module


def facts() -> tuple[float, int, int]:
    """Resident MiB, open descriptors, threads."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    return resident, len(os.listdir("/proc/self/fd")), threading.active_count()


class Stress:
    """Threads that ask, and what came of it."""

    def __init__(self, router: Any, n_models: int) -> None:
        self.router, self.n_models = router, n_models
        self.counts: Counter[str] = Counter()
        self.kept: deque[BaseException] = deque(maxlen=1_000)
        self.last: dict[str, float] = {}
        self.stop = threading.Event()

    def ask(self, chance: random.Random) -> None:
        keys = chance.sample(range(self.n_models), chance.choice([1, 1, 1, 5, 30]))
        answers = self.router.predict(pd.DataFrame({"x": 0.5, "key": keys}))
        for key, answer in zip(keys, answers, strict=True):
            may_fail = key % FAILING == 0 or key % UNLOADABLE == 0
            kind = "right" if answer == key else "failed" if may_fail and np.isnan(answer) else "wrong"
            self.counts[kind] += 1
        self.last[threading.current_thread().name] = time.monotonic()

    def work(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self.stop.is_set():
            try:
                self.ask(chance)
            except Exception as error:
                self.counts["raised"] += 1
                self.kept.append(error)

    def stuck(self) -> int:
        now = time.monotonic()
        return sum(now - last > STUCK for last in self.last.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--room", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        router, models = build(Path(home), given.models, given.room)
        return run(router, models, given)


def run(router: Any, models: Any, given: argparse.Namespace) -> int:
    gc.collect()
    models.MOST[0], models.ON[0] = 0, True
    budget = router.residency.spec.max_bytes
    stress = Stress(router, given.models)
    threads = [threading.Thread(target=stress.work, args=(seed,), daemon=True) for seed in range(given.threads)]
    stress.last.update((thread.name, time.monotonic()) for thread in threads)
    print(f"budget {budget / 2**20:.1f} MiB of payloads that take {SIZE / 2**20:.2f} MiB each")
    print("seconds    right   failed  wrong raised  alarms stuck  live MiB  most   RSS MiB  fds threads", flush=True)
    for thread in threads:
        thread.start()

    def strike(*_: object) -> None:
        if armed:
            raise Alarm

    armed, chance, start, told = False, random.Random(-1), time.monotonic(), 0.0
    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, ALARM, ALARM)
    while time.monotonic() - start < given.seconds:
        try:
            armed = True
            stress.ask(chance)
            armed = False
        except Alarm as alarm:
            armed = False
            stress.counts["alarms"] += 1
            stress.kept.append(alarm)
        if time.monotonic() - start >= told:
            tell(stress, models, time.monotonic() - start)
            told += max(given.seconds / 10, 1.0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    stress.stop.set()
    for thread in threads:
        thread.join(STUCK)
    stuck = sum(thread.is_alive() for thread in threads)
    tell(stress, models, time.monotonic() - start)
    found = router.residency.statistics()
    print(f"idle: {found.resident} sub-models, {found.bytes / 2**20:.1f} MiB, {found.loading} loading; stuck: {stuck}")
    print(
        f"loads {found.loads:,}, evictions {found.evictions:,}, failed loads {found.failures:,}, waits {found.waits:,}"
    )
    over = models.MOST[0] > budget + SIZE
    return int(bool(stress.counts["wrong"] or stuck or over or found.loading))


def tell(stress: Stress, models: Any, seconds: float) -> None:
    counts, (resident, descriptors, threads) = stress.counts, facts()
    print(
        f"{seconds:7.0f} {counts['right']:8,} {counts['failed']:8,} {counts['wrong']:6} {counts['raised']:6} "
        f"{counts['alarms']:7,} {stress.stuck():5} {models.weigh() / 2**20:9.2f} {models.MOST[0] / 2**20:5.2f} "
        f"{resident:9.1f} {descriptors:4} {threads:7}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
