"""What notebooks call beside the commands."""

from __future__ import annotations

import json

from mmeframe import api
from tests import fleets


def digest_at(uri: str, store) -> str:
    """The digest of the router that ``fetch`` finds at a URI."""
    folder = api.fetch(store, uri)
    return json.loads((folder / "artifacts" / "bundle" / "manifest.json").read_text())["digest"]


def test_a_router_that_was_logged_again_to_the_same_place_is_fetched_again(week, tmp_path):
    """A copy is kept per content, not per place; the second look is answered from the copy."""
    import mlflow

    with fleets.active(week.uri):
        client = mlflow.MlflowClient()
        first, second = (api.build(f"name={name}", *fleets.WEEK, week.override) for name in ("once", "twice"))
        run = client.create_run("0").info.run_id
        uri, found = f"runs:/{run}/router", []
        for logged in (first, second):
            with api.job("show", [week.override]).store() as store:
                folder = api.fetch(store, f"models:/{logged.model_id}")
                client.log_artifacts(run, str(folder), "router")
                found += [digest_at(uri, store), digest_at(uri, store)]

    assert found == [first.digest] * 2 + [second.digest] * 2
    assert len(list((tmp_path / "cache" / "routers").iterdir())) == 2
