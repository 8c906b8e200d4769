"""``mmeframe plugins`` and ``mmeframe plugins show``, with distributions that are really installed."""

from __future__ import annotations

import pytest

from tests.plugin.geohash import GEOHASH
from tests.plugin.projects import FAULTS, GOOD, NO_IMPORT, ZOO, Project, strategies

TARGET = f"{GEOHASH.module('geohash')}:Geohash"

# -- the list --------------------------------------------------------------------------------------------------------


def test_what_a_plugin_registers_and_which_hooks_it_has(installed, run):
    """Distribution, version, status, components by kind, and hooks."""
    installed(GEOHASH)

    (plugin,) = [it for it in run("plugins", "--json").json["plugins"] if it["name"] == "geohash"]

    assert plugin == {
        "name": "geohash",
        "distribution": "mmeframe-geohash",
        "version": "1.2.0",
        "module": GEOHASH.module("geohash"),
        "status": "ok",
        "reason": "",
        "provides": {
            "routing strategy": ["geohash"],
            "model loader": ["mleap"],
            "model source": ["bucket"],
            "combiner": ["clipped"],
            "observer": ["statsd"],
            "config path": ["pkg://geohash_presets"],
        },
        "hooks": [
            "mmeframe_combiners",
            "mmeframe_config_paths",
            "mmeframe_model_loaders",
            "mmeframe_model_sources",
            "mmeframe_observers",
            "mmeframe_routing_strategies",
        ],
        "disabled": [],
    }


def test_the_table_for_people(installed, run):
    """The same in words, with what is broken and why, and how to go on."""
    installed(GOOD)

    lines = run("plugins").lines

    assert "geo mmeframe-geo 0.3.1 ok routing strategy: geo routing_strategies" in lines
    assert lines[-1] == "Options of one: mmeframe plugins show NAME"


# -- one component ---------------------------------------------------------------------------------------------------


def test_the_options_of_a_component(installed, run):
    """Type with its range, default and help of each option; who provides it; how to choose it; its presets."""
    installed(GEOHASH)

    (component,) = run("plugins", "show", "geohash", "--json").json["components"][:1]

    assert component == {
        "kind": "routing strategy",
        "name": "geohash",
        "summary": "the beginning of a geohash",
        "target": TARGET,
        "plugin": "geohash",
        "distribution": "mmeframe-geohash",
        "version": "1.2.0",
        "choose": "routing=geohash, or +routing@routing.keys.<part>=geohash",
        "presets": ["city", "town"],
        "options": [
            {"name": "column", "type": "str", "required": True, "help": "A column of geohashes."},
            {
                "name": "precision",
                "type": "int, 1 to 12",
                "required": False,
                "default": 6,
                "help": "How many letters count; those after them are left out.",
            },
            {
                "name": "letters",
                "type": "one of: lower, upper",
                "required": False,
                "default": "lower",
                "help": "",
                "choices": ["lower", "upper"],
            },
            {
                "name": "strict",
                "type": "bool",
                "required": False,
                "default": False,
                "help": "Refuse what is no geohash.",
                "choices": [True, False],
            },
            {
                "name": "cells",
                "type": "int, 1 or more, or 'auto'",
                "required": False,
                "default": "auto",
                "help": "auto, or so many cells.",
                "choices": ["auto"],
            },
            {
                "name": "table_path",
                "type": "str or null",
                "required": False,
                "default": None,
                "help": "",
                "choices": [None],
            },
            {
                "name": "box",
                "type": "map with north",
                "required": False,
                "default": {"north": 90.0},
                "help": "",
            },
        ],
    }


def test_a_component_for_people(installed, run):
    """One line about each option, under who provides the component."""
    installed(GEOHASH)

    lines = run("plugins", "show", "mleap").lines

    assert lines == [
        "model loader mleap: ONNX Runtime sessions",
        f"from mmeframe-geohash 1.2.0 ({GEOHASH.module('geohash')}:Onnx)",
        "choose it with models.<id>.loader=mleap, or {kind: mleap, <option>: <value>}",
        "takes the flavors: mleap",
        "options",
        "option type default what",
        "threads int, 0 to 256 1 Threads of one sub-model.",
    ]


@pytest.mark.parametrize("name", ["mmeframe-geohash", "geohash"])
def test_the_name_of_a_plugin_or_a_distribution(installed, run, name):
    """All of its components are shown."""
    installed(GEOHASH)

    shown = run("plugins", "show", name, "--json").json["components"]

    assert [(component["kind"], component["name"]) for component in shown] == [
        ("routing strategy", "geohash"),
        ("model loader", "mleap"),
        ("model source", "bucket"),
        ("combiner", "clipped"),
        ("observer", "statsd"),
    ]


def test_a_name_of_several_kinds(installed, run):
    """A name may be taken once in each kind; all are shown."""
    both = strategies('RoutingStrategyPlugin("mean", Conf, "x:Y", "of a window")')
    installed(Project("mmeframe-mean", "1.0", (("means", both),)))

    shown = run("plugins", "show", "mean", "--json").json["components"]

    assert [component["kind"] for component in shown] == ["routing strategy", "combiner"]


@pytest.mark.parametrize("name", ["bins", "registry", "sklearn", "weighted", "log"])
def test_a_built_in_component(run, alone, name):
    """Each kind is chosen in its own way, and the built-in ones are shown like any other."""
    done = run("plugins", "show", name)

    assert (done.code, done.err) == (0, "")
    assert "choose it with " in done.out


def test_every_option_that_comes_with_mmeframe_has_help(run, alone):
    """The comment above each field is what a user reads."""
    shown = run("plugins", "show", "mmeframe", "--json").json["components"]

    assert len(shown) > 20
    assert [(it["name"], option["name"]) for it in shown for option in it["options"] if not option["help"]] == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(
            ["show", "geohsh"],
            "error: plugins show: there is no component, plugin or distribution 'geohsh'.\n"
            "  Did you mean 'geohash'? Known: ",
            id="unknown",
        ),
        pytest.param(
            ["show"], "error: plugins show takes one name.\n  mmeframe plugins [show NAME] [--json]", id="no-name"
        ),
        pytest.param(["show", "a", "b"], "error: plugins show takes one name.", id="two-names"),
        pytest.param(["shw", "bins"], "error: plugins takes no overrides.\n  mmeframe plugins [show", id="misspelt"),
    ],
)
def test_a_name_that_is_none(installed, run, argv, expected):
    """Exit 2, with the nearest name."""
    installed(GEOHASH)

    done = run("plugins", *argv)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(expected)


def test_a_name_that_a_broken_plugin_may_provide(installed, run):
    """The broken plugin is named for its component, and its own name says why it is broken."""
    installed(NO_IMPORT)

    assert "mmeframe-geo 0.3.2 failed to import and may provide it" in run("plugins", "show", "h3_cells").err
    done = run("plugins", "show", "geo")
    assert done.code == 1
    assert done.err.startswith("error: geo: mmeframe-geo 0.3.2 is broken: No module named 'h3_is_not_installed'")


def test_a_disabled_plugin(installed, run):
    """It says so."""
    installed(GOOD)

    done = run("plugins", "show", "geo", "-p", "no:geo")

    assert done.err.startswith("error: geo: mmeframe-geo 0.3.1 is disabled: ")


def test_a_plugin_without_components(installed, run):
    """Its hooks are what there is to show."""
    source = "from mmeframe.plugin import hookimpl\n\n@hookimpl\ndef mmeframe_check_spec(spec):\n    return []\n"
    installed(Project("team-rules", "2.0", (("rules_of_ours", source),)))

    assert run("plugins", "show", "team-rules").lines == [
        "team-rules 2.0 registers no component; its hooks: mmeframe_check_spec"
    ]


# -- --help ----------------------------------------------------------------------------------------------------------


def test_help_of_what_is_chosen(installed, run):
    """``--help`` lists the options of the kinds that the line chooses, at their config paths."""
    installed(GEOHASH)

    lines = run("build", "routing=geohash", "+source@sources.days=registry", "--help").lines

    assert "routing strategy geohash: the beginning of a geohash" in lines
    assert "routing.precision int, 1 to 12 6 How many letters count; those after them are left out." in lines
    assert any(line.startswith("sources.days.version str @champion ") for line in lines)


@pytest.mark.parametrize("preset", ["city", "town"])
def test_help_of_a_preset(installed, run, preset):
    """A preset has the options of its kind."""
    installed(GEOHASH)

    assert "routing.strict bool false Refuse what is no geohash." in run("build", f"routing={preset}", "--help").lines


def test_help_without_a_choice(installed, run):
    """Nothing is chosen, so nothing more is listed."""
    installed(GEOHASH)

    assert "routing strategy" not in run("build", "--help").out


# -- options that no config can hold ---------------------------------------------------------------------------------

HEAD = """\
from collections.abc import Callable
from dataclasses import dataclass, field
import threading
from mmeframe.plugin import RoutingStrategyPlugin, StrategyConf, hookimpl

@dataclass
class OddConf(StrategyConf):
    column: str = "c"
{option}

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("odd", OddConf, __name__ + ":Odd", "odd options")]
"""

ODD = {
    "lock": (
        "    lock: threading.Lock = field(default_factory=threading.Lock)",
        "option 'lock' has the annotation",
    ),
    "function": ("    score: Callable[[int], int] = len", "option 'score' has the annotation"),
    "later": ("    frame: 'Frame | None' = None", "option 'frame' has the annotation Frame | None"),
    "object": ("    thing: object = field(default_factory=object)", "option 'thing' has"),
}
ODDITIES = Project(
    "odd-options",
    "1.0",
    tuple((name, HEAD.format(option=option).replace('"odd"', f'"{name}"')) for name, (option, _) in ODD.items()),
)
MUTABLE = Project("odd-default", "1.1", (("mutable", HEAD.format(option="    names: list = []")),))


@pytest.mark.parametrize("name", ODD)
def test_options_that_no_config_can_hold_are_listed_as_broken(installed, run, name):
    """``mmeframe plugins`` names plugin, option and annotation; the others are not affected."""
    installed(ODDITIES)

    (plugin,) = [it for it in run("plugins", "--json").json["plugins"] if it["name"] == name]

    assert plugin["status"] == "broken"
    assert plugin["reason"].startswith(f"Plugin {name!r}: routing strategy {name!r}: {ODD[name][1]}")
    assert plugin["reason"].endswith("which no config can hold.")


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["routing={}"], id="group"),
        pytest.param(["+routing.kind={}"], id="key"),
        pytest.param(["+routing@routing.keys.part={}"], id="part"),
    ],
)
def test_choosing_such_a_component(installed, run, name, overrides):
    """Nothing but a report: distribution, option and annotation, at the place where it was chosen."""
    installed(ODDITIES)

    done = run("validate", "name=r", *(override.format(name) for override in overrides))

    assert (done.code, done.out) == (1, "")
    assert f"routing strategy {name!r} of odd-options 1.0: {ODD[name][1]}" in done.err
    assert "Report it to the plugin's author" in done.err


def test_others_of_that_distribution_are_not_in_the_way(installed, run):
    """Who chooses something else sees nothing of it."""
    installed(ODDITIES)

    done = run("show", "routing=column", "serve.prt=1")

    assert "odd-options" not in done.err


def test_a_mutable_default(installed, run):
    """dataclasses refuses it when the plugin is imported; its words are the reason, with the place."""
    installed(MUTABLE)

    (plugin,) = [it for it in run("plugins", "--json").json["plugins"] if it["name"] == "mutable"]

    words = "mutable default <class 'list'> for field names is not allowed: use default_factory"
    place = f" ({MUTABLE.module('mutable')}.py, line 6)"
    assert (plugin["status"], plugin["reason"]) == ("broken", words + place)


def test_a_zoo_of_broken_plugins_is_listed(installed, run):
    """Whatever is wrong with each, the list comes, and exit code 0."""
    installed(ZOO)

    done = run("plugins", "--json")

    assert done.code == 0
    assert {it["name"] for it in done.json["plugins"] if it["status"] == "broken"} == set(FAULTS)
