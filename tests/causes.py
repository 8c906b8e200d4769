"""Marks by cause: what makes a test slow, and a guard that keeps the marks honest.

A test that starts a process or builds has one of the marks: its own, its file's (``pytestmark``), or that of a fixture
that it uses, however far away. Such fixtures are decorated with ``causes``. A test that does it without any mark fails.
A router that the tests of a module share, built by one of the module's fixtures, is nobody's own and needs no mark.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

PROCESS, BUILD = "process", "build"
_DOES = {PROCESS: "starts a process", BUILD: "builds a router of its own, or trains sub-models"}
# Fixtures of mmeframe's own, which know no marks of these tests.
_BUILDING = {"mmeframe_built"}
_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
# What libraries ask on their own account: MLflow the commit that a run belongs to, Python what machine this is, where
# its libraries are; joblib how many cores there are.
_ASKED = {"git", "uname", "file", "lscpu", "ldconfig", "gcc", "cc", "ld"}

_Fixture = TypeVar("_Fixture", bound=Callable[..., Any])

# What was done since the present test began, its fixtures included.
_done: set[str] = set()


def causes(*marks: str) -> Callable[[_Fixture], _Fixture]:
    """Decorate a fixture, below ``pytest.fixture``: tests that use it get these marks."""

    def decorate(fixture: _Fixture) -> _Fixture:
        fixture.causes = marks  # type: ignore[attr-defined]
        return fixture

    return decorate


def pytest_configure() -> None:
    sys.addaudithook(_note_processes)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Before ``-m`` chooses among tests."""
    for name, fixtures in item._fixtureinfo.name2fixturedefs.items():  # type: ignore[attr-defined]
        for mark in {mark for fixture in fixtures for mark in getattr(fixture.func, "causes", ())}:
            item.add_marker(mark)
        if name in _BUILDING:
            item.add_marker(BUILD)


@pytest.fixture(scope="session", autouse=True)
def _builds_are_noted() -> Iterator[None]:
    from mmeframe.publish import log
    from mmeframe.store import writing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "log_router", _noted(log.log_router))
        patch.setattr(writing.RunWriter, "log_folder", _noted(writing.RunWriter.log_folder))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _done.clear()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    before = set(_done)
    made = yield
    if fixturedef.scope != "function" and BUILD not in before:
        _done.discard(BUILD)
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield
    # A test with one of the marks is not among the quick ones, whatever else it does.
    if not {PROCESS, BUILD} & {mark.name for mark in item.iter_markers()} and _done:
        pytest.fail("\n".join(map(_advice, sorted(_done))), pytrace=False)


def _advice(mark: str) -> str:
    return (
        f"This test {_DOES[mark]}: mark it with @pytest.mark.{mark}, its file with pytestmark, "
        f"or decorate the fixture that does it with @causes({mark!r})."
    )


def _noted(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def noting(*args: Any, **options: Any) -> Any:
        _done.add(BUILD)
        return function(*args, **options)

    return noting


def _note_processes(event: str, args: tuple[Any, ...]) -> None:
    if event in _STARTS and not (event == "subprocess.Popen" and _program(args[1]) in _ASKED):
        _done.add(PROCESS)


def _program(command: Any) -> str:
    """The name of what runs: of a list its first, of a text its first word."""
    first = command.split()[0] if isinstance(command, str) else command[0]
    return Path(str(first)).name
