"""Errors a user can act on: each says where, what, and what to try next.

Low layer: imports the standard library and ``redact`` only. The runtime translates ``code`` to the status of the
protocol it speaks; nothing here holds the caller's data.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher, get_close_matches
from heapq import nlargest
from itertools import pairwise
from typing import Any, Literal, TypeVar

from mmeframe.redact import redact_message

__all__ = [
    "FAULTS",
    "QUOTE",
    "BadInputError",
    "BuildError",
    "ConfigError",
    "CorruptBundleError",
    "MissingError",
    "MmeframeError",
    "ModelError",
    "PluginError",
    "Problem",
    "ProblemsError",
    "Report",
    "UnknownKeyError",
    "UnknownNameError",
    "UsageError",
    "count",
    "forget",
    "forgotten",
    "known_names",
    "legible",
    "legible_lines",
    "listed",
    "nearest",
    "refused_by",
    "suggest",
]

# What to do with what YAML has read as something else than text. A shell takes away the quotes that it is given.
QUOTE = """quote it ("'...'" on a command line)"""

# What code of plugins and sub-models may raise, and what ends only what it was asked for: sys.exit() is for scripts.
FAULTS = (Exception, SystemExit)

E = TypeVar("E", bound=BaseException)

Code = Literal[
    "internal", "config", "usage", "missing", "fleet", "bad_input", "unknown_key", "corrupt", "model", "plugin"
]

# Names, and problems, that a text lists; problems of one kind where there are more.
_SHOWN, _ALIKE = 16, 5
# Characters of a line, and of a name in it: a request may hold any text.
_LINE, _NAME = 4000, 160
# How much more of a text is read than shown.
_READ = 16
# How alike two names are of which one was probably meant for the other, and how many names are looked at; of more, only
# those that have most pairs of letters in common are compared at all.
_NEAR, _LIKELY, _COMPARED = 0.6, 8, 1000
# What begins another line of a hint.
_BELOW = "\n  "
# Places in one line.
_PLACES = 5
# Python's own errors for a value that is not taken; where installed code lies; the first HTTP status of faults.
_REFUSALS = (ValueError, TypeError)
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")
_FAULT = 500
# What tells problems of one kind apart: quoted text, paths, and words with a digit.
_NAMES = re.compile(r"'[^']*'|\S*[/\\\d]\S*")


def legible(text: str, most: int = _LINE) -> str:
    """One line that is safe in a terminal and a log: without secrets, what cannot be printed escaped, much shortened.

    Such text stays as it is when it comes here again.
    """
    text = _cut(redact_message(_begun(text, most * _READ)), most)
    if text.isprintable():
        return text
    return _cut("".join(it if it.isprintable() else it.encode("unicode_escape").decode() for it in text), most)


def _begun(text: str, most: int) -> str:
    """The beginning of what is far too long to be read, without a URI that it cuts: its password would have no end."""
    if len(text) <= most:
        return text
    start = max(text.rfind(space, 0, most) for space in " \n") + 1
    return f"{text[: start if ':/' in text[start:most] else most]}..."


def _cut(text: str, most: int) -> str:
    tail = most // 4
    return text if len(text) <= most else f"{text[: most - tail - 3]}...{text[-tail:]}"


def legible_lines(text: str) -> str:
    """The same of each line of a text that has several."""
    return "\n".join(map(legible, text.split("\n")))


def _indented(hint: str) -> str:
    """A hint may have several lines, which stand below the first; one that a name in it begins is none."""
    return _BELOW.join(map(legible, hint.split(_BELOW)))


def known_names(known: Iterable[str], noun: str = "Known") -> str:
    """List what exists, shortened: ``Known: a, b, c and 40 more.``"""
    names = sorted(set(known))
    if not names:
        return f"{noun}: none."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{noun}: {', '.join(legible(name, _NAME) for name in names[:_SHOWN])}{more}."


def count(number: int, noun: str) -> str:
    """``1 sub-model``, ``7 sub-models``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(places: Sequence[object]) -> str:
    """Many places in one line: ``1, 2, 3, 4, 5 and 40 more``."""
    shown = ", ".join(legible(str(place), _NAME) for place in places[:_PLACES])
    return shown if len(places) <= _PLACES else f"{shown} and {len(places) - _PLACES} more"


def refused_by(error: BaseException | None) -> str:
    """Who does not take what it was given, by what it raised: an installed ``library``, or ``own`` code of a model.

    Both say so with a ValueError, a TypeError or an error of their own; an empty text for others, which are faults.
    """
    kind = type(error)
    # What crossed from another process has the answer from there; MLflow's errors have a status.
    if (told := getattr(error, "refused_by", None)) is not None:
        return str(told)
    status = getattr(error, "get_http_status_code", int)()
    if error is None or status >= _FAULT or (kind.__module__ == "builtins" and not isinstance(error, _REFUSALS)):
        return ""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    # Compiled code has no file that is there, its errors have.
    files = [
        getattr(sys.modules.get(kind.__module__), "__file__", None),
        None if trace is None else trace.tb_frame.f_code.co_filename,
    ]
    return "library" if any(_INSTALLED.search(file or "") for file in files) else "own"


def nearest(name: str, known: Iterable[str], least: float = _NEAR) -> str | None:
    """The name that was probably meant, in any case of letters; none if all are far.

    Paths are compared step by step, so that a long section does not make every option of it near. least: how alike each
    step must be, as difflib counts it, unless two letters have changed places. Long names are near none: comparing two
    takes as many steps as the product of their lengths.
    """
    if len(name) > _NAME:
        return None
    wanted = _plain(name)
    plain = {_plain(item): item for item in known if len(item) <= _NAME}
    likely: Iterable[str] = plain
    if len(plain) > _COMPARED:
        pairs = set(pairwise(wanted))
        likely = nlargest(_COMPARED, plain, key=lambda item: len(pairs.intersection(pairwise(item))))
    close = get_close_matches(wanted, likely, n=_LIKELY, cutoff=_NEAR)
    # Of _ba_a and _ab_a difflib finds little in common.
    swapped = (item for item in likely if sorted(item) == sorted(wanted))
    return next((plain[other] for other in (*close, *swapped) if _alike(wanted, other, least)), None)


def _plain(name: str) -> str:
    return name.lstrip("-").lower()


def _alike(one: str, other: str, least: float) -> bool:
    steps = [re.split(r"[./]", path) for path in (one, other)]
    return len(steps[0]) == len(steps[1]) and all(
        sorted(mine) == sorted(theirs) or SequenceMatcher(None, mine, theirs).ratio() >= least
        for mine, theirs in zip(*steps, strict=True)
    )


def suggest(name: str, known: Iterable[str], noun: str = "Known") -> str:
    """Nearest name first, then everything that exists."""
    names = [str(item) for item in known]
    close = nearest(name, names)
    guess = f"Did you mean {close!r}? " if close else ""
    return guess + known_names(names, noun)


def forget(error: BaseException) -> None:
    """Empty the frames that an error has passed, and those of its causes: they hold sub-models, files and rows.

    Whoever keeps the error would keep those. Its lines stay, for whoever reads them.
    """
    for it in _chain(error):
        traceback.clear_frames(it.__traceback__)


def forgotten(error: E) -> E:
    """An error to keep after it was handled: the lines of tracebacks are notes, of it and of its causes.

    A frame leads to those that had called it, which go on, and would be kept with all that they come to hold.
    """
    for it in _chain(error):
        if it.__traceback__ is not None:
            lines = [
                f"  File {frame.f_code.co_filename!r}, line {line}, in {frame.f_code.co_name}"
                for frame, line in traceback.walk_tb(it.__traceback__)
            ]
            it.add_note("\n".join(["Raised in:", *lines]))
            it.__traceback__ = None
    return error


def _chain(error: BaseException) -> list[BaseException]:
    """An error and its causes, without what was being handled before, by code that still runs."""
    found: dict[int, BaseException] = {}
    rest: list[BaseException | None] = [error]
    while rest:
        it = rest.pop()
        if it is None or id(it) in found or (found and _is_handled(it)):
            continue
        found[id(it)] = it
        rest += [it.__cause__, it.__context__, *getattr(it, "exceptions", ())]
    return [*found.values()]


def _is_handled(error: BaseException) -> bool:
    """Whether what has caught it still runs; if not, what that held is let go of."""
    try:
        if error.__traceback__ is not None:
            error.__traceback__.tb_frame.clear()
    except RuntimeError:
        return True
    return False


class MmeframeError(Exception):
    """Root of the tree. ``where`` is a config path, a file or a model id; ``hint`` says what to try."""

    code: Code = "internal"

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        # Names and values of callers come into all messages here.
        self.where, self.what, self.hint = legible(where), legible(what), _indented(hint)
        super().__init__(self.what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.hint}" if self.hint else head

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses are made of other arguments than an exception keeps.
        return _restored, (type(self), self.args), vars(self)


def _restored(kind: type[MmeframeError], args: tuple[Any, ...]) -> MmeframeError:
    return kind.__new__(kind, *args)


class UsageError(MmeframeError):
    """The command line itself cannot be understood."""

    code = "usage"


class ConfigError(MmeframeError):
    """One thing that is wrong in the config."""

    code = "config"


class UnknownNameError(ConfigError):
    """A config value names something that no plugin provides."""

    def __init__(self, where: str, kind: str, name: str, known: Iterable[str], also: str = "") -> None:
        self.kind, self.name = kind, name
        self.known = sorted(known)
        hint = suggest(name, self.known)
        super().__init__(f"no {kind} named {name!r}.", where=where, hint=f"{hint} {also}".rstrip())


class MissingError(MmeframeError):
    """A store, a registered model, an alias or a file that the config names does not exist."""

    code = "missing"


class BuildError(MmeframeError):
    """The fleet cannot become one router."""

    code = "fleet"


class PluginError(MmeframeError):
    """A plugin breaks the rules, or one that a router needs is not there."""

    code = "plugin"


class BadInputError(MmeframeError):
    """A request that no sub-model could answer: wrong columns, types or parameters."""

    code = "bad_input"


class UnknownKeyError(MmeframeError):
    """Rows whose routing key reaches no sub-model, with ``routing.on_unknown: raise``."""

    code = "unknown_key"


class ModelError(MmeframeError):
    """A sub-model failed to load or to predict."""

    code: Code = "model"


class CorruptBundleError(MmeframeError):
    """A file of the bundle is not what the build wrote."""

    code = "corrupt"

    def __init__(
        self,
        file: str,
        expected: str,
        actual: str,
        what: str = "its digest does not match",
        hint: str = "The file was changed or damaged after the build. Download the model again, or rebuild it.",
    ) -> None:
        self.file, self.expected, self.actual = file, expected, actual
        super().__init__(f"{what}: expected sha256 {expected}, found {actual}.", where=file, hint=hint)


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of a report. ``code`` decides the exit status: config and usage mean 2, the rest 1."""

    where: str
    what: str
    hint: str = ""
    code: Code = "config"

    def __post_init__(self) -> None:
        for name, text in (
            ("where", legible(self.where)),
            ("what", legible(self.what)),
            ("hint", _indented(self.hint)),
        ):
            object.__setattr__(self, name, text)

    def below(self, where: str) -> Problem:
        """The same with its place inside of another: what a component says of its own options names no config path."""
        dot = "." if self.where and self.where[0] != "[" else ""
        return replace(self, where=f"{where}{dot}{self.where}")

    @classmethod
    def of(cls, error: MmeframeError) -> Problem:
        """The same content as ``error``, so that it can join a report."""
        return cls(error.where, error.what, error.hint, error.code)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.hint}" if self.hint else head


class ProblemsError(MmeframeError):
    """Everything that is wrong, in one report, in the order in which it was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__(f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}")

    @property
    def in_config(self) -> bool:
        """Whether any problem is in the config itself, as opposed to a store or a model."""
        return any(problem.code in ("config", "usage") for problem in self.problems)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The problems for people. Of many that are alike, as when a folder of models is gone, the first few."""
        kinds: dict[tuple[str, str], list[int]] = {}
        for place, problem in enumerate(self.problems):
            kinds.setdefault((problem.code, _NAMES.sub("", problem.what)), []).append(place)
        if len(self.problems) <= _SHOWN:
            return [str(problem) for problem in self.problems]
        shown = {place: str(self.problems[place]) for places in kinds.values() for place in places[:_ALIKE]}
        for places in kinds.values():
            if len(places) > _ALIKE:
                shown[places[_ALIKE - 1]] += f"\n... and {len(places) - _ALIKE} more like this. --json lists all."
        return [shown[place] for place in sorted(shown)]


@dataclass(frozen=True, slots=True)
class Report:
    """Problems in the order in which they are found; whoever is handed one adds to it, below the config path ``at``.

    All problems stop a command at its end; warnings stop nothing.
    """

    at: str = ""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.problems)

    def below(self, where: str) -> Report:
        """The same report for one who stands at another path."""
        return Report(f"{self.at}.{where}" if self.at else where, self.problems, self.warnings)

    def add(self, where: str, what: str, hint: str = "", code: Code = "config") -> None:
        self.take([Problem(where, what, hint, code)])

    def of(self, error: MmeframeError) -> None:
        """What an error says joins the report."""
        self.take(error.problems if isinstance(error, ProblemsError) else [Problem.of(error)])

    def take(self, problems: Iterable[Problem]) -> None:
        self.problems.extend(it.below(self.at) if self.at else it for it in problems)

    def check(self) -> None:
        """Raise ProblemsError with all of them, if there are any."""
        if self.problems:
            raise ProblemsError(self.problems)
