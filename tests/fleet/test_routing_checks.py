"""What validate refuses, or warns about, in keys, levels, arms and traffic: each with its place in the config."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mmeframe import api, errors
from mmeframe.cli import main
from mmeframe.errors import ProblemsError
from tests import fleets
from tests.conftest import Store

PLUGINS = fleets.plugins()
# One part of text keys; three parts, of which two build on the first.
ONE = ("routing=column", "routing.column=shop")
THREE = (
    "+routing@routing.keys.shop=column",
    "routing.keys.shop.column=shop",
    "+routing@routing.keys.region=lookup",
    "routing.keys.region.part=shop",
    "+routing.keys.region.values={berlin:east,dresden:east,paris:west}",
    "+routing@routing.keys.size=bins",
    "routing.keys.size.column=x1",
    "+routing.keys.size.bins={small:[null,0],large:[0,null]}",
)
BERLIN, PARIS = "+models.berlin.uri=ANY", "+models.paris.uri=ANY"
CANARY = "+models.fresh={uri:ANY,key:{shop:berlin},arm:canary}"


@pytest.fixture(scope="module")
def store(template_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of this module's own, with one sub-model in a folder: here it only matters who answers whom."""
    folder = tmp_path_factory.mktemp("checks")
    shutil.copy(template_store / "mlflow.db", folder / "mlflow.db")
    rows = fleets.rows(5)[["x1", "x2"]]
    model = fleets.fitted(1)
    signature = infer_signature(rows, model.predict(rows))
    mlflow.sklearn.save_model(model, str(folder / "any"), signature=signature, pip_requirements=fleets.pins())
    return Store(folder)


Validate = Callable[..., Any]


@pytest.fixture
def validate(store: Store) -> Validate:
    """api.validate; ANY stands for the URI of a sub-model."""

    def call(*overrides: str) -> Any:
        found = [line.replace("uri:ANY", f"uri:'{store.folder}/any'") for line in overrides]
        found = [line.replace("uri=ANY", f"uri={store.folder}/any") for line in found]
        return api.validate("name=checks", *found, store.override, plugins=PLUGINS)

    return call


@pytest.fixture
def refused(validate: Validate) -> Callable[..., list[str]]:
    """The problems of a config that validate refuses, each as it is printed."""

    def call(*overrides: str) -> list[str]:
        with pytest.raises(ProblemsError) as caught:
            validate(*overrides)
        return [str(problem) for problem in caught.value.problems]

    return call


# -- arms and traffic ------------------------------------------------------------------------------------------------


def test_arms_and_traffic_that_are_right(validate):
    """A canary that is narrowed to a key, and a shadow; a share of 0 is a rollback, and no traffic."""
    shadow = "+models.dark={uri:ANY,key:{shop:paris},arm:dark}"
    traffic = ("+traffic.arms={canary:0.25,dark:0}", "+traffic.only.canary=[berlin]", "traffic.shadow=[dark]")

    fleet = validate(*ONE, BERLIN, PARIS, CANARY, shadow, *traffic, "traffic.sticky=[user]", "disabled_models=[paris]")

    assert fleet.spec.traffic.to_json() == {
        "arms": {"canary": 0.25, "dark": 0.0},
        "sticky": ["user"],
        "only": {"canary": [{"shop": "berlin"}]},
        "shadow": ["dark"],
    }
    assert [(model.id, model.arm) for model in fleet.models] == [
        ("berlin", "main"),
        ("dark", "dark"),
        ("fresh", "canary"),
        ("paris", "main"),
    ]


@pytest.mark.parametrize("sticky", [[], ["traffic.sticky=[x]"]], ids=["all-columns", "named"])
def test_a_column_of_lists_decides_no_arm(validate, refused, tmp_path, sticky):
    """Found here, and not by every request; another column may decide."""
    signature = infer_signature(pd.DataFrame({"x": [[1.0, 2.0]]}), np.zeros(1))
    mlflow.sklearn.save_model(fleets.fitted(1), tmp_path / "m", signature=signature, pip_requirements=fleets.pins())
    models = [f"+models.{id_}={{uri:'{tmp_path / 'm'}',key:{{shop:a}},arm:{id_}}}" for id_ in ("main", "canary")]
    overrides = (*ONE, *models, "+traffic.arms.canary=0.5")

    (found,) = refused(*overrides, *sticky)

    assert found == (
        "traffic.sticky: column 'x' is array(double) in the sub-models, and would decide a row's arm.\n"
        "  Name columns with one value in a row."
    )
    assert validate(*overrides, "traffic.sticky=[user]").union.names == ["x"]


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        pytest.param(
            [BERLIN, "+models.fresh={uri:ANY,key:{shop:rome},arm:canary}"],
            "models.fresh: 'fresh' of arm 'canary' has no main sub-model for its key.\n"
            "  Declare one: an arm is a variant of it.",
            id="arm-without-a-main-sub-model",
        ),
        pytest.param(
            [
                BERLIN,
                "+models.fresh={uri:ANY,key:{shop:rome},arm:canary}",
                "+models.newer={uri:ANY,key:{shop:oslo},arm:canary}",
            ],
            "models.fresh: 'fresh' and 1 more of arm 'canary' has no main sub-model for its key.\n"
            "  Declare one: an arm is a variant of it.",
            id="several-of-one-arm",
        ),
        pytest.param(
            [BERLIN, CANARY, "+models.rival={uri:ANY,key:{shop:berlin},arm:canary}"],
            "models.rival: 'rival' and 'fresh' (models.fresh) are both for shop=berlin, arm canary.\n"
            "  Exclude one, or give it another key or arm.",
            id="two-for-one-key-and-arm",
        ),
        pytest.param(
            [BERLIN, "+models.fresh={uri:ANY,key:{shop:berlin},arm:my-arm}"],
            "models.fresh.arm: an arm's name is letters, digits and underscores.",
            id="name-of-an-arm",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms.canry=0.1"],
            "traffic.arms: no sub-model has the arm 'canry'.\n  Did you mean 'canary'? Arms of the sub-models: canary.",
            id="unknown-arm",
        ),
        pytest.param(
            [BERLIN, "+traffic.arms.canary=0.1"],
            "traffic.arms: no sub-model has the arm 'canary'.\n  Arms of the sub-models: none.",
            id="no-arms-at-all",
        ),
        pytest.param(
            [BERLIN, CANARY, "traffic.shadow=[canry]"],
            "traffic.shadow: no sub-model has the arm 'canry'.\n"
            "  Did you mean 'canary'? Arms of the sub-models: canary.",
            id="unknown-shadow",
        ),
        pytest.param(
            [BERLIN, CANARY, "traffic.shadow=canary", "+traffic.arms.canary=0.1"],
            "traffic.shadow: 'canary' takes traffic (traffic.arms), so it cannot be a shadow.\n"
            "  Remove it from one of the two.",
            id="shadow-with-traffic",
        ),
        pytest.param(
            [BERLIN, CANARY, "traffic.shadow=[main]"],
            "traffic.shadow: no sub-model has the arm 'main'.",
            id="main-as-shadow",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms={canary:0.7,blue:0.5}"],
            "traffic.arms: the shares exceed one: 1.2.\n  Lower them.",
            id="shares-exceed-one",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms.canary=1.5"],
            "traffic.arms.canary: input should be less than or equal to 1.",
            id="one-share-exceeds-one",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms.canary=-0.1"],
            "traffic.arms.canary: input should be greater than or equal to 0.",
            id="negative-share",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms.canary=nan"],
            "traffic.arms.canary: input should be a finite number.",
            id="share-that-is-no-number",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms={canary:0.1,main:0.9}"],
            "traffic.arms.main: the main arm takes what the others leave.\n  Remove it.",
            id="share-of-the-main-arm",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms.canary=0.1", "+traffic.only.canry=[berlin]"],
            "traffic.only.canry: traffic.arms has no arm 'canry'.\n  Did you mean 'canary'? Arms: canary.",
            id="only-of-an-arm-without-a-share",
        ),
        pytest.param(
            [BERLIN, PARIS, CANARY, "+traffic.arms.canary=0.1", "+traffic.only.canary=[berlin,paris]"],
            "traffic.only.canary: no sub-model of arm 'canary' is for shop=paris.",
            id="only-of-a-key-that-the-arm-lacks",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms.canary=0.1", "+traffic.only.canary=[{shp:berlin}]"],
            "traffic.only.canary[0].shp: 'shp' is no key part.\n  Did you mean 'shop'? Key parts: shop.",
            id="only-of-an-unknown-part",
        ),
        pytest.param(
            [BERLIN, CANARY, "+traffic.arms.canary=0.1", "+traffic.only.canary=[true]"],
            f"traffic.only.canary[0].shop: YAML read this as the bool True; {errors.QUOTE} to use it as a key.\n"
            "  Write the key as it should be, in quotes.",
            id="only-of-what-is-no-key",
        ),
        pytest.param(
            [BERLIN, "disabled_models=[berln]"],
            "disabled_models: there is no sub-model 'berln'.\n  Did you mean 'berlin'? Ids: berlin.",
            id="disabled-unknown-id",
        ),
    ],
)
def test_wrong_traffic(refused, overrides, found):
    """One problem, at its place, with what there is."""
    (problem,) = refused(*ONE, *overrides)

    assert problem.startswith(found)


def test_only_of_several_parts_is_a_map(refused):
    """A bare value does not say which part it is of."""
    models = ("+models.a={uri:ANY,key:{shop:berlin}}", "+models.b={uri:ANY,key:{shop:berlin},arm:canary}")
    traffic = ("+traffic.arms.canary=0.1", "+traffic.only.canary=[berlin]")

    (problem,) = refused(*THREE, "routing.levels=[[shop]]", *models, *traffic)

    assert problem == "traffic.only.canary[0]: a key of several parts is a map.\n  Write {shop, region, size}."


@pytest.mark.build
@pytest.mark.parametrize("mode", ["checked", "union"])
def test_sticky_columns_are_columns_of_the_router(store, mode):
    """Rows need them, so they are declared, and stand in the example that is stored with the router."""
    models = (
        f"+models.berlin.uri={store.folder}/any",
        f"+models.fresh={{uri:'{store.folder}/any',key:{{shop:berlin}},arm:new}}",
    )
    traffic = ("+traffic.arms.new=0.5", "traffic.sticky=[user]", f"signature.mode={mode}")

    logged = api.build(f"name=sticky_{mode}", *ONE, *models, *traffic, store.override, plugins=PLUGINS)

    with fleets.active(store.uri):
        loaded = mlflow.pyfunc.load_model(logged.model_uri)
    rows = fleets.rows(6)[["x1", "x2"]].assign(shop="berlin", user=list("abcdef"))
    np.testing.assert_allclose(loaded.predict(rows), fleets.fitted(1).predict(rows[["x1", "x2"]]), rtol=1e-12)
    assert len(loaded.predict(loaded.input_example)) == len(loaded.input_example)
    assert [note.partition(" with any type")[0] for note in logged.notes] == (
        ["signature.mode=union declares 'shop'"] if mode == "union" else []
    )


@pytest.mark.build
@pytest.mark.parametrize(
    ("pattern", "notes"),
    [
        # The column of a pattern holds the key as its text, so it matches.
        pytest.param("^(?P<key>[a-z]+)$", [], id="answered"),
        # Nobody can make up a text for every pattern: the build says so, and goes on.
        pytest.param(
            "^shop-(?P<key>[a-z]+)/",
            [
                (
                    "the router refused its made-up input example: 2 rows have no routing key "
                    "(shop), and no level takes rows without one."
                )
            ],
            id="refused",
        ),
    ],
)
def test_the_stored_example_holds_the_keys_in_text(store, request, pattern, notes):
    models = (f"+models.berlin.uri={store.folder}/any", f"+models.paris.uri={store.folder}/any")
    routing = ("routing=pattern", "routing.column=shop", f"routing.regex='{pattern}'")
    name = f"name=example_{request.node.callspec.id}"

    logged = api.build(name, *routing, *models, store.override, plugins=PLUGINS)

    with fleets.active(store.uri):
        example = mlflow.pyfunc.load_model(logged.model_uri, suppress_warnings=True).input_example
    assert list(example["shop"]) == ["berlin", "paris"]
    assert list(logged.notes) == notes


# -- parts that build on others --------------------------------------------------------------------------------------


def lookup(name: str, part: str) -> tuple[str, ...]:
    """A part that is looked up by another one."""
    where = f"routing.keys.{name}"
    return (f"+routing@{where}=lookup", f"{where}.part={part}", f"+{where}.values={{berlin:east}}")


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        pytest.param(
            (*lookup("city", "region"), *lookup("region", "city")),
            "routing.keys.city: these parts depend on one another: city -> region -> city.\n  Break the circle.",
            id="two",
        ),
        pytest.param(
            (*lookup("a", "b"), *lookup("b", "c"), *lookup("c", "a")),
            "routing.keys.a: these parts depend on one another: a -> b -> c -> a.\n  Break the circle.",
            id="three",
        ),
        pytest.param(
            lookup("region", "region"),
            "routing.keys.region: these parts depend on one another: region -> region.\n  Break the circle.",
            id="itself",
        ),
        pytest.param(
            ("+routing@routing.keys.shop=column", "routing.keys.shop.column=shop", *lookup("region", "shp")),
            "routing.keys.region: it depends on 'shp', which is no key part.\n  Did you mean 'shop'? Key parts: shop.",
            id="unknown-part",
        ),
    ],
)
def test_parts_that_cannot_be_computed(refused, parts, found):
    """A part comes after those that it builds on, so there must be such an order."""
    assert refused(*parts, "+models.all={uri:ANY,key:{}}", "routing.levels=[[]]") == [found]


def test_parts_are_computed_in_their_own_order(validate):
    """In the config a part may stand before the one that it builds on."""
    parts = (*lookup("region", "shop"), "+routing@routing.keys.shop=column", "routing.keys.shop.column=shop")

    fleet = validate(*parts, "routing.levels=[[region]]", "+models.east={uri:ANY,key:{region:east}}")

    assert [part.name for part in fleet.spec.routing.parts] == ["region", "shop"]


@pytest.mark.parametrize(
    ("levels", "found"),
    [
        pytest.param(
            "[[shp],[region]]",
            "routing.levels[0]: 'shp' is no key part.\n  Did you mean 'shop'? Key parts: region, shop, size.",
            id="unknown-part",
        ),
        pytest.param("[[region],[shop],[region]]", "routing.levels[2]: duplicate level.", id="twice"),
        pytest.param(
            "[[shop,region],[region,shop]]", "routing.levels[1]: duplicate level.", id="twice-in-another-order"
        ),
        pytest.param("[[region,region]]", "routing.levels[0]: duplicate part.", id="part-twice"),
        pytest.param("[[region],[],[]]", "routing.levels[2]: duplicate level.", id="global-twice"),
        pytest.param("[]", "routing.levels: there are no levels.", id="none"),
        pytest.param("region", "routing.levels: ", id="no-list"),
    ],
)
def test_wrong_levels(refused, levels, found):
    """One problem, at the level."""
    (problem,) = refused(*THREE, f"routing.levels={levels}", "+models.east={uri:ANY,key:{region:east}}")

    assert problem.startswith(found)


@pytest.mark.parametrize(
    ("model", "levels", "found"),
    [
        pytest.param(
            "+models.rest={uri:ANY,key:{}}",
            "[[region]]",
            "routing.levels: 'rest' has no key (the global sub-model), and no level does.\n"
            "  Set routing.levels=[[region],[]].",
            id="global",
        ),
        pytest.param(
            "+models.far={uri:ANY,key:{shop:oslo,region:east}}",
            "[[region]]",
            "routing.levels: 'far' has the parts region, shop, and no level does.\n"
            "  Set routing.levels=[[region,shop],[region]].",
            id="two-parts-before-one-of-them",
        ),
        pytest.param(
            "+models.small={uri:ANY,key:{size:small}}",
            "[[region],[]]",
            "routing.levels: 'small' has the parts size, and no level does.\n"
            "  Set routing.levels=[[region],[size],[]].",
            id="before-the-global-one",
        ),
    ],
)
def test_sub_models_at_no_level(refused, model, levels, found):
    """A sub-model that no level ever asks for, with the levels that would."""
    problems = refused(*THREE, f"routing.levels={levels}", "+models.east={uri:ANY,key:{region:east}}", model)

    assert found in problems


def test_a_level_that_only_arms_are_at(refused):
    """An arm is a variant of a main sub-model at the same level."""
    models = ("+models.east={uri:ANY,key:{region:east}}", "+models.rest={uri:ANY,key:{},arm:canary}")

    (problem,) = refused(*THREE, "routing.levels=[[region],[]]", *models)

    assert problem.startswith("models.rest: 'rest' of arm 'canary' has no main sub-model for its key.")


# -- options of the parts --------------------------------------------------------------------------------------------

EAST = ("+models.east={uri:ANY,key:{region:east}}", "routing.levels=[[region]]")


@pytest.mark.parametrize(
    ("table", "found"),
    [
        pytest.param(
            "shop,region\nberlin,east\nparis,west\nberlin,north\n",
            "routing.keys.region.table: table.csv answers 1 key in two ways: 'berlin'.\n"
            "  Keep one row for each value of 'shop'.",
            id="two-answers",
        ),
        pytest.param(
            "shop,regon\nberlin,east\n",
            "routing.keys.region.to: table.csv has no column 'region'.\n  Did you mean 'regon'?",
            id="no-such-column",
        ),
        pytest.param(None, "routing.keys.region.table: there is no file {cwd}/table.csv.", id="no-table"),
        pytest.param(
            "shop,region\nberlin,\n,east\n",
            "routing.keys.region.table: table.csv has no row with both 'shop' and 'region'.",
            id="nothing-in-it",
        ),
    ],
)
def test_wrong_tables(refused, tmp_path, monkeypatch, table, found):
    """A look-up table is read before anything is built; its faults have the option's path."""
    monkeypatch.chdir(tmp_path)
    if table is not None:
        (tmp_path / "table.csv").write_text(table)
    where = "routing.keys.region"
    parts = ("+routing@routing.keys.shop=column", "routing.keys.shop.column=shop", f"+routing@{where}=lookup")

    (problem,) = refused(*parts, f"{where}.part=shop", f"{where}.table=table.csv", f"{where}.to=region", *EAST)

    assert problem.startswith(found.format(cwd=tmp_path))


def test_a_wrong_part_is_one_problem(refused):
    """The levels and keys that name it are not wrong: that it is no key part would be untrue."""
    where = "routing.keys.region"
    parts = ("+routing@routing.keys.shop=column", "routing.keys.shop.column=shop", f"+routing@{where}=lookup")
    both = (f"{where}.part=shop", f"{where}.table=t.csv", f"{where}.to=region", f"+{where}.values={{berlin:east}}")

    problems = refused(*parts, *both, *EAST)

    assert problems == ["routing.keys.region: table and values are both given; keep one."]


@pytest.mark.parametrize(
    ("bins", "found"),
    [
        pytest.param(
            "{low:[null,1],high:[0.5,null]}",
            "routing.bins: 'low' and 'high' overlap; a bin starts where the one before it ends, or above.",
            id="overlap",
        ),
        pytest.param(
            "{high:[1,null],low:[null,1]}",
            "routing.bins: 'low' stands after 'high' and starts below it; write them in ascending order.",
            id="order",
        ),
        pytest.param(
            "{low:[2,1]}", "routing.bins.low: it goes from 2 to 1; its end must be above its start.", id="end"
        ),
        pytest.param("{low:[1]}", "routing.bins.low: an interval is [from, to], and this has 1 values; ", id="one-end"),
        pytest.param("{}", "routing.bins: there are no bins; ", id="none"),
    ],
)
def test_wrong_bins(refused, bins, found):
    """Intervals that do not say where every number belongs."""
    options = ("routing=bins", "routing.column=x1", f"+routing.bins={bins}" if bins != "{}" else "routing.column=x2")

    (problem,) = refused(*options, "+models.low.uri=ANY")

    assert problem.startswith(found)


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        pytest.param(
            "{key:big,when:{column:x1,operator:gt,value:0}}",
            "routing.rules[0].when.operator: there is no operator 'gt'. Known: ",
            id="unknown-operator",
        ),
        pytest.param(
            "{key:big,when:{column:x1,operator:'=',value:0}}",
            "routing.rules[0].when.operator: there is no operator '='. Did you mean '=='?",
            id="another-languages-operator",
        ),
        pytest.param("{key:big,when:{column:x1}}", "routing.rules[0].when", id="no-operator"),
    ],
)
def test_wrong_rules(refused, rule, found):
    """A rule that cannot be read is told with its number, and with what there is."""
    problems = refused("routing=rules", f"routing.rules=[{rule}]", "+models.big.uri=ANY")

    assert problems[0].startswith(found)


# -- sub-models that no row can reach --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routing", "models", "warned"),
    [
        pytest.param(
            ["routing=bins", "routing.column=x1", "+routing.bins={low:[null,0],high:[0,null]}"],
            {"low": "low", "high": "high", "hihg": "hihg"},
            ["routing.keys.x1: no row reaches 'hihg'. It gives: high, low."],
            id="bins",
        ),
        pytest.param(
            ["routing=datepart", "routing.column=ts"],
            {f"day{day}": day for day in range(8)},
            ["routing.keys.ts: no row reaches 'day7'. It gives: 0, 1, 2, 3, 4, 5, 6."],
            id="weekdays",
        ),
        pytest.param(
            [
                "routing=rules",
                "routing.rules=[{key:big,when:{column:x1,operator:'>',value:0}}]",
                "routing.otherwise=small",
            ],
            {"big": "big", "small": "small", "tiny": "tiny", "none": "nothing"},
            ["routing.keys.rules: no row reaches 'none' and 1 more. It gives: big, small."],
            id="rules",
        ),
        pytest.param(
            ["routing=hash", "routing.columns=[user]", "+routing.shares={a:0.5,b:0.5}"],
            {"a": "a", "b": "b", "c": "c"},
            ["routing.keys.hash: no row reaches 'c'. It gives: a, b."],
            id="shares",
        ),
        pytest.param(
            ["routing=bins", "routing.column=x1", "+routing.bins={low:[null,0],high:[0,null]}"],
            {"low": "low"},
            ["routing.keys.x1: no sub-model is declared for 'high', and every level uses this part."],
            id="key-without-a-sub-model",
        ),
        pytest.param(
            ["routing=datepart", "routing.column=t", "routing.part=hour"],
            {"noon": "12"},
            [
                "routing.keys.t: no sub-model is declared for "
                + ", ".join(f"'{hour}'" for hour in range(17) if hour != 12)
                + " and 7 more, and every level uses this part."
            ],
            id="many-keys-without-a-sub-model",
        ),
        pytest.param(
            ["routing=bins", "routing.column=x1", "+routing.bins={low:[null,0],high:[0,null]}"],
            {"low": "low", "high": "high"},
            [],
            id="all-match",
        ),
        pytest.param(["routing=column", "routing.column=x9"], {"any": "thing"}, [], id="a-column-can-hold-anything"),
    ],
)
def test_keys_and_sub_models_are_compared(validate, routing, models, warned):
    """A strategy that knows all its keys shows which sub-models no row reaches, and which keys have none."""
    declared = [f"+models.{id_}.uri=ANY" for id_ in models]
    part = warned[0].split(":")[0].rpartition(".")[2] if warned else routing[1].partition("=")[2]
    keys = [f"+models.{id_}.key={{{part}:{key}}}" for id_, key in models.items()]

    assert list(validate(*routing, *declared, *keys).warnings) == warned


def test_a_lookup_names_the_sub_models_that_its_table_does_not_give(validate):
    """north stands in no row of the table."""
    models = [f"+models.{name}={{uri:ANY,key:{{region:{name}}}}}" for name in ("east", "north")]

    warnings = validate(*THREE, "routing.levels=[[region],[]]", *models, "+models.rest={uri:ANY,key:{}}").warnings

    assert list(warnings) == ["routing.keys.region: no row reaches 'north'. It gives: east, west."]


def test_no_key_with_a_sub_model_is_refused(refused):
    """Where nothing could ever be answered by key, it is a mistake, with both lists."""
    bins = ("routing=bins", "routing.column=x1", "+routing.bins={low:[null,0],high:[0,null]}")

    assert refused(*bins, "+models.small.uri=ANY", "+models.big.uri=ANY") == [
        "routing.keys.x1: none of its keys has a sub-model.\n  It gives: high, low. Declared: big, small."
    ]


# -- the report ------------------------------------------------------------------------------------------------------


def test_all_problems_of_a_config_are_one_report(refused):
    """Those that only the whole fleet shows, too."""
    orphan = "+models.newer={uri:ANY,key:{shop:rome},arm:blue}"

    problems = refused(
        *ONE,
        BERLIN,
        CANARY,
        orphan,
        "+traffic.arms={canary:0.1,green:0.1}",
        "traffic.shadow=[dark]",
        "disabled_models=[x]",
    )

    assert [problem.split(":")[0] for problem in problems] == [
        "models.newer",
        "traffic.arms",
        "traffic.shadow",
        "disabled_models",
    ]


def test_problems_of_the_config_come_before_those_of_the_fleet(refused):
    """What is wrong in the text of the config is told before any sub-model is looked at."""
    problems = refused(*ONE, BERLIN, CANARY, "+traffic.arms={canary:0.7,main:0.7}", "traffic.shadow=[nobody]")

    assert [problem.split(":")[0] for problem in problems] == ["traffic.arms", "traffic.arms.main"]


# -- columns that routing and sub-models read ------------------------------------------------------------------------

ROWS = fleets.rows(30)[["x1", "x2"]]
# Features of sub-models by type: number, text, time and truth.
MIXED = ROWS.assign(note=["a", "b", "c"] * 10, seen=pd.date_range("2020-01-01", periods=30), new=ROWS["x1"] > 0)


@pytest.fixture(scope="module")
def shelf(store: Store) -> dict[str, str]:
    """Sub-models as plain MLflow model folders: by their id, with features and answers of several kinds."""
    sides = np.where(ROWS["x1"] > 0, "high", "low")
    encoded = ColumnTransformer([("all", OrdinalEncoder(), ["note", "seen", "new"])], remainder="passthrough")
    models = {
        "mixed": (make_pipeline(encoded, Ridge()).fit(MIXED, ROWS["x1"]), MIXED),
        "both": (Ridge().fit(ROWS, ROWS["x1"]), ROWS),
        "lacks": (Ridge().fit(ROWS[["x2"]], ROWS["x1"]), ROWS[["x2"]]),
        "double_answers": (LinearRegression().fit(ROWS, ROWS * [2.0, 3.0]), ROWS),
        "classes": (DecisionTreeClassifier(max_depth=1).fit(ROWS, sides), ROWS),
        "more_classes": (DecisionTreeClassifier(max_depth=1).fit(ROWS, np.where(ROWS["x2"] > 0, "low", "mid")), ROWS),
        "pipe": (make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, sides), ROWS),
    }
    paths = {}
    for id_, (model, rows) in models.items():
        paths[id_] = str(store.folder / f"shelf_{id_}")
        signature = infer_signature(rows, model.predict(rows))
        mlflow.sklearn.save_model(
            model,
            paths[id_],
            signature=signature,
            pip_requirements=fleets.pins(),
            serialization_format="cloudpickle",
        )
    return paths


RULE = "routing.rules=[{{key:mixed,when:{{column:{},operator:'{}',value:{}}}}}]"


@pytest.mark.parametrize(
    ("routing", "found"),
    [
        pytest.param(
            ["routing=pattern", "routing.column=x1", "routing.prefix_length=1"],
            "routing.keys.x1: it reads column 'x1' as string, but the sub-models declare it as double.",
            id="pattern-of-double",
        ),
        pytest.param(
            ["routing=pattern", "routing.column=seen", "routing.prefix_length=1"],
            "routing.keys.seen: it reads column 'seen' as string, but the sub-models declare it as datetime.",
            id="pattern-of-datetime",
        ),
        pytest.param(
            ["routing=datepart", "routing.column=x1"],
            "routing.keys.x1: it reads column 'x1' as datetime, but the sub-models declare it as double.",
            id="datepart-of-double",
        ),
        pytest.param(
            ["routing=datepart", "routing.column=new"],
            "routing.keys.new: it reads column 'new' as datetime, but the sub-models declare it as boolean.",
            id="datepart-of-boolean",
        ),
        pytest.param(
            ["routing=bins", "routing.column=note", "+routing.bins={mixed:[null,0]}"],
            "routing.keys.note: it reads column 'note' as double, but the sub-models declare it as string.",
            id="bins-of-string",
        ),
        pytest.param(
            ["routing=bins", "routing.column=seen", "+routing.bins={mixed:[null,0]}"],
            "routing.keys.seen: it reads column 'seen' as double, but the sub-models declare it as datetime.",
            id="bins-of-datetime",
        ),
        pytest.param(
            ["routing=rules", RULE.format("note", ">", 5)],
            "routing.keys.rules: it reads column 'note' as double, but the sub-models declare it as string.",
            id="rules-of-string-as-number",
        ),
        pytest.param(
            ["routing=rules", RULE.format("x1", "contains", "a")],
            "routing.keys.rules: it reads column 'x1' as string, but the sub-models declare it as double.",
            id="rules-of-double-as-text",
        ),
        pytest.param(
            ["routing=rules", RULE.format("x1", "<", "'2020-01-01'")],
            "routing.keys.rules: it reads column 'x1' as datetime, but the sub-models declare it as double.",
            id="rules-of-double-as-time",
        ),
        pytest.param(
            [
                "+routing@routing.keys.hour=datepart",
                "routing.keys.hour.column=x2",
                "routing.levels=[[hour]]",
            ],
            "routing.keys.hour: it reads column 'x2' as datetime, but the sub-models declare it as double.",
            id="a-part-with-a-name",
        ),
    ],
)
def test_columns_of_another_kind(store, shelf, routing, found):
    """No row could be right for both: it is told at the key part, before anything is built."""
    with pytest.raises(ProblemsError) as caught:
        api.validate("name=kinds", *routing, f"+models.mixed.uri={shelf['mixed']}", store.override, plugins=PLUGINS)

    (problem,) = caught.value.problems
    assert f"{problem.where}: {problem.what}" == found


@pytest.mark.parametrize(
    "routing",
    [
        pytest.param(["routing=pattern", "routing.column=note", "routing.prefix_length=1"], id="pattern-of-string"),
        pytest.param(["routing=datepart", "routing.column=seen", "routing.part=year"], id="datepart-of-datetime"),
        pytest.param(["routing=datepart", "routing.column=note", "routing.part=year"], id="datepart-of-string"),
        pytest.param(["routing=bins", "routing.column=x1", "+routing.bins={mixed:[null,0]}"], id="bins-of-double"),
        pytest.param(["routing=rules", RULE.format("x1", "<=", 5)], id="rules-of-double"),
        pytest.param(["routing=rules", RULE.format("x1", "==", 5)], id="rules-of-double-that-equals"),
        pytest.param(["routing=rules", RULE.format("note", "starts_with", "a")], id="rules-of-string"),
        pytest.param(["routing=rules", RULE.format("note", "==", "a")], id="rules-of-string-that-equals"),
        pytest.param(["routing=rules", RULE.format("seen", ">=", "'2020-01-01'")], id="rules-of-datetime"),
        pytest.param(
            ["routing=rules", "routing.rules=[{key:mixed,when:{column:new,operator:not_missing}}]"],
            id="rules-of-presence",
        ),
        pytest.param(["routing=column", "routing.column=x1"], id="keys-are-of-any-type"),
        pytest.param(["routing=hash", "routing.columns=[x1,seen]", "+routing.shares={mixed:1}"], id="hashes-too"),
    ],
)
def test_columns_of_the_same_kind(store, shelf, routing):
    """Routing may read what sub-models read, too."""
    fleet = api.validate("name=kinds", *routing, f"+models.mixed.uri={shelf['mixed']}", store.override, plugins=PLUGINS)

    assert fleet.warnings == ()


# -- the classes of a gate -------------------------------------------------------------------------------------------


def gate(shelf: dict[str, str], *voting: str, model: str = "jury", keys: tuple[str, ...]) -> list[str]:
    """A gate that lets others vote, or ``model`` of the shelf; and a sub-model for each key."""
    voters = [f"+models.{id_}={{uri:'{shelf[id_]}',key:none}}" for id_ in voting or (model,)]
    jury = [f"+models.jury={{combine:{{kind:vote,of:[{','.join(voting)}]}},key:none}}"] if voting else []
    answering = [f"+models.to_{key}={{uri:'{shelf['both']}',key:{{gate:{key}}}}}" for key in keys]
    return ["routing=gate", f"routing.model={model}", *voters, *jury, *answering]


NOT_KNOWN = "routing.keys.gate: the gate {!r} has no classes, so the keys that it gives are not known and not checked."
LACKS = "routing.keys.gate: no sub-model is declared for {!r}, and every level uses this part."
UNREACHED = "routing.keys.gate: no row reaches {!r}. It gives: {}."


@pytest.mark.parametrize(
    ("voting", "model", "keys", "warned"),
    [
        pytest.param([], "both", ("1", "2"), [NOT_KNOWN.format("both")], id="regressor"),
        pytest.param([], "classes", ("high", "low"), [], id="classifier"),
        pytest.param([], "pipe", ("low",), [LACKS.format("high")], id="pipeline"),
        pytest.param(["both", "both_again"], "jury", ("1", "2"), [NOT_KNOWN.format("jury")], id="vote-of-regressors"),
        pytest.param(["classes", "pipe"], "jury", ("high", "low"), [], id="vote-of-one-kind"),
        pytest.param(["classes", "more_classes"], "jury", ("high", "low", "mid"), [], id="vote-of-two-kinds"),
        pytest.param(["classes", "more_classes"], "jury", ("high", "low"), [LACKS.format("mid")], id="vote-lacks"),
        pytest.param(
            ["classes", "more_classes"],
            "jury",
            ("high", "low", "mid", "top"),
            [UNREACHED.format("to_top", "high, low, mid")],
            id="vote-never-gives",
        ),
    ],
)
def test_classes_of_a_gate(store, shelf, voting, model, keys, warned):
    """Its keys are the classes of the sub-model, or of those that vote; that they are not known is said."""
    paths = {**shelf, "both_again": shelf["both"]}
    config = gate(paths, *voting, model=model, keys=keys)

    fleet = api.validate("name=gates", *config, store.override, plugins=PLUGINS)

    assert list(fleet.warnings) == warned


def test_no_class_of_a_vote_has_a_sub_model(store, shelf):
    """Nothing could ever be answered: it is refused, with both lists."""
    with pytest.raises(ProblemsError) as caught:
        api.validate("name=gates", *gate(shelf, "classes", "pipe", keys=("a", "b")), store.override, plugins=PLUGINS)

    assert str(caught.value) == (
        "routing.keys.gate: none of its keys has a sub-model.\n  It gives: high, low. Declared: a, b."
    )


# -- circles of combinations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "circle"),
    [
        pytest.param({"a": "a"}, "a -> a", id="itself"),
        pytest.param({"a": "b", "b": "a"}, "a -> b -> a", id="two"),
        pytest.param({"a": "b", "b": "c", "c": "a", "d": "a"}, "a -> b -> c -> a", id="three"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "build"])
def test_a_circle_of_combinations_needs_no_store(tmp_path, capsys, command, models, circle):
    """It stands in the config itself: exit code 2, and no store is asked, or made where there is none."""
    declared = [f"+models.{id_}.combine={{kind:mean,of:[{of}]}}" for id_, of in models.items()]

    code = main([command, "name=circle", *ONE, *declared, f"tracking.uri=sqlite:///{tmp_path}/nowhere/mlflow.db"])

    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err == f"error: models.a.combine.of: these combine one another: {circle}.\n  Break the circle.\n"
    assert list(tmp_path.iterdir()) == []


# -- what the router declares ----------------------------------------------------------------------------------------


@pytest.mark.build
def test_a_column_that_routing_reads_is_required(store, shelf):
    """signature.mode=union: that one sub-model does without it does not make it optional, as every row needs it."""
    models = [
        f"+models.small={{uri:'{shelf['lacks']}',key:{{x1:small}}}}",
        f"+models.large={{uri:'{shelf['both']}',key:{{x1:large}}}}",
    ]
    bins = ("routing=bins", "routing.column=x1", "+routing.bins={small:[null,0],large:[0,null]}")

    logged = api.build("name=needed", *bins, *models, "signature.mode=union", store.override, plugins=PLUGINS)

    with fleets.active(store.uri):
        declared = mlflow.models.get_model_info(logged.model_uri).signature.inputs
        loaded = mlflow.pyfunc.load_model(logged.model_uri)
    assert {column.name: column.required for column in declared} == {"x1": True, "x2": True}
    assert np.isfinite(loaded.predict(ROWS)).all()
    with pytest.raises(MlflowException, match="x1"):
        loaded.predict(ROWS[["x2"]])


@pytest.mark.build
def test_a_column_that_only_one_sub_model_has_stays_optional(store, shelf):
    """What routing does not read is not needed by every row."""
    models = [f"+models.{id_}={{uri:'{shelf[id_]}',key:{{shop:{id_}}}}}" for id_ in ("lacks", "both")]

    logged = api.build("name=optional", *ONE, *models, "signature.mode=union", store.override, plugins=PLUGINS)

    with fleets.active(store.uri):
        declared = mlflow.models.get_model_info(logged.model_uri).signature.inputs
    assert {column.name: column.required for column in declared} == {"shop": True, "x1": False, "x2": True}


@pytest.mark.build
@pytest.mark.parametrize("mode", ["checked", "union"])
def test_annotated_answers_of_two_numbers(store, shelf, mode):
    """output.annotate=true: each of them is a column, declared as it is answered."""
    model = f"+models.berlin.uri={shelf['double_answers']}"
    options = (f"name=two_{mode}", *ONE, model, f"signature.mode={mode}", "output.annotate=true", store.override)

    logged = api.build(*options, plugins=PLUGINS)

    with fleets.active(store.uri):
        declared = mlflow.models.get_model_info(logged.model_uri).signature.outputs
        loaded = mlflow.pyfunc.load_model(logged.model_uri)
    answer = pd.DataFrame(loaded.predict(ROWS.assign(shop="berlin")))
    names = ["prediction_0", "prediction_1", "model_id", "model_version", "reason", "arm"]
    assert declared.input_names() == names
    assert [kind.name for kind in declared.input_types()] == ["double"] * 2 + ["string"] * 4
    assert answer.columns.tolist() == names
    np.testing.assert_allclose(answer[names[:2]], ROWS * [2.0, 3.0], rtol=1e-9)
    assert answer["model_id"].tolist() == ["berlin"] * 30
