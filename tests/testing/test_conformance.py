"""The kit as an author's test suite runs it: in a pytest of its own, with strict settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from mmeframe.errors import UsageError

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
INI = """\
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider -p no:hydra_pytest
filterwarnings = error
"""
HEAD = """\
import pandas as pd
import pytest
from mmeframe.testing import *

ROWS = pd.DataFrame({"day": ["mon", "tue", None] * 4, "n": range(12)})
"""
COLUMN = 'StrategyCase("column", rows=ROWS, options={"column": "day"})'


@pytest.fixture
def run_tests(tmp_path) -> Callable[..., tuple[int, list[str]]]:
    """Run pytest on a module of a text: (text, *arguments) -> exit code, lines without the newest checks' warnings."""

    def run(text: str, *arguments: str, head: str = HEAD) -> tuple[int, list[str]]:
        (tmp_path / "pytest.ini").write_text(INI)
        (tmp_path / "test_it.py").write_text(head + textwrap.dedent(text))
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "pytest", "-q", "-rA", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        return done.returncode, done.stdout.splitlines()

    return run


def outcomes(lines: list[str], word: str) -> list[str]:
    """Names of the tests that ended so."""
    return [line.split(" - ")[0].removeprefix(f"{word} test_it.py::") for line in lines if line.startswith(f"{word} ")]


def test_a_subclass(run_tests):
    """One test for each case and check, with names that say both; -k chooses among them."""
    text = f"""
    class TestColumn(RoutingStrategyConformance):
        cases = [{COLUMN}, StrategyCase("column", ROWS, options={{"column": "n"}})]

        def test_more(self):
            assert len(self.cases) == 2
    """
    code, lines = run_tests(text, "-k", "check_row_wise or check_no_rows or test_more")

    assert code == 0
    assert outcomes(lines, "PASSED") == [
        "TestColumn::test_keeps[column-column=day-check_row_wise]",
        "TestColumn::test_keeps[column-column=day-check_no_rows]",
        "TestColumn::test_keeps[column-column=n-check_row_wise]",
        "TestColumn::test_keeps[column-column=n-check_no_rows]",
        "TestColumn::test_more",
    ]


def test_a_subclass_without_cases(run_tests):
    """It would test nothing."""
    code, lines = run_tests("class TestNothing(RoutingStrategyConformance):\n    pass\n")

    assert code == 2
    assert "TestNothing.cases: there are no cases." in "\n".join(lines)


def test_the_decorator(run_tests):
    """Cases of several kinds in one test, each with the checks of its kind; fixtures may stand beside them."""
    text = f"""
    @parametrize_with_checks([{COLUMN}, CombinerCase("mean", [[1.0, 2.0], [2.0, 4.0]]), ObserverCase("log")])
    def test_builtins(case, check, tmp_path):
        check(case)
    """
    code, lines = run_tests(text, "-k", "threads", "-n", "2")

    assert code == 0
    assert sorted(outcomes(lines, "PASSED")) == [
        "test_builtins[column-column=day-check_threads]",
        "test_builtins[log-check_threads]",
        "test_builtins[mean-check_threads]",
    ]


BROKEN = 'StrategyCase("ranked", ROWS.rename(columns={"n": "x"}), plugins=["tests.testing.strategies"])'


def test_a_failure_says_what_is_promised(run_tests):
    """Without a traceback through the kit."""
    code, lines = run_tests(
        f"""
        class TestRanked(RoutingStrategyConformance):
            cases = [{BROKEN}]
        """,
        "-k",
        "row_wise",
    )

    said = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
    assert code == 1
    assert said[0].startswith("AssertionError: routing strategy 'ranked': in a batch of ")
    assert said[1].startswith("Promised: With ``row_wise`` a row's key depends on nothing but that row")
    assert not [line for line in lines if "promises.py" in line]


@pytest.mark.parametrize("form", ["class", "decorator"])
def test_expected_failures_are_strict(run_tests, form):
    """What is named fails as expected; as soon as it passes, the test fails."""
    expected = '{"check_row_wise": "ranks are of a batch", "check_no_rows": "not known"}'
    if form == "class":
        text = f"""
        class TestRanked(RoutingStrategyConformance):
            cases = [{BROKEN}]
            expected_failed_checks = {expected}
        """
    else:
        text = f"""
        @parametrize_with_checks([{BROKEN}], expected_failed_checks={expected})
        def test_ranked(case, check):
            check(case)
        """
    code, lines = run_tests(text, "-k", "row_wise or no_rows")
    name = "TestRanked::test_keeps" if form == "class" else "test_ranked"

    assert code == 1
    assert outcomes(lines, "XFAIL") == [f"{name}[ranked-check_row_wise]"]
    assert outcomes(lines, "FAILED") == [f"{name}[ranked-check_no_rows]"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            f"class TestIt(RoutingStrategyConformance):\n    cases = [{COLUMN}]\n"
            '    expected_failed_checks = {"check_thread": "no"}\n',
            "TestIt.expected_failed_checks: there is no check 'check_thread'.\n  Did you mean 'check_threads'?",
            id="unknown-check",
        ),
        pytest.param(
            f'@parametrize_with_checks([{COLUMN}], expected_failed_checks={{"check_shape": "no"}})\n'
            "def test_it(case, check):\n    pass\n",
            "expected_failed_checks: there is no check 'check_shape'.",
            id="check-of-another-kind",
        ),
        pytest.param(
            f"class TestIt(RoutingStrategyConformance):\n    cases = [{COLUMN}]\n"
            '    expected_failed_checks = {"check_threads": ""}\n',
            "TestIt.expected_failed_checks: say why 'check_threads' is expected to fail.",
            id="no-reason",
        ),
        pytest.param(
            f"class TestIt(RoutingStrategyConformance):\n    cases = [{COLUMN}]\n"
            "    def check_threads(self, case): pass\n",
            "TestIt: check_threads cannot be overridden.",
            id="overridden-check",
        ),
        pytest.param(
            f"class TestIt(RoutingStrategyConformance):\n    cases = [{COLUMN}]\n    def test_keeps(self): pass\n",
            "TestIt: test_keeps cannot be overridden.",
            id="overridden-test",
        ),
        pytest.param(
            f"class TestIt(CombinerConformance):\n    cases = [{COLUMN}]\n",
            "TestIt.cases: StrategyCase is no case of it.\n  It takes CombinerCase.",
            id="case-of-another-kind",
        ),
        pytest.param(
            "class TestIt(RoutingStrategyConformance):\n    @pytest.fixture\n    def cases(self):\n        return []\n",
            "TestIt.cases: this is a list of cases, known before any test runs.",
            id="a-fixture",
        ),
        pytest.param(
            "@parametrize_with_checks([])\ndef test_it(case, check):\n    pass\n",
            "parametrize_with_checks: this takes a list of cases.",
            id="no-cases-in-the-decorator",
        ),
        pytest.param(
            'StrategyCase("column", ROWS, plugins="mine")\n', "plugins is a list of modules, not 'mine'", id="plugins"
        ),
    ],
)
def test_mistakes_are_told_where_they_are(text, said):
    """When the module is imported, with the nearest name."""
    with pytest.raises(UsageError, match=re.escape(said)):
        exec(HEAD + text, {})


def test_without_pytest(tmp_path):
    """mmeframe does not depend on it; cases are made all the same."""
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from mmeframe.testing import CombinerCase, bound, keys_of\n"
        "CombinerCase('mean', [[1.0]])\n"
        "try:\n    from mmeframe.testing import CombinerConformance\n"
        "except ImportError as error:\n    print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout == "mmeframe.testing needs pytest, which is not installed.\n  pip install pytest\n"
