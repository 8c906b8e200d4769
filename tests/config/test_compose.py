"""Composing: every misspelling is answered, user's folders win, and nothing is left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from mmeframe.config import compose, conf_dir, parse
from mmeframe.config.hydra_api import hydra_base
from mmeframe.errors import MmeframeError, ProblemsError, UsageError
from mmeframe.plugin import manager
from mmeframe.plugin.manager import Plugins, load_plugins
from mmeframe.sections import RouterSpec

# The smallest config of a router that is complete.
ROUTED = ("name=r", "routing=column", "routing.column=dow")
SECTION_NAMES = (
    "build, bundle, disabled_models, environment, exclude, isolation, model_defaults, models, name, observers, output, "
    "predict, residency, "
    "routing, serve, signature and 5 more."
)
STRATEGIES = "bins, column, datepart, gate, hash, lookup, param, pattern, rules."
CONF = conf_dir()
COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml") if not path.stem.startswith("_"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml") if path.parent.name != "experiment"
)


@pytest.fixture(scope="module")
def builtins() -> Plugins:
    """The built-in plugins only, whatever else is installed beside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "_distributions", list)
        return load_plugins()


@pytest.fixture
def spec(builtins: Plugins) -> Callable[..., RouterSpec]:
    """Compose and parse."""

    def run(*overrides: str, command: str = "build", **options: Any) -> RouterSpec:
        return parse(compose(command, overrides, plugins=builtins, **options), builtins)

    return run


@pytest.fixture
def report(spec: Callable[..., RouterSpec]) -> Callable[..., list[str]]:
    """The problems of a config, as they are printed."""

    def run(*overrides: str, **options: Any) -> list[str]:
        with pytest.raises(ProblemsError) as caught:
            spec(*overrides, **options)
        return [str(problem) for problem in caught.value.problems]

    return run


@pytest.fixture
def answers(builtins: Plugins) -> Callable[..., list[str]]:
    """What composing says about overrides, before anything is parsed."""

    def run(*overrides: str) -> list[str]:
        return [str(problem) for problem in compose("build", overrides, plugins=builtins).problems]

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder of one's own configs, from path -> text."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / "mine" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "mine"

    return write


# -- misspelt overrides ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param(
            "serve.prt=1",
            "serve.prt=1: there is no option 'prt' in serve.\n"
            "  Did you mean serve.port=1? It has: host, port, workers.",
            id="option",
        ),
        pytest.param(
            "train.estimator.clas=x.Y",
            "train.estimator.clas=x.Y: there is no option 'clas' in train.estimator.\n"
            "  Did you mean train.estimator.class=x.Y? It has: class, params.",
            id="nested-option",
        ),
        pytest.param(
            "serve.zzz=1",
            "serve.zzz=1: there is no option 'zzz' in serve.\n  It has: host, port, workers.",
            id="option-nothing-close",
        ),
        pytest.param(
            "port=3",
            f"port=3: there is no section 'port'.\n  Did you mean serve.port=3? Sections: {SECTION_NAMES}",
            id="option-without-its-section",
        ),
        pytest.param(
            "routng=column",
            f"routng=column: there is no section 'routng'.\n  Did you mean routing=column? Sections: {SECTION_NAMES}",
            id="section",
        ),
        pytest.param(
            "experimnt=flights",
            "experimnt=flights: there is no section 'experimnt'.\n"
            f"  Did you mean experiment=flights? Sections: {SECTION_NAMES}",
            id="group",
        ),
        pytest.param(
            "experiment=flight",
            "experiment=flight: no experiment named 'flight'.\n  Did you mean 'flights'? Known: flights, tutorial.",
            id="experiment",
        ),
        pytest.param(
            "routing=colum",
            "routing=colum: no routing named 'colum'.\n  Did you mean 'column'? Known: " + STRATEGIES,
            id="kind-of-routing",
        ),
        pytest.param(
            "residency=egar",
            "residency=egar: no residency named 'egar'.\n  Did you mean 'eager'? Known: eager, lazy.",
            id="kind-of-residency",
        ),
        pytest.param(
            "+source@sources.days=registri",
            "+source@sources.days=registri: no source named 'registri'.\n"
            "  Did you mean 'registry'? Known: folder, logged_models, manifest, registry, template.",
            id="kind-of-a-source",
        ),
        pytest.param(
            "+routing@routing.keys.store=colunm",
            "+routing@routing.keys.store=colunm: no routing named 'colunm'.\n"
            f"  Did you mean 'column'? Known: {STRATEGIES}",
            id="kind-of-a-key-part",
        ),
        pytest.param(
            "sources.days.name=x",
            "sources.days.name=x: there is no source 'days' yet.\n"
            "  Use +source@sources.days=<kind> to add one. Kinds: folder, logged_models, manifest, registry, template.",
            id="source-that-does-not-exist",
        ),
        pytest.param(
            "+observer@observers.log=logg",
            "+observer@observers.log=logg: no observer named 'logg'.\n  Did you mean 'log'? Known: log.",
            id="kind-of-an-observer",
        ),
        pytest.param(
            "observers.log.every=2",
            "observers.log.every=2: there is no observer 'log' yet.\n"
            "  Use +observer@observers.log=<kind> to add one. Kinds: log.",
            id="observer-that-does-not-exist",
        ),
        pytest.param(
            "traffic.arms.canary=0.1",
            "traffic.arms.canary=0.1: traffic.arms has no 'canary' yet.\n  Use +traffic.arms.canary=0.1 to add it.",
            id="new-arm-without-plus",
        ),
        pytest.param(
            "routing.keys.store.column=x",
            "routing.keys.store.column=x: there is no key part 'store' yet.\n"
            f"  Use +routing@routing.keys.store=<kind> to add one. Kinds: {STRATEGIES}",
            id="key-part-that-does-not-exist",
        ),
    ],
)
def test_a_misspelt_override_gets_the_nearest_name_and_what_exists(answers, override, expected):
    """A misspelling is one problem: the override, what is not there, the nearest name, and what exists, shortened."""
    assert answers(override) == [expected]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param(
            "+serve.prt=1",
            "serve.prt: there is no option 'prt'.\n  Did you mean 'port'? It has: host, port, workers.",
            id="added-option",
        ),
        pytest.param(
            "+srve.port=1",
            f"srve: this is no section of a config.\n  Did you mean 'serve'? Sections: {SECTION_NAMES}",
            id="added-section",
        ),
    ],
)
def test_a_misspelling_that_is_added_is_found_by_parsing(report, override, expected):
    """``+`` may add anything to a config, so what it adds is checked like the rest of it."""
    assert report(*ROUTED, override) == [expected]


def test_a_misspelt_option_of_a_kind(answers):
    """The options of the chosen kind are offered, and routing's own."""
    assert answers("routing=column", "routing.colum=dow") == [
        (
            "routing.colum=dow: there is no option 'colum' in routing.\n"
            "  Did you mean routing.column=dow? It has: column, keys, kind, levels, on_unknown."
        )
    ]


@pytest.mark.parametrize(
    ("override", "cure"),
    [
        ("+models.x={uri", "Quote values that hold braces, commas, brackets or spaces: 'name=\"a,b\"'."),
        ("name=$(x", "Quote the value, and all of it for the shell: 'name=\"$(x\"'."),
        ("name==x", "Quote the value, and all of it for the shell: 'name=\"=x\"'."),
    ],
)
def test_bad_syntax_says_how_to_quote(answers, override, cure):
    """What Hydra's grammar cannot read is named whole, with the way to quote it."""
    (problem,) = answers(override)

    assert problem.startswith(f"{override}: this is not an override: ")
    assert problem.endswith(cure)


def test_a_model_without_its_option(answers):
    """A URI alone is the commonest slip of ``show`` and ``predict``."""
    (problem,) = answers("models:/shops/latest")

    assert problem.endswith("Did you mean model=models:/shops/latest?")


@pytest.mark.parametrize(
    ("override", "says", "never_says"),
    [
        pytest.param(
            "srve.port=1", ("'srve'", "serve.port=1", "Sections: "), "It has: none", id="section-of-an-option"
        ),
        pytest.param(
            "models.x.uri=models:/a@champion",
            ("+models.x.uri=models:/a@champion",),
            "tracking.uri",
            id="model-that-does-not-exist",
        ),
        pytest.param("tracking.tags={a:1}", ("+tracking.tags={a:1}",), "there is no option 'tags'", id="new-keys"),
        pytest.param("name=a,b", ("--multirun",), "there is no section 'name'", id="comma-in-text"),
        pytest.param("serve.port=1,2", ("--multirun",), "there is no option 'port'", id="sweep-without-multirun"),
        pytest.param("+souce@sources.d=registry", ("+source@sources.d=registry",), "sources=registry", id="group-at"),
        pytest.param(
            "routing@routing.keys.a=column",
            ("+routing@routing.keys.a=column",),
            "kind=None",
            id="group-at-without-plus",
        ),
        pytest.param("+experiment=tutorial", (" experiment=tutorial",), "override experiment", id="plus-too-much"),
        pytest.param("~nme", ("~name",), "name=?", id="deleted-name"),
    ],
)
def test_the_answer_to_a_bad_override_can_be_followed(answers, override, says, never_says):
    """One problem, with something to type instead; it neither denies what exists nor offers what was typed."""
    (problem,) = answers(override)

    assert [text for text in says if text not in problem] == []
    assert never_says not in problem
    assert f"Did you mean {override}?" not in problem


def test_a_source_needs_a_name(report):
    """The group ``source`` chosen without a place is answered with the place."""
    problems = report(*ROUTED, "+source=registry")

    assert any("+source@sources.<name>=registry" in problem for problem in problems)


@pytest.mark.parametrize(
    "override",
    [
        pytest.param("routing=null", id="group-of-null"),
        pytest.param("=3", id="no-name"),
        pytest.param("+=3", id="plus-and-no-name"),
        pytest.param("~serve", id="deleted-section"),
        pytest.param("~sources", id="deleted-map"),
    ],
)
def test_what_hydra_itself_trips_over_is_a_problem_like_any_other(report, override):
    """An override that Hydra, or a config without a section, fails on is named in the report."""
    problems = report(*ROUTED, override)

    assert any(override.strip("+~") in problem for problem in problems)


def test_an_override_of_a_key_replaces_it_whole(spec):
    """``models.<id>.key={...}`` is the new key; parts of the old one are gone."""
    found = spec("experiment=flights", "models.everyone.key={dow:3}")

    assert found.models[0].key == {"dow": "3"}


def test_several_bad_overrides_are_one_report(report):
    """Everything at once: each bad override, and what parsing finds in sections that composed well."""
    problems = report(
        "name=r",
        "routing=colum",
        "serve.prt=1",
        "sources.days.name=x",
        "routing.keys.b.column=1",
        "+models.x={uri",
        "output.on_error=skp",
        "tracking.alias=v1",
    )

    assert [problem.split(": ")[0] for problem in problems] == [
        "routing=colum",
        "serve.prt=1",
        "sources.days.name=x",
        "routing.keys.b.column=1",
        "+models.x={uri",
        "output.on_error",
        "tracking.alias",
    ]


def test_what_follows_from_a_bad_override_is_not_said_again(report):
    """A kind that does not exist leaves no routing: only the kind is reported."""
    assert report("name=r", "routing=colum", "routing.column=dow") == [
        f"routing=colum: no routing named 'colum'.\n  Did you mean 'column'? Known: {STRATEGIES}",
        "routing.column=dow: there is no option 'column' in routing.\n  It has: keys, levels, on_unknown.",
    ]


def test_the_order_of_overrides_does_not_matter(spec):
    """An option may stand before the group that brings it."""
    assert spec("routing.column=dow", "name=r", "routing=column") == spec(*ROUTED)


# -- configs of one's own --------------------------------------------------------------------------------------------

OWN = "defaults:\n  - build\n  - override routing: column\n  - _self_\nname: mine\nrouting:\n  column: dow\n"


def test_a_primary_config_of_ones_own(spec, folder):
    """A config that extends a shipped one and chooses kinds in its defaults equals the same on the command line."""
    own = spec(config_dirs=[folder(router=OWN)], config_name="router")

    assert own == spec("name=mine", "routing=column", "routing.column=dow")


def test_an_experiment_of_ones_own(spec, folder):
    """An experiment in one's own folder chooses kinds with ``override /routing``."""
    text = "# @package _global_\ndefaults:\n  - _self_\n  - override /routing: param\nname: mine\nrouting: {param: p}\n"

    own = spec("experiment=trial", config_dirs=[folder(experiment__trial=text)])

    assert own == spec("name=mine", "routing=param", "routing.param=p")


def test_a_group_option_of_ones_own(spec, folder):
    """A YAML option of a group extends a plugin's with ``defaults: [column, _self_]``."""
    own = spec(
        "name=r", "routing=mine", config_dirs=[folder(routing__mine="defaults: [column, _self_]\ncolumn: dow\n")]
    )

    assert own == spec(*ROUTED)


def test_a_source_option_of_ones_own(spec, folder):
    """A YAML option of the group ``source`` is added under a name like a plugin's."""
    text = "defaults: [registry, _self_]\nname: day_{dow}\n"

    own = spec(*ROUTED, "+source@sources.days=days", config_dirs=[folder(source__days=text)])

    assert own == spec(*ROUTED, "+source@sources.days=registry", "sources.days.name='day_{dow}'")


def test_ones_own_option_is_offered_too(report, folder):
    """What exists includes the options of one's own folder."""
    options = folder(routing__mine="defaults: [column, _self_]\ncolumn: dow\n")

    assert report("name=r", "routing=min", config_dirs=[options]) == [
        (
            "routing=min: no routing named 'min'.\n"
            "  Did you mean 'mine'? Known: bins, column, datepart, gate, hash, lookup, mine, param, pattern, rules."
        )
    ]


@pytest.mark.parametrize(
    ("files", "overrides", "command"),
    [
        pytest.param(
            {"experiment__flights": "# @package _global_\nname: own\n"},
            ("experiment=flights",),
            "build",
            id="experiment",
        ),
        pytest.param({"build": "defaults: [_base, _self_]\nname: own\n"}, (), "build", id="primary-config"),
        pytest.param(
            {"experiment__flights": "# @package _global_\nname: own\n"},
            (),
            "demo",
            id="experiment-that-a-shipped-config-chooses",
        ),
    ],
)
def test_ones_own_folder_shadows_what_is_shipped(builtins, folder, files, overrides, command):
    """A file of one's own wins over a shipped one of the same name."""
    composed = compose(command, overrides, plugins=builtins, config_dirs=[folder(**files)])

    assert composed.tree["name"] == "own"


def test_ones_own_option_shadows_a_plugins(builtins, folder):
    """``routing/column.yaml`` in one's own folder wins over the plugin's option."""
    composed = compose(
        "build", ["routing=column"], plugins=builtins, config_dirs=[folder(routing__column="{kind: column, column: k}")]
    )

    assert composed.tree["routing"] == {
        "keys": {},
        "levels": "auto",
        "on_unknown": "raise",
        "kind": "column",
        "column": "k",
    }


def test_the_first_of_several_folders_wins(builtins, tmp_path):
    """With two folders, a name in both is the first's, and a name in one is found."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "both.yaml").write_text(f"defaults: [build]\nname: {name}\n")
    (tmp_path / "second" / "only.yaml").write_text("defaults: [both]\n")

    composed = compose(
        "build", plugins=builtins, config_dirs=[tmp_path / "first", tmp_path / "second"], config_name="only"
    )

    assert composed.tree["name"] == "first"


def test_a_folder_that_does_not_exist(builtins, tmp_path):
    """A missing folder is named, absolute."""
    with pytest.raises(UsageError) as caught:
        compose("build", plugins=builtins, config_dirs=[tmp_path / "nope"])

    assert str(caught.value) == f"--config-dir: there is no folder {tmp_path / 'nope'}."


def test_a_config_name_that_does_not_exist(report):
    """The nearest shipped config, all of them, and where one's own would be found."""
    assert report(config_name="bild") == [
        (
            "--config-name: there is no config 'bild'.\n"
            "  Did you mean 'build'? Shipped configs: build, demo, explain, plan, predict, serve, show, train, "
            "validate. Add your own folder with --config-dir."
        )
    ]


def test_ones_own_config_is_offered_for_a_misspelt_name(report, folder):
    """A near miss of a config in one's own folder is answered with that config."""
    problems = report(config_dirs=[folder(my_router=OWN)], config_name="my_roter")

    assert "Did you mean 'my_router'?" in problems[0]


def test_a_config_that_extends_nothing(report, folder):
    """A config without ``defaults`` lacks the sections: the report says how to get them."""
    problems = report(config_dirs=[folder(bare="name: r\n")], config_name="bare")

    assert any("defaults" in problem and "build" in problem for problem in problems)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("defaults: [bild, _self_]\nname: a\n", ("bild", "'build'"), id="config"),
        pytest.param(
            "defaults: [build, {override routing: colum}, _self_]\nname: a\n", ("colum", "'column'"), id="kind"
        ),
        pytest.param("defaults: [build, {override routng: column}]\nname: a\n", ("routng", "'routing'"), id="group"),
        pytest.param("defaults: [_base, {experiment: flight}]\nname: a\n", ("flight", "'flights'"), id="experiment"),
        pytest.param(
            "defaults: [build, {source@sources.d: registri}]\nname: a\n", ("registri", "'registry'"), id="source"
        ),
    ],
)
def test_a_misspelling_in_ones_own_defaults(report, folder, text, says):
    """A name in a ``defaults`` list is answered like one on the command line, and the file that has it is named."""
    (problem,) = report(config_dirs=[folder(router=text)], config_name="router")

    assert [word for word in ("router", *says) if word not in problem] == []
    assert "--config-name" not in problem


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        pytest.param("router", (), id="primary-config"),
        pytest.param("experiment__router", ("experiment=router",), id="experiment"),
        pytest.param("routing__router", ("routing=router",), id="group-option"),
    ],
)
def test_a_file_that_is_not_yaml(report, folder, name, overrides):
    """Broken YAML is reported with its file, line and fault."""
    own = folder(**{name: "name: a\nserve: ]\n"})
    options = {} if overrides else {"config_name": "router"}

    problems = report(*overrides, config_dirs=[own], **options)

    assert any("router.yaml" in problem and "line 2" in problem for problem in problems)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("serve: [1]", "list", id="list-for-a-map"),
        pytest.param("sources: []", "list", id="list-of-sources"),
        pytest.param("models: {null: 'models:/a@c'}", "models", id="null-as-an-id"),
    ],
)
def test_what_cannot_be_merged_is_explained(report, folder, text, says):
    """What Hydra cannot merge is reported with the file and the fault, not with an exception's name."""
    own = folder(router=f"defaults: [build, _self_]\n{text}\n")

    (problem,) = report(config_dirs=[own], config_name="router")

    assert "router" in problem
    assert says in problem.lower()
    assert "Exception" not in problem


@pytest.mark.parametrize("written", ["010", "02107", "12:30", "1_000", "0x10", "0b11"])
def test_a_whole_number_that_yaml_misreads(report, folder, written):
    """YAML reads 010 as eight and 12:30 as 750: they are refused with the fix, not routed to another key."""
    own = folder(
        router="defaults: [build, _self_]\nname: r\nrouting: {kind: column, column: dow}\n"
        f"models: {{a: {{uri: 'models:/a@champion', key: {{dow: {written}}}}}}}\n"
    )

    problems = report(config_dirs=[own], config_name="router")

    assert any(f"models.a.key.dow: YAML read {written} as the number" in problem for problem in problems)


@pytest.mark.parametrize(("written", "key"), [("10", "10"), ("-3", "-3"), ("0", "0"), ("'010'", "010"), ("a10", "a10")])
def test_what_yaml_reads_as_it_is_written(spec, folder, written, key):
    """Plain whole numbers, and quoted ones, are keys."""
    own = folder(
        router="defaults: [build, _self_]\nname: r\nrouting: {kind: column, column: dow}\n"
        f"models: {{a: {{uri: 'models:/a@champion', key: {{dow: {written}}}}}}}\n"
    )

    assert spec(config_dirs=[own], config_name="router").models[0].key == {"dow": key}


def test_a_key_value_with_a_leading_zero(report, folder):
    """YAML reads 010 as eight: it is refused with the fix, not routed to key 8."""
    own = folder(
        router="defaults: [build, _self_]\nname: r\nrouting: {kind: column, column: dow}\n"
        "models: {a: {uri: 'models:/a@champion', key: {dow: 010}}}\n"
    )

    problems = report(config_dirs=[own], config_name="router")

    assert any("010" in problem and "quote" in problem.lower() for problem in problems)


# -- a kind in place and a group beside it ---------------------------------------------------------------------------


def test_a_group_that_a_kind_in_place_contradicts(report, folder):
    """A group on the command line that the YAML's own ``kind`` overrules is refused, with the way out."""
    own = folder(router="defaults: [build, _self_]\nname: r\nrouting: {kind: param, param: p}\n")

    assert report("routing=column", "routing.column=dow", config_dirs=[own], config_name="router") == [
        (
            "routing=column: the config sets routing.kind=param in place, so this choice has no effect.\n"
            "  Remove kind there; choose it in the defaults: 'override /routing: param'."
        )
    ]


def test_a_source_put_over_one_of_another_kind(report, folder):
    """What the YAML says of the other kind does not belong to the new one, and is refused with the way out."""
    own = folder(
        router="defaults: [build, {override routing: column}, _self_]\nname: r\nrouting: {column: dow}\n"
        "sources: {days: {kind: manifest, path: days.csv}}\n"
    )

    assert report("+source@sources.days=registry", config_dirs=[own], config_name="router") == [
        "sources.days.name: this option is required.\n  Set it: sources.days.name=<value>.",
        (
            "sources.days.path: there is no option 'path' of kind 'registry'.\n"
            "  It is one of folder, manifest; remove it with ~sources.days.path."
        ),
    ]


def test_a_source_that_a_kind_in_place_contradicts(report, folder):
    """The way out names the source's own place in the defaults, where nothing is overridden."""
    own = folder(
        router="defaults: [build, /source@sources.days: manifest, _self_]\nname: r\n"
        "routing: {kind: column, column: dow}\nsources: {days: {kind: registry, name: 'day_{dow}'}}\n"
    )

    assert report("source@sources.days=template", config_dirs=[own], config_name="router")[0] == (
        "source@sources.days=template: the config sets sources.days.kind=registry in place, so this choice has no "
        "effect.\n  Remove kind there; choose it in the defaults: '/source@sources.days: registry'."
    )


def test_one_group_chosen_twice(answers):
    """Two choices for one group contradict each other; the YAML is not blamed for it."""
    (problem,) = answers("routing=column", "routing=param")

    assert "routing=column" in problem
    assert "routing=param" in problem
    assert "in place" not in problem


def test_the_same_kind_in_place_and_on_the_command_line(spec, folder):
    """A group that agrees with the YAML's ``kind`` is no contradiction."""
    own = folder(router="defaults: [build, _self_]\nname: r\nrouting: {kind: column, column: dow}\n")

    assert spec("routing=column", config_dirs=[own], config_name="router") == spec(*ROUTED)


# -- one config, three ways to write it ------------------------------------------------------------------------------

SAME = {
    "routing": (
        ("routing=datepart", "routing.column=t", "routing.part=hour"),
        "routing: {kind: datepart, column: t, part: hour}\n",
        ("+routing.kind=datepart", "+routing.column=t", "+routing.part=hour"),
    ),
    "part": (
        ("+routing@routing.keys.hour=datepart", "routing.keys.hour.column=t", "routing.keys.hour.part=hour"),
        "routing: {keys: {hour: {kind: datepart, column: t, part: hour}}}\n",
        ("+routing.keys.hour={kind:datepart,column:t,part:hour}",),
    ),
    "source": (
        (*ROUTED, "+source@sources.days=registry", "sources.days.name='day_{dow}'", "sources.days.version=latest"),
        "routing: {kind: column, column: dow}\nsources: {days: {kind: registry, name: 'day_{dow}', version: latest}}\n",
        (*ROUTED, "+sources.days={kind:registry,name:'day_{dow}',version:latest}"),
    ),
    "observer": (
        (*ROUTED, "+observer@observers.log=log", "observers.log.every=100"),
        "routing: {kind: column, column: dow}\nobservers: {log: {kind: log, every: 100}}\n",
        (*ROUTED, "+observers.log={kind:log,every:100}"),
    ),
    "residency": (
        (*ROUTED, "residency=eager"),
        "routing: {kind: column, column: dow}\nresidency: {kind: eager}\n",
        (*ROUTED, "residency.kind=eager"),
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_group_yaml_and_command_line_give_the_same_spec(spec, folder, what):
    """A kind chosen by group option, written in YAML, or typed key by key is the same router."""
    group, text, typed = SAME[what]
    own = folder(router=f"defaults: [build, _self_]\nname: r\n{text}")

    specs = [spec("name=r", *group), spec(config_dirs=[own], config_name="router"), spec("name=r", *typed)]

    assert specs == [specs[0]] * 3


# -- interpolation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        pytest.param("name: ${nme}\n", "name", "nme", id="unknown-key"),
        pytest.param("name: a\ntracking: {tags: {t: '${serve.prt}'}}\n", "tracking.tags.t", "serve.prt", id="nested"),
        pytest.param(
            "name: a\ntracking: {uri: '${oc.env:MMEFRAME_NOT_SET}'}\n",
            "tracking.uri",
            "MMEFRAME_NOT_SET",
            id="environment-variable",
        ),
        pytest.param("name: a\ntracking: {uri: '${env:X}'}\n", "tracking.uri", "env", id="unknown-resolver"),
        pytest.param("name: a\nmodels: {m: {uri: '${tracking'}}\n", "models.m.uri", "${tracking", id="syntax"),
    ],
)
def test_an_interpolation_that_fails_names_its_key(report, folder, text, where, says):
    """The problem is at the config path of the value, and names what could not be found."""
    problems = report(config_dirs=[folder(router=f"defaults: [build, _self_]\n{text}")], config_name="router")

    assert [problem for problem in problems if problem.startswith(f"{where}: ") and says in problem] != []


def test_an_interpolation_that_works_is_resolved_in_the_tree_and_kept_in_the_text(builtins, monkeypatch):
    """The tree holds the value; the text, which is stored with the run, holds where it came from."""
    monkeypatch.setenv("MMEFRAME_TEST_NAME", "from_env")

    composed = compose("build", ["name=${oc.env:MMEFRAME_TEST_NAME}"], plugins=builtins)

    assert composed.tree["name"] == "from_env"
    assert yaml.safe_load(composed.text)["name"] == "${oc.env:MMEFRAME_TEST_NAME}"


# -- nothing is left behind ------------------------------------------------------------------------------------------

RUNS = [
    pytest.param(ROUTED, {}, id="after-success"),
    pytest.param(("serve.prt=1", "routing=colum"), {}, id="after-bad-overrides"),
    pytest.param((), {"config_name": "bild"}, id="after-a-missing-config"),
    pytest.param((), {"config_dirs": ["nope"]}, id="after-a-missing-folder"),
    pytest.param(("name=${nope}",), {}, id="after-a-failed-interpolation"),
]


def run(plugins: Plugins, overrides: tuple[str, ...], options: dict[str, Any]) -> None:
    with contextlib.suppress(MmeframeError):
        compose("build", overrides, plugins=plugins, **options)


@pytest.mark.parametrize(("overrides", "options"), RUNS)
def test_an_application_of_hydra_keeps_its_own_state(builtins, tmp_path, overrides, options):
    """Composing inside an initialised Hydra application leaves it initialised with its own config."""
    (tmp_path / "theirs.yaml").write_text("answer: 42\n")
    with hydra.initialize_config_dir(str(tmp_path), **hydra_base()):
        before = GlobalHydra.instance().hydra

        run(builtins, overrides, options)

        assert GlobalHydra.instance().hydra is before
        assert hydra.compose("theirs").answer == 42


@pytest.mark.parametrize(("overrides", "options"), RUNS)
def test_nothing_is_left_behind(builtins, tmp_path, monkeypatch, overrides, options):
    """Outside of a Hydra application there is none afterwards, and the working directory is as it was."""
    monkeypatch.chdir(tmp_path)

    run(builtins, overrides, options)

    assert not GlobalHydra.instance().is_initialized()
    assert list(tmp_path.iterdir()) == []


PLUGIN = """
from dataclasses import dataclass
from mmeframe.plugin import RoutingStrategyPlugin, StrategyConf, hookimpl

@dataclass
class BucketsConf(StrategyConf):
    column: str = "???"
    buckets: int = 8

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("buckets", BucketsConf, "compose_buckets:Buckets", "so many keys")]
"""


def test_a_plugins_options_do_not_outlive_its_composition(builtins, tmp_path, monkeypatch):
    """A plugin's kind is there for a composition with the plugin, with its defaults, and gone for the next without."""
    (tmp_path / "compose_buckets.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(manager, "_distributions", list)
    with_plugin = compose("build", ["name=r", "routing=buckets"], plugins=load_plugins(["compose_buckets"]))

    without = compose("build", ["name=r", "routing=buckets"], plugins=builtins)

    assert with_plugin.tree["routing"] == {
        "keys": {},
        "levels": "auto",
        "on_unknown": "raise",
        "kind": "buckets",
        "column": "???",
        "buckets": 8,
    }
    assert [str(problem) for problem in without.problems] == [
        f"routing=buckets: no routing named 'buckets'.\n  Known: {STRATEGIES}"
    ]


def test_values_changed_in_one_composition_are_not_the_next_ones_defaults(spec):
    """Lists and maps of a plugin's defaults are fresh each time."""
    days = ("+source@sources.days=logged_models",)
    spec(*ROUTED, *days, "sources.days.experiments=[a]", "+sources.days.key.dow=1")

    again = spec(*ROUTED, *days)

    assert dict(again.sources[0][1].options) == {
        "arm": "main",
        "signature": None,
        "prove": None,
        "filter": "",
        "experiments": [],
        "name": "*",
        "key": {},
    }


# -- the shipped configs ---------------------------------------------------------------------------------------------


def test_there_is_one_primary_config_for_each_config_command():
    """The shipped primary configs are the commands that take a config."""
    assert COMMANDS == ["build", "demo", "explain", "plan", "predict", "serve", "show", "train", "validate"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_validates_for_every_command(spec, command, experiment):
    """A shipped experiment is complete: nothing has to be added, whichever command it is for."""
    found = spec(f"experiment={experiment}", command=command)

    assert found.name == {"flights": "flights", "tutorial": "dow_router"}[experiment]
    assert (found.train is not None) == (command in ("train", "demo"))


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("train", "demo")])
def test_every_primary_config_needs_only_a_name_and_a_routing(spec, command):
    """A shipped primary config plus a name and a routing is complete."""
    assert spec(*ROUTED, command=command) == spec(*ROUTED)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_shipped_group_option_validates(spec, option):
    """A shipped option of a group can be chosen as it is."""
    assert spec(*ROUTED, option).residency.kind == option.split("=")[1]


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_shipped_file_is_read_by_one_of_these_tests(path):
    """No YAML in conf/ is left out: it is the base, a primary config, an experiment or a group option."""
    kind = "primary" if path.parent == CONF else path.parent.name

    known = {"primary": ["_base", *COMMANDS], "experiment": EXPERIMENTS}
    assert path.stem in known.get(kind, [option.split("=")[1] for option in OPTIONS if option.startswith(f"{kind}=")])


@pytest.mark.parametrize("written", ["null", "~"])
def test_a_name_that_yaml_read_as_null(report, folder, written):
    """OmegaConf speaks of a NoneType; what to do is said in the words of YAML."""
    mine = folder(r=f"defaults: [build, _self_]\nname: r\nmodels:\n  {written}: models:/a/1\n")

    assert report(config_dirs=[mine], config_name="r") == [
        "models: YAML read a name here as null; quote it.\n  Write the name as it should be, in quotes (in r.yaml)."
    ]


def test_a_name_with_leading_zeros_in_an_override(answers):
    """Hydra's grammar has no such names: that is said, and not how values are quoted."""
    (answer,) = answers("+models.010.uri=models:/a/1")

    assert answer.endswith(
        "A name that begins with 0 cannot stand in an override: declare it in a YAML file, in quotes."
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("models: &it\n  a: *it\n", id="holds-itself"),
        pytest.param(f"exclude: {'[' * 3000}{']' * 3000}\n", id="lists"),
        pytest.param(f"models: {'{a: ' * 3000}1{'}' * 3000}\n", id="maps"),
    ],
)
def test_a_file_that_has_no_end(tmp_path, text):
    """It is told with its name, as is one that is nested too deeply for anybody."""
    (tmp_path / "odd.yaml").write_text(f"defaults: [build, _self_]\nname: a\n{text}")
    with pytest.raises(MmeframeError, match=r"odd\.yaml: it is nested too deeply, or refers to itself"):
        compose("plan", plugins=load_plugins(), config_dirs=[tmp_path], config_name="odd")
