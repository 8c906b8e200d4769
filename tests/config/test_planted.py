"""What could be a secret is refused where it would be stored: planted in each option of each section and component."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from mmeframe import api, sections
from mmeframe.config.model_entry import ModelConf
from mmeframe.errors import MmeframeError, ProblemsError
from mmeframe.plugin.manager import Plugins, load_plugins
from tests import fleets

SECRET = "s3cr3t-planted"
URI = f"https://alice:{SECRET}@host.invalid/x?sig={SECRET}"

# What is used and stored nowhere, and what names something in the store or on disk. All others are refused.
USED = {"exclude", "train.jobs", "train.reader.path", "train.reader.object", "tracking.uri"}
NAMES = {"name", "tracking.experiment_name", "tracking.run_name", "tracking.register_as", "tracking.alias"}
NAMES |= {"train.register_as", "train.global_as", "train.alias"}
PLACES = {"models.a.uri"}
# Options of sources that are stored with each sub-model, and those that name or place what exists.
OF_SOURCES, OF_PLACES = {"arm", "key", "each", "signature", "prove"}, {"path", "name", "pattern", "version"}

PLUGIN = """
from dataclasses import dataclass, field
from mmeframe.plugin import *

@dataclass
class VaultConf(ObserverConf):
    api_key: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    max_tokens: int = 5
    key_column: str = "x"

class Vault(Observer):
    pass

@hookimpl
def mmeframe_observers():
    return [ObserverPlugin("vault", VaultConf, __name__ + ":Vault", "tells a vault")]
"""


@pytest.fixture
def plugins(tmp_path, monkeypatch) -> Plugins:
    """The built-in components, and one whose options sound secret."""
    (tmp_path / "vaulted.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    return load_plugins(["vaulted"])


def options(config: Any, value: Any) -> dict[str, Any]:
    """A value at every option of a dataclass, and of those inside of it."""
    hints = typing.get_type_hints(config)
    return {
        option.name.rstrip("_"): options(hints[option.name], value)
        if dataclasses.is_dataclass(hints[option.name])
        else value
        for option in dataclasses.fields(config)
        if option.name != "public"
    }


def everything(plugins: Plugins, value: Any) -> dict[str, Any]:
    """A config that has a value at every option there is."""

    def all_of(noun: str) -> dict[str, Any]:
        found = plugins.registered[noun]
        return {kind: {"kind": kind, **options(entry.record.config, value)} for kind, entry in sorted(found.items())}

    models: dict[str, Any] = {"a": {**options(ModelConf, value), "key": {"dow": value}}}
    models |= {f"loaded_{kind}": {"uri": "x", "loader": it} for kind, it in all_of("model loader").items()}
    models |= {f"combined_{kind}": {"combine": it} for kind, it in all_of("combiner").items()}
    return {
        "defaults": ["_base", "_self_"],
        **dict.fromkeys(("name", "exclude", "disabled_models", "isolation"), value),
        **{name: options(it.type, value) for name, it in sections.SECTIONS.items() if it.closed},
        "tracking": {**options(sections.TrackingSpec, value), "tags": {"team": value, "list": [value]}},
        "routing": {**options(sections.RoutingConf, value), "keys": all_of("routing strategy")},
        "sources": all_of("model source"),
        "observers": all_of("observer"),
        "models": models,
    }


def places(value: Any, path: str = "") -> Iterator[str]:
    """The paths of what is planted."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name != "defaults":
                yield from places(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from places(item, f"{path}[{at}]")
    elif any(it in str(value) for it in (SECRET, "PLANTED", "API_TOKEN")):
        yield path


def is_used(path: str) -> bool:
    steps = path.split(".")
    of_source = steps[0] == "sources" and steps[2] not in OF_SOURCES | OF_PLACES
    return path in USED or of_source or steps[0] in ("serve", "predict", "validate", "build", "bundle")


def is_place(path: str) -> bool:
    steps = path.split(".")
    return path in PLACES or (steps[0] == "sources" and steps[2] in OF_PLACES)


def composed(folder: Path, tree: Mapping[str, Any], plugins: Plugins, command: str = "build") -> Any:
    (folder / "planted.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return api.compose(command=command, config_dirs=[folder], config_name="planted", plugins=plugins)


def refused(folder: Path, tree: Mapping[str, Any], plugins: Plugins) -> dict[str, str]:
    """The paths that are refused, with why; and no text of it holds the secret."""
    with pytest.raises(ProblemsError) as caught:
        composed(folder, tree, plugins)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.problems)
    return {problem.where: str(problem) for problem in caught.value.problems}


@pytest.mark.parametrize("written", ["${oc.env:PLANTED}", "a ${oc.env:PLANTED}", "${oc.decode:${oc.env:PLANTED}}"])
def test_a_variable_is_stored_nowhere_unasked(written, plugins, tmp_path, monkeypatch):
    """Every option whose value would be in a router, a sub-model or a run is named with the variable."""
    monkeypatch.setenv("PLANTED", SECRET)
    tree = everything(plugins, written)

    found = refused(tmp_path, tree, plugins)

    wanted = {it for it in places(tree) if not (is_used(it) or is_place(it) or it in NAMES)}
    assert set(found) == wanted
    assert "routing.keys.column.column" in wanted
    assert found["output.missing_note"] == (
        "output.missing_note: its value comes from PLANTED, of the environment, and would be stored in the clear.\n"
        "  If it is no secret, say so: tracking.public=[PLANTED]."
    )


def test_a_secret_variable_is_no_name_either(plugins, tmp_path, monkeypatch):
    """Names and paths may come from variables, but not from one whose name sounds secret."""
    monkeypatch.setenv("API_TOKEN", SECRET)
    tree = everything(plugins, "${oc.env:API_TOKEN}")

    assert set(refused(tmp_path, tree, plugins)) == {it for it in places(tree) if not is_used(it)}


def test_a_uri_with_a_password_is_stored_nowhere(plugins, tmp_path):
    """Where URIs are stored without what is secret in them they are taken; elsewhere they are refused."""
    tree = everything(plugins, URI)

    cleaned = {it for it in places(tree) if it.startswith(("environment.", "tracking.tags"))}
    assert set(refused(tmp_path, tree, plugins)) == {
        it for it in places(tree) if not (is_used(it) or is_place(it) or it in cleaned)
    }


@pytest.mark.parametrize(
    ("options", "where"),
    [
        pytest.param({"api_key": SECRET}, ["observers.v.api_key"], id="option"),
        pytest.param({"headers": {"X-Api-Key": SECRET}}, ["observers.v.headers.X-Api-Key"], id="in-a-map"),
    ],
)
def test_an_option_that_sounds_secret(options, where, plugins, tmp_path):
    """A component's options are stored with the router, so a text under a name that sounds secret is refused."""
    tree = {"defaults": ["build", "_self_"], "name": "r", "observers": {"v": {"kind": "vault", **options}}}
    tree |= {"routing": {"kind": "column", "column": "dow"}, "models": {"a": {"uri": "models:/a/1"}}}

    assert list(refused(tmp_path, tree, plugins)) == where


def test_other_options_are_taken(plugins, tmp_path):
    """Numbers are no secrets, and a key is what rows are routed by."""
    options = {"headers": {"accept": "x"}, "max_tokens": 7, "key_column": "y"}
    tree = {"defaults": ["build", "_self_"], "name": "r", "observers": {"v": {"kind": "vault", **options}}}
    tree |= {"routing": {"kind": "column", "column": "dow"}, "models": {"a": {"uri": "models:/a/1"}}}

    assert composed(tmp_path, tree, plugins).name == "r"


COLUMN = ("name=r", "routing=column", "+models.a.uri=models:/a/1")


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["routing.column=${oc.env:PLANTED}", "tracking.public=[PLANTED]"], id="the-variable"),
        pytest.param(["routing.column=${oc.env:PLANTED}", "tracking.public=routing.column"], id="the-option"),
        pytest.param(["routing.column=${oc.env:NOT_SET_HERE,dow}"], id="a-default"),
        pytest.param(["routing.column=${name}"], id="another-option"),
        pytest.param(["routing.column=dow", "+tracking.tags.bearer=${oc.env:PLANTED}"], id="a-tag-that-is-hidden"),
        pytest.param(["routing.column=dow", "tracking.uri=https://a:${oc.env:PLANTED}@h"], id="a-password"),
        pytest.param(["routing.column=dow", "models.a.uri=https://a:${oc.env:API_TOKEN}@h/m"], id="of-a-place"),
        pytest.param(["routing.column=dow", "models.a.uri=models:/a@${oc.env:PLANTED}"], id="an-alias"),
    ],
)
def test_what_is_no_secret_is_taken(overrides, monkeypatch):
    """The config says that a variable or an option is public; passwords of URIs, and hidden tags, are not stored."""
    monkeypatch.setenv("PLANTED", "dow")
    monkeypatch.setenv("API_TOKEN", SECRET)

    assert api.compose(*COLUMN, *overrides, plugins=fleets.plugins()).name == "r"


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        pytest.param({"a": "${tracking.tags.bearer}", "bearer": "${oc.env:PLANTED}"}, "PLANTED", id="another-key"),
        pytest.param({"a": "${oc.env:${oc.env:WHICH}}"}, "WHICH, PLANTED", id="a-variable-in-another"),
        pytest.param({"a": "${oc.env:NOT_SET_HERE,${oc.env:PLANTED}}"}, "PLANTED", id="a-default"),
        pytest.param({"a": "${oc.select:none,${oc.env:PLANTED}}"}, "PLANTED", id="a-selection"),
        pytest.param({"a": "${shouted:${oc.env:PLANTED}}"}, "PLANTED, shouted", id="changed"),
        pytest.param({"a": "${vault:path}"}, "vault", id="a-resolver"),
        pytest.param("${oc.create:${oc.decode:${oc.env:MAP}}}", "MAP", id="a-map"),
    ],
)
def test_where_a_value_came_from(tags, named, monkeypatch, tmp_path):
    """Whatever a value went through, its variables are known; what a resolver of the user's gives may be anything."""
    for name, value in (("PLANTED", SECRET), ("WHICH", "PLANTED"), ("MAP", f"{{a: {SECRET}}}")):
        monkeypatch.setenv(name, value)
    OmegaConf.register_new_resolver("vault", lambda path: SECRET)
    OmegaConf.register_new_resolver("shouted", str.upper, use_cache=True)
    tree = {"defaults": ["build", "_self_"], "name": "r", "tracking": {"tags": tags}}
    try:
        found = refused(tmp_path, tree, fleets.plugins())
    finally:
        OmegaConf.clear_resolver("vault")
        OmegaConf.clear_resolver("shouted")

    assert found["tracking.tags.a"].startswith(f"tracking.tags.a: its value comes from {named}, of the environment")


def test_a_value_that_cannot_be_read_is_not_repeated(monkeypatch):
    """OmegaConf's message quotes a piece of what it cannot parse."""
    monkeypatch.setenv("PLANTED", f"{SECRET}}}{{")

    with pytest.raises(MmeframeError) as caught:
        api.compose(*COLUMN, 'routing.column="${oc.decode:${oc.env:PLANTED}}"', plugins=fleets.plugins())

    assert str(caught.value) == "routing.column: this cannot be resolved from the value of PLANTED."


def test_resolvers_are_as_they_were(monkeypatch):
    """Composing leaves the process's resolvers alone."""
    from omegaconf.basecontainer import BaseContainer

    monkeypatch.setenv("PLANTED", "dow")
    before = dict(BaseContainer._resolvers)

    api.compose(*COLUMN, "routing.column=${oc.env:PLANTED}", "tracking.public=PLANTED", plugins=fleets.plugins())

    assert {name: BaseContainer._resolvers[name] for name in before} == before
