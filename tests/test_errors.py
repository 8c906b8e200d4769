"""Errors say where, what, the nearest name and what exists."""

from __future__ import annotations

import traceback
import weakref

import pytest

from mmeframe import errors
from mmeframe.errors import (
    BadInputError,
    ConfigError,
    CorruptBundleError,
    MissingError,
    MmeframeError,
    Problem,
    ProblemsError,
    Report,
    UnknownNameError,
    forget,
    forgotten,
    known_names,
    legible,
    suggest,
)

MANY = [f"n{number:02}" for number in range(19)]


@pytest.mark.parametrize(
    ("known", "text"),
    [
        pytest.param([], "Known: none.", id="none"),
        pytest.param(["b", "a", "b"], "Known: a, b.", id="sorted-once-each"),
        pytest.param(MANY[:16], f"Known: {', '.join(MANY[:16])}.", id="all-that-fit"),
        pytest.param(MANY, f"Known: {', '.join(MANY[:16])} and 3 more.", id="shortened"),
    ],
)
def test_known_names(known, text):
    """What exists is listed in order, and only so far that a screen holds it."""
    assert known_names(known) == text


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        pytest.param("onx", "Did you mean 'onnx'? Kinds: onnx, pyfunc.", id="near-miss"),
        pytest.param("zzz", "Kinds: onnx, pyfunc.", id="nothing-close"),
        pytest.param("", "Kinds: onnx, pyfunc.", id="nothing-typed"),
    ],
)
def test_suggest(typed, text):
    """The nearest name comes first, and what exists is always listed."""
    assert suggest(typed, ["pyfunc", "onnx"], "Kinds") == text


def test_suggest_takes_names_of_any_type():
    """Names that are numbers, as a table's columns may be, are compared as text."""
    assert suggest("1", [10, 2], "Columns") == "Did you mean '10'? Columns: 10, 2."


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [
        pytest.param("", "", "it broke.", id="what"),
        pytest.param("routing.kind", "", "routing.kind: it broke.", id="where"),
        pytest.param("", "Mend it.", "it broke.\n  Mend it.", id="hint"),
        pytest.param("routing.kind", "Mend it.", "routing.kind: it broke.\n  Mend it.", id="all"),
    ],
)
def test_text_of_an_error(where, hint, text):
    """Where, what, and the hint on a line of its own; a problem reads like the error it came from."""
    error = ConfigError("it broke.", where=where, hint=hint)

    assert (str(error), str(Problem.of(error))) == (text, text)


def test_unknown_name():
    """A name that no plugin provides is answered with the nearest, and keeps its parts."""
    error = UnknownNameError("routing.kind", "routing strategy", "colum", ["param", "column"], "geo is broken.")

    assert str(error) == (
        "routing.kind: no routing strategy named 'colum'.\n"
        "  Did you mean 'column'? Known: column, param. geo is broken."
    )
    assert (error.where, error.kind, error.name, error.known) == (
        "routing.kind",
        "routing strategy",
        "colum",
        ["column", "param"],
    )


def test_corrupt_bundle():
    """Damage is reported with the file and both digests."""
    error = CorruptBundleError("b/pack.bin", "aa", "bb")

    assert str(error) == (
        "b/pack.bin: its digest does not match: expected sha256 aa, found bb.\n"
        "  The file was changed or damaged after the build. Download the model again, or rebuild it."
    )


def test_every_error_has_its_code():
    """The codes that the runtime translates; a new error without one is seen here."""
    codes = {name: getattr(errors, name).code for name in errors.__all__ if name.endswith("Error")}

    assert codes == {
        "BadInputError": "bad_input",
        "BuildError": "fleet",
        "ConfigError": "config",
        "CorruptBundleError": "corrupt",
        "MissingError": "missing",
        "MmeframeError": "internal",
        "ModelError": "model",
        "PluginError": "plugin",
        "ProblemsError": "internal",
        "UnknownKeyError": "unknown_key",
        "UnknownNameError": "config",
        "UsageError": "usage",
    }


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name.endswith("Error")])
def test_one_tree(name):
    """Whoever catches MmeframeError catches all of ours."""
    assert issubclass(getattr(errors, name), MmeframeError)


def test_a_problem_keeps_the_code_of_its_error():
    """A report knows which of its lines are about the config."""
    assert Problem.of(MissingError("no model.", where="models.a")) == Problem("models.a", "no model.", "", "missing")


ONE, TWO = Problem("models.a", "no key.", "Add one."), Problem("", "no store.", "", "missing")


def test_a_report_lists_each_problem_once():
    """Problems stand in the order in which they were found, without repetition."""
    report = ProblemsError([ONE, TWO, ONE])

    assert str(report) == "models.a: no key.\n  Add one.\nno store."


def gone(number: int) -> Problem:
    return Problem(f"models.m{number}", f"there is no file /models/m{number}.pkl.", "", "missing")


def test_a_long_report_is_short():
    """Of ten thousand problems that are alike a few are shown, and none of another kind is lost among them."""
    report = ProblemsError([*map(gone, range(9_000)), ONE, *map(gone, range(9_000, 10_000)), TWO])

    assert str(report).splitlines() == [
        *(str(gone(number)) for number in range(5)),
        "... and 9995 more like this. --json lists all.",
        *str(ONE).splitlines(),
        str(TWO),
    ]


def test_a_report_of_a_few_is_whole():
    """Sixteen lines can be read."""
    problems = [gone(number) for number in range(16)]

    assert str(ProblemsError(problems)).splitlines() == [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("problems", "what"),
    [pytest.param([ONE], "1 problem", id="one"), pytest.param([ONE, TWO], "2 problems", id="two")],
)
def test_a_report_counts(problems, what):
    """The short form of a report is its count."""
    assert ProblemsError(problems).what == what


@pytest.mark.parametrize(
    ("code", "in_config"),
    [
        pytest.param("config", True, id="config"),
        pytest.param("usage", True, id="usage"),
        pytest.param("missing", False, id="missing"),
        pytest.param("fleet", False, id="fleet"),
    ],
)
def test_what_a_report_blames(code, in_config):
    """One problem in the config is enough to blame the config; a missing model is not."""
    assert ProblemsError([TWO, Problem("x", "bad.", "", code)]).in_config is in_config


def test_a_report_is_shared_by_those_who_stand_below():
    """Whatever anybody adds comes in one list, with the path at which they stand."""
    report = Report()
    part = report.below("routing").below("keys.dow")
    report.add("name", "bad.")
    part.add("column", "bad.")
    part.of(ProblemsError([Problem("[0]", "bad."), Problem("", "bad.")]))
    part.of(ConfigError("bad.", where="part", hint="Mend it."))

    assert [problem.where for problem in report.problems] == [
        "name",
        "routing.keys.dow.column",
        "routing.keys.dow[0]",
        "routing.keys.dow",
        "routing.keys.dow.part",
    ]
    with pytest.raises(ProblemsError) as caught:
        report.check()
    assert caught.value.problems == tuple(report.problems)


def test_a_report_of_nothing():
    """Nobody is stopped by it, and it counts as nothing."""
    report = Report()
    report.check()

    assert not report.below("routing")


def test_bad_input_is_an_exception_like_others():
    """An error can be raised, caught and shown without losing its hint."""
    with pytest.raises(MmeframeError, match=r"^column 'x' is missing\.\n  Columns sent: y\.$"):
        raise BadInputError("column 'x' is missing.", hint="Columns sent: y.")


# -- what errors keep alive ------------------------------------------------------------------------------------------


class Heavy:
    """Something that nobody should keep."""


def failing(seen: list[weakref.ref[Heavy]]) -> None:
    """Raises with a cause, a group in it, and frames of which each has something of its own."""

    def inner() -> None:
        heavy = Heavy()
        seen.append(weakref.ref(heavy))
        raise KeyError("inner")

    heavy = Heavy()
    seen.append(weakref.ref(heavy))
    try:
        try:
            inner()
        except KeyError as error:
            raise ExceptionGroup("several", [error]) from None
    except ExceptionGroup as error:
        raise ValueError("outer") from error


@pytest.mark.parametrize(("let_go", "keeps"), [(forget, True), (forgotten, False)])
def test_an_error_that_is_kept_keeps_nothing_else(let_go, keeps):
    """Nor do its causes, and those of a group; the lines stay, in the traceback or as a note."""
    seen: list[weakref.ref[Heavy]] = []
    kept: list[BaseException] = []
    try:
        failing(seen)
    except ValueError as error:
        let_go(error)
        kept.append(error)

    assert [it() for it in seen] == [None, None]
    (error,) = kept
    cause = error.__cause__
    assert isinstance(cause, ExceptionGroup)
    for it, function in ((error, "failing"), (cause, "failing"), (cause.exceptions[0], "inner")):
        assert (it.__traceback__ is not None) == keeps
        assert any(f"in {function}" in line for line in traceback.format_exception(it, chain=False))


@pytest.mark.parametrize("let_go", [forget, forgotten])
def test_what_the_caller_is_handling_is_the_callers(let_go):
    """An error that was caught before, by code that still runs, is neither emptied nor changed."""
    kept: list[BaseException] = []
    seen: list[weakref.ref[Heavy]] = []

    def later() -> None:
        try:
            failing([])
        except ValueError as error:
            let_go(error)
            kept.append(error)

    try:
        failing(seen)
    except ValueError as before:
        later()
        found = (before.__traceback__ is None, hasattr(before, "__notes__"), [it() is None for it in seen])

    assert found == (False, False, [False, False])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m", id="colour"),
        pytest.param("a\nerror: b", r"a\nerror: b", id="line"),
        pytest.param("\u202eabc", r"\u202eabc", id="right-to-left"),
        pytest.param("\ud800", r"\ud800", id="half-a-character"),
        pytest.param("Zürich 日本", "Zürich 日本", id="letters"),
    ],
)
def test_no_message_has_what_a_terminal_obeys(text, shown):
    """Names and values of callers are escaped where an error or a problem is made, once."""
    error = BadInputError(f"no {text}.", where=text, hint=suggest("zzz", [text], "Known"))

    assert (error.where, error.what, error.hint) == (shown, f"no {shown}.", f"Known: {shown}.")
    assert Problem.of(error) == Problem(text, f"no {text}.", error.hint, "bad_input")


def test_a_long_name_does_not_make_a_long_message():
    """Twenty names of a million characters are a message of a few thousand."""
    names = [f"{number:02}" + "x" * 1_000_000 for number in range(20)]
    error = BadInputError(f"there is no {names[0]}.", hint=suggest(names[1], names))

    assert len(error.what) == 4000
    assert error.what.startswith("there is no 00xxx")
    assert error.what.endswith("xxx...")
    assert len(error.hint) < 16 * 170
    assert error.hint.endswith(" and 4 more.")


def test_the_nearest_of_many():
    """The name that was meant is found among forty thousand that are like it."""
    assert errors.nearest("store_31995_nroth", [f"store_{number}_north" for number in range(40_000)]) == (
        "store_31995_north"
    )


@pytest.mark.parametrize("before", [0, 2990, 3990, 63_000, 63_990, 64_010])
@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("https://u:{}@h/x", id="uri"),
        pytest.param("x.token={}", id="override"),
        pytest.param("x={{password: '{}'}}", id="map"),
    ],
)
def test_no_cut_shows_a_secret(secret, before):
    """However long a text is, and wherever it is cut: a secret in it is seen as one, and goes."""
    for long in (10, 500, 70_000):
        shown = legible("x " * (before // 2) + secret.format("hunter2" * long))

        assert "hunter2" not in shown
        assert len(shown) <= 4000
        assert legible(shown) == shown
