"""Which sub-models are in memory: all of them, or those that a budget of bytes has room for.

After ModelMesh's cache (size before load, one load for each model, memory of failures), in one process.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from mmeframe.budget import check_bounds, size_text
from mmeframe.errors import MmeframeError, ModelError
from mmeframe.plugin import EvictEvent, LoadEvent, SubModel
from mmeframe.spec import ResidencySpec

__all__ = ["Host", "ModelStatistics", "Residency", "ResidencyStatistics"]

# Bytes from which loads of one batch run in threads: small ones hold the interpreter all the time.
_WORTH_THREADS = 8 << 20


@dataclass(frozen=True, slots=True)
class Host:
    """What the manager asks of the router, for a sub-model by its number.

    expected: bytes that it will take, as the build has measured. load: makes it; raises ModelError. size: bytes that
    it takes now, asked where bytes are bounded. unload: it was dropped, or did not fit; loaded, evicted: for observers.
    """

    name: Callable[[int], str]
    expected: Callable[[int], int]
    load: Callable[[int], SubModel]
    size: Callable[[int, SubModel], int]
    unload: Callable[[SubModel], None]
    loaded: Callable[[LoadEvent], None]
    evicted: Callable[[EvictEvent], None]


@dataclass(slots=True)
class ModelStatistics:
    """Of one sub-model since the router opened. ``bytes``: 0 while it is not in memory."""

    bytes: int = 0
    hits: int = 0
    misses: int = 0
    loads: int = 0
    evictions: int = 0
    failures: int = 0
    load_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ResidencyStatistics:
    """One moment of a residency manager.

    bytes: of the sub-models in memory; loading: reserved for those that are being loaded. hits, misses: sub-models
    that a batch needed and that were, or were not, in memory. waits: batches that had to wait for room, or for a load
    of another batch. models: those that were ever asked for, by id.
    """

    kind: str
    resident: int
    bytes: int
    loading: int
    max_bytes: int | None
    max_models: int | None
    hits: int
    misses: int
    loads: int
    evictions: int
    failures: int
    waits: int
    load_seconds: float
    models: Mapping[str, ModelStatistics] = field(default_factory=dict)


class _Live:
    """A sub-model in memory.

    users: batches that hold it. used: when the last of them let it go, where there is a ``ttl_s``. marked: it is to be
    dropped, and nobody gets it.
    """

    __slots__ = ("bytes", "count", "marked", "model", "pinned", "used", "users")

    def __init__(self, model: SubModel, size: int, count: ModelStatistics, pinned: bool) -> None:
        self.model, self.bytes, self.count, self.pinned = model, size, count, pinned
        self.users, self.used, self.marked = 0, 0.0, False


class _Wave:
    """What one batch needs at once. ``room``: bytes that are promised to those whose load has not begun."""

    def __init__(self, targets: Sequence[int]) -> None:
        self.targets = targets
        self.room: dict[int, int] = {}
        self.held: list[int] = []
        # Live sub-models, and the errors of those that cannot be loaded.
        self.found: dict[int, Any] = {}


class _Acquired:
    """The block of ``Residency.acquire``: a generator would take a fifth of a look-up's time."""

    __slots__ = ("_found", "_held", "_residency", "_targets")

    def __init__(self, residency: Residency, targets: Sequence[int]) -> None:
        self._residency, self._targets = residency, targets

    def __enter__(self) -> Sequence[Any]:
        try:
            found = self._residency._take(self._targets)
        except _TooLargeError:
            found = self._residency._refused(self._targets)
        self._found = found
        failed = ModelError in map(type, found)
        self._held = _held(dict(zip(self._targets, found, strict=True))) if failed else self._targets
        return found

    def __exit__(self, *_: object) -> None:
        self._found.clear()
        self._residency._let_go(self._held)


class _Ticket:
    """A place in the queue for room. ``blocked``: it could not use room now, and lets others pass."""

    blocked = False


class _TooLargeError(Exception):
    """Sub-models that are needed at once take more than there is, whoever else leaves."""


class Residency:
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
        self.spec, self._host = spec, host
        self._pinned = frozenset(numbers if spec.kind == "eager" else pinned)
        self._bounded = spec.max_bytes is not None or spec.max_models is not None
        self._lock = threading.RLock()
        # Notified when there may be room. Its own ``with`` is Python, and would take a tenth of a look-up.
        self._room = threading.Condition(self._lock)
        self._live: dict[int, _Live] = {}
        # Not pinned and held by nobody, the least recently used first.
        self._idle: OrderedDict[int, _Live] = OrderedDict()
        # Not pinned and held by batches.
        self._busy: dict[int, _Live] = {}
        # Marked ones: of the idle, whose bytes count as free for promises, and of the busy.
        self._marked: OrderedDict[int, _Live] = OrderedDict()
        self._leaving: dict[int, _Live] = {}
        self._loading: set[int] = set()
        # Bytes and number of live sub-models, of marked idle ones, of running loads, and of promised loads.
        self._bytes = self._marked_bytes = self._inflight = self._promised = 0
        self._loads_running = self._loads_promised = 0
        self._queue: deque[_Ticket] = deque()
        self._waiting = self._waits = 0
        self._failed: dict[int, tuple[float, ModelError]] = {}
        # Sizes of those that were larger than expected.
        self._measured: dict[int, int] = {}
        self._counts: dict[int, ModelStatistics] = {}
        # Dropped with the lock held, told without it.
        self._gone: deque[tuple[int, _Live, str]] = deque()
        self._slots = threading.BoundedSemaphore(spec.load_workers)
        self._kept = sum(map(self._expected, self._pinned))
        if self._bounded:
            check_bounds(spec, numbers, host.expected, host.name, self._pinned, preload)
        self._fill([*self._pinned, *(number for number in preload if number not in self._pinned)])
        if spec.ttl_s is not None:
            every = min(max(spec.ttl_s / 2, 0.05), 30.0)
            name = "mmeframe-residency"
            threading.Thread(target=_sweep, args=(weakref.ref(self), every), name=name, daemon=True).start()

    # -- what batches ask ----------------------------------------------------------------------------------------

    def acquire(self, targets: Sequence[int]) -> AbstractContextManager[Sequence[Any]]:
        """The live sub-models with these numbers, which differ, in this order, held until the block ends.

        One that cannot be loaded is there as the ModelError that says why.
        """
        return _Acquired(self, targets)

    def waves(self, groups: Sequence[Sequence[int]]) -> Generator[tuple[Sequence[int], Mapping[int, Any]]]:
        """Every group of sub-models once, as many groups at a time as there is room for.

        Yields (indexes of groups, live sub-models by number), which are held until the next is asked for: close the
        iterator where that may not happen. Groups whose sub-models are in memory come first.
        """
        rest = self._ordered(groups)
        most = len(rest)
        while rest:
            wave = self._fitting(rest[:most], groups) if self._bounded else rest
            targets = list(dict.fromkeys(number for index in wave for number in groups[index]))
            try:
                live = dict(zip(targets, self._take(targets), strict=True))
            except _TooLargeError:
                if len(wave) > 1:
                    # Some have turned out larger than was expected.
                    most = len(wave) // 2
                    continue
                live = dict(zip(targets, self._refused(targets), strict=True))
            held = _held(live)
            try:
                yield wave, live
            finally:
                # Whoever keeps the mapping does not keep what is dropped from now on.
                live.clear()
                self._let_go(held)
            rest = rest[len(wave) :]

    def statistics(self) -> ResidencyStatistics:
        """What is in memory, and what it took to get it there."""
        names = ("hits", "misses", "loads", "evictions", "failures", "load_seconds")
        with self._lock:
            counts = {number: replace(count) for number, count in self._counts.items()}
            for number, live in self._live.items():
                counts[number].bytes = live.bytes
            facts: dict[str, Any] = {
                "kind": self.spec.kind,
                "resident": len(self._live),
                "bytes": self._bytes,
                "loading": self._inflight,
                "max_bytes": self.spec.max_bytes,
                "max_models": self.spec.max_models,
                "waits": self._waits,
            }
        total: dict[str, Any] = {name: sum(getattr(count, name) for count in counts.values()) for name in names}
        models = {self._host.name(number): count for number, count in counts.items()}
        return ResidencyStatistics(**facts, **total, models=models)

    # -- bounds --------------------------------------------------------------------------------------------------

    def _expected(self, number: int) -> int:
        return self._measured.get(number) or self._host.expected(number)

    def _within(self, size: int, count: int) -> bool:
        limit, most = self.spec.max_bytes, self.spec.max_models
        return (limit is None or size <= limit) and (most is None or count <= most)

    def _ordered(self, groups: Sequence[Sequence[int]]) -> list[int]:
        if not self._bounded:
            return list(range(len(groups)))
        with self._lock:
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

    # -- taking and letting go -----------------------------------------------------------------------------------

    def _refused(self, targets: Sequence[int]) -> list[Any]:
        """An error for each of those that never fit at once."""
        needed = size_text(sum(map(self._expected, targets)))
        what = f"{'it takes' if len(targets) == 1 else 'what it needs takes'} {needed}, which never fits at once."
        hint = "Raise residency.max_bytes or residency.max_models."
        return [ModelError(what, where=self._host.name(targets[0]), hint=hint) for _ in targets]

    def _take(self, targets: Sequence[int]) -> list[Any]:
        """Hold all of these at once: live sub-models, and the errors of those that cannot be loaded.

        Raises _TooLargeError if they never fit at once.
        """
        while True:
            with self._lock:
                found = self._there(targets)
                if found is not None:
                    return found
                wave = self._reserve(targets)
            fits = False
            try:
                fits = self._load(wave)
            finally:
                if not fits:
                    # One is larger than was expected, and there is no room for it now; or this was interrupted.
                    self._give_up(wave)
            if fits:
                return [wave.found.pop(number) for number in targets]

    def _there(self, targets: Sequence[int]) -> list[Any] | None:
        """Hold all if all are there, or known not to be loadable; else None."""
        found: list[Any] = []
        for number in targets:
            live: Any = self._live.get(number)
            if live is None or live.marked:
                live = self._failure(number) if self._failed else None
                if live is None:
                    return None
            found.append(live)
        for place, number in enumerate(targets):
            live = found[place]
            if type(live) is _Live:
                found[place] = live.model
                live.count.hits += 1
                self._hold(number, live)
        return found

    def _hold(self, number: int, live: _Live) -> None:
        live.users += 1
        if live.users == 1 and not live.pinned:
            self._idle.pop(number, None)
            self._busy[number] = live

    def _let_go(self, numbers: Sequence[int]) -> None:
        now = 0.0 if self.spec.ttl_s is None else time.monotonic()
        with self._lock:
            for number in numbers:
                live = self._live[number]
                live.users -= 1
                if live.users == 0 and not live.pinned:
                    live.used = now
                    del self._busy[number]
                    if live.marked:
                        del self._leaving[number]
                        self._mark_idle(number, live)
                    else:
                        self._idle[number] = live
            if self._waiting:
                self._wake()

    def _failure(self, number: int) -> ModelError | None:
        """Why it could not be loaded a short while ago: an error of the caller's own, since raising changes it."""
        until, error = self._failed.get(number, (0.0, None))
        return None if error is None or time.monotonic() >= until else _without_cause(error)

    def _wake(self) -> None:
        if self._waiting:
            self._room.notify_all()

    # -- making room ---------------------------------------------------------------------------------------------

    def _reserve(self, targets: Sequence[int]) -> _Wave:
        """Wait for room for those that are missing, promise it to them, and hold the others. Called with the lock."""
        wave = _Wave(targets)
        ticket: _Ticket | None = None
        waited = False
        try:
            while True:
                missing, failures = self._missing(targets)
                blocked = any(number in self._loading or number in self._live for number in missing)
                if ticket is not None and ticket.blocked != blocked:
                    ticket.blocked = blocked
                    # It is another's turn.
                    self._wake()
                if not blocked:
                    if self._is_next(ticket) and self._make_room(missing, targets):
                        break
                    if ticket is None:
                        ticket = _Ticket()
                        self._queue.append(ticket)
                elif self._unmark():
                    # What was marked may be what is missing.
                    self._wake()
                    continue
                waited = True
                self._waiting += 1
                try:
                    self._room.wait()
                finally:
                    self._waiting -= 1
        except BaseException:
            if ticket is not None:
                self._queue.remove(ticket)
            self._unmark()
            self._wake()
            raise
        if ticket is not None:
            self._queue.remove(ticket)
        self._waits += waited
        for number in targets:
            if number in failures:
                wave.found[number] = failures[number]
            elif number in missing:
                wave.room[number] = self._expected(number)
                self._loading.add(number)
                self._counted(number).misses += 1
            else:
                live = self._live[number]
                wave.found[number] = live.model
                wave.held.append(number)
                live.count.hits += 1
                self._hold(number, live)
        self._promised += sum(wave.room.values())
        self._loads_promised += len(wave.room)
        self._unmark()
        self._wake()
        return wave

    def _missing(self, targets: Sequence[int]) -> tuple[Collection[int], Mapping[int, ModelError]]:
        """Those that have to be loaded, and the errors of those that could not be a short while ago."""
        missing: dict[int, None] = {}
        failures = {}
        for number in targets:
            live = self._live.get(number)
            if live is None and (error := self._failure(number)) is not None:
                failures[number] = error
            elif live is None or live.marked:
                missing[number] = None
        return missing.keys(), failures

    def _is_next(self, ticket: _Ticket | None) -> bool:
        return next((other for other in self._queue if not other.blocked), ticket) is ticket

    def _make_room(self, missing: Collection[int], targets: Sequence[int]) -> bool:
        """Mark others until these fit. False while some of those are still in use, or other loads have the room.

        Raises _TooLargeError if they never fit.
        """
        if not self._bounded:
            return True
        wanted, others = set(targets), [number for number in targets if number not in self._pinned]
        if not self._within(self._kept + sum(map(self._size, others)), len(self._pinned) + len(others)):
            raise _TooLargeError
        size, count = sum(map(self._expected, missing)), len(missing)
        if self._mark_for(size, count, wanted):
            return True
        # Those in use leave when they are let go; nobody else gets them.
        for number, live in list(self._busy.items()):
            leaving = sum(it.bytes for it in self._leaving.values())
            if self._fits(size - leaving, count - len(self._leaving)):
                break
            if number not in wanted and not live.marked:
                live.marked = True
                self._leaving[number] = live
        return False

    def _size(self, number: int) -> int:
        live = self._live.get(number)
        return live.bytes if live is not None else self._expected(number)

    def _fits(self, size: int, count: int) -> bool:
        """Whether so much fits beside what is live, loading or promised, less what is marked and held by nobody."""
        size += self._bytes - self._marked_bytes + self._inflight + self._promised
        return self._within(size, count + self._models() + self._loads_promised - len(self._marked))

    def _models(self) -> int:
        return len(self._live) + self._loads_running

    def _mark_for(self, size: int, count: int, wanted: Collection[int]) -> bool:
        """Mark idle sub-models, the least recently used first, until so much fits; False if it does not."""
        while not self._fits(size, count):
            number = next((number for number in self._idle if number not in wanted), None)
            if number is None:
                return False
            live = self._idle.pop(number)
            live.marked = True
            self._mark_idle(number, live)
        return True

    def _mark_idle(self, number: int, live: _Live) -> None:
        self._marked[number] = live
        self._marked_bytes += live.bytes

    def _unmark(self) -> bool:
        """Give back what is marked, and needed neither for a promise nor by who is next; whether there was any."""
        if not (self._marked or self._leaving) or any(not ticket.blocked for ticket in self._queue):
            return False
        some = bool(self._leaving)
        for live in self._leaving.values():
            live.marked = False
        self._leaving.clear()
        while self._marked:
            number, live = self._marked.popitem()
            self._marked_bytes -= live.bytes
            if not self._fits(0, 0):
                self._mark_idle(number, live)
                break
            live.marked, some = False, True
            self._idle[number] = live
            self._idle.move_to_end(number, last=False)
        return some

    def _drop_marked(self, size: int, count: int) -> None:
        """Drop what is marked until so much more is really there."""
        while self._marked and not self._within(self._bytes + self._inflight + size, self._models() + count):
            number, live = self._marked.popitem(last=False)
            self._marked_bytes -= live.bytes
            self._drop(number, live, "budget")

    def _drop(self, number: int, live: _Live, why: str) -> None:
        del self._live[number]
        self._bytes -= live.bytes
        live.count.evictions += 1
        self._gone.append((number, live, why))

    def _tell_gone(self) -> None:
        """Let go of what was dropped, without the lock, and before its room is used."""
        while self._gone:
            try:
                number, live, why = self._gone.popleft()
            except IndexError:
                return
            self._host.unload(live.model)
            self._host.evicted(EvictEvent(self._host.name(number), live.bytes, why))

    # -- loading -------------------------------------------------------------------------------------------------

    def _load(self, wave: _Wave) -> bool:
        """Load what the wave has room for. False if one of them was larger than expected and does not fit now."""
        numbers = list(wave.room)
        if len(numbers) == 1 or self.spec.load_workers == 1 or sum(wave.room.values()) < _WORTH_THREADS:
            return all(self._load_one(wave, number) for number in numbers)
        with ThreadPoolExecutor(min(len(numbers), self.spec.load_workers), "mmeframe-load") as pool:
            return all(list(pool.map(lambda number: self._load_one(wave, number), numbers)))

    def _load_one(self, wave: _Wave, number: int) -> bool:
        with self._slots:
            with self._lock:
                expected = wave.room.pop(number)
                self._promised -= expected
                self._loads_promised -= 1
                self._inflight += expected
                self._loads_running += 1
                self._drop_marked(0, 0)
            model, size, error = None, 0, None
            start = time.perf_counter()
            try:
                self._tell_gone()
                start = time.perf_counter()
                loaded = self._host.load(number)
                size = expected if self.spec.max_bytes is None else self._host.size(number, loaded)
                model = loaded
            except MmeframeError as found:
                error = _of_model(found, self._host.name(number))
            except Exception as found:  # noqa: BLE001 - whatever a library raises, only this sub-model is not there
                said = f"it cannot be loaded: {type(found).__name__}: {found}"
                error = ModelError(said, where=self._host.name(number))
                error.__cause__ = found
            finally:
                seconds = time.perf_counter() - start
                admitted = self._publish(wave, number, expected, model, size, error, seconds)
            self._tell_gone()
            if not admitted and model is not None:
                self._host.unload(model)
            elif error is None:
                self._host.loaded(LoadEvent(self._host.name(number), seconds, size))
            return admitted

    def _publish(
        self,
        wave: _Wave,
        number: int,
        expected: int,
        model: SubModel | None,
        size: int,
        error: ModelError | None,
        seconds: float,
    ) -> bool:
        """Publish what was loaded, held by the wave. False if it does not fit, or if loading was interrupted."""
        with self._lock:
            self._inflight -= expected
            self._loads_running -= 1
            self._loading.discard(number)
            count = self._counted(number)
            try:
                if error is not None:
                    count.failures += 1
                    self._failed[number] = (time.monotonic() + self.spec.failure_ttl_s, _without_cause(error))
                    wave.found[number] = error
                    return True
                if model is None:
                    return False
                if size > expected:
                    self._measured[number] = size
                if self._bounded and not self._mark_for(size, 1, set(wave.targets)):
                    return False
                self._drop_marked(size, 1)
                live = _Live(model, size, count, number in self._pinned)
                self._live[number] = live
                self._bytes += size
                self._failed.pop(number, None)
                count.loads += 1
                count.load_seconds += seconds
                self._hold(number, live)
                wave.held.append(number)
                wave.found[number] = model
                return True
            finally:
                self._unmark()
                self._wake()

    def _give_up(self, wave: _Wave) -> None:
        with self._lock:
            self._promised -= sum(wave.room.values())
            self._loads_promised -= len(wave.room)
            self._loading.difference_update(wave.room)
            self._unmark()
        self._let_go(wave.held)

    def _counted(self, number: int) -> ModelStatistics:
        count = self._counts.get(number)
        if count is None:
            count = self._counts[number] = ModelStatistics()
        return count

    def _fill(self, numbers: Sequence[int]) -> None:
        """Load what is to be there from the start."""
        if not numbers:
            return
        with self.acquire(numbers) as found:
            for it in found:
                if type(it) is ModelError:
                    raise it.__cause__ if isinstance(it.__cause__, MmeframeError) else it
        self._kept = sum(self._live[number].bytes for number in self._pinned)

    def _expire(self) -> None:
        """Drop what nobody has used for ``ttl_s``."""
        before = time.monotonic() - (self.spec.ttl_s or 0)
        with self._lock:
            while self._idle:
                number, live = next(iter(self._idle.items()))
                if live.used > before:
                    break
                del self._idle[number]
                self._drop(number, live, "ttl")
            self._wake()
        self._tell_gone()


def _of_model(error: MmeframeError, name: str) -> ModelError:
    """The same, told of a sub-model; ``error`` is its cause."""
    elsewhere = error.where and error.where != name
    what = f"it cannot be loaded: {error.where}: {error.what}" if elsewhere else error.what
    found = ModelError(what, where=name, hint=error.hint)
    found.__cause__ = error
    return found


def _without_cause(error: ModelError) -> ModelError:
    """A copy that keeps nothing alive: a cause's traceback holds what was being loaded."""
    return ModelError(error.what, where=error.where, hint=error.hint)


def _held(live: Mapping[int, Any]) -> list[int]:
    """Numbers of those that are really there."""
    return [number for number, it in live.items() if type(it) is not ModelError]


def _sweep(manager: weakref.ref[Residency], every: float) -> None:
    """Look for what has expired as long as the manager lives."""
    while (found := manager()) is not None:
        found._expire()
        del found
        time.sleep(every)
