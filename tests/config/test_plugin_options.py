"""Options of plugins: what an author can say of them, and what a user reads who gets one wrong."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from mmeframe import api
from mmeframe.errors import MmeframeError, ProblemsError
from mmeframe.plugin import (
    MISSING,
    ConfigError,
    RoutingInputs,
    RoutingStrategy,
    RoutingStrategyPlugin,
    StrategyConf,
    hookimpl,
)
from mmeframe.plugin.manager import isolated_plugins

MODELS = "+models.a={uri:'models:/a@champion',key:{ip:office}}"


def lower(text: str) -> str:
    if text != text.lower():
        raise ValueError(f"{text} has capitals")
    return text


@dataclass
class Site:
    name: str = MISSING
    size: int = 1


@dataclass
class NetsConf(StrategyConf):
    column: Annotated[str, AfterValidator(lower)] = MISSING
    networks: dict[str, str] = MISSING  # type: ignore[assignment]
    sites: list[Site] = field(default_factory=list)
    best: Site | None = None
    tags: set[str] = field(default_factory=set)


class Nets(RoutingStrategy[NetsConf]):
    def __init__(self, conf: NetsConf) -> None:
        super().__init__(conf)
        for name, text in conf.networks.items():
            if "/" not in text:
                raise ConfigError(f"{text} is no network.", where=f"networks.{name}", hint="Write 10.0.0.0/8.")

    def inputs(self) -> RoutingInputs:
        return RoutingInputs({self.conf.column: "string"})


@hookimpl
def mmeframe_routing_strategies() -> list[Any]:
    return [
        RoutingStrategyPlugin("nets", NetsConf, f"{__name__}:Nets", "networks"),
        RoutingStrategyPlugin("gone", StrategyConf, f"{__name__}:Gone", "its class is not there"),
    ]


@pytest.fixture
def report():
    """The problems of a config, as they are printed."""
    plugins = isolated_plugins(sys.modules[__name__])

    def run(*overrides):
        with pytest.raises(MmeframeError) as caught:
            api.compose("name=r", MODELS, *overrides, plugins=plugins)
        assert isinstance(caught.value, ProblemsError)
        return [str(problem) for problem in caught.value.problems]

    return run


SHORT = ("routing=nets", "routing.column=ip")
OFFICE = "+routing.networks.office=10.0.0.0/8"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param(
            ["+routing.networks.lab=here"],
            "routing.networks.lab: here is no network.\n  Write 10.0.0.0/8.",
            id="what-a-component-refuses",
        ),
        pytest.param([OFFICE, "routing.column=IP"], "routing.column: IP has capitals.", id="what-a-validator-refuses"),
        pytest.param(
            ["routing.networks=abc"], "routing.networks: input should be a map.\n  Write {name: value}.", id="map"
        ),
        pytest.param(
            [OFFICE, "routing.tags=abc"], "routing.tags: input should be a list.\n  Write [value, value].", id="list"
        ),
        pytest.param(
            [OFFICE, "routing.sites=[abc]"],
            "routing.sites[0]: input should be a map.\n  Write {name: value}.",
            id="map-with-names",
        ),
        pytest.param(
            [OFFICE, "routing.sites=[{name: a, siz: 2}]"],
            "routing.sites[0].siz: there is no option 'siz'.\n  Did you mean 'size'? It has: name, size.",
            id="misspelt-in-a-list",
        ),
        pytest.param(
            [OFFICE, "routing.best={nam: a}"],
            "routing.best.nam: there is no option 'nam'.\n  Did you mean 'name'? It has: name, size.",
            id="misspelt-in-an-optional-one",
        ),
        pytest.param(
            [OFFICE, "routing.sites=[{size: 2}]"],
            "routing.sites[0].name: this option is required.\n  Add it to that entry.",
            id="required-in-a-list",
        ),
        pytest.param(
            [OFFICE, "routing.networks.lab=10.1.0.0/16"],
            "routing.networks.lab=10.1.0.0/16: routing.networks has no 'lab' yet.\n"
            "  Use +routing.networks.lab=10.1.0.0/16 to add it.",
            id="new-name-of-a-map",
        ),
        pytest.param(
            [OFFICE, "routing.network.lab=10.1.0.0/16"],
            "routing.network.lab=10.1.0.0/16: there is no option 'network' in routing.\n"
            "  Did you mean routing.networks.lab=10.1.0.0/16? "
            "It has: best, column, keys, kind, levels, networks, on_unknown, sites, tags.",
            id="misspelt-map",
        ),
    ],
)
def test_a_wrong_option(report, overrides, expected):
    """Where it stands in the config, what is wrong, what to write."""
    assert report(*SHORT, *overrides) == [expected]


def test_what_a_component_refuses_in_a_key_part(report):
    """The place is the part's own."""
    part = ("+routing@routing.keys.ip=nets", "routing.keys.ip.column=ip", "+routing.keys.ip.networks.lab=here")

    assert report(*part) == ["routing.keys.ip.networks.lab: here is no network.\n  Write 10.0.0.0/8."]


def test_a_class_that_is_not_there(report):
    """That is the plugin's fault, and no option's."""
    (problem,) = report("+routing@routing.keys.ip=gone")

    assert problem == f"routing.keys.ip: gone failed: PluginError: {__name__}:Gone: module {__name__} has no 'Gone'."
