"""One declaration of the config: what the shipped YAML says is the same, and one edit adds a section or an option."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import pytest
from pydantic import Field

from mmeframe import sections
from mmeframe.cli import main
from mmeframe.commandline import Flags
from mmeframe.commands.schema import COMMAND
from mmeframe.completion.tree import tree
from mmeframe.config import compose, conf_dir
from mmeframe.config.comments import field_comments
from mmeframe.config.json_schema import json_schema
from mmeframe.config.parse import parse
from mmeframe.config.quick_choices import WITH_KINDS, Layout
from mmeframe.errors import ProblemsError
from mmeframe.option_types import adapter_of
from mmeframe.plugin.manager import Plugins, load_plugins
from mmeframe.sections import SECTIONS, Options, RouterSpec, about, sections_of
from tests.config.shipped import yaml_comments

CLOSED = [name for name, it in SECTIONS.items() if it.closed]


@pytest.fixture(scope="module")
def builtins() -> Plugins:
    return load_plugins()


@pytest.fixture(scope="module")
def base(builtins: Plugins) -> dict[str, Any]:
    return dict(compose("build", plugins=builtins).tree)


@pytest.mark.parametrize("section", [*CLOSED, "routing"])
def test_the_yamls_defaults_are_the_dataclasses(base, section):
    """conf/_base.yaml and mmeframe.sections say the same, section by section, option by option."""
    kind = SECTIONS[section].type
    assert adapter_of(kind).validate_python(base[section]) == kind()
    assert names(base[section]) == names(adapter_of(kind).dump_python(kind(), by_alias=True))


def names(value: Any) -> Any:
    """The options of a section, and of those inside of it."""
    return {name: names(item) for name, item in value.items()} if isinstance(value, Mapping) else None


@pytest.mark.parametrize("section", [name for name, it in SECTIONS.items() if not it.open and not it.closed])
def test_the_yamls_single_options_are_the_fields(base, section):
    """The same for sections that are one option."""
    kind = SECTIONS[section]
    assert adapter_of(kind.type).validate_python(base[section]) == kind.default


def test_the_yaml_has_every_section_and_no_other(base):
    """What conf/_base.yaml declares is what the table has."""
    assert sorted(base) == sorted(SECTIONS)


def test_the_yamls_comments_are_the_fields():
    """Help is written beside the field, and once more where users read the defaults."""
    shipped = yaml_comments(conf_dir() / "_base.yaml")
    of_lazy = yaml_comments(conf_dir() / "residency" / "lazy.yaml")
    shipped |= {f"residency.{name}": text for name, text in of_lazy.items() if name != "kind"}
    del shipped["defaults"]

    declared = {path: text for path, text in helps(RouterSpec, "") if path != "residency.kind"}
    assert declared == shipped


def helps(config: Any, path: str) -> Iterator[tuple[str, str]]:
    """The comments of a dataclass's fields, and of those inside of it."""
    comments, hints = field_comments(config), get_type_hints(config)
    for option in dataclasses.fields(config):
        place = f"{path}.{option.name.rstrip('_')}".lstrip(".")
        kind = SECTIONS[place].type if place in SECTIONS else hints[option.name]
        if option.name in comments:
            yield place, comments[option.name]
        if isinstance(kind, type) and issubclass(kind, Options):
            yield from helps(kind, place)


def test_comments_of_the_shipped_yaml():
    """Beside a name, else above it, with the path of the name."""
    comments = yaml_comments(conf_dir() / "_base.yaml")

    assert comments["output.on_error"] == "a failing sub-model fails the request; skip: only its rows"
    assert comments["train.reader.path"] == "CSV, TSV, Parquet, Arrow, JSON or JSON lines"
    assert comments["bundle"] == "Which files may make the sub-models live."
    assert "serve.host" not in comments


@pytest.mark.parametrize("section", SECTIONS)
def test_the_guide_names_every_option(section):
    """Each section has a row in its table, and each option stands there."""
    guide = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    row = re.findall(rf"^\| `{section}` \|.*", guide, re.MULTILINE)[0]
    kind = SECTIONS[section].type

    options = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    assert [option.name for option in options if f"`{option.name}`" not in row] == []


def test_the_command_names_the_groups_with_a_schema():
    """It must not import what makes one before it is asked to."""
    assert tuple(WITH_KINDS) == COMMAND.words(Flags())


# -- adding one ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PaintSpec(Options):
    # the colour of a router
    colour: Literal["red", "green"] = "red"
    coats: Annotated[int, Field(ge=1)] = 2
    # shades by name
    shades: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PaintedSpec(RouterSpec):
    # How a router looks.
    paint: PaintSpec = field(default=PaintSpec(), metadata=about(compared="*", unread=("train",)))
    # whether it is dry
    dry: bool = True


YAML = "\npaint:\n  colour: red             # the colour of a router\n  coats: 2\n  shades: {}\ndry: true\n"


USES_CONF = ("compose", "consistency", "hydra_api", "override_errors", "quick_choices")
SMALL = ("name=a", "routing=column", "routing.column=x", "+models.a.uri=models:/a/1")


@pytest.fixture
def painted(tmp_path: Path, monkeypatch) -> None:
    """A copy of the table with a section and an option more, and of the shipped YAML with their lines."""
    monkeypatch.setattr(sections, "RouterSpec", PaintedSpec)
    monkeypatch.setattr(sections, "SECTIONS", sections_of(PaintedSpec))
    folder = Path(shutil.copytree(conf_dir(), tmp_path / "conf"))
    (folder / "_base.yaml").write_text((folder / "_base.yaml").read_text() + YAML)
    for name in USES_CONF:
        monkeypatch.setattr(import_module(f"mmeframe.config.{name}"), "conf_dir", lambda: folder)


@pytest.mark.usefixtures("painted")
def test_the_table_knows_a_new_section():
    """What its field says, what follows from its options, and the maps in it."""
    paint = sections.SECTIONS["paint"]

    assert (paint.compared, paint.logged, paint.unread) == ("colour, coats or shades", True, ("train",))
    assert "paint.shades" in sections.open_maps()


@pytest.fixture
def spec(painted, builtins) -> Callable[..., Any]:
    """Compose and parse with the copies."""
    return lambda *overrides: parse(compose("build", [*SMALL, *overrides], plugins=builtins), builtins)


@pytest.fixture
def report(spec) -> Callable[..., list[str]]:
    """The problems, as they are printed."""

    def run(*overrides: str) -> list[str]:
        with pytest.raises(ProblemsError) as caught:
            spec(*overrides)
        return [str(problem) for problem in caught.value.problems]

    return run


def test_a_new_section_is_in_the_spec(spec):
    """With what overrides say."""
    found = spec("paint.colour=green", "dry=false", "+paint.shades.x=1")

    assert (found.paint, found.dry) == (PaintSpec("green", 2, {"x": 1}), False)


def test_a_new_section_is_validated(report):
    """Mistakes in it are told as in any other."""
    assert report("paint.colour=gren", "paint.coats=0", "dry=perhaps") == [
        "paint.colour: input should be 'red' or 'green'.\n  Did you mean 'green'?",
        "paint.coats: input should be greater than or equal to 1.",
        "dry: input should be a valid boolean, unable to interpret input.",
    ]


def test_a_misspelt_option_of_a_new_section(report):
    """It is answered with the nearest, and a new name in a map with its plus."""
    option, name = report("paint.color=red", "paint.shades.x=1")

    assert "there is no option 'color' in paint.\n  Did you mean paint.colour=red? It has: coats, colour" in option
    assert name == "paint.shades.x=1: paint.shades has no 'x' yet.\n  Use +paint.shades.x=1 to add it."


@pytest.mark.usefixtures("painted")
def test_a_new_section_is_completed(builtins):
    """Its name, its options, and the words to choose from."""
    root = tree(Layout(), builtins)

    assert {"paint", "dry"} <= set(root.below())
    assert list(root.at(["paint"]).below()) == ["colour", "coats", "shades"]
    assert list(root.at(["paint", "colour"]).values()) == ["red", "green"]
    assert list(root.at(["dry"]).values()) == ["true", "false"]


@pytest.mark.usefixtures("painted")
def test_a_new_section_is_in_the_schema(builtins):
    """With its help, and that of its options."""
    found = json_schema(builtins)["properties"]

    assert found["paint"]["description"] == "How a router looks."
    assert found["paint"]["properties"]["colour"]["description"] == "the colour of a router"
    assert found["dry"]["description"] == "whether it is dry"


@pytest.mark.usefixtures("painted")
def test_a_new_section_is_in_help(capsys):
    """``--help`` prints the YAML."""
    main(["build", "--help"])

    assert YAML in capsys.readouterr().out


@pytest.mark.usefixtures("painted")
def test_a_command_refuses_a_new_section_that_it_does_not_read(capsys):
    """Which ones read it is said by the field."""
    assert main(["train", "experiment=flights", "paint.coats=3"]) == 2
    assert "paint.coats=3: train does not read paint." in capsys.readouterr().err
