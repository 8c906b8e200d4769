"""Requirements: read without what belongs to a machine, merged into one set, with conflicts named."""

from __future__ import annotations

from importlib import metadata

import pytest

from mmeframe.errors import Problem, Report
from mmeframe.fleet.environment import distributions_of, merge, read_requirements
from mmeframe.sections import EnvironmentSpec

MLFLOW = f"mlflow=={metadata.version('mlflow')}"
SECRET = "hunter2"
# Python refuses to read a number of so many digits.
ENDLESS = "9" * 5000


def settle(*wanted: tuple[str, list[str]], **spec: object) -> tuple[list[str], list[Problem]]:
    """The merged requirements but for MLflow's own pin, and the problems."""
    problems: list[Problem] = []
    merged = merge(wanted, EnvironmentSpec(**spec), Report(problems=problems))
    return [line for line in merged if line != MLFLOW], problems


def conflict(what: str, name: str = "x", *, highest: bool = False) -> Problem:
    """highest: whether environment.merge=highest is offered as a way out."""
    hint = f"Choose one with '+environment.override.{name}=\"==<version>\"'"
    hint += ", or set environment.merge=highest." if highest else "."
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
        pytest.param("p @ https://h/p.whl#sha256=1f", ("p @ https://h/p.whl#sha256=1f",), id="url-with-a-hash"),
        pytest.param("p @ git+https://h/p@v1#egg=p", ("p @ git+https://h/p@v1#egg=p",), id="url-with-a-tag"),
        pytest.param("p @ git+https://git:80/p@v1", ("p @ git+https://git:80/p@v1",), id="url-with-a-port-and-a-tag"),
        pytest.param("p @ git+ssh://git@h:22/p@v1", ("p @ git+ssh://git@h:22/p@v1",), id="ssh-with-a-port-and-a-tag"),
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
        "p @ https://host/p.whl#access_token=hunter2",
        "p @ git+https://user:hun/ter2@host/p.git@v1",
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
        pytest.param(
            [("a", ["x==1 ; python_version > '3'"]), ("b", ["x>=1"]), ("c", ["x ; os_name != 'none'"])],
            ['x ; os_name != "none"', 'x==1 ; python_version > "3"', "x>=1"],
            id="markers-that-hold-stay",
        ),
        pytest.param(
            [("a", ["x==1 ; python_version < '3'"]), ("b", ["x==2"])],
            ['x==1 ; python_version < "3"', "x==2"],
            id="a-marker-that-does-not-hold",
        ),
        pytest.param(
            [("a", ["x==1 ; python_version < '3'"]), ("b", ["x==2 ; sys_platform == 'none'"])],
            ['x==1 ; python_version < "3"', 'x==2 ; sys_platform == "none"'],
            id="two-markers-that-do-not-hold",
        ),
        pytest.param(
            [("a", ["x==1 ; extra == 'q'"]), ("b", ["x==2"])],
            ['x==1 ; extra == "q"', "x==2"],
            id="a-marker-of-an-extra",
        ),
        pytest.param(
            [("a", ["x==1 ; os_name ~= 'q'"]), ("b", ["x==2"])],
            ['x==1 ; os_name ~= "q"', "x==2"],
            id="a-marker-that-cannot-be-evaluated",
        ),
        pytest.param([("a", ["x==2.0"]), ("b", ["x==2.0+cpu"])], ["x==2.0+cpu"], id="a-local-version"),
        pytest.param([("a", ["x==2.0+cpu"]), ("b", ["x==2.0"])], ["x==2.0+cpu"], id="a-local-version-first"),
        pytest.param([("a", ["x==2+cpu"]), ("b", ["x==2.0.0"])], ["x==2+cpu"], id="a-local-version-of-an-equal-one"),
        pytest.param([("a", ["x==2.0+cpu"]), ("b", ["x<=2.0"])], ["x<=2.0,==2.0+cpu"], id="a-local-version-in-a-range"),
        pytest.param(
            [("a", ["x==2.0 ; python_version > '3'"]), ("b", ["x==2.0+cpu"])],
            ["x==2.0+cpu", 'x==2.0+cpu ; python_version > "3"'],
            id="a-local-version-under-a-marker",
        ),
        pytest.param([("a", ["x==2.0.0"]), ("b", ["x===2.0"])], ["x===2.0"], id="exactly-this-text"),
        pytest.param([("a", ["x~=1.4"]), ("b", ["x<2"]), ("c", ["x==1.*"])], ["x<2,==1.*,~=1.4"], id="kinds-of-ranges"),
    ],
)
def test_merge(wanted, merged):
    """Each distribution comes once per marker, with everything that was asked of it."""
    assert settle(*wanted) == (merged, [])
    assert settle(*reversed(wanted)) == (merged, [])


@pytest.mark.parametrize("policy", ["raise", "highest"])
def test_what_is_merged_stays(policy):
    """The build merges once more, with what plugins require: a merged list comes out as it went in."""
    lines = [
        "mlflow[databricks]",
        "x==2.0+cpu ; python_version > '3'",
        "x==2.0",
        "x>=1",
        "y[q]",
        "z ; os_name == 'none'",
    ]
    spec = EnvironmentSpec(merge=policy)
    once = merge([("a", lines)], spec, Report())

    assert merge([("the sub-models", once)], spec, Report()) == once


TWO_PINS = [
    pytest.param([("a", ["x==1"]), ("b", ["x==2"])], "a needs x==1 and b needs x==2.", id="two-pins"),
    pytest.param(
        [("a", ["x==2.0+cpu"]), ("b", ["x==2.0+cu121"])],
        "a needs x==2.0+cpu and b needs x==2.0+cu121.",
        id="local-versions",
    ),
    pytest.param(
        [("a", ["x==2.0"]), ("b", ["x==2.0+cpu"]), ("c", ["x==2.1"])],
        "a needs x==2.0 and c needs x==2.1.",
        id="a-local-version-and-another",
    ),
    pytest.param(
        [("a", ["x===2.0"]), ("b", ["x==2.0+cpu"])], "b needs x==2.0+cpu and a needs x===2.0.", id="exactly-this-text"
    ),
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
    pytest.param(
        [("a", ["x==1 ; sys_platform == 'none'"]), ("b", ["x==2 ; sys_platform == 'none'"])],
        "a needs x==1 and b needs x==2.",
        id="under-one-marker-that-does-not-hold",
    ),
    pytest.param(
        [("a", ["x==1.26; python_version<'4'"]), ("b", ["x==2.0"])],
        "a needs x==1.26 and b needs x==2.0.",
        id="a-marker-and-none",
    ),
    pytest.param(
        [("a", ["x==1; python_version<'4'"]), ("b", ["x==2 ; python_version > '3'"])],
        "a needs x==1 and b needs x==2.",
        id="two-markers",
    ),
]
NO_PIN_IN_RANGE = [
    pytest.param([("a", ["x==1"]), ("b", ["x>=2"])], "a needs x==1 and b needs x>=2.", id="pin-and-range"),
    pytest.param([("a", ["x>=2"]), ("b", ["x==1"])], "b needs x==1 and a needs x>=2.", id="range-and-pin"),
    pytest.param([("a", ["x==1"]), ("b", ["x!=1"])], "a needs x==1 and b needs x!=1.", id="excluded"),
    pytest.param([("a", ["x==1"]), ("b", ["x<3,>=2"])], "a needs x==1 and b needs x>=2.", id="one-end-of-a-range"),
    pytest.param([("a", ["x>=2; python_version<'4'"]), ("b", ["x==1"])], "b needs x==1 and a needs x>=2.", id="marker"),
    pytest.param(
        [("a", ["x===foo"]), ("b", ["x>=2"])], "a needs x===foo and b needs x>=2.", id="no-version-in-a-range"
    ),
    pytest.param([("a", ["x>=2"]), ("b", ["x<2"])], "a needs x>=2 and b needs x<2.", id="ranges"),
    pytest.param(
        [("a", ["x>=2 ; python_version < '4'"]), ("b", ["x<2"])],
        "a needs x>=2 and b needs x<2.",
        id="ranges-and-marker",
    ),
]


@pytest.mark.parametrize(("wanted", "what"), TWO_PINS)
def test_two_pins(wanted, what):
    """Two exact versions become one problem that names both sub-models and the ways out."""
    _, problems = settle(*wanted)

    assert problems == [conflict(what, highest=True)]


@pytest.mark.parametrize("policy", ["raise", "highest"])
@pytest.mark.parametrize(("wanted", "what"), NO_PIN_IN_RANGE)
def test_what_highest_cannot_settle(wanted, what, policy):
    """Where no exact version that was asked for lies in all ranges, there is nothing to choose from."""
    _, problems = settle(*wanted, merge=policy)

    assert problems == [conflict(what)]


@pytest.mark.parametrize("policy", ["raise", "highest"])
@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param([], [], id="no-more"),
        pytest.param(["x==1"], ["x==2"], id="and-two-pins"),
    ],
)
@pytest.mark.parametrize("marker", ["", " ; python_version < '4'"], ids=["one-marker", "two-markers"])
def test_two_urls_for_one_distribution(one, two, marker, policy):
    """Two files of one distribution cannot both be installed: that is a problem too, not a silent choice."""
    wanted = [("a", ["x @ https://h/a.whl", *one]), ("b", [f"x @ https://h/b.whl{marker}", *two])]

    assert settle(*wanted, merge=policy)[1] == [conflict("a and b need x from two URLs.")]


def test_one_url_under_two_markers():
    """The same file is no clash."""
    wanted = [("a", ["x @ https://h/a.whl"]), ("b", ["x @ https://h/a.whl ; python_version < '4'"])]

    assert settle(*wanted) == (["x @ https://h/a.whl", 'x @ https://h/a.whl ; python_version < "4"'], [])


def test_every_conflict_is_reported():
    """One report lists all distributions that clash."""
    _, problems = settle(("a", ["x==1", "y==1"]), ("b", ["x==2", "y==2"]))

    assert problems == [
        conflict("a needs x==1 and b needs x==2.", highest=True),
        conflict("a needs y==1 and b needs y==2.", "y", highest=True),
    ]


@pytest.mark.parametrize(
    ("wanted", "merged"),
    [
        pytest.param([("a", ["x==9"]), ("b", ["x==10"])], ["x==10"], id="as-versions-not-as-text"),
        pytest.param(
            [("a", ["x==1.0"]), ("b", ["x==2.0"]), ("c", ["x<1.5"])], ["x<1.5,==1.0"], id="the-highest-in-a-range"
        ),
        pytest.param(
            [("a", ["x==1"]), ("b", ["x==2"]), ("c", ["x==3"]), ("d", ["x!=3"])], ["x!=3,==2"], id="but-one-excluded"
        ),
        pytest.param([("a", ["x==2.0+cpu"]), ("b", ["x==2.0+cu121"])], ["x==2.0+cu121"], id="local-versions"),
        pytest.param([("a", ["x===zz"]), ("b", ["x==2"])], ["x==2"], id="over-what-is-no-version"),
        pytest.param(
            [("a", ["x==1 ; python_version < '4'"]), ("b", ["x==2"]), ("c", ["x==3 ; python_version < '3'"])],
            ["x==2", 'x==2 ; python_version < "4"', 'x==3 ; python_version < "3"'],
            id="under-all-markers-that-hold",
        ),
        pytest.param([("a", ["x==2rc1"]), ("b", ["x==1.9"])], ["x==2rc1"], id="a-candidate"),
        pytest.param([("a", ["x[q]==1"]), ("b", ["x==2"])], ["x[q]==2"], id="extras-stay"),
        pytest.param([("a", ["x==1"]), ("b", ["x>=1"])], ["x==1,>=1"], id="no-conflict-no-change"),
    ],
)
def test_highest(wanted, merged):
    """With merge=highest the newest pin that all ranges admit wins a conflict, and nothing else changes."""
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
            [("a", ["x==1 ; python_version < '4'"]), ("b", ["x>=2"])],
            {"x": "3"},
            ["x==3", 'x==3 ; python_version < "4"'],
            id="a-conflict-of-markers",
        ),
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

    assert problems == [conflict("a needs x==1 and environment.extra needs x==2.", highest=True)]


def test_an_override_that_nothing_satisfies():
    """Who wrote an override is blamed for it."""
    _, problems = settle(("a", ["x"]), override={"x": ">=2,<1"})

    assert problems == [conflict("environment.override needs x>=2 and environment.override needs x<1.")]


@pytest.mark.parametrize("line", ["mlflow==1.0", "mlflow>=2,<3", "MLflow", "mlflow ; python_version > '3'"])
def test_exactly_one_mlflow(line):
    """Whatever MLflow sub-models were logged with, the router is read by the one that writes it."""
    problems: list[Problem] = []

    merged = merge([("a", [line]), ("b", ["mlflow==2.5"])], EnvironmentSpec(), Report(problems=problems))

    assert (merged, problems) == ((MLFLOW,), [])


@pytest.mark.parametrize(
    ("lines", "extras"),
    [
        pytest.param(["mlflow[databricks]==1.0"], "[databricks]", id="one"),
        pytest.param(["mlflow[gateway]", "MLflow[databricks]>=2", "mlflow"], "[databricks,gateway]", id="union"),
        pytest.param(["mlflow[databricks] ; python_version > '3'"], "[databricks]", id="marker"),
        pytest.param(["mlflow[databricks] ; python_version < '3'"], "", id="marker-that-does-not-hold"),
    ],
)
def test_extras_of_mlflow_stay(lines, extras):
    """What sub-models need beside MLflow itself is kept, at the version of the one mlflow."""
    merged = merge([(f"m{at}", [line]) for at, line in enumerate(lines)], EnvironmentSpec(), Report())

    assert merged == (MLFLOW.replace("==", f"{extras}=="),)


def test_mlflow_can_be_overridden():
    """The user may say otherwise."""
    override = EnvironmentSpec(override={"mlflow": "==3.17.9"})

    assert merge([], override, Report()) == ("mlflow==3.17.9",)
    assert merge([("a", ["mlflow[databricks]"])], override, Report()) == ("mlflow[databricks]==3.17.9",)


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
        pytest.param(
            [("a", ["x==1." + ENDLESS])],
            {},
            Problem("a", f"'x==1.{ENDLESS}' is no requirement.", "Write it as pip does: name==1.2."),
            id="sub-model, without an end",
        ),
        pytest.param(
            [],
            {"override": {"x": "==1." + ENDLESS}},
            Problem("environment.override.x", f"'==1.{ENDLESS}' is no version specifier.", "Write ==1.2 or >=1.2,<2."),
            id="override, without an end",
        ),
    ],
)
def test_what_cannot_be_read(wanted, spec, problem):
    """A text that pip would refuse is a problem at its place in the config."""
    assert settle(*wanted, **spec) == ([], [problem])


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("x @ https://user:hunter2@host/x.whl", id="user-info"),
        pytest.param("x @ https://host/x.whl?sig=hunter2", id="query"),
        pytest.param("x @ https://host/x.whl#token=hunter2", id="fragment"),
        pytest.param("https://user:hunter2@host/x.whl", id="bare"),
    ],
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
        pytest.param("foo>=2rc1", "foo<2", True, id="candidates-are-not-below"),
        pytest.param("foo>=2rc1", "foo<2rc2", False, id="unless-one-is-named"),
        pytest.param("foo==2.*", "foo<2", True, id="series-above"),
        pytest.param("foo>=1.5", "foo==1.4.*", True, id="series-below"),
        pytest.param("foo>=1.4.9", "foo==1.4.*", False, id="in-a-series"),
        pytest.param("foo==2.*", "foo==1.*", True, id="two-series"),
        pytest.param("foo>=2", "foo~=1.4", True, id="compatible-below"),
        pytest.param("foo>=1.9", "foo~=1.4", False, id="compatible"),
        pytest.param("foo>=1.5", "foo~=1.4.2", True, id="compatible-in-a-series"),
        pytest.param("foo~=1.4", "foo<1.4", True, id="compatible-above"),
        pytest.param("foo>=1!1", "foo<9", True, id="epochs"),
        pytest.param("foo>=2", "foo!=2", False, id="excluded"),
    ],
)
def test_ranges_without_a_common_version_clash(one, two, clash):
    """Two ranges that no version satisfies are named with who asked for them."""
    problems: list[Problem] = []

    merge([("models.a", [one]), ("models.b", [two])], EnvironmentSpec(), Report(problems=problems))

    assert [problem.what for problem in problems] == (
        [f"models.a needs {one} and models.b needs {two}."] if clash else []
    )


# -- what is installed -----------------------------------------------------------------------------------------------


def test_what_ships_a_package():
    """Whatever is installed is found as the standard library finds it, which takes longer."""
    shipped = metadata.packages_distributions()
    expected = {package: names[0] for package, names in shipped.items() if package.isidentifier()}
    assert expected["sklearn"] == "scikit-learn"

    assert distributions_of([*expected, "json", "nobody_ships_this"]) == expected
