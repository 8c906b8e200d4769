"""Marks by cause: a fixture hands its marks on, and a test that does what it has no mark for fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = """
import os
import subprocess

import pytest

from mmeframe.publish import log
from tests.causes import causes


def start():
    subprocess.run(["true"], check=True)


def build():
    with pytest.raises(TypeError):
        log.log_router()


@pytest.fixture
@causes("process")
def started():
    start()


@pytest.fixture
def farther(started):
    pass


@pytest.fixture(scope="module")
def shared():
    build()


def test_plain():
    pass


def test_starts():
    start()


def test_forks():
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)


def test_builds():
    build()


@pytest.mark.build
def test_builds_only():
    build()
    start()


@pytest.mark.process
@pytest.mark.build
def test_both():
    build()
    start()


def test_by_fixture(farther):
    pass


def test_shares(shared):
    pass


def test_shares_and_builds(shared):
    build()
"""
SAID = (
    "mark it with @pytest.mark.{0}, its file with pytestmark, or decorate the fixture that does it with @causes({0!r})."
)


@pytest.mark.process
@pytest.mark.smoke
def test_a_test_without_the_mark_of_what_it_does_fails(tmp_path):
    """The message has the mark; what a module's tests share is nobody's; -m knows what fixtures do."""
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\nmarkers =\n  process\n  build\n")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "tests.causes", "-p", "no:cacheprovider"]

    def outcomes(*arguments: str) -> dict[str, str]:
        # Wide enough for a whole message in a line.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400"}
        done = subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        lines = [line.partition(" test_it.py::test_") for line in done.stdout.splitlines()]
        return {name: outcome for outcome, found, name in lines if found}

    process, build = "This test starts a process", "This test builds a router of its own, or trains sub-models"
    assert outcomes() == {
        "plain": "PASSED",
        f"starts - Failed: {process}: {SAID.format('process')}": "FAILED",
        f"forks - Failed: {process}: {SAID.format('process')}": "FAILED",
        f"builds - Failed: {build}: {SAID.format('build')}": "FAILED",
        "builds_only": "PASSED",
        "both": "PASSED",
        "by_fixture": "PASSED",
        "shares": "PASSED",
        f"shares_and_builds - Failed: {build}: {SAID.format('build')}": "FAILED",
    }
    assert set(outcomes("-m", "not process and not build", "-k", "plain or both or fixture")) == {"plain"}
