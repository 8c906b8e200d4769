"""An interrupted build is resumed, whatever interrupted it."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from mmeframe import api
from mmeframe.cache import cache_folder, locked
from mmeframe.errors import MissingError, MmeframeError, ProblemsError
from mmeframe.plugin.manager import load_plugins
from tests import fleets, servers
from tests.causes import causes
from tests.conftest import Store

PLUGINS = load_plugins([])
ROUTED = ("routing=column", "routing.column=key")
KEYS = [f"k{number}" for number in range(8)]
ROWS = fleets.rows(8)[["x1", "x2"]].assign(key=KEYS)
KEPT = "The sub-models read and packed so far are kept: the next build of this router resumes from there."


def put(folder: Path, key: str, seed: int) -> None:
    (folder / f"{key}.pkl").write_bytes(pickle.dumps(fleets.fitted(seed)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "models"
    home.mkdir()
    for seed, key in enumerate(KEYS):
        put(home, key, seed)
    return home


def config(folder: Path | str, name: str) -> list[str]:
    return [f"name={name}", *ROUTED, *(f"+models.{key}.uri={folder}/{key}.pkl" for key in KEYS)]


@pytest.fixture
def build(module_store: Store, folder: Path, request: pytest.FixtureRequest) -> Callable[..., Any]:
    name = "".join(letter for letter in request.node.name if letter.isalnum())

    def call(*overrides: str, at: Path | str = folder, **options: Any) -> Any:
        return api.build(*config(at, name), *overrides, module_store.override, plugins=PLUGINS, **options)

    return call


def stop(phase: str, at: int) -> Callable[[str, int, int], None]:
    """Ctrl-C when so many are done."""

    def progress(what: str, done: int, total: int) -> None:
        if (what, done) == (phase, at):
            raise KeyboardInterrupt

    return progress


def interrupted(build: Callable[..., Any], phase: str = "packing", at: int = 5, **options: Any) -> list[str]:
    with pytest.raises(KeyboardInterrupt) as caught:
        build(progress=stop(phase, at), **options)
    return getattr(caught.value, "__notes__", [])


def drafts() -> list[Path]:
    return sorted(cache_folder().glob("builds/*"))


def check(logged: Any, store: Store, seeds: dict[str, int] | None = None) -> None:
    """Every sub-model answers as its own file does."""
    seeds = seeds or {key: seed for seed, key in enumerate(KEYS)}
    router = api.load_router(logged.model_uri, tracking_uri=store.uri)
    rows = ROWS[["x1", "x2"]]
    expected = [fleets.fitted(seeds[key]).predict(rows.iloc[[row]])[0] for row, key in enumerate(KEYS)]
    np.testing.assert_allclose(np.asarray(router.predict(ROWS)), expected, rtol=1e-9)


@pytest.mark.build
def test_an_interrupted_build(build, module_store):
    """What was packed is not read again, the caller is told, and nothing of it stays after the build."""
    notes = interrupted(build)

    logged = build()

    assert (KEPT in notes, logged.resumed, logged.unchanged) == (True, 5, 0)
    assert drafts() == []
    check(logged, module_store)


@pytest.mark.build
def test_the_bundle_is_the_same(build):
    """Byte for byte what a build without an interruption makes."""
    interrupted(build)

    resumed = build()

    assert build("bundle.reuse=false").digest == resumed.digest


@pytest.mark.build
@pytest.mark.parametrize(("phase", "read", "packed"), [("reading", 3, 0), ("packing", 5, 3), ("probing", 0, 8)])
def test_interrupted_elsewhere(build, module_store, phase, read, packed):
    """While descriptions are read nothing is packed yet; after packing everything is, but not proved."""
    interrupted(build, phase, 3)

    logged = build()

    assert (logged.described, logged.resumed) == (read, packed)
    check(logged, module_store)


@pytest.mark.build
def test_what_changed_is_read(build, folder, module_store):
    interrupted(build)
    put(folder, "k1", 70)
    os.utime(folder / "k1.pkl", ns=(1, 1))

    logged = build()

    assert logged.resumed == 4
    check(logged, module_store, {**{key: seed for seed, key in enumerate(KEYS)}, "k1": 70})


@pytest.mark.build
def test_nothing_is_taken_if_that_is_not_wanted(build, module_store):
    interrupted(build)

    logged = build("bundle.reuse=false")

    assert (logged.resumed, drafts()) == (0, [])
    check(logged, module_store)


@pytest.mark.build
def test_two_interruptions(build, module_store):
    """The second one went further, and its draft has what the first had, too."""
    interrupted(build, at=3)
    interrupted(build, at=6)
    assert len(drafts()) == 1

    assert build().resumed == 6


@pytest.mark.build
def test_the_draft_with_more_in_it_stays(build):
    interrupted(build, at=6)
    interrupted(build, "reading", 2)
    assert len(drafts()) == 1

    assert build().resumed == 6


@pytest.mark.build
def test_a_draft_of_another_version_is_given_up(build):
    """However much is in it: what this version has found is of use, and nothing else."""
    interrupted(build, at=6)
    of_another_version(journal())

    notes = interrupted(build, at=3)

    assert (KEPT in notes, build().resumed) == (True, 3)


@pytest.mark.build
def test_a_draft_of_sub_models_that_all_changed_is_given_up(build, folder, module_store):
    """The one with less in it stays, because that is still true."""
    interrupted(build, at=6)
    seeds = {key: 100 + seed for seed, key in enumerate(KEYS)}
    for key, seed in seeds.items():
        put(folder, key, seed)
        os.utime(folder / f"{key}.pkl", ns=(seed, seed))
    interrupted(build, at=3)

    logged = build()

    assert logged.resumed == 3
    check(logged, module_store, seeds)


@pytest.mark.build
def test_a_relative_store_of_another_folder(folder, tmp_path, template_store):
    """It is another store, and its builds leave the drafts of this one alone."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(template_store / "mlflow.db", tmp_path / name / "mlflow.db")
    call = partial(api.build, *config(folder, "relative"), "tracking.uri=sqlite:///mlflow.db", plugins=PLUGINS)
    with fleets.inside(tmp_path / "one"), pytest.raises(KeyboardInterrupt):
        call(progress=stop("packing", 5))

    with fleets.inside(tmp_path / "two"):
        assert call().resumed == 0
    assert len(drafts()) == 1


@pytest.mark.build
def test_what_was_refused_is_read_when_it_is_allowed(build, module_store):
    """A file that could run code is not loaded, so its columns are not known: the next build looks for them."""
    with pytest.raises(ProblemsError, match=r"bundle\.allow_pickle"):
        build("bundle.allow_pickle=false")

    logged = build()

    check(logged, module_store)


KILLED = """
import os, signal, sys
from mmeframe import api

def progress(what, done, total):
    if (what, done) == ("packing", 5):
        os.kill(os.getpid(), signal.SIGKILL)

api.build(*sys.argv[1:], progress=progress)
"""


def killed(*overrides: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, *overrides], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.build
@pytest.mark.process
def test_a_build_that_is_killed(build, folder, module_store, request, temporary, monkeypatch):
    """kill -9 in the middle: the same, and nothing else is left."""
    monkeypatch.setenv("TMPDIR", tempfile.gettempdir())
    name = "".join(letter for letter in request.node.name if letter.isalnum())
    killed(*config(folder, name), module_store.override)
    assert len(drafts()) == 1

    logged = build()

    assert (logged.resumed, drafts()) == (5, [])
    assert leftovers() == []
    check(logged, module_store)


def journal() -> Path:
    (draft,) = drafts()
    return draft / "journal.jsonl"


def cut_the_last_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def of_another_version(path: Path) -> None:
    first, *lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "mmeframe": "0.0.0"}), *lines]))


def without_bytes(path: Path) -> None:
    (path.parent / "bundle" / "pack.bin").unlink()


def with_other_bytes(path: Path) -> None:
    pack = path.parent / "bundle" / "pack.bin"
    pack.write_bytes(bytes(len(pack.read_bytes())))


@pytest.mark.build
@pytest.mark.parametrize(
    ("harm", "resumed"),
    [(cut_the_last_line, 4), (of_another_version, 0), (without_bytes, 0), (with_other_bytes, 5)],
)
def test_a_draft_that_is_damaged(build, module_store, harm, resumed):
    """Its last line may be half a line, and its bytes may be lost: what cannot be verified is read again."""
    interrupted(build)
    harm(journal())

    logged = build()

    assert logged.resumed == resumed
    assert build("bundle.reuse=false").digest == logged.digest
    check(logged, module_store)


@pytest.mark.build
def test_a_build_beside_another(build, module_store):
    """What another process is at is left alone."""
    interrupted(build)
    (draft,) = drafts()
    with locked(draft):
        logged = build()
        assert drafts() == [draft]

    assert logged.resumed == 0
    assert build("bundle.reuse=false").digest == logged.digest


@pytest.mark.build
def test_drafts_are_of_one_router(build, module_store, folder):
    """Another router neither takes nor removes it; after a week any build does."""
    interrupted(build)
    (draft,) = drafts()
    other = partial(api.build, *config(folder, "another"), module_store.override, plugins=PLUGINS)

    assert other().resumed == 0
    assert drafts() == [draft]

    os.utime(draft, times=(time.time() - 8 * 86_400,) * 2)
    other()
    assert drafts() == []


@pytest.mark.build
def test_answers_of_another_method(module_store, tmp_path):
    """Of classifiers that are asked for probabilities: neither asked again, nor packed again."""
    from sklearn.linear_model import LogisticRegression

    frame = fleets.rows(60)
    (tmp_path / "models").mkdir()
    for seed, key in enumerate(KEYS):
        model = LogisticRegression().fit(frame[["x1", "x2"]] + seed, frame["x1"] > 0)
        (tmp_path / "models" / f"{key}.pkl").write_bytes(pickle.dumps(model))
    call = partial(
        api.build,
        *config(tmp_path / "models", "chances"),
        "output.method=predict_proba",
        module_store.override,
        plugins=PLUGINS,
    )
    with pytest.raises(KeyboardInterrupt):
        call(progress=stop("packing", 5))

    first, second = call(), call()

    assert (first.resumed, second.unchanged, second.digest) == (5, 8, first.digest)
    assert call("output.method=predict").unchanged == 0
    assert call("bundle.reuse=false").digest == first.digest


FULL = """
import resource, signal, sys
from mmeframe.publish.journal import BuildJournal
from mmeframe.cli import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = BuildJournal.describe

def describe(self, model):
    # Files may have so many bytes now: the kernel refuses the rest, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        before(self, model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

BuildJournal.describe = describe
sys.exit(main(["build", *sys.argv[1:]]))
"""


@pytest.mark.process
def test_a_disk_that_takes_no_notes(folder, module_store):
    """Told with the place and what to do; the draft gives its space back."""
    command = [sys.executable, "-c", FULL, *config(folder, "full"), module_store.override]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert (
        "the cache folder takes no files: File too large.\n  Free space there, or set MMEFRAME_CACHE_DIR" in done.stderr
    )
    assert drafts() == []


# -- files that are elsewhere --------------------------------------------------------------------------------------

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(scope="module")
@causes("process")
def artifact_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """MLflow's own server of artifacts, and the folder that it hands out."""
    home = tmp_path_factory.mktemp("artifacts")
    with servers.mlflow_server(home, "--artifacts-only") as url:
        yield url, home / "artifacts"


class Proxy(http.server.BaseHTTPRequestHandler):
    """In front of it. ``together`` holds downloads until so many are there, ``broken`` ones end half-way."""

    server_url = ""
    together: threading.Barrier | None = None
    broken: frozenset[str] = frozenset()

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        if self.together is not None and name.endswith(".pkl"):
            # Those that come after the first ones wait for nobody.
            with contextlib.suppress(threading.BrokenBarrierError):
                if self.together.wait() == 0:
                    self.together.abort()
        try:
            with urllib.request.urlopen(self.server_url + self.path) as answer:
                status, kind, data = answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            status, kind, data = error.code, error.headers["Content-Type"], error.read()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if name in self.broken else data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def files(
    artifact_server: tuple[str, Path], folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, type[Proxy]]]:
    """Where the folder's files can be downloaded from. MLflow asks once, not seven times with growing patience."""
    url, home = artifact_server
    shutil.copytree(folder, home / request.node.name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    handler = type("OwnProxy", (Proxy,), {"server_url": url})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{ARTIFACTS}/{request.node.name}", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def leftovers() -> list[Path]:
    return [*cache_folder().glob("work/*"), *Path(tempfile.gettempdir()).glob("mmeframe*")]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder of the test's own, to see what stays there."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.mark.build
def test_files_are_downloaded_side_by_side(build, files, module_store):
    """Four downloads wait for one another: if they came one by one, none would ever end."""
    url, handler = files
    handler.together = threading.Barrier(4, timeout=30)

    logged = build(at=url)

    assert handler.together.broken
    check(logged, module_store)


@pytest.mark.build
def test_a_download_that_fails_half_way(build, files, temporary, module_store):
    """The sub-model is named, nothing is registered, nothing stays but what the next build can use."""
    url, handler = files
    handler.broken = frozenset({"k3.pkl"})

    with pytest.raises(MmeframeError) as caught:
        build(at=url)

    assert str(caught.value).startswith(f"models.k3: {url}/k3.pkl cannot be downloaded: ")
    assert leftovers() == []
    with fleets.active(module_store.uri):
        assert not mlflow.MlflowClient().search_registered_models("name LIKE 'testadownload%'")

    handler.broken = frozenset()
    check(build(at=url), module_store)


@pytest.mark.build
def test_a_download_that_fails_while_packing(build, files, temporary, module_store):
    """The same where its columns are declared, so that it is downloaded only then."""
    url, handler = files
    handler.broken = frozenset({"k3.pkl"})
    declared = [f"+models.{key}.signature={{inputs:{{x1:double,x2:double}},outputs:double}}" for key in KEYS]

    with pytest.raises(MissingError) as caught:
        build(*declared, at=url)

    assert str(caught.value).startswith(f"models.k3: {url}/k3.pkl cannot be downloaded: ")
    assert leftovers() == []

    handler.broken = frozenset()
    logged = build(*declared, at=url)
    check(logged, module_store)


@pytest.mark.build
@pytest.mark.process
def test_a_store_that_goes_away(tmp_path, monkeypatch, for_server):
    """After a plan, or in the middle of a build: told, nothing half-registered, and the next build goes on."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for_server(tmp_path)
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}"
    server = partial(servers.mlflow_server, tmp_path, port=port)
    models = [f"+models.d{day}.uri=models:/day_{day}/1" for day in range(4)]
    call = partial(api.build, "name=gone", *ROUTED, *models, f"tracking.uri={url}", plugins=PLUGINS)
    with contextlib.ExitStack() as running:
        running.enter_context(server())
        with fleets.active(url):
            for day in range(4):
                fleets.log_sklearn(fleets.fitted(day), f"day_{day}", ROWS[["x1", "x2"]])
        api.plan("name=gone", *ROUTED, *models, f"tracking.uri={url}", plugins=PLUGINS)

        def progress(what: str, done: int, total: int) -> None:
            if (what, done) == ("packing", 4):
                running.close()

        with pytest.raises(MissingError) as caught:
            call(progress=progress)

    assert str(caught.value) == (
        f"tracking.uri: the tracking server at {url} stopped answering.\n  Start it, and run the same command again."
    )
    assert KEPT in caught.value.__notes__
    with pytest.raises(MissingError, match=r"^tracking\.uri: the tracking server at .* does not answer"):
        call()
    with server():
        with fleets.active(url):
            client = mlflow.MlflowClient()
            assert client.search_registered_models("name = 'gone'") == []
            assert not [run for run in client.search_runs(["0"]) if run.info.status == "RUNNING"]
        logged = call()
        assert (logged.resumed, logged.version) == (4, "1")
