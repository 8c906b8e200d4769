"""What Hydra cannot read is told as what it is: letters of its grammar, files that are no UTF-8, headers, folders."""

from __future__ import annotations

import shlex
import threading
from concurrent.futures import ThreadPoolExecutor

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.version import VersionBase
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mmeframe import api
from mmeframe.config.compose import compose
from mmeframe.errors import ProblemsError
from tests import fleets

ROUTER = ("routing=column", "routing.column=dow", "+models.a={uri:m,key:{dow:1}}")
WHOLE = "name: r\nrouting: {column: dow}\nmodels: {a: {uri: m, key: {dow: 1}}}\n"


def told(*overrides, **options):
    """What is wrong with a config, each problem as one text."""
    try:
        api.compose(*overrides, plugins=fleets.plugins(), **options)
    except ProblemsError as error:
        return [str(problem) for problem in error.problems]
    return []


def tree(*overrides):
    """The config of overrides, of which one may be unreadable, and what is wrong with those."""
    try:
        found = compose("build", overrides, plugins=fleets.plugins())
    except ProblemsError as error:
        return {}, error.problems
    return found.tree, found.problems


# -- one Hydra for all ------------------------------------------------------------------------------------------------


def test_many_threads_compose_at_once():
    """Each gets its own config, and nobody's Hydra is left behind."""
    start = threading.Barrier(8)

    def one(number):
        start.wait()
        name = f"r{number}"
        if number % 2:
            return told(f"nam={name}")[0].startswith(f"nam={name}: there is no section 'nam'.")
        return api.compose(f"name={name}", *ROUTER, plugins=fleets.plugins()).name == name

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(8)))
    assert not GlobalHydra.instance().is_initialized()


def state():
    """What an application sees of Hydra."""
    return (
        GlobalHydra.instance().hydra,
        HydraConfig.instance().cfg,
        VersionBase.instance().getbase(),
        OmegaConf.create({"a": "${now:x}"}).a,
    )


@pytest.mark.parametrize("overrides", [ROUTER, ("nam=x",), ("name=é",)], ids=["right", "wrong", "unreadable"])
def test_an_application_gets_its_hydra_back(tmp_path, overrides, run):
    """What was initialised, the version of its defaults, its config and its resolvers are what they were."""
    (tmp_path / "mine.yaml").write_text("a: 1\n")
    before = state()
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2"):
        HydraConfig.instance().cfg = OmegaConf.create({"hydra": {"mode": None}})
        OmegaConf.register_new_resolver("now", lambda text: f"mine {text}", replace=True)
        own = state()

        told("name=r", *overrides)
        run("plan", "name=r", *ROUTER, "--cfg", "job")

        assert state() == own
        assert own[3] == "mine x"
        assert hydra.compose("mine").a == 1
    HydraConfig.instance().cfg = before[1]
    hydra.core.utils.setup_globals()


# -- overrides --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "said"),
    [
        pytest.param("name=caf#", "name=caf#: Hydra takes no '#' outside of quotes.\n  "
                     "Quote the value, and all of it for the shell: 'name=\"caf#\"'.", id="hash"),
        pytest.param("name=café", "name=café: Hydra takes no 'é' outside of quotes.\n  "
                     "Quote the value, and all of it for the shell: 'name=\"café\"'.", id="accent"),
        pytest.param("name=a&b;c", "name=a&b;c: Hydra takes no '&' and ';' outside of quotes.\n  "
                     "Quote the value, and all of it for the shell: 'name=\"a&b;c\"'.", id="shell"),
        pytest.param("name=it's", "name=it's: Hydra takes no ''' outside of quotes.\n  Quote the value, and all of it"
                     " for the shell: 'name=\"it'\"'\"'s\"'.", id="apostrophe"),
        pytest.param("name=a~b", "name=a~b: Hydra takes no '~' outside of quotes.\n  "
                     "Quote the value, and all of it for the shell: 'name=\"a~b\"'.", id="tilde"),
        pytest.param("name=“x”", "name=“x”: Hydra takes no '“' (left double quotation mark) and "
                     "'”' (right double quotation mark) outside of quotes.\n  Write name=x.", id="curly"),
        pytest.param("name=a\r", "name=a\\r: it holds '\\r' (a carriage return).\n  Write name=a.", id="return"),
        pytest.param('name="a"\r', 'name="a"\\r: it holds \'\\r\' (a carriage return).\n  Write name="a".',
                     id="return-after-quotes"),
        pytest.param("name=a\u200bb", "name=a\\u200bb: it holds '\\u200b' (zero width space).\n  Write name=ab.",
                     id="invisible"),
        pytest.param("+models.é.uri=m", "+models.é.uri=m: the name of an override cannot hold 'é'.\n  "
                     "Declare it in a YAML file, in quotes.", id="name"),
        pytest.param("tracking.alias = a", "tracking.alias = a: it holds spaces around its name or its value.\n  "
                     "Write tracking.alias=a.", id="spaces"),
        pytest.param("tracking.alias", "tracking.alias: this is not an override: it has no value.\n  "
                     "Write tracking.alias=<value>.", id="no-value"),
        pytest.param("+output.method=a", "+output.method=a: output.method is there already.\n  "
                     "Write output.method=a.", id="there-already"),
        pytest.param("~output.method=x", "~output.method=x: output.method has another value.\n  "
                     "Write ~output.method.", id="another-value"),
        pytest.param("name=a_{b}", "name=a_{b}: this is not an override: mismatched input '{' expecting <EOF>.\n  "
                     "Quote the value, and all of it for the shell: 'name=\"a_{b}\"'.", id="pattern"),
        pytest.param("name={a", "name={a: this is not an override: no viable alternative at input '{a'.\n  Quote values"
                     " that hold braces, commas, brackets or spaces: 'name=\"a,b\"'.", id="brace"),
    ],
)  # fmt: skip
def test_letters_that_the_grammar_refuses(override, said):
    """They are named, those that nobody sees as escapes, with how it is written instead."""
    assert told("name=r", *ROUTER, override)[0] == said


def test_a_home_folder_is_written_in_full(monkeypatch):
    """In quotes nobody would make a path of ~."""
    monkeypatch.setenv("HOME", "/home/me")

    assert told("name=r", *ROUTER, "tracking.uri=~/mlruns") == [
        "tracking.uri=~/mlruns: Hydra takes no '~' outside of quotes.\n  Write tracking.uri=/home/me/mlruns."
    ]


@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=3))
def test_every_value_is_taken_or_told_with_a_cure_that_works(value):
    """Whatever is written: the override is applied, or its problem says how to write it, and that is applied."""
    override = f"tracking.experiment_name={value}"
    found, problems = tree(override)
    if not problems:
        assert found["tracking"]["experiment_name"] is not ...
        return
    (problem,) = problems
    assert problem.where.isprintable()
    assert problem.what.isprintable()
    hint = problem.hint.removesuffix(".")
    if hint.startswith("Write "):
        assert tree(hint.removeprefix("Write "))[1] == ()
    elif hint.startswith("Quote the value"):
        (written,) = shlex.split(hint.partition("shell: ")[2])
        cured, left = tree(written)
        assert left == ()
        assert cured["tracking"]["experiment_name"] == value
    else:
        # What nobody can see cannot be shown in a cure either.
        assert not value.isprintable() or set(value) & set("{}[]()='\",$\\ \t")


# -- files ------------------------------------------------------------------------------------------------------------


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {"config_dirs": [folder]}


@pytest.mark.parametrize(
    ("encoding", "name", "overrides", "options"),
    [
        pytest.param("latin-1", "mine", (), {"config_name": "mine"}, id="latin-1"),
        pytest.param("utf-16", "mine", (), {"config_name": "mine"}, id="utf-16"),
        pytest.param("shift-jis", "mine", (), {"config_name": "mine"}, id="shift-jis"),
        pytest.param("cp1252", "experiment/mine", ("experiment=mine",), {}, id="experiment"),
        pytest.param("latin-1", "env/mine", ("+env@_global_=mine",), {}, id="group"),
    ],
)
def test_a_file_that_is_no_utf_8_is_named(tmp_path, encoding, name, overrides, options):
    """The one that was read, and no other; in one problem."""
    letter = "ア" if encoding == "shift-jis" else "é"
    text = f"# @package _global_\ndefaults: []\n# {letter}\nname: {letter}\n".encode(encoding)
    write(tmp_path, other="\n# é\n".encode("latin-1"), **{name.replace("/", "__"): text})

    line = 1 if encoding == "utf-16" else 3
    assert told(*overrides, config_dirs=[tmp_path], **options) == [
        f"{name}.yaml: it is not UTF-8 (line {line}).\n  Save it as UTF-8."
    ]


HEADER = "# @package _global_"
BELOW = "all that it says stands below '{}', where nothing reads it.\n  Make '# @package _global_' its first line"
OVERRIDE = "defaults: [override /routing: column]\n"


@pytest.mark.parametrize(
    ("path", "text", "end"),
    [
        pytest.param("experiment/mine", WHOLE, ".", id="plain"),
        pytest.param("experiment/mine", OVERRIDE + WHOLE, ".", id="with-defaults"),
        pytest.param("experiment/mine", "defaults: [/source@sources.a: registry]\n" + WHOLE, ".", id="with-a-source"),
        pytest.param("experiment/mine", f"# Mine.\n{HEADER}\n{WHOLE}", ": it stands too late.", id="late"),
        pytest.param("experiment/mine", f"\ufeff{HEADER}\n{WHOLE}",
                     ": the file begins with a byte order mark, so save it without one.", id="byte-order-mark"),
        pytest.param("experiment/team/mine", WHOLE, ".", id="in-a-folder"),
        pytest.param("env/mine", WHOLE, ".", id="group"),
    ],
)  # fmt: skip
def test_a_file_about_the_whole_config_says_so(tmp_path, path, text, end):
    """One problem, however much it says; with the header as its first line it composes."""
    group, _, name = path.partition("/")
    choice = f"experiment={name}" if group == "experiment" else f"+{group}={name}"
    options = write(tmp_path, **{path.replace("/", "__"): text})

    assert told(choice, "sources.days.name=x", "tracking.alias=b", **options) == [
        f"{path}.yaml: {BELOW.format(path.rpartition('/')[0].replace('/', '.'))}{end}"
    ]

    body = "".join(line for line in text.lstrip("\ufeff").splitlines(True) if not line.startswith("#"))
    write(tmp_path, **{path.replace("/", "__"): f"{HEADER}\n{OVERRIDE if 'defaults' not in body else ''}{body}"})
    if "source" not in body and group == "experiment":
        assert told(choice, **options) == []


ENDLESS = "it is nested too deeply, or refers to itself, through an anchor or its defaults."
MISSING = "these sections are missing: {}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "defaults: " + MISSING.format("name"), id="empty"),
        pytest.param("hello\n", "defaults: " + MISSING.format("name"), id="text"),
        pytest.param(f"Defaults: [build]\n{WHOLE}", "defaults: " + MISSING.format(""), id="misspelt"),
        pytest.param("42\n", "{path}.yaml: a config is a map, not a int.", id="number"),
        pytest.param("- a\n", "{path}.yaml: a config is a map, not a list.", id="list"),
        pytest.param("[]\n", "{path}.yaml: a config is a map, not a list.", id="empty-list"),
        pytest.param("defaults: [build]\nx: &a [*a]\n", "{path}.yaml: " + ENDLESS, id="anchor"),
        pytest.param("defaults: [/{path}]\n", "{path}.yaml: " + ENDLESS, id="itself"),
        pytest.param("defaults: [/other]\n", "{path}.yaml: " + ENDLESS, id="circle"),
        pytest.param("defaults: [build, _base]\n", "{path}.yaml: its defaults bring 'residency' twice.", id="twice"),
        pytest.param("defaults: [build, override /rooting: x]\n", "{path}.yaml: its defaults override 'rooting'",
                     id="override"),
    ],
)  # fmt: skip
def test_what_is_no_config_is_one_problem(tmp_path, text, said):
    """Whatever stands in the file, alone."""
    options = write(tmp_path, mine=text.replace("{path}", "mine"), other="defaults: [mine]\n")

    (problem,) = told(config_name="mine", **options)

    assert problem.startswith(said.format(path="mine"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("42\n", "a config is a map, not a int.", id="number"),
        pytest.param(f"{HEADER}\nx: &a [*a]\n", ENDLESS, id="anchor"),
        pytest.param(f"{HEADER}\ndefaults: [/experiment/team/mine]\n", ENDLESS, id="itself"),
        pytest.param(f"{HEADER}\ndefaults: [override routing: param]\n",
                     "its defaults override 'experiment/routing', which is in no defaults list before it.\n  "
                     "Write 'override /routing'.", id="no-slash"),
        pytest.param(f"{HEADER}\ndefaults: [{{/routing: param}}]\n", "its defaults bring 'routing' twice.\n  "
                     "Name one config that brings it, and choose another of its files with "
                     "'override /routing: <name>'.", id="no-override"),
    ],
)  # fmt: skip
def test_an_experiment_that_is_no_config_is_named(tmp_path, text, said):
    """By its path, also in a folder of the group."""
    found = told("experiment=team/mine", **write(tmp_path, experiment__team__mine=text))

    assert [problem.split("\n  Look")[0].split("\n  Write 'name")[0] for problem in found] == [
        f"experiment/team/mine.yaml: {said}"
    ]


@pytest.mark.parametrize("name", ["team/mine", "team/mine.yaml", "team/deep/mine"])
def test_a_config_in_a_folder_is_understood(tmp_path, name, run):
    """As if the folder were named with --config-dir: its defaults and what it says mean what they mean elsewhere."""
    text = "defaults: [build, env: prod, _self_, override /routing: column]\n" + WHOLE
    path = name.removesuffix(".yaml").replace("/", "__")
    options = write(tmp_path, **{path: text, "env__prod": f"{HEADER}\ntracking: {{alias: prod}}\n"})

    spec = api.compose(plugins=fleets.plugins(), config_name=name, **options)

    assert (spec.name, spec.tracking.alias) == ("r", "prod")
    done = run("plan", "--config-dir", str(tmp_path), "--config-name", name, "--cfg", "job")
    assert (done.code, "alias: prod" in done.out) == (0, True)


def test_a_config_in_a_folder_with_a_header_stays_hydras(tmp_path):
    """Its defaults are absolute."""
    text = f"{HEADER}\ndefaults: [/build, _self_, override /routing: column]\n{WHOLE}"

    assert told(config_name="team/mine", **write(tmp_path, team__mine=text)) == []


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        pytest.param(["{}/mine.yaml"], "Say --config-dir {} --config-name mine.", id="file"),
        pytest.param(["{}/experiment/late.yaml"], "Say --config-dir {} experiment=late.", id="experiment"),
    ],
)
def test_a_config_that_is_named_as_an_override(tmp_path, words, cure, run):
    """The cure is what one says instead, and it works."""
    write(tmp_path, mine=f"defaults: [build, _self_, override /routing: column]\n{WHOLE}",
          experiment__late=f"{HEADER}\n{OVERRIDE}{WHOLE}")  # fmt: skip

    done = run("plan", *(word.format(tmp_path) for word in words))

    assert done.code == 2
    assert cure.format(tmp_path) in done.err
    assert len(done.err.strip().splitlines()) == 2
    said = cure.format(tmp_path).removeprefix("Say ").removesuffix(".").split()
    assert run("plan", *said, "--cfg", "job").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["name=é,b"], "error: name=é,b: Hydra takes no 'é' outside of quotes.", id="letter"),
        pytest.param(
            ["name=a,b", "--config-name", "latin"], "error: latin.yaml: it is not UTF-8 (line 1).", id="primary"
        ),
        pytest.param(["experiment=fine,latin"], "error: experiment/latin.yaml: it is not UTF-8 (line 2).", id="file"),
        pytest.param(
            ["experiment=fine,bare"], "error: experiment/bare.yaml: all that it says stands below", id="header"
        ),
    ],
)
def test_a_sweep_is_read_before_it_runs(tmp_path, run, words, said):
    """With the same answers as without ``-m``, whichever of its values they are about, and no traceback of Hydra's."""
    latin = f"{HEADER}\nname: é\n".encode("latin-1")
    write(tmp_path, latin="name: é\n".encode("latin-1"), experiment__latin=latin, experiment__bare=WHOLE,
          experiment__fine=f"{HEADER}\n{OVERRIDE}{WHOLE}")  # fmt: skip

    done = run("plan", "-m", "--config-dir", str(tmp_path), *words)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(said)
    assert len(done.err.splitlines()) == 2


@pytest.mark.parametrize("name", ["conf/mine.yaml", "conf/mine", "{}/conf/mine.yaml"])
def test_a_config_that_is_named_by_its_path_is_understood(tmp_path, monkeypatch, name):
    """From the working directory, or in full."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, conf__mine=f"defaults: [build, _self_, override /routing: column]\n{WHOLE}")

    assert api.compose(plugins=fleets.plugins(), config_name=name.format(tmp_path)).name == "r"
