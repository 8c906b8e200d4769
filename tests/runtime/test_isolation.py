"""Sub-models that ship different modules of one name: each answers with its own."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from mmeframe import api
from mmeframe.errors import MmeframeError, ModelError
from mmeframe.runtime import Router
from tests import fleets, servers

pytestmark = pytest.mark.process

# A model from code that imports only when it predicts.
MODEL = """
import mlflow
class Shipped(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        import helperlib
        return helperlib.answer(model_input)
mlflow.models.set_model(Shipped())
"""

# Multiplies; or, for certain values, does what sub-models had better not.
HELPER = """
import os, sys, time
import numpy as np
class Odd(Exception):
    pass
def answer(rows):
    x = rows["x1"].to_numpy()
    if x[0] == -1:
        return np.full(len(x), float(os.getpid()))
    if x[0] == -2:
        raise Odd("Jane Doe")
    if x[0] == -3:
        time.sleep(600)
    if x[0] == -4:
        os._exit(3)
    if x[0] == -5:
        import mmeframe
        heavy = sorted({"hydra", "pluggy"} & set(sys.modules))
        assert "mmeframe.zip" in mmeframe.__file__ and not heavy, (mmeframe.__file__, heavy, sys.path)
        return np.ones(len(x))
    if x[0] == -6:
        return np.ones(len(x) + 1)
    if x[0] == -7:
        return np.array([Odd()] * len(x))
    if x[0] == -8:
        return np.full(len(x), float(any(name.startswith("MMEFRAME_TRAFFIC") for name in os.environ)))
    return x * FACTOR
"""
PID, RAISE, WAIT, EXIT, CLEAN, LONG, OWN_CLASS, KNOBS = (-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0)
ROWS = fleets.rows(4)[["x1", "x2"]]
FACTORS = {"old": 2, "new": 3, "same": 3}
ROUTING = ("routing=column", "routing.column=who", "isolation=process")


@pytest.fixture(scope="module")
def folders(module_store) -> dict[str, str]:
    """Model folders: old and new differ in their helperlib; same has the one of new; plain ships nothing."""
    found = {"plain": fleets.keep(module_store.folder, fleets.fitted(0), ROWS)}
    for name, factor in FACTORS.items():
        home = module_store.folder / f"code_{name}"
        home.mkdir()
        (home / "helperlib.py").write_text(HELPER.replace("FACTOR", str(factor)))
        (home / "model.py").write_text(MODEL)
        path = found[name] = str(module_store.folder / f"model_{name}")
        mlflow.pyfunc.save_model(
            path,
            python_model=str(home / "model.py"),
            code_paths=[str(home / "helperlib.py")],
            signature=infer_signature(ROWS, ROWS["x1"]),
            pip_requirements=fleets.pins(),
        )
    return found


@pytest.fixture(scope="module")
def build(folders, module_store) -> Callable[..., Any]:
    """Build a router over the folders: (name, *overrides) -> what was logged."""
    models = [f"+models.{name}={{uri:{path},key:{{who:{name}}}}}" for name, path in folders.items()]

    def build(name: str, *overrides: str) -> Any:
        with fleets.inside(module_store.folder):
            return api.build(f"name={name}", *ROUTING, *models, module_store.override, *overrides)

    return build


@pytest.fixture(scope="module")
def logged(build) -> Any:
    return build("apart")


@pytest.fixture(scope="module")
def skipping(build) -> Any:
    return build("skipping", "output.on_error=skip")


@pytest.fixture
def load(module_store, monkeypatch) -> Iterator[Callable[[Any], Any]]:
    """Load a logged router; its processes start when they are asked, and end with the test."""
    monkeypatch.setenv("MMEFRAME_RESIDENCY_KIND", "lazy")
    with contextlib.ExitStack() as stack:

        def load(logged: Any) -> Any:
            router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
            stack.callback(router.close)
            return router

        yield load


@pytest.fixture
def router(load, logged) -> Any:
    return load(logged)


@pytest.fixture(scope="module")
def shared(logged, module_store) -> Iterator[Any]:
    """For tests that leave its processes as they are."""
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
    yield router
    router.close()


def rows(*who: str, x1: float | None = None) -> pd.DataFrame:
    frame = fleets.rows(len(who))[["x1", "x2"]].assign(who=who)
    return frame if x1 is None else frame.assign(x1=x1)


def pid(router: Any, who: str) -> int:
    return int(router.predict(rows(who, x1=PID))[0])


def gone(pid: int) -> bool:
    """Wait for the end of a process that ends by itself; one that this process leaves as a zombie is not gone."""
    for _ in range(600):
        try:
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            return True
        if state == "Z" and int(parent) != os.getpid():
            return True
        time.sleep(0.02)
    return False


def python(script: str, *args: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *args], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- right answers ---------------------------------------------------------------------------------------------------

_PLAIN = """
import sys, mlflow.pyfunc, pandas as pd
rows = pd.DataFrame({"x1": [1.0], "x2": [0.0]})
print([mlflow.pyfunc.load_model(path).predict(rows).tolist() for path in sys.argv[1:]])
"""


def test_plain_mlflow_answers_with_the_first_ones_code(folders, tmp_path):
    """What happens without a router: one process has one module of a name, so the second is wrong in silence."""
    assert python(_PLAIN, folders["old"], folders["new"], cwd=tmp_path) == "[[2.0], [2.0]]\n"
    assert python(_PLAIN, folders["new"], folders["old"], cwd=tmp_path) == "[[3.0], [3.0]]\n"


@pytest.mark.smoke
def test_each_sub_model_answers_with_its_own_code(shared):
    """In one batch, in the order of the rows, beside a sub-model of the router's own process."""
    frame = rows(*["old", "new", "plain", "same"] * 5)

    answer = shared.predict(frame)

    expected = frame["x1"] * frame["who"].map(FACTORS)
    coded = frame["who"] != "plain"
    assert answer[coded].tolist() == expected[coded].tolist()
    alone = fleets.fitted(0).predict(frame.loc[~coded, ["x1", "x2"]])
    np.testing.assert_allclose(answer[~coded], alone, rtol=1e-12, atol=1e-14)


def test_the_module_is_in_neither_the_building_nor_the_routing_process(shared):
    """Both happened in this one."""
    shared.predict(rows("old", "new"))

    assert "helperlib" not in sys.modules


def test_one_process_for_each_code(shared):
    """Sub-models with equal code share one; the router's own process is none of them."""
    pids = {who: pid(shared, who) for who in FACTORS}

    assert pids["new"] == pids["same"]
    assert len({*pids.values(), os.getpid()}) == 3


_LOADED = """
import sys
sys.path[:] = [entry for entry in sys.path if entry != sys.argv[2]]
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pd.DataFrame({"x1": [1.0, 1.0, -5.0], "x2": [0.0] * 3, "who": ["old", "new", "same"]})
print([model.predict(frame[row:row + 1]).tolist() for row in range(3)])
"""


def test_loaded_by_mlflow_with_the_code_of_the_artifact(logged, module_store, tmp_path):
    """Where only the artifact has mmeframe the workers find it there too, and need neither Hydra nor pluggy."""
    root = str(Path(api.__file__).parents[1])

    said = python(_LOADED, logged.model_uri, root, cwd=tmp_path, MLFLOW_TRACKING_URI=module_store.uri)

    assert said == "[[2.0], [3.0], [1.0]]\n"


def test_behind_mlflows_server(logged, module_store, tmp_path):
    """Stock ``mlflow models serve``; errors keep their text, and no text of a library."""
    with servers.mlflow_serve(
        logged.model_uri, cwd=tmp_path, env={"MLFLOW_TRACKING_URI": module_store.uri}
    ) as endpoint:
        reply = endpoint.json(rows("old", "new", "plain", "old", x1=1.0))
        failed = endpoint.json(rows("old", x1=RAISE))

    expected = fleets.fitted(0).predict(pd.DataFrame({"x1": [1.0], "x2": rows(*"abc")["x2"][2:]}))
    assert reply.status == 200
    assert reply.body["predictions"] == [2.0, 3.0, pytest.approx(expected[0]), 2.0]
    assert failed.status == 500
    assert "old: its predict failed with Odd." in failed.text
    assert "Jane" not in failed.body["message"]


def test_deploy_time_variables_are_not_the_workers(logged, load, monkeypatch):
    """A sub-model may be a router itself: variables mean the outermost one."""
    monkeypatch.setenv("MMEFRAME_TRAFFIC_ARMS", "")

    assert load(logged).predict(rows("old", x1=KNOBS)).tolist() == [0.0]


# -- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x1", "text"),
    [
        pytest.param(RAISE, "old: its predict failed with Odd.", id="raises"),
        pytest.param(LONG, "old: it gave 2 answers for 1 row.", id="too-long"),
        pytest.param(OWN_CLASS, "old: its predict failed with ModuleNotFoundError.", id="objects-of-its-own-modules"),
    ],
)
def test_errors_are_those_of_one_process(shared, x1, text):
    """The type of the error alone is named: its text may hold data, and stays in the chained exception."""
    before = pid(shared, "old")

    with pytest.raises(ModelError) as caught:
        shared.predict(rows("old", x1=x1))

    assert str(caught.value) == text
    assert pid(shared, "old") == before


def test_the_cause_of_an_error_is_chained(shared):
    """With the text, and where it was raised, for whoever debugs."""
    with pytest.raises(ModelError) as caught:
        shared.predict(rows("old", x1=RAISE))

    assert str(caught.value.__cause__) == "Jane Doe"
    assert "in answer" in caught.value.__cause__.__notes__[0]


def test_a_killed_worker_fails_the_call_in_flight_and_is_started_again(router):
    """The call names the sub-model and the signal; others go on, and the next call loads it again."""
    victim, other = pid(router, "new"), pid(router, "old")
    threading.Timer(0.5, os.kill, (victim, signal.SIGKILL)).start()

    with pytest.raises(ModelError) as caught:
        router.predict(rows("new", x1=WAIT))

    assert str(caught.value) == "new: its process ended with signal 9."
    assert gone(victim)
    assert router.predict(rows("new", "same", "old", x1=1.0)).tolist() == [3.0, 3.0, 2.0]
    assert pid(router, "old") == other
    assert pid(router, "new") == pid(router, "same") != victim


def test_a_worker_that_is_killed_while_idle_is_not_missed(router):
    """It leaves no zombie, and no call fails."""
    victim = pid(router, "new")
    os.kill(victim, signal.SIGKILL)
    assert gone(victim)

    assert router.predict(rows("new", x1=1.0)).tolist() == [3.0]


def test_a_worker_that_exits(router):
    """An exit code is named like a signal."""
    with pytest.raises(ModelError, match=r"^old: its process ended with exit code 3\.$"):
        router.predict(rows("old", x1=EXIT))

    assert router.predict(rows("old", x1=1.0)).tolist() == [2.0]


@pytest.mark.parametrize("x1", [RAISE, EXIT], ids=["raises", "exits"])
def test_on_error_skip(skipping, load, x1):
    """Rows of a sub-model that fails, or whose process ends, are null; the others are answered."""
    router = load(skipping)
    frame = rows("new", "old", "plain", "old").assign(x1=[1.0, x1, 1.0, 1.0])

    answer = router.predict(frame, {"annotate": True})

    assert answer["reason"].tolist() == ["exact", "model_error", "exact", "model_error"]
    assert answer["prediction"][0] == 3.0
    assert np.isnan(answer["prediction"][[1, 3]].astype(float)).all()


def test_an_interrupted_call_leaves_nothing_behind(router):
    """After Ctrl-C the worker lives, and the next call gets its own answer."""
    before = pid(router, "old")
    main = threading.main_thread().ident
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()

    with pytest.raises(KeyboardInterrupt):
        router.predict(rows("old", x1=WAIT))

    assert router.predict(rows("old", x1=5.0)).tolist() == [10.0]
    assert pid(router, "old") == before


def test_a_worker_survives_ctrl_c_in_its_terminal(router):
    """The signal reaches every process of a terminal; what it means is the router's business."""
    before = pid(router, "old")
    os.kill(before, signal.SIGINT)

    assert pid(router, "old") == before


def test_a_sub_model_that_cannot_be_loaded(logged, load, tmp_path, monkeypatch):
    """As in one process: whatever is in the way is told, and what to do."""
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("MMEFRAME_RESIDENCY_KIND", "eager")
    (tmp_path / "file").write_text("")

    with pytest.raises(MmeframeError, match=r"cache: the cache folder takes no files: Not a directory\.\n  Free space"):
        load(logged)


# -- many at once ----------------------------------------------------------------------------------------------------


def test_threads_share_the_workers(shared):
    """Every thread gets its own answers, of all sub-models, again and again."""

    def ask(number: int) -> bool:
        frame = rows("old", "new", "same", "old", x1=float(number + 1))
        return shared.predict(frame).tolist() == [(number + 1.0) * factor for factor in (2, 3, 3, 2)]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_a_call_does_not_wait_for_another(router):
    """A sub-model that takes its time holds up nobody, not even in its own process."""
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(router.predict, rows("same", x1=WAIT))

        assert router.predict(rows("new", x1=1.0)).tolist() == [3.0]
        assert not slow.done()
        os.kill(pid(router, "new"), signal.SIGKILL)
        assert isinstance(slow.exception(), ModelError)


def test_threads_and_a_worker_that_dies(router):
    """Calls fail by name or are right; afterwards all is well."""

    def ask(number: int) -> bool:
        if number == 20:
            os.kill(pid(router, "new"), signal.SIGKILL)
        try:
            return router.predict(rows("new", "same", x1=float(number + 1))).tolist() == [(number + 1.0) * 3] * 2
        except ModelError as error:
            return "its process ended with signal 9." in str(error)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(80)))
    assert router.predict(rows("new", "same", x1=1.0)).tolist() == [3.0, 3.0]


# -- the end ---------------------------------------------------------------------------------------------------------

_KILLED = """
import sys, time, mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = [pd.DataFrame({"x1": [-1.0], "x2": [0.0], "who": [who]}) for who in ("old", "new")]
print([int(model.predict(row)[0]) for row in rows], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_routers_process(logged, module_store, tmp_path, how):
    """However it ends, and whatever it was doing."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _KILLED, logged.model_uri],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": module_store.uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        workers = [int(part) for part in parent.stdout.readline().strip("[]\n").split(",")]
        parent.send_signal(how)
    assert all(map(gone, workers))


@pytest.mark.parametrize("end", ["close", "collect"])
def test_workers_end_with_the_router(logged, module_store, end):
    """Closed or collected: no process, no zombie, no open file is left."""
    with fleets.active(module_store.uri):
        folder = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
    gc.collect()
    # Not by MLflow, which keeps the last model from code.
    router = Router.open(folder / "artifacts" / "bundle")
    router.predict(rows("old", "new", "same"))
    workers = [pid(router, "old"), pid(router, "new")]
    sockets = open_sockets()

    if end == "close":
        router.close()
    del router
    gc.collect()

    assert all(map(gone, workers))
    # The control sockets and a connection each.
    assert sockets - open_sockets() == 4


def open_sockets() -> int:
    return sum(os.path.realpath(f"/proc/self/fd/{fd}").count("socket:") for fd in os.listdir("/proc/self/fd"))


def test_a_worker_ends_with_its_last_sub_model(router):
    """Unloading takes a sub-model from the process, which ends when it has none; loading starts another."""
    first, numbers = pid(router, "new"), {name: router.bundle.position(name) for name in FACTORS}
    for found in router.residency.acquire([numbers["new"], numbers["same"]]):
        new, same = found[numbers["new"]], found[numbers["same"]]
        new.unload()
        assert pid(router, "same") == first
        same.unload()

    assert gone(first)
    again = router._loading.load(numbers["new"])
    assert again.predict(ROWS.assign(x1=2.0)).tolist() == [6.0] * 4
    assert again.size > 0
