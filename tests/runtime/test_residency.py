"""Which sub-models are in memory: bounds, one load for each, failures, waves, and threads that want everything."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mmeframe.errors import ConfigError, ModelError
from mmeframe.runtime.account import Host
from mmeframe.runtime.residency import Residency
from mmeframe.sections import ResidencySpec

SIZE = 100
RAISE = "Raise residency.max_bytes or residency.max_models."


class Memory:
    """The bytes of all sub-models that are really alive, and the most that there ever were."""

    def __init__(self) -> None:
        self.lock, self.alive, self.most = threading.RLock(), 0, 0

    def add(self, size: int) -> None:
        with self.lock:
            self.alive += size
            self.most = max(self.most, self.alive)


class Model:
    """A sub-model that knows its number."""

    def __init__(self, number: int, size: int, memory: Memory) -> None:
        self.number, self.size, self.memory = number, size, memory
        memory.add(size)

    def __str__(self) -> str:
        return str(self.number)

    def __del__(self) -> None:
        self.memory.add(-self.size)


@dataclass
class Shelf:
    """What a manager loads from. ``sizes``: measured, where they are not what was expected."""

    expected: dict[int, int] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    loads: list[int] = field(default_factory=list)
    dropped: list[tuple[str, int, str]] = field(default_factory=list)
    unloaded: list[int] = field(default_factory=list)
    told: list[tuple[str, int]] = field(default_factory=list)
    during: Callable[[int], Any] = lambda number: None
    memory: Memory = field(default_factory=Memory)

    def size(self, number: int) -> int:
        return self.sizes.get(number, self.expected.get(number, SIZE))

    def load(self, number: int) -> Any:
        self.loads.append(number)
        self.during(number)
        if number in self.broken:
            raise OSError(f"number {number} is broken")
        return Model(number, self.size(number), self.memory)

    def manager(
        self, n_models: int = 8, pinned: Sequence[int] = (), preload: Sequence[int] = (), **options: Any
    ) -> Residency:
        host = Host(
            lambda number: f"m{number}",
            lambda number: self.expected.get(number, SIZE),
            self.load,
            lambda number, model: model.size,
            lambda model: self.unloaded.append(model.number),
            lambda event: self.told.append((event.model_id, event.bytes)),
            lambda event: self.dropped.append((event.model_id, event.bytes, event.reason)),
        )
        spec = replace(ResidencySpec("lazy"), **options)
        return Residency(spec, range(n_models), host, pinned, preload)


@contextmanager
def held(manager: Residency, numbers: Sequence[int]) -> Iterator[list[Any]]:
    """What the manager gives for these numbers, in their order, held until the block ends."""
    with closing(manager.acquire(numbers)) as found:
        live = next(found)
        yield [live[number] for number in numbers]


def use(manager: Residency, *numbers: int) -> list[int]:
    """Hold these sub-models for a moment; returns what they say of themselves."""
    with held(manager, numbers) as models:
        return [model.number for model in models]


def resident(manager: Residency) -> set[str]:
    return {name for name, count in manager.statistics().models.items() if count.bytes}


# -- what is there -----------------------------------------------------------------------------------------------


def test_eager_loads_everything_once():
    shelf = Shelf()

    manager = shelf.manager(3, kind="eager")

    assert sorted(shelf.loads) == [0, 1, 2]
    assert use(manager, 2, 0) == [2, 0]
    assert len(shelf.loads) == 3


def test_lazy_loads_what_is_asked_for_and_keeps_it():
    shelf = Shelf()
    manager = shelf.manager()

    assert shelf.loads == []
    assert use(manager, 5) == use(manager, 5) == [5]
    assert shelf.loads == [5]
    assert shelf.told == [("m5", SIZE)]


def test_preloaded_ones_are_there_and_may_go_pinned_ones_stay():
    shelf = Shelf()
    manager = shelf.manager(max_models=3, pinned=[0], preload=[1])
    assert sorted(shelf.loads) == [0, 1]

    for number in (2, 3, 4):
        use(manager, number)

    assert resident(manager) == {"m0", "m3", "m4"}
    assert shelf.dropped[0] == ("m1", SIZE, "budget")


@pytest.mark.parametrize("bound", [{"max_bytes": 3 * SIZE}, {"max_models": 3}, {"max_bytes": 3 * SIZE + SIZE // 2}])
def test_the_least_recently_used_goes_first(bound):
    shelf = Shelf()
    manager = shelf.manager(**bound)

    for number in (0, 1, 2, 0, 3, 4):
        use(manager, number)

    assert [name for name, _, _ in shelf.dropped] == ["m1", "m2"]
    assert resident(manager) == {"m0", "m3", "m4"}


def test_statistics_say_what_happened():
    shelf = Shelf(broken={7})
    manager = shelf.manager(max_models=2, max_bytes=10 * SIZE)
    for number in (0, 0, 1, 2):
        use(manager, number)
    with held(manager, [7]) as (error,):
        assert isinstance(error, ModelError)

    found = manager.statistics()

    # The one that could not be loaded had room made for it.
    assert (found.kind, found.resident, found.bytes, found.loading) == ("lazy", 1, SIZE, 0)
    assert (found.max_bytes, found.max_models) == (10 * SIZE, 2)
    assert (found.hits, found.misses, found.loads, found.failures, found.waits) == (1, 4, 3, 1, 0)
    assert found.models["m0"].hits == 1
    assert found.models["m0"].evictions == 1
    assert found.models["m0"].bytes == 0
    assert found.models["m7"].failures == 1
    assert found.load_seconds == pytest.approx(sum(count.load_seconds for count in found.models.values()))


# -- bounds that cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(
            {"max_bytes": 150, "pinned": [0, 1]},
            "residency.max_bytes: 2 sub-models in memory from the start would take 200 B, more than the 150 B",
            id="pinned",
        ),
        pytest.param(
            {"max_bytes": 150, "pinned": [0], "preload": [1]},
            "residency.max_bytes: 2 sub-models in memory from the start would take 200 B, more than the 150 B",
            id="pinned-and-preloaded",
        ),
        pytest.param(
            {"max_bytes": 750, "kind": "eager"},
            "residency.max_bytes: 8 sub-models in memory from the start would take 800 B, more than the 750 B that are "
            "allowed.\n  Allow more, or choose residency=lazy.",
            id="eager",
        ),
        pytest.param(
            {"max_bytes": 99},
            "residency.max_bytes: sub-model 'm0' takes 100 B, which never fits into 99 B.\n  Allow at least 100 B.",
            id="one-alone",
        ),
        pytest.param(
            {"max_bytes": 150, "pinned": [3]},
            "residency.max_bytes: sub-model 'm0' takes 100 B, which never fits into 150 B beside 100 B that are "
            "pinned.\n  Allow at least 200 B.",
            id="one-beside-the-pinned",
        ),
        pytest.param(
            {"max_models": 1, "pinned": [0, 1]},
            "residency.max_models: 2 sub-models are pinned or preloaded, and 1 may be in memory.",
            id="too-many-pinned",
        ),
        pytest.param(
            {"max_models": 1, "pinned": [0]},
            "residency.max_models: 1 sub-model is pinned or preloaded and others need room beside them, and 1 may be "
            "in memory.",
            id="no-room-for-others",
        ),
    ],
)
def test_bounds_that_nothing_fits_into(options, said):
    """Refused when the router opens, before anything is loaded."""
    shelf = Shelf()

    with pytest.raises(ConfigError) as caught:
        shelf.manager(**options)

    assert str(caught.value).startswith(said)
    assert shelf.loads == []


@pytest.mark.parametrize("which", ["pinned", "preload"])
def test_what_must_be_there_and_cannot_be_loaded(which):
    with pytest.raises(ModelError, match=r"^m1: it cannot be loaded: OSError: number 1 is broken"):
        Shelf(broken={1}).manager(**{which: [0, 1]})


# -- sizes that differ from what was expected --------------------------------------------------------------------


def test_a_larger_one_evicts_the_difference():
    shelf = Shelf(sizes={2: 2 * SIZE})
    manager = shelf.manager(max_bytes=3 * SIZE)

    for number in (0, 1, 2):
        assert use(manager, number) == [number]

    assert resident(manager) == {"m1", "m2"}
    assert manager.statistics().bytes == 3 * SIZE


def test_one_that_turns_out_larger_than_the_budget():
    """It is let go of, named with its size, and its size is remembered: it is not loaded again."""
    shelf = Shelf(sizes={2: 4 * SIZE})
    manager = shelf.manager(max_bytes=3 * SIZE)
    use(manager, 0)

    for _ in range(2):
        with held(manager, [2]) as (error,):
            assert str(error).startswith("m2: it takes 400 B, which never fits at once.")

    assert shelf.loads == [0, 2]
    assert manager.statistics().bytes <= 3 * SIZE
    assert use(manager, 0, 1) == [0, 1]


def test_a_wave_that_turns_out_too_large_is_cut():
    shelf = Shelf(sizes=dict.fromkeys(range(8), 2 * SIZE))
    manager = shelf.manager(max_bytes=4 * SIZE)

    assert scored(manager, [[number] for number in range(8)]) == list(range(8))
    assert manager.statistics().bytes <= 4 * SIZE


# -- failures ----------------------------------------------------------------------------------------------------


def test_a_failed_load_is_remembered_for_a_while():
    shelf = Shelf(broken={1})
    manager = shelf.manager(failure_ttl_s=0.2)

    for cause in (OSError, type(None), type(None)):
        with held(manager, [1]) as (error,):
            assert str(error) == "m1: it cannot be loaded: OSError: number 1 is broken"
            assert isinstance(error.__cause__, cause)
    assert shelf.loads == [1]

    shelf.broken.clear()
    time.sleep(0.25)
    assert use(manager, 1) == [1]


def test_a_failed_load_leaves_the_others_where_they_are():
    """What was marked for it and is still there is given back; others of the batch are answered."""
    shelf = Shelf(broken={2})
    manager = shelf.manager(max_models=3)
    use(manager, 0, 1)

    with held(manager, [0, 2]) as (model, error):
        assert model.number == 0
        assert isinstance(error, ModelError)

    assert use(manager, 0, 1) == [0, 1]
    assert shelf.loads == [0, 1, 2]


def test_an_interrupted_load_gives_its_room_back():
    shelf = Shelf(expected={2: 3 * SIZE})
    manager = shelf.manager(max_bytes=3 * SIZE)

    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    shelf.during = interrupt
    with pytest.raises(KeyboardInterrupt), held(manager, [2]):
        pytest.fail("it was held")

    shelf.during = lambda number: None
    found = manager.statistics()
    assert (found.bytes, found.loading) == (0, 0)
    assert use(manager, 2) == [2]


def test_a_caller_that_fails_lets_go():
    manager = Shelf().manager(max_models=1)

    with pytest.raises(RuntimeError, match="caller"), held(manager, [0]):
        raise RuntimeError("of the caller")

    assert use(manager, 1) == [1]


# -- time --------------------------------------------------------------------------------------------------------


def test_what_nobody_asks_for_expires():
    shelf = Shelf()
    manager = shelf.manager(pinned=[0], ttl_s=0.1)
    use(manager, 1)

    deadline = time.monotonic() + 10
    while resident(manager) != {"m0"} and time.monotonic() < deadline:
        time.sleep(0.02)

    assert shelf.dropped == [("m1", SIZE, "ttl")]
    assert use(manager, 1) == [1]


# -- waves -------------------------------------------------------------------------------------------------------


def scored(manager: Residency, groups: Sequence[Sequence[int]]) -> list[int]:
    """The groups in the order of their indexes, each checked to be held with the right sub-models."""
    found = []
    with closing(manager.waves(groups)) as waves:
        for wave, live in waves:
            assert all(live[number].number == number for index in wave for number in groups[index])
            found += wave
    return sorted(found)


@pytest.mark.parametrize("bound", [{}, {"max_models": 1}, {"max_models": 3}, {"max_bytes": 2 * SIZE}])
def test_every_group_is_served_once(bound):
    groups = [[number] for number in range(8)]

    assert scored(Shelf().manager(**bound), groups) == list(range(8))


def test_waves_begin_with_what_is_there():
    """So that nothing is dropped just before it is needed."""
    shelf = Shelf()
    manager = shelf.manager(max_models=2)
    use(manager, 6, 7)

    scored(manager, [[number] for number in range(8)])

    assert sorted(shelf.loads) == list(range(8))


def test_groups_that_need_several_at_once():
    shelf = Shelf()
    manager = shelf.manager(max_models=2)

    assert scored(manager, [[0, 1], [1, 2], [0, 1, 2][:2], [3]]) == [0, 1, 2, 3]


def test_a_group_that_never_fits_is_an_error_of_its_own():
    manager = Shelf().manager(max_models=2)

    groups = [[0, 1, 2], [3]]
    with closing(manager.waves(groups)) as waves:
        found = {index: [str(live[number]) for number in groups[index]] for wave, live in waves for index in wave}

    assert found[1] == ["3"]
    assert found[0] == ["m0: what it needs takes 300 B, which never fits at once.\n  " + RAISE] * 3


# -- threads -----------------------------------------------------------------------------------------------------


def test_one_load_for_each_whoever_asks():
    shelf = Shelf(during=lambda number: time.sleep(0.05))
    manager = shelf.manager()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: use(manager, 3), range(8)))

    assert found == [[3]] * 8
    assert shelf.loads == [3]


def test_different_ones_load_at_the_same_time():
    """Two loads that wait for each other both come to an end."""
    meet = threading.Barrier(2, timeout=10)
    shelf = Shelf(during=lambda number: meet.wait())
    manager = shelf.manager()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda number: use(manager, number), [0, 1])) == [[0], [1]]


def test_load_workers_bounds_the_loads_at_a_time():
    running, most, lock = 0, 0, threading.Lock()

    def count(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    manager = Shelf(during=count).manager(16, load_workers=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: use(manager, number), range(16)))

    assert most == 2


def test_large_ones_of_one_batch_load_in_threads():
    meet = threading.Barrier(2, timeout=10)
    shelf = Shelf(expected={0: 8 << 20, 1: 8 << 20}, during=lambda number: meet.wait())

    assert use(shelf.manager(), 0, 1) == [0, 1]


@pytest.mark.parametrize("loser", ["the batch's own", "the other"])
def test_an_interruption_of_either_thread_is_the_batchs(loser):
    """Loads of one batch in two threads: whichever is interrupted, the batch is, and nothing stays reserved."""
    meet = threading.Barrier(2, timeout=10)
    own = threading.current_thread()

    def during(number: int) -> None:
        meet.wait()
        if (threading.current_thread() is own) == (loser == "the batch's own"):
            raise KeyboardInterrupt

    shelf = Shelf(expected={0: 8 << 20, 1: 8 << 20}, during=during)
    manager = shelf.manager(max_bytes=16 << 20)
    with pytest.raises(KeyboardInterrupt):
        use(manager, 0, 1)

    shelf.during = lambda number: None
    assert use(manager, 0, 1) == [0, 1]
    assert (manager.statistics().loading, manager.statistics().bytes) == (0, 16 << 20)


def test_who_needs_everything_is_not_starved():
    """Others ask for small ones all the time, and the one that needs all the room gets it."""
    shelf = Shelf(expected={0: 4 * SIZE})
    manager = shelf.manager(max_bytes=4 * SIZE)
    stop = threading.Event()

    def small(number: int) -> None:
        while not stop.is_set():
            use(manager, number, number + 1)

    with ThreadPoolExecutor(5) as pool:
        others = [pool.submit(small, number) for number in (1, 3, 5)]
        for _ in range(20):
            assert pool.submit(use, manager, 0).result(timeout=30) == [0]
        stop.set()
        for other in others:
            other.result(timeout=30)


@pytest.mark.stress
@pytest.mark.parametrize("surprises", [False, True])
@pytest.mark.parametrize("bound", [{"max_bytes": 2 * SIZE}, {"max_models": 2}, {"max_bytes": 3 * SIZE, "ttl_s": 0.01}])
def test_many_threads_want_everything(bound, surprises):
    """16 threads, 40 sub-models that differ in size, room for few, loads that fail now and then: no wrong sub-model,
    never more than the budget, as it is counted and as it is, one load at a time for each, and everybody finishes.

    surprises: some are larger than was expected, and are let go of for a moment.
    """
    n_models, limit = 40, bound.get("max_bytes")
    loading, lock = set[int](), threading.Lock()
    chance = random.Random(0)
    shelf = Shelf(
        expected={number: 20 + 2 * number for number in range(n_models)},
        sizes={number: 25 + 2 * number for number in range(0, n_models, 3)} if surprises else {},
    )

    def during(number: int) -> None:
        with lock:
            assert number not in loading
            loading.add(number)
            broken = chance.random() < 0.02
        time.sleep(0.0002)
        with lock:
            loading.discard(number)
        if broken:
            raise OSError("now and then")

    shelf.during = during
    manager = shelf.manager(n_models, failure_ttl_s=0, **bound)
    stop = time.monotonic() + 3
    over: list[int] = []

    def watch() -> None:
        while time.monotonic() < stop:
            found = manager.statistics()
            if limit is not None and found.bytes + found.loading > limit:
                over.append(found.bytes + found.loading)
            if found.max_models is not None and found.resident > found.max_models:
                over.append(found.resident)

    def work(seed: int) -> int:
        own, done = random.Random(seed), 0
        while time.monotonic() < stop:
            groups = [[number] for number in own.sample(range(n_models), own.choice([1, 2, 10, 40]))]
            served = []
            with closing(manager.waves(groups)) as waves:
                for wave, live in waves:
                    for index in wave:
                        (number,) = groups[index]
                        assert str(live[number]) in (
                            str(number),
                            f"m{number}: it cannot be loaded: OSError: now and then",
                        )
                        served.append(index)
            assert sorted(served) == list(range(len(groups)))
            done += 1
        return done

    with ThreadPoolExecutor(17) as pool:
        watching = pool.submit(watch)
        rounds = [work.result(timeout=60) for work in [pool.submit(work, seed) for seed in range(16)]]
        watching.result()

    assert min(rounds) > 0
    assert over == []
    if limit is not None and not surprises:
        # What is dropped is freed a moment after its room counts as free, without a lock that others wait for.
        assert shelf.memory.most <= limit + max(shelf.expected.values())
    found = manager.statistics()
    assert found.loading == 0
    assert found.loads == len(shelf.told)
    assert found.evictions == len(shelf.dropped)
    assert len(shelf.unloaded) == found.evictions or surprises
    assert found.loads - found.evictions == found.resident
