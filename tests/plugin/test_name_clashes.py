"""A name that several plugins have breaks only what is chosen by it; a full name always chooses one."""

from __future__ import annotations

import json

import pytest

from mmeframe import api
from mmeframe.cli import main
from mmeframe.config.json_schema import json_schema
from mmeframe.errors import MmeframeError, ProblemsError
from mmeframe.plugin.kinds import KINDS
from mmeframe.plugin.manager import load_plugins
from tests.plugin.projects import Project

SOURCE = """\
from dataclasses import dataclass
from mmeframe.plugin import *
from mmeframe.plugin import hookimpl

@dataclass
class Routing(StrategyConf):
    column: str = "who"
@dataclass
class Loading(LoaderConf):
    OWN: int = 1
@dataclass
class Sourcing(SourceConf):
    OWN: int = 1
@dataclass
class Combining(CombinerConf):
    OWN: int = 1
@dataclass
class Observing(ObserverConf):
    OWN: int = 1

class Strategy(RoutingStrategy):
    def inputs(self):
        return RoutingInputs({self.conf.column: "key"})
    def route_keys(self, batch, params):
        return ["OWN"] * len(batch)

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin(name, Routing, __name__ + ":Strategy", "OWN") for name in ("both", "only_OWN")]
@hookimpl
def mmeframe_model_loaders():
    return [ModelLoaderPlugin("both", Loading, "x:Y", "OWN", flavors=("glass",))]
@hookimpl
def mmeframe_model_sources():
    return [ModelSourcePlugin("both", Sourcing, "x:Y", "OWN")]
@hookimpl
def mmeframe_combiners():
    return [CombinerPlugin("both", Combining, "x:Y", "OWN")]
@hookimpl
def mmeframe_observers():
    return [ObserverPlugin("both", Observing, "x:Y", "OWN")]
"""
LEFT = Project("left-hand", "1.0", (("left", SOURCE.replace("OWN", "left")),))
RIGHT = Project("right-hand", "2.0", (("right", SOURCE.replace("OWN", "right")),))
NOUNS = [kind.noun for kind in KINDS]


@pytest.fixture
def both(installed) -> None:
    installed(LEFT, RIGHT)


@pytest.mark.parametrize("noun", NOUNS)
def test_a_name_of_two(both, noun):
    """Of whatever kind: the name alone chooses none, and says what to write."""
    with pytest.raises(MmeframeError) as caught:
        load_plugins().get(noun, "both", "here")

    assert caught.value.where == "here"
    assert caught.value.what.endswith("are named 'both': left-hand 1.0 and right-hand 2.0.")
    assert caught.value.hint == ("Write left-hand.both or right-hand.both, or disable one with -p no:right-hand.both.")


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_full_names(both, noun, side):
    """The name of the distribution, or of the plugin, before that of the component chooses it; listed where needed."""
    plugins = load_plugins()

    for name in (f"{side}-hand.both", f"{side}.both"):
        assert plugins.get(noun, name, "").record.summary == side
        assert plugins.choices(noun)[name].record.summary == side
    assert f"{side}-hand.both" in plugins.names(noun)
    assert "both" not in plugins.names(noun)


def test_full_names_without_a_clash(installed):
    """They always work, for built-in ones, too, and are not listed beside the short ones."""
    installed(LEFT)

    plugins = load_plugins()

    for name in ("left-hand.both", "left.both", "both"):
        assert plugins.get("routing strategy", name, "").record.summary == "left"
    for name in ("mmeframe.column", "builtin.column", "column"):
        assert plugins.get("routing strategy", name, "").record.name == "column"
    assert not [name for name in plugins.names("routing strategy") if "." in name]


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("how", ["distribution", "plugin", "variable"])
def test_one_component_is_disabled(both, monkeypatch, noun, how):
    """The way out that messages name works: of the other one its short name is free again."""
    switch = {"distribution": "right-hand.both", "plugin": "right.both"}.get(how)
    if how == "variable":
        monkeypatch.setenv("MMEFRAME_DISABLE_PLUGINS", "right-hand.both")

    plugins = load_plugins([f"no:{switch}"] if switch else [])

    assert plugins.get(noun, "both", "").record.summary == "left"
    assert plugins.clashes() == []
    assert plugins.get("routing strategy", "only_right", "").record.summary == "right"
    assert [info.off for info in plugins.plugins] == [[], [], ["both"] * 5]


def test_a_component_that_is_not_there(both):
    """A misspelt one is answered with the nearest."""
    with pytest.raises(
        MmeframeError, match=r"there is no plugin 'right-hand\.bth'.\n  Did you mean 'right-hand\.both'"
    ):
        load_plugins(["no:right-hand.bth"])


def test_a_disabled_component_that_is_chosen(installed):
    """The message says that it is disabled."""
    installed(LEFT)

    with pytest.raises(MmeframeError, match=r"both of left-hand 1\.0 is disabled\."):
        load_plugins(["no:left.both"]).get("routing strategy", "both", "routing.kind")


WAYS = {
    "group": ("routing={name}", "routing.column=x"),
    "part": ("+routing@routing.keys.x={name}", "routing.keys.x.column=x"),
    "option": ("+routing.kind={name}", "+routing.column=x"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_config(both, week, way):
    """Wherever a kind is written, the full name chooses it, the short one is one problem, and others work."""
    models = "+models.a={uri:'models:/day_0/1',key:{x:left}}"

    def strategy(name: str) -> str:
        overrides = [text.format(name=name) for text in way]
        spec = api.compose("name=r", *overrides, models, week.override)
        return spec.routing.parts[0].strategy.target.split(":")[0]

    assert strategy("left-hand.both") == LEFT.module("left")
    assert strategy("right.both") == RIGHT.module("right")
    assert strategy("only_left") == LEFT.module("left")
    assert strategy("mmeframe.column") == "mmeframe.builtin.column"
    with pytest.raises(ProblemsError) as caught:
        strategy("both")
    (problem,) = caught.value.problems
    assert problem.what == "two routing strategies are named 'both': left-hand 1.0 and right-hand 2.0."


@pytest.mark.parametrize(
    ("text", "right"),
    [
        pytest.param({"routing": {"kind": "left.both", "column": "x"}}, True, id="strategy"),
        pytest.param({"routing": {"kind": "mmeframe.column", "column": "x"}}, True, id="built-in"),
        pytest.param({"models": {"a": {"uri": "x", "loader": "left-hand.both"}}}, True, id="loader"),
        pytest.param({"routing": {"kind": "left.bth", "column": "x"}}, False, id="misspelt"),
    ],
)
def test_editors_take_full_names(both, text, right):
    """The JSON Schema agrees with what ``validate`` takes."""
    from jsonschema import Draft202012Validator

    faults = list(Draft202012Validator(json_schema(load_plugins())).iter_errors(text))

    assert (faults == []) == right


def test_both_in_one_router(both, week):
    """Two components of one name, each carried by the router and used under its own class."""
    config = (
        "name=both",
        "+routing@routing.keys.l=left-hand.both",
        "+routing@routing.keys.r=right-hand.both",
        "+models.a={uri:'models:/day_0/1',key:{l:left,r:right}}",
        week.override,
    )
    fleet = api.validate(*config)

    from mmeframe.fleet.embed import used_plugins
    from mmeframe.fleet.manifest import components

    used = used_plugins(components(fleet).values(), load_plugins())
    assert {info.distribution for info in used.values()} == {"left-hand", "right-hand"}
    assert [part.strategy.kind for part in fleet.spec.routing.parts] == ["both", "both"]


def test_a_flavor_that_two_loaders_claim(both):
    """It breaks only a sub-model of that flavor that does not say its loader."""
    plugins = load_plugins()

    assert plugins.loader_for("sklearn") == "sklearn"
    with pytest.raises(MmeframeError) as caught:
        plugins.loader_for("glass", "models.a")

    assert str(caught.value) == (
        "models.a: two model loaders claim the flavor 'glass': 'left-hand.both' of left-hand 1.0 and 'right-hand.both' "
        "of right-hand 2.0.\n  Choose one with models.<id>.loader, or disable one with -p no:right-hand.both."
    )


@pytest.mark.parametrize(
    "words",
    [
        ["plugins"],
        ["plugins", "show", "both"],
        ["plugins", "show", "left-hand.both"],
        ["schema"],
        ["plan", "--help"],
        ["completion", "words", "zsh", "plan", "routing="],
        ["validate", "--cfg", "job", "name=r"],
    ],
    ids=" ".join,
)
def test_commands_that_do_not_need_the_name(both, capsys, words):
    """They work, and those that list components list both."""
    assert main(words) == 0

    out = capsys.readouterr().out
    if words[0] in ("plugins", "schema", "completion"):
        assert "left-hand.both" in out


TWICE = Project("twice", "1.0", (("twice", SOURCE.replace('("both", "only_OWN")', '("both", "both")')),))


def test_a_plugin_that_registers_a_name_twice(installed):
    """No full name could tell them apart, so the plugin is broken."""
    installed(TWICE)

    (_, plugin) = load_plugins().plugins

    assert (plugin.status, plugin.reason) == (
        "broken",
        "Plugin 'twice': it registers the routing strategy 'both' twice.",
    )


# -- what a plugin raises ----------------------------------------------------------------------------------------

BROKEN = Project(
    "broken-hand",
    "1.0",
    (
        ("importing", "def deep():\n    raise RuntimeError('no licence')\n\ndeep()\n"),
        ("hooking", SOURCE.replace('return [CombinerPlugin("both", Combining, "x:Y", "OWN")]', "return 1 / 0")),
    ),
)


def test_debug_shows_what_plugins_raised(installed, capsys):
    """The traceback of an import and of a hook, each with its line; without --debug a line each."""
    installed(BROKEN)

    assert main(["plugins"]) == 0
    quiet = capsys.readouterr()
    assert main(["plugins", "--debug"]) == 0
    loud = capsys.readouterr()

    assert "Traceback" not in quiet.out + quiet.err
    assert loud.err.count("Traceback (most recent call last)") == 2
    assert "in deep" in loud.err
    assert "RuntimeError: no licence" in loud.err
    assert "return 1 / 0" in loud.err
    assert "import" not in quiet.out.splitlines()[2]


def test_debug_shows_import_times(installed, capsys):
    """A column of ``mmeframe plugins --debug``, and a number for machines."""
    installed(LEFT)

    assert main(["plugins", "--debug", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["plugins"]
    assert main(["plugins", "--debug"]) == 0

    assert [plugin["import_seconds"] >= 0 for plugin in found] == [True, True]
    assert " ms" in capsys.readouterr().out


def test_debug_shows_what_a_later_hook_raised(installed, capsys, week, monkeypatch):
    """A check of a plugin that fails is a problem; its traceback is shown beside it."""
    check = "\n@hookimpl\ndef mmeframe_check_spec(spec):\n    raise RuntimeError('no rules')\n"
    installed(Project("checking", "1.0", (("checking", SOURCE.replace("OWN", "check") + check),)))
    words = ["validate", "name=r", "routing=column", "routing.column=x", "+models.a.uri=models:/day_0/1", week.override]

    assert main(words) == 1
    quiet = capsys.readouterr().err
    with pytest.raises(ProblemsError):
        main([*words, "--debug"])
    loud = capsys.readouterr().err

    assert "mmeframe_check_spec() raised RuntimeError: no rules" in quiet
    assert "Traceback" not in quiet
    assert "raise RuntimeError('no rules')" in loud


PANIC = "class Panic(BaseException):\n    pass\n\n"
ENDS = {
    "exit": ("raise SystemExit(3)", "SystemExit"),
    "panic": ("raise Panic('of a library')", "Panic"),
    "generator": ("raise GeneratorExit", "GeneratorExit"),
}


@pytest.mark.parametrize("where", ["import", *(kind.hook for kind in KINDS), "mmeframe_config_paths"])
@pytest.mark.parametrize(("line", "said"), ENDS.values(), ids=ENDS)
def test_whatever_a_plugin_raises_breaks_only_itself(installed, capsys, where, line, said):
    """Also what would end the process: an exit, a panic of a library in another language."""
    hook = f"from mmeframe.plugin import hookimpl\n@hookimpl\ndef {where}():\n    {line}\n"
    source = PANIC + (f"{line}\n" if where == "import" else hook)
    installed(Project(f"{said}-{where}".lower(), "1.0", (("ending", source),)), LEFT)

    assert main(["plugins"]) == 0

    plugins = load_plugins()
    (ending,) = [plugin for plugin in plugins.plugins if plugin.name == "ending"]
    assert (ending.status, said in ending.reason) == ("broken", True)
    assert plugins.get("routing strategy", "both", "").record.summary == "left"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(("line", "said"), ENDS.values(), ids=ENDS)
def test_whatever_a_plugin_raises_later_is_told(installed, week, line, said):
    """A check is a problem, and a router that was logged stays."""
    hooks = [f"@hookimpl\ndef mmeframe_{hook}:\n    {line}\n" for hook in ("check_spec(spec)", "router_logged(logged)")]
    source = f"{PANIC}from mmeframe.plugin import hookimpl\n{''.join(hooks)}"
    installed(Project(f"later-{said}".lower(), "1.0", (("ending", source),)))
    words = ("name=r", "routing=column", "routing.column=x", "+models.a.uri=models:/day_0/1", week.override)

    with pytest.raises(ProblemsError, match=rf"mmeframe_check_spec\(\) raised {said}"):
        api.validate(*words)
    (told,) = load_plugins().router_logged(None, None)
    assert f"1.0: mmeframe_router_logged() raised {said}" in told


def test_an_interruption_is_the_users(installed):
    """It ends what is under way, whichever plugin's code was running."""
    installed(Project("slow", "1.0", (("slow", "raise KeyboardInterrupt\n"),)))

    with pytest.raises(KeyboardInterrupt):
        load_plugins()
