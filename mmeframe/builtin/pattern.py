"""``kind: pattern``: the key is a piece of a text: its beginning, or what a regular expression finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from mmeframe.plugin import (
    MISSING,
    BadInputError,
    Batch,
    RoutingInputs,
    RoutingStrategy,
    StrategyConf,
    factorized,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PatternConf", "PatternStrategy", "distinct_texts"]


def _readable(regex: str | None) -> str | None:
    if regex is None:
        return None
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found = pc.extract_regex(pa.array([""], pa.large_string()), regex)
    except UnicodeEncodeError:
        raise ValueError("it has characters that no text can have") from None
    except pa.ArrowInvalid as error:
        if "unnamed groups" in str(error):
            raise ValueError("it has a group without a name; write (?:...) for one that is no key") from None
        why = str(error).removeprefix("Invalid regular expression: ")
        raise ValueError(
            f"it is no regular expression of RE2: {why}; RE2 has neither look-arounds nor backreferences: "
            "match what stands around the key as well, outside of (?P<key>...)"
        ) from None
    names = [field.name for field in found.type]
    if names != ["key"]:
        has = f"it has {', '.join(names)}" if names else "it has none"
        raise ValueError(f"it needs one named group, (?P<key>...), and {has}; write (?:...) for other groups")
    return regex


@dataclass
class PatternConf(StrategyConf):
    """Options of ``kind: pattern``."""

    # A column of text.
    column: str = MISSING
    # An expression of RE2, whose named group is the key: "-(?P<key>[0-9]+)$". It may match anywhere; anchor it with ^
    # and $ (the end of the whole text). A dot is any character but a newline, unless it begins with (?s).
    regex: Annotated[str | None, AfterValidator(_readable)] = None
    # Instead: the first characters of the text, this many; a shorter text is its own key.
    prefix_length: Annotated[int | None, Field(ge=1, strict=True)] = None
    # Instead: what stands before the first of these; a text without one has no key.
    prefix_until: Annotated[str | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        names = ("regex", "prefix_length", "prefix_until")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            what = f"{' and '.join(given)} are given" if given else "none is given"
            raise ValueError(f"give one of regex, prefix_length and prefix_until; {what}")
        return self


class PatternStrategy(RoutingStrategy[PatternConf]):
    """Route each row by a piece of its text. What has no such piece, or an empty one, has no key.

    RE2 takes time linear in the text, whatever the expression and the text are.
    """

    def inputs(self) -> RoutingInputs:
        return RoutingInputs({self.conf.column: "string"})

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        import numpy as np
        import pandas as pd

        positions, texts = distinct_texts(batch, self.conf.column)
        # None last, where the position of a missing text, -1, finds it.
        found = np.array([*(piece or None for piece in self._find(texts)), None], object)
        codes, keys = pd.factorize(found)
        return pd.Categorical.from_codes(codes.take(positions), pd.Index(keys, dtype=object), validate=False)

    def _find(self, texts: np.ndarray[Any, np.dtype[np.object_]]) -> Iterable[str | None]:
        length, until = self.conf.prefix_length, self.conf.prefix_until
        if length is not None:
            return (text[:length] for text in texts)
        if until is not None:
            return (text.partition(until)[0] if until in text else None for text in texts)
        return self._match(texts)

    def _match(self, texts: np.ndarray[Any, np.dtype[np.object_]]) -> list[str | None]:
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            arrow = pa.array(texts, pa.large_string())
        except UnicodeEncodeError:
            raise BadInputError(f"column {self.conf.column!r} has text that is no Unicode: half a character.") from None
        matched = pc.extract_regex(arrow, self.conf.regex)
        keys: list[str | None] = pc.struct_field(matched, "key").to_pylist()
        return keys


def distinct_texts(
    batch: Batch, column: str
) -> tuple[np.ndarray[Any, np.dtype[np.intp]], np.ndarray[Any, np.dtype[np.object_]]]:
    """Position of each row's text among the distinct ones, -1 for a missing one; and those.

    Raises BadInputError for a column that holds something else than text.
    """
    import numpy as np
    import pandas as pd

    values = batch.column(column)
    try:
        positions, uniques = factorized(values)
    except (TypeError, NotImplementedError):
        # What has no hash, as lists have none, and objects of Arrow, is no text.
        raise _no_text(column, "it holds lists or maps") from None
    texts = np.asarray(uniques, object)
    strange = next((type(text).__name__ for text in texts if not isinstance(text, str)), None)
    if strange is not None:
        packed = values.dtype == np.dtype(object) or isinstance(values.dtype, pd.CategoricalDtype)
        raise _no_text(column, f"it holds {strange} values" if packed else f"it is {values.dtype}")
    return positions, texts


def _no_text(column: str, why: str) -> BadInputError:
    return BadInputError(
        f"column {column!r} cannot be read as text: {why}.",
        hint='Send text: "7" in quotes in JSON, frame[column].astype("str") in pandas.',
    )
