"""Training files of every kind: read as the other commands read them, or named with what is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmeframe import api
from mmeframe.errors import ConfigError, MmeframeError
from tests import fleets

TABLE = pd.DataFrame({"k": np.repeat([1, 2], 30), "x": np.arange(60.0), "y": np.arange(60.0) / 2, "é": "ü"})


def train(store, path, *routing):
    return api.train(
        "name=files",
        *(routing or ("routing=column", "routing.column=k")),
        f"train.reader.path={path}",
        "train.target=y",
        "train.features.numeric=[x]",
        "train.estimator.class=sklearn.linear_model.Ridge",
        store.override,
        plugins=fleets.plugins(),
    )


WRITE = {
    "rows.CSV": lambda path: TABLE.to_csv(path, index=False),
    "rows.jsonl": lambda path: TABLE.to_json(path, orient="records", lines=True, force_ascii=False),
    "rows.JSON": lambda path: TABLE.to_json(path, orient="records"),
    "rows.Parquet": lambda path: TABLE.to_parquet(path),
    "rows.tsv": lambda path: TABLE.to_csv(path, index=False, sep="\t"),
    "rows.csv.gz": lambda path: TABLE.to_csv(path, index=False),
    "rows.ndjson.gz": lambda path: TABLE.to_json(path, orient="records", lines=True),
    "rows.feather": lambda path: TABLE.to_feather(path),
    "by-key": lambda path: TABLE.to_parquet(path, partition_cols=["k"]),
    "byte-order-mark.csv": lambda path: TABLE.to_csv(path, index=False, encoding="utf-8-sig"),
    "indexed.parquet": lambda path: TABLE.set_index("k").to_parquet(path),
}


@pytest.mark.build
@pytest.mark.parametrize("name", WRITE)
def test_files_of_every_kind(module_store, tmp_path, name):
    """Whatever case their ending has, and wherever pandas put the key."""
    WRITE[name](tmp_path / name)

    assert [(model.key, model.rows) for model in train(module_store, tmp_path / name).models] == [("1", 24), ("2", 24)]


@pytest.mark.parametrize(
    ("name", "content", "what", "hint"),
    [
        pytest.param("r.csv", TABLE.to_csv(index=False).encode("latin-1"), "'utf-8' codec", "UTF-8", id="latin-1"),
        pytest.param("r.jsonl", b'{"k": "\xe9"}\n', "'utf-8' codec", "UTF-8", id="jsonl-latin-1"),
        pytest.param("r.csv", b"", "No columns to parse", "", id="empty-csv"),
        pytest.param("r.jsonl", b"", "no column 'y'", "", id="empty-jsonl"),
        pytest.param("r.json", b"[{", "Expecting", "", id="broken-json"),
        pytest.param("r.json", b'{"k": {"0": 1}}', "a list of records", "", id="json-of-columns"),
        pytest.param("r.jsonl", b'{"k": 1}\n{"k"', "line 2: ", "", id="broken-jsonl"),
        pytest.param("r.parquet", b"PAR1", "cannot be read: ", "", id="broken-parquet"),
        pytest.param("r.csv", b'k,x,y\n1,2,"3\n', "Error tokenizing", "", id="open-quote"),
        pytest.param("r.csv", b"k,x,x\n1,2,3\n", "'x' twice", "", id="a-name-twice"),
        pytest.param("r.csv", b"k,x,y\n", "nothing to train", "", id="no-rows"),
        pytest.param("r.xlsx", b"PK", "is none of .csv, .tsv, ", "", id="another-kind"),
        pytest.param("r.csv", b"k,x,y\n1,2,\n", "nothing to train", "", id="no-targets"),
    ],
)
def test_files_that_cannot_be_read_are_named(module_store, tmp_path, name, content, what, hint):
    """The option that names the file, what is wrong, and a cure where there is one."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(MmeframeError) as caught:
        train(module_store, tmp_path / name)

    assert caught.value.where.startswith("train")
    assert what in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.build
def test_a_frame_with_numbered_columns(module_store, importable):
    """Names are text, in a table too."""
    importable("numbered_rows", "import tests.train.test_training_files as t\nrows = t.numbered()\n")
    made = api.train(
        "name=numbered",
        "routing=column",
        "routing.column='1'",
        "train.reader.object=numbered_rows:rows",
        "train.target='3'",
        "train.features.numeric=['2']",
        "train.estimator.class=sklearn.linear_model.Ridge",
        module_store.override,
        plugins=fleets.plugins(),
        allow=["numbered_rows:rows"],
    )

    assert [model.key for model in made.models] == ["1", "2"]


def numbered() -> pd.DataFrame:
    return TABLE[["k", "x", "y"]].set_axis([1, 2, 3], axis=1).sort_index(ascending=False)


# -- key parts that build on others ----------------------------------------------------------------------------------


@pytest.mark.build
def test_a_looked_up_part_is_trained(module_store, tmp_path):
    """Its key is what the table says of the other part."""
    TABLE.to_csv(tmp_path / "rows.csv", index=False)
    routing = [
        "+routing@routing.keys.k=column",
        "routing.keys.k.column=k",
        "+routing@routing.keys.group=lookup",
        "routing.keys.group.part=k",
        f"routing.keys.group.table={tmp_path / 'groups.csv'}",
        "routing.keys.group.to=group",
        "train.key=group",
    ]
    (tmp_path / "groups.csv").write_text("k,group\n1,first\n2,second\n")

    made = api.train(
        "name=looked",
        *routing,
        f"train.reader.path={tmp_path / 'rows.csv'}",
        "train.target=y",
        "train.features.numeric=[x]",
        "train.estimator.class=sklearn.linear_model.Ridge",
        module_store.override,
        plugins=fleets.plugins(),
    )

    assert [(model.key, model.rows) for model in made.models] == [("first", 24), ("second", 24)]


def test_a_gate_is_refused_by_name(module_store, tmp_path):
    """Its sub-model would have to be asked, and there is no fleet yet; what to do instead is said."""
    TABLE.to_csv(tmp_path / "rows.csv", index=False)

    with pytest.raises(ConfigError) as caught:
        api.train(
            "name=gated",
            "+routing@routing.keys.g=gate",
            "routing.keys.g.model=clusters",
            "+models.clusters={uri:'models:/clusters@champion',key:none}",
            f"train.reader.path={tmp_path / 'rows.csv'}",
            "train.target=y",
            "train.features.numeric=[x]",
            "train.estimator.class=sklearn.linear_model.Ridge",
            module_store.override,
            plugins=fleets.plugins(),
        )

    assert str(caught.value) == (
        "train.key: the key part 'g' is what a sub-model answers (clusters), which training does not do.\n"
        "  Score the table with it first, and train on the column of its answers: routing=column."
    )


@pytest.mark.build
def test_a_parameter_is_a_column_of_the_table(module_store, tmp_path):
    """Requests carry the key as a parameter, a table in a column of the same name; one without it is told so."""
    TABLE.to_csv(tmp_path / "rows.csv", index=False)

    made = train(module_store, tmp_path / "rows.csv", "routing=param", "routing.param=k")
    assert [model.key for model in made.models] == ["1", "2"]
    with pytest.raises(ConfigError, match="column 'kk' is missing") as caught:
        train(module_store, tmp_path / "rows.csv", "routing=param", "routing.param=kk")
    assert caught.value.where == "train.key"


# -- keys and rows that nothing can be made of -----------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize(
    ("keys", "suffix"),
    [
        pytest.param(["007", "7", "8"], ".csv", id="leading-zeros"),
        pytest.param(["TRUE", "True", "x"], ".csv", id="booleans"),
        pytest.param(["1e3", "1000", "x"], ".csv", id="exponent"),
        pytest.param(["7.0", "7", "x"], ".jsonl", id="point"),
    ],
)
def test_keys_that_no_router_takes_together(module_store, tmp_path, keys, suffix):
    """A build refuses two keys that a CSV reader makes one: training says so before it registers them."""
    table, path = pd.DataFrame({"k": keys * 10, "x": np.arange(30.0), "y": np.arange(30.0)}), tmp_path / f"rows{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_json(path, orient="records", lines=True)

    with pytest.raises(ConfigError, match="1 key and another key differ only in spelling") as caught:
        train(module_store, path, "routing=column", "routing.column=k", "train.min_rows=1")

    assert caught.value.where == "routing.keys.k"
    # One that is not trained is nobody's.
    table[table["k"] != keys[0]].to_csv(tmp_path / "rows.csv", index=False)
    made = train(module_store, tmp_path / "rows.csv", "routing=column", "routing.column=k", "train.min_rows=1")
    assert {model.key for model in made.models} == {*keys[1:]}


@pytest.mark.parametrize("rows", ["", "1,2,\n"], ids=["none", "without-a-target"])
def test_no_rows_for_the_sub_model_of_all(module_store, tmp_path, rows):
    """It needs a row too."""
    (tmp_path / "rows.csv").write_text(f"k,x,y\n{rows}")

    with pytest.raises(ConfigError) as caught:
        train(module_store, tmp_path / "rows.csv", "routing=column", "routing.column=k", "train.global_as=all")

    assert "there is nothing to train" in str(caught.value)
    assert "no row with a target" in caught.value.hint


@pytest.mark.build
def test_keys_whose_name_can_be_read_in_two_ways(module_store, tmp_path):
    """A router that reads them from the tags of what was trained takes them."""
    table = pd.DataFrame({"a": ["a-b", "x"] * 10, "b": ["c", "y"] * 10, "x": np.arange(20.0), "y": np.arange(20.0)})
    table.to_csv(tmp_path / "rows.csv", index=False)
    parts = [[f"+routing@routing.keys.{part}=column", f"routing.keys.{part}.column={part}"] for part in "ab"]
    overrides = ("name=tagged", *parts[0], *parts[1], "routing.levels=[[a,b]]", module_store.override)
    trained = ("train.key=[a,b]", "train.register_as='tagged_{a}-{b}'", "train.min_rows=1")
    learnt = (f"train.reader.path={tmp_path / 'rows.csv'}", "train.target=y", "train.features.numeric=[x]")
    api.train(
        *overrides, *trained, *learnt, "train.estimator.class=sklearn.linear_model.Ridge", plugins=fleets.plugins()
    )

    source = ("+source@sources.s=registry", "sources.s.name='tagged_*'", "+sources.s.key={a: tags.a, b: tags.b}")
    fleet = api.validate(*overrides, *source, plugins=fleets.plugins())

    assert [model.id for model in fleet.models] == ["tagged_a-b-c", "tagged_x-y"]
