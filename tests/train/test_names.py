"""Names that collide: what a command will write is compared with all that it writes and reads, before it writes."""

from __future__ import annotations

import pandas as pd
import pytest
from mlflow import MlflowClient

from mmeframe import api
from mmeframe.errors import ProblemsError
from tests import fleets


@pytest.fixture
def shops(store, tmp_path):
    """Overrides that train shop_7, shop_all and shop_router, and one of all rows."""
    rows = pd.concat([fleets.rows(40, n).assign(shop=shop) for n, shop in enumerate(["7", "all", "router"])])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    return (
        "name=shops",
        "routing=column",
        "routing.column=shop",
        "routing.levels=[[shop],[]]",
        f"train.reader.path={tmp_path / 'rows.csv'}",
        "train.target=x2",
        "train.features.numeric=[x1]",
        "train.estimator.class=sklearn.linear_model.Ridge",
        "train.register_as='shop_{shop}'",
    )


@pytest.mark.build
@pytest.mark.parametrize(
    ("more", "said", "cure"),
    [
        pytest.param(
            ["train.global_as=shop_all"],
            "train.global_as: 'shop_all' is also the name of a key's sub-model (train.register_as), and would take "
            "over its alias.",
            ["train.global_as=shop_all_of_all"],
            id="global-and-key",
        ),
        pytest.param(
            ["train.global_as=shops"],
            "train.global_as: 'shops' is also the name of the router.",
            ["train.global_as=shops_of_all"],
            id="global-and-router",
        ),
        pytest.param(
            ["tracking.register_as=shop_router"],
            "train.register_as: a key's sub-model would be registered as 'shop_router', the name of the router.",
            ["tracking.register_as=shop_router_router"],
            id="key-and-router",
        ),
        pytest.param(
            ["name=shop_router"],
            "train.register_as: a key's sub-model would be registered as 'shop_router', the name of the router.",
            ["tracking.register_as=shop_router_router"],
            id="key-and-the-routers-own-name",
        ),
        pytest.param(
            ["+models.base={uri:'models:/shop_all@champion',key:{}}"],
            "models.base: it reads 'shop_all', and another key's sub-model would be registered under that name.",
            ["models.base.key={shop: all}"],
            id="key-and-an-explicit-global",
        ),
        pytest.param(
            ["train.global_as=everyone", "+models.base={uri:'models:/everyone@champion',key:{shop:7}}"],
            "models.base: it reads 'everyone', and the sub-model on all rows would be registered under that name.",
            ["models.base.key={}"],
            id="global-and-an-explicit-key",
        ),
        pytest.param(
            ["+models.base={uri:'models:/shop_7@champion',key:{shop:all}}"],
            "models.base: it reads 'shop_7', and another key's sub-model would be registered under that name.",
            ["models.base.key={shop: 7}"],
            id="key-and-another-explicit-key",
        ),
    ],
)
def test_names_that_train_writes(shops, more, said, cure):
    """Nothing is registered and no run is begun; the cure that is told, or follows from it, works."""
    with pytest.raises(ProblemsError) as caught:
        api.train(*shops, *more)

    assert [f"{it.where}: {it.what}" for it in caught.value.problems] == [said]
    client = MlflowClient()
    assert client.search_registered_models() == []
    assert client.search_runs(["0"]) == []

    trained = api.train(*shops, *(it for it in more if it.partition("=")[0] != cure[0].partition("=")[0]), *cure)
    assert len({model.name for model in trained.models}) == len(trained.models) >= 3


@pytest.mark.build
@pytest.mark.parametrize(
    "entry",
    [
        pytest.param("base: {uri: models:/everyone@champion, key: {}}", id="global"),
        pytest.param("base: {uri: models:/shop_7@champion, key: {shop: 7}}", id="key"),
        pytest.param("'7': {uri: models:/shop_7@champion}", id="key-by-id"),
        pytest.param("base: {uri: models:/other@champion, key: {shop: all}}", id="another-name"),
    ],
)
def test_sub_models_that_train_makes_may_be_named(shops, entry, tmp_path):
    """A config that reads what it trains is the usual one."""
    (tmp_path / "mine.yaml").write_text(f"defaults: [train, _self_]\nmodels:\n  {entry}\n")

    trained = api.train(*shops, "train.global_as=everyone", config_dirs=[tmp_path], config_name="mine")

    assert len(trained.models) == 4


SOURCES = {
    "explicit": ["+models.a={uri:'models:/day_3@champion',key:{dow:3}}"],
    "version": ["+models.a={uri:'models:/day_3/1',key:{dow:3}}"],
    "registry": ["+source@sources.days=registry", "sources.days.name='day_{dow}'"],
    "template": ["+source@sources.days=template", "+sources.days.each.dow=[3]",
                 "sources.days.uri='models:/day_{dow}/1'"],
    "not-routed": ["+models.a={uri:'models:/day_3@champion',key:none}",
                   "+models.b={combine:{kind:mean,of:[a]},key:{dow:3}}"],
}  # fmt: skip


@pytest.mark.parametrize("how", SOURCES)
@pytest.mark.parametrize("name", [["name=day_3"], ["name=days", "tracking.register_as=day_3"]], ids=["own", "given"])
def test_a_router_is_not_registered_as_its_sub_model(week, how, name):
    """It would be that one's next version, and take its alias: validate, plan and build say so, whoever names it."""
    overrides = [*name, "routing=column", "routing.column=dow", *SOURCES[how], week.override, "tracking.alias=champion"]
    with pytest.raises(ProblemsError) as caught:
        api.validate(*overrides)

    (problem,) = caught.value.problems
    assert problem.where == "tracking.register_as"
    assert problem.what.startswith("'day_3' is the registered model of the sub-model '")
    assert problem.hint == "Choose another name: tracking.register_as=day_3_router."
    cured = [it for it in overrides if not it.startswith("tracking.register_as")]
    assert api.validate(*cured, "tracking.register_as=day_3_router").models


def test_a_router_is_not_registered_as_a_logged_model_of_its_own(week):
    """Whose registered name the config does not say."""
    logged = MlflowClient(week.uri).get_model_version("day_3", "1").source
    overrides = ["routing=column", "routing.column=dow", f"+models.a={{uri:'{logged}',key:{{dow:3}}}}"]
    with pytest.raises(ProblemsError) as caught:
        api.validate("name=day_3", *overrides, week.override)

    assert str(caught.value).startswith("tracking.register_as: 'day_3' is the registered model of the sub-model 'a'")
    assert api.validate("name=day_3", *overrides, week.override, "tracking.register_as=day_3_router").models


@pytest.mark.build
def test_train_takes_no_alias_of_a_router(shops):
    """Of whichever config it is."""
    api.train(*shops, "train.global_as=everyone")
    routed = ("routing=column", "routing.column=shop", "+models.a={uri:'models:/everyone@champion',key:{shop:7}}")
    for name in ("shop_extra", "all_rows"):
        api.build(f"name={name}", *routed, "tracking.alias=champion")
    more = pd.read_csv(shops[4].partition("=")[2]).assign(shop="extra")
    more.to_csv("extra.csv", index=False)

    with pytest.raises(ProblemsError) as caught:
        api.train(
            *(it for it in shops if "reader" not in it), "train.reader.path=extra.csv", "train.global_as=all_rows"
        )

    assert sorted(str(problem) for problem in caught.value.problems) == [
        "train.global_as: 'all_rows' is the name of a registered router.\n  Choose another name.",
        "train.register_as: 'shop_extra' is the name of a registered router.\n  Choose another name.",
    ]


def test_a_router_does_not_hold_itself(week):
    """Its own name is no sub-model of it, in whatever version."""
    over = ["name=own", "routing=column", "routing.column=dow", week.override]
    with pytest.raises(ProblemsError) as caught:
        api.plan(*over, "+models.a={uri:'models:/own/1',key:{dow:3}}")

    assert "tracking.register_as: 'own' is the registered model of the sub-model 'a'" in str(caught.value)
