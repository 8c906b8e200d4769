"""Requirements: read without what belongs to a machine, merged into one set, with conflicts named."""

from __future__ import annotations

from importlib import metadata

import pytest

from mmeframe.build.environment import merge, read_requirements
from mmeframe.errors import Problem
from mmeframe.spec import EnvironmentSpec

MLFLOW = f"mlflow=={metadata.version('mlflow')}"
SECRET = "hunter2"


def settle(*wanted: tuple[str, list[str]], **spec: object) -> tuple[list[str], list[Problem]]:
    """The merged requirements but for MLflow's own pin, and the problems."""
    problems: list[Problem] = []
    merged = merge(wanted, EnvironmentSpec(**spec), problems)
    return [line for line in merged if line != MLFLOW], problems


def conflict(what: str, name: str = "x") -> Problem:
    hint = f"Choose one with '+environment.override.{name}=\"==<version>\"', or set environment.merge=highest."
    return Problem("environment", what, hint, "fleet")


# -- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", (), id="empty"),
        pytest.param("mlflow==3.17.2\nnumpy>=2,<3\n", ("mlflow==3.17.2", "numpy>=2,<3"), id="lines"),
        pytest.param("# a\n\n  numpy==2 # why\n", ("numpy==2",), id="comments-and-blanks"),
        pytest.param("numpy==2\t# why", ("numpy==2",), id="comment-after-a-tab"),
        pytest.param("mlflow[extras]==3", ("mlflow[extras]==3",), id="extras"),
        pytest.param('tomli==2 ; python_version < "3.11"', ('tomli==2 ; python_version < "3.11"',), id="marker"),
        pytest.param("p @ https://host/p.whl", ("p @ https://host/p.whl",), id="url"),
        pytest.param("p @ file:///a/p.whl", ("p @ file:///a/p.whl",), id="local-url"),
        pytest.param("-c constraints.txt\nnumpy", ("numpy",), id="constraints-file"),
        pytest.param("--constraint constraints.txt\nnumpy", ("numpy",), id="constraints-file-in-words"),
        pytest.param("--constraint=constraints.txt\nnumpy", ("numpy",), id="constraints-file-with-equals"),
    ],
)
def test_read_requirements(text, found):
    """Requirements come out as they were written, in order; nothing is left over."""
    assert read_requirements(text) == (found, ())


@pytest.mark.parametrize(
    ("line", "left"),
    [
        pytest.param("--extra-index-url https://host/x", "--extra-index-url", id="index"),
        pytest.param("--extra-index-url=https://host/x", "--extra-index-url", id="index-with-equals"),
        pytest.param("-i https://host/x", "-i", id="short-option"),
        pytest.param("-r others.txt", "-r", id="other-file"),
        pytest.param("-e .", "-e", id="editable"),
        pytest.param("--trusted-host=host", "--trusted-host", id="host"),
        pytest.param("https://host/p.whl", "https", id="bare-url"),
        pytest.param("git+https://host/p.git", "git+https", id="repository"),
        pytest.param("./p.whl", "./p.whl", id="path"),
    ],
)
def test_what_a_router_cannot_take_over(line, left):
    """Options, files and bare URLs belong to the machine that installs: they are left out, and counted."""
    assert read_requirements(f"numpy==2\n{line}\n") == (("numpy==2",), (left,))


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url https://user:hunter2@host/x",
        "--extra-index-url=https://user:hunter2@host/x",
        "--index-url=https://hunter2@host/x",
        "-ihttps://user:hunter2@host/x",
        "https://user:hunter2@host/p.whl",
        "git+https://hunter2@host/p.git",
        "-e git+https://hunter2@host/p.git#egg=p",
        "p @ https://user:hunter2@host/p.whl",
        "p @ git+https://hunter2@host/p.git",
        "p @ https://host/p.whl?token=hunter2",
        "p[x] @ https://user:hunter2@host/p.whl ; python_version > '3'",
        "p @@ https://user:hunter2@host/p.whl",
        "p==1 --global-option=https://user:hunter2@host",
    ],
)
def test_no_credentials_are_read(line):
    """However a requirement carries credentials, they are in neither list."""
    found, left = read_requirements(f"numpy==2\n{line}\n")

    assert (found, len(left), SECRET in repr(left)) == (("numpy==2",), 1, False)


def test_constraints_narrow_what_is_required():
    """Of MLflow's constraints file only the lines for what is required count, however the name is written."""
    found, left = read_requirements("-c constraints.txt\nScikit_Learn\n", "scikit-learn<2\npandas<3\n-r x\n")

    assert (found, left) == (("Scikit_Learn", "scikit-learn<2"), ())


# -- merging -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "merged"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([("a", ["y==1", "x==2"])], ["x==2", "y==1"], id="sorted"),
        pytest.param([("a", ["x==1"]), ("b", ["x==1"])], ["x==1"], id="the-same"),
        pytest.param([("a", ["x==1"]), ("b", ["x>=0.5"])], ["x==1,>=0.5"], id="a-pin-in-a-range"),
        pytest.param([("a", ["x>=1"]), ("b", ["x<2"])], ["x<2,>=1"], id="ranges"),
        pytest.param([("a", ["x"]), ("b", ["x==1"])], ["x==1"], id="no-version"),
        pytest.param([("a", ["Foo_Bar==1"]), ("b", ["foo.bar"])], ["foo-bar==1"], id="spelling"),
        pytest.param([("a", ["x==1.0"]), ("b", ["x==1.0.0"])], ["x==1.0"], id="equal-versions"),
        pytest.param([("a", ["x==1.*"]), ("b", ["x==1.5"])], ["x==1.*,==1.5"], id="a-pin-in-a-wildcard"),
        pytest.param([("a", ["x==2.0rc1"]), ("b", ["x>=1"])], ["x==2.0rc1,>=1"], id="a-candidate-in-a-range"),
        pytest.param([("a", ["x===foo-1"]), ("b", ["x===foo-1"])], ["x===foo-1"], id="no-version-of-pep-440"),
        pytest.param([("a", ["x[q]==1"]), ("b", ["x[p]"])], ["x[p,q]==1"], id="extras"),
        pytest.param([("a", ["x @ https://h/x.whl"])], ["x @ https://h/x.whl"], id="url"),
        pytest.param(
            [("a", ["x @ https://h/x.whl ; python_version > '3'"])],
            ['x @ https://h/x.whl ; python_version > "3"'],
            id="url-with-a-marker",
        ),
        pytest.param(
            [("a", ["x==1 ; python_version < '3.12'"]), ("b", ["x==2;python_version>='3.12'"])],
            ['x==1 ; python_version < "3.12"', 'x==2 ; python_version >= "3.12"'],
            id="markers-stay-apart",
        ),
        pytest.param(
            [("a", ["x==1;python_version<'3.12'"]), ("b", ["x>=1 ; python_version < '3.12'"])],
            ['x==1,>=1 ; python_version < "3.12"'],
            id="equal-markers",
        ),
    ],
)
def test_merge(wanted, merged):
    """Each distribution comes once per marker, with everything that was asked of it."""
    assert settle(*wanted) == (merged, [])


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        pytest.param([("a", ["x==1"]), ("b", ["x==2"])], "a needs x==1 and b needs x==2.", id="two-pins"),
        pytest.param([("a", ["x==1"]), ("b", ["x>=2"])], "a needs x==1 and b needs x>=2.", id="pin-and-range"),
        pytest.param([("a", ["x>=2"]), ("b", ["x==1"])], "b needs x==1 and a needs x>=2.", id="range-and-pin"),
        pytest.param([("a", ["x==1"]), ("b", ["x!=1"])], "a needs x==1 and b needs x!=1.", id="excluded"),
        pytest.param(
            [("a", ["x===foo-1"]), ("b", ["x===foo-2"])],
            "a needs x===foo-1 and b needs x===foo-2.",
            id="no-versions-of-pep-440",
        ),
        pytest.param(
            [("a", ["x==1 ; python_version > '3'"]), ("b", ["x==2 ; python_version > '3'"])],
            "a needs x==1 and b needs x==2.",
            id="under-one-marker",
        ),
    ],
)
def test_conflicts(wanted, what):
    """Two requests that no version satisfies become one problem that names both sub-models and the way out."""
    _, problems = settle(*wanted)

    assert problems == [conflict(what)]


def test_two_urls_for_one_distribution():
    """Two files of one distribution cannot both be installed: that is a problem too, not a silent choice."""
    _, problems = settle(("a", ["x @ https://h/a.whl"]), ("b", ["x @ https://h/b.whl"]))

    assert len(problems) == 1


def test_every_conflict_is_reported():
    """One report lists all distributions that clash."""
    _, problems = settle(("a", ["x==1", "y==1"]), ("b", ["x==2", "y==2"]))

    assert problems == [conflict("a needs x==1 and b needs x==2."), conflict("a needs y==1 and b needs y==2.", "y")]


@pytest.mark.parametrize(
    ("wanted", "merged"),
    [
        pytest.param([("a", ["x==9"]), ("b", ["x==10"])], ["x==10"], id="as-versions-not-as-text"),
        pytest.param([("a", ["x==2"]), ("b", ["x<2"])], ["x==2"], id="over-a-range"),
        pytest.param([("a", ["x==2rc1"]), ("b", ["x==1.9"])], ["x==2rc1"], id="a-candidate"),
        pytest.param([("a", ["x[q]==1"]), ("b", ["x==2"])], ["x[q]==2"], id="extras-stay"),
        pytest.param([("a", ["x==1"]), ("b", ["x>=1"])], ["x==1,>=1"], id="no-conflict-no-change"),
    ],
)
def test_highest(wanted, merged):
    """With merge=highest the newest pin wins a conflict, and nothing else changes."""
    assert settle(*wanted, merge="highest") == (merged, [])


@pytest.mark.parametrize(
    ("wanted", "override", "merged"),
    [
        pytest.param([("a", ["x==1"]), ("b", ["x==2"])], {"x": "==3"}, ["x==3"], id="a-conflict"),
        pytest.param([("a", ["x==1"])], {"x": "3"}, ["x==3"], id="a-bare-version"),
        pytest.param([("a", ["x==1"])], {"x": ">=3,<4"}, ["x<4,>=3"], id="a-range"),
        pytest.param([("a", ["foo_bar==1"])], {"Foo.Bar": "2"}, ["foo-bar==2"], id="spelling"),
        pytest.param([("a", ["x[q]==1"])], {"x": "2"}, ["x[q]==2"], id="extras-stay"),
        pytest.param([("a", ["x==1"])], {"y": "2"}, ["x==1", "y==2"], id="not-asked-for"),
        pytest.param([("a", ["x @ https://h/x.whl"])], {"x": "2"}, ["x==2"], id="instead-of-a-url"),
        pytest.param(
            [("a", ["x==1 ; python_version < '3'"])],
            {"x": "2"},
            ['x==2 ; python_version < "3"'],
            id="a-marker-stays",
        ),
    ],
)
def test_override(wanted, override, merged):
    """environment.override decides the version of a distribution, whoever asks for what."""
    assert settle(*wanted, override=override) == (merged, [])


def test_extra():
    """environment.extra asks like a sub-model does, and is named in a conflict."""
    _, problems = settle(("a", ["x==1"]), extra=("x==2", "y==1"))

    assert problems == [conflict("a needs x==1 and environment.extra needs x==2.")]


@pytest.mark.parametrize(
    "line", ["mlflow==1.0", "mlflow>=2,<3", "mlflow[extras]==1.0", "MLflow", "mlflow ; python_version > '3'"]
)
def test_exactly_one_mlflow(line):
    """Whatever MLflow sub-models were logged with, the router is read by the one that writes it."""
    problems: list[Problem] = []

    merged = merge([("a", [line]), ("b", ["mlflow==2.5"])], EnvironmentSpec(), problems)

    assert (merged, problems) == ((MLFLOW,), [])


def test_mlflow_can_be_overridden():
    """The user may say otherwise."""
    assert merge([], EnvironmentSpec(override={"mlflow": "==3.17.9"}), []) == ("mlflow==3.17.9",)


def test_other_distributions_of_mlflow_are_not_mlflow():
    """mlflow-skinny is a distribution of its own."""
    assert settle(("a", ["mlflow-skinny==3.0"])) == (["mlflow-skinny==3.0"], [])


def test_mmeframe_is_left_to_the_build():
    """Whether mmeframe is required or embedded is not for sub-models to say."""
    assert settle(("a", ["mmeframe==9", "x"])) == (["x"], [])


@pytest.mark.parametrize(
    ("wanted", "spec", "problem"),
    [
        pytest.param(
            [("a", ["no requirement!"])],
            {},
            Problem("a", "'no requirement!' is no requirement.", "Write it as pip does: name==1.2."),
            id="sub-model",
        ),
        pytest.param(
            [],
            {"extra": ("x=1",)},
            Problem("environment.extra", "'x=1' is no requirement.", "Write it as pip does: name==1.2."),
            id="extra",
        ),
        pytest.param(
            [],
            {"override": {"x": "newest"}},
            Problem("environment.override.x", "'newest' is no version specifier.", "Write ==1.2 or >=1.2,<2."),
            id="override",
        ),
    ],
)
def test_what_cannot_be_read(wanted, spec, problem):
    """A text that pip would refuse is a problem at its place in the config."""
    assert settle(*wanted, **spec) == ([], [problem])


@pytest.mark.parametrize(
    "line",
    ["x @ https://user:hunter2@host/x.whl", "x @ https://host/x.whl?sig=hunter2", "https://user:hunter2@host/x.whl"],
    ids=["user-info", "query", "bare"],
)
def test_credentials_are_a_problem_that_does_not_show_them(line):
    """Requirements are stored in the clear: a URL with credentials is refused, without repeating them."""
    merged, problems = settle(extra=(line,))

    assert (merged, [problem.where for problem in problems]) == ([], ["environment.extra"])
    assert SECRET not in str(problems)


@pytest.mark.parametrize(
    ("one", "two", "clash"),
    [
        pytest.param("foo>=2", "foo<1", True, id="apart"),
        pytest.param("foo>2", "foo<=2", True, id="touching-open"),
        pytest.param("foo>=2", "foo<=2", False, id="touching-closed"),
        pytest.param("foo>=1", "foo<2", False, id="overlapping"),
    ],
)
def test_ranges_without_a_common_version_clash(one, two, clash):
    """Two ranges that no version satisfies are named with who asked for them."""
    problems: list[Problem] = []

    merge([("models.a", [one]), ("models.b", [two])], EnvironmentSpec(), problems)

    assert [problem.what for problem in problems] == (
        [f"models.a needs {one} and models.b needs {two}."] if clash else []
    )
