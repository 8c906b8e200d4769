"""Credentials that pass through a config reach neither the artifact nor the run nor any message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from mmeframe import api, cli
from mmeframe.errors import ProblemsError
from mmeframe.output import show_traceback
from tests import fleets, servers
from tests.causes import causes

SECRET = "s3cr3t-planted"


@pytest.fixture(scope="module")
@causes("process")
def tracking_server(tmp_path_factory, for_server):
    """A real MLflow tracking server that proxies artifacts; the URL carries a user and a password."""
    folder = tmp_path_factory.mktemp("tracking")
    for_server(folder)
    with servers.mlflow_server(folder) as url:
        yield url.replace("//", f"//alice:{SECRET}@"), folder


SOURCE = f"""
from dataclasses import dataclass
from mmeframe.plugin import *

@dataclass
class VaultConf(SourceConf):
    token: str = ""

class Vault(ModelSource):
    def expand(self):
        assert self.conf.token == "{SECRET}"
        return [SubModelEntry("day_1", "models:/day_1/1", {{"dow": 1}})]

@hookimpl
def mmeframe_model_sources():
    return [ModelSourcePlugin("vault", VaultConf, __name__ + ":Vault", "models that a token opens")]
"""
URL = f"https://carol:{SECRET}@host.invalid/x?sig={SECRET}#token={SECRET}"
# All that a router's config may hold of secrets: what is used and not stored, and what is hidden or cleaned.
CONFIG = {
    "defaults": ["build", "_self_"],
    "name": "secretive",
    "tracking": {
        "uri": "${oc.env:PLANTED_STORE}",
        "alias": "champion",
        "tags": {
            **dict.fromkeys(("bearer", "auth", "key", "credential", "session_key", "authToken"), SECRET),
            "password": "${oc.env:PLANTED}",
            "site": URL,
            "wiki": "${oc.env:PLANTED_URL}",
        },
    },
    "routing": {"kind": "column", "column": "dow", "levels": [["dow"], []]},
    "sources": {"vault": {"kind": "vault", "token": "${oc.env:PLANTED}"}},
    "models": {"everyone": {"uri": "models:/all_days@champion", "key": {}}},
    "observers": {"log": {"kind": "log"}},
    "serve": {"host": "${oc.env:PLANTED}"},
    "predict": {"keep": ["${oc.env:PLANTED}"]},
    "train": {"reader": {"path": "/${oc.env:PLANTED}/rows.csv"}},
}


@pytest.fixture(scope="module")
def planted(tracking_server, tmp_path_factory):
    """A folder with the config and the module of its source; the variables are set."""
    uri, _ = tracking_server
    folder = tmp_path_factory.mktemp("planted")
    (folder / "secretive.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "vault_of_models.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for name, value in (("PLANTED", SECRET), ("PLANTED_STORE", uri), ("PLANTED_URL", URL)):
            patch.setenv(name, value)
        yield folder


@pytest.fixture(scope="module")
def built(tracking_server, planted):
    """A router built over that server, from sub-models whose requirements hold a private index."""
    uri, folder = tracking_server
    private = f"--extra-index-url https://bob:{SECRET}@packages.invalid/x"
    example = fleets.rows(5)[["x1", "x2"]]
    with fleets.active(uri):
        for day in (0, 1):
            fleets.log_sklearn(fleets.fitted(day), f"day_{day}", example, requirements=[*fleets.pins(), private])
        fleets.log_sklearn(fleets.fitted(20), "all_days", example)
    logged = api.build(
        f"+tracking.tags.api_token={SECRET}",
        f"+tracking.tags.keys={SECRET}",
        "+models.day_0.uri='models:/day_0/1'",
        "+models.day_0.key={dow: 0}",
        config_dirs=[planted],
        config_name="secretive",
        plugins=["vault_of_models"],
    )
    return logged, uri, folder


def holders(folder: Path) -> list[str]:
    """Files below a folder that hold the secret."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.smoke
def test_the_artifact_holds_no_secret(built, tmp_path):
    """Nothing of the URL, the overrides or the sub-models' indexes travels with the router."""
    logged, uri, _ = built
    with fleets.active(uri):
        folder = Path(mlflow.artifacts.download_artifacts(logged.model_uri, dst_path=str(tmp_path)))

    assert (folder / "MLmodel").is_file()
    assert holders(folder) == []


def test_the_run_holds_no_secret(built, tmp_path):
    """The config and the overrides that the run keeps are redacted."""
    logged, uri, _ = built
    with fleets.active(uri):
        folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{logged.run_id}/mmeframe", dst_path=str(tmp_path)))
        run = mlflow.MlflowClient().get_run(logged.run_id)
        model = mlflow.MlflowClient().get_logged_model(logged.model_id)

    assert "tracking" in (folder / "config.yaml").read_text()
    assert "api_token=***" in (folder / "overrides.txt").read_text()
    assert holders(folder) == []
    assert SECRET not in str(run.to_dictionary())
    assert SECRET not in str(model.to_dictionary())


def test_an_index_that_is_left_out_is_told(built):
    """The router cannot take a private index over; the notes say so, without its password."""
    logged, _, _ = built

    assert (
        "models.day_0: its requirements.txt has --extra-index-url, which the router does not take over." in logged.notes
    )
    assert SECRET not in str(logged)


def test_the_store_holds_no_secret(built, tmp_path):
    """Neither the database nor any file of the server has it, but for the sub-models that came with one."""
    _, _, folder = built

    brought = [path for path in holders(folder) if not path.endswith(("requirements.txt", "conda.yaml"))]
    assert brought == []


def test_hidden_tags_are_there(built):
    """Names of tags stay, and a URL stays as far as it is no secret."""
    logged, uri, _ = built
    with fleets.active(uri):
        tags = mlflow.MlflowClient().get_run(logged.run_id).data.tags

    hidden = ("bearer", "auth", "key", "keys", "credential", "session_key", "authToken", "password", "api_token")
    assert {name: tags[name] for name in hidden} == dict.fromkeys(hidden, "***")
    assert (tags["site"], tags["wiki"]) == ("https://host.invalid/x", "https://host.invalid/x")


@pytest.mark.build
def test_a_remote_router_is_scored_and_shown(built, planted, mmeframe_cli, tmp_path):
    """Every command works over HTTP with proxied artifacts, and prints no secret, to people or machines."""
    _, uri, _ = built
    rows = tmp_path / "rows.csv"
    fleets.rows(5).assign(dow=[0, 1, 9, 0, 1]).to_csv(rows, index=False)
    own = ["-p", "vault_of_models", "--config-dir", str(planted), "--config-name", "secretive"]
    model, store = "model=models:/secretive@champion", f"tracking.uri={uri}"
    commands = [
        ["show", model, store],
        ["predict", model, f"data={rows}", store, f"--out={tmp_path}/scored.csv"],
        ["validate", *own, f"data={rows}"],
        ["explain", *own, f"data={rows}"],
        ["plan", *own],
        ["build", *own],
    ]

    for words in commands:
        for form in ([], ["--json"], ["--debug"]):
            done = mmeframe_cli(*words, *form)
            assert done.code == 0, done.err
            assert SECRET not in done.out + done.err


@pytest.mark.build
def test_training_stores_no_secret(built, tmp_path, monkeypatch):
    """The runs and the sub-models of a training have hidden tags; where the rows come from is not stored at all."""
    _, uri, folder = built
    home = tmp_path / SECRET
    home.mkdir()
    fleets.rows(80).to_csv(home / "rows.csv", index=False)
    monkeypatch.setenv("PLANTED_HOME", str(home))
    before = set(holders(folder))

    made = api.train(
        *("name=trained", "routing=column", "routing.column=dow", f"tracking.uri={uri}"),
        *("train.reader.path=${oc.env:PLANTED_HOME}/rows.csv", "train.target=x1", "train.features.numeric=[x2]"),
        *("train.estimator.class=sklearn.linear_model.Ridge", "train.min_rows=5"),
        *(f"+tracking.tags.{name}={SECRET}" for name in ("bearer", "key")),
        plugins=fleets.plugins(),
    )

    assert SECRET not in str(made)
    assert set(holders(folder)) == before


Q = f"'{URL}'"
COLUMN = ("name=x", "routing=column", "routing.column=dow", "routing.levels=[[dow],[]]")
TRAIN = (
    *COLUMN[:3],
    "train.target=x1",
    "train.features.numeric=[x2]",
    "train.estimator.class=sklearn.linear_model.Ridge",
)
LOOKUP = ("+routing@routing.keys.a=column", "routing.keys.a.column=dow", "+routing@routing.keys.b=lookup")
LOOKUP += ("routing.keys.b.part=a", "routing.keys.b.to=z", "routing.levels=[[b],[]]", "name=x")


@pytest.fixture(scope="module")
def store_with_a_model(module_store):
    """Which no test changes."""
    with fleets.inside(module_store.folder), fleets.active(module_store.uri):
        fleets.log_sklearn(fleets.fitted(0), "m", fleets.rows(5)[["x1", "x2"]])
    return module_store


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["validate", *COLUMN, "+source@sources.f=folder", f"sources.f.path={Q}"], id="folder"),
        pytest.param(["validate", *COLUMN, "+source@sources.f=manifest", f"sources.f.path={Q}"], id="manifest"),
        pytest.param(["validate", *COLUMN, f"+models.a.uri={Q}", "+models.a.key={dow: 1}"], id="sub-model"),
        pytest.param(["validate", *LOOKUP, f"routing.keys.b.table={Q}"], id="look-up"),
        pytest.param(
            ["validate", *LOOKUP, f"routing.keys.b.table={Q}", "tracking.public=[routing.keys.b.table]"],
            id="public-look-up",
        ),
        pytest.param(["train", *TRAIN, f"train.reader.path={Q}"], id="reader"),
        pytest.param(["predict", "model=models:/m/1", f"data={URL}"], id="data"),
        pytest.param(["explain", *COLUMN, "data=rows.csv", f"--out={URL}"], id="out"),
        pytest.param(["show", f"model={URL}"], id="model"),
        pytest.param(["validate", *COLUMN, f"tracking.uri='http://alice:{SECRET}@127.0.0.1:9'"], id="store"),
        pytest.param(["validate", *COLUMN, f"tracking.uri='foo://alice:{SECRET}@127.0.0.1:9'"], id="scheme"),
        pytest.param(["validate", *COLUMN, f"exclude=[{Q}]"], id="exclude"),
        pytest.param(["validate", *COLUMN, f"experiment={Q}"], id="experiment"),
        pytest.param(["validate", *COLUMN, f"trackng.tags.bearer={SECRET}"], id="section"),
        pytest.param(["validate", *COLUMN, f"tracking.tags.bearer={SECRET}"], id="option"),
        pytest.param(["validate", *COLUMN, f"+tracking.tags={{key: {SECRET}"], id="grammar"),
        pytest.param(["validate", *COLUMN, f"+tracking.tags.token={{{SECRET}"], id="grammar-of-a-value"),
        pytest.param(["validate", *COLUMN, f"+tracking.tags.key={{a: {SECRET}}}"], id="type"),
        pytest.param(["validate", *COLUMN, f"environment.extra=[{Q}]"], id="requirement"),
        pytest.param(["validate", *COLUMN, "--config-dir", URL], id="config-dir"),
        pytest.param([URL], id="command"),
    ],
)
def test_no_error_repeats_a_secret(words, store_with_a_model, monkeypatch, mmeframe_cli, capsys):
    """Wherever a URL or a secret override is wrong: neither text nor JSON nor the traceback of --debug has it."""
    monkeypatch.chdir(store_with_a_model.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_with_a_model.uri)

    for form in ([], ["--json"]):
        done = mmeframe_cli(*words, *form)
        assert done.code in (1, 2)
        assert SECRET not in done.out + done.err
    with pytest.raises(Exception) as caught:
        cli.main([*words, "--debug"])
    show_traceback(type(caught.value), caught.value, caught.value.__traceback__)
    said = capsys.readouterr()
    assert "Traceback (most recent call last):" in said.err
    assert SECRET not in said.out + said.err


@pytest.mark.process
@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_a_process_shows_no_secret(variable, store, monkeypatch):
    """The command's own traceback is what Python would show, without the password; log lines are like that, too."""
    command = [sys.executable, "-m", "mmeframe", "validate", "--debug", *COLUMN, "+models.a.uri='models:/a/1'"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), variable: f"http://a:{SECRET}@127.0.0.1:9"}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "Traceback (most recent call last):" in done.stderr
    assert "server at http://127.0.0.1:9 does not answer" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_requirement_with_credentials_is_refused(store):
    """Requirements are stored in the clear: a URL with a password is a problem, and is not repeated."""
    example = fleets.rows(5)[["x1", "x2"]]
    fleets.log_sklearn(fleets.fitted(20), "all_days", example)

    with pytest.raises(ProblemsError) as caught:
        api.validate(
            "name=x",
            "routing=column",
            "routing.column=dow",
            "routing.levels=[[]]",
            "+models.everyone={uri:'models:/all_days@champion',key:{}}",
            f"environment.extra=['acme @ https://bob:{SECRET}@host.invalid/acme.whl']",
        )

    assert "the URL of acme holds credentials" in str(caught.value)
    assert SECRET not in str(caught.value)
