"""A config runs no code, whatever its files say: a canary that code would make is never there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmeframe.cli import main
from mmeframe.config import files
from mmeframe.plugin.kinds import CHOSEN
from mmeframe.sections import SECTIONS

ROUTER = "routing: {kind: column, column: dow}\nmodels: {a: {uri: m, key: {dow: 1}}}\n"
DEFAULTS = "defaults: [build, _self_]\nname: r\n"
COMMANDS = (
    ["validate"],
    ["plan"],
    ["plan", "-m"],
    ["plan", "--cfg", "all"],
    ["plan", "--info", "all"],
    ["train", "-m"],
)
CALL = '{_target_: subprocess.check_output, args: "touch CANARY", shell: true}'
HANDLER = '{version: 1, root: {handlers: [a]}, handlers: {a: {"()": os.system, command: "touch CANARY"}}}'
WRITER = "{version: 1, root: {handlers: [a]}, handlers: {a: {class: logging.FileHandler, filename: CANARY}}}"


@pytest.fixture
def attack(tmp_path, monkeypatch, capsys):
    """Write a config folder and run a command on it, in an empty working directory; what was told, and the exit code.

    The canary is asserted absent, and so is anything else that a command has no reason to make.
    """
    conf, cwd = tmp_path / "conf", tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)

    def run(command, **texts):
        for name, text in texts.items():
            file = conf / f"{name.replace('__', '/')}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        words = [*command, "--config-dir", str(conf), "--config-name", "own", f"tracking.uri=sqlite:///{tmp_path}/s.db"]
        try:
            code = main(words)
        except SystemExit as error:
            code = error.code
        assert list(cwd.iterdir()) == []
        assert not list(tmp_path.rglob("CANARY*"))
        return code, capsys.readouterr().err

    return run


# -- Hydra's own options, which can name code, paths and variables ----------------------------------------------------

OF_HYDRA = {
    "callbacks": f"hydra: {{callbacks: {{a: {CALL}}}}}",
    "job_logging": f"hydra: {{job_logging: {HANDLER}}}",
    "hydra_logging": f"hydra: {{hydra_logging: {HANDLER}}}",
    "log-file": f"hydra: {{job_logging: {WRITER}}}",
    "launcher": f"hydra: {{launcher: {CALL}}}",
    "sweeper": f"hydra: {{sweeper: {{params: {CALL}}}}}",
    "searchpath-imports": 'hydra: {searchpath: ["pkg://this"]}',
    "searchpath-reads": 'hydra: {searchpath: ["file:///etc"]}',
    "environment": "hydra: {job: {env_set: {MMEFRAME_ALLOW: os}}}",
    "folders": "hydra: {sweep: {subdir: ../CANARY}, run: {dir: ../CANARY}}",
    "mode": "hydra: {mode: MULTIRUN}",
    "interpolated": f"hydra: ${{a}}\na: {{callbacks: {{a: {CALL}}}}}",
    "anchor": f"train: {{estimator: {{params: &a {{callbacks: {{a: {CALL}}}}}}}}}\nhydra: *a",
    "merged": f"train: {{estimator: {{params: &a {{hydra: {{callbacks: {{a: {CALL}}}}}}}}}}}\n<<: *a",
}
# Files whose place is within Hydra's options: by their header, by the list that names them, by their folder.
PLACED = {
    "header": {"own": "defaults: [build, g/x, _self_]\nname: r\n", "g__x": f"# @package hydra.callbacks\na: {CALL}\n"},
    "list": {"own": 'defaults: [build, "/g@hydra.callbacks: x", _self_]\nname: r\n', "g__x": f"a: {CALL}\n"},
    "map": {"own": "defaults: [build, {/g@hydra.callbacks: x}, _self_]\nname: r\n", "g__x": f"a: {CALL}\n"},
    "absolute": {"own": "defaults: [build, {/g@_global_.hydra.job_logging: x}]\nname: r\n", "g__x": HANDLER},
    "folder": {
        "own": "defaults: [build, {hydra/callbacks: x}, _self_]\nname: r\n",
        "hydra__callbacks__x": f"a: {CALL}",
    },
    "shadow": {"own": "defaults: [build, _self_]\nname: r\n", "hydra__config": f"callbacks: {{a: {CALL}}}\n"},
    "shadow-logging": {"own": "defaults: [build, _self_]\nname: r\n", "hydra__job_logging__none": HANDLER},
    "relative": {
        "own": "defaults: [build, {/g@_global_: x}, _self_]\nname: r\n",
        "g__x": "defaults: [{hydra/callbacks: y}]\n",
        "g__hydra__callbacks__y": f"a: {CALL}\n",
    },
    "not-primary": {
        "own": "defaults: [build, g/x, _self_]\nname: r\n",
        "g__x": "# @package _global_\nhydra: {verbose: true}",
    },
}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("text", OF_HYDRA.values(), ids=OF_HYDRA)
def test_a_file_says_nothing_of_hydra(attack, command, text):
    """Callbacks, loggers, launchers and search paths are objects, folders and modules of Hydra's."""
    code, told = attack(command, own=f"{DEFAULTS}{ROUTER}{text}\n")

    assert code == 2
    assert told.startswith("error: own.yaml: a config file cannot set hydra: its options can name code.")
    assert "command line" in told


@pytest.mark.parametrize("command", [["plan"], ["plan", "-m"]], ids=" ".join)
@pytest.mark.parametrize("texts", PLACED.values(), ids=PLACED)
def test_no_file_is_put_into_hydras_options(attack, command, texts):
    """A file's place is what its header, its folder and the lists that name it say."""
    code, told = attack(command, **texts)

    assert code != 0
    assert "hydra" in told or "Multiple values" in told or "no " in told


@pytest.mark.parametrize(
    "command",
    [["plan", "-m", "experiment=ok,bad"], ["plan", "experiment=bad"], ["plan", "--cfg", "job", "experiment=bad"]],
    ids=" ".join,
)
def test_files_that_only_a_sweep_chooses(attack, command):
    """Each run of a sweep is composed by Hydra, of files that nobody has looked at before."""
    code, told = attack(
        command,
        own=f"{DEFAULTS}{ROUTER}",
        experiment__ok="# @package _global_\noutput: {annotate: true}\n",
        experiment__bad="# @package _global_\nhydra: {job: {env_set: {MMEFRAME_ALLOW: os}}}\n",
    )

    assert code == 2
    assert "a config file cannot set hydra" in told


# -- names of things, wherever one is named ---------------------------------------------------------------------------

NAMES = ("os:system", "os.system", "subprocess:check_output", "../x", "/tmp/x", "pkg://this", "file:///etc/x", "--x")
ONE = "routing: {kind: column, column: dow}\nmodels: {a: {key: {dow: 1}, %s}}\n"
PLACES = {
    "routing": "routing: {kind: @}\n",
    "routing-part": "routing: {keys: {a: {kind: @}}}\n",
    "source": f"{ROUTER}sources: {{s: {{kind: @}}}}\n",
    "observer": f"{ROUTER}observers: {{s: {{kind: @}}}}\n",
    "combiner": ONE % "combine: {kind: @, of: [b]}",
    "loader": ONE % "uri: m, loader: @",
    "loader-kind": ONE % "uri: m, loader: {kind: @}",
    "model_defaults": f"{ROUTER}model_defaults: {{loader: @}}\n",
    "residency": f"{ROUTER}residency: {{kind: @}}\n",
    "method": f"{ROUTER}output: {{method: @}}\n",
    "timezone": "routing: {kind: datepart, column: a, timezone: @}\nmodels: {}\n",
    "requirement": f"{ROUTER}environment: {{override: {{numpy: @}}}}\n",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_name_names_what_is_registered(attack, place):
    """No module, no path and no URL, wherever a kind, a loader, a method or a time zone is named."""
    for name in NAMES:
        code, told = attack(["validate"], own=DEFAULTS + place.replace("@", f"'{name}'"))

        assert code in (1, 2), name
        assert "Traceback" not in told


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/object/new:subprocess.Popen", "!!python/name:os.system"]
)
def test_tags_of_yaml_make_no_objects(attack, tag):
    """Whoever reads a config makes plain values of it, and says which file has others."""
    code, told = attack(["plan"], own=f"{DEFAULTS}{ROUTER}tracking: {{tags: {{a: {tag} ['touch CANARY']}}}}\n")

    assert code == 2
    assert "own.yaml" in told


@pytest.mark.parametrize(
    "default",
    ["../outside", "/../outside", "g/../../outside", "{outside}", "pkg://this", "file:///etc/x"],
)
def test_defaults_stay_within_the_folders(attack, tmp_path, default):
    """A file beside the folder is not read, however it is named."""
    (tmp_path / "outside.yaml").write_text("tracking: {tags: {secret: value}}\n")

    code, told = attack(["plan"], own=f"defaults: [build, '{default.format(outside=tmp_path / 'outside')}']\nname: r\n")

    assert code == 2
    assert "secret" not in told


# -- what costs -------------------------------------------------------------------------------------------------------


def doubling(form):
    """Thirty names, each of which holds the one before twice."""
    lines = [form.format(name=f"a{it}", before=f"a{it - 1}") for it in range(1, 30)]
    return "\n".join(["    a0: &a0 {x: 1}", *lines])


BOMBS = {
    "anchors": doubling("    {name}: &{name} {{x: *{before}, y: *{before}}}"),
    "lists": doubling("    {name}: &{name} [*{before}, *{before}]"),
    "text": doubling('    {name}: "${{tracking.tags.{before}}}${{tracking.tags.{before}}}"'),
    "maps": doubling('    {name}: {{x: "${{tracking.tags.{before}}}", y: "${{tracking.tags.{before}}}"}}'),
    "resolvers": doubling('    {name}: "${{oc.select:tracking.tags.{before}}}${{oc.select:tracking.tags.{before}}}"'),
}


@pytest.mark.parametrize("command", [["plan"], ["plan", "-m"]], ids=" ".join)
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_few_lines_that_stand_for_billions(attack, monkeypatch, command, text):
    """Told before they are made."""
    monkeypatch.setattr(files, "_GIVEN", 2000)
    code, told = attack(command, own=f"{DEFAULTS}{ROUTER}tracking:\n  tags:\n{text}\n")

    assert code == 2
    assert "it holds more than" in told or "interpolations expand to too much" in told


@pytest.mark.parametrize("command", [["plan"], ["validate"], ["plan", "-m"]], ids=" ".join)
@pytest.mark.parametrize("place", ["", "@a{}"], ids=["there", "elsewhere"])
def test_few_files_that_stand_for_billions(attack, command, place):
    """Each names the next one twice in its defaults."""
    steps = 40
    chain = {f"g__f{it}": _twice(f"f{it + 1}", place) for it in range(steps)}
    code, told = attack(
        command, own=f"defaults: [build, g/f0, _self_]\nname: r\n{ROUTER}", **chain, **{f"g__f{steps}": "{}"}
    )

    assert code == 2
    assert "defaults name more than 10,000 files" in told


def _twice(name, place):
    return "defaults:\n" + "".join(f"  - {name}{place.format(it)}\n" for it in "xy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("x" * (8 * 2**20 + 1), "it is larger than 8 MiB", id="large"),
        pytest.param("a: [" + "1," * 260_000 + "]\n", "it holds more than 250,000 values", id="many"),
        pytest.param("a: " + "[" * 1_000_000, "it is nested too deeply", id="deep"),
        pytest.param("a: &a [*a]\n", "it is nested too deeply, or refers to itself", id="itself"),
    ],
)
def test_a_file_is_read_in_bounded_time(attack, text, said):
    """libyaml would end the process where lists are nested without end."""
    code, told = attack(["plan"], own=text)

    assert code == 2
    assert said in told


def test_values_are_counted_with_those_of_anchors(tmp_path):
    """Names, maps and lists count, too: five, two and four, and twice the four lists' values."""
    file = tmp_path / "a.yaml"
    file.write_text("a: &a [1, 2]\nb: {c: *a, d: *a}\ne: *a\n")

    assert files._values(file.read_text()) == 19
    assert files.text_of(file) == file.read_text()


# -- what is written down ---------------------------------------------------------------------------------------------


def test_security_says_what_every_section_can_cause():
    """The table of SECURITY.md has a row for each section of a config, and for each group."""
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    named = {name.split(".")[0] for row in rows for name in re.findall(r"`([\w.]+)", row)}

    assert set(SECTIONS) <= named
    assert {kind.group for kind in CHOSEN} <= named
