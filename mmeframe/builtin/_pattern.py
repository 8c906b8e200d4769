"""Name patterns: ``DOW_model_{dow}`` names key parts, ``*`` is anything."""

from __future__ import annotations

import re

from mmeframe.plugin import ConfigError, suggest

__all__ = ["NamePattern"]


class NamePattern:
    """A pattern that reads key parts from names.

    Raises ConfigError at ``where`` for a part that routing does not have, or one named twice.
    """

    def __init__(self, pattern: str, parts: tuple[str, ...], where: str) -> None:
        self.pattern = pattern
        pieces = re.split(r"(\{[^{}]*\}|\*)", pattern)
        self.parts = tuple(piece[1:-1] for piece in pieces if piece.startswith("{"))
        for part in self.parts:
            if part not in parts:
                raise ConfigError(
                    f"{{{part}}} is no key part.", where=where, hint=suggest(part, parts, "Parts of routing.keys")
                )
            if self.parts.count(part) > 1:
                raise ConfigError(f"{{{part}}} stands twice in {pattern!r}.", where=where)
        self._greedy, self._lazy = self._compile(pieces, ".+"), self._compile(pieces, ".+?")
        self.like = "".join("%" if p == "*" or p.startswith("{") else p for p in pieces)

    @staticmethod
    def _compile(pieces: list[str], some: str) -> re.Pattern[str]:
        body = ""
        for piece in pieces:
            if piece.startswith("{"):
                body += f"(?P<p_{piece[1:-1].encode().hex()}>{some})"
            else:
                body += ".*" if piece == "*" else re.escape(piece)
        return re.compile(body, re.DOTALL)

    def read(self, name: str) -> dict[str, str] | None:
        """Values of the parts in ``name``, None if it does not match.

        Raises ValueError if the name can be read in two ways: then no reading is right.
        """
        greedy, lazy = self._greedy.fullmatch(name), self._lazy.fullmatch(name)
        if greedy is None or lazy is None:
            return None
        if greedy.groups() != lazy.groups():
            raise ValueError(f"{name!r} can be read in two ways by {self.pattern!r}")
        return {part: greedy.group(f"p_{part.encode().hex()}") for part in self.parts}

    @staticmethod
    def from_tags(key: dict[str, str | int], *tags: dict[str, str]) -> dict[str, str | int]:
        """Resolve ``tags.<name>`` values; the first mapping that has the tag wins.

        Raises LookupError naming a tag that none has.
        """
        resolved: dict[str, str | int] = {}
        for part, value in key.items():
            if isinstance(value, str) and value.startswith("tags."):
                tag = value[5:]
                found = next((own[tag] for own in tags if tag in own), None)
                if found is None:
                    raise LookupError(f"has no tag {tag!r}, which gives the key part {part!r}")
                resolved[part] = found
            else:
                resolved[part] = value
        return resolved
