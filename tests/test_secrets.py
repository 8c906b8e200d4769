"""Credentials that pass through a config reach neither the artifact nor the run nor any message."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from mmeframe import api, cli
from mmeframe.errors import ProblemsError
from tests import fleets, servers

SECRET = "s3cr3t-planted"


@pytest.fixture(scope="module")
def tracking_server(tmp_path_factory, for_server):
    """A real MLflow tracking server that proxies artifacts; the URL carries a user and a password."""
    folder = tmp_path_factory.mktemp("tracking")
    for_server(folder)
    with servers.mlflow_server(folder) as url:
        yield url.replace("//", f"//alice:{SECRET}@"), folder


@pytest.fixture(scope="module")
def built(tracking_server):
    """A router built over that server, from sub-models whose requirements hold a private index."""
    uri, folder = tracking_server
    private = f"--extra-index-url https://bob:{SECRET}@packages.invalid/x"
    example = fleets.rows(5)[["x1", "x2"]]
    with fleets.active(uri):
        for day in (0, 1):
            fleets.log_sklearn(fleets.fitted(day), f"day_{day}", example, requirements=[*fleets.pins(), private])
        fleets.log_sklearn(fleets.fitted(20), "all_days", example)
    logged = api.build(
        "name=secretive",
        *fleets.WEEK,
        f"tracking.uri={uri}",
        "tracking.alias=champion",
        f"+tracking.tags.api_token={SECRET}",
        "+models.day_0.uri='models:/day_0/1'",
    )
    return logged, uri, folder


def holders(folder: Path) -> list[str]:
    """Files below a folder that hold the secret."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


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


def test_a_remote_router_is_scored_and_shown(built, capsys, tmp_path):
    """Every command works over HTTP with proxied artifacts, and prints no secret."""
    _, uri, _ = built
    rows = tmp_path / "rows.csv"
    fleets.rows(5).assign(dow=[0, 1, 9, 0, 1]).to_csv(rows, index=False)

    codes = [
        cli.main(["show", "model=models:/secretive@champion", f"tracking.uri={uri}"]),
        cli.main(["predict", "model=models:/secretive@champion", f"data={rows}", f"tracking.uri={uri}"]),
        cli.main(["validate", "name=secretive", *fleets.WEEK, f"tracking.uri={uri}"]),
        cli.main(["validate", "name=secretive", *fleets.WEEK, f"tracking.uri=http://alice:{SECRET}@127.0.0.1:9"]),
    ]

    said = capsys.readouterr()
    assert codes == [0, 0, 0, 1]
    assert "does not answer" in said.err
    assert SECRET not in said.out + said.err


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
