"""Which sub-models are in memory: all of them, or those that a budget of bytes has room for.

After ModelMesh's cache (size before load, one load for each model, memory of failures), in one process.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any

from mmeframe.budget import check_bounds, size_text
from mmeframe.errors import FAULTS, MmeframeError, ModelError, forget, forgotten
from mmeframe.plugin import EvictEvent, LoadEvent, SubModel
from mmeframe.runtime.account import Account, Host, Live, Wave, without_cause
from mmeframe.sections import ResidencySpec

__all__ = ["Residency"]

# Bytes from which loads of one batch run in threads: small ones hold the interpreter all the time.
_WORTH_THREADS = 8 << 20
# Seconds after which whoever waits looks for itself.
_LOOK_AGAIN = 0.5


class Residency(Account):
    """Hands out live sub-models, loads those that are not there, and drops others within bounds. Shared by threads.

    numbers: of the sub-models that have files. pinned: loaded when the router opens and never dropped, with ``eager``
    all of them; those to ``preload`` are only loaded. Raises ConfigError where these, or the largest sub-model beside
    those that are pinned, take more than the bounds; ModelError naming the first of them that cannot be loaded.

    A load begins when its room is promised: other sub-models are marked for it, the least recently used first, and
    dropped when it needs their bytes, so that live and loading ones together never exceed the budget. A load that fails
    un-marks what is still there. No batch waits while it holds a sub-model, and who waits for room keeps its place: so
    there is no deadlock, and nobody starves.
    """

    def __init__(
        self,
        spec: ResidencySpec,
        numbers: Sequence[int],
        host: Host,
        pinned: Collection[int] = (),
        preload: Collection[int] = (),
    ) -> None:
        super().__init__(spec, host, numbers if spec.kind == "eager" else pinned)
        if self._bounded:
            check_bounds(spec, numbers, host.expected, host.name, self._pinned, preload)
        self._fill([*self._pinned, *(number for number in preload if number not in self._pinned)])
        if spec.ttl_s is not None:
            every = min(max(spec.ttl_s / 2, 0.05), 30.0)
            name = "mmeframe-residency"
            threading.Thread(target=_sweep, args=(weakref.ref(self), every), name=name, daemon=True).start()

    def acquire(self, targets: Sequence[int]) -> Generator[dict[int, Any]]:
        """Yields the live sub-models with these numbers, which differ, held until the iterator is closed.

        One that cannot be loaded is there as the ModelError that says why. Close it in a ``finally``: a ``with`` would
        have an ``__exit__`` in Python, which an interruption may keep from beginning.
        """
        wave = Wave(targets)
        live: dict[int, Any] | None = None
        try:
            live = self._take(wave)
            yield self._refused(targets) if live is None else live
        finally:
            # In this function itself: another one could be interrupted before it begins.
            try:
                if live is not None:
                    # Whoever keeps the mapping does not keep what is dropped from now on.
                    live.clear()
            finally:
                self._over.append(wave)
            self._settle()

    def waves(self, groups: Sequence[Sequence[int]]) -> Generator[tuple[Sequence[int], Mapping[int, Any]]]:
        """Every group of sub-models once, as many groups at a time as there is room for.

        Yields (indexes of groups, live sub-models by number), which are held until the next is asked for: close the
        iterator where that may not happen. Groups whose sub-models are in memory come first.
        """
        rest = self._ordered(groups)
        most = len(rest)
        while rest:
            indexes = self._fitting(rest[:most], groups) if self._bounded else rest
            targets = list(dict.fromkeys(number for index in indexes for number in groups[index]))
            wave = Wave(targets)
            live: dict[int, Any] | None = None
            try:
                live = self._take(wave)
                if live is None and len(indexes) == 1:
                    live = self._refused(targets)
                if live is not None:
                    yield indexes, live
            finally:
                try:
                    if live is not None:
                        live.clear()
                finally:
                    self._over.append(wave)
                self._settle()
            if live is None:
                # Some have turned out larger than was expected.
                most = len(indexes) // 2
            else:
                rest = rest[len(indexes) :]

    def _ordered(self, groups: Sequence[Sequence[int]]) -> list[int]:
        if not self._bounded:
            return list(range(len(groups)))
        return sorted(range(len(groups)), key=lambda index: not all(map(self._live.__contains__, groups[index])))

    def _fitting(self, indexes: Sequence[int], groups: Sequence[Sequence[int]]) -> Sequence[int]:
        """As many groups from the front as fit at once beside what is pinned; one at least."""
        size, count = self._kept, len(self._pinned)
        seen: set[int] = set(self._pinned)
        for place, index in enumerate(indexes):
            new = [number for number in groups[index] if number not in seen]
            size, count = size + sum(map(self._expected, new)), count + len(new)
            if place and not self._within(size, count):
                return indexes[:place]
            seen.update(new)
        return indexes

    def _refused(self, targets: Sequence[int]) -> dict[int, Any]:
        """An error for each of those that never fit at once."""
        needed = size_text(sum(map(self._expected, targets)))
        what = f"{'it takes' if len(targets) == 1 else 'what it needs takes'} {needed}, which never fits at once."
        hint = "Raise residency.max_bytes or residency.max_models."
        return {number: ModelError(what, where=self._host.name(targets[0]), hint=hint) for number in targets}

    def _take(self, wave: Wave) -> dict[int, Any] | None:
        """Hold all targets at once: live sub-models, and the errors of those that cannot be loaded.

        None if they never fit at once: they take more than there is, whoever else leaves.
        """
        while True:
            with self._lock:
                if self._torn or self._over:
                    self._begin()
                self._torn = True
                found = self._there(wave)
                if found is None:
                    self._waves.add(wave)
                    ready = self._reserve(wave)
                    if ready is None:
                        self._release(wave)
                self._torn = False
            if found is not None:
                return found
            if ready is None:
                return None
            if not ready:
                wave.turn.acquire(timeout=_LOOK_AGAIN)
            elif self._load(wave):
                held, failures = wave.held, wave.failures
                return {number: held[number].model if number in held else failures[number] for number in wave.targets}
            else:
                # One is larger than was expected, and there is no room for it now.
                self._give_up(wave)

    # -- loading -------------------------------------------------------------------------------------------------

    def _load(self, wave: Wave) -> bool:
        """Load what the wave has room for. False if one of them was larger than expected and does not fit now."""
        some = len(wave.room) if sum(wave.room.values()) >= _WORTH_THREADS else 1
        helpers = min(some, self.spec.load_workers) - 1
        for _ in range(helpers):
            threading.Thread(target=self._help, args=(wave,), name="mmeframe-load").start()
        while self._load_one(wave):
            pass
        while helpers > 0 and self._is_helped(wave):
            wave.turn.acquire(timeout=_LOOK_AGAIN)
        if wave.raised is not None:
            raise wave.raised
        return not wave.unfit and all(number in wave.held or number in wave.failures for number in wave.targets)

    def _help(self, wave: Wave) -> None:
        """Load beside the thread of the batch, which raises what is not a sub-model's failure."""
        try:
            while self._load_one(wave):
                pass
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            wave.raised = error

    def _is_helped(self, wave: Wave) -> bool:
        """Whether others still load for it."""
        with self._lock:
            self._begin()
            helped = any(load.of is wave for load in self._waves)
            if helped:
                self._wait(wave)
            self._torn = False
        return helped

    def _load_one(self, wave: Wave) -> bool:
        """Load one of those that have room; False if there is none left."""
        load = Wave((), wave)
        model: SubModel | None = None
        admitted = False
        try:
            while (number := self._start(load, wave)) is None:
                if load.turn is None:
                    return False
                load.turn.acquire(timeout=_LOOK_AGAIN)
            start = time.perf_counter()
            model, size, error = self._made(number, load.loading[number])
            seconds = time.perf_counter() - start
            admitted = self._publish(wave, load, number, model, size, error, seconds)
            if admitted:
                self._host.loaded(LoadEvent(self._host.name(number), seconds, size))
            return not wave.unfit
        except BaseException as error:
            # What an interrupted load has made so far is gone before its room is.
            forget(error)
            raise
        finally:
            try:
                if model is not None and not admitted:
                    self._host.unload(model)
            finally:
                # Not before: what did not fit takes its room as long as it is there.
                del model
                self._over.append(load)
            self._settle()

    def _start(self, load: Wave, wave: Wave) -> int | None:
        """Begin a load; what it needs the room of is dropped. None if there is none left to load for the wave.

        None with a turn to wait for, if as many run as may.
        """
        number = None
        with self._lock:
            self._begin()
            if wave in self._waves and wave.room and not wave.unfit and wave.raised is None:
                self._waves.add(load)
                if self._loads_running < self.spec.load_workers:
                    number, expected = next(iter(wave.room.items()))
                    load.loading = {number: expected}
                    del wave.room[number]
                    self._promised -= expected
                    self._loads_promised -= 1
                    self._inflight += expected
                    self._loads_running += 1
                    self._waiting.pop(load, None)
                    self._drop_marked(0, 0)
                else:
                    self._wait(load)
            else:
                self._waiting.pop(load, None)
                load.turn = None
            gone = self._now_gone()
            self._torn = False
        self._tell(gone)
        return number

    def _made(self, number: int, expected: int) -> tuple[SubModel | None, int, ModelError | None]:
        """A sub-model and its size, or why there is none. What failed is kept alive by nobody."""
        name = self._host.name(number)
        try:
            model = self._host.load(number)
            return model, expected if self.spec.max_bytes is None else self._host.size(number, model), None
        except FAULTS as found:
            if isinstance(found, MmeframeError):
                error = _of_model(found, name)
            else:
                error = ModelError(f"it cannot be loaded: {type(found).__name__}: {found}", where=name)
            error.__cause__ = forgotten(found)
            return None, 0, error

    def _publish(
        self,
        wave: Wave,
        load: Wave,
        number: int,
        model: SubModel | None,
        size: int,
        error: ModelError | None,
        seconds: float,
    ) -> bool:
        """Publish what a load gave, held by it and by its wave. False if it is an error, or does not fit."""
        with self._lock:
            self._begin()
            (expected,) = load.loading.values()
            self._end(load)
            count = self._counted(number)
            admitted = False
            if error is not None:
                count.failures += 1
                self._failed[number] = (time.monotonic() + self.spec.failure_ttl_s, without_cause(error))
                wave.failures[number] = error
            else:
                if size > expected:
                    self._measured[number] = size
                admitted = not self._bounded or self._mark_for(size, 1, wave.targets)
                wave.unfit = wave.unfit or not admitted
            if admitted and model is not None:
                self._drop_marked(size, 1)
                live = Live(model, size, count, number in self._pinned)
                self._live[number] = live
                self._bytes += size
                self._failed.pop(number, None)
                count.loads += 1
                count.load_seconds += seconds
                self._hold(load, number, live)
                if wave in self._waves:
                    self._hold(wave, number, live)
            self._unmark()
            self._wake()
            gone = self._now_gone()
            self._torn = False
        self._tell(gone)
        return admitted

    def _give_up(self, wave: Wave) -> None:
        with self._lock:
            self._begin()
            self._release(wave)
            wave.unfit = False
            self._torn = False

    # -- at the start, and while nobody asks ---------------------------------------------------------------------

    def _fill(self, numbers: Sequence[int]) -> None:
        """Load what is to be there from the start."""
        if not numbers:
            return
        for found in self.acquire(numbers):
            for it in found.values():
                if type(it) is ModelError:
                    raise it.__cause__ if isinstance(it.__cause__, MmeframeError) else it
        self._kept = sum(self._live[number].bytes for number in self._pinned)

    def _expire(self) -> None:
        """Drop what nobody has used for ``ttl_s``."""
        before = time.monotonic() - (self.spec.ttl_s or 0)
        with self._lock:
            self._begin()
            while self._idle:
                number, live = next(iter(self._idle.items()))
                if live.used > before:
                    break
                del self._idle[number]
                self._drop(number, live, "ttl")
            self._wake()
            gone = self._now_gone()
            self._torn = False
        self._tell(gone)

    def _tell(self, gone: list[tuple[int, Live, str]]) -> None:
        """Let go of what this thread has dropped, without the lock, and before its room is used."""
        while gone:
            number, live, why = gone.pop(0)
            self._host.unload(live.model)
            self._host.evicted(EvictEvent(self._host.name(number), live.bytes, why))


def _of_model(error: MmeframeError, name: str) -> ModelError:
    """The same, told of a sub-model."""
    elsewhere = error.where and error.where != name
    what = f"it cannot be loaded: {error.where}: {error.what}" if elsewhere else error.what
    return ModelError(what, where=name, hint=error.hint)


def _sweep(manager: weakref.ref[Residency], every: float) -> None:
    """Look for what has expired as long as the manager lives."""
    while (found := manager()) is not None:
        found._expire()
        del found
        time.sleep(every)
