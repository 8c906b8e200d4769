"""Name patterns, for sources: ``DOW_model_{dow}`` names key parts, ``*`` is anything.

``NamePattern`` reads one name, ``PathPattern`` the paths of models below a folder, wherever the folder is.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mmeframe.errors import ConfigError, MissingError, Problem, ProblemsError, listed, suggest

__all__ = ["NamePattern", "PathPattern"]


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
                raise ConfigError(f"{{{part}}} occurs twice in {pattern!r}.", where=where)
        self._pieces = [piece for piece in pieces if piece]
        self.literal = "".join(piece for piece in self._pieces if piece[0] not in "*{")
        self._shortest = _compiled(self._pieces)
        self._longest = _compiled([piece if _wild(piece) else piece[::-1] for piece in reversed(self._pieces)])
        self.like = "".join("%" if p == "*" or p.startswith("{") else p for p in pieces)

    def read(self, name: str) -> dict[str, str] | None:
        """Values of the parts in ``name``, None if it does not match.

        Raises ValueError if the name can be read in two ways: then no reading is right.
        """
        shortest, longest = self._shortest.fullmatch(name), self._longest.fullmatch(name[::-1])
        if shortest is None or longest is None:
            return None
        values = shortest.groups()
        wild = [piece for piece in self._pieces if _wild(piece)]
        reading = tuple(value for piece, value in zip(wild, values, strict=True) if piece != "*")
        # Literals stand as early as they can in the one, as late as they can in the other: equal, there is no third.
        if values != tuple(value[::-1] for value in reversed(longest.groups())) and len(self._readings(name)) > 1:
            raise ValueError(f"{name!r} can be read in two ways by {self.pattern!r}")
        return dict(zip(self.parts, reading, strict=True))

    def _readings(self, name: str) -> set[tuple[str, ...]]:
        """At most two different readings: from the last piece to the first, readings of each rest of the name."""
        tails: list[set[tuple[str, ...]]] = [*(set() for _ in name), {()}]
        for piece in reversed(self._pieces):
            found: list[set[tuple[str, ...]]] = [set() for _ in range(len(name) + 1)]
            # Where readings of the rest begin, the nearest first: two different ends are two readings.
            ends: list[int] = []
            for start in range(len(name), -1, -1):
                if piece == "*":
                    after = found[start + 1] if start < len(name) else set()
                    found[start] = {*[*(tails[start] | after)][:2]}
                elif _wild(piece):
                    readings = [(name[start:end], *tail) for end in ends for tail in tails[end]]
                    found[start] = set(readings[:2])
                elif name.startswith(piece, start):
                    found[start] = tails[start + len(piece)]
                if tails[start]:
                    ends = [start, *ends[:1]]
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


def _wild(piece: str) -> bool:
    return piece[0] in "*{"


def _compiled(pieces: Sequence[str]) -> re.Pattern[str]:
    """The reading whose wildcards are as short as they can be, the first one first, in time linear in the name.

    A literal that was found at its first place is never looked for again: what follows it has more room there than
    anywhere else. Only the last one must stand at the end.
    """
    body, last = "", len(pieces) - 1
    for number, piece in enumerate(pieces):
        least = "" if piece == "*" else "."
        if not _wild(piece):
            body += re.escape(piece) + (")" if 0 < number < last else "")
        elif number < last and _wild(pieces[number + 1]):
            body += f"({least})"
        else:
            body += f"({least}.*)" if number + 1 >= last else f"(?>({least}.*?)"
    return re.compile(body, re.DOTALL)


class PathPattern:
    """A pattern of paths below a folder, as ``{region}/{store}.pkl``: one ``NamePattern`` for each name.

    Made for one listing: it keeps what is wrong with the paths that it was asked for, and ``models`` reports it.
    Raises ConfigError at ``where`` for what is no path below a folder, and what ``NamePattern`` raises.
    """

    def __init__(self, pattern: str, parts: tuple[str, ...], where: str) -> None:
        self.pattern = pattern
        pieces = pattern.split("/")
        if not all(pieces) or {".", ".."} & set(pieces):
            what = f"{pattern!r} is no path below a folder."
            raise ConfigError(what, where=where, hint="Write {region}/{store}.pkl, and the folder itself as path.")
        NamePattern(pattern, parts, where)
        self._names = [NamePattern(piece, parts, where) for piece in pieces]
        self._faults: dict[str, dict[str, None]] = {}

    @property
    def depth(self) -> int:
        """How many names a path has that matches."""
        return len(self._names)

    @property
    def of_files(self) -> bool:
        """Whether files match: where the last name has a dot. Folders that hold a file ``MLmodel`` always do."""
        return "." in self._names[-1].literal

    def read(self, path: str, depth: int) -> dict[str, str] | None:
        """Key parts in the last name of a path that lies ``depth`` folders deep; None if the name does not match.

        A name that begins with a dot never does. One that can be read in two ways is a fault.
        """
        name, pattern = path.rpartition("/")[2], self._names[depth]
        if name.startswith("."):
            return None
        try:
            return pattern.read(name)
        except ValueError:
            self.fault(f"these can be read in two ways by {pattern.pattern!r}", path)
            return None

    def fault(self, why: str, path: str) -> None:
        """Note that a path that matches cannot be used."""
        self._faults.setdefault(why, {})[path] = None

    def models(
        self, found: Mapping[str, Mapping[str, str]], files: Iterable[str], root: str, where: str
    ) -> list[tuple[str, str, dict[str, str | int]]]:
        """Id, path and key of every model that was found: the id is its name without suffix, where no other has that.

        found: paths below ``root`` that match -> key. files: those among them that are files, and so have a suffix.
        Raises ProblemsError with all that is wrong, at ``where``, and MissingError if nothing was found.
        """
        suffixed = set(files)
        stems = {path: os.path.splitext(path)[0] if path in suffixed else path for path in found}
        names = Counter(stem.rpartition("/")[2] for stem in stems.values())
        problems = [Problem(where, f"{why}: {listed(list(paths))}.") for why, paths in self._faults.items()]
        models: list[tuple[str, str, dict[str, str | int]]] = []
        owner: dict[str, str] = {}
        for stem, path in sorted((stem, path) for path, stem in stems.items()):
            name = stem.rpartition("/")[2]
            id_ = name if names[name] == 1 else stem
            if owner.setdefault(id_, path) != path:
                what = f"{owner[id_]} and {path} have one id, {id_!r}."
                problems.append(Problem(where, what, "Narrow the pattern, as in {part}.pkl."))
            models.append((id_, path, dict(found[path])))
        if problems:
            raise ProblemsError(problems)
        if not models:
            raise MissingError(
                f"nothing in {root} matches {self.pattern!r}.",
                where=where,
                hint="A pattern such as {store}.pkl matches files, {store} folders with a file MLmodel.",
            )
        return models
