"""A live router can be copied and sent to other processes: the copy opens the same bundle with the same settings."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from typing import Any

import cloudpickle
import mlflow.pyfunc
import pytest

from mmeframe import api
from mmeframe.errors import MissingError, MmeframeError
from mmeframe.runtime import Router
from tests import fleets

ROWS = fleets.rows(8)
COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda live: pickle.loads(pickle.dumps(live)),
    "cloudpickle": lambda live: cloudpickle.loads(cloudpickle.dumps(live)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
# What is copied -> how it is reached from MLflow's model, and how it is asked.
LIVE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Router": (lambda model: model.unwrap_python_model().router, lambda it: it.predict(ROWS, {"annotate": True})),
    "RouterModel": (lambda model: model.unwrap_python_model(), lambda it: it.predict(None, ROWS, {"annotate": True})),
    "PyFuncModel": (lambda model: model, lambda it: it.predict(ROWS, params={"annotate": True})),
}
SETTINGS = {
    "as-built": {},
    "variables": {"MMEFRAME_DISABLED_MODELS": "day_3", "MMEFRAME_TRAFFIC_ARMS": "canary=0.5"},
    "lazy": {"MMEFRAME_RESIDENCY_KIND": "lazy", "MMEFRAME_RESIDENCY_MAX_MODELS": "2"},
    "no-observers": {"MMEFRAME_OBSERVERS": ""},
}


@pytest.fixture(scope="module")
def uri(week) -> str:
    """The week with a canary and an observer."""
    canary = "+models.new={uri:'models:/day_1/1',key:{dow:0},arm:canary}"
    with fleets.inside(week.folder):
        return str(
            api.build(
                "name=copied",
                *fleets.WEEK,
                canary,
                "+traffic.arms.canary=0.0",
                "traffic.sticky=[x1]",
                "+observer@observers.log=log",
                week.override,
            ).model_uri
        )


@pytest.fixture
def opened(uri, week, monkeypatch) -> Callable[..., Any]:
    """MLflow's model, opened with variables that are gone again afterwards."""

    def opened(variables: dict[str, str], **options: Any) -> Any:
        with monkeypatch.context() as patch, fleets.active(week.uri):
            for name, value in variables.items():
                patch.setenv(name, value)
            return mlflow.pyfunc.load_model(uri, suppress_warnings=True, **options)

    return opened


def plain(answer: Any) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in dict(answer).items()}


def state(router: Router) -> list[Any]:
    """What a deployment may have changed."""
    routing = router.routing
    return [routing.traffic, routing.disabled, router.residency.spec, bool(router.observers), router.bundle.digest]


def router_of(live: Any) -> Router:
    if isinstance(live, Router):
        return live
    found: Router = getattr(live, "router", None) or live.unwrap_python_model().router
    return found


@pytest.mark.parametrize("variables", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("what", LIVE)
def test_a_copy_answers_alike(opened, what, how, variables):
    """Whatever is copied, and however: the settings are those in force when it was opened."""
    reach, ask = LIVE[what]
    live = reach(opened(variables))

    copied = COPIES[how](live)

    assert plain(ask(copied)) == plain(ask(live))
    assert copied is not live
    routers = [router_of(it) for it in (live, copied)]
    # A shallow copy of what holds a router holds the same one.
    assert (routers[0] is routers[1]) == (how == "copy" and what != "Router")
    assert state(routers[0]) == state(routers[1])


def test_model_config_is_a_setting_too(opened):
    """So is what ``mlflow.pyfunc.load_model`` was given."""
    live = opened({}, model_config={"disabled_models": "day_2"})

    copied = pickle.loads(pickle.dumps(live))

    answers = [list(model.predict(ROWS, params={"annotate": True})["model_id"]) for model in (live, copied)]
    assert answers[0] == answers[1]
    assert "day_2" not in answers[0]


def test_both_go_on(opened):
    """A copy has a residency of its own: closing one closes nothing of the other."""
    live = opened({}).unwrap_python_model().router
    copied = copy.deepcopy(live)
    expected = live.predict(ROWS).tolist()

    live.close()
    del live

    assert copied.predict(ROWS).tolist() == expected


def test_a_bundle_that_is_not_there(opened, tmp_path):
    """On a machine without the folder the copy names it, and what to do."""
    bundle = tmp_path / "bundle"
    live = opened({}).unwrap_python_model().router
    shutil.copytree(live.bundle.folder, bundle)
    sent = pickle.dumps(Router.open(bundle))
    shutil.rmtree(bundle)

    with pytest.raises(MissingError) as caught:
        pickle.loads(sent)

    assert str(caught.value) == (
        f"{bundle}: the router was opened from this folder, which is not here.\n  A copy opens the same files: share "
        "the folder, or load the model here with mlflow.pyfunc.load_model."
    )


@pytest.mark.build
def test_a_bundle_that_is_another_one_now(opened, uri, week, tmp_path):
    """A copy never answers with other sub-models than the router that was copied."""
    bundle = tmp_path / "bundle"
    live = opened({}).unwrap_python_model().router
    shutil.copytree(live.bundle.folder, bundle)
    sent = pickle.dumps(Router.open(bundle))
    with fleets.inside(week.folder):
        other = api.build("name=other", *fleets.WEEK, week.override).model_uri
    router = api.load_router(other, tracking_uri=week.uri)
    shutil.rmtree(bundle)
    shutil.copytree(router.bundle.folder, bundle)

    with pytest.raises(MmeframeError, match="which has another bundle now"):
        pickle.loads(sent)


def ask_there(sent: bytes) -> Any:
    """Runs in another process."""
    model = pickle.loads(sent)
    return plain(model.predict(ROWS, params={"annotate": True}))


def test_another_process(opened):
    """A process that was spawned has imported nothing: what pools, Dask and Ray do."""
    live = opened(SETTINGS["variables"])

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(ask_there, (pickle.dumps(live),))

    assert there == plain(live.predict(ROWS, params={"annotate": True}))
    assert "day_3" not in there["model_id"]
