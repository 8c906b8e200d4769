"""What bash hands over, and what it is given back."""

from __future__ import annotations

import pytest

from mmeframe.completion.scripts import SHELLS, script
from mmeframe.completion.shells import read_line

BREAKS = " \t\n\"'@><=;|&(:"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("mmeframe", ["mmeframe"], id="one"),
        pytest.param("mmeframe ", ["mmeframe", ""], id="a-new-word"),
        pytest.param("mmeframe  build\trou", ["mmeframe", "build", "rou"], id="any-space"),
        pytest.param("m routing=col", ["m", "routing=col"], id="equals"),
        pytest.param("m +source@sources.x=re", ["m", "+source@sources.x=re"], id="at"),
        pytest.param("m -p no:geo", ["m", "-p", "no:geo"], id="colon"),
        pytest.param("m 'name=\"a b\"' x", ["m", 'name="a b"', "x"], id="quoted"),
        pytest.param("m 'routing.co", ["m", "routing.co"], id="open-quote"),
        pytest.param('m name="a b', ["m", "name=a b"], id="open-quote-inside"),
        pytest.param(r"m --data my\ fi", ["m", "--data", "my fi"], id="escaped-space"),
        pytest.param(r"m --data my\ ", ["m", "--data", "my "], id="escaped-space-at-the-end"),
        pytest.param("m ''", ["m", ""], id="empty-quotes"),
    ],
)
def test_the_words_of_a_line(line, words):
    """As bash splits it, with quotes taken away; the last word may be unfinished."""
    assert read_line(line, BREAKS).words == words


@pytest.mark.parametrize(
    ("line", "word", "inserted"),
    [
        pytest.param("m bui", "build", "build", id="whole"),
        pytest.param("m routing=col", "routing=column", "column", id="after-equals"),
        pytest.param("m routing=", "routing=column", "column", id="right-after-equals"),
        pytest.param("m +source@sou", "+source@sources.", "@sources.", id="with-at"),
        pytest.param("m +source@", "+source@sources.", "@sources.", id="right-after-at"),
        pytest.param("m +source@sources.x=re", "+source@sources.x=registry", "registry", id="after-the-last-break"),
        pytest.param("m -p no:geo", "no:geohash", "geohash", id="after-colon"),
        pytest.param("m 'routing=col", "routing=column", "routing=column", id="in-quotes-all-of-it"),
        pytest.param("m routing='col", "routing=column", "column", id="quote-inside"),
        pytest.param(r"m --data my\ fi", "my file.csv", r"my\ file.csv", id="escaped"),
        pytest.param("m --data=my", "--data=my file.csv", r"my\ file.csv", id="escaped-after-equals"),
        pytest.param("m --data 'my fi", "my file.csv", "my file.csv", id="single-quoted"),
        pytest.param('m --data "my fi', "my $file.csv", r"my \$file.csv", id="double-quoted"),
    ],
)
def test_what_bash_inserts(line, word, inserted):
    """Only what follows the last break character, with what bash would read as its own escaped."""
    assert read_line(line, BREAKS).insertion(word) == inserted


def test_a_shell_without_break_characters():
    """COMP_WORDBREAKS may be changed by its user: then the whole word is replaced."""
    assert read_line("m routing=col", " ").insertion("routing=column") == "routing=column"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_asks_for_its_own_shell(shell):
    """Each script calls back with its name, and is bound to the command."""
    text = script(shell)

    assert f"completion words {shell} " in text
    assert "mmeframe" in text.splitlines()[-2 if shell == "zsh" else -1]
