"""Options of a distribution's components: types, ranges, and sweeps over them."""

from __future__ import annotations

import pytest

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
            "routing.table_path: input should be a valid string.\n  YAML read this as int 7; quote it.",
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
