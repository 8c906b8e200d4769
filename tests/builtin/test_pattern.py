"""Name patterns: a name is read in the one way it can be, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.errors import ConfigError
from mmeframe.plugin import NamePattern

PARTS = ("dow", "shop", "area")


def read(pattern: str, name: str) -> dict[str, str] | None:
    return NamePattern(pattern, PARTS, "sources.days.name").read(name)


@pytest.mark.parametrize(
    ("pattern", "name", "parts"),
    [
        pytest.param("DOW_model_{dow}", "DOW_model_3", {"dow": "3"}, id="suffix"),
        pytest.param("{dow}_model", "mon_model", {"dow": "mon"}, id="prefix"),
        pytest.param("{dow}", "any thing", {"dow": "any thing"}, id="whole-name"),
        pytest.param("{shop}-{dow}", "berlin-3", {"shop": "berlin", "dow": "3"}, id="two-parts"),
        pytest.param("{shop}{dow}", "ab", {"shop": "a", "dow": "b"}, id="two-parts-side-by-side"),
        pytest.param("m.{dow}+(x)", "m.7+(x)", {"dow": "7"}, id="special-characters"),
        pytest.param("[{dow}]^$|\\", "[7]^$|\\", {"dow": "7"}, id="more-special-characters"),
        pytest.param("m_{dow}", "m_straße/02108 é", {"dow": "straße/02108 é"}, id="any-script"),
        pytest.param("m_{dow}", "m_a\nb", {"dow": "a\nb"}, id="newline"),
        pytest.param("v*_{dow}", "v12_mon", {"dow": "mon"}, id="star"),
        pytest.param("v*_{dow}", "v_mon", {"dow": "mon"}, id="star-is-nothing"),
        pytest.param("a*b*c", "axxbyyc", {}, id="stars-only"),
        pytest.param("a*b", "abab", {}, id="star-in-two-ways-gives-one-reading"),
        pytest.param("everyone", "everyone", {}, id="no-parts"),
        pytest.param("m_%{dow}", "m_%7", {"dow": "7"}, id="percent"),
    ],
)
def test_read(pattern, name, parts):
    """Parts are what stands between the fixed pieces, and ``*`` is anything, also nothing."""
    assert read(pattern, name) == parts


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        pytest.param("m_{dow}", "n_3", id="other-prefix"),
        pytest.param("m_{dow}", "m_", id="empty-part"),
        pytest.param("m_{dow}", "xm_3", id="more-before"),
        pytest.param("m_{dow}_x", "m_3_xy", id="more-behind"),
        pytest.param("m.{dow}", "mx3", id="a-dot-is-a-dot"),
        pytest.param("M_{dow}", "m_3", id="case"),
        pytest.param("everyone", "everyone2", id="no-parts"),
        pytest.param("{shop}{dow}", "a", id="too-short"),
    ],
)
def test_no_match(pattern, name):
    """A name that the pattern does not cover whole is no match."""
    assert read(pattern, name) is None


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        pytest.param("{shop}_{dow}", "san_jose_3", id="two-parts"),
        pytest.param("{shop}{dow}", "abc", id="side-by-side"),
        pytest.param("{dow}_*", "a_b_c", id="star-behind"),
        pytest.param("*_{dow}", "a_b_c", id="star-before"),
        pytest.param("*{dow}*", "ab", id="stars-around"),
        pytest.param("*x{dow}x*", "x1x2x1x", id="in-the-middle-only"),
        pytest.param("{shop}_{dow}_{area}", "a_b_c_d", id="three-parts"),
    ],
)
def test_ambiguous(pattern, name):
    """A name that can be read in two ways is read in neither."""
    with pytest.raises(ValueError, match="two ways") as caught:
        read(pattern, name)

    assert str(caught.value) == f"{name!r} can be read in two ways by {pattern!r}"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        pytest.param(
            "m_{dwo}",
            "sources.days.name: {dwo} is no key part.\n  Did you mean 'dow'? Parts of routing.keys: area, dow, shop.",
            id="near-miss",
        ),
        pytest.param(
            "{zz}", "sources.days.name: {zz} is no key part.\n  Parts of routing.keys: area, dow, shop.", id="unknown"
        ),
        pytest.param(
            "{}", "sources.days.name: {} is no key part.\n  Parts of routing.keys: area, dow, shop.", id="empty"
        ),
        pytest.param("{dow}_{dow}", "sources.days.name: {dow} occurs twice in '{dow}_{dow}'.", id="twice"),
    ],
)
def test_bad_patterns(pattern, text):
    """A pattern that names no part, or one twice, is refused where it stands in the config."""
    with pytest.raises(ConfigError) as caught:
        NamePattern(pattern, PARTS, "sources.days.name")

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("pattern", "like", "parts"),
    [
        pytest.param("DOW_model_{dow}", "DOW_model_%", ("dow",), id="part"),
        pytest.param("{shop}-*-{dow}", "%-%-%", ("shop", "dow"), id="parts-and-star"),
        pytest.param("everyone", "everyone", (), id="none"),
    ],
)
def test_like(pattern, like, parts):
    """The registry is searched with LIKE, which may find more names than the pattern reads, never fewer."""
    found = NamePattern(pattern, PARTS, "w")

    assert (found.like, found.parts) == (like, parts)


PIECES = st.lists(st.sampled_from(["{dow}", "{shop}", "*", "_", "a", "b_"]), min_size=1, max_size=5)
WORD = st.text("ab_", min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(pieces=PIECES, dow=WORD, shop=WORD, anything=st.text("ab_", max_size=3))
def test_a_name_is_never_read_wrongly(pieces, dow, shop, anything):
    """A name made by a pattern is read back to the parts it was made of, or refused as ambiguous."""
    pieces = [piece for n, piece in enumerate(pieces) if piece[0] != "{" or piece not in pieces[:n]]
    values = {"{dow}": dow, "{shop}": shop, "*": anything}
    name = "".join(values.get(piece, piece) for piece in pieces)
    made_of = {piece[1:-1]: values[piece] for piece in pieces if piece.startswith("{")}

    try:
        found = read("".join(pieces), name)
    except ValueError:
        found = made_of

    assert found == made_of


# -- keys from tags ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "resolved"),
    [
        pytest.param({"dow": "tags.dow"}, {"dow": "mon"}, id="the-first-that-has-it"),
        pytest.param({"dow": "tags.area"}, {"dow": "eu"}, id="the-second"),
        pytest.param({"dow": "mon", "shop": 7}, {"dow": "mon", "shop": 7}, id="plain-values"),
        pytest.param({"dow": "tagsdow"}, {"dow": "tagsdow"}, id="text-that-looks-a-little-like-it"),
        pytest.param({"dow": "tags.a.b"}, {"dow": "dotted"}, id="a-tag-with-a-dot"),
        pytest.param({"dow": "tags.none"}, {"dow": ""}, id="an-empty-tag"),
        pytest.param({}, {}, id="none"),
    ],
)
def test_from_tags(key, resolved):
    """``tags.<name>`` is the value of a tag: the version's wins over the registered model's."""
    version, model = {"dow": "mon", "a.b": "dotted", "none": ""}, {"dow": "tue", "area": "eu"}

    assert NamePattern.from_tags(key, version, model) == resolved


def test_a_tag_that_none_has():
    """The tag and the part that needs it are named."""
    with pytest.raises(LookupError) as caught:
        NamePattern.from_tags({"dow": "tags.weekday"}, {"dow": "mon"}, {})

    assert caught.value.args == ("has no tag 'weekday', which gives the key part 'dow'",)
