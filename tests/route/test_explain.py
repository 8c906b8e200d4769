"""Questions at the desk: what a table reaches (validate), why a row goes its way (explain), what changes (plan)."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.cluster import KMeans

from mmeframe import api
from mmeframe.cli import main
from mmeframe.errors import BadInputError, ModelError
from mmeframe.plugin import canonical, manager
from mmeframe.rows.shares import fraction
from tests import fleets
from tests.conftest import Done, Store

# Shops, else their region. Half of berlin's users are in the arm fresh; paris is disabled; lyon is in no table below.
SHOPS = (
    "+routing@routing.keys.shop=column",
    "routing.keys.shop.column=shop",
    "+routing@routing.keys.region=lookup",
    "routing.keys.region.part=shop",
    "+routing.keys.region.values={berlin:east,dresden:east,paris:west}",
    "routing.levels=[[shop],[region]]",
    "+models.berlin={uri:'models:/berlin/1',key:{shop:berlin}}",
    "+models.paris={uri:'models:/paris/1',key:{shop:paris}}",
    "+models.lyon={uri:'models:/paris/1',key:{shop:lyon}}",
    "+models.east={uri:'models:/east/1',key:{region:east}}",
    "+models.newer={uri:'models:/berlin/2',key:{shop:berlin},arm:fresh}",
    "+traffic.arms.fresh=0.5",
    "traffic.sticky=[user]",
    "disabled_models=[paris]",
)
USERS = ["ada", "ida", "cyd", "dan", "eve", "fay", "gus"]
TABLE = pd.DataFrame(
    {
        "user": USERS,
        "shop": ["berlin", "berlin", "berlin", "dresden", "paris", "rome", None],
        "x1": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        "x2": 0.5,
    }
)
FRESH = [user for user in USERS[:3] if fraction("fresh", [canonical(user)]) < 0.5]


@pytest.fixture(scope="module")
def store(template_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with berlin in two versions, paris and east, and the router ``shops`` of SHOPS."""
    folder = tmp_path_factory.mktemp("explain")
    shutil.copy(template_store / "mlflow.db", folder / "mlflow.db")
    rows = fleets.rows(5)[["x1", "x2"]]
    with fleets.inside(folder), fleets.active(f"sqlite:///{folder}/mlflow.db"):
        for seed, name in enumerate(("berlin", "berlin", "paris", "east")):
            fleets.log_sklearn(fleets.fitted(seed), name, rows)
    found = Store(folder)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(manager, "_distributions", list)
        assert main(["build", "name=shops", *SHOPS, found.override]) == 0
    return found


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Only built-in plugins, in a folder of the test's own; what a command changes for its process is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(manager, "_distributions", list)
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "ERROR")
    level = logging.getLogger("mmeframe").level
    yield
    logging.getLogger("mmeframe").setLevel(level)


Run = Callable[..., Done]


@pytest.fixture
def run(run: Run, store: Store) -> Run:
    """Run a command line in this process, on this module's store."""
    return lambda *argv: run(*argv, store.override)


@pytest.fixture
def table(tmp_path: Path) -> str:
    TABLE.to_csv(tmp_path / "rows.csv", index=False)
    return "data=rows.csv"


CONFIG = pytest.param(("name=shops", *SHOPS), id="config-alone")
LOGGED = pytest.param(("model=models:/shops/1",), id="logged-router")
EITHER = pytest.mark.parametrize("which", [CONFIG, LOGGED])


def test_the_table_meets_both_arms():
    """A precondition of the tests below: of berlin's users some are in the arm, and some are not."""
    assert FRESH
    assert set(FRESH) < set(USERS[:3])


# -- validate --data -------------------------------------------------------------------------------------------------


@EITHER
def test_coverage_for_people(run, table, which):
    """How many rows reach a sub-model and why, each key with its rows, and what is reached by nobody."""
    done = run("validate", *which, table)

    lost = "shop=paris, region=west; shop=rome, region=(missing); shop=(missing), region=(missing)"
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        "ok: 5 sub-models, 2 columns, levels: shop then region",
        "coverage: 4 of 7 rows (57.14%): exact 3, level:region 1, missing_key 2, disabled 1",
        "5 keys",
        "key rows sub-model reason",
        "shop=berlin, region=east 3 berlin exact",
        "shop=dresden, region=east 1 east level:region",
        "shop=paris, region=west 1 (none) disabled",
        "shop=rome, region=(missing) 1 (none) missing_key",
        "shop=(missing), region=(missing) 1 (none) missing_key",
        f"keys without a sub-model: {lost}",
        "sub-models that no row reaches: lyon; paris",
    ]


@EITHER
def test_coverage_as_json(run, table, which):
    """The same for machines: keys with null for what is missing."""
    found = run("validate", "--json", *which, table).json

    assert (found["ok"], found["sub_models"], found["columns"], found["warnings"]) == (True, 5, 2, [])
    coverage = found["coverage"]
    assert (coverage["rows"], coverage["covered"], coverage["coverage"]) == (7, 4, pytest.approx(4 / 7))
    assert coverage["reasons"] == {"exact": 3, "level:region": 1, "disabled": 1, "missing_key": 2}
    assert [(it["key"], it["rows"], it["model_id"], it["reason"]) for it in coverage["keys"]] == [
        ({"shop": "berlin", "region": "east"}, 3, "berlin", "exact"),
        ({"shop": "dresden", "region": "east"}, 1, "east", "level:region"),
        ({"shop": "paris", "region": "west"}, 1, None, "disabled"),
        ({"shop": "rome", "region": None}, 1, None, "missing_key"),
        ({"shop": None, "region": None}, 1, None, "missing_key"),
    ]
    assert coverage["without_model"] == coverage["keys"][2:]
    assert (coverage["unreached"], coverage["faults"], coverage["promoted"]) == (["lyon", "paris"], [], {})


def test_without_a_table_nothing_is_said_of_coverage(run):
    """validate alone checks the fleet."""
    done = run("validate", "--json", "name=shops", *SHOPS)

    assert done.json == {"ok": True, "sub_models": 5, "columns": 2, "warnings": []}


@EITHER
@pytest.mark.parametrize(("least", "code"), [(0.57, 0), (0.58, 1), (1, 1), (0, 0)])
def test_the_gate_of_coverage(run, table, which, least, code):
    """validate.min_coverage: below it the exit code is 1, for people and for machines, and the report is whole."""
    done = run("validate", *which, table, f"validate.min_coverage={least}")
    found = run("validate", "--json", *which, table, f"validate.min_coverage={least}")

    said = f"error: validate.min_coverage: 57.1429% of the rows reach a sub-model, not {least:.4%}.\n"
    assert (done.code, done.err) == (code, said if code else "")
    assert (found.code, found.json["ok"]) == (code, not code)
    assert found.json["coverage"]["covered"] == 4
    assert done.lines[1].startswith("coverage: 4 of 7 rows")


@EITHER
def test_the_gate_needs_a_table(run, which):
    """Without rows there is nothing to measure: a usage error."""
    done = run("validate", *which, "validate.min_coverage=0.5")

    assert (done.code, done.out) == (2, "")
    assert done.err == "error: --data: validate.min_coverage needs a table.\n  Name one with --data FILE.\n"


@EITHER
def test_columns_of_the_table_are_checked(run, which, tmp_path):
    """What is wrong with the columns is told as well: reaching a sub-model is not enough."""
    bad = TABLE.drop(columns="x2").assign(x1="text", x22=1.0)
    bad.to_csv(tmp_path / "bad.csv", index=False)

    done = run("validate", *which, "data=bad.csv")

    (line,) = [line for line in done.lines if line.startswith("predict would refuse this table: ")]
    assert "column 'x1' must be double: it is" in line
    assert "column 'x2' (double) is missing." in line
    assert "Did you mean 'x22'?" in line


@EITHER
@pytest.mark.parametrize("command", ["validate", "explain"])
def test_a_table_without_the_key(run, which, command, tmp_path):
    """Without the key's column nothing can be said: exit 1, with the columns that were sent."""
    TABLE.drop(columns="shop").to_csv(tmp_path / "bad.csv", index=False)

    done = run(command, *which, "data=bad.csv")

    assert (done.code, done.out) == (1, "")
    assert done.err == "error: column 'shop' is missing.\n  Columns sent: user, x1, x2.\n"


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl"])
def test_other_formats_cover_the_same(run, table, tmp_path, suffix):
    """A table means the same in every format."""
    rows = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        TABLE.to_parquet(rows)
    else:
        TABLE.to_json(rows, orient="records", lines=suffix == ".jsonl")

    assert (
        run("validate", "model=models:/shops/1", f"data={rows}").out
        == run("validate", "model=models:/shops/1", table).out
    )


def test_a_table_of_many_pieces(store, tmp_path, monkeypatch):
    """A long table is read in pieces: counts are of the whole, and rows are numbered through."""
    monkeypatch.setattr(importlib.import_module("mmeframe.route.explain"), "_ROWS", 1000)
    long = pd.concat([TABLE] * 1500, ignore_index=True)
    long.to_parquet(tmp_path / "long.parquet")

    found = api.coverage("name=shops", *SHOPS, store.override, data=tmp_path / "long.parquet")
    explained = api.explain(store.override, data=tmp_path / "long.parquet", model="models:/shops/1")

    assert (found["rows"], found["covered"]) == (10_500, 6_000)
    assert [it["rows"] for it in found["keys"]] == [4_500, 1_500, 1_500, 1_500, 1_500]
    assert [it["row"] for it in explained] == list(range(10_500))
    assert [it["reason"] for it in explained[-7:]] == [it["reason"] for it in explained[:7]]


def test_a_shadow_is_not_called_unreachable(run, table):
    """Its rows are those of its main sub-model: that none is routed to it is what a shadow is."""
    overrides = [line for line in SHOPS if line != "+traffic.arms.fresh=0.5"]

    found = run("validate", "--json", "name=shops", *overrides, "traffic.shadow=[fresh]", table).json

    assert found["coverage"]["unreached"] == ["lyon", "paris"]


def test_columns_with_several_types_are_listed(run, store, table):
    """A column that one sub-model has as long and another as double."""
    rows = pd.DataFrame({"x1": [1, 2, 3], "x2": [0.0, 1.0, 0.5]})
    with fleets.inside(store.folder), fleets.active(store.uri):
        fleets.log_sklearn(fleets.fitted(0).fit(rows, rows["x2"]), "whole", rows)
    overrides = [line.replace("models:/east/1", "models:/whole/1") for line in SHOPS]

    done = run("validate", "name=promoted", *overrides, table)

    assert done.lines[-1] == "columns with several types: x1 (double, long)"
    assert "column 'x1' is double and long in different sub-models" in done.err


# -- explain ---------------------------------------------------------------------------------------------------------


@EITHER
def test_explain_for_people(run, table, which):
    """Each row with its key, what every level said until one matched, arm, sub-model, version and reason."""
    done = run("explain", *which, table)

    def berlin(row: int, user: str) -> str:
        if user in FRESH:
            return f"{row} shop=berlin, region=east shop: berlin, arm fresh: newer fresh newer 2 exact"
        return f"{row} shop=berlin, region=east shop: berlin main berlin 1 exact"

    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        "7 rows",
        "row key route arm sub-model version reason",
        *(berlin(row, user) for row, user in enumerate(USERS[:3])),
        "3 shop=dresden, region=east shop: no sub-model, then region: east main east 1 level:region",
        "4 shop=paris, region=west shop: paris is disabled, then region: no sub-model disabled",
        "5 shop=rome, region=(missing) shop: no sub-model, then region: region missing missing_key",
        "6 shop=(missing), region=(missing) shop: shop missing, then region: region missing missing_key",
    ]


@EITHER
def test_explain_as_json(run, table, which):
    """The same for machines."""
    rows = run("explain", "--json", *which, table).json["rows"]

    assert len(rows) == 7
    assert rows[3] == {
        "row": 3,
        "key": {"shop": "dresden", "region": "east"},
        "route": [{"level": "shop", "found": "no sub-model"}, {"level": "region", "found": "east"}],
        "arm": "main",
        "model_id": "east",
        "model_version": "1",
        "reason": "level:region",
    }
    assert rows[6] == {
        "row": 6,
        "key": {"shop": None, "region": None},
        "route": [{"level": "shop", "found": "shop missing"}, {"level": "region", "found": "region missing"}],
        "arm": None,
        "model_id": None,
        "model_version": None,
        "reason": "missing_key",
    }


@EITHER
def test_explain_says_what_predict_does(run, table, which, store):
    """For rows that are answered: the same sub-model, version, arm and reason, of many users."""
    rows = pd.DataFrame({"user": [f"user {number}" for number in range(60)], "x1": 1.0, "x2": 2.0})
    rows["shop"] = ["berlin", "dresden", "lyon"] * 20
    rows.to_csv("many.csv", index=False)
    router = api.load_router("models:/shops/1", tracking_uri=store.uri)

    explained = run("explain", "--json", *which, "data=many.csv").json["rows"]

    answer = router.predict(rows, {"annotate": True})
    assert set(answer["arm"]) == {"main", "fresh"}
    for name in ("model_id", "model_version", "arm", "reason"):
        assert [it[name] for it in explained] == answer[name].tolist()


@EITHER
def test_explain_needs_a_table(run, which):
    """Without rows there is nothing to explain: a usage error that shows how."""
    done = run("explain", *which)

    assert (done.code, done.out) == (2, "")
    assert done.err == "error: --data: explain needs a table.\n  mmeframe explain --data rows.csv\n"


@EITHER
def test_explain_of_no_rows(run, which):
    """A table without rows has no answers, and is no error."""
    TABLE.head(0).to_csv("empty.csv", index=False)

    assert run("explain", "--json", *which, "data=empty.csv").json == {"ok": True, "rows": []}


@EITHER
@pytest.mark.parametrize("command", ["validate", "explain"])
def test_a_parameter_that_nothing_reads_is_refused(run, table, which, command):
    """As in predict: a misspelt parameter would silently do nothing."""
    done = run(command, *which, table, '--params={"shp": "berlin"}')

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: there is no parameter 'shp'.")


BY_PARAM = (
    "name=by_param",
    "routing=param",
    "routing.param=shop",
    "+models.berlin={uri:'models:/berlin/1',key:{shop:berlin}}",
)


def test_explain_with_a_parameter(run, table):
    """A routing parameter is the key of all rows."""
    rows = run("explain", "--json", *BY_PARAM, table, '--params={"shop": "berlin"}').json["rows"]

    assert [(it["key"], it["model_id"]) for it in rows] == [({"shop": "berlin"}, "berlin")] * 7


def test_explain_without_its_parameter(run, table):
    """Left out, it is an error here as in predict."""
    done = run("explain", *BY_PARAM, table)

    assert (done.code, done.out) == (1, "")
    assert "parameter 'shop' was not given" in done.err


@pytest.fixture(scope="module")
def gated(store: Store) -> tuple[str, ...]:
    """Overrides of a router whose key is the cluster of x1 and x2."""
    rows = fleets.rows(30)[["x1", "x2"]]
    with fleets.inside(store.folder), fleets.active(store.uri):
        fleets.log_sklearn(KMeans(2, n_init=2, random_state=0).fit(rows), "clusters", rows)
    return (
        "name=gated",
        "routing=gate",
        "routing.model=clusters",
        "+models.clusters={uri:'models:/clusters/1',key:none}",
        "+models.zero={uri:'models:/berlin/1',key:{gate:0}}",
        "+models.one={uri:'models:/paris/1',key:{gate:1}}",
        store.override,
    )


def test_explain_asks_a_gate_before_anything_is_built(gated, tmp_path):
    """The gate's own files are loaded, and no other sub-model's."""
    rows = fleets.rows(20)[["x1", "x2"]]
    rows.to_parquet(tmp_path / "rows.parquet")
    clusters = KMeans(2, n_init=2, random_state=0).fit(fleets.rows(30)[["x1", "x2"]]).predict(rows)

    found = api.explain(*gated, data=tmp_path / "rows.parquet")

    assert set(clusters) == {0, 1}
    assert [it["model_id"] for it in found] == [["zero", "one"][cluster] for cluster in clusters]
    assert [it["key"] for it in found] == [{"gate": str(cluster)} for cluster in clusters]


def test_a_gate_is_not_asked_about_an_empty_table(gated, tmp_path):
    """Libraries refuse tables without rows."""
    fleets.rows(3)[["x1", "x2"]].head(0).to_parquet(tmp_path / "empty.parquet")

    assert api.explain(*gated, data=tmp_path / "empty.parquet") == []
    assert api.coverage(*gated, data=tmp_path / "empty.parquet")["rows"] == 0


def test_a_gate_that_fails_is_named(gated, tmp_path):
    """As in a router: the sub-model and the kind of error, not the library's text, which may hold rows."""
    rows = fleets.rows(3)[["x1", "x2"]]
    rows.loc[1, "x1"] = None
    rows.to_parquet(tmp_path / "rows.parquet")

    with pytest.raises(ModelError) as caught:
        api.explain(*gated, data=tmp_path / "rows.parquet")

    assert str(caught.value) == "clusters: its predict failed with ValueError."


def test_a_gates_column_is_needed(gated, tmp_path):
    """It is named as for any sub-model."""
    fleets.rows(3)[["x1"]].to_parquet(tmp_path / "rows.parquet")

    with pytest.raises(BadInputError, match=r"column 'x2' \(double\) is missing"):
        api.explain(*gated, data=tmp_path / "rows.parquet")


# -- plan: what would change -----------------------------------------------------------------------------------------


def difference(run: Run, *overrides: str) -> dict[str, Any]:
    """The difference as JSON, without the fields in which there is none."""
    found = run("plan", "--json", *overrides).json["plan"]["difference"]
    return {name: value for name, value in found.items() if value}


def changed(*lines: str, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The config of ``shops``, with some lines more and some less."""
    kept = [line for line in SHOPS if not any(line.startswith(start) for start in without)]
    return ("name=shops", *kept, *lines)


def test_plan_before_the_first_build(run):
    """Nothing to compare with: said in one line."""
    done = run("plan", "name=unheard_of", *SHOPS)

    assert (done.code, done.err) == (0, "")
    assert done.lines[-1] == "nothing is registered yet: every sub-model is new"
    assert difference(run, "name=unheard_of", *SHOPS) == {"added": ["berlin", "east", "lyon", "newer", "paris"]}


def test_plan_registers_nothing(run, store):
    """A plan leaves the store as it was."""
    client = MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)

    def content() -> tuple[int, int, list[str]]:
        models = client.search_logged_models(["0"])
        names = sorted(model.name for model in client.search_registered_models())
        return len(client.search_runs(["0"])), len(models), names

    before = content()

    run("plan", "name=unheard_of", *SHOPS)
    run("plan", "name=shops", *SHOPS)

    assert content() == before


def test_plan_of_what_is_built(run):
    """The same config again: no difference, against the newest version."""
    done = run("plan", "name=shops", *SHOPS)

    assert done.code == 0
    assert done.lines[-2:] == ["against models:/shops/1:", "no difference"]
    assert difference(run, "name=shops", *SHOPS) == {"against": "models:/shops/1"}


def test_plan_of_a_change_of_everything(run):
    """Sub-models that come, go, change their version and take another one's key, and the routing and traffic."""
    config = changed(
        "+models.berlin={uri:'models:/berlin/2',key:{shop:berlin}}",
        "+models.marseille={uri:'models:/paris/1',key:{shop:lyon}}",
        "routing.on_unknown=skip",
        "+traffic.arms.fresh=0.75",
        without=("+models.berlin", "+models.lyon", "+traffic.arms"),
    )

    done = run("plan", *config)

    assert done.code == 0
    assert done.lines[-8:] == [
        "against models:/shops/1:",
        "added: marseille",
        "removed: lyon",
        "changed: berlin: berlin 1 -> berlin 2",
        "retargeted: shop=lyon, arm main: lyon -> marseille",
        "routing: keys, levels or on_unknown differ",
        "traffic: arms or shares differ",
        "answer: columns, types or what may be null differ",
    ]
    assert difference(run, *config) == {
        "against": "models:/shops/1",
        "added": ["marseille"],
        "removed": ["lyon"],
        "changed": [{"id": "berlin", "from": "berlin 1", "to": "berlin 2"}],
        "retargeted": [{"key": {"shop": "lyon"}, "arm": "main", "from": "lyon", "to": "marseille"}],
        "routing": True,
        "traffic": True,
        "answer": True,
    }


def test_plan_of_an_arm_that_gets_another_sub_model(run):
    """The arm is part of the place that is taken over."""
    config = changed("+models.newest={uri:'models:/berlin/2',key:{shop:berlin},arm:fresh}", without=("+models.newer",))

    assert difference(run, *config)["retargeted"] == [
        {"key": {"shop": "berlin"}, "arm": "fresh", "from": "newer", "to": "newest"}
    ]


def test_plan_against_a_router_that_is_named(run):
    """--model: any router, whatever the config's own name is."""
    config = ("name=unheard_of", *SHOPS, "+models.rome={uri:'models:/paris/1',key:{shop:rome}}")

    done = run("plan", *config, "model=models:/shops/1")

    assert done.lines[-2:] == ["against models:/shops/1:", "added: rome"]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        pytest.param(
            "models:/berlin/1", "error: --model: models:/berlin/1 is not a router of mmeframe.\n", id="no-router"
        ),
        pytest.param(
            "models:/shps/1",
            "error: there is no registered model 'shps'.\n  Did you mean 'shops'? Registered: ",
            id="no-such-model",
        ),
        pytest.param(
            "models:/shops/7",
            "error: registered model 'shops' has no version '7'.\n  Its versions: 1.",
            id="no-version",
        ),
    ],
)
def test_plan_against_what_is_no_router(run, uri, said):
    """A router that was named and is not there is an error, not an empty comparison."""
    done = run("plan", "name=shops", *SHOPS, f"model={uri}")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(said)


def test_plan_of_a_logged_router_alone(run):
    """Without a config there is nothing to compare: what the router holds is shown."""
    assert run("plan", "model=models:/shops/1").out == run("show", "model=models:/shops/1").out


@pytest.mark.parametrize(
    ("config", "about"),
    [
        pytest.param(
            changed("+models.lyon={uri:'models:/paris/1',key:{shop:nice}}", without=("+models.lyon",)),
            "lyon",
            id="another-key",
        ),
        pytest.param(
            changed("+models.lyon={uri:'models:/paris/1',key:{shop:lyon},loader:pyfunc}", without=("+models.lyon",)),
            "lyon",
            id="another-loader",
        ),
        pytest.param(changed("disabled_models=[]", without=("disabled_models",)), "disabled", id="disabled-models"),
        pytest.param(changed("output.on_error=skip"), "output", id="output"),
        pytest.param(changed("+observer@observers.lines=log"), "observers", id="observers"),
    ],
)
def test_every_change_is_a_difference(run, config, about):
    """What builds another router is never called no difference; the line names what it is about."""
    done = run("plan", *config)

    after = done.lines[done.lines.index("against models:/shops/1:") + 1 :]
    assert after != ["no difference"]
    assert any(about in line for line in after)


@pytest.mark.build
def test_another_way_to_combine_is_a_difference(run):
    """A combination of the same sub-models that answers something else has changed."""
    pair = "+models.pair={{combine:{{kind:{},of:[berlin,paris]{}}},key:{{shop:rome}}}}"
    weighted = [pair.format("weighted", f",weights:{weights}") for weights in ("[1,2]", "[2,1]")]
    assert run("build", "name=pairs", *SHOPS, weighted[0]).code == 0

    same = difference(run, "name=pairs", *SHOPS, weighted[0])
    others = [difference(run, "name=pairs", *SHOPS, line) for line in (weighted[1], pair.format("mean", ""))]

    assert same == {"against": "models:/pairs/1"}
    assert [[it["id"] for it in other.get("changed", [])] for other in others] == [["pair"], ["pair"]]


# -- tables without rows, and numbers in several formats -------------------------------------------------------------


@EITHER
def test_json_that_says_nothing(run, which, tmp_path):
    """``[]`` names no columns: it is a table without rows, and nothing is missing in it."""
    (tmp_path / "none.json").write_text("[]")

    validated = run("validate", "--json", *which, "data=none.json")
    explained = run("explain", "--json", *which, "data=none.json")

    assert (validated.code, explained.code) == (0, 0)
    assert explained.json == {"ok": True, "rows": []}
    coverage = validated.json["coverage"]
    assert (coverage["rows"], coverage["covered"], coverage["keys"], coverage["faults"]) == (0, 0, [], [])
    assert coverage["unreached"] == ["berlin", "east", "lyon", "newer", "paris"]


@EITHER
def test_json_that_says_nothing_for_people(run, which, tmp_path):
    """The same in words, without an error."""
    (tmp_path / "none.json").write_text("[]")

    validated = run("validate", *which, "data=none.json")
    explained = run("explain", *which, "data=none.json")

    assert (validated.code, validated.err) == (explained.code, explained.err) == (0, "")
    assert validated.lines[1].startswith("coverage: 0 of 0 rows ")
    assert explained.lines[0] == "0 rows"


@EITHER
@pytest.mark.parametrize("least", [0, 0.5, 1])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("none.json", "[]", id="json"),
        pytest.param("none.jsonl", "", id="jsonl"),
        pytest.param("none.csv", "user,shop,x1,x2\n", id="csv"),
    ],
)
def test_the_gate_of_coverage_needs_rows(run, which, least, name, text, tmp_path):
    """A table without rows covers nothing: it is said, and the exit code is 1, also for machines."""
    (tmp_path / name).write_text(text)

    done = run("validate", *which, f"data={name}", f"validate.min_coverage={least}")
    found = run("validate", "--json", *which, f"data={name}", f"validate.min_coverage={least}")

    assert (done.code, done.err) == (1, f"error: validate.min_coverage: {name} has no rows.\n")
    assert (found.code, found.json["ok"], found.json["coverage"]["rows"]) == (1, False, 0)


# Rows by a size, which no sub-model reads.
LARGE = "{key:large,when:{column:size,operator:'==',value:500}}"
MEDIUM = "{key:medium,when:{column:size,operator:in,value:[2.5,7]}}"
BY_SIZE = (
    "routing=rules",
    f"routing.rules=[{LARGE},{MEDIUM}]",
    "routing.otherwise=other",
    "+models.large={uri:'models:/berlin/1',key:{rules:large}}",
    "+models.medium={uri:'models:/paris/1',key:{rules:medium}}",
    "+models.other={uri:'models:/east/1',key:{rules:other}}",
)
SIZES = pd.DataFrame({"size": [500.0, 2.5, 7.0, 1e3, None, 500.5], "x1": 1.0, "x2": 0.5})
OF_SIZE = ["large", "medium", "medium", "other", "other", "other"]


@pytest.fixture(scope="module")
def by_size(store: Store) -> str:
    """The URI of a router by size."""
    return api.build("name=by_size", *BY_SIZE, store.override).model_uri


@pytest.mark.parametrize("write", ["csv", "csv-of-text", "parquet", "parquet-of-float32", "json", "jsonl"])
def test_numbers_equal_in_every_format(by_size, store, tmp_path, write):
    """500.0 is 500, however it is written: explain, of config and router, coverage and predict agree on each row."""
    rows = tmp_path / f"sizes.{write.partition('-')[0]}"
    if write == "csv":
        SIZES.to_csv(rows, index=False)
    elif write == "csv-of-text":
        rows.write_text("size,x1,x2\n500.00,1,0.5\n2.50,1,0.5\n7,1,0.5\n1e3,1,0.5\n,1,0.5\n500.5,1,0.5\n")
    elif rows.suffix == ".parquet":
        SIZES.astype({"size": "float32" if "float32" in write else "float64"}).to_parquet(rows)
    else:
        SIZES.to_json(rows, orient="records", lines=write == "jsonl")
    out = tmp_path / "scored.csv"

    of_config = api.explain("name=by_size", *BY_SIZE, store.override, data=rows)
    of_router = api.explain(store.override, model=by_size, data=rows)
    covered = api.coverage("name=by_size", *BY_SIZE, store.override, data=rows)
    api.predict_table(by_size, rows, out, annotate=True, tracking_uri=store.uri)

    assert [it["model_id"] for it in of_config] == OF_SIZE
    assert [it["model_id"] for it in of_router] == OF_SIZE
    assert {it["model_id"]: it["rows"] for it in covered["keys"]} == {"large": 1, "medium": 2, "other": 3}
    assert pd.read_csv(out)["model_id"].tolist() == OF_SIZE


# -- arms that are disabled ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_fresh(store: Store) -> tuple[str, ...]:
    """The config of ``shops`` whose arm is disabled, and built under a name of its own."""
    config = ("name=without_fresh", *SHOPS, "disabled_models=[paris,newer]")
    config = tuple(line for line in config if line != "disabled_models=[paris]")
    api.build(*config, store.override)
    return config


@pytest.mark.parametrize("logged", [False, True], ids=["config-alone", "logged-router"])
def test_an_arm_that_is_disabled_is_named(run, table, without_fresh, logged):
    """Its rows go to the main sub-model: the route says why their reason is ``disabled``, and others' do not."""
    which = ("model=models:/without_fresh/1",) if logged else without_fresh

    done = run("explain", *which, table)
    rows = run("explain", "--json", *which, table).json["rows"][:3]

    said = {True: "arm fresh is disabled: berlin", False: "berlin"}
    assert [it["route"] for it in rows] == [[{"level": "shop", "found": said[it in FRESH]}] for it in USERS[:3]]
    assert [(it["arm"], it["model_id"]) for it in rows] == [("main", "berlin")] * 3
    assert [it["reason"] for it in rows] == ["disabled" if user in FRESH else "exact" for user in USERS[:3]]
    berlin = [f"shop: {said[user in FRESH]} main berlin 1" for user in USERS[:3]]
    assert all(shown in line for shown, line in zip(berlin, done.lines[2:5], strict=True))


@pytest.mark.parametrize("disabled", ["newer", "berlin", "berlin,newer"])
def test_disabled_sub_models_of_one_key(run, table, monkeypatch, disabled):
    """Main, arm or both: what the route says of a row that the arm would take, and of one that it would not."""
    monkeypatch.setenv("MMEFRAME_DISABLED_MODELS", disabled)
    said = {
        "newer": ("arm fresh is disabled: berlin", "berlin"),
        "berlin": ("berlin, arm fresh: newer", "berlin is disabled"),
        "berlin,newer": ("berlin is disabled", "berlin is disabled"),
    }[disabled]

    rows = run("explain", "--json", "model=models:/shops/1", table).json["rows"][:3]

    assert [it["route"][0]["found"] for it in rows] == [said[user not in FRESH] for user in USERS[:3]]


@pytest.mark.build
def test_plan_of_files(run, store):
    """They are compared with those of the newest version, and not with those of another router; the budget is shown."""
    path = store.folder / "a.pkl"
    path.write_bytes(pickle.dumps(fleets.fitted(0)))
    argv = ("name=of_files", "routing=column", "routing.column=shop", f"+models.a={{uri:'{path}',key:{{shop:a}}}}")
    bounded = ("residency=lazy", "residency.max_bytes=2MiB", "residency.pin=[a]")
    run("build", *argv, *bounded)

    assert run("plan", *argv, *bounded).lines[-2:] == ["against models:/of_files/1:", "no difference"]
    assert run("plan", "name=another", *argv[1:], *bounded, "model=models:/of_files/1").lines[-2:] == [
        "no difference",
        "files on disk are not compared: build says how many of them changed",
    ]
    path.write_bytes(pickle.dumps(fleets.fitted(1)) + b" ")
    assert run("plan", *argv, *bounded).lines[-2:] == ["against models:/of_files/1:", "other files: a"]
    assert "memory lazy, max_bytes=2.0 MiB, pin=a" in run("show", "model=models:/of_files/1").lines
