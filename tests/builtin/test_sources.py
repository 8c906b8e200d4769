"""Tables and folders of sub-models: what their rows and files become, and what is wrong with them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from mmeframe.builtin.folder import FolderConf, FolderSource
from mmeframe.builtin.manifest import ManifestConf, ManifestSource
from mmeframe.builtin.template import TemplateConf, TemplateSource
from mmeframe.errors import ConfigError, MissingError, ProblemsError
from mmeframe.plugin import SourceContext
from mmeframe.testing import ModelSourceConformance, SourceCase, parametrize_with_checks
from tests import fleets
from tests.fleets import plugins

ROWS = [
    {"id": "a", "uri": "models:/a/1", "store": 7, "region": "eu", "arm": "main", "loader": "sklearn", "flavor": None},
    {"id": "b", "uri": "models:/b/1", "store": 8, "region": None, "arm": None, "loader": None, "flavor": "sklearn"},
    {"id": "a", "uri": "models:/a/2", "store": 7, "region": "eu", "arm": "canary", "loader": None, "flavor": None},
    {"id": "all", "uri": "models:/all/1", "store": None, "region": "", "arm": "", "loader": None, "flavor": None},
]


LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS)
PARTS = ("store", "region")
FILES = {f"models/{region}/{store}.pkl": b"" for region in ("eu", "us") for store in (1, 2)}


@pytest.mark.process
@pytest.mark.smoke
class TestOnFiles(ModelSourceConformance):
    """What every source promises: those that read files, or nothing."""

    cases = (
        SourceCase(
            "manifest",
            options={"path": "m.jsonl"},
            files={"m.jsonl": LINES},
            parts=PARTS,
            expected=["a", "a", "all", "b"],
        ),
        SourceCase(
            "folder",
            options={"path": "models", "pattern": "{region}/{store}.pkl"},
            files=FILES,
            parts=PARTS,
            expected={f"{r}/{s}": {"region": r, "store": s} for r in ("eu", "us") for s in (1, 2)},
        ),
        SourceCase(
            "template",
            options={"each": {"store": [7, "08"]}, "uri": "models:/shop_{store}@champion"},
            parts=PARTS,
            expected={"the_case_7": {"store": 7}, "the_case_08": {"store": "08"}},
        ),
    )


STORED = [
    SourceCase(
        "registry",
        options={"name": "day_{dow}"},
        parts=("dow",),
        expected={f"day_{day}": {"dow": day} for day in range(7)},
    ),
    SourceCase("logged_models", options={"filter": "tags.dow LIKE '%'", "key": {"dow": "tags.dow"}}, parts=("dow",)),
]


@pytest.mark.process
@parametrize_with_checks(STORED)
def test_on_a_store(case, check, week):
    """What every source promises: those that ask MLflow's active store."""
    with fleets.active(week.uri):
        check(case)


def test_all_sources_are_checked():
    """A new one joins the list."""
    registered = plugins().registered["model source"].items()

    assert {name for name, entry in registered if entry.plugin.name == "builtin"} == {
        case.kind for case in (*TestOnFiles.cases, *STORED)
    }


def write(path, rows):
    table = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix in (".arrow", ".feather"):
        table.astype({"store": "Int64"}).to_feather(path)
    elif path.suffix in (".csv", ".gz", ".tsv"):
        table.astype("object").assign(store=table.store.astype("Int64")).to_csv(
            path, index=False, sep="\t" if path.suffix == ".tsv" else ","
        )
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return str(path)


def expand(source, parts=("store", "region")):
    source.bind(SourceContext(name="s", parts=parts))
    return list(source.expand())


def manifest(path):
    return expand(ManifestSource(ManifestConf(path=str(path))))


def folder(path, pattern, parts=("store", "region")):
    return expand(FolderSource(FolderConf(path=str(path), pattern=pattern)), parts)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".ndjson", ".tsv", ".csv.gz", ".json", ".arrow"])
def test_a_row_is_a_sub_model(tmp_path, suffix):
    """Whole numbers stay whole beside empty cells, which mean any; arms, loaders and flavors are optional."""
    found = manifest(write(tmp_path / f"m{suffix}", ROWS))

    keys = [{part: str(value) for part, value in entry.key.items()} for entry in found]
    assert keys == [{"store": "7", "region": "eu"}, {"store": "8"}, {"store": "7", "region": "eu"}, {}]
    assert [entry.arm for entry in found] == ["main", "main", "canary", "main"]
    assert [entry.loader for entry in found] == ["sklearn", "auto", "auto", "auto"]
    assert [entry.flavor for entry in found] == ["auto", "sklearn", "auto", "auto"]
    assert found[2].origin == "sources.s row 3"


def test_all_faults_of_a_manifest_come_at_once(tmp_path):
    """With the numbers of their rows, the first five of each kind."""
    rows = [{"id": f"m{n}", "uri": None if n < 7 else "models:/a/1", "store": 2.5} for n in range(9)]
    rows += [{"id": "", "uri": "models:/a/1", "store": True}]

    with pytest.raises(ProblemsError) as caught:
        manifest(write(tmp_path / "m.jsonl", rows))

    wrong = ", ".join(f"row {row} (the float 2.5)" for row in range(1, 6))
    assert [problem.what for problem in caught.value.problems] == [
        "id must be text, and not empty: row 10.",
        "uri must be text, and not empty: rows 1, 2, 3, 4, 5 and 2 more.",
        f"the key part 'store' cannot be a key: {wrong} and 5 more.",
    ]


@pytest.mark.parametrize(
    ("column", "values", "text"),
    [
        pytest.param("id", ["a", "b", "a", "a"], "several rows have one id: 'a' (rows 1, 3, 4).", id="id"),
        pytest.param("arm", ["", "b c", "9", "x"], "letters, digits and underscores: row 2 ('b c'), row 3", id="arm"),
    ],
)
def test_ids_and_arms_of_a_manifest(tmp_path, column, values, text):
    """An id stands once in each arm; an arm's name is one."""
    rows = [{"id": f"m{n}", "uri": "u", "store": n, column: value} for n, value in enumerate(values)]

    with pytest.raises(ProblemsError) as caught:
        manifest(write(tmp_path / "m.csv", rows))

    assert text in str(caught.value)


def test_a_line_that_is_no_object(tmp_path):
    """The line is named."""
    (tmp_path / "m.jsonl").write_text('{"id": "a", "uri": "b"}\n[1]\n{\n', encoding="utf-8")

    with pytest.raises(ConfigError, match="line 2 is no record"):
        manifest(tmp_path / "m.jsonl")


def test_a_manifest_of_another_kind(tmp_path):
    """The kinds are listed."""
    touch(tmp_path, "m.xlsx")

    with pytest.raises(ConfigError, match=r"m\.xlsx is none of \.csv, \.tsv, \.json, \.jsonl, \.ndjson"):
        manifest(tmp_path / "m.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        pytest.param("m.csv", b"", "No columns to parse", id="empty"),
        pytest.param("m.csv", "id,uri\n".encode("utf-16"), "can't decode", id="utf-16"),
        pytest.param("m.csv", b"id,uri\na,b\na,b,c\n", "Expected 2 fields in line 3", id="ragged"),
        pytest.param("m.parquet", b"id,uri\na,b\n", "Parquet magic bytes not found", id="no-parquet"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path, name, content, why):
    """The option and the file are named; it is a mistake of the config."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        manifest(tmp_path / name)

    assert caught.value.where == "sources.s.path"
    assert f"{name} cannot be read: " in caught.value.what
    assert why in caught.value.what


def test_files_below_a_folder(tmp_path):
    """Parts are read from each name of the path; ids are stems, and paths where one stem is in several folders."""
    touch(tmp_path, "eu/1.pkl", "us/1.pkl", "us/2.x.pkl", "us/readme.md", "us/.3.pkl", "top.pkl", "eu/deep/4.pkl")

    found = folder(tmp_path, "{region}/{store}.pkl")

    assert [(entry.id, entry.key) for entry in found] == [
        ("eu/1", {"region": "eu", "store": "1"}),
        ("us/1", {"region": "us", "store": "1"}),
        ("2.x", {"region": "us", "store": "2.x"}),
    ]
    assert found[0].uri == str(tmp_path / "eu/1.pkl")


def test_model_folders_below_a_folder(tmp_path):
    """A pattern without a dot finds folders that hold a file MLmodel; ids keep their dots."""
    touch(tmp_path, "v1.2/MLmodel", "empty/other", "file")

    assert [(entry.id, entry.key) for entry in folder(tmp_path, "{store}")] == [("v1.2", {"store": "v1.2"})]


def test_links_are_followed(tmp_path):
    """Also out of the folder."""
    touch(tmp_path, "real/1.pkl", "elsewhere/2.pkl")
    (tmp_path / "real/2.pkl").symlink_to(tmp_path / "elsewhere/2.pkl")

    assert [entry.id for entry in folder(tmp_path / "real", "{store}.pkl")] == ["1", "2"]


def test_a_link_that_leads_nowhere(tmp_path):
    """It is a model that is missing, not one that was never there."""
    (tmp_path / "1.pkl").symlink_to(tmp_path / "gone.pkl")

    with pytest.raises(ProblemsError) as caught:
        folder(tmp_path, "{store}.pkl")

    assert str(caught.value) == "sources.s: these links lead nowhere: 1.pkl."


@pytest.mark.parametrize(
    ("path", "pattern", "text"),
    [
        pytest.param("gone", "{store}.pkl", "gone does not exist.", id="no-folder"),
        pytest.param("a_b_c.pkl", "{store}.pkl", "a_b_c.pkl is no folder.", id="file"),
        pytest.param(".", "x_{store}.pkl", "matches 'x_{store}.pkl'.", id="no-match"),
        pytest.param(".", "/{store}.pkl", "'/{store}.pkl' is no path below a folder.", id="absolute"),
        pytest.param(".", "../{store}.pkl", "'../{store}.pkl' is no path below a folder.", id="outside"),
        pytest.param(".", "{stor}.pkl", "{stor} is no key part.", id="part"),
        pytest.param(".", "{store}/{store}.pkl", "{store} occurs twice", id="twice"),
    ],
)
def test_a_folder_that_brings_nothing(tmp_path, path, pattern, text):
    """What is not there, or cannot match."""
    touch(tmp_path, "a_b_c.pkl")

    with pytest.raises((MissingError, ConfigError)) as caught:
        folder(tmp_path / path, pattern)

    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("names", "pattern", "text"),
    [
        pytest.param(["a_b_c.pkl"], "{store}_{region}.pkl", "be read in two ways by '{store}_{region}.pkl': a_b_c.pkl.",
                     id="two-ways"),
        pytest.param(["a.joblib", "a.pkl"], "{store}.*", "a.joblib and a.pkl have one id, 'a'.", id="one-id"),
    ],
)  # fmt: skip
def test_files_that_are_not_clear(tmp_path, names, pattern, text):
    """No reading of an ambiguous name is right, and no order of two files."""
    touch(tmp_path, *names)

    with pytest.raises(ProblemsError) as caught:
        folder(tmp_path, pattern)

    assert text in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "{store.__class__}",
        "{store[0]}",
        "{store!r}",
        "{store:>1000000000}",
        "{0}",
        "{}",
        "{stor}",
        "{store",
        "{store:{store}}",
    ],
)
def test_a_template_has_parts_in_braces_and_nothing_else(uri):
    """Python's formats reach into values, and one of ten letters makes a text of a gigabyte."""
    with pytest.raises(ConfigError, match="is no pattern over the parts"):
        expand(TemplateSource(TemplateConf(each={"store": ["a"]}, uri=f"models:/{uri}")), PARTS)


def test_a_template_of_too_many_combinations():
    """They are counted, not made."""
    each = {"store": list(range(1000)), "region": list(range(101))}

    with pytest.raises(ConfigError, match=r"its values have 101,000 combinations"):
        expand(TemplateSource(TemplateConf(each=each, uri="models:/{store}_{region}")), PARTS)
