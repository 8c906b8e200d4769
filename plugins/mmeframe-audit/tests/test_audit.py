"""The observer ``audit``: what its files hold, when they are written, and what happens when they cannot be."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mmeframe import api
from mmeframe.errors import ProblemsError
from mmeframe.plugin import BatchEvent, ComponentContext, ErrorEvent, ModelError, ShadowEvent
from mmeframe.plugin.manager import load_plugins
from mmeframe.testing import ObserverCase, ObserverConformance
from tests.causes import causes

from mmeframe_audit.observer import AuditConf, AuditObserver

README = Path(__file__).parents[1] / "README.md"

BATCH = BatchEvent(3, 0.25, {"day_0": 2, "day_1": 1}, {"exact": 3})
# A process that has an observer over the folder of its first argument; what comes after is the test's.
PROCESS = """
import os, resource, signal, sys, time
from pathlib import Path
from mmeframe.plugin import BatchEvent, ComponentContext
from mmeframe_audit.observer import AuditConf, AuditObserver

def observer(**options):
    made = AuditObserver(AuditConf(folder=sys.argv[1], **{"every_s": 3600, **options}))
    made.bind(ComponentContext())
    return made

def tell(one, *rows):
    for number in rows:
        one.on_batch(BatchEvent(number, 0.0, {"m": number}, {"exact": number}))

"""


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where the conformance kit's observers write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDITED", str(tmp_path_factory.mktemp("kit")))
        yield


@pytest.mark.process
@pytest.mark.smoke
class TestConformance(ObserverConformance):
    """What every observer promises: it writes all the time, and with answers."""

    cases = (
        ObserverCase("audit", options={"folder": "$AUDITED/audit", "every_s": 0.01}, id="counts"),
        ObserverCase("audit", options={"folder": "$AUDITED/audit", "every_s": 0.01, "answers": True}, id="answers"),
    )


@pytest.fixture
def observer(tmp_path: Path) -> Any:
    """A function that makes an observer, bound as in a router, that writes no file unless it is told to."""
    made: list[AuditObserver] = []

    def make(**options: Any) -> AuditObserver:
        conf = AuditConf(**{"folder": str(tmp_path / "audit"), "every_s": 3600.0, **options})
        made.append(AuditObserver(conf))
        made[-1].bind(ComponentContext())
        return made[-1]

    yield make
    for one in made:
        one.flush()


def tell(one: AuditObserver, *rows: int) -> None:
    for number in rows:
        one.on_batch(BatchEvent(number, 0.0, {"m": number}, {"exact": number}))


def files(folder: Path) -> list[Path]:
    """The files that a reader of the folder sees, oldest first."""
    return sorted(folder.glob("[!.]*.parquet"), key=lambda path: path.stat().st_mtime_ns)


def until(what: Callable[[], Any]) -> Any:
    """What becomes true; a minute is for ever."""
    end = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def process(code: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS + code, str(folder)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def ended(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    started = process(code, folder)
    out, err = started.communicate(timeout=120)
    return subprocess.CompletedProcess(code, started.returncode, out, err)


# -- what is logged --------------------------------------------------------------------------------------------------


def test_a_batch(tmp_path, observer):
    """When, how many rows, how long, who answered them and why; there is no column for data."""
    before = pd.Timestamp.now("UTC")
    one = observer()

    one.on_batch(BATCH)

    one.flush()
    log = pd.read_parquet(tmp_path / "audit")
    assert list(log.columns) == ["time", "event", "rows", "seconds", "models", "reasons", "error"]
    (row,) = log.to_dict("records")
    assert before.floor("us") <= row.pop("time") <= pd.Timestamp.now("UTC")
    assert {name: row.pop(name) for name in ("event", "rows", "seconds")} == {
        "event": "batch",
        "rows": 3,
        "seconds": 0.25,
    }
    assert (dict(row["models"]), dict(row["reasons"])) == ({"day_0": 2, "day_1": 1}, {"exact": 3})
    assert pd.isna(row["error"])


def test_counts_of_numpy(tmp_path, observer):
    """Counts and times may be numpy's."""
    one = observer()

    one.on_batch(BatchEvent(np.int64(1), np.float64(0.5), {"m": np.int64(1)}, {"exact": np.int32(1)}))

    one.flush()
    (row,) = pd.read_parquet(tmp_path / "audit").to_dict("records")
    assert (row["rows"], row["seconds"], dict(row["models"])) == (1, 0.5, {"m": 1})


def test_an_error_without_its_text(tmp_path, observer):
    """What a library raised is named by its type: its text may hold rows, as may that of what the host makes of it."""
    failed = ModelError("row s3cr3t", where="day_0")
    failed.__cause__ = ZeroDivisionError("s3cr3t")
    one = observer()

    one.on_error(ErrorEvent("day_0", 3, failed, shadow=False))
    one.on_error(ErrorEvent("day_1", 2, ModelError("row s3cr3t"), shadow=True))

    one.flush()
    log = pd.read_parquet(tmp_path / "audit")
    assert log.event.tolist() == ["error", "error"]
    assert log.error.tolist() == ["ZeroDivisionError", "ModelError"]
    assert log.rows.tolist() == [3, 2]
    assert [dict(models) for models in log.models] == [{"day_0": 3}, {"day_1": 2}]
    assert log.seconds.isna().all()
    (file,) = files(tmp_path / "audit")
    assert b"s3cr3t" not in file.read_bytes()


def test_shadows_are_data(tmp_path, observer):
    """Unless answers are asked for, a shadow leaves nothing: not even a record."""
    one = observer()

    one.on_shadow(ShadowEvent("a", "a~new", "new", 1, 0.5, np.array([1.0]), np.array([2.0])))

    one.flush()
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("answers", "logged"),
    [
        pytest.param(np.array([1.5, np.nan, np.inf]), [1.5, None, "inf"], id="floats"),
        pytest.param(np.array([[1.0, 2.0], [np.nan, 4.0]]), [[1.0, 2.0], [None, 4.0]], id="probabilities"),
        pytest.param(np.array([1, 2]), [1, 2], id="ints"),
        pytest.param(np.array([True, False]), [True, False], id="bools"),
        pytest.param(np.array(["a", "ü"]), ["a", "ü"], id="text"),
        pytest.param(np.array(["a", None, np.nan], object), ["a", None, None], id="objects"),
        pytest.param(
            np.array([[pd.NA, np.inf], [1.5, -np.inf]], object), [[None, "inf"], [1.5, "-inf"]], id="nullable"
        ),
        pytest.param(np.array(["2013-01-01", "NaT"], "M8[D]"), ["2013-01-01", None], id="times"),
        pytest.param(np.array([]), [], id="none"),
    ],
)
def test_answers_that_are_asked_for(tmp_path, observer, answers, logged):
    """With ``answers`` both answers of each row are JSON."""
    one = observer(answers=True)

    one.on_shadow(ShadowEvent("a", "a~new", "new", len(answers), 0.5, answers, answers[::-1]))
    one.on_batch(BATCH)

    one.flush()
    log = pd.read_parquet(tmp_path / "audit")
    assert log.event.tolist() == ["shadow", "batch"]
    shadow, batch = log.to_dict("records")
    assert (json.loads(shadow["answers"]), json.loads(shadow["shadow_answers"])) == (logged, logged[::-1])
    assert (shadow["shadow_id"], shadow["arm"], dict(shadow["models"])) == ("a~new", "new", {"a": len(answers)})
    assert pd.isna([batch["answers"], batch["shadow_answers"]]).all()


# -- when files are written ------------------------------------------------------------------------------------------


def test_files_have_so_many_records(tmp_path, observer):
    """``records`` is where a new file begins; the last one has what is left. Together they are the log, in order."""
    one = observer(records=3)

    tell(one, *range(1, 8))

    one.flush()
    assert [len(pd.read_parquet(path)) for path in files(tmp_path / "audit")] == [3, 3, 1]
    assert pd.read_parquet(tmp_path / "audit").sort_values("time").rows.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{16}\.parquet", path.name) for path in files(tmp_path / "audit"))


def test_a_file_is_written_after_so_many_seconds(tmp_path, observer):
    """Nobody has to ask for it, and nothing has to come after it."""
    tell(observer(every_s=0.05), 5)

    (path,) = until(lambda: files(tmp_path / "audit"))
    assert pd.read_parquet(path).rows.tolist() == [5]


def test_no_records_no_files(tmp_path, observer):
    """A router that nobody asks makes no folder."""
    observer(every_s=0.01).flush()

    assert not (tmp_path / "audit").exists()


def test_many_threads(tmp_path, observer):
    """Batches of many threads are all there."""
    one = observer(records=100)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: tell(one, number), range(1000)))

    one.flush()
    assert sorted(pd.read_parquet(tmp_path / "audit").rows) == list(range(1000))
    assert one.dropped == 0


def test_a_router_that_is_dropped_takes_its_thread_along(tmp_path, observer):
    """What waits is written, and the thread ends."""
    one = AuditObserver(AuditConf(folder=str(tmp_path / "audit"), every_s=3600.0))
    before = set(threading.enumerate())
    tell(one, 4)
    (thread,) = set(threading.enumerate()) - before

    del one
    gc.collect()

    thread.join(60)
    assert not thread.is_alive()
    assert pd.read_parquet(tmp_path / "audit").rows.tolist() == [4]


@pytest.mark.process
@pytest.mark.parametrize(
    "end",
    [
        pytest.param("", id="its-last-line"),
        pytest.param("sys.exit(3)", id="sys-exit"),
        pytest.param("raise ValueError", id="an-error"),
        pytest.param("os.kill(os.getpid(), signal.SIGTERM)", id="sigterm"),
        pytest.param("signal.signal(15, lambda *_: sys.exit()); os.kill(os.getpid(), 15)", id="sigterm-that-exits"),
    ],
)
def test_what_waits_is_written_when_the_interpreter_exits(tmp_path, end):
    """However it ends, if it may do so in its own way."""
    ended(f"one = observer(); tell(one, 1, 2, 3)\n{end}", tmp_path / "audit")

    assert pd.read_parquet(tmp_path / "audit").rows.tolist() == [1, 2, 3]


@pytest.mark.process
def test_a_server_that_is_told_to_end(tmp_path):
    """What it answers after SIGTERM is written at once: it may then be killed by that signal, as Uvicorn is."""
    code = """
signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
one = observer(); tell(one, 1, 2)
os.kill(os.getpid(), signal.SIGTERM)
tell(one, 3)
time.sleep(600)
"""
    folder = tmp_path / "audit"
    started = process(code, folder)
    try:
        started.stdout.readline()
        until(lambda: folder.exists() and len(pd.read_parquet(folder)) == 3)
    finally:
        started.kill()
        started.communicate()

    assert sorted(pd.read_parquet(folder).rows) == [1, 2, 3]


@pytest.mark.process
@pytest.mark.parametrize(
    "child",
    [
        pytest.param("pid = os.fork()\nif not pid: work()\nelse: os.waitpid(pid, 0)", id="fork"),
        pytest.param(
            "import multiprocessing\n"
            "process = multiprocessing.get_context('fork').Process(target=work)\nprocess.start(); process.join()",
            id="multiprocessing",
        ),
    ],
)
def test_a_process_that_forks(tmp_path, child):
    """Parent and child write what they were told each: nothing twice, nothing lost."""
    code = f"one = observer(); tell(one, 1, 2)\ndef work(): tell(one, 10, 20, 30)\n{child}\ntell(one, 3)\n"
    # The child of a bare fork goes on as its parent does.
    third = [3, 3] if "os.fork" in child else [3]

    done = ended(code, tmp_path / "audit")

    assert done.returncode == 0, done.stderr
    assert sorted(pd.read_parquet(tmp_path / "audit").rows) == sorted([1, 2, 10, 20, 30, *third])


@pytest.mark.process
def test_several_processes_write_to_one_folder(tmp_path):
    """Files of one second and of many processes have names of their own."""
    folder = tmp_path / "audit"
    started = [process("tell(observer(records=7), *range(100))", folder) for _ in range(4)]

    assert [one.wait(120) for one in started] == [0] * 4
    for one in started:
        one.communicate()
    assert len(files(folder)) == 4 * 15
    assert sorted(pd.read_parquet(folder).rows) == sorted([*range(100)] * 4)


@pytest.mark.process
def test_a_process_that_is_killed_loses_what_waited(tmp_path):
    """Files that are there are whole: what was not written yet is all that is lost."""
    folder = tmp_path / "audit"
    code = "one = observer(); tell(one, 1, 2); one.flush(); tell(one, 3); print('told', flush=True); time.sleep(600)"
    started = process(code, folder)
    started.stdout.readline()

    started.send_signal(signal.SIGKILL)

    started.communicate()
    assert pd.read_parquet(folder).rows.tolist() == [1, 2]


def test_readers_leave_out_a_file_that_is_being_written(tmp_path, observer):
    """Also one that a killed process has left."""
    one = observer()
    tell(one, 1)
    one.flush()
    (tmp_path / "audit" / ".20260101T000000Z-0123456789abcdef.parquet.tmp").write_bytes(b"PAR1 and no more")

    assert pd.read_parquet(tmp_path / "audit").rows.tolist() == [1]


# -- when they cannot be ---------------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_full_disk_is_told_once_and_counted(tmp_path):
    """Records are dropped while nothing can be written; the next file says how many, and none is half there."""
    code = """
one = observer()
tell(one, 1); one.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
tell(one, 2, 3); one.flush()
tell(one, 4); one.flush()
dropped = one.dropped
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
tell(one, 5); one.flush()
tell(one, 6); one.flush()
print(dropped, one.dropped)
"""
    done = ended("import logging; logging.basicConfig()\n" + code, tmp_path / "audit")

    assert done.stdout.split() == ["3", "3"], done.stderr
    log = pd.read_parquet(tmp_path / "audit").sort_values("time")
    assert log[log.event == "batch"].rows.tolist() == [1, 5, 6]
    assert log[log.event == "lost"].rows.tolist() == [3]
    assert [path.name for path in (tmp_path / "audit").iterdir() if path.name.startswith(".")] == []
    folder = tmp_path / "audit"
    assert done.stderr.splitlines() == [
        f"ERROR:mmeframe.audit:audit: {folder} takes no files (File too large); records are dropped until it does",
        f"WARNING:mmeframe.audit:audit: {folder} takes files again; records lost: 3",
    ]


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        pytest.param("file/audit", "Not a directory", id="below-a-file"),
        pytest.param("file", "File exists", id="a-file"),
        pytest.param("$MMEFRAME_AUDIT_TEST_UNSET/x", "a variable in it is not set", id="an-unset-variable"),
    ],
)
def test_a_folder_that_cannot_be(tmp_path, observer, caplog, folder, why):
    """Nobody who predicts sees it; it is told once, and records are counted."""
    (tmp_path / "file").touch()
    one = observer(folder=str(tmp_path / folder))

    for _ in range(3):
        tell(one, 1)
        one.flush()

    assert one.dropped == 3
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("mmeframe.audit", logging.ERROR)
    assert f"takes no files ({why})" in record.getMessage()


def test_a_variable_in_the_folder(tmp_path, observer, monkeypatch):
    """The folder is where the process that serves says."""
    monkeypatch.setenv("AUDITED", str(tmp_path / "here"))
    one = observer(folder="$AUDITED/audit")

    tell(one, 1)

    one.flush()
    assert pd.read_parquet(tmp_path / "here" / "audit").rows.tolist() == [1]


def test_memory_is_bounded(tmp_path, observer, caplog):
    """More than ``waiting`` records do not wait: they are dropped, told once, and counted to the last one."""
    one = observer(waiting=1)

    tell(one, *[1] * 20_000)

    one.flush()
    tell(one, 1)
    one.flush()
    log = pd.read_parquet(tmp_path / "audit")
    batches = int((log.event == "batch").sum())
    assert one.dropped > 0
    assert batches + one.dropped == 20_001
    assert log[log.event == "lost"].rows.sum() == one.dropped
    assert [record.getMessage().split("; ")[1] for record in caplog.records] == [
        "records that find no room are dropped"
    ]


# -- as a plugin -----------------------------------------------------------------------------------------------------


def test_the_installed_plugin_is_found():
    """The entry point is loaded without a fault, and offers one observer."""
    (info,) = [plugin for plugin in load_plugins().plugins if plugin.distribution == "mmeframe-audit"]

    assert (info.name, info.module, info.version) == ("audit", "mmeframe_audit.plugin", "0.1.0")
    assert (info.status, info.reason) == ("ok", "")
    assert info.provides == {"observer": ["audit"]}


@pytest.mark.parametrize(
    ("override", "where", "text"),
    [
        pytest.param("observers.log.folder=???", "observers.log.folder", "this option is required", id="no-folder"),
        pytest.param("observers.log.every_s=0", "observers.log.every_s", "greater than 0", id="never"),
        pytest.param("observers.log.records=0", "observers.log.records", "greater than or equal to 1", id="no-records"),
        pytest.param("observers.log.waiting=x", "observers.log.waiting", "valid integer", id="text"),
        pytest.param("observers.log.answers=7", "observers.log.answers", "valid boolean", id="no-bool"),
    ],
)
def test_options_are_checked_with_the_config(override, where, text):
    """A wrong option is a problem of the config that names it."""
    with pytest.raises(ProblemsError) as caught:
        api.compose(
            "name=x", "routing.levels=[[]]", "+observer@observers.log=audit", "observers.log.folder=a", override
        )

    (problem,) = caught.value.problems
    assert problem.where == where
    assert text in problem.what


# -- the README ------------------------------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
@causes("build")
def audited(tmp_path, monkeypatch) -> Path:
    """A working directory with the README's config, and a store with its router."""
    import mlflow
    from mlflow.models import infer_signature
    from sklearn.dummy import DummyRegressor

    monkeypatch.chdir(tmp_path)
    (config,) = blocks("yaml")
    experiment = Path("conf/experiment/audited.yaml")
    experiment.parent.mkdir(parents=True)
    experiment.write_text(config, encoding="utf-8")
    rows = pd.DataFrame({"x": [1.0, 2.0]})
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    info = mlflow.sklearn.log_model(
        DummyRegressor().fit(rows, [0.0, 0.0]),
        name="price",
        signature=infer_signature(rows, np.zeros(2)),
        pip_requirements=["scikit-learn"],
        registered_model_name="price",
        serialization_format="cloudpickle",
    )
    mlflow.MlflowClient().set_registered_model_alias("price", "champion", info.registered_model_version)
    api.build("experiment=audited", config_dirs=["conf"])
    return tmp_path


def test_the_example_of_the_readme_works(audited, capsys):
    """The README's config is a router; what it answered is the table that the README's lines read."""
    assert not Path("audit").exists(), "a build is no traffic"
    router = api.load_router("models:/audited/1")
    for _ in range(3):
        router.predict(pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]}))
    del router
    gc.collect()
    until(lambda: files(Path("audit")))

    (lines,) = blocks("python")
    exec(lines, {})

    by_day, by_model = capsys.readouterr().out.split("Name: ")[:2]
    assert re.search(r"\d{4}-\d\d-\d\d +12", by_day)
    assert re.search(r"price +12", by_model)


@pytest.mark.process
def test_servers_with_several_workers(audited):
    """Every request to a real server is in the folder once it has stopped, whichever worker took it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "mmeframe"), "serve", "--config-dir", "conf", "experiment=audited"]
    output = (audited / "server.log").open("w")
    server = subprocess.Popen(
        [*command, f"serve.port={port}", "serve.workers=2"], stdout=output, stderr=output, start_new_session=True
    )

    def answered(path: str, body: bytes | None = None) -> bool:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return bool(reply.status == 200)
        except OSError:
            assert server.poll() is None, (audited / "server.log").read_text()
            return False

    try:
        until(lambda: answered("ping"))
        body = b'{"dataframe_split": {"columns": ["x"], "data": [[1.0], [2.0]]}}'
        assert all(answered("invocations", body) for _ in range(20))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
        output.close()

    log = pd.read_parquet(audited / "audit")
    assert (len(log), log.rows.sum(), set(log.event)) == (20, 40, {"batch"})


def test_the_readme_lists_every_option():
    """No option is without a row in the README's table."""
    table = README.read_text(encoding="utf-8").split("## Options")[1].split("##")[0]

    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(vars(AuditConf()))
