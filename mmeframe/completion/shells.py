"""From the line that bash hands over to words, and from words to what bash can insert.

zsh and fish split lines themselves and take whole words. bash replaces only what follows the last of its break
characters, among which are ``=`` and ``:``, or what begins with one that is ``@``, and inserts text as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Line", "read_line"]

# What bash would read as its own.
_SPECIAL = re.compile(r"[\s'\"\\$`&|;()<>*?\[\]!#]")

# Break characters that bash replaces together with what follows them: names of hosts and variables begin so.
_INCLUDED = "@$"


@dataclass(frozen=True, slots=True)
class Line:
    """An unfinished line: its words, the last one maybe empty.

    kept: how many characters of the last word bash leaves as they are. quote: the one that is open.
    """

    words: list[str]
    kept: int
    quote: str

    def insertion(self, word: str) -> str:
        """What bash is to insert so that the last word becomes ``word``."""
        rest = word[self.kept :]
        if self.quote == "'":
            return rest
        return re.sub(r'(["\\$`])', r"\\\1", rest) if self.quote else _SPECIAL.sub(lambda it: f"\\{it[0]}", rest)


def read_line(line: str, breaks: str) -> Line:
    """Split a line as bash does. ``breaks``: its COMP_WORDBREAKS."""
    words: list[str] = []
    word: str | None = None
    kept, quote, escaped = 0, "", False
    for letter in line:
        if not (escaped or quote) and letter.isspace():
            words += [] if word is None else [word]
            word, kept = None, 0
            continue
        word = word or ""
        if escaped or (quote and letter not in (quote, "\\")) or (quote == "'" and letter == "\\"):
            word += letter
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter in "'\"":
            quote = "" if quote else letter
            kept = len(word)
        else:
            word += letter
            if letter in breaks:
                kept = len(word) - (letter in _INCLUDED)
    return Line([*words, word or ""], kept, quote)
