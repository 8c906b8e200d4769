"""Everything that a source yields is a sub-model or a problem: nothing is lost, whatever stands in its fields."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeframe.errors import MissingError, Report
from mmeframe.fleet.members import Members
from mmeframe.plugin import ModelSource, ModelSourcePlugin, SourceConf, SubModelEntry, hookimpl
from mmeframe.plugin.manager import load_plugins
from mmeframe.sections import RouterSpec, RoutingSpec
from mmeframe.spec import ComponentSpec, KeyPart
from mmeframe.store.store import Store

GOOD = SubModelEntry("a", "models:/a/1", {"shop": "berlin"}, origin="sources.s")
# What the source of this module brings, in this order; an exception is raised there.
brings: list[Any] = []


@dataclass
class AnyConf(SourceConf):
    """Options of the source of this module."""


class AnySource(ModelSource[AnyConf]):
    def expand(self) -> Any:
        for thing in brings:
            if isinstance(thing, Exception | SystemExit):
                raise thing
            yield thing


@hookimpl
def mmeframe_model_sources():
    return [ModelSourcePlugin("anything", AnyConf, f"{__name__}:AnySource", "for tests")]


PLUGINS = load_plugins([__name__])
COLUMN = PLUGINS.get("routing strategy", "column", "routing").component({"column": "shop"})
OPTIONS = {"arm": "main", "signature": None, "prove": None}
SOURCE = PLUGINS.get("model source", "anything", "sources.s").component(OPTIONS)


def members(things, sources: tuple[tuple[str, ComponentSpec], ...] = (("s", SOURCE),), **more):
    """The entries of a fleet with one source that brings these things, and what is wrong, each as one text."""
    brings[:] = things
    spec = RouterSpec("r", RoutingSpec((KeyPart("shop", COLUMN),), (("shop",),)), sources=sources, **more)
    problems: list[Any] = []
    found = Members(spec, PLUGINS, Store(""), Report(problems=problems), [], []).read()
    return found, [f"{problem.where}: {problem.what}" for problem in problems]


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        pytest.param(None, "sources.s entry 2: it is a NoneType, not a SubModelEntry.", id="none"),
        pytest.param({"id": "b", "uri": "u"}, "sources.s entry 2: it is a dict, not a SubModelEntry.", id="dict"),
        pytest.param("b", "sources.s entry 2: it is a str, not a SubModelEntry.", id="text"),
        pytest.param(replace(GOOD, id=None), "sources.s entry 2: its id is None, not text.", id="id-none"),
        pytest.param(replace(GOOD, id=""), "sources.s entry 2: its id is '', not text.", id="id-empty"),
        pytest.param(replace(GOOD, id=7), "sources.s entry 2: its id is the int 7, not text.", id="id-number"),
        pytest.param(replace(GOOD, id="b", uri=None), "sources.s entry 2: its uri is None, not text.", id="uri-none"),
        pytest.param(replace(GOOD, id="b", uri=""), "sources.s entry 2: its uri is '', not text.", id="uri-empty"),
        pytest.param(replace(GOOD, id="b", uri=0), "sources.s entry 2: its uri is the int 0, not text.", id="uri-zero"),
        pytest.param(replace(GOOD, id="b", uri=Path("m")), "sources.s entry 2: its uri is the PosixPath", id="path"),
        pytest.param(replace(GOOD, id="b", arm=None), "sources.s entry 2: its arm is None; an arm's", id="arm-none"),
        pytest.param(replace(GOOD, id="b", arm=""), "sources.s entry 2: its arm is ''; an arm's name", id="arm-empty"),
        pytest.param(replace(GOOD, id="b", flavor=None), "sources.s entry 2: its flavor is None, not text.",
                     id="flavor"),
        pytest.param(replace(GOOD, id="b", loader=None), "sources.s entry 2: its loader is None, neither a name",
                     id="loader"),
        pytest.param(replace(GOOD, id="b", version=3), "sources.s entry 2: its version is the int 3, neither text",
                     id="version"),
        pytest.param(replace(GOOD, id="b", model_id=""), "sources.s entry 2: its model_id is '', neither text",
                     id="model-id"),
        pytest.param(replace(GOOD, id="b", key=["x"]), "sources.s entry 2: its key is the list ['x'], not a map",
                     id="key-list"),
        pytest.param(replace(GOOD, id="b", key={7: "x"}), "sources.s entry 2: its key is the dict {7: 'x'}, not a map",
                     id="key-name"),
        pytest.param(replace(GOOD, id="b", key={"shop": None}), "sources.s: the key part 'shop' of 'b' is null",
                     id="key-null"),
        pytest.param(replace(GOOD, id="b", key={"shop": ""}), "sources.s: the key part 'shop' of 'b' is the str ''",
                     id="key-empty"),
        pytest.param(replace(GOOD, id="b", key={"shop": False}), "sources.s: the key part 'shop' of 'b' is the bool",
                     id="key-bool"),
        pytest.param(replace(GOOD, id="b", prove=1), "sources.s entry 2: its prove is the int 1, neither true nor",
                     id="prove"),
        pytest.param(replace(GOOD, id="b", signature=0), "sources.s entry 2: its signature is the int 0, not a map of",
                     id="signature"),
        pytest.param(replace(GOOD, id="b", signature={"inputs": {"x": "double"}}), "sources.s entry 2: its signature",
                     id="signature-half"),
        pytest.param(replace(GOOD, id="b", signature={"inputs": ["x"], "outputs": "double"}),
                     "sources.s entry 2: its signature", id="signature-list"),
        pytest.param(replace(GOOD, id="b", signature={"inputs": {"x": "dbl"}, "outputs": None}),
                     "sources.s entry 2: its signature", id="signature-type"),
        pytest.param(replace(GOOD, id="b", loader={"threads": 1}), "sources.s entry 2: its loader is the dict",
                     id="loader-kind"),
        pytest.param(replace(GOOD, origin=""), "sources.s entry 2: its id 'a' is also the id of", id="no-origin"),
        pytest.param(replace(GOOD, id="b", origin=None), "sources.s entry 2: 'b' and 'a' (sources.s) are both for",
                     id="origin-none"),
        pytest.param(replace(GOOD, id="b", origin="sources.s row 9", uri=""), "sources.s row 9: its uri is ''",
                     id="own-origin"),
        pytest.param(GOOD, "sources.s: its id 'a' is also the id of an entry of sources.s.", id="twice"),
        pytest.param(replace(GOOD, uri="models:/b/1"), "sources.s: its id 'a' is also the id of an entry of", id="id"),
        pytest.param(replace(GOOD, id="b"), "sources.s: 'b' and 'a' (sources.s) are both for shop=berlin.", id="key"),
        pytest.param(ValueError("cut off"), "sources.s: anything failed: ValueError: cut off", id="raises"),
        pytest.param(SystemExit(0), "sources.s: anything failed: SystemExit: 0", id="exits"),
        pytest.param(MissingError("gone."), "sources.s: gone.", id="tells"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_sub_model_is_named(thing, said):
    """One line for each thing, with its place; the others are sub-models all the same."""
    found, problems = members([GOOD, thing, replace(GOOD, id="z", key={"shop": "zoo"})])

    assert len(problems) == 1
    assert problems[0].startswith(said)
    raises = isinstance(thing, Exception | SystemExit)
    assert [entry.id for entry in found] == (["a"] if raises else ["a", "z"])


def test_a_key_of_numbers_and_none_at_all():
    """0 is a key, numpy's too, {} is the global sub-model, None is the id: nothing of that is missing."""
    keys = {"n": {"shop": 0}, "g": {}, "i": None, "m": {"shop": np.int64(7)}}
    found, problems = members([replace(GOOD, id=id_, key=key) for id_, key in keys.items()])

    assert problems == []
    assert {entry.id: entry.key for entry in found} == {
        "n": {"shop": "0"},
        "g": {},
        "i": {"shop": "i"},
        "m": {"shop": "7"},
    }


def test_an_explicit_entry_hides_no_second_one():
    """Two things with one id stay two where an explicit entry has that id, too."""
    _, problems = members([GOOD, GOOD], models=(SubModelEntry("a", "", origin="models.a"),))

    assert problems == ["sources.s: its id 'a' is also the id of an entry of sources.s."]


def test_an_explicit_entry_mends_no_uri():
    """What a source brings is whole, or a problem: it is not lost behind an explicit entry."""
    mine = SubModelEntry("a", "models:/a/2", origin="models.a")
    _, problems = members([replace(GOOD, uri="")], models=(mine,))

    assert problems == ["sources.s entry 1: its uri is '', not text."]


def test_a_source_that_brings_nothing_is_a_problem():
    """A family is not empty by mistake."""
    assert members([]) == ([], ["sources.s: it brings no sub-models."])


ODD = st.one_of(st.none(), st.just(""), st.booleans(), st.integers(-1, 1), st.floats(), st.text(max_size=2),
                st.just([]), st.just({}), st.just(()), st.binary(max_size=1))  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["id", "uri", "key", "arm", "flavor", "loader", "name", "version", "model_id",
                                           "signature"]), ODD), max_size=4))  # fmt: skip
def test_nothing_that_a_source_yields_is_lost(changes):
    """Whatever stands in its fields: each thing is among the entries, or there is a problem."""
    things = [replace(GOOD, id=f"m{n}", key={"shop": f"k{n}"}) for n in range(len(changes))]
    things = [replace(it, **{name: value}) for it, (name, value) in zip(things, changes, strict=True)]

    found, problems = members(things)

    assert len(found) == len(things) or problems
    assert all(entry.uri and entry.id for entry in found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("a,models:/a/1\nb,\n", "uri must be text, and not empty: row 2.", id="no-uri"),
        pytest.param("a,models:/a/1\n,models:/b/1\n", "id must be text, and not empty: row 2.", id="no-id"),
        pytest.param("a,models:/a/1\n,\n", "id must be text, and not empty: row 2.", id="commas"),
        pytest.param("a,models:/a/1\nb\n", "uri must be text, and not empty: row 2.", id="short"),
        pytest.param("x,a,models:/a/1\ny,b,models:/b/1\n", "a row has more values than the header", id="long"),
    ],
)  # fmt: skip
def test_rows_of_a_csv_manifest(tmp_path, line, said):
    """Cells that are empty, left out or too many are told; no column moves."""
    (tmp_path / "m.csv").write_text(f"id,uri\n{line}")

    _, problems = members([], (("s", _source("manifest", path=str(tmp_path / "m.csv"))),))

    assert said in problems[0]


def test_a_short_row_of_a_manifest_leaves_optional_cells_empty(tmp_path):
    """As one that ends with commas."""
    (tmp_path / "m.csv").write_text("id,uri,shop,arm,loader\na,models:/a/1,berlin\nb,models:/b/1\n")

    found, problems = members([], (("s", _source("manifest", path=str(tmp_path / "m.csv"))),))

    assert problems == []
    assert [(entry.id, entry.key, entry.arm, entry.loader) for entry in found] == [
        ("a", {"shop": "berlin"}, "main", "auto"),
        ("b", {}, "main", "auto"),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param({}, "id must be text, and not empty: row 1.", id="empty"),
        pytest.param({"id": "a", "uri": 0, "shop": 1}, "uri must be text, and not empty: row 1.", id="zero"),
        pytest.param({"id": False, "uri": "u", "shop": 1}, "id must be text, and not empty: row 1.", id="false"),
        pytest.param({"id": "a", "uri": "u", "shop": False}, "the key part 'shop' cannot be a key", id="key-false"),
        pytest.param({"id": "a", "uri": "u", "shop": []}, "the key part 'shop' cannot be a key", id="key-list"),
        pytest.param({"id": "a", "uri": "u", "shop": 1, "arm": 0}, "arm must be text, or empty: row 1.", id="arm"),
    ],
)
def test_rows_of_a_manifest_of_lines(tmp_path, row, said):
    """Values that Python takes for false are values."""
    lines = [row, {"id": "z", "uri": "u", "shop": "zoo"}]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    _, problems = members([], (("s", _source("manifest", path=str(tmp_path / "m.jsonl"))),))

    assert said in problems[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({"each": {"shop": []}, "uri": "m/{shop}"}, "s.each.shop: it lists no values.", id="no-values"),
        pytest.param({"each": {"shop": ["a", None]}, "uri": "m/{shop}"}, "s: the key part 'shop' of 's_None' is null",
                     id="null"),
        pytest.param({"each": {"shop": ["a", ""]}, "uri": "m/{shop}"}, "s: the key part 'shop' of 's_' is the str ''",
                     id="empty"),
        pytest.param({"each": {"shop": [0]}, "uri": ""}, "s entry 1: its uri is '', not text.", id="no-uri"),
        pytest.param({"each": {"shop": ["a", "a"]}, "uri": "m"}, "s: its id 's_a' is also the id", id="twice"),
    ],
)  # fmt: skip
def test_values_of_a_template(options, said):
    """Each is a sub-model or told."""
    _, problems = members([], (("s", _source("template", **options)),))

    assert problems[0].startswith(f"sources.{said}")


def _source(kind, **options):
    entry = PLUGINS.get("model source", kind, "sources.s")
    return entry.component({**OPTIONS, **options})
