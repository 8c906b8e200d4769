"""Types of options that say more than Python's: what pydantic checks, and what editors are told."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = [
    "Alias",
    "Arm",
    "MethodName",
    "Name",
    "Names",
    "OnError",
    "RegisteredName",
    "Share",
    "Size",
    "Tags",
    "TypeNames",
    "Unsaid",
    "UnsaidNames",
    "adapter_of",
    "unseen",
    "visible",
]


# Making one takes longer than what it is made for, and thousands of sub-models have the same loader.
@lru_cache(maxsize=256)
def adapter_of(config: type[Any]) -> TypeAdapter[Any]:
    """Pydantic's checks of an option dataclass, or of a section of a config."""
    from pydantic import TypeAdapter

    return TypeAdapter(config)


# Of runs, models and versions, in MLflow's databases.
_TAG_VALUE = 5_000
_TEXT = {"type": "string"}
_NULL = {"type": "null"}
_LIST = {"type": "array", "items": _TEXT}
# One name and a list of names are both accepted where names are meant.
_LISTED = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
_NAMES = WithJsonSchema({"anyOf": [_TEXT, _LIST]})
Names = Annotated[tuple[str, ...], _LISTED, _NAMES]
# What a config may leave open, as null: an empty text, or no names.
Unsaid = Annotated[
    str, BeforeValidator(lambda value: "" if value is None else value), WithJsonSchema({"anyOf": [_TEXT, _NULL]})
]
UnsaidNames = Annotated[
    Names,
    BeforeValidator(lambda value: [] if value is None else value),
    WithJsonSchema({"anyOf": [_TEXT, _LIST, _NULL]}),
]


def unseen(name: str | None) -> str | None:
    """What is wrong with a name that MLflow takes for none, or that a terminal would obey; None if nothing is."""
    if name and not name.strip():
        return "a name has a letter, and this is space only"
    return None if not name or name.isprintable() else "a name cannot hold control characters"


def visible(name: str | None) -> str | None:
    """The name. Raises ValueError for one that nobody would see."""
    if what := unseen(name):
        raise ValueError(what)
    return name


Name = Annotated[str | None, AfterValidator(visible)]


def _alias(name: str | None) -> str | None:
    if name is not None and (not re.fullmatch(r"[\w-]+", name) or re.fullmatch(r"v\d+|latest", name)):
        raise ValueError("MLflow takes letters, digits, _ and -, and keeps 'latest' and 'v1', 'v2' ... for itself")
    return name


Alias = Annotated[str | None, AfterValidator(_alias)]


def _registered(name: str | None) -> str | None:
    if name is not None and (not name.strip(" .") or set(name) & set("/:@")):
        raise ValueError(
            "a registered name has no / : or @, which URIs of models need, and is more than blanks and dots"
        )
    return name


RegisteredName = Annotated[Name, AfterValidator(_registered)]


def _tag(name: str) -> str:
    """MLflow would refuse it once the whole router is built."""
    whole = posixpath.normpath(name) == name and name != "." and not name.startswith(("..", "/"))
    if not re.fullmatch(r"[/\w.\- :]{1,250}", name) or not whole:
        raise ValueError("MLflow takes 1 to 250 letters, digits, blanks and _-.:/ in a name, and no // or ../")
    return name


def _tag_value(value: Any) -> Any:
    text = str(value) if isinstance(value, bool | int | float) else value
    if isinstance(text, str) and len(text) > _TAG_VALUE:
        raise ValueError(f"MLflow takes values of tags with at most {_TAG_VALUE:,} characters")
    return text


_SCALARS = [{"type": name} for name in ("string", "integer", "number", "boolean")]
_TagValue = Annotated[str, BeforeValidator(_tag_value), WithJsonSchema({"anyOf": _SCALARS})]
Tags = dict[Annotated[str, AfterValidator(_tag)], _TagValue]


def _arm(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError("an arm's name is letters, digits and underscores")
    return name


Arm = Annotated[str, AfterValidator(_arm)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
OnError = Literal["raise", "skip"]

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
# The same for JSON Schema, whose patterns know no flags.
_PATTERN = r"^\s*\d+(\.\d+)?\s*([KkMmGgTt]?[Ii]?[Bb])?\s*$"


def _bytes(value: str | int) -> int:
    """Bytes from a whole number, or a number with a unit: ``4GiB``, ``1.5 MB``. Raises ValueError."""
    match = _WRITTEN.fullmatch(str(value))
    unit = next((factor for name, factor in _UNITS.items() if match and name.lower() == match[2].lower()), None)
    if match is None or unit is None or isinstance(value, bool) or not float(match[1]):
        raise ValueError("write bytes, or a number with a unit such as 512MiB or 4GiB")
    return int(float(match[1]) * unit)


_BYTES = {"type": "integer", "minimum": 1}
_SIZE = {"type": "string", "pattern": _PATTERN, "title": "such as 4GiB"}
Size = Annotated[int, BeforeValidator(_bytes), WithJsonSchema({"anyOf": [_BYTES, _SIZE]})]


def _method(name: str) -> str:
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError("name a method of the sub-models, such as predict or predict_proba")
    return name


MethodName = Annotated[str, AfterValidator(_method)]


def _type(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        raise ValueError("name a type with its module, such as mypackage.models.MyEstimator")
    return name


TypeNames = Annotated[tuple[Annotated[str, AfterValidator(_type)], ...], _LISTED, _NAMES]
