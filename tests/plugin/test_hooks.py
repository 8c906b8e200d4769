"""Hooks that are called beside registration: files of plugins, checks of a config, and news of a logged router."""

from __future__ import annotations

import json

import pytest

from mmeframe import api
from mmeframe.cli import main
from mmeframe.errors import ProblemsError
from mmeframe.plugin import hookspecs
from mmeframe.plugin.manager import load_plugins
from tests import fleets
from tests.plugin.projects import GEO, Project, info, strategies


def day(part):
    """A sub-model for one key of a part."""
    return f"+models.a={{uri:'models:/day_0@champion',key:{{{part}:a}}}}"


# -- files that a wheel ships ----------------------------------------------------------------------------------------

SHIPS = strategies(GEO) + "\n@hookimpl\ndef mmeframe_config_paths():\n    return ['pkg://geo_presets']\n"
CITY = "defaults: [geo, _self_]\n\ncolumn: city\n"
PRESETS = Project("mmeframe-geo", "0.4.0", (("geo", SHIPS),), files=(("geo_presets/routing/city.yaml", CITY),))


def test_a_preset_of_a_wheel(installed):
    """A YAML file in an installed wheel is an option of its group; it builds on the plugin's own options."""
    installed(PRESETS)
    plugins = load_plugins()

    spec = api.compose("name=r", day("city"), "routing=city", plugins=plugins)

    assert info(plugins, "geo").provides["config path"] == ["pkg://geo_presets"]
    assert plugins.presets("routing") == ["city"]
    assert spec.routing.parts[0].strategy.kind == "geo"
    assert spec.routing.parts[0].strategy.options == {"column": "city"}


def test_a_preset_in_help(installed, capsys):
    """Who asks for help sees it beside the strategies."""
    installed(PRESETS)

    assert main(["build", "--help"]) == 0

    assert "city" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  routing="))


def test_a_users_preset_wins(installed, tmp_path):
    """A folder of the user's own stands before what plugins ship."""
    installed(PRESETS)
    (tmp_path / "routing").mkdir()
    (tmp_path / "routing" / "city.yaml").write_text("kind: geo\ncolumn: town\n")

    spec = api.compose("name=r", day("town"), "routing=city", plugins=load_plugins(), config_dirs=[tmp_path])

    assert spec.routing.parts[0].strategy.options == {"column": "town"}


@pytest.mark.parametrize(("kind", "owner"), [("geo", "mmeframe-geo 0.4.1"), ("column", "mmeframe ")])
def test_a_preset_that_would_hide_a_kind(installed, kind, owner):
    """Whoever chooses ``routing=column`` gets that strategy, and no file of a plugin instead."""
    files = ((f"geo_presets/routing/{kind}.yaml", "kind: geo\ncolumn: town\n"),)
    installed(Project("mmeframe-geo", "0.4.1", (("geo", SHIPS),), files=files))

    found = info(load_plugins(), "geo")

    assert found.status == "broken"
    assert f"brings routing/{kind}.yaml, which would hide the routing strategy {kind!r} of {owner}" in found.reason


def test_a_preset_of_a_kind_that_is_not_there(installed):
    """Its defaults are answered as an override would be."""
    files = (("geo_presets/routing/city.yaml", "defaults: [goe, _self_]\n"),)
    installed(Project("mmeframe-geo", "0.4.2", (("geo", SHIPS),), files=files))

    with pytest.raises(ProblemsError) as caught:
        api.compose("name=r", "routing=city", plugins=load_plugins())

    found = str(caught.value.problems[0])
    assert found.startswith("routing=city: its file names 'goe', which is no routing.\n  Did you mean 'geo'? Known: ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("['conf']", "must return texts such as 'pkg://my_package.conf', not 'conf'.", id="no-address"),
        pytest.param("[3]", "must return texts such as 'pkg://my_package.conf', not 3.", id="no-text"),
        pytest.param("['pkg://no.such']", "names 'pkg://no.such', and there is no such folder", id="no-package"),
        pytest.param("['pkg://json.decoder']", "names 'pkg://json.decoder', and there is no", id="a-module"),
        pytest.param("None", "raised TypeError: 'NoneType' object is not iterable", id="nothing"),
        pytest.param("1 / 0", "raised ZeroDivisionError: division by zero", id="raises"),
    ],
)
def test_paths_that_are_none(module, body, said):
    """The plugin is reported as broken, with what its hook said."""
    name = module(f"from mmeframe.plugin import hookimpl\n@hookimpl\ndef mmeframe_config_paths():\n    return {body}\n")

    with pytest.raises(Exception, match="mmeframe_config_paths") as caught:
        load_plugins([name])

    assert f"Plugin {name!r}: mmeframe_config_paths() {said}" in str(caught.value)


# -- what plugins have against a config ------------------------------------------------------------------------------

TEAM = """\
from mmeframe.plugin import Problem, hookimpl

@hookimpl
def mmeframe_check_spec(spec):
    if "team" in spec.tracking.tags:
        return []
    return [Problem("tracking.tags.team", "every router names its team.", "tracking.tags.team=NAME")]
"""
POLICY = Project("acme-policy", "2.0", (("policy", TEAM),))


def test_a_rule_of_a_team(installed, week):
    """A plugin's problem stands in one report with what else is wrong; without it the command goes on."""
    installed(POLICY)
    wrong = ("name=r", *fleets.WEEK, "+models.more.uri=models:/day_9@champion", "+models.more.key.dow=9", week.override)

    with pytest.raises(ProblemsError) as caught:
        api.validate(*wrong)

    assert [problem.where for problem in caught.value.problems] == [
        "tracking.tags.team",
        "models.more (models:/day_9@champion)",
    ]
    api.validate("name=r", *fleets.WEEK, "+tracking.tags.team=pricing", week.override)


@pytest.mark.parametrize("command", ["validate", "plan", "build", "explain", "train"])
def test_every_command_that_reads_a_fleet_asks(installed, week, capsys, tmp_path, command):
    """A rule that holds for one command holds for all of them."""
    installed(POLICY)
    (tmp_path / "rows.csv").write_text("x1,x2,dow\n1,2,0\n")
    train = ["experiment=flights", "--allow", "mmeframe.train.datasets:flights"]
    more = {"explain": ["--data", str(tmp_path / "rows.csv")], "train": train}.get(command, [])
    fleet = [] if command == "train" else ["name=r", *fleets.WEEK]

    code = main([command, *more, *fleet, week.override])

    assert code == 2
    assert "tracking.tags.team: every router names its team.\n  tracking.tags.team=NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("1 / 0", "mmeframe_check_spec() raised ZeroDivisionError: division by zero.", id="raises"),
        pytest.param("['wrong']", "mmeframe_check_spec() must return Problem records, not str.", id="no-problem"),
    ],
)
def test_a_check_that_breaks(module, week, body, said):
    """The command stops: a rule that nobody could check is not kept."""
    hook = f"@hookimpl\ndef mmeframe_check_spec(spec):\n    return {body}\n"
    name = module(f"from mmeframe.plugin import hookimpl\n{hook}")

    with pytest.raises(ProblemsError) as caught:
        api.validate("name=r", *fleets.WEEK, week.override, plugins=[name])

    assert str(caught.value) == f"plugins: {name}: {said}\n  Disable it with -p no:{name}."


def test_a_check_may_find_nothing(module, week):
    """A hook without arguments that returns None has nothing against anything."""
    name = module("from mmeframe.plugin import hookimpl\n@hookimpl\ndef mmeframe_check_spec():\n    pass\n")

    assert len(api.validate("name=r", *fleets.WEEK, week.override, plugins=[name]).models) == 8


# -- a router that was logged ----------------------------------------------------------------------------------------

NEWS = """\
import json, os
from mmeframe.plugin import hookimpl

@hookimpl
def mmeframe_router_logged(logged, spec):
    with open(os.environ["NEWS"], "a") as file:
        json.dump([spec.name, logged.name, logged.version, logged.sub_models], file)

@hookimpl(specname="mmeframe_router_logged", trylast=True)
def fails(logged):
    raise OSError("the chat room is closed")
"""


@pytest.mark.build
def test_a_router_that_was_logged_is_told(week, module, monkeypatch, tmp_path):
    """Once, when it is registered. Who fails is told as a warning, and the router stays."""
    monkeypatch.setenv("NEWS", str(tmp_path / "news.json"))
    name = module(NEWS)

    logged = api.build("name=told", *fleets.WEEK, week.override, plugins=[name])

    assert json.loads((tmp_path / "news.json").read_text()) == ["told", "told", logged.version, 8]
    assert logged.notes[-1] == (
        f"{name}: mmeframe_router_logged() raised OSError: the chat room is closed; the router is not affected."
    )
    assert len(api.load_router(logged.model_uri, tracking_uri=week.uri).bundle) == 8


# -- a plugin that raises, in every hook in turn ---------------------------------------------------------------------


def raising(hook):
    """A module with one hook, which raises."""
    return f"from mmeframe.plugin import hookimpl\n@hookimpl\ndef {hook}():\n    raise OSError('no licence')\n"


ENTRIES = tuple((hook.removeprefix("mmeframe_"), raising(hook)) for hook in hookspecs.__all__)
RAISES = Project("acme-raises", "1.0", ENTRIES)
LATER = ("check_spec", "router_logged")


@pytest.mark.build
def test_a_plugin_that_raises_in_every_hook(installed, week):
    """Where it registers something, it is broken with its reason, and others work; where it judges, the command stops.

    What it does when all is done changes nothing.
    """
    installed(RAISES)

    plugins = load_plugins()

    for hook in hookspecs.__all__:
        name = hook.removeprefix("mmeframe_")
        expected = ("ok", "") if name in LATER else ("broken", f"Plugin {name!r}: {hook}() raised OSError: no licence")
        assert (info(plugins, name).status, info(plugins, name).reason) == expected
    with pytest.raises(
        ProblemsError, match=r"plugins: acme-raises 1\.0: mmeframe_check_spec\(\) raised OSError: no lic"
    ):
        api.validate("name=raises", *fleets.WEEK, week.override, plugins=plugins)
    logged = api.build("name=raises", *fleets.WEEK, week.override, plugins=["no:check_spec"])
    assert logged.notes[-1] == (
        "acme-raises 1.0: mmeframe_router_logged() raised OSError: no licence; the router is not affected."
    )
    assert len(api.load_router(logged.model_uri, tracking_uri=week.uri).bundle) == 8
