"""Sources bring no routers: a family that held its own last version would be nested deeper with each build."""

from __future__ import annotations

import json
import shutil

import mlflow
import pytest

from mmeframe import api
from mmeframe.errors import ProblemsError
from tests import fleets

KEYED = ("routing=column", "routing.column=dow")


@pytest.fixture(scope="module")
def nights(module_store):
    """day_0 and day_1; the router day_router over them, registered twice by hand and once as a copy; a mixed name.

    Two names more fit no pattern: days is a router, too. Returns the store.
    """
    example = fleets.rows(5)[["x1", "x2"]]
    with fleets.inside(module_store.folder), fleets.active(module_store.uri):
        for day in (0, 1):
            fleets.log_sklearn(fleets.fitted(day), f"day_{day}", example, tags={"dow": str(day)})
        days = ("+models.a={uri:'models:/day_0@champion',key:{dow:0}}", "tracking.alias=champion")
        logged = api.build("name=day_router", *KEYED, *days)
        api.build("name=days", *KEYED, *days)
        mlflow.register_model(f"models:/{logged.model_id}", "day_hand")
        mlflow.register_model(f"models:/{logged.model_id}", "day_1")
        mlflow.MlflowClient().copy_model_version(logged.model_uri, "day_copy")
        saved = mlflow.artifacts.download_artifacts(logged.model_uri)
        for name in ("0", "router"):
            source = saved if name == "router" else mlflow.artifacts.download_artifacts("models:/day_0/1")
            shutil.copytree(source, module_store.folder / "saved" / name)
        (module_store.folder / "fleet.jsonl").write_text(
            "".join(
                json.dumps({"id": f"m{day}", "uri": f"models:/day_{day}/1", "dow": day}) + "\n"
                for day in ("0", "router")
            )
        )
    return module_store


NAMED = "day_copy, day_hand, day_router"
REGISTRY = ("+source@sources.days=registry", "sources.days.name='day_{dow}'")
LOGGED = ("+source@sources.days=logged_models", "sources.days.name='day_{dow}'")
TEMPLATE = ("+source@sources.days=template", "sources.days.uri='models:/day_{dow}/1'")


@pytest.mark.parametrize(
    ("source", "ids", "left"),
    [
        pytest.param(REGISTRY, ["day_0", "day_1"], f"day_1 (2), {NAMED}, which are routers", id="registry"),
        pytest.param([*REGISTRY, "sources.days.version=latest"], ["day_0", "day_1"],
                     f"day_1 (2), {NAMED}, which are routers", id="latest"),
        pytest.param([*REGISTRY, "exclude=[day_r*]"], ["day_0", "day_1"],
                     f"day_1 (2), {NAMED}, which are routers", id="excluded-too"),
        pytest.param(LOGGED, ["days_0", "days_1"], "day_router, which is a router", id="logged-models"),
        pytest.param([*TEMPLATE, "+sources.days.each.dow=[0,router]"], ["days_0"],
                     "days_router, which is a router", id="template"),
        pytest.param(["+source@sources.days=manifest", "sources.days.path=fleet.jsonl"], ["m0"],
                     "mrouter, which is a router", id="manifest"),
        pytest.param(["+source@sources.days=folder", "sources.days.path=saved", "sources.days.pattern='{dow}'"], ["0"],
                     "router, which is a router", id="folder"),
    ],
)  # fmt: skip
def test_no_source_brings_a_router(nights, source, ids, left):
    """However it came to its name; the plan names those that fit, and only those."""
    with fleets.inside(nights.folder):
        plan = api.plan("name=another", *KEYED, *source, nights.override)

    assert [model["id"] for model in plan["sub_models"]] == ids
    assert plan["warnings"] == [f"sources.days: it leaves out {left}. An entry in models may name a router."]


@pytest.mark.build
@pytest.mark.parametrize("source", [REGISTRY, LOGGED], ids=["registry", "logged-models"])
def test_the_second_night_is_as_the_first(nights, source):
    """A router whose own name fits its source is built again of the same sub-models, and takes them over."""
    name = ("name=day_nightly", *KEYED, *source, "tracking.alias=champion", nights.override)
    first, second = api.build(*name), api.build(*name)

    assert (first.sub_models, second.sub_models) == (2, 2)
    assert first.digest == second.digest
    assert second.unchanged == 2
    mlflow_client = mlflow.MlflowClient(nights.uri)
    mlflow_client.delete_registered_model("day_nightly")
    for logged in (first, second):
        mlflow_client.delete_logged_model(logged.model_id)


def test_a_family_of_routers_alone_is_a_problem_that_names_them(nights):
    """What a source has not found, and why."""
    with pytest.raises(ProblemsError) as caught:
        api.plan("name=another", *KEYED, REGISTRY[0], "sources.days.name='day_r{dow}'", nights.override)

    assert str(caught.value) == (
        "sources.days: no registered model matches 'day_r{dow}'.\n  Check tracking.uri, the pattern and the filter; "
        "'mmeframe train' registers models. It leaves out day_router, which is a router. An entry in models may name a "
        "router."
    )


@pytest.mark.parametrize(
    "uri", ["models:/day_router@champion", "models:/day_router/1", "saved/router"], ids=["alias", "version", "folder"]
)
def test_an_explicit_entry_may_name_a_router(nights, uri):
    """With the columns that a router in checked mode does not declare."""
    entry = f"{{uri: '{uri}', key: {{dow: 5}}, signature: {{inputs: {{dow: long, x1: double, x2: double}}}}}}"
    with fleets.inside(nights.folder):
        plan = api.plan("name=another", *KEYED, *REGISTRY, f"+models.nested={entry}", nights.override)

    assert [model["id"] for model in plan["sub_models"]] == ["day_0", "day_1", "nested"]
