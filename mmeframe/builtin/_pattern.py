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
        self._pieces = [piece for piece in pieces if piece]
        self.literal = "".join(piece for piece in self._pieces if piece[0] not in "*{")
        self._greedy, self._lazy = self._compile(""), self._compile("?")
        self.like = "".join("%" if p == "*" or p.startswith("{") else p for p in pieces)

    def _compile(self, lazy: str) -> re.Pattern[str]:
        some = {"*": f"(.*{lazy})", "{": f"(.+{lazy})"}
        body = "".join(some.get(piece[0], re.escape(piece)) for piece in self._pieces)
        return re.compile(body, re.DOTALL)

    def read(self, name: str) -> dict[str, str] | None:
        """Values of the parts in ``name``, None if it does not match.

        Raises ValueError if the name can be read in two ways: then no reading is right.
        """
        greedy, lazy = self._greedy.fullmatch(name), self._lazy.fullmatch(name)
        if greedy is None or lazy is None:
            return None
        wild = [piece for piece in self._pieces if piece[0] in "*{"]
        reading = tuple(value for piece, value in zip(wild, greedy.groups(), strict=True) if piece != "*")
        # The greedy reading is the last in lexical order and the lazy one the first: equal, they are the only one.
        if greedy.groups() != lazy.groups() and len(self._readings(name)) > 1:
            raise ValueError(f"{name!r} can be read in two ways by {self.pattern!r}")
        return dict(zip(self.parts, reading, strict=True))

    def _readings(self, name: str) -> set[tuple[str, ...]]:
        """At most two different readings: from the last piece to the first, readings of each rest of the name."""
        tails: list[set[tuple[str, ...]]] = [*(set() for _ in name), {()}]
        for piece in reversed(self._pieces):
            found: list[set[tuple[str, ...]]] = [set() for _ in range(len(name) + 1)]
            for start in range(len(name) + 1):
                if piece[0] not in "*{":
                    if name.startswith(piece, start):
                        found[start] = tails[start + len(piece)]
                    continue
                for stop in range(start + (piece != "*"), len(name) + 1):
                    value = () if piece == "*" else (name[start:stop],)
                    found[start] |= {(*value, *tail) for tail in tails[stop]}
                    if len(found[start]) > 1:
                        break
            tails = found
        return tails[0]

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
