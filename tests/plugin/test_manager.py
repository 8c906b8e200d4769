"""Finding plugins: small projects, built with hatchling and installed with pip, each broken in its own way."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import mmeframe
from mmeframe.cli import main
from mmeframe.config import compose, parse
from mmeframe.errors import MmeframeError, PluginError, ProblemsError, UnknownNameError, UsageError
from mmeframe.plugin import hookspecs
from mmeframe.plugin.conf import defaults_of
from mmeframe.plugin.kinds import KINDS
from mmeframe.plugin.manager import PluginInfo, Plugins, load_plugins, split_switches
from tests.plugin.projects import (
    ACME_ONNX,
    CLAIMS,
    FAULTS,
    FITS,
    GEO,
    GOOD,
    NO_IMPORT,
    ONNX,
    RIVAL,
    SAME_STRATEGY,
    THIRD,
    TOO_NEW,
    TOO_OLD,
    ZOO,
    Project,
    info,
    only,
    strategies,
)

# The routing strategies that come with mmeframe.
LOADERS = ["catboost", "lightgbm", "pyfunc", "sklearn", "statsmodels", "xgboost"]
BUILT_IN = ["bins", "column", "datepart", "gate", "hash", "lookup", "param", "pattern", "rules"]

# -- what is registered ----------------------------------------------------------------------------------------------


def test_the_built_ins_are_registered_like_any_other_plugin(alone):
    """The built-in plugin is a plugin of mmeframe's own distribution, with its kinds."""
    plugins = load_plugins()

    assert [plugin.title for plugin in plugins.plugins] == [f"mmeframe {mmeframe.__version__}"]
    assert {noun: plugins.names(noun) for noun in plugins.registered} == {
        "routing strategy": BUILT_IN,
        "model loader": LOADERS,
        "model source": ["folder", "logged_models", "manifest", "registry", "template"],
        "combiner": ["mean", "median", "vote", "weighted"],
        "observer": ["log"],
    }


def test_an_installed_plugin(installed):
    """An entry point in the group mmeframe is found, with its distribution and what it registers."""
    installed(GOOD)

    plugins = load_plugins()

    assert info(plugins, "geo") == PluginInfo(
        "geo",
        GOOD.module("geo"),
        "mmeframe-geo",
        "0.3.1",
        "ok",
        "",
        {"routing strategy": ["geo"]},
        ["mmeframe_routing_strategies"],
    )
    assert plugins.names("routing strategy") == sorted([*BUILT_IN, "geo"])


def test_a_plugins_kind_is_chosen_by_name(installed):
    """A plugin's strategy is a group option, and its component names what a bundle records."""
    installed(GOOD)
    plugins = load_plugins()

    spec = parse(compose("build", ["name=r", "routing=geo", "routing.column=place"], plugins=plugins), plugins)

    assert spec.routing.parts[0].strategy.to_json() == {
        "kind": "geo",
        "target": "mmeframe_geo_0_3_1_geo:Strategy",
        "config": "mmeframe_geo_0_3_1_geo:Conf",
        "options": {"column": "place"},
    }


@pytest.mark.parametrize(
    ("flavor", "loader"),
    [
        pytest.param("sklearn", "sklearn", id="claimed"),
        pytest.param("pyfunc", None, id="pyfunc-is-never-claimed"),
        pytest.param("keras", None, id="nobodys"),
    ],
)
def test_the_loader_of_a_flavor(alone, flavor, loader):
    """``auto`` takes the loader that claims the flavor."""
    assert load_plugins().loader_for(flavor) == loader


def test_a_copy_further_down_the_path_is_not_a_second_plugin(install, monkeypatch):
    """Of two installed copies of a distribution, the one that imports would find counts."""
    for project in (TOO_OLD, GOOD):
        monkeypatch.syspath_prepend(install(project))

    assert info(load_plugins(), "geo").title == "mmeframe-geo 0.3.1"


# -- broken plugins --------------------------------------------------------------------------------------------------

ABSENT = "failed to import and may provide it: No module named 'h3_is_not_installed'."


def test_a_plugin_that_cannot_be_imported_is_kept_with_its_reason(installed):
    """One broken plugin does not take the others down."""
    installed(NO_IMPORT)

    plugins = load_plugins()

    assert (info(plugins, "geo").status, info(plugins, "geo").reason) == (
        "broken",
        "No module named 'h3_is_not_installed'",
    )
    assert plugins.names("routing strategy") == BUILT_IN


def test_a_name_that_a_broken_plugin_may_provide(installed):
    """A kind that nobody registers is answered with the plugins that failed."""
    installed(NO_IMPORT)

    with pytest.raises(UnknownNameError) as caught:
        load_plugins().get("routing strategy", "geo", "routing.kind")

    assert str(caught.value) == (
        f"routing.kind: no routing strategy named 'geo'.\n  Known: {', '.join(BUILT_IN)}. mmeframe-geo 0.3.2 {ABSENT}"
    )


@pytest.mark.parametrize(
    "override",
    [
        pytest.param("routing=geo", id="group"),
        pytest.param("+routing.kind=geo", id="key"),
        pytest.param("+routing@routing.keys.place=geo", id="part"),
    ],
)
def test_a_broken_plugins_name_on_the_command_line(installed, capsys, override):
    """However the kind is chosen: exit 2, and the broken plugin is named with its reason."""
    installed(NO_IMPORT)

    code = main(["validate", "name=r", override])

    assert code == 2
    assert f"mmeframe-geo 0.3.2 {ABSENT}".rstrip(".") in capsys.readouterr().err


@pytest.fixture(scope="module")
def zoo(install: Callable[..., Path]) -> Plugins:
    """All plugins of the zoo but the one that exits, loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        only(patch, install(ZOO))
        return load_plugins(["no:exits"])


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        pytest.param("raises", "no licence file (zoo_1_0_raises.py, line 1)", id="import-raises"),
        pytest.param(
            "misspelt",
            "Plugin 'misspelt': there is no hook 'mmeframe_routing_strategy'. "
            "Did you mean 'mmeframe_routing_strategies'?",
            id="misspelt-hook",
        ),
        pytest.param("unheard_of", "Plugin 'unheard_of': there is no hook 'mmeframe_quux'.", id="unknown-hook"),
        pytest.param(
            "unmarked",
            "Plugin 'unmarked': mmeframe_routing_strategies() is not marked. Add @hookimpl from mmeframe.plugin.",
            id="no-marker",
        ),
        pytest.param(
            "hook_raises",
            "Plugin 'hook_raises': mmeframe_routing_strategies() raised ZeroDivisionError: division by zero",
            id="hook-raises",
        ),
        pytest.param(
            "argument",
            "Plugin 'argument': the hook mmeframe_routing_strategies() has no argument 'config'. It has none.",
            id="argument",
        ),
        pytest.param(
            "one_record",
            "Plugin 'one_record': mmeframe_routing_strategies() must return a list of records: "
            "return [RoutingStrategyPlugin(...)].",
            id="no-list-around-a-record",
        ),
        pytest.param(
            "no_record",
            "Plugin 'no_record': mmeframe_routing_strategies() must return RoutingStrategyPlugin records, not dict.",
            id="no-record",
        ),
        pytest.param(
            "wrong_record",
            "Plugin 'wrong_record': mmeframe_routing_strategies() must return RoutingStrategyPlugin records, "
            "not ModelSourcePlugin.",
            id="record-of-another-hook",
        ),
        pytest.param(
            "bad_name",
            "Plugin 'bad_name': routing strategy 'Geo-Hash': a name is lower-case letters, digits and underscores.",
            id="name",
        ),
        pytest.param(
            "bad_config",
            "Plugin 'bad_config': routing strategy 'x': its config must be a dataclass that extends StrategyConf.",
            id="config-of-another-kind",
        ),
        pytest.param(
            "dict_config",
            "Plugin 'dict_config': routing strategy 'x': its config must be a dataclass that extends StrategyConf.",
            id="config-is-a-dict",
        ),
        pytest.param(
            "plain_config",
            "Plugin 'plain_config': routing strategy 'x': its config must be a dataclass that extends StrategyConf.",
            id="config-is-a-plain-class",
        ),
        pytest.param(
            "undecorated",
            "Plugin 'undecorated': routing strategy 'x': its config must be a dataclass that extends StrategyConf.",
            id="config-without-dataclass",
        ),
        pytest.param(
            "bad_target",
            "Plugin 'bad_target': routing strategy 'x': its target must be written 'package.module:Class', "
            "not 'package.module.Class'.",
            id="target",
        ),
        pytest.param(
            "newer",
            "Plugin 'newer': routing strategy 'x' needs plugin API 2; this mmeframe has 1.",
            id="api_version",
        ),
        pytest.param(
            "reserved",
            "Plugin 'reserved': routing strategy 'x': the option name 'levels' is taken by mmeframe itself.",
            id="reserved-option",
        ),
    ],
)
def test_a_broken_plugin_says_what_to_change(zoo, plugin, reason):
    """Each fault of a plugin is named with the plugin and the way to mend it."""
    assert (info(zoo, plugin).status, info(zoo, plugin).reason) == ("broken", reason)


@pytest.mark.parametrize("plugin", ["syntax", "no_list"])
def test_other_faults_are_kept_with_a_reason(zoo, plugin):
    """Whatever else is wrong is told in the words of Python, under the plugin's name."""
    assert info(zoo, plugin).status == "broken"
    assert info(zoo, plugin).reason != ""


def test_one_plugins_fault_is_not_its_distributions(zoo):
    """Broken plugins register nothing; a healthy one beside them registers all."""
    assert [plugin.name for plugin in zoo.plugins if plugin.status == "broken" and plugin.provides] == []
    assert (info(zoo, "healthy").status, info(zoo, "healthy").provides) == ("ok", {"routing strategy": ["healthy"]})


def test_a_plugin_that_exits_at_import(installed):
    """A plugin that ends the process at import is broken, like one that raises."""
    installed(ZOO)

    assert info(load_plugins(), "exits").status == "broken"


def test_a_plugin_for_another_mmeframe(installed):
    """The plugin's own requirement is checked before it is imported."""
    installed(TOO_OLD)

    assert info(load_plugins(), "geo").reason == (
        f"mmeframe-geo 0.3.3 needs mmeframe <0.1; this is {mmeframe.__version__}. Install a newer mmeframe-geo."
    )
    assert TOO_OLD.module("geo") not in sys.modules


def test_a_plugin_for_a_later_mmeframe(installed):
    """A newer plugin would not help."""
    installed(TOO_NEW)

    assert info(load_plugins(), "geo").reason == (
        f"mmeframe-geo 9.0.0 needs mmeframe >=9; this is {mmeframe.__version__}. "
        "Install a newer mmeframe, or an older mmeframe-geo."
    )


def test_a_plugin_for_this_mmeframe(installed):
    """A requirement that this version meets is none in the way, nor is one of an extra."""
    installed(FITS)

    assert info(load_plugins(), "geo").status == "ok"


def test_a_requirement_that_cannot_be_read(installed, install):
    """A distribution with broken metadata is a broken plugin, and no more than that."""
    odd = Project("odd-geo", "1.0", (("odd", strategies(GEO)),), ("mmeframe",))
    installed(odd)
    (metadata,) = install(odd).glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Requires-Dist: mmeframe", "Requires-Dist: mmeframe (>=0.1"))

    assert info(load_plugins(), "odd").status == "broken"


def test_a_target_that_is_not_there(module):
    """A record's class is imported when its kind is chosen; what is missing is told at its config path."""
    name = module(strategies('RoutingStrategyPlugin("geo", Conf, "os.path:Nowhere", "")'))
    plugins = load_plugins([name])

    with pytest.raises(ProblemsError) as caught:
        parse(compose("build", ["name=r", "routing=geo", "routing.column=c"], plugins=plugins), plugins)

    (problem,) = caught.value.problems
    assert problem.where == "routing.keys.c"
    assert "module os.path has no 'Nowhere'" in problem.what


# -- two of one name -------------------------------------------------------------------------------------------------


def test_one_strategy_of_two_plugins(installed):
    """A kind that is registered twice is an error where it is chosen, with both distributions and the ways out."""
    installed(GOOD, SAME_STRATEGY)

    with pytest.raises(PluginError) as caught:
        load_plugins().get("routing strategy", "geo", "routing.kind")

    assert str(caught.value) == (
        "routing.kind: two routing strategies are named 'geo': mmeframe-geo 0.3.1 and other-geo 2.1.0.\n"
        "  Write mmeframe-geo.geo or other-geo.geo, or disable one with -p no:other-geo.geo."
    )


def test_one_loader_of_two_plugins(installed):
    """The same for model loaders."""
    installed(ONNX, ACME_ONNX)

    with pytest.raises(PluginError) as caught:
        load_plugins().get("model loader", "onnx", "models.a.loader")

    assert str(caught.value) == (
        "models.a.loader: two model loaders are named 'onnx': mmeframe-onnx 0.2.0 and acme-onnx 1.0.0.\n"
        "  Write mmeframe-onnx.onnx or acme-onnx.onnx, or disable one with -p no:acme-onnx.onnx."
    )


def test_the_way_out_of_two_of_one_name(installed):
    """What the error tells to do works."""
    installed(ONNX, ACME_ONNX)

    plugins = load_plugins(["no:acme-onnx"])

    assert plugins.names("model loader") == sorted(["onnx", *LOADERS])


def test_a_name_of_a_built_in(module):
    """A plugin cannot take a built-in's name: the built-in one has its full name, too."""
    name = module(strategies('RoutingStrategyPlugin("column", Conf, "x:Y", "")'))

    with pytest.raises(PluginError) as caught:
        load_plugins([name]).get("routing strategy", "column", "routing.kind")

    assert str(caught.value) == (
        f"routing.kind: two routing strategies are named 'column': mmeframe {mmeframe.__version__} and {name}.\n"
        f"  Write mmeframe.column or {name}.column, or disable one with -p no:{name}.column."
    )


ANSWERS = """\
from dataclasses import dataclass
from mmeframe.plugin import CombinerConf, CombinerPlugin, ObserverConf, ObserverPlugin, hookimpl

@dataclass
class Combining(CombinerConf):
    share: float = 0.1

@dataclass
class Observing(ObserverConf):
    port: int = 8125

@hookimpl
def mmeframe_combiners():
    return [CombinerPlugin("{combiner}", Combining, "x:Y", "mean without the extremes")]

@hookimpl
def mmeframe_observers():
    return [ObserverPlugin("{observer}", Observing, "x:Y", "counters over UDP")]
"""


def test_combiners_and_observers(module):
    """Their hooks are called like the others; the options are those of the base and the plugin's own."""
    name = module(ANSWERS.format(combiner="trimmed", observer="statsd"))

    plugins = load_plugins([name])

    assert info(plugins, name).provides == {"combiner": ["trimmed"], "observer": ["statsd"]}
    combiner, observer = plugins.registered["combiner"]["trimmed"], plugins.registered["observer"]["statsd"]
    assert defaults_of(combiner.record.config) == {"of": [], "share": 0.1}
    assert defaults_of(observer.record.config) == {"port": 8125}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param({"combiner": "mean", "observer": "statsd"}, "two combiners are named 'mean'", id="combiner"),
        pytest.param({"combiner": "trimmed", "observer": "log"}, "two observers are named 'log'", id="observer"),
    ],
)
def test_a_built_in_combiner_or_observer_of_a_plugin(module, names, expected):
    """A plugin cannot take their names either."""
    name = module(ANSWERS.format(**names))

    (clash,) = load_plugins([name]).clashes()

    assert clash.what == f"{expected}: mmeframe {mmeframe.__version__} and {name}."


def test_one_flavor_of_two_loaders(installed):
    """Two loaders that claim a flavor are an error that names the flavor, both loaders and the way out."""
    installed(CLAIMS)

    with pytest.raises(PluginError) as caught:
        load_plugins().loader_for("sklearn", "models.a")

    assert str(caught.value) == (
        f"models.a: two model loaders claim the flavor 'sklearn': 'sklearn' of mmeframe {mmeframe.__version__} "
        "and 'fast' of mmeframe-fast 1.2.0.\n"
        "  Choose one with models.<id>.loader, or disable one with -p no:mmeframe-fast.fast."
    )


def test_one_entry_point_name_of_two_distributions(installed):
    """The second is broken, not silently dropped, and the first works."""
    installed(GOOD, RIVAL)

    plugins = load_plugins()

    assert [(p.title, p.status, p.reason) for p in plugins.plugins if p.name == "geo"] == [
        ("acme-geo 1.0.0", "ok", ""),
        (
            "mmeframe-geo 0.3.1",
            "broken",
            "acme-geo 1.0.0 has a plugin of the same name. Disable one with -p no:mmeframe-geo.",
        ),
    ]
    assert plugins.names("routing strategy") == ["acme_geo", *BUILT_IN]


def test_one_entry_point_name_of_three_distributions(installed):
    """With the first disabled, the second works and the third is broken."""
    installed(GOOD, RIVAL, THIRD)

    plugins = load_plugins(["no:acme-geo"])

    assert [(p.distribution, p.status) for p in plugins.plugins if p.name == "geo"] == [
        ("acme-geo", "disabled"),
        ("mmeframe-geo", "ok"),
        ("zed-geo", "broken"),
    ]
    assert plugins.names("routing strategy") == sorted([*BUILT_IN, "geo"])


# -- switches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [pytest.param("geo", id="plugin"), pytest.param("mmeframe-geo", id="distribution")])
@pytest.mark.parametrize("how", ["switch", "variable"])
def test_disabling_a_plugin(installed, monkeypatch, name, how):
    """``-p no:NAME`` and MMEFRAME_DISABLE_PLUGINS take a plugin's name or its distribution's."""
    installed(GOOD)
    switches = [f"no:{name}"] if how == "switch" else []
    if how == "variable":
        monkeypatch.setenv("MMEFRAME_DISABLE_PLUGINS", f"other, {name}")

    plugins = load_plugins(switches)

    assert info(plugins, "geo").status == "disabled"
    assert plugins.names("routing strategy") == BUILT_IN


def test_a_disabled_plugin_is_not_imported(installed):
    """Disabling a plugin that cannot be imported makes it harmless."""
    installed(NO_IMPORT)

    plugins = load_plugins(["no:geo"])

    assert (info(plugins, "geo").status, info(plugins, "geo").reason) == (
        "disabled",
        "disabled by -p no: or MMEFRAME_DISABLE_PLUGINS",
    )


def test_a_name_that_a_disabled_plugin_may_provide(installed):
    """A kind that is gone with a disabled plugin is answered with the plugin."""
    installed(GOOD)

    with pytest.raises(UnknownNameError) as caught:
        load_plugins(["no:geo"]).get("routing strategy", "geo", "routing.kind")

    assert str(caught.value) == (
        "routing.kind: no routing strategy named 'geo'.\n"
        f"  Known: {', '.join(BUILT_IN)}. mmeframe-geo 0.3.1 is disabled and may provide it."
    )


def test_disabling_what_is_not_there(installed):
    """A misspelt name after ``-p no:`` is answered with the nearest plugin."""
    installed(GOOD)

    with pytest.raises(MmeframeError) as caught:
        load_plugins(["no:mmeframe-goe"])

    assert "mmeframe-goe" in str(caught.value)
    assert "Did you mean 'mmeframe-geo'?" in str(caught.value)


@pytest.mark.parametrize("how", ["switch", "variable"])
def test_adding_a_module(module, monkeypatch, how):
    """``-p MODULE`` and MMEFRAME_PLUGINS add a module that nothing ships."""
    name = module(strategies(GEO))
    if how == "variable":
        monkeypatch.setenv("MMEFRAME_PLUGINS", f" {name} ,")

    plugins = load_plugins([name] if how == "switch" else [])

    hooks = ["mmeframe_routing_strategies"]
    assert info(plugins, name) == PluginInfo(name, name, provides={"routing strategy": ["geo"]}, hooks=hooks)
    assert info(plugins, name).title == name


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param("import h3_is_not_installed\n", "No module named 'h3_is_not_installed'", id="import"),
        pytest.param(FAULTS["misspelt"], "there is no hook 'mmeframe_routing_strategy'", id="hook"),
        pytest.param(FAULTS["unmarked"], "mmeframe_routing_strategies() is not marked", id="marker"),
        pytest.param(FAULTS["bad_name"], "a name is lower-case letters, digits and underscores", id="record"),
        pytest.param(FAULTS["hook_raises"], "raised ZeroDivisionError", id="hook-raises"),
    ],
)
def test_a_module_named_on_purpose_must_work(module, source, reason):
    """What would only make an installed plugin broken stops a command that names the module."""
    name = module(source)

    with pytest.raises(PluginError) as caught:
        load_plugins([name])

    assert caught.value.where == f"-p {name}"
    assert reason in str(caught.value)


def test_a_module_that_does_not_exist(alone):
    """A misspelt module is named."""
    with pytest.raises(MmeframeError) as caught:
        load_plugins(["no_such_plugin_module"])

    assert str(caught.value) == (
        "-p no_such_plugin_module: there is no module 'no_such_plugin_module'.\n"
        "  It must be installed, or lie in the working directory."
    )


@pytest.mark.parametrize("name", ["p1.py", "./p1", "plugins/p1", "p1-two"])
def test_what_is_no_name_of_a_module(alone, name):
    """A path, or a file's name, is answered with what to write."""
    with pytest.raises(UsageError, match=r"is no name of a module\.\n  Write package\.module, without \.py or a path"):
        load_plugins([name])


def test_a_module_of_the_working_directory(alone, tmp_path, monkeypatch):
    """The ``mmeframe`` command finds it as ``python -m`` would; nothing else needs to be set."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lies_here.py").write_text(strategies(GEO))

    plugins = load_plugins(["lies_here"])

    assert "geo" in plugins.names("routing strategy")


def test_a_module_without_hooks(module):
    """It was named to do something, and does nothing."""
    name = module("X = 1\n")

    with pytest.raises(PluginError, match=f"-p {name}: module {name} has no hook, so it is no plugin"):
        load_plugins([name])


def test_a_module_named_by_the_variable(alone, monkeypatch):
    """What is wrong with it is told with the variable, not with a switch that nobody wrote."""
    monkeypatch.setenv("MMEFRAME_PLUGINS", "no_such_plugin_module")

    with pytest.raises(UsageError, match=r"^MMEFRAME_PLUGINS: there is no module"):
        load_plugins([])


@pytest.mark.parametrize("name", ["builtin", "mmeframe"])
def test_the_built_ins_cannot_be_disabled(alone, name):
    """A switch without effect is refused."""
    with pytest.raises(UsageError, match=f"there is no plugin '{name}'"):
        load_plugins([f"no:{name}"])


def test_a_module_named_twice(module, monkeypatch):
    """The same module by variable and by switch is one plugin."""
    name = module(strategies(GEO))
    monkeypatch.setenv("MMEFRAME_PLUGINS", name)

    plugins = load_plugins([name])

    assert info(plugins, name).status == "ok"


def test_a_module_that_is_installed_already(installed):
    """Naming the module of an installed plugin changes nothing."""
    installed(GOOD)

    plugins = load_plugins([GOOD.module("geo")])

    assert plugins.names("routing strategy") == sorted([*BUILT_IN, "geo"])


@pytest.mark.parametrize("how", ["switch", "variable"])
def test_a_module_that_is_named_and_disabled(module, monkeypatch, how):
    """Who disables wins, as with an installed plugin: a switch without effect would look like one that works."""
    name = module(strategies(GEO))
    monkeypatch.setenv("MMEFRAME_PLUGINS", name)
    if how == "variable":
        monkeypatch.setenv("MMEFRAME_DISABLE_PLUGINS", name)

    plugins = load_plugins([f"no:{name}"] if how == "switch" else [])

    assert info(plugins, name).status == "disabled"
    assert plugins.names("routing strategy") == BUILT_IN


def test_a_module_called_like_an_installed_plugin(installed, tmp_path, monkeypatch):
    """Two plugins have one name: the text says whose, and lists no modules."""
    installed(GOOD)
    (tmp_path / "geo.py").write_text(strategies(GEO.replace('"geo"', '"other"')))
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(PluginError) as caught:
        load_plugins(["geo"])

    assert str(caught.value) == "-p geo: mmeframe-geo 0.3.1 has a plugin of the same name."


def test_one_module_behind_two_entry_points(installed):
    """The second is broken, and says why."""
    two = Project("twice-geo", "1.0", (("one", strategies(GEO)), ("two", strategies(GEO))), package="twice_geo")
    installed(two)

    plugins = load_plugins([])

    assert (info(plugins, "one").status, info(plugins, "two").status) == ("ok", "broken")
    assert info(plugins, "two").reason == "Plugin 'two' is registered already, as 'one'."


def test_what_a_plugin_prints_is_no_answer(installed, run):
    """A line at import goes where warnings go: --json stays JSON."""
    source = "print('thank you for using geo')\n" + strategies(GEO)
    installed(Project("noisy-geo", "1.0", (("noisy", source),)))

    done = run("plugins", "--json")

    assert "noisy" in [it["name"] for it in done.json["plugins"]]
    assert done.err == "thank you for using geo\n"


def test_switches_join_the_variables(monkeypatch):
    """Variables first, then ``-p``, each in its order."""
    monkeypatch.setenv("MMEFRAME_PLUGINS", "a,b")
    monkeypatch.setenv("MMEFRAME_DISABLE_PLUGINS", "c")

    assert split_switches(["d", "no:e"]) == (["a", "b", "d"], ["c", "e"])


# -- mmeframe plugins ------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_command_lists_broken_plugins_and_succeeds(install):
    """``mmeframe plugins`` in a process of its own: broken plugins with their reason, exit 0."""
    site = install(NO_IMPORT)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    done = subprocess.run(
        [sys.executable, "-m", "mmeframe", "plugins"], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert re.search(r"^ *geo +mmeframe-geo 0\.3\.2 +broken", done.stdout, re.MULTILINE)
    assert "geo: No module named 'h3_is_not_installed'" in done.stdout


def test_the_command_tells_two_of_one_name(installed, capsys):
    """It lists both by their full names, and says what to do."""
    installed(ONNX, ACME_ONNX)

    code = main(["plugins"])

    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert "two model loaders are named 'onnx': mmeframe-onnx 0.2.0 and acme-onnx 1.0.0. Write" in captured.out
    assert re.findall(r"^ *(\S+onnx\.onnx)", captured.out, re.MULTILINE) == ["acme-onnx.onnx", "mmeframe-onnx.onnx"]


def test_other_commands_warn_of_broken_plugins(installed, capsys):
    """A command that does not need the broken plugin says so beside its own result."""
    installed(NO_IMPORT)

    main(["validate", "serve.prt=1"])

    assert (
        "warning: plugin mmeframe-geo 0.3.2 is broken: No module named 'h3_is_not_installed'"
        in capsys.readouterr().err.splitlines()
    )


# -- the hooks themselves --------------------------------------------------------------------------------------------

SIGNATURES = {
    "mmeframe_check_spec": "(spec: 'RouterSpec') -> 'Iterable[Problem]'",
    "mmeframe_combiners": "() -> 'Iterable[CombinerPlugin]'",
    "mmeframe_config_paths": "() -> 'Iterable[str]'",
    "mmeframe_model_loaders": "() -> 'Iterable[ModelLoaderPlugin]'",
    "mmeframe_model_sources": "() -> 'Iterable[ModelSourcePlugin]'",
    "mmeframe_observers": "() -> 'Iterable[ObserverPlugin]'",
    "mmeframe_router_logged": "(spec: 'RouterSpec', logged: 'Logged') -> 'None'",
    "mmeframe_routing_strategies": "() -> 'Iterable[RoutingStrategyPlugin]'",
}


def test_the_hooks_are_those_that_plugins_are_written_for():
    """Names and signatures of the hooks; a change of one breaks plugins, so it is made here too, on purpose."""
    found = {
        name: str(inspect.signature(value)) for name, value in vars(hookspecs).items() if name.startswith("mmeframe_")
    }

    assert found == SIGNATURES


def test_the_manager_calls_every_hook():
    """Each hook is exported; those that register components have their row in the manager."""
    others = ["mmeframe_check_spec", "mmeframe_config_paths", "mmeframe_router_logged"]

    assert sorted([*(kind.hook for kind in KINDS), *others]) == sorted(SIGNATURES)
    assert sorted(hookspecs.__all__) == sorted(SIGNATURES)


@pytest.mark.parametrize("hook", SIGNATURES)
def test_a_hook_says_what_an_author_needs(hook):
    """A hook's docstring: a summary, Called, Results, On error, an example that compiles, the version."""
    text = inspect.getdoc(getattr(hookspecs, hook)) or ""

    assert re.fullmatch(r"(Offer|Say|Learn) .+\.", text.splitlines()[0])
    for part in ("Called", "Results", "On error"):
        assert re.search(rf"^{part}: \S.+\.$", text, re.MULTILINE), part
    assert re.search(r"^\.\. versionadded:: \d+\.\d+$", text, re.MULTILINE)
    example = textwrap.dedent(text.partition("Example::\n")[2].partition(".. versionadded")[0])
    assert f"def {hook}(" in example
    compile(example, hook, "exec")
