"""Small plugin projects, built with hatchling and installed with pip; most are broken, each in its own way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmeframe.plugin import manager
from mmeframe.plugin.manager import PluginInfo, Plugins

HEAD = """\
from dataclasses import dataclass
from mmeframe.plugin import LoaderConf, ModelLoaderPlugin, ModelSourcePlugin, SourceConf
from mmeframe.plugin import RoutingStrategy, RoutingStrategyPlugin, StrategyConf, hookimpl

@dataclass
class Conf(StrategyConf):
    column: str = "???"

@dataclass
class MyLoaderConf(LoaderConf):
    pass

class Strategy(RoutingStrategy):
    def route_keys(self, batch, params):
        return batch.column(self.conf.column)

"""


def strategies(*records: str) -> str:
    """A module that registers routing strategies."""
    return f"{HEAD}@hookimpl\ndef mmeframe_routing_strategies():\n    return [{', '.join(records)}]\n"


def loaders(*records: str) -> str:
    """A module that registers model loaders."""
    return f"{HEAD}@hookimpl\ndef mmeframe_model_loaders():\n    return [{', '.join(records)}]\n"


@dataclass(frozen=True)
class Project:
    """A distribution: entry-point name -> source of the module behind it."""

    name: str
    version: str
    plugins: tuple[tuple[str, str], ...]
    requires: tuple[str, ...] = ()
    # Files beside the modules: path -> text.
    files: tuple[tuple[str, str], ...] = ()
    # What its modules are called, for releases of one project that no process imports together.
    package: str = ""

    def module(self, plugin: str) -> str:
        """A name that no other project has, so that one process can import them all."""
        return self.package or re.sub(r"\W", "_", f"{self.name}_{self.version}_{plugin}")


GEO = 'RoutingStrategyPlugin("geo", Conf, __name__ + ":Strategy", "a geohash")'
GOOD = Project("mmeframe-geo", "0.3.1", (("geo", strategies(GEO)),))
RIVAL = Project("acme-geo", "1.0.0", (("geo", strategies(GEO.replace('"geo"', '"acme_geo"'))),))
THIRD = Project("zed-geo", "2.0.0", (("geo", strategies(GEO.replace('"geo"', '"zed_geo"'))),))
SAME_STRATEGY = Project("other-geo", "2.1.0", (("other", strategies(GEO)),))
NO_IMPORT = Project("mmeframe-geo", "0.3.2", (("geo", "import h3_is_not_installed\n"),))
TOO_OLD = Project("mmeframe-geo", "0.3.3", (("geo", strategies(GEO)),), ("mmeframe<0.1",))
TOO_NEW = Project("mmeframe-geo", "9.0.0", (("geo", strategies(GEO)),), ("mmeframe>=9",))
FITS = Project("mmeframe-geo", "0.3.4", (("geo", strategies(GEO)),), ("mmeframe>=0.1", "mmeframe<0.0; extra == 'x'"))
ONNX = Project("mmeframe-onnx", "0.2.0", (("onnx", loaders('ModelLoaderPlugin("onnx", MyLoaderConf, "x:Y", "ONNX")')),))
ACME_ONNX = Project(
    "acme-onnx", "1.0.0", (("onnx_acme", loaders('ModelLoaderPlugin("onnx", MyLoaderConf, "x:Y", "ONNX")')),)
)
CLAIMS = Project(
    "mmeframe-fast",
    "1.2.0",
    (("fast", loaders('ModelLoaderPlugin("fast", MyLoaderConf, "x:Y", "fast", flavors=("spacy", "sklearn"))')),),
)
# One distribution of many plugins, each with one fault: entry-point name -> source.
FAULTS = {
    "raises": "raise ValueError('no licence file')\n",
    "exits": "raise SystemExit(3)\n",
    "syntax": "def (:\n",
    "misspelt": f"{HEAD}@hookimpl\ndef mmeframe_routing_strategy():\n    return []\n",
    "unheard_of": f"{HEAD}@hookimpl\ndef mmeframe_quux():\n    return []\n",
    "unmarked": f"{HEAD}def mmeframe_routing_strategies():\n    return []\n",
    "argument": f"{HEAD}@hookimpl\ndef mmeframe_routing_strategies(config):\n    return []\n",
    "hook_raises": f"{HEAD}@hookimpl\ndef mmeframe_routing_strategies():\n    return 1 / 0\n",
    "one_record": strategies(GEO).replace("return [", "return ").replace("]\n", "\n"),
    "no_list": f"{HEAD}@hookimpl\ndef mmeframe_routing_strategies():\n    return None\n",
    "no_record": strategies('{"name": "x"}'),
    "wrong_record": strategies('ModelSourcePlugin("x", SourceConf, "x:Y", "")'),
    "bad_name": strategies('RoutingStrategyPlugin("Geo-Hash", Conf, "x:Y", "")'),
    "bad_config": strategies('RoutingStrategyPlugin("x", MyLoaderConf, "x:Y", "")'),
    "dict_config": strategies('RoutingStrategyPlugin("x", {"column": "c"}, "x:Y", "")'),
    "plain_config": "class Plain: pass\n" + strategies('RoutingStrategyPlugin("x", Plain, "x:Y", "")'),
    "undecorated": (
        f"{HEAD}class Bare(StrategyConf):\n    column: str = 'c'\n\n"
        "@hookimpl\ndef mmeframe_routing_strategies():\n    return [RoutingStrategyPlugin('x', Bare, 'x:Y', '')]\n"
    ),
    "bad_target": strategies('RoutingStrategyPlugin("x", Conf, "package.module.Class", "")'),
    "newer": strategies('RoutingStrategyPlugin("x", Conf, "x:Y", "", api_version=2)'),
    "reserved": (
        f"{HEAD}@dataclass\nclass Taken(StrategyConf):\n    levels: int = 1\n\n"
        "@hookimpl\ndef mmeframe_routing_strategies():\n    return [RoutingStrategyPlugin('x', Taken, 'x:Y', '')]\n"
    ),
}
ZOO = Project("zoo", "1.0", (*FAULTS.items(), ("healthy", strategies(GEO.replace('"geo"', '"healthy"')))))


def write(project: Project, folder: Path) -> None:
    """A hatchling project."""
    entries = "\n".join(f"{name} = '{project.module(name)}'" for name, _ in project.plugins)
    requires = ", ".join(f'"{text}"' for text in project.requires)
    (folder / "pyproject.toml").write_text(
        f"[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n"
        f"[project]\nname = '{project.name}'\nversion = '{project.version}'\ndependencies = [{requires}]\n"
        f"[project.entry-points.mmeframe]\n{entries}\n[tool.hatch.build]\ninclude = ['*.py', '*.yaml']\n"
    )
    for name, source in project.plugins:
        (folder / f"{project.module(name)}.py").write_text(source)
    for path, text in project.files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def only(patch: pytest.MonkeyPatch, site: Path) -> None:
    """Make the folder's plugins the only ones that are installed beside the built-in one."""
    everything = manager._distributions
    patch.syspath_prepend(site)
    patch.setattr(
        manager, "_distributions", lambda: [dist for dist in everything() if Path(str(dist.locate_file(""))) == site]
    )


def info(plugins: Plugins, name: str) -> PluginInfo:
    """The only plugin of a name."""
    (found,) = [plugin for plugin in plugins.plugins if plugin.name == name]
    return found
