"""What is in memory, and what batches and loads hold of it and were promised: the account of the residency manager."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from mmeframe.errors import ModelError
from mmeframe.plugin import EvictEvent, LoadEvent, SubModel
from mmeframe.sections import ResidencySpec

__all__ = ["Account", "Host", "Live", "ModelStatistics", "ResidencyStatistics", "Wave", "without_cause"]

_NOTHING: Any = MappingProxyType({})


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


class Live:
    """A sub-model in memory.

    users: batches that hold it. used: when the last of them let it go, where there is a ``ttl_s``. marked: it is to be
    dropped, and nobody gets it.
    """

    __slots__ = ("bytes", "count", "marked", "model", "pinned", "used", "users")

    def __init__(self, model: SubModel, size: int, count: ModelStatistics, pinned: bool) -> None:
        self.model, self.bytes, self.count, self.pinned = model, size, count, pinned
        self.users, self.used, self.marked = 0, 0.0, False


class Wave:
    """What a batch needs at once, or one load of it: the facts that the account can be made of.

    of: the batch of a load. room: bytes that are promised for loads that have not begun; loading: those of a load that
    runs. held: sub-models that may not be dropped. failures: of those that cannot be loaded. blocked: it could not use
    room now, and lets others pass. turn: opened when it should look again. unfit: one was larger than expected.
    """

    room: dict[int, int] = _NOTHING
    loading: dict[int, int] = _NOTHING
    failures: dict[int, ModelError] = _NOTHING
    turn: Any = None
    raised: BaseException | None = None
    blocked = unfit = False

    def __init__(self, targets: Sequence[int], of: Wave | None = None) -> None:
        self.targets, self.of = targets, of
        self.held: dict[int, Live] = {}


class Account:
    """Who holds what, and what is promised, within bounds. Shared by threads: whoever changes it has the lock.

    An exception may strike between any two instructions (Ctrl-C, an alarm), and any number of them may. So what decides
    is few facts, each changed by one instruction: what is in memory (``_live``), what batches and loads hold and were
    promised (``_waves``), and which of those are over (``_over``). All else is counted from these as they change, by
    whoever has the lock; ``_torn`` says that somebody did not finish, and the next one counts anew. Waiters look for
    that themselves now and then: who was interrupted may not have told them.
    """

    def __init__(self, spec: ResidencySpec, host: Host, pinned: Collection[int]) -> None:
        self.spec, self._host = spec, host
        self._pinned = frozenset(pinned)
        self._bounded = spec.max_bytes is not None or spec.max_models is not None
        # In C: nothing strikes between its ``with`` and the block, or its end.
        self._lock = threading.RLock()
        self._live: dict[int, Live] = {}
        self._waves: set[Wave] = set()
        self._over: deque[Wave] = deque()
        self._torn = False
        # Not pinned and held by nobody, the least recently used first.
        self._idle: OrderedDict[int, Live] = OrderedDict()
        # Not pinned and held by batches.
        self._busy: dict[int, Live] = {}
        # Marked ones: of the idle, whose bytes count as free for promises, and of the busy.
        self._marked: OrderedDict[int, Live] = OrderedDict()
        self._leaving: dict[int, Live] = {}
        self._loading: set[int] = set()
        # Bytes and number of live sub-models, of marked idle ones, of running loads, and of promised loads.
        self._bytes = self._marked_bytes = self._inflight = self._promised = 0
        self._loads_running = self._loads_promised = 0
        # In order: those that wait for room, and all that wait.
        self._queue: dict[Wave, None] = {}
        self._waiting: dict[Wave, None] = {}
        self._waits = 0
        self._failed: dict[int, tuple[float, ModelError]] = {}
        # Sizes of those that were larger than expected.
        self._measured: dict[int, int] = {}
        self._counts: dict[int, ModelStatistics] = {}
        # Dropped with the lock held, told without it by whoever dropped it.
        self._gone: list[tuple[int, Live, str]] = []
        self._kept = sum(map(self._expected, self._pinned))

    def statistics(self) -> ResidencyStatistics:
        """What is in memory, and what it took to get it there."""
        names = ("hits", "misses", "loads", "evictions", "failures", "load_seconds")
        with self._lock:
            self._begin()
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
            self._torn = False
        total: dict[str, Any] = {name: sum(getattr(count, name) for count in counts.values()) for name in names}
        models = {self._host.name(number): count for number, count in counts.items()}
        return ResidencyStatistics(**facts, **total, models=models)

    def _expected(self, number: int) -> int:
        return self._measured.get(number) or self._host.expected(number)

    def _within(self, size: int, count: int) -> bool:
        limit, most = self.spec.max_bytes, self.spec.max_models
        return (limit is None or size <= limit) and (most is None or count <= most)

    def _counted(self, number: int) -> ModelStatistics:
        count = self._counts.get(number)
        if count is None:
            count = self._counts[number] = ModelStatistics()
        return count

    # -- holding and letting go ----------------------------------------------------------------------------------

    def _there(self, wave: Wave) -> dict[int, Any] | None:
        """Hold all if all are there, or known not to be loadable; else None."""
        found: dict[int, Any] = {}
        for number in wave.targets:
            live: Any = self._live.get(number)
            if live is None or live.marked:
                live = self._failure(number) if self._failed else None
                if live is None:
                    return None
            found[number] = live
        self._waves.add(wave)
        for number, live in found.items():
            if type(live) is Live:
                found[number] = live.model
                live.count.hits += 1
                self._hold(wave, number, live)
        return found

    def _hold(self, wave: Wave, number: int, live: Live) -> None:
        wave.held[number] = live
        live.users += 1
        if live.users == 1 and not live.pinned:
            self._idle.pop(number, None)
            self._busy[number] = live

    def _begin(self) -> None:
        """What whoever gets the lock does first: take back what is over, so that the account is right.

        Until it says that it has finished, the account counts as torn.
        """
        if self._torn:
            self._recount()
        self._torn = True
        while self._over:
            self._release(self._over[0])
            self._over.popleft()

    def _settle(self) -> None:
        # Not in the middle of something else: what nobody closed is closed by the garbage collector, anywhere.
        if self._torn and self._lock._is_owned():  # type: ignore[attr-defined]
            return
        with self._lock:
            self._begin()
            self._torn = False

    def _release(self, wave: Wave) -> None:
        """Take back all that a batch or a load has; nothing if that was done."""
        if wave not in self._waves:
            return
        self._waves.discard(wave)
        if wave.turn is not None or wave.room or wave.loading:
            self._queue.pop(wave, None)
            self._waiting.pop(wave, None)
            self._end(wave)
            self._unmark()
        now = 0.0 if self.spec.ttl_s is None else time.monotonic()
        for number, live in wave.held.items():
            live.users -= 1
            if live.users == 0 and not live.pinned:
                live.used = now
                del self._busy[number]
                if live.marked:
                    del self._leaving[number]
                    self._mark_idle(number, live)
                else:
                    self._idle[number] = live
        wave.held = {}
        if self._waiting:
            self._wake()

    def _end(self, wave: Wave) -> None:
        """Take back what was promised for loads, or reserved for the one that runs."""
        self._promised -= sum(wave.room.values())
        self._loads_promised -= len(wave.room)
        self._inflight -= sum(wave.loading.values())
        self._loads_running -= len(wave.loading)
        self._loading.difference_update(wave.room, wave.loading)
        wave.room = wave.loading = _NOTHING

    def _recount(self) -> None:
        """Make the account from the facts: somebody was interrupted while changing it."""
        for wave in tuple(self._over):
            self._waves.discard(wave)
        waves = self._waves
        self._queue = {wave: None for wave in self._queue if wave in waves}
        self._waiting = {wave: None for wave in self._waiting if wave in waves}
        self._promised = sum(sum(wave.room.values()) for wave in waves)
        self._loads_promised = sum(len(wave.room) for wave in waves)
        self._inflight = sum(sum(wave.loading.values()) for wave in waves)
        self._loads_running = sum(len(wave.loading) for wave in waves)
        self._loading = {number for wave in waves for number in (*wave.room, *wave.loading)}
        users = Counter(number for wave in waves for number in wave.held)
        # Those that were marked had been used less recently.
        order = dict.fromkeys([*self._marked, *self._idle, *self._live])
        idle: OrderedDict[int, Live] = OrderedDict()
        busy: dict[int, Live] = {}
        for number in filter(self._live.__contains__, order):
            live = self._live[number]
            live.users, live.marked = users[number], False
            if not live.pinned:
                (busy if live.users else idle)[number] = live
        self._bytes, self._marked_bytes = sum(live.bytes for live in self._live.values()), 0
        self._idle, self._busy, self._marked, self._leaving = idle, busy, OrderedDict(), {}
        # What was promised keeps its room.
        self._mark_for(0, 0, ())
        self._wake()

    def _failure(self, number: int) -> ModelError | None:
        """Why it could not be loaded a short while ago: an error of the caller's own, since raising changes it."""
        until, error = self._failed.get(number, (0.0, None))
        return None if error is None or time.monotonic() >= until else without_cause(error)

    def _wait(self, wave: Wave) -> None:
        """Note that it waits for a turn, which it does without the lock."""
        if wave.turn is None:
            wave.turn = threading.Lock()
            wave.turn.acquire()
        self._waiting[wave] = None

    def _wake(self) -> None:
        for wave in self._waiting:
            if wave.turn.locked():
                wave.turn.release()

    # -- making room ---------------------------------------------------------------------------------------------

    def _reserve(self, wave: Wave) -> bool | None:
        """Promise room to those that are missing, and hold the others. False if it has to wait; None if they never fit.

        Called with the lock.
        """
        targets = wave.targets
        while True:
            missing, failures = self._missing(targets)
            blocked = any(number in self._loading or number in self._live for number in missing)
            if wave.blocked != blocked:
                wave.blocked = blocked
                if wave in self._queue:
                    # It is another's turn.
                    self._wake()
            if not blocked:
                made = self._make_room(missing, targets) if self._is_next(wave) else False
                if made is None:
                    return None
                if made:
                    break
                self._queue.setdefault(wave)
            elif self._unmark():
                # What was marked may be what is missing.
                self._wake()
                continue
            self._waits += wave.turn is None
            self._wait(wave)
            return False
        self._queue.pop(wave, None)
        self._waiting.pop(wave, None)
        wave.failures = dict(failures)
        wave.room = {number: self._expected(number) for number in missing}
        self._loading |= missing.keys()
        self._promised += sum(wave.room.values())
        self._loads_promised += len(wave.room)
        for number in targets:
            if number in missing:
                self._counted(number).misses += 1
            elif number not in failures:
                live = self._live[number]
                live.count.hits += 1
                self._hold(wave, number, live)
        self._unmark()
        self._wake()
        return True

    def _missing(self, targets: Sequence[int]) -> tuple[dict[int, None], dict[int, ModelError]]:
        """Those that have to be loaded, and the errors of those that could not be a short while ago."""
        missing: dict[int, None] = {}
        failures = {}
        for number in targets:
            live = self._live.get(number)
            if live is None and (error := self._failure(number)) is not None:
                failures[number] = error
            elif live is None or live.marked:
                missing[number] = None
        return missing, failures

    def _is_next(self, wave: Wave) -> bool:
        return next((other for other in self._queue if not other.blocked), wave) is wave

    def _make_room(self, missing: Collection[int], targets: Sequence[int]) -> bool | None:
        """Mark others until these fit. False while some of those are still in use, or other loads have the room.

        None if they never fit.
        """
        if not self._bounded:
            return True
        wanted, others = set(targets), [number for number in targets if number not in self._pinned]
        if not self._within(self._kept + sum(map(self._size, others)), len(self._pinned) + len(others)):
            return None
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

    def _mark_idle(self, number: int, live: Live) -> None:
        self._marked[number] = live
        self._marked_bytes += live.bytes

    def _unmark(self) -> bool:
        """Give back what is marked, and needed neither for a promise nor by who is next; whether there was any."""
        if not (self._marked or self._leaving) or any(not wave.blocked for wave in self._queue):
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

    def _drop(self, number: int, live: Live, why: str) -> None:
        del self._live[number]
        self._bytes -= live.bytes
        live.count.evictions += 1
        self._gone.append((number, live, why))

    def _now_gone(self) -> list[tuple[int, Live, str]]:
        gone, self._gone = self._gone, []
        return gone


def without_cause(error: ModelError) -> ModelError:
    """A copy that keeps nothing alive: a cause's traceback holds what was being loaded."""
    return ModelError(error.what, where=error.where, hint=error.hint)
