"""A process that runs functions for this one: what goes there and comes back, and how it ends."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmeframe.errors import BuildError, CorruptBundleError, MissingError, Problem, ProblemsError, UnknownNameError
from mmeframe.worker import Ended, RemoteError, Worker
from tests.causes import causes

pytestmark = pytest.mark.process

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
@causes("process", "smoke")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


ARRAYS = {
    "doubles": RANDOM.standard_normal((5, 3)),
    "columns-first": np.asfortranarray(RANDOM.standard_normal((5, 3))),
    "rows-of-columns-first": np.asfortranarray(RANDOM.standard_normal((9, 3)))[2:6],
    "floats": RANDOM.standard_normal(5).astype(np.float32),
    "not-a-number": np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324]),
    "big-endian": np.arange(4, dtype=">i4"),
    "booleans": np.array([True, False]),
    "text": np.array(["a", "ü", ""]),
    "objects": np.array(["a", None, 1, np.nan], object),
    "times": np.array(["2024-01-01", "NaT"], "M8[ns]"),
    "empty": np.empty((0, 3)),
    "no-dimension": np.array(1.5),
    "large": RANDOM.standard_normal((50_000, 20)),
}


@pytest.mark.parametrize("values", ARRAYS.values(), ids=ARRAYS)
def test_arrays_survive(worker, values):
    """Type, shape, order and every bit; and they can be written to, as in one process."""
    found = worker.run(copy.copy, values)

    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    assert found.flags.writeable
    if values.dtype == object:
        pd.testing.assert_series_equal(pd.Series(found), pd.Series(values))
    else:
        assert found.tobytes() == values.tobytes()
    if values.flags.forc:
        assert found.flags.f_contiguous == values.flags.f_contiguous


FRAMES = {
    "range": pd.DataFrame({"a": [1.0, np.nan], "b": [1, 2]}),
    "index": pd.DataFrame({"a": [1, 2, 3]}, index=pd.Index([5, 5, 7], name="row")),
    "levels": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])),
    "types": pd.DataFrame(
        {
            "small": np.array([1, 2], np.int8),
            "text": ["a", None],
            "string": pd.array(["a", None], "string"),
            "nullable": pd.array([1, None], "Int64"),
            "maybe": pd.array([True, None], "boolean"),
            "kind": pd.Categorical(["x", "y"], ["y", "x"], ordered=True),
            "zoned": pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"),
        }
    ),
    "same-names": pd.DataFrame([[1, 2.0]], columns=["a", "a"]),
    "rows": pd.DataFrame(RANDOM.standard_normal((9, 3)), columns=list("abc")).iloc[2:5],
    "empty": pd.DataFrame({"a": pd.Series([], dtype="float32")}),
    "series": pd.Series([1.5, 2.5], name="a", index=[3, 4]),
}


@pytest.mark.parametrize("values", FRAMES.values(), ids=FRAMES)
def test_frames_survive(worker, values):
    """Columns, their types, and the index."""
    found = worker.run(copy.copy, values)

    equal = pd.testing.assert_series_equal if isinstance(values, pd.Series) else pd.testing.assert_frame_equal
    equal(found, values, check_exact=True, check_index_type="equiv")


@pytest.mark.parametrize(
    "error",
    [
        BuildError("it is odd.", where="models.a", hint="Try another."),
        MissingError("nothing is there."),
        CorruptBundleError("pack.bin", "a" * 64, "b" * 64),
        UnknownNameError("routing.kind", "strategy", "colum", ["column"]),
        ProblemsError([Problem("a", "b"), Problem("c", "d", "e", "fleet")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_our_own_errors_come_back_as_they_are(worker, error):
    """Of the same class, with all their parts."""
    found = copy.copy(error)
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))

    with pytest.raises(type(error)) as caught:
        worker.run(raises, error)

    assert (str(caught.value), vars(caught.value)) == (str(error), vars(error))


def raises(error: Exception) -> None:
    raise error


def test_other_errors_come_back_by_name(worker):
    """Their classes may exist only there: the name of the type, the text, and where it was raised."""
    with pytest.raises(RemoteError) as caught:
        worker.run(int, "Jane")

    assert type(caught.value).__name__ == "ValueError"
    assert str(caught.value) == "invalid literal for int() with base 10: 'Jane'"
    assert "Traceback" in caught.value.__notes__[0]


def test_what_cannot_be_sent_is_an_error_of_the_call(worker):
    """In either direction; the worker goes on."""
    before = worker.run(os.getpid)

    with pytest.raises(Exception, match=r"lambda"):
        worker.run(copy.copy, lambda: None)
    with pytest.raises(RemoteError, match="lock"):
        worker.run(eval, "__import__('threading').Lock()")

    assert worker.run(os.getpid) == before


def test_a_library_that_exits_ends_nothing(worker):
    """``sys.exit`` is told like any error."""
    with pytest.raises(RemoteError) as caught:
        worker.run(sys.exit, 3)

    assert type(caught.value).__name__ == "SystemExit"


@pytest.mark.parametrize(
    ("function", "args", "text"),
    [
        pytest.param(os._exit, (0,), "its process ended with exit code 0.", id="exit"),
        pytest.param(os.abort, (), "its process ended with signal 6.", id="abort"),
        pytest.param(signal.raise_signal, (signal.SIGKILL,), "its process ended with signal 9.", id="kill"),
    ],
)
def test_how_a_process_ended_is_told(function, args, text):
    """By number; the next call has a new process."""
    worker = Worker()
    before = worker.run(os.getpid)

    with pytest.raises(Ended) as caught:
        worker.run(function, *args)

    assert str(caught.value) == text
    assert worker.run(os.getpid) != before
    worker.close()


def test_a_child_of_the_worker_that_outlives_it_holds_nothing_up():
    """It has a copy of the connection, which so does not end with the worker."""
    worker = Worker()

    with pytest.raises(Ended, match="exit code 3"):
        worker.run(exec, "import os, time\nif os.fork() == 0:\n    time.sleep(5)\n    os._exit(0)\nos._exit(3)")

    worker.close()


_FORKED = """
import os, sys
from mmeframe.worker import Worker
worker = Worker()
first = worker.run(os.getpid)
child = os.fork()
if child == 0:
    other = worker.run(os.getpid)
    os._exit(other in (first, os.getpid()))
print(os.waitpid(child, 0)[1], worker.run(os.getpid) == first)
"""


def test_a_fork_has_workers_of_its_own(tmp_path):
    """A server may fork after it loaded: two processes never speak on one connection."""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _FORKED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )

    assert done.stdout == "0 True\n", done.stderr


def test_the_main_script_is_not_imported_again(tmp_path):
    """A script without a guard, and a notebook, start workers as often as they like."""
    script = tmp_path / "script.py"
    script.write_text("import os\nfrom mmeframe.worker import Worker\nprint(Worker().run(os.getpid) != os.getpid())\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)

    assert done.stdout == "True\n", done.stderr
