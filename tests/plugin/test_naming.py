"""Patterns of names: read in time linear in the name, and never in two ways."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.plugin import NamePattern

PIECES = st.lists(st.sampled_from(["a", "b", "ab", "*", "{k}", "{j}"]), min_size=1, max_size=5).filter(
    lambda pieces: pieces.count("{k}") < 2 and pieces.count("{j}") < 2
)


def readings(pieces, name):
    """All of them, by trying every length of every piece."""
    found = set()
    wild = [piece for piece in pieces if piece[0] in "*{"]
    for lengths in itertools.product(range(len(name) + 1), repeat=len(wild)):
        values = iter(lengths)
        at, parts = 0, {}
        for piece in pieces:
            text = name[at : at + next(values)] if piece in wild else piece
            if not name.startswith(text, at) or (piece[0] == "{" and not text):
                break
            at += len(text)
            if piece[0] == "{":
                parts[piece[1:-1]] = text
        else:
            if at == len(name):
                found.add(tuple(parts.items()))
    return found


@settings(max_examples=300, deadline=None)
@given(PIECES, st.text("ab", max_size=6))
def test_a_reading_is_the_only_one(pieces, name):
    """None where there is none, and an error where there are two."""
    expected = readings(pieces, name)
    pattern = NamePattern("".join(pieces), ("k", "j"), "here")
    if len(expected) > 1:
        with pytest.raises(ValueError, match="can be read in two ways"):
            pattern.read(name)
    else:
        assert pattern.read(name) == (dict(*expected) if expected else None)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        pytest.param("*a*a*a*a*a*b{k}", "a" * 5_000, id="no-end"),
        pytest.param("{k}-*-*-*-*x", "-" * 5_000, id="no-beginning"),
        pytest.param("{k}{j}*{i}x", "a" * 5_000, id="side-by-side"),
    ],
)
def test_many_wildcards_in_a_long_name(pattern, name):
    """It does not match, and this is found: going back would take longer than anybody waits."""
    assert NamePattern(pattern, ("i", "j", "k"), "here").read(name) is None
