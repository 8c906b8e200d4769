"""Options of a distribution's components: types, ranges, and sweeps over them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mmeframe import errors
from tests.plugin.geohash import GEOHASH
from tests.plugin.projects import Project

ROUTED = ("name=r", "routing=geohash", "routing.column=cell")
SOURCE = "+source@sources.s=bucket"
OBSERVER = "+observer@observers.o=statsd"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param(
            "routing.precision=abc",
            "routing.precision: input should be a valid integer, unable to parse string as an integer.",
            id="type",
        ),
        pytest.param(
            "routing.precision=1.5",
            "routing.precision: input should be a valid integer, got a number with a fractional part.",
            id="fraction",
        ),
        pytest.param("routing.precision=0", "routing.precision: input should be greater than or equal to 1.", id="low"),
        pytest.param("routing.precision=13", "routing.precision: input should be less than or equal to 12.", id="high"),
        pytest.param(
            "routing.letters=uper",
            "routing.letters: input should be 'lower' or 'upper'.\n  Did you mean 'upper'?",
            id="choice",
        ),
        pytest.param(
            "routing.strict=perhaps",
            "routing.strict: input should be a valid boolean, unable to interpret input.",
            id="bool",
        ),
        pytest.param(
            "routing.cells=many",
            "routing.cells: input should be a valid integer, unable to parse string as an integer.\n"
            "  It is int, 1 or more, or 'auto'.",
            id="one-of-two-types",
        ),
        pytest.param(
            "routing.table_path=7",
            f"routing.table_path: input should be a valid string.\n  YAML read this as int 7; {errors.QUOTE}.",
            id="text",
        ),
        pytest.param(
            "routing.box.north=91", "routing.box.north: input should be less than or equal to 90.", id="nested"
        ),
        pytest.param(
            "+routing@routing.keys.part=geohash routing.keys.part.precision=abc ~routing.kind ~routing.column",
            "routing.keys.part.precision: input should be a valid integer, unable to parse string as an integer.",
            id="key-part",
        ),
    ],
)
def test_a_strategys_option(installed, run, override, expected):
    """The option and what it should be, at its config path."""
    installed(GEOHASH)
    if override.startswith("+routing@"):
        words = ["name=r", *override.split()[:2], "routing.keys.part.column=c"]
    else:
        words = [*ROUTED, override]

    done = run("validate", *words)

    assert (done.code, done.out, done.err) == (2, "", f"error: {expected}\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(
            [SOURCE, "sources.s.requests=abc"],
            "sources.s.requests: input should be a valid integer, unable to parse string as an integer.",
            id="source-type",
        ),
        pytest.param(
            [SOURCE, "sources.s.requests=65"],
            "sources.s.requests: input should be less than or equal to 64.",
            id="source-range",
        ),
        pytest.param(
            [OBSERVER, "observers.o.port=abc"],
            "observers.o.port: input should be a valid integer, unable to parse string as an integer.",
            id="observer-type",
        ),
        pytest.param(
            [OBSERVER, "observers.o.port=0"],
            "observers.o.port: input should be greater than or equal to 1.",
            id="observer-range",
        ),
        pytest.param(
            ["+models.a={uri:x,loader:{kind:mleap,threads:abc}}"],
            "models.a.loader.threads: input should be a valid integer, unable to parse string as an integer.",
            id="loader-type",
        ),
        pytest.param(
            ["+models.a={uri:x,loader:{kind:mleap,threads:300}}"],
            "models.a.loader.threads: input should be less than or equal to 256.",
            id="loader-range",
        ),
        pytest.param(
            ["model_defaults.loader={kind:mleap,threads:300}", "+models.a.uri=x", "+models.b.uri=y"],
            "model_defaults.loader.threads: input should be less than or equal to 256.",
            id="loader-of-all-is-told-once",
        ),
        pytest.param(
            ["+models.a={combine:{kind:clipped,of:[b],share:abc}}", "+models.b.uri=x"],
            "models.a.combine.share: input should be a valid number, unable to parse string as a number.",
            id="combiner-type",
        ),
        pytest.param(
            ["+models.a={combine:{kind:clipped,of:[b],share:0.5}}", "+models.b.uri=x"],
            "models.a.combine.share: input should be less than 0.5.",
            id="combiner-range",
        ),
    ],
)
def test_options_of_the_other_kinds(installed, run, words, expected):
    """Sources, observers, loaders and combiners are checked like strategies."""
    installed(GEOHASH)

    done = run("validate", *ROUTED, *words)

    assert (done.code, done.out, done.err) == (2, "", f"error: {expected}\n")


VALIDATOR = """\
from dataclasses import dataclass
from typing import Annotated
from pydantic import AfterValidator
from mmeframe import errors
from mmeframe.plugin import RoutingStrategyPlugin, StrategyConf, hookimpl

def _check(value):
    return {}[value]

@dataclass
class Conf(StrategyConf):
    column: Annotated[str, AfterValidator(_check)] = "c"

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("odd", Conf, "x:Y", "")]
"""


def test_a_validator_that_fails_itself(installed, run):
    """What a plugin's own code raises is told with the plugin, not as a traceback of ours."""
    installed(Project("odd-validator", "1.0", (("odd", VALIDATOR),)))

    done = run("validate", "name=r", "routing=odd")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(
        "error: routing: routing strategy 'odd' of odd-validator 1.0: its options cannot be read: KeyError: 'c'."
    )


NESTED = """\
from dataclasses import dataclass, field
from mmeframe.plugin import RoutingStrategy, RoutingStrategyPlugin, StrategyConf, hookimpl

@dataclass
class Index:
    path: str
    depth: int = 3

@dataclass
class Rule:
    column: str
    value: str = "x"

@dataclass
class Conf(StrategyConf):
    index: Index | None = None
    rules: list[Rule] = field(default_factory=list)
    named: dict[str, Rule] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    edges: list[float] = field(default_factory=list)
    words: set[str] = field(default_factory=lambda: set("hgfedcba"))

class Deep(RoutingStrategy):
    pass

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("deep", Conf, __name__ + ":Deep", "")]
"""
DEEP = Project("deep-options", "1.0", (("deep", NESTED),))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param(
            "routing.index={depth:4}",
            "routing.index.path: this option is required.\n  Set it: routing.index.path=<value>.",
            id="missing",
        ),
        pytest.param(
            "routing.rules=[{value:a}]",
            "routing.rules[0].column: this option is required.\n  Add it to that entry.",
            id="in-a-list",
        ),
        pytest.param(
            "routing.index={path:a,dept:4}",
            "routing.index.dept: there is no option 'dept'.\n  Did you mean 'depth'? It has: depth, path.",
            id="alien",
        ),
        pytest.param(
            "routing.rules=[{column:a,valu:b}]",
            "routing.rules[0].valu: there is no option 'valu'.\n  Did you mean 'value'? It has: column, value.",
            id="alien-in-a-list",
        ),
        pytest.param(
            "+routing.named.one={column:a,valu:b}",
            "routing.named.one.valu: there is no option 'valu'.\n  Did you mean 'value'? It has: column, value.",
            id="alien-in-a-map",
        ),
        pytest.param(
            "routing.weights.a=1",
            "routing.weights.a=1: routing.weights has no 'a' yet.\n  Use +routing.weights.a=1 to add it.",
            id="new-name",
        ),
        pytest.param("routing.edges=[0.5,inf]", "routing.edges[1]: inf is not a finite number.", id="infinite"),
    ],
)
def test_options_inside_of_options(installed, run, override, expected):
    """The path goes down to what is wrong, and the hint is about what stands there."""
    installed(DEEP)

    done = run("validate", "name=r", "+models.a.uri=models:/a/1", "routing=deep", override)

    assert (done.code, done.out, done.err) == (2, "", f"error: {expected}\n")


@pytest.mark.process
def test_a_set_is_recorded_in_order(install):
    """Equal configs give equal bytes, in whichever order a process has the set."""
    code = (
        "from mmeframe.api import compose\n"
        "spec = compose('name=r', '+models.a.uri=models:/a/1', 'routing=deep')\n"
        "print(*spec.routing.parts[0].strategy.options['words'])"
    )
    path = {"PYTHONPATH": str(install(DEEP))}
    seeds = [{**os.environ, **path, "PYTHONHASHSEED": seed} for seed in "12"]

    told = [subprocess.run([sys.executable, "-c", code], env=it, capture_output=True, text=True) for it in seeds]

    assert [(it.stdout, it.stderr) for it in told] == [("a b c d e f g h\n", "")] * 2


# -- sweeps ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def models(week) -> list[str]:
    """Overrides of a fleet in a real store, for keys that are geohashes."""
    return [week.override, "+models.u33={uri:'models:/day_0@champion'}", "+models.ezj={uri:'models:/day_1@champion'}"]


@pytest.mark.parametrize(
    ("sweep", "runs"),
    [
        pytest.param(["routing=geohash,column", "routing.column=cell"], 2, id="kinds"),
        pytest.param(["routing=city,town,geohash", "routing.column=cell"], 3, id="presets"),
        pytest.param(["routing=geohash", "routing.column=cell", "routing.precision=1,2,3,4"], 4, id="an-option"),
        pytest.param(
            ["routing=city,town", "routing.letters=lower,upper", "routing.strict=true"], 4, id="presets-and-options"
        ),
    ],
)
def test_a_sweep(installed, run, models, sweep, runs):
    """``-m`` runs a command for each kind, preset or value."""
    installed(GEOHASH)

    done = run("validate", "-m", "name=swept", *sweep, *models)

    assert (done.code, done.out.count("ok: 2 sub-models")) == (0, runs), done.err


def test_a_sweep_with_an_option_that_only_one_kind_has(installed, run, models):
    """Each run is checked for itself."""
    installed(GEOHASH)

    done = run(
        "validate", "-m", "name=swept", "routing=geohash,column", "routing.column=cell", "routing.strict=true", *models
    )

    assert done.code == 2
    assert "routing.strict: there is no option 'strict' of kind 'column'. (in the run of " in done.err
    assert done.out.count("ok: 2 sub-models") == 1


def test_an_option_that_a_preset_leaves_out(installed, run):
    """A file that writes ``kind:`` in place has only what it says; the answer can be followed."""
    installed(GEOHASH)

    done = run("validate", "name=r", "routing=city", "routing.strict=true")

    assert done.code == 2
    assert done.err == (
        "error: routing.strict=true: the file that chooses the kind of routing leaves 'strict' out.\n"
        "  Use +routing.strict=true to add it.\n"
    )
    followed = run("validate", "name=r", "routing=city", "+routing.strict=perhaps")
    assert followed.err == "error: routing.strict: input should be a valid boolean, unable to interpret input.\n"


def test_a_sweep_with_a_value_that_is_wrong(installed, run, models):
    """The problem names the run; the others are run all the same."""
    installed(GEOHASH)

    done = run("validate", "-m", "name=swept", "routing=city", "routing.precision=4,13", *models)

    assert done.code == 2
    assert "routing.precision: input should be less than or equal to 12. (in the run of " in done.err
    assert done.out.count("ok: 2 sub-models") == 1
