"""What a deployment may change without a rebuild: shares of arms, and disabled sub-models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from mmeframe import api, versions
from mmeframe.errors import ConfigError
from tests import fleets, servers
from tests.rows.test_shares import by_contract

# Monday has a canary, a second arm and a shadow; Tuesday is disabled when built.
FLEET = (
    "routing=column",
    "routing.column=dow",
    "routing.levels=[[dow],[]]",
    "+models.monday={uri:'models:/day_0@champion',key:{dow:0}}",
    "+models.tuesday={uri:'models:/day_1@champion',key:{dow:1}}",
    "+models.everyone={uri:'models:/all_days@champion',key:{}}",
    "+models.canary={uri:'models:/day_2@champion',key:{dow:0},arm:canary}",
    "+models.blue={uri:'models:/day_3@champion',key:{dow:0},arm:blue}",
    "+models.dark={uri:'models:/day_4@champion',key:{dow:0},arm:dark}",
    "+traffic.arms.canary=0.01",
    "traffic.sticky=user",
    "traffic.shadow=dark",
    "disabled_models=tuesday",
)
N = 2000
Load = Callable[..., Any]


@pytest.fixture(scope="module")
def logged(week) -> Any:
    return api.build("name=knobs", *FLEET, week.override, "tracking.alias=live")


@pytest.fixture(scope="module")
def load(logged, week) -> Load:
    """What MLflow loads, with a ``model_config``, or without."""

    def load(**config: Any) -> Any:
        with fleets.active(week.uri):
            return mlflow.pyfunc.load_model(logged.model_uri, model_config=config or None, suppress_warnings=True)

    return load


def users(dow: int = 0) -> pd.DataFrame:
    return fleets.rows(N).assign(user=np.arange(N), dow=dow)


def below(arm: str, share: float) -> list[int]:
    """The users whose number for an arm is below a share."""
    return [user for user in range(N) if by_contract(arm, [str(user)]) < share]


def taken(model: Any) -> dict[str, list[int]]:
    """The Monday users of each arm but main."""
    found = model.predict(users(), {"annotate": True})["arm"]
    return {arm: np.flatnonzero(found == arm).tolist() for arm in ("blue", "canary", "dark") if (found == arm).any()}


def answered(model: Any, dow: int = 1) -> set[tuple[str, str]]:
    """Who answers the first three users on a day, and why; they are below no share that is used with this."""
    found = model.predict(users(dow).head(3), {"annotate": True})
    return set(zip(found["model_id"], found["reason"], strict=True))


# -- shares ----------------------------------------------------------------------------------------------------------


def test_as_built(load):
    """Without anything given, the config's own values count."""
    assert taken(load()) == {"canary": below("canary", 0.01)}
    assert answered(load()) == {("everyone", "disabled")}


@pytest.mark.parametrize(
    ("shares", "arms"),
    [
        pytest.param("canary=0.1", {"canary": 0.1}, id="more"),
        pytest.param("canary=0", {}, id="back"),
        pytest.param("canary=1", {"canary": 1.0}, id="all"),
        pytest.param("", {"canary": 0.01}, id="nothing-said"),
        pytest.param("blue=0", {"canary": 0.01}, id="another-arm"),
        pytest.param(" canary = 1e-1 , ", {"canary": 0.1}, id="spaces"),
        pytest.param("canary=0,blue=0.2", {"blue": 0.2}, id="an-arm-without-a-share"),
        pytest.param("dark=0", {"canary": 0.01}, id="a-shadow-has-none"),
    ],
)
@pytest.mark.parametrize("by", ["model_config", "variable"])
def test_shares(load, monkeypatch, by, shares, arms):
    """1 % becomes 10 %, and 0 again, of the same users, without a rebuild; arms that are not named keep their share."""
    if by == "variable":
        monkeypatch.setenv("MMEFRAME_TRAFFIC_ARMS", shares)

    model = load(traffic_arms=shares) if by == "model_config" else load()

    assert taken(model) == {arm: below(arm, share) for arm, share in arms.items()}


def test_shares_as_a_map(load):
    """A ``model_config`` may hold a map, as YAML gives it."""
    assert taken(load(traffic_arms={"canary": 0.1, "blue": 0})) == {"canary": below("canary", 0.1)}


@pytest.mark.parametrize(
    ("variable", "share"),
    [
        pytest.param("canary=0", 0.0, id="lower"),
        pytest.param("canary=0.5", 0.5, id="higher"),
        pytest.param("", 0.01, id="empty-is-as-built"),
    ],
)
def test_the_variable_beats_model_config(load, monkeypatch, variable, share):
    """Where both say something the variable alone counts."""
    monkeypatch.setenv("MMEFRAME_TRAFFIC_ARMS", variable)

    found = taken(load(traffic_arms="canary=0.1"))

    assert found == ({"canary": below("canary", share)} if share else {})


def test_raised_step_by_step(load):
    """Users of 1 % are among those of 10 %: a roll-out moves nobody back."""
    steps = [set(taken(load(traffic_arms=f"canary={share}")).get("canary", ())) for share in (0, 0.01, 0.1, 0.5)]

    assert [len(step) for step in steps] == [len(below("canary", share)) for share in (0, 0.01, 0.1, 0.5)]
    assert steps[0] < steps[1] < steps[2] < steps[3]


ARMS = "Arms: blue, canary, dark."
SHARE = "the share of 'canary' must be from 0 to 1.\n  Write canary=0.25."


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        pytest.param("green=0.1", f"no sub-model has the arm 'green'.\n  {ARMS}", id="unknown"),
        pytest.param(
            "canry=0.1", f"no sub-model has the arm 'canry'.\n  Did you mean 'canary'? {ARMS}", id="a-near-miss"
        ),
        pytest.param("main=0.5", f"no sub-model has the arm 'main'.\n  {ARMS}", id="main-takes-what-is-left"),
        pytest.param("=0.5", f"no sub-model has the arm ''.\n  {ARMS}", id="no-name"),
        pytest.param("canary", "'canary' is no share.\n  Write canary=0.25, with commas between.", id="no-share"),
        pytest.param("0.5", "'0.5' is no share.\n  Write canary=0.25, with commas between.", id="a-number"),
        pytest.param("canary=", SHARE, id="empty-share"),
        pytest.param("canary=10%", SHARE, id="per-cent"),
        pytest.param("canary=0.1;blue=0.1", SHARE, id="semicolon"),
        pytest.param("canary=1.01", SHARE, id="more-than-all"),
        pytest.param("canary=-0.1", SHARE, id="negative"),
        pytest.param("canary=nan", SHARE, id="nan"),
        pytest.param("canary=0.6,blue=0.5", "the shares exceed one: 1.1.", id="together"),
        pytest.param("blue=1", "the shares exceed one: 1.01.", id="with-what-was-built"),
        pytest.param("dark=0.1", "'dark' is a shadow, and takes no traffic.", id="shadow"),
        pytest.param("dark=x", "the share of 'dark' must be from 0 to 1.\n  Write canary=0.25.", id="a-shadow's-text"),
    ],
)
@pytest.mark.parametrize("by", ["model_config", "variable"])
def test_shares_that_are_refused(load, monkeypatch, by, shares, said):
    """The router does not load, and says which knob, what is wrong, and what there is."""
    if by == "variable":
        monkeypatch.setenv("MMEFRAME_TRAFFIC_ARMS", shares)

    with pytest.raises(ConfigError) as caught:
        load(traffic_arms=shares) if by == "model_config" else load()

    where = "MMEFRAME_TRAFFIC_ARMS" if by == "variable" else "model_config.traffic_arms"
    assert str(caught.value) == f"{where}: {said}"


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        pytest.param({"green": 0.1}, "no sub-model has the arm 'green'.", id="unknown"),
        pytest.param({"canary": None}, "the share of 'canary' must be from 0 to 1.", id="null"),
        pytest.param({"dark": None}, "the share of 'dark' must be from 0 to 1.", id="a-shadow's-null"),
        pytest.param({"canary": [0.1]}, "the share of 'canary' must be from 0 to 1.", id="list"),
        pytest.param(0.5, "'0.5' is no share.", id="number"),
    ],
)
def test_maps_that_are_refused(load, shares, said):
    """Whatever a ``model_config`` holds, what is wrong with it is told in our words."""
    with pytest.raises(ConfigError) as caught:
        load(traffic_arms=shares)

    assert str(caught.value).splitlines()[0] == f"model_config.traffic_arms: {said}"


# -- disabled sub-models ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "monday", "tuesday"),
    [
        pytest.param("", {("monday", "exact")}, {("tuesday", "exact")}, id="empty-enables-all"),
        pytest.param("monday", {("everyone", "disabled")}, {("tuesday", "exact")}, id="another-one"),
        pytest.param(
            " monday , tuesday ,", {("everyone", "disabled")}, {("everyone", "disabled")}, id="two-and-spaces"
        ),
        pytest.param("canary", {("monday", "exact")}, {("tuesday", "exact")}, id="an-arm-without-these-users"),
    ],
)
@pytest.mark.parametrize("by", ["model_config", "variable"])
def test_disabled(load, monkeypatch, by, given, monday, tuesday):
    """The list replaces the built one; rows of what it names fall back, and those of what it leaves out are back."""
    if by == "variable":
        monkeypatch.setenv("MMEFRAME_DISABLED_MODELS", given)

    model = load(disabled_models=given) if by == "model_config" else load()

    assert (answered(model, 0), answered(model, 1)) == (monday, tuesday)


def test_disabled_as_a_list(load):
    """A ``model_config`` may hold a list, as YAML gives it; an empty one too."""
    assert answered(load(disabled_models=["monday"]), 0) == {("everyone", "disabled")}
    assert answered(load(disabled_models=[]), 1) == {("tuesday", "exact")}


def test_the_variable_beats_model_config_for_disabled(load, monkeypatch):
    """Also where it is empty: a deployment brings back what ``model_config`` has taken away."""
    monkeypatch.setenv("MMEFRAME_DISABLED_MODELS", "")

    assert answered(load(disabled_models="monday,tuesday"), 0) == {("monday", "exact")}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        pytest.param("traffic_arms", "canary=0.1875", "canary=0.1875; built: canary=0.01.", id="shares"),
        pytest.param("traffic_arms", "canary=0.0100,blue=0", "", id="the-same-shares"),
        pytest.param("disabled_models", "monday", "'monday'; built: 'tuesday'.", id="disabled"),
        pytest.param("disabled_models", "", "none; built: 'tuesday'.", id="enabled"),
        pytest.param("disabled_models", " tuesday ,", "", id="the-same-disabled"),
    ],
)
@pytest.mark.parametrize("by", ["model_config", "variable"])
def test_what_changes_the_way_of_rows_is_told(load, monkeypatch, caplog, by, name, value, told):
    """A digest says how a router was built; the log of its process says what it does otherwise."""
    monkeypatch.setattr(versions, "_told", set())
    if by == "variable":
        monkeypatch.setenv(f"MMEFRAME_{name.upper()}", value)

    load(**{name: value} if by == "model_config" else {})

    where = f"MMEFRAME_{name.upper()}" if by == "variable" else f"model_config.{name}"
    assert [text for text in caplog.messages if "changes which" in text] == (
        [f"{where} changes which {'rows go to arms' if 'arms' in name else 'sub-models get no rows'}: {told}"]
        if told
        else []
    )


def test_disabling_everything(load):
    """Rows that no sub-model is left for are an unknown key, and the message names what was taken away."""
    with pytest.raises(mlflow.exceptions.MlflowException) as caught:
        answered(load(disabled_models="monday,everyone"), 0)

    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert "no sub-model for 3 rows: dow=0." in str(caught.value)
    assert "Disabled: everyone, monday." in str(caught.value)


IDS = "Ids: blue, canary, dark, everyone, monday, tuesday."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param("sunday", "there is no sub-model 'sunday'.\n  Did you mean 'monday'? ", id="near"),
        pytest.param("monday,zzz", "there is no sub-model 'zzz'.\n  ", id="the-second"),
        pytest.param("monday;tuesday", "there is no sub-model 'monday;tuesday'.\n  Did you mean 'tuesday'? ", id="one"),
        pytest.param("Monday", "there is no sub-model 'Monday'.\n  Did you mean 'monday'? ", id="case"),
    ],
)
@pytest.mark.parametrize("by", ["model_config", "variable"])
def test_ids_that_nobody_has(load, monkeypatch, by, given, said):
    """The router does not load, and names the nearest id and those that exist."""
    if by == "variable":
        monkeypatch.setenv("MMEFRAME_DISABLED_MODELS", given)

    with pytest.raises(ConfigError) as caught:
        load(disabled_models=given) if by == "model_config" else load()

    where = "MMEFRAME_DISABLED_MODELS" if by == "variable" else "model_config.disabled_models"
    assert str(caught.value) == f"{where}: {said}{IDS}"


@pytest.mark.parametrize("given", [7, True, 0.5], ids=lambda given: type(given).__name__)
def test_what_is_no_list_of_ids(load, given):
    """Whatever a ``model_config`` holds, what is wrong with it is told in our words."""
    with pytest.raises(ConfigError, match=r"^model_config\.disabled_models: "):
        load(disabled_models=given)


# -- where the knobs are ---------------------------------------------------------------------------------------------


def stored(logged: Any, store: str) -> Mapping[str, Any]:
    with fleets.active(store):
        return mlflow.models.get_model_info(logged.model_uri).flavors["python_function"]["config"]


def test_knobs_are_stored(logged, week):
    """MLflow drops names that it does not know, so every knob is in the model, with what was built."""
    assert stored(logged, week.uri) == {
        "traffic_arms": "canary=0.01",
        "disabled_models": "tuesday",
        "observers": "",
        "bundle_allow_pickle": "true",
        "residency_kind": "eager",
        "residency_max_bytes": "none",
        "residency_max_models": "none",
        "residency_preload": "",
        "residency_pin": "",
        "residency_ttl_s": "none",
        "residency_failure_ttl_s": "60.0",
        "residency_load_workers": "4",
    }


@pytest.mark.build
def test_an_id_with_a_comma(week, tmp_path):
    """A sub-model whose id has a comma can be disabled like any other."""
    (tmp_path / "models.csv").write_text('id,uri,dow\n"a,b",models:/day_0@champion,0\nc,models:/day_1@champion,1\n')
    source = ("+source@sources.bulk=manifest", f"sources.bulk.path={tmp_path}/models.csv")
    routing = ("routing=column", "routing.column=dow", "routing.on_unknown=skip")

    logged = api.build("name=knobs_comma", *routing, *source, "disabled_models=['a,b']", week.override)

    router = api.load_router(logged.model_uri, tracking_uri=week.uri)
    answer = router.predict(fleets.rows(2), {"annotate": True})
    assert answer["reason"].tolist() == ["disabled", "exact"]


@pytest.mark.build
def test_a_router_inside_a_router(week, monkeypatch):
    """The variables are the outermost router's: a sub-model that is a router itself has other arms and ids."""
    inner = api.build("name=knobs_inner", *fleets.WEEK, week.override, "signature.mode=union")
    models = (
        f"+models.inside={{uri:'{inner.model_uri}',key:{{shop:a}}}}",
        "+models.plain={uri:'models:/all_days@champion',key:{shop:b}}",
        "+models.variant={uri:'models:/day_1@champion',key:{shop:b},arm:canary}",
        "+traffic.arms.canary=0",
    )
    outer = api.build("name=knobs_outer", "routing=column", "routing.column=shop", *models, week.override)
    monkeypatch.setenv("MMEFRAME_TRAFFIC_ARMS", "canary=1")
    monkeypatch.setenv("MMEFRAME_DISABLED_MODELS", "plain")

    router = api.load_router(outer.model_uri, tracking_uri=week.uri)

    answer = router.predict(fleets.rows(4).assign(shop=["a", "b", "a", "b"]), {"annotate": True})
    assert answer["model_id"].tolist() == ["inside", "variant", "inside", "variant"]


@pytest.mark.process
def test_a_server(logged, week, tmp_path):
    """MLflow's own scoring server takes the variables: rolled back, and one sub-model less, without a rebuild."""
    env = {
        "MLFLOW_TRACKING_URI": week.uri,
        "MMEFRAME_TRAFFIC_ARMS": "canary=0,blue=0.5",
        "MMEFRAME_DISABLED_MODELS": "monday",
    }
    frame = users().head(100)

    with servers.mlflow_serve("models:/knobs@live", cwd=tmp_path, env=env) as endpoint:
        reply = endpoint.json(frame, {"annotate": True})

    assert reply.status == 200
    blue = set(below("blue", 0.5))
    assert reply.body["predictions"]["model_id"] == ["blue" if user in blue else "everyone" for user in range(100)]
    assert set(reply.body["predictions"]["reason"]) == {"exact", "disabled"}


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MMEFRAME_TRAFIC_ARMS", "MMEFRAME_TRAFFIC_ARMS"),
        ("MMEFRAME_DISABLE_MODELS", "MMEFRAME_DISABLED_MODELS"),
        ("MMEFRAME_RESIDENCY_MAXBYTES", "MMEFRAME_RESIDENCY_MAX_BYTES"),
        ("MMEFRAME_ALLOW_PICKLES", "MMEFRAME_ALLOW_PICKLE"),
    ],
)
def test_a_variable_that_is_misspelt(load, monkeypatch, variable, meant):
    """Nothing would happen, and whoever set it would believe that it did."""
    monkeypatch.setenv(variable, "canary=0")

    with pytest.raises(ConfigError) as caught:
        load()

    assert str(caught.value) == (
        f"{variable}: there is no such variable, so it would do nothing.\n  Did you mean {meant!r}? Else rename it."
    )


def test_a_variable_of_somebody_else(load, monkeypatch):
    monkeypatch.setenv("MMEFRAME_DEPLOYED_BY", "me")

    assert len(load().predict(users()[:3])) == 3
