"""How options of a dataclass are described: types in words, comments, defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BeforeValidator, Field, PlainValidator, PositiveInt, TypeAdapter

from mmeframe.config.comments import field_comments
from mmeframe.config.options import config_fault, describe, plain, type_text
from mmeframe.plugin import MISSING, StrategyConf
from mmeframe.plugin.conf import defaults_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Inner:
    # How high.
    height: int = 3


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        pytest.param(int, "int", id="int"),
        pytest.param(float, "float", id="float"),
        pytest.param(str, "str", id="str"),
        pytest.param(bool, "bool", id="bool"),
        pytest.param(Any, "any value", id="any"),
        pytest.param(Path, "str, path", id="path"),
        pytest.param(date, "str, date", id="date"),
        pytest.param(Colour, "one of: red, blue", id="enum"),
        pytest.param(Literal["a", "b"], "one of: a, b", id="literal"),
        pytest.param(Literal["a", 1, None], "one of: a, 1, null", id="mixed-literal"),
        pytest.param(Literal["a"] | None, "'a' or null", id="literal-or-null"),
        pytest.param(Annotated[int, Field(ge=1, le=8)], "int, 1 to 8", id="both-ends"),
        pytest.param(PositiveInt, "int, above 0", id="above"),
        pytest.param(Annotated[float, Field(ge=0, lt=1)], "float, 0 or more, below 1", id="half-open"),
        pytest.param(Annotated[int, Field(le=5)], "int, 5 or less", id="upper"),
        pytest.param(Annotated[int, Field(multiple_of=2)], "int, a multiple of 2", id="multiple"),
        pytest.param(Annotated[str, Field(min_length=1)], "str, not empty", id="not-empty"),
        pytest.param(Annotated[str, Field(min_length=2)], "str, 2 or more characters", id="length"),
        pytest.param(Annotated[str, Field(pattern="^a")], "str, like ^a", id="pattern"),
        pytest.param(str | None, "str or null", id="optional"),
        pytest.param(Annotated[int, Field(ge=1)] | None, "int, 1 or more, or null", id="range-or-null"),
        pytest.param(list[int], "list of int", id="list"),
        pytest.param(str | list[str], "str or list of str", id="one-or-several"),
        pytest.param(list[str | None], "list of (str or null)", id="list-of-several-types"),
        pytest.param(Annotated[list[int], Field(min_length=1)], "list of int, not empty", id="list-not-empty"),
        pytest.param(dict[str, list[float]], "map of list of float", id="map"),
        pytest.param(dict[str, Any], "map of any value", id="open-map"),
        pytest.param(Inner, "map with height", id="dataclass"),
        pytest.param(Inner | None, "map with height or null", id="dataclass-or-null"),
        pytest.param(tuple[int, str], "list of (int or str), 2 entries", id="tuple"),
        pytest.param(Annotated[int, BeforeValidator(abs)], "int", id="validator"),
        pytest.param(Annotated[int, PlainValidator(abs)], "any value", id="validator-in-place-of-a-type"),
    ],
)  # fmt: skip
def test_a_type_in_words(annotation, text):
    """As a reader of a config would write it."""

    made = type("Made", (StrategyConf,), {"__annotations__": {"option": annotation}, "option": MISSING})
    (option,) = describe(dataclass(made))

    assert option.type == text


def test_a_schema_that_pydantic_writes_differently():
    """A tagged union is one of several types, too."""
    assert type_text({"oneOf": [{"type": "integer"}, {"type": "null"}]}, {}) == "int or null"


# -- help ------------------------------------------------------------------------------------------------------------


@dataclass
class Base(StrategyConf):
    # From the base.
    kept: int = 1
    # From the base, too.
    told_anew: int = 2


@dataclass
class Commented(Base):
    """A docstring.

    # not a comment
    """

    # One line.
    one: int = 1

    # A heading, with nothing right below it.

    # Two lines,
    # as one text.
    two: Annotated[dict[str, int], Field(min_length=1)] = field(
        # Not about an option.
        default_factory=lambda: {"a": 1}
    )
    none: str = "# not a comment"  # beside the field
    # In the subclass.
    told_anew: int = 3
    # The comment.
    described: Annotated[int, Field(description="The description.")] = 4


def test_comments_above_fields():
    """Only what stands right above a field is about it."""
    assert field_comments(Commented) == {
        "kept": "From the base.",
        "told_anew": "In the subclass.",
        "one": "One line.",
        "two": "Two lines, as one text.",
        "described": "The comment.",
    }


def test_a_description_is_meant_for_readers():
    """``Field(description=...)`` wins over the comment."""
    assert {option.name: option.help for option in describe(Commented)}["described"] == "The description."


def test_a_class_without_source():
    """Made in a shell or shipped as bytecode, a class has no comments, and nothing else is lost."""
    space: dict[str, Any] = {"__name__": "nowhere"}
    source = "from dataclasses import dataclass\n@dataclass\nclass Bare:\n    # Lost.\n    option: int = 1\n"
    exec(compile(source, "nowhere", "exec", dont_inherit=True), space)

    assert field_comments(space["Bare"]) == {}
    assert [(option.name, option.help) for option in describe(space["Bare"])] == [("option", "")]


def test_a_class_inside_a_function():
    """Its source is indented, and read all the same."""

    @dataclass
    class Local(StrategyConf):
        #: Indented.
        option: int = 1

    assert field_comments(Local) == {"option": "Indented."}


# -- defaults --------------------------------------------------------------------------------------------------------


@dataclass
class Defaults(StrategyConf):
    required: str = MISSING
    colour: Colour = Colour.RED
    path: Path = Path("a/b")
    names: list[str] = field(default_factory=lambda: ["a"])
    pair: tuple[int, int] = (1, 2)
    several: set[str] = field(default_factory=lambda: {"b", "a"})
    day: date = date(2024, 5, 6)
    inner: Inner = field(default_factory=Inner)
    infinite: float = float("inf")
    by_number: dict[int, str] = field(default_factory=lambda: {1: "a"})
    told: int = Field(default=5, ge=1, description="As pydantic writes it.")
    factory: list[int] = Field(default_factory=lambda: [1])  # noqa: RUF009 - as pydantic's users write it
    open: int = Field(ge=1)


def test_defaults_are_what_yaml_can_hold():
    """Enums, paths, dates, tuples, sets and dataclasses are written plainly; what must be given is ``???``."""
    assert plain(defaults_of(Defaults)) == {
        "required": "???",
        "colour": "red",
        "path": "a/b",
        "names": ["a"],
        "pair": [1, 2],
        "several": ["a", "b"],
        "day": "2024-05-06",
        "inner": {"height": 3},
        "infinite": float("inf"),
        "by_number": {1: "a"},
        "told": 5,
        "factory": [1],
        "open": "???",
    }


def test_plain_defaults_are_read_back():
    """What is written is what the dataclass would have had."""
    values = plain(defaults_of(Defaults)) | {"required": "x", "open": 1}

    read = TypeAdapter(Defaults).validate_python(values)

    assert (read.colour, read.path, read.pair) == (Colour.RED, Path("a/b"), (1, 2))
    assert (read.several, read.day, read.inner) == ({"a", "b"}, date(2024, 5, 6), Inner())


def test_required_options():
    """Those without a default, however they are written."""
    assert [option.name for option in describe(Defaults) if option.required] == ["required", "open"]


# -- what is wrong with a dataclass ----------------------------------------------------------------------------------


@dataclass
class Function(StrategyConf):
    column: str = "c"
    score: Callable[[int], int] = len  # type: ignore[assignment]


@dataclass
class Later(StrategyConf):
    frame: NotDefined | None = None  # type: ignore[name-defined]  # noqa: F821


@dataclass
class FailingFactory(StrategyConf):
    when: list[int] = field(default_factory=lambda: [1 // 0])


@dataclass
class Unplain(StrategyConf):
    anything: Any = field(default_factory=object)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        pytest.param(Function, "option 'score' has the annotation Callable[[int], int], which no", id="function"),
        pytest.param(Later, "option 'frame' has the annotation NotDefined | None, which no config", id="undefined"),
        pytest.param(FailingFactory, "its options cannot be checked: ZeroDivisionError: ", id="factory"),
        pytest.param(Unplain, "option 'anything' has a default of type object, which no config can hold", id="default"),
        pytest.param(Defaults, "", id="none"),
        pytest.param(Commented, "", id="none-with-comments"),
    ],
)  # fmt: skip
def test_what_no_config_can_hold(config, said):
    """The option and its annotation, or its default."""
    found = config_fault(config)

    assert found.startswith(said)
    assert bool(found) == bool(said)
