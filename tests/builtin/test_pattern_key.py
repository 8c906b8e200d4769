"""Keys from a piece of a text."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.builtin.pattern import PatternConf, PatternStrategy
from mmeframe.errors import BadInputError
from mmeframe.testing import bound, keys_of
from tests.builtin.options import made, problems


def keys(values: Any, **options: Any) -> list[str | None]:
    """Keys of a column ``x``."""
    return keys_of(bound(PatternStrategy(PatternConf("x", **options))), pd.DataFrame({"x": values}))


@pytest.mark.parametrize(
    ("regex", "text", "key"),
    [
        pytest.param(r"(?P<key>\d+)", "ab12cd34", "12", id="the-first-match-anywhere"),
        pytest.param(r"^(?P<key>\d+)", "ab12", None, id="anchored-at-the-start"),
        pytest.param(r"(?P<key>\d+)$", "12ab34", "34", id="anchored-at-the-end"),
        pytest.param(r"^N(?P<key>\d+)(?:UA|AA)$", "N14228UA", "14228", id="what-stands-around-it"),
        pytest.param(r"(?P<key>\d+)", "", None, id="no-match"),
        pytest.param(r"x(?P<key>\d*)", "x", None, id="an-empty-match-is-no-key"),
        pytest.param(r"x(?P<key>\d)?", "x", None, id="a-group-without-part"),
        pytest.param(r"(?P<key>a|ab)", "ab", "a", id="first-alternative"),
        pytest.param(r"(?P<key>.+)", "a\nb", "a", id="a-dot-is-no-newline"),
        pytest.param(r"(?s)(?P<key>.+)", "a\nb", "a\nb", id="unless-asked"),
        pytest.param(r"(?P<key>a)$", "a\n", None, id="a-dollar-is-the-end-of-the-text"),
        pytest.param(r"(?m)(?P<key>b)$", "a\nb\nc", "b", id="or-of-a-line-where-asked"),
        pytest.param(r"(?i)(?P<key>É)", "café", "é", id="case"),
        pytest.param(r"(?P<key>\p{L}+)", "12straße7", "straße", id="letters-of-any-script"),
        pytest.param(r"^(?P<key>.)", "😀x", "😀", id="a-dot-is-a-whole-character"),
        pytest.param(r"(?P<key>\x00)", "a\0b", "\0", id="nul"),
        pytest.param(r"(?<key>\d)", "7", "7", id="the-short-name-of-a-group"),
        pytest.param(r"(?P<key>0\d+)", "x02108", "02108", id="leading-zeros-stay"),
    ],
)
def test_regex(regex, text, key):
    """The group ``key`` of the first place where the expression matches."""
    assert keys([text, "other"], regex=regex)[0] == key


@pytest.mark.parametrize(
    ("options", "text", "key"),
    [
        ({"prefix_length": 2}, "N14228", "N1"),
        ({"prefix_length": 2}, "N", "N"),
        ({"prefix_length": 2}, "", None),
        ({"prefix_length": 1}, "😀x", "😀"),
        ({"prefix_length": 2}, "a\nb", "a\n"),
        ({"prefix_until": "-"}, "eu-west-1", "eu"),
        ({"prefix_until": "::"}, "a:b::c", "a:b"),
        ({"prefix_until": "-"}, "west", None),
        ({"prefix_until": "-"}, "-west", None),
        ({"prefix_until": "."}, "a.b", "a"),
        ({"prefix_until": "é"}, "caféx", "caf"),
    ],
)
def test_prefix(options, text, key):
    """The first characters, or what stands before the first separator; nothing is no key."""
    assert keys([text, "other"], **options)[0] == key


TEXTS = ["a-1", "b-2", None, "a-1", "c"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pd.Series(TEXTS), id="str"),
        pytest.param(pd.Series(TEXTS, dtype=object), id="object"),
        pytest.param(pd.Series([np.nan if text is None else text for text in TEXTS], dtype=object), id="object-nan"),
        pytest.param(pd.Series([pd.NA if text is None else text for text in TEXTS], dtype=object), id="object-NA"),
        pytest.param(pd.Series(TEXTS, dtype="string"), id="string"),
        pytest.param(pd.Series(TEXTS, dtype="string[pyarrow]"), id="string-pyarrow"),
        pytest.param(pd.array(TEXTS, dtype="string[pyarrow]").astype("large_string[pyarrow]"), id="arrow"),
        pytest.param(pd.Categorical(TEXTS), id="category"),
        pytest.param(pd.Categorical(TEXTS, ["unused", "c", "b-2", "a-1"]), id="category-with-more"),
        pytest.param(pd.Categorical(TEXTS, [7, "c", "b-2", "a-1"]), id="category-with-a-number-that-no-row-has"),
    ],
)
@pytest.mark.parametrize("options", [{"prefix_until": "-"}, {"regex": "^(?P<key>[a-z])-"}], ids=["prefix", "regex"])
def test_forms_of_text(values, options):
    """Text counts, in whatever type it comes; a missing one is a missing key."""
    assert keys(values, **options) == ["a", "b", None, "a", None]


@pytest.mark.parametrize("dtype", ["object", "float64", "Int64", "M8[ns]", "category", "str"])
def test_all_missing(dtype):
    """A column without any text has no type to refuse."""
    assert keys(pd.Series([None, None], dtype=dtype), prefix_length=1) == [None, None]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        pytest.param([1, 2], "it is int64", id="integers"),
        pytest.param([1.5, 2], "it is float64", id="floats"),
        pytest.param([True, False], "it is bool", id="bools"),
        pytest.param(pd.array([1, None], dtype="Int64"), "it is Int64", id="nullable"),
        pytest.param(pd.to_datetime(["2013-01-01", None]).as_unit("ns"), "it is datetime64[ns]", id="datetimes"),
        pytest.param(np.array(["a", 7], object), "it holds int values", id="a-number-among-text"),
        pytest.param(np.array(["a", b"a"], object), "it holds bytes values", id="bytes"),
        pytest.param(pd.Series([["a"], ["b"]]), "it holds lists or maps", id="lists"),
        pytest.param(
            pd.Series([{"a": "b"}], dtype=pd.ArrowDtype(pa.struct({"a": pa.string()}))),
            "it holds lists or maps",
            id="objects-of-arrow",
        ),
        pytest.param(pd.Categorical([1, 2]), "it holds int values", id="category"),
    ],
)
def test_no_text(values, why):
    """What is no text is refused: how its text would be written is a guess."""
    with pytest.raises(BadInputError) as caught:
        keys(values, prefix_length=1)

    assert str(caught.value) == (
        f"column 'x' cannot be read as text: {why}.\n"
        '  Send text: "7" in quotes in JSON, frame[column].astype("str") in pandas.'
    )


def test_half_a_character():
    """Text that no encoding has is refused where it would have to be encoded, without showing it."""
    values = pd.Series(["s3cr3t\ud800", "a"], dtype=object)

    with pytest.raises(BadInputError) as caught:
        keys(values, regex="(?P<key>a)")

    assert str(caught.value) == "column 'x' has text that is no Unicode: half a character."
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("regex", "text"),
    [
        pytest.param("(?P<key>(?:a+)+)$", "a" * 50_000 + "!", id="nested-repetition"),
        pytest.param("^(?P<key>(?:a|a)*b)$", "a" * 50_000, id="alternatives"),
        pytest.param("(?P<key>(?:.*.*.*)=)", "x" * 50_000, id="dots"),
        pytest.param("(?P<key>z)", "a" * 1_000_000, id="a-million-characters"),
    ],
)
def test_no_text_takes_long(regex, text):
    """Time is linear in the text: an expression that would take Python's for ever is done at once."""
    start = time.perf_counter()

    assert keys([text, "other"], regex=regex) == [None, None]
    assert time.perf_counter() - start < 5


def test_very_long_keys():
    """A key may be as long as its text."""
    text = "é" * 1_000_000

    assert keys([text, "x-"], regex="^(?P<key>.*)$") == [text, "x-"]
    assert keys([text + "-", "x-"], prefix_until="-") == [text, "x"]


def test_inputs():
    """It reads one column of text, and could give any key."""
    strategy = PatternStrategy(PatternConf("x", prefix_length=1))

    assert (dict(strategy.inputs().columns), strategy.keys()) == ({"x": "string"}, None)


NONE = "write (?:...) for other groups."
INSTEAD = (
    "RE2 has neither look-arounds nor backreferences: "
    "match what stands around the key as well, outside of (?P<key>...)."
)


@pytest.mark.parametrize(
    ("regex", "what"),
    [
        pytest.param("abc", f"it needs one named group, (?P<key>...), and it has none; {NONE}", id="no-group"),
        pytest.param("(?P<k>a)", f"it needs one named group, (?P<key>...), and it has k; {NONE}", id="other-name"),
        pytest.param("(?P<Key>a)", f"it needs one named group, (?P<key>...), and it has Key; {NONE}", id="case"),
        pytest.param(
            "(?P<key>a)(?P<k>b)", f"it needs one named group, (?P<key>...), and it has key, k; {NONE}", id="two"
        ),
        pytest.param(
            "(a)(?P<key>b)", "it has a group without a name; write (?:...) for one that is no key.", id="unnamed"
        ),
        pytest.param(
            "(?=x)(?P<key>a)", f"it is no regular expression of RE2: invalid perl operator: (?=; {INSTEAD}", id="ahead"
        ),
        pytest.param(
            r"(?P<key>a)\1",
            rf"it is no regular expression of RE2: invalid escape sequence: \1; {INSTEAD}",
            id="backreference",
        ),
        pytest.param("(?P<key>a", "it is no regular expression of RE2: missing ): (?P<key>a; ", id="parenthesis"),
        pytest.param("(?P<key>a{9999})", "it is no regular expression of RE2: invalid repetition size: ", id="size"),
        pytest.param("(?P<key>\ud800)", "it has characters that no text can have.", id="half-a-character"),
    ],
)
def test_wrong_regex(regex, what):
    """An expression is read when the config is checked, and what RE2 does not have is said, with a way out."""
    (told,) = problems("routing strategy", kind="pattern", column="x", regex=regex)

    assert told.startswith(f"at.regex: {what}")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param({}, "at: give one of regex, prefix_length and prefix_until; none is given.", id="none"),
        pytest.param(
            {"prefix_length": 1, "prefix_until": "-"},
            "at: give one of regex, prefix_length and prefix_until; prefix_length and prefix_until are given.",
            id="two",
        ),
        pytest.param(
            {"prefix_length": 0}, "at.prefix_length: input should be greater than or equal to 1.", id="length-0"
        ),
        pytest.param({"prefix_length": True}, "at.prefix_length: input should be a valid integer.", id="length-bool"),
        pytest.param({"prefix_until": ""}, "at.prefix_until: string should have at least 1 character.", id="until"),
    ],
)
def test_wrong_options(options, found):
    """Exactly one way to find the key."""
    assert problems("routing strategy", kind="pattern", column="x", **options) == [found]


def test_made_from_a_bundle():
    """What the bundle records makes the same strategy."""
    strategy = made("routing strategy", kind="pattern", column="x", regex=r"^N(?P<key>\d+)")

    assert keys_of(bound(strategy), pd.DataFrame({"x": ["N12AA", "x"]})) == ["12", None]


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), max_size=8),
    length=st.integers(1, 4),
)
def test_a_prefix_as_python_cuts_it(texts, length):
    """The first characters, by code points, are the same through a regex and through a length."""
    values = pd.Series(texts, dtype=object)
    expected = [text[:length] if text else None for text in texts]

    assert keys(values, prefix_length=length) == expected
    assert keys(values, regex=f"(?s)^(?P<key>.{{1,{length}}})") == expected
