"""Logging a router: what lands in the store, and what is left when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow import MlflowClient

from mmeframe import api
from mmeframe.cache import cache_folder
from mmeframe.errors import ProblemsError
from mmeframe.store.cleanup import BUILD_TAG, lease
from mmeframe.testing.stores import copy_of
from tests import fleets, servers

pytestmark = pytest.mark.build


@pytest.fixture(scope="module")
def logged_once(module_store):
    """A store with day_0, day_1 and all_days: logging them takes longer than most of the builds below."""
    example = fleets.rows(5)[["x1", "x2"]]
    with fleets.active(module_store.uri):
        for day in (0, 1):
            fleets.log_sklearn(fleets.fitted(day), f"day_{day}", example)
        fleets.log_sklearn(fleets.fitted(20), "all_days", example)
    return module_store


@pytest.fixture
def three(store, logged_once):
    """A store of the test's own with the three; their files stay where they are, what is logged goes to its folder."""
    return copy_of(logged_once, store.folder)


def folder_of(uri: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(uri))


def router_versions() -> list[str]:
    return [str(version.version) for version in MlflowClient().search_model_versions("name = 'router'")]


def open_runs() -> list[str]:
    client = MlflowClient()
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.run_id for run in client.search_runs(ids, "attributes.status = 'RUNNING'")]


def live_models(name: str = "router") -> list[str]:
    client = MlflowClient()
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return [model.model_id for model in client.search_logged_models(ids, f"name = '{name}'")]


def router_files() -> set[Path]:
    """Files of routers in the artifact store, registered or not."""
    location = MlflowClient().get_experiment("0").artifact_location.removeprefix("file://")
    return set(Path(location).glob("models/*/artifacts/entrypoint.py"))


def work_folders() -> list[Path]:
    return list(cache_folder().glob("work/*"))


def build(*more: str):
    return api.build("name=router", *fleets.WEEK, *more)


def test_the_router_is_one_small_artifact(three):
    """Models from code, one bundle of four files, one archive of code: few files whatever the fleet."""
    logged = build()

    root = folder_of(logged.model_uri)
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found - {"registered_model_meta"} == {
        "MLmodel",
        "artifacts/bundle/manifest.json",
        "artifacts/bundle/memory.bin",
        "artifacts/bundle/pack.bin",
        "artifacts/bundle/records.arrow",
        "code/mmeframe.zip",
        "conda.yaml",
        "entrypoint.py",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    }


def test_nothing_of_this_machine_is_in_the_artifact(three):
    """No path of the author's machine travels with the model."""
    root = folder_of(build().model_uri)

    places = [str(Path.cwd()), str(Path(sys.prefix)), str(cache_folder())]
    for path in root.rglob("*"):
        if path.is_file() and path.name not in ("MLmodel", "registered_model_meta"):
            assert not [place for place in places if place.encode() in path.read_bytes()], path
    described = yaml.safe_load((root / "MLmodel").read_text())
    assert described["flavors"]["python_function"]["artifacts"] == {
        "bundle": {"path": "artifacts/bundle", "uri": "bundle"}
    }
    assert described["flavors"]["python_function"]["model_code_path"] == "entrypoint.py"


def test_requirements_are_the_sub_models_own(three):
    """Pins of the sub-models and one mlflow; neither mmeframe nor Hydra nor pluggy, which serving does not need."""
    root = folder_of(build().model_uri)

    names = {line.split("==")[0] for line in (root / "requirements.txt").read_text().split()}
    assert names == {"mlflow", "scikit-learn", "skops", "cloudpickle"}


def test_the_archive_holds_what_serving_needs(three):
    """The runtime without Hydra's side of the house."""
    root = folder_of(build().model_uri)

    with zipfile.ZipFile(root / "code" / "mmeframe.zip") as archive:
        top = {"/".join(name.split("/")[:2]) for name in archive.namelist()}
    assert "mmeframe/runtime" in top
    assert not top & {"mmeframe/config", "mmeframe/build", "mmeframe/cli.py", "mmeframe/api.py", "mmeframe/train"}


def test_equal_fleets_have_equal_digests(three):
    """A bundle is deterministic: building twice gives the same bytes."""
    first, second = build(), build("build.unchanged=register")

    assert first.digest == second.digest
    assert first.version == "1"
    assert second.version == "2"


def test_the_alias_moves_to_the_new_version(three):
    """tracking.alias names the version that was built last."""
    build("tracking.alias=champion")
    build("tracking.alias=champion", "build.unchanged=register")

    assert str(MlflowClient().get_model_version_by_alias("router", "champion").version) == "2"


def test_the_run_records_where_the_router_comes_from(three):
    """Sub-models are the run's inputs, the router its output; digest and counts are tags; the config is kept."""
    logged = build("+tracking.tags.team=pricing")

    client = MlflowClient()
    run = client.get_run(logged.run_id)
    assert {item.model_id for item in run.inputs.model_inputs} == set(
        live_models("day_0") + live_models("day_1") + live_models("all_days")
    )
    assert [item.model_id for item in run.outputs.model_outputs] == [logged.model_id]
    assert run.info.status == "FINISHED"
    assert run.data.tags["team"] == "pricing"
    tags = client.get_logged_model(logged.model_id).tags
    assert tags["mmeframe.digest"] == logged.digest
    assert tags["mmeframe.sub_models"] == "3"
    assert tags["mmeframe.columns"] == "dow key, x1 double, x2 double"
    assert client.get_model_version("router", "1").tags["mmeframe.digest"] == logged.digest
    files = folder_of(f"runs:/{logged.run_id}/mmeframe")
    assert yaml.safe_load((files / "config.yaml").read_text())["routing"]["column"] == "dow"
    assert "routing.column=dow" in (files / "overrides.txt").read_text().splitlines()


def test_models_are_pinned_to_versions(three):
    """An alias that moves later changes nothing in a router that was built."""
    logged = build()

    uris = {model["id"]: model["uri"] for model in api.show(logged.model_uri)["sub_models"]}
    assert uris == {"day_0": "models:/day_0/1", "day_1": "models:/day_1/1", "everyone": "models:/all_days/1"}


def test_checked_declares_no_inputs_and_union_does(three):
    """Both declare answers and parameters; only union lets MLflow enforce the columns."""
    from mlflow.models import get_model_info

    checked = get_model_info(build().model_uri).signature
    union = get_model_info(build("signature.mode=union").model_uri).signature

    assert checked.inputs is None
    assert [(spec.name, getattr(spec.type, "name", "any")) for spec in union.inputs] == [
        ("dow", "any"),
        ("x1", "double"),
        ("x2", "double"),
    ]
    assert [spec.name for spec in checked.outputs] == ["prediction"]
    assert checked.params.to_dict()[0]["name"] == "annotate"


def test_annotated_outputs_are_declared(three):
    """output.annotate is part of the signature, so that Spark makes a struct of it."""
    from mlflow.models import get_model_info

    outputs = get_model_info(build("output.annotate=true").model_uri).signature.outputs

    assert [(spec.name, spec.type.name) for spec in outputs] == [
        ("prediction", "double"),
        ("model_id", "string"),
        ("model_version", "string"),
        ("reason", "string"),
        ("arm", "string"),
    ]


def test_the_callers_store_is_given_back(three, monkeypatch):
    """A build with tracking.uri leaves MLflow's own choice as it was."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_TRACKING_URI")

    build(f"tracking.uri={three.uri}")

    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_TRACKING_URI")) == before


_RANDOM_MODEL = """
import mlflow, random
class Dice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [random.random() for _ in range(len(model_input))]
mlflow.models.set_model(Dice())
"""


def log_code_model(folder: Path, name: str, source: str, code_paths: list[str] | None = None) -> None:
    """Log a model from code with a signature over x1 and x2."""
    from mlflow.models import infer_signature

    script = folder / f"{name}.py"
    script.write_text(source)
    example = fleets.rows(3)[["x1", "x2"]]
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name=name,
            python_model=str(script),
            signature=infer_signature(example, example["x1"]),
            pip_requirements=["mlflow"],
            registered_model_name=name,
            code_paths=code_paths,
        )
    MlflowClient().set_registered_model_alias(name, "champion", "1")


def test_a_router_that_answers_differently_is_not_registered(three, tmp_path):
    """The proof before registration: a random model is found, named, and nothing is left."""
    log_code_model(tmp_path, "dice", _RANDOM_MODEL)

    with pytest.raises(ProblemsError) as caught:
        build("+models.dice={uri:'models:/dice@champion',key:{dow:5}}")

    assert "models.dice: the router answers differently" in str(caught.value)
    assert router_versions() == []
    assert live_models() == []
    assert open_runs() == []
    assert work_folders() == []
    assert any("logged model" in note for note in caught.value.__notes__)


# Every call that a build makes to the store, in order.
_STEPS = (
    "create_run",
    "log_text",
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "log_outputs",
    "log_inputs",
    "create_registered_model",
    "create_model_version",
    "set_logged_model_tags",
    "set_registered_model_alias",
    "set_terminated",
)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", _STEPS)
def test_ctrl_c_at_any_step_leaves_nothing(three, monkeypatch, step, moment):
    """No version, no registered model, no live logged model, no folder; the exception says what was cleaned."""
    real = getattr(MlflowClient, step)
    calls = []

    def interrupted(self, *args, **kwargs):
        calls.append(step)
        if len(calls) > 1:
            return real(self, *args, **kwargs)
        if moment == "after":
            real(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, step, interrupted)
    before = router_files()

    with pytest.raises(KeyboardInterrupt) as caught:
        build("tracking.alias=champion")

    assert calls
    assert router_versions() == []
    assert [model.name for model in MlflowClient().search_registered_models("name = 'router'")] == []
    assert live_models() == []
    assert open_runs() == []
    assert work_folders() == []
    assert router_files() == before
    if calls != ["create_run"] or moment == "after":
        assert caught.value.__notes__


@pytest.mark.parametrize("step", ["set_registered_model_alias", "set_terminated"])
def test_an_undone_build_gives_the_alias_back(three, monkeypatch, step):
    """The version that was live stays live: its alias names it again, and the notes say so."""
    build("tracking.alias=champion")
    real = getattr(MlflowClient, step)

    def interrupted(self, *args, **kwargs):
        monkeypatch.setattr(MlflowClient, step, real)
        real(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, step, interrupted)

    with pytest.raises(KeyboardInterrupt) as caught:
        build("tracking.alias=champion", "build.unchanged=register")

    assert str(MlflowClient().get_model_version_by_alias("router", "champion").version) == "1"
    assert router_versions() == ["1"]
    assert "Cleaned up: alias champion of router names version 1 again." in caught.value.__notes__


def test_a_router_can_be_a_sub_model(three, monkeypatch):
    """The expected digest is the outer router's; the inner one is loaded as any pyfunc model."""
    inner = api.build("name=inner", *fleets.WEEK, "signature.mode=union")

    logged = build("+models.nested={uri:'models:/inner/1',key:{dow:5}}")
    monkeypatch.setenv("MMEFRAME_EXPECT_DIGEST", logged.digest)

    answer = api.load_router(logged.model_uri).predict(fleets.rows(7), {"annotate": True})
    assert answer["model_id"][5] == "nested"
    assert inner.digest != logged.digest


_KILLED = """
import os, signal, sys
from mlflow import MlflowClient
from mmeframe import api
from mmeframe.testing.stores import copy_of
from tests import fleets, servers
real = getattr(MlflowClient, sys.argv[1])
def killed(self, *args, **kwargs):
    real(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(MlflowClient, sys.argv[1], killed)
api.build("name=router", *fleets.WEEK, "tracking.alias=champion")
"""


def kill_at(call: str, folder: Path, tmp_path: Path) -> None:
    """Kill a build when the store has done what it was called for."""
    root = Path(__file__).parents[2]
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(script), call]
    killed = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(open_runs()) == 1


@pytest.mark.process
@pytest.mark.parametrize("call", ["create_logged_model", "finalize_logged_model"])
def test_the_next_build_closes_what_a_kill_left(three, tmp_path, call):
    """A build that was killed before it registered leaves a run and a model; the next one removes them and says so."""
    kill_at(call, three.folder, tmp_path)
    assert router_versions() == []
    (left,) = live_models()

    logged = build("tracking.alias=champion")

    assert router_versions() == [logged.version]
    assert open_runs() == []
    assert live_models() == [logged.model_id]
    assert f"left by a process that was killed: logged model {left} was deleted" in logged.notes


@pytest.mark.process
@pytest.mark.parametrize("call", ["create_model_version", "set_registered_model_alias"])
@pytest.mark.parametrize("unchanged", ["skip", "register"])
def test_what_a_killed_build_has_registered_stays(three, tmp_path, call, unchanged):
    """It was proved before, and an alias may name it: no build takes away what somebody serves."""
    kill_at(call, three.folder, tmp_path)
    assert router_versions() == ["1"]

    logged = build("tracking.alias=champion", f"build.unchanged={unchanged}")

    assert logged.version == ("1" if unchanged == "skip" else "2")
    assert sorted(router_versions()) == sorted({"1", logged.version})
    assert str(MlflowClient().get_model_version_by_alias("router", "champion").version) == logged.version
    assert open_runs() == []
    assert api.load_router("models:/router/1").predict(fleets.rows(7)).shape == (7,)


@pytest.mark.process
def test_a_build_that_still_runs_is_left_alone(three):
    """Another process's build is not a leftover while that process lives."""
    with subprocess.Popen([sys.executable, "-c", _LEASE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        owner = other.stdout.readline().decode().strip()
        run = MlflowClient().create_run("0", tags={BUILD_TAG: owner})

        build()
        assert open_runs() == [run.info.run_id]

        other.communicate()
    assert api.build("name=router", *fleets.WEEK, "build.unchanged=register").notes
    assert open_runs() == []


_LEASE = "from mmeframe.store.cleanup import lease; print(lease(), flush=True); input()"


@pytest.mark.process
def test_a_build_in_another_container_is_left_alone(three):
    """It may have the same host name, and its process id is not ours: whether it lives, nobody here can tell."""
    inside = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    started = subprocess.run([*inside, sys.executable, "-c", _LEASE], input=b"", capture_output=True)
    if b"unshare" in started.stderr:
        pytest.skip(f"namespaces cannot be made here: {started.stderr.decode().strip()}")
    owner = started.stdout.decode().split("\n")[0]
    assert owner.split(":")[0] != lease().split(":")[0]
    assert owner.split("/")[:2] == lease().split("/")[:2]
    run = MlflowClient().create_run("0", tags={BUILD_TAG: owner})
    MlflowClient().create_run("0", tags={BUILD_TAG: f"{owner} of long ago"}, start_time=1)

    build()

    assert open_runs() == [run.info.run_id]


_HELPER = """
import mlflow
class Shipped(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        import shipped
        return shipped.answer(model_input)
mlflow.models.set_model(Shipped())
"""


def test_a_pyfunc_sub_model_brings_its_own_code(three, tmp_path):
    """A model from code with modules of its own works inside the router, beside scikit-learn models."""
    module = tmp_path / "shipped.py"
    module.write_text("def answer(rows):\n    return rows['x1'].to_numpy() * 2\n")
    log_code_model(tmp_path, "coded", _HELPER, [str(module)])

    logged = build("+models.coded={uri:'models:/coded@champion',key:{dow:5}}")

    router = api.load_router(logged.model_uri)
    frame = fleets.rows(14)
    answer = router.predict(frame, {"annotate": True})
    five = frame["dow"] == 5
    assert answer["model_id"][five].tolist() == ["coded", "coded"]
    assert answer["prediction"][five].tolist() == (frame["x1"][five] * 2).tolist()


def test_different_code_under_one_module_name_is_refused(three, tmp_path):
    """MLflow would run the first one's code for both; here it is an error that names both."""
    for name, factor in (("one", 2), ("two", 3)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "shipped.py").write_text(f"def answer(rows):\n    return rows['x1'].to_numpy() * {factor}\n")
        log_code_model(folder, f"coded_{name}", _HELPER, [str(folder / "shipped.py")])

    with pytest.raises(ProblemsError) as caught:
        build(
            "+models.one={uri:'models:/coded_one@champion',key:{dow:5}}",
            "+models.two={uri:'models:/coded_two@champion',key:{dow:6}}",
        )

    assert str(caught.value) == (
        "models.two: it ships a module 'shipped' that differs from the one of 'one'.\n"
        "  One process can import only one of them. Rename one module, log both with the same code, or set "
        "isolation=process."
    )


def test_a_damaged_bundle_is_refused_when_it_is_loaded(three):
    """The file and both digests are named, before anything is deserialised."""
    logged = build()
    pack = folder_of(logged.model_uri) / "artifacts" / "bundle" / "pack.bin"
    raw = bytearray(pack.read_bytes())
    raw[200] ^= 1
    pack.write_bytes(raw)

    with pytest.raises(
        Exception, match=r"pack.bin: its digest does not match: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}"
    ):
        api.load_router(logged.model_uri)


def test_another_bundle_than_expected_is_refused(three, monkeypatch):
    """MMEFRAME_EXPECT_DIGEST detects a bundle that was replaced as a whole."""
    logged = build()
    monkeypatch.setenv("MMEFRAME_EXPECT_DIGEST", "0" * 64)

    with pytest.raises(Exception, match=f"expected sha256 {'0' * 64}, found {logged.digest}"):
        api.load_router(logged.model_uri)


FULL = """
import resource, signal, sys
from contextlib import contextmanager

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

@contextmanager
def full():
    # Files may have so many bytes now: the kernel refuses the rest, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

from mmeframe.publish import log
from mmeframe.bundle import BundleWriter
from mmeframe.cli import main

def during(owner, name):
    before = getattr(owner, name)

    def call(*args, **kwargs):
        with full():
            return before(*args, **kwargs)

    setattr(owner, name, call)

if sys.argv[1] == "bundle":
    before = BundleWriter.add
    BundleWriter.add = lambda self, data: (before(self, data), self._pack.flush())[0]
    during(BundleWriter, "add")
else:
    import mlflow.pyfunc
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    during(*{"folder": (mlflow.pyfunc, "save_model"), "store": (LocalArtifactRepository, "log_artifacts")}[sys.argv[1]])
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("where", "limit", "said"),
    [
        ("bundle", 100, "the bundle cannot be written: File too large.\n  Free space there, or set MMEFRAME_CACHE_DIR"),
        ("folder", 1000, "the router cannot be written: "),
        ("store", 1000, "the router cannot be written: "),
    ],
)
def test_a_disk_that_is_full(week, tmp_path, where, limit, said):
    """Told with the place and what to do; nothing is registered, and nothing is left behind."""
    name = f"full_{where}"
    argv = ["build", f"name={name}", "routing=column", "routing.column=dow", "+models.a.uri=models:/day_0/1"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with fleets.active(week.uri):
        before = files_of(week)

    done = subprocess.run(
        [sys.executable, "-c", FULL, where, str(limit), *argv, week.override],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert said in done.stderr
    assert "Free space there" in done.stderr
    # What was packed may stay where the bundle was written, to be resumed.
    assert [path for path in tmp_path.rglob("*") if path.is_file() and "builds" not in path.parts] == []
    with fleets.active(week.uri):
        assert mlflow.MlflowClient().search_registered_models(f"name = '{name}'") == []
        assert files_of(week) == before


def files_of(store):
    """Files of LoggedModels in a store."""
    return {path for path in store.folder.rglob("*") if path.is_file() and "models" in path.parts}


def test_a_build_over_a_server_leaves_no_copy_of_its_router(tmp_path, for_server, monkeypatch):
    """MLflow would keep what it downloads until the process ends, or for ever if that is killed."""
    for_server(tmp_path)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with servers.mlflow_server(tmp_path) as url:
        with fleets.active(url):
            fleets.log_sklearn(fleets.fitted(1), "one", fleets.rows(5)[["x1", "x2"]])
        monkeypatch.setenv("TMPDIR", str(temporary))
        monkeypatch.setattr(tempfile, "tempdir", None)
        config = ("name=r", "routing=column", "routing.column=key", "+models.one.uri=models:/one/1")

        logged = api.build(*config, f"tracking.uri={url}", plugins=fleets.plugins())

    assert logged.version == "1"
    assert [it for it in temporary.rglob("*") if it.name == "pack.bin"] == []
    assert [it.name for it in temporary.iterdir() if not it.name.startswith("mmeframe-")] == []
