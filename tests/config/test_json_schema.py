"""The JSON Schema of configs: valid itself, right about every shipped and documented file, and about wrong ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mmeframe.cli import main
from mmeframe.config import conf_dir
from mmeframe.config.json_schema import json_schema
from mmeframe.config.quick_choices import WITH_KINDS as GROUPS
from mmeframe.plugin import manager
from mmeframe.plugin.manager import Plugins, isolated_plugins
from tests import run_doc

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def builtins() -> Plugins:
    """The built-in plugins only, whatever else is installed beside the tests."""
    return isolated_plugins()


@pytest.fixture(scope="module")
def schemas(builtins: Plugins) -> dict[str | None, Any]:
    """The schema of configs, and those of groups."""
    return {group: json_schema(builtins, group) for group in (None, *GROUPS)}


@pytest.fixture
def faults(schemas: dict[str | None, Any]) -> Callable[..., list[str]]:
    """Paths at which a YAML text is wrong, deepest reasons included."""

    def find(text: str, group: str | None = None) -> list[str]:
        content = json.loads(json.dumps(yaml.safe_load(text)))
        validator = jsonschema.Draft202012Validator(schemas[group])
        return sorted({".".join(map(str, error.absolute_path)) for error in validator.iter_errors(content)})

    return find


@pytest.mark.parametrize("group", [None, *GROUPS])
def test_the_schemas_are_valid(schemas, group):
    """By the metaschema; every reference leads somewhere; everything in it is plain JSON."""
    schema = schemas[group]

    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    missing = {name for name in re.findall(r'"#/\$defs/([^"]+)"', text) if name not in schema["$defs"]}
    assert missing == set()


# -- right files -----------------------------------------------------------------------------------------------------


def _shape(path: str, text: str) -> str | None:
    """The group whose schema a file needs; None for one that is a whole config."""
    group = Path(path).parent.name
    return group if group in GROUPS and "@package _global_" not in text else None


SHIPPED = sorted(path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml"))
DOCUMENTED = [
    pytest.param(block.body, id=f"{document.name}:{block.line}")
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for block in run_doc.blocks(document)
    # The tutorial's is of a plugin that is not installed.
    if block.language == "yaml" and "tutorial" not in block.words
]


@pytest.mark.parametrize("path", SHIPPED)
def test_every_shipped_file_is_right(faults, path):
    """Primary configs, experiments and files of groups."""
    text = (conf_dir() / path).read_text(encoding="utf-8")

    assert faults(text, _shape(path, text)) == []


@pytest.mark.parametrize("text", DOCUMENTED)
def test_every_documented_file_is_right(faults, text):
    """What the guides show is what an editor accepts."""
    named = re.match(r"# (\S+\.yaml)\n", text)

    assert faults(text, _shape(named[1] if named else "", text)) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("serve: {port: '${oc.env:PORT}'}", id="number"),
        pytest.param("serve: {port: '???'}", id="open-number"),
        pytest.param("output: {annotate: '${a}', on_error: '${b}'}", id="bool-and-choice"),
        pytest.param("traffic: '${other.traffic}'", id="section"),
        pytest.param("routing: {kind: bins, column: '${c}', bins: {a: ['${low}', 5]}, closed: '${d}'}", id="in-a-list"),
        pytest.param("models: {a: '${uris.a}', b: {uri: x, key: '${k}', loader: '${l}', pin: '${p}'}}", id="models"),
        pytest.param("models: {a: {combine: '${c}'}, b: {combine: {kind: '${k}', of: '${o}'}}}", id="combine"),
        pytest.param("sources: '${s}'\nobservers: '${o}'", id="maps"),
        pytest.param("sources: {s: '${t}', u: {kind: registry, key: '${k}', version: '${v}'}}", id="source"),
        pytest.param("residency: {max_bytes: '${m}', kind: '${k}', pin: '${p}'}", id="residency"),
        pytest.param("tracking: {run_name: '${name}-1', uri: null, tags: {a: '${b}', c: 1}}", id="text"),
    ],
)
def test_interpolations_are_right_wherever_a_value_may_be(faults, text):
    """``${...}`` and ``???`` stand for a value of any type."""
    assert faults(text) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("residency: {kind: lazy, max_bytes: 4GiB}", id="size-with-a-unit"),
        pytest.param("residency: {kind: lazy, max_bytes: 1000000}", id="size-in-bytes"),
        pytest.param("exclude: old_*", id="one-name"),
        pytest.param("exclude: [old_*, new]", id="several-names"),
        pytest.param("models: {a: 'models:/a/1'}", id="only-a-uri"),
        pytest.param("models: {a: {uri: x, key: none}}", id="no-key"),
        pytest.param("models: {a: {uri: x, key: {b: 1, c: 'NO', d: '${e}'}}}", id="key"),
        pytest.param("models: {a: {uri: x, loader: sklearn}}", id="loader-by-name"),
        pytest.param("models: {a: {uri: x, loader: {kind: sklearn}}}", id="loader-with-options"),
        pytest.param("models: {a: {uri: x, signature: {inputs: [a, b], outputs: double}}}", id="signature"),
        pytest.param("model_defaults: {loader: auto}", id="defaults-of-models"),
        pytest.param("routing: {levels: auto}", id="levels-auto"),
        pytest.param("routing: {levels: [[a], []], on_unknown: skip, kind: column, column: c}", id="short-form"),
        pytest.param("routing: {closed: left, column: c}", id="kind-of-another-file"),
        pytest.param("defaults: [mine, routing: mine, 'override routing': null]", id="files-of-the-users"),
        pytest.param("hydra: {sweep: {dir: x}}", id="hydra"),
    ],
)
def test_what_a_config_may_say_in_several_ways(faults, text):
    """Everything that mmeframe reads is right."""
    assert faults(text) == []


# -- wrong files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where"),
    [
        pytest.param("srve: {port: 1}", "", id="section"),
        pytest.param("serve: {prt: 1}", "serve", id="option"),
        pytest.param("serve: {port: abc}", "serve.port", id="type"),
        pytest.param("serve: {port: 65536}", "serve.port", id="range"),
        pytest.param("serve: text", "serve", id="section-of-another-type"),
        pytest.param("output: {on_error: rase}", "output.on_error", id="choice"),
        pytest.param("isolation: proces", "isolation", id="choice-without-a-section"),
        pytest.param("train: {estimator: {clas: x}}", "train.estimator", id="nested-option"),
        pytest.param("train: {holdout: 1}", "train.holdout", id="excluded-end"),
        pytest.param("traffic: {arms: {canary: 2}}", "traffic.arms.canary", id="value-of-a-map"),
        pytest.param("residency: {max_bytes: 4 apples}", "residency.max_bytes", id="size"),
        pytest.param("residency: {kind: lazzy}", "residency.kind", id="residency"),
        pytest.param("routing: {on_unknown: skp}", "routing.on_unknown", id="routings-own"),
        pytest.param("routing: {kind: colum}", "routing.kind", id="kind"),
        pytest.param("routing: {kind: column, part: x}", "routing", id="option-of-another-kind"),
        pytest.param("routing: {kind: bins, closed: lft}", "routing.closed", id="option-of-a-kind"),
        pytest.param("routing: {colum: x}", "routing", id="option-of-no-kind"),
        pytest.param("routing: {keys: {a: {kind: column, colum: x}}}", "routing.keys.a", id="key-part"),
        pytest.param("routing: {keys: {a: {clos: left}}}", "routing.keys.a", id="key-part-of-no-kind"),
        pytest.param("sources: {s: {kind: registry, nam: x}}", "sources.s", id="source"),
        pytest.param("sources: {s: {kind: registri}}", "sources.s.kind", id="source-kind"),
        pytest.param("observers: {o: {kind: log, every: 0}}", "observers.o.every", id="observer"),
        pytest.param("models: {a: {ur: x}}", "models.a", id="sub-model"),
        pytest.param("models: {a: {uri: x, pin: often}}", "models.a.pin", id="sub-models-option"),
        pytest.param("models: {a: 5}", "models.a", id="no-sub-model"),
        pytest.param("models: {a: {uri: x, key: {b: NO}}}", "models.a.key", id="key-that-yaml-reads-as-a-bool"),
        pytest.param("models: {a: {uri: x, loader: sklean}}", "models.a.loader", id="loader"),
        pytest.param("models: {a: {uri: x, loader: {kind: sklearn, a: 1}}}", "models.a.loader", id="loader-option"),
        pytest.param("models: {a: {combine: {kind: mean, weights: [1]}}}", "models.a.combine", id="combiner"),
        pytest.param("models: {a: {combine: {kind: weighted, weights: [-1]}}}", "models.a.combine.weights.0", id="n"),
        pytest.param("defaults: _base", "defaults", id="defaults"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_wrong_at_the_right_place(faults, text, where):
    """A misspelt option, a wrong type, a value out of range: at its own path."""
    assert faults(text) == [where]


@pytest.mark.parametrize(
    "entry", ["override routing: bins", "routing: bins", "/routing: bins", "override /routing: bins"]
)
def test_a_kind_that_the_file_itself_chooses(faults, entry):
    """Then its options are right, and those of other kinds are not."""
    chosen = f"defaults:\n  - _base\n  - _self_\n  - {entry}\n"

    assert faults(f"{chosen}routing: {{closed: left, column: c, levels: [[c]]}}") == []
    assert faults(f"{chosen}routing: {{part: hour, column: c}}") == ["routing"]


@pytest.mark.parametrize(
    ("group", "text", "where"),
    [
        pytest.param("routing", "kind: datepart\npart: weekday\n", [], id="routing"),
        pytest.param("routing", "defaults: [/routing@_here_: column, _self_]\ncolumn: c\n", [], id="with-defaults"),
        pytest.param("routing", "kind: datepart\nprt: weekday\n", [""], id="routing-option"),
        pytest.param("routing", "kind: datepart\npart: wekday\n", ["part"], id="routing-value"),
        pytest.param("source", "kind: registry\nname: x\narm: canary\n", [], id="source"),
        pytest.param("observer", "kind: log\nevery: a\n", ["every"], id="observer"),
        pytest.param("residency", "kind: lazy\nttl_s: 0\n", ["ttl_s"], id="residency"),
        pytest.param("residency", "kind: lazy\nserve: {}\n", [""], id="no-section-in-it"),
    ],
)
def test_files_of_groups(faults, group, text, where):
    """``mmeframe schema GROUP`` is about what stands in a group's files."""
    assert faults(text, group) == where


# -- what editors show -----------------------------------------------------------------------------------------------


def test_options_have_descriptions_and_defaults(schemas):
    """From the comments of the shipped YAML and of dataclasses."""
    properties = schemas[None]["properties"]
    bins = schemas[None]["$defs"]["routing.bins"]["properties"]

    assert properties["output"]["properties"]["on_error"]["default"] == "raise"
    assert properties["output"]["properties"]["on_error"]["description"].startswith("a failing sub-model fails")
    assert properties["traffic"]["description"].startswith("Variants of sub-models for the same key")
    assert bins["column"]["description"] == "A column of numbers."
    assert bins["closed"]["default"] == "left"
    assert "default" not in bins["column"]


def test_the_command_prints_it(run, monkeypatch, schemas):
    """On standard output, of configs or of a group."""
    monkeypatch.setattr(manager, "_distributions", list)

    assert json.loads(run("schema").out) == schemas[None]
    assert json.loads(run("schema", "routing").out) == schemas["routing"]


def test_a_group_without_a_schema(capsys):
    """Exit 2, with those that have one."""
    assert main(["schema", "experiment"]) == 2
    assert capsys.readouterr().err == (
        "error: schema: there is no group with a schema of its own 'experiment'.\n"
        "  Known: observer, residency, routing, source.\n"
    )
