"""The source ``fsspec``: against a real S3 server on this machine, fsspec's memory, and local files."""

from __future__ import annotations

import contextlib
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import mlflow
import pandas as pd
import pytest
import requests
import s3fs
from mlflow.models import infer_signature
from mmeframe import api
from mmeframe.errors import MissingError, ProblemsError
from mmeframe.plugin import SourceContext
from mmeframe.plugin.manager import load_plugins
from mmeframe.testing import ModelSourceConformance, SourceCase
from moto.server import ThreadedMotoServer
from sklearn.linear_model import LinearRegression

from mmeframe_fsspec.artifacts import FsspecArtifactRepository
from mmeframe_fsspec.source import FsspecConf, FsspecSource

README = Path(__file__).parents[1] / "README.md"
SECRET = "s3cr3t-k3y-of-nobody"
ROWS = pd.DataFrame({"x1": [1.0, 2.0, 3.0], "x2": [0.0, 1.0, 5.0]})
REGIONS = ("eu", "us", "asia")
STORES = ("berlin", "boston", "köln", "02108")


def model(slope: float) -> LinearRegression:
    """Answers ``slope * x1``."""
    return LinearRegression().fit(ROWS, slope * ROWS.x1)


class Bucket:
    """A bucket named ``models``, as boto3 writes it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client = boto3.client("s3")

    def put(self, key: str, data: bytes) -> str:
        """Write an object; returns its ETag."""
        return self.client.put_object(Bucket="models", Key=key, Body=data)["ETag"].strip('"')

    def put_folder(self, key: str, folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that speaks S3, on a free port of this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, and the environment of somebody who may use it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    requests.post(f"{endpoint}/moto-api/reset", timeout=30)
    s3fs.S3FileSystem.clear_instance_cache()
    made = Bucket(endpoint)
    made.client.create_bucket(Bucket="models")
    yield made
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's memory, empty."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making them takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    # MLflow puts artifacts into the working directory.
    with contextlib.chdir(folder):
        mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def work(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an MLflow store and a cache of its own."""
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "cache"))
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def expand(path: str, pattern: str, *parts: str) -> list[Any]:
    """The entries of a source named ``s`` in a router with these key parts."""
    source = FsspecSource(FsspecConf(path=path, pattern=pattern))
    source.bind(SourceContext(name="s", parts=parts))
    return list(source.expand())


def entries(path: str, pattern: str, *parts: str) -> dict[str, tuple[str, Any]]:
    """The same by id: URI and key."""
    return {entry.id: (entry.uri, entry.key) for entry in expand(path, pattern, *parts)}


@pytest.mark.process
@pytest.mark.smoke
class TestConformance(ModelSourceConformance):
    """What every model source promises: in memory, and on this machine."""

    cases = (
        SourceCase(
            "fsspec",
            options={"path": "memory://kit", "pattern": "{region}/{store}.pkl"},
            parts=("region", "store"),
            expected={"a": {"region": "eu", "store": "a"}, "b": {"region": "us", "store": "b"}},
            id="memory",
        ),
        SourceCase(
            "fsspec",
            options={"path": "models", "pattern": "m_{key}"},
            files={f"models/{name}/MLmodel": b"" for name in ("m_1", "m_2", "other")},
            expected={"m_1": {"key": "1"}, "m_2": {"key": "2"}},
            id="folders",
        ),
    )

    @pytest.fixture(autouse=True)
    def content(self, memory):
        for name in ("eu/a.pkl", "us/b.pkl", "us/readme.txt"):
            memory.pipe(f"/kit/{name}", b"x")


OVERRIDES = (
    "name=stores",
    "+routing@routing.keys.region=column",
    "routing.keys.region.column=region",
    "+routing@routing.keys.store=column",
    "routing.keys.store.column=store",
    "+source@sources.bucket=fsspec",
    "sources.bucket.path=s3://models/prod",
    "sources.bucket.pattern='{region}/{store}.pkl'",
)


@pytest.fixture
def twelve(bucket: Bucket) -> dict[tuple[str, str], str]:
    """Twelve estimators in the bucket, (region, store) -> ETag; number n answers ``n * x1``."""
    places = [(region, store) for region in REGIONS for store in STORES]
    return {
        (region, store): bucket.put(f"prod/{region}/{store}.pkl", pickle.dumps(model(float(number))))
        for number, (region, store) in enumerate(places)
    }


# -- a bucket of S3 --------------------------------------------------------------------------------------------------


@pytest.mark.build
def test_twelve_models_in_a_bucket(twelve, work):
    """Keys come from names, versions are ETags, and answers are those of the models that were written."""
    logged = api.build(*OVERRIDES)

    router = api.load_router(logged.model_uri)
    table = pd.DataFrame([{"x1": 2.0, "x2": 9.0, "region": region, "store": store} for region, store in twelve])
    answers = router.predict(table, {"annotate": True})
    assert answers["prediction"].tolist() == pytest.approx([2.0 * number for number in range(12)])
    # Stores have one name in three regions, so ids are paths.
    assert answers["model_id"].tolist() == [f"{region}/{store}" for region, store in twelve]
    assert answers["model_version"].tolist() == list(twelve.values())


@pytest.mark.build
def test_what_did_not_change_is_not_downloaded_again(bucket, twelve, work, caplog):
    """Of twelve objects the one that was written since is fetched, and no other."""
    api.build(*OVERRIDES)
    etag = bucket.put("prod/us/boston.pkl", pickle.dumps(model(100.0)))
    caplog.set_level(logging.INFO, "werkzeug")
    caplog.clear()

    logged = api.build(*OVERRIDES)

    asked = re.findall(r"GET /models/(\S+) HTTP", "\n".join(record.getMessage() for record in caplog.records))
    assert {path for path in asked if "?" not in path} == {"prod/us/boston.pkl"}
    assert logged.unchanged == 11
    router = api.load_router(logged.model_uri)
    row = pd.DataFrame({"x1": [1.0], "x2": [0.0], "region": ["us"], "store": ["boston"]})
    answer = router.predict(row, {"annotate": True})
    assert (answer["prediction"][0], answer["model_version"][0]) == (pytest.approx(100.0), etag)


@pytest.mark.build
def test_no_secret_is_kept(twelve, work, empty_store, caplog):
    """The key that reads the bucket is in nothing that a build writes or logs."""
    caplog.set_level(logging.DEBUG)

    api.build(*OVERRIDES)

    written = [path for home in (work, empty_store.parent) for path in home.rglob("*") if path.is_file()]
    assert {"mlflow.db", "MLmodel", "manifest.json", "config.yaml"} <= {path.name for path in written}
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    # botocore's own lines at the level debug hold no secret either, nor do the host's.
    assert SECRET not in caplog.text


@pytest.mark.build
def test_mlflow_folders(bucket, work, tmp_path):
    """A folder with a file ``MLmodel`` is a sub-model; any change below it is a new version."""
    for shop, slope in (("a", 1.0), ("b", 2.0)):
        mlflow.sklearn.save_model(
            model(slope),
            str(tmp_path / shop),
            signature=infer_signature(ROWS, ROWS.x1.to_numpy()),
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )
        bucket.put_folder(f"shops/shop_{shop}", tmp_path / shop)
    bucket.put("shops/shop_c/other.txt", b"no model")
    before = {entry.id: entry.version for entry in expand("s3://models/shops", "shop_{shop}", "shop")}

    logged = api.build(
        "name=shops",
        "routing=column",
        "routing.column=shop",
        "+source@sources.s=fsspec",
        "sources.s.path=s3://models/shops/",
        "sources.s.pattern='shop_{shop}'",
    )
    bucket.put("shops/shop_b/notes.txt", b"a new file")
    after = {entry.id: entry.version for entry in expand("s3://models/shops", "shop_{shop}", "shop")}

    answers = api.load_router(logged.model_uri).predict(ROWS.assign(shop=["a", "b", "a"]))
    assert answers.tolist() == pytest.approx([1.0, 4.0, 3.0])
    assert before.keys() == after.keys() == {"shop_a", "shop_b"}
    assert (before["shop_a"] == after["shop_a"], before["shop_b"] == after["shop_b"]) == (True, False)


def test_names_that_do_not_match_are_left_out(bucket):
    """Another suffix, another depth, a hidden name, a neighbour of the folder, and an object in place of a folder."""
    for key in (
        "prod/eu/a.pkl",
        "prod/eu/readme.txt",
        "prod/b.pkl",
        "prod/eu/x/c.pkl",
        "prod/eu/.d.pkl",
        "prods/eu/e.pkl",
    ):
        bucket.put(key, b"x")
    bucket.put("prod/eu/f.pkl/", b"")

    assert entries("s3://models/prod", "{region}/{store}.pkl", "region", "store") == {
        "a": ("fsspec://s3/models/prod/eu/a.pkl", {"region": "eu", "store": "a"})
    }


def test_a_whole_bucket(bucket):
    """The folder may be the bucket itself, and a pattern may have no parts: the global sub-model."""
    bucket.put("all.pkl", b"x")

    assert entries("s3://models", "all.pkl", "store") == {"all": ("fsspec://s3/models/all.pkl", {})}


@pytest.mark.parametrize(
    ("path", "where", "what"),
    [
        pytest.param("s3://nobody/prod", "sources.s.path", "s3://nobody/prod does not exist.", id="no-bucket"),
        pytest.param("s3://models/none", "sources.s.path", "s3://models/none does not exist.", id="no-folder"),
        pytest.param("s3://models/prod/a.txt", "sources.s.path", "s3://models/prod/a.txt is no folder.", id="file"),
        pytest.param("s3://models/prod", "sources.s", "nothing in s3://models/prod matches '{store}.pkl'.", id="empty"),
    ],
)
def test_nothing_there(bucket, path, where, what):
    """A bucket, a folder or a match that does not exist is named."""
    bucket.put("prod/a.txt", b"x")

    with pytest.raises(MissingError) as caught:
        entries(path, "{store}.pkl", "store")

    assert (caught.value.where, caught.value.what) == (where, what)


def test_no_permission(bucket, twelve, work, monkeypatch):
    """Somebody without a right to the bucket is told so, and where credentials come from; validate reports it."""
    iam = boto3.client("iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    s3fs.S3FileSystem.clear_instance_cache()
    requests.post(f"{bucket.endpoint}/moto-api/reset-auth", data=b"0", timeout=30)
    try:
        with pytest.raises(ProblemsError) as caught:
            api.validate(*OVERRIDES)
    finally:
        requests.post(f"{bucket.endpoint}/moto-api/reset-auth", data=b"inf", timeout=30)

    (problem,) = [it for it in caught.value.problems if it.where.startswith("sources")]
    assert problem.where == "sources.bucket.path"
    assert problem.what.startswith("s3://models/prod cannot be listed: PermissionError")
    assert "AWS_ACCESS_KEY_ID" in problem.hint
    assert key["SecretAccessKey"] not in str(problem)


@pytest.mark.process
def test_an_option_from_the_environment(bucket):
    """Every option of a file system has a variable of fsspec."""
    bucket.put("prod/a.pkl", b"x")
    code = (
        "from mmeframe.plugin import SourceContext; from mmeframe_fsspec.source import *; "
        "source = FsspecSource(FsspecConf(path='s3://models/prod', pattern='{store}.pkl')); "
        "source.bind(SourceContext(name='s', parts=('store',))); print(*[entry.id for entry in source.expand()])"
    )
    environment = {
        "PATH": "",
        "FSSPEC_S3_ENDPOINT_URL": bucket.endpoint,
        "FSSPEC_S3_KEY": "somebody",
        "FSSPEC_S3_SECRET": SECRET,
    }

    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert shown.stdout.split() == ["a"], shown.stderr


# -- other file systems ----------------------------------------------------------------------------------------------


@pytest.mark.build
def test_a_file_system_that_mlflow_does_not_know(memory, work):
    """Models in memory are listed and fetched by fsspec; a second build takes what did not change from the first."""
    for store, slope in (("a", 1.0), ("b", 2.0)):
        memory.pipe(f"/models/{store}.pkl", pickle.dumps(model(slope)))
    overrides = [
        "name=in_memory",
        "routing=column",
        "routing.column=store",
        "+source@sources.s=fsspec",
        "sources.s.path=memory://models",
        "sources.s.pattern='{store}.pkl'",
    ]

    api.build(*overrides)
    memory.pipe("/models/b.pkl", pickle.dumps(model(3.0)))
    logged = api.build(*overrides)

    assert logged.unchanged == 1
    answers = api.load_router(logged.model_uri).predict(ROWS.assign(store=["a", "b", "a"]))
    assert answers.tolist() == pytest.approx([1.0, 6.0, 3.0])


@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_files_of_this_machine_are_read_where_they_lie(tmp_path, scheme):
    """Their URIs are paths, and the host knows them by size and time of change, as those of the source ``folder``."""
    (tmp_path / "a.pkl").write_bytes(b"x")

    (entry,) = expand(f"{scheme}{tmp_path}", "{store}.pkl", "store")

    assert (entry.uri, entry.version, entry.key) == (str(tmp_path / "a.pkl"), None, {"store": "a"})


def test_it_finds_what_the_built_in_folder_finds(tmp_path):
    """Ids, keys and places are those of the source ``folder``, for files and for MLflow folders."""
    from mmeframe.builtin.folder import FolderConf, FolderSource

    for name in (
        "eu/a.pkl",
        "eu/b.x.pkl",
        "us/a.pkl",
        "us/.c.pkl",
        "us/d.txt",
        "us/m.pkl/MLmodel",
        "us/n.pkl/x",
        "e.pkl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    built_in = FolderSource(FolderConf(path=str(tmp_path), pattern="{region}/{store}.pkl"))
    built_in.bind(SourceContext(name="s", parts=("region", "store")))

    found = entries(str(tmp_path), "{region}/{store}.pkl", "region", "store")

    assert found == {entry.id: (entry.uri, entry.key) for entry in built_in.expand()}
    assert set(found) == {"eu/a", "us/a", "b.x", "m.pkl"}


def test_names_that_cannot_be_used(memory):
    """What can be read in two ways, and what ends a URI, is listed in one report, with its pattern."""
    for name in ("a-b-c.pkl", "d-e-f.pkl", "g-h?.pkl", "i-j#k.pkl", "l-m.pkl"):
        memory.pipe(f"/models/{name}", b"x")

    with pytest.raises(ProblemsError) as caught:
        entries("memory://models", "{region}-{store}.pkl", "region", "store")

    assert [str(problem) for problem in caught.value.problems] == [
        "sources.s: these can be read in two ways by '{region}-{store}.pkl': a-b-c.pkl, d-e-f.pkl.",
        "sources.s: these have characters that end a URI: g-h?.pkl, i-j#k.pkl.",
    ]


@pytest.mark.parametrize(
    ("path", "what"),
    [
        pytest.param("ftp://me:s3cr3t@host/models", "it holds a password.", id="password"),
        pytest.param(
            "https://host/models?token=s3cr3t",
            "https://host/models is no address of a folder: it has a query, a fragment, or several addresses.",
            id="query",
        ),
        pytest.param(
            "simplecache::s3://models",
            "simplecache::s3://models is no address of a folder: it has a query, a fragment, or several addresses.",
            id="chain",
        ),
        pytest.param("s4://models", "s4:// cannot be used: Protocol not known: s4.", id="protocol"),
    ],
)
def test_addresses_that_are_refused(path, what):
    """Secrets are not for a config, and are not repeated; what cannot be a folder is told before it is asked for."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is compared
        entries(path, "{store}.pkl", "store")

    assert (caught.value.where, caught.value.what) == ("sources.s.path", what)
    assert "s3cr3t" not in str(caught.value)


def test_it_only_reads(memory):
    """The scheme that MLflow gets for the build writes nothing."""
    repository = FsspecArtifactRepository("fsspec://memory/models")

    for write in (repository.log_artifact, repository.log_artifacts):
        with pytest.raises(mlflow.MlflowException, match="is only read"):
            write("x")
    with pytest.raises(mlflow.MlflowException, match="there is nothing at fsspec://memory/models/a"):
        repository.download_artifacts("a")


# -- as a plugin -----------------------------------------------------------------------------------------------------


def test_the_installed_plugin_is_found():
    """The entry point is loaded without a fault, and offers one source."""
    (info,) = [plugin for plugin in load_plugins().plugins if plugin.distribution == "mmeframe-fsspec"]

    assert (info.name, info.module, info.version) == ("fsspec", "mmeframe_fsspec.plugin", "0.1.0")
    assert (info.status, info.reason) == ("ok", "")
    assert info.provides == {"model source": ["fsspec"]}


@pytest.mark.process
def test_mlflow_alone_does_not_get_the_scheme():
    """Only a process that lists a folder does: a tracking server must not fetch what its clients name."""
    code = (
        "import mlflow.artifacts, mmeframe_fsspec.plugin; "
        "from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories as known; "
        "print('s3' in known(), 'fsspec' in known())"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.split() == ["True", "False"]


def test_a_pattern_names_key_parts():
    """A part that routing does not have is a problem of the pattern, told before anything is listed."""
    with pytest.raises(Exception, match=r"\{shop\} is no key part") as caught:
        entries("s4://nowhere", "{shop}.pkl", "store")

    assert caught.value.where == "sources.s.pattern"


# -- the README ------------------------------------------------------------------------------------------------------


def test_the_example_of_the_readme_works(twelve, work):
    """The README's config is a router over the bucket, the same as by overrides."""
    (config,) = re.findall(r"^```yaml\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    experiment = Path("conf/experiment/stores.yaml")
    experiment.parent.mkdir(parents=True)
    experiment.write_text(config, encoding="utf-8")

    fleet = api.validate("experiment=stores", config_dirs=["conf"])

    assert [model.id for model in fleet.models] == sorted(f"{region}/{store}" for region, store in twelve)
    assert api.compose("experiment=stores", config_dirs=["conf"]) == api.compose(*OVERRIDES)


def test_the_readme_lists_every_option():
    """No option of its own is without a row in the README's table."""
    table = README.read_text(encoding="utf-8").split("## Options")[1].split("##")[0]

    listed = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert listed == [name for name in vars(FsspecConf()) if name not in ("arm", "signature", "prove")]
