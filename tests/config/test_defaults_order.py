"""What a file says and the composed config does not hold is a problem: no default wins by its place in a list."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmeframe.config.compose import compose
from tests import fleets


def composed(folder, name, *overrides):
    return compose("build", overrides, plugins=fleets.plugins(), config_dirs=[folder], config_name=name)


def told(folder, name, *overrides):
    """Each problem as one text."""
    return [str(problem) for problem in composed(folder, name, *overrides).problems]


BODY = """\
name: r
routing: {column: dow, on_unknown: skip}
output:
  annotate: true
  on_error: skip
tracking:
  alias: champion
exclude: [old_*]
"""
LATE = "but the later defaults of '_base' replace it.\n  Put _self_ after the shipped config in the defaults of"
LOST = ["exclude 9", "output.annotate 5", "output.on_error 6", "routing.on_unknown 3", "tracking.alias 8"]


@pytest.mark.parametrize("shipped", ["build", "_base", "plan"])
def test_defaults_after_a_file_set_nothing_back_silently(tmp_path, shipped):
    """Each option is told with its line; the cure works."""
    top = "defaults: [{}, override /routing: column]\n"
    (tmp_path / "mine.yaml").write_text(top.format(f"_self_, {shipped}") + BODY)
    (tmp_path / "cured.yaml").write_text(top.format(f"{shipped}, _self_") + BODY)

    assert sorted(told(tmp_path, "mine")) == [
        f"{path}: mine.yaml sets this in line {line}, {LATE} mine.yaml: [build, _self_]."
        for path, line in map(str.split, LOST)
    ]
    assert told(tmp_path, "cured") == []


def test_a_file_without_self_comes_last(tmp_path):
    """As Hydra has it."""
    (tmp_path / "mine.yaml").write_text("defaults: [build, override /routing: column]\n" + BODY)

    assert told(tmp_path, "mine") == []
    output = composed(tmp_path, "mine").tree["output"]
    assert output == {"method": "predict", "annotate": True, "on_error": "skip", "missing_note": None}


SOURCE = "name: r\nrouting: {column: dow}\nsources:\n  days:\n    name: day_{dow}\n    version: latest\n    arm: b\n"


@pytest.mark.parametrize(
    ("defaults", "overrides"),
    [
        pytest.param("[build, _self_, /source@sources.days: registry, override /routing: column]", (), id="file"),
        pytest.param("[build, _self_, override /routing: column]", ["+source@sources.days=registry"], id="override"),
    ],
)
def test_defaults_of_a_kind_set_nothing_back_silently(tmp_path, defaults, overrides):
    """A kind that is chosen after the file's own values brings its defaults over them."""
    (tmp_path / "mine.yaml").write_text(f"defaults: {defaults}\n{SOURCE}")
    cured = "[build, /source@sources.days: registry, _self_, override /routing: column]"
    (tmp_path / "cured.yaml").write_text(f"defaults: {cured}\n{SOURCE}")

    what = "but the later defaults of '/source@sources.days: registry' replace it."
    hint = "Name '/source@sources.days: registry' in the defaults of mine.yaml, before _self_."
    assert told(tmp_path, "mine", *overrides) == [
        f"sources.days.version: mine.yaml sets this in line 7, {what}\n  {hint}",
        f"sources.days.arm: mine.yaml sets this in line 8, {what}\n  {hint}",
    ]
    assert told(tmp_path, "cured") == []


def test_an_experiment_is_a_file_like_others(tmp_path):
    """With the lines of its own file, below its header."""
    (tmp_path / "experiment").mkdir()
    text = f"# @package _global_\ndefaults: [_self_, /source@sources.days: registry]\n{SOURCE}"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)

    found = composed(tmp_path, "build", "experiment=mine", "routing=column").problems

    assert [problem.where for problem in found] == ["sources.days.version", "sources.days.arm"]
    assert found[0].what.startswith(
        "mine.yaml sets this in line 8, but the later defaults of '/source@sources.days: registry'"
    )


@pytest.mark.parametrize(
    ("files", "overrides"),
    [
        pytest.param({}, ["output.annotate=false", "output.on_error=raise"], id="overrides"),
        pytest.param({}, ["output={annotate: false, on_error: raise}"], id="an-override-of-the-section"),
        pytest.param({"experiment/late.yaml": "# @package _global_\noutput: {annotate: false}\n"}, ["experiment=late"],
                     id="experiment"),
        pytest.param({"other.yaml": "output: {annotate: false, on_error: raise}\n"}, [], id="a-later-file"),
        pytest.param({}, ["~models.a"], id="removed"),
        pytest.param({}, ["models.a.key={dow: 2}"], id="key-replaced"),
    ],
)  # fmt: skip
def test_what_is_changed_on_purpose_is_no_problem(tmp_path, files, overrides):
    """By overrides, experiments, and files of the user's that come later."""
    more = ", experiment: null" + (", other" if "other.yaml" in files else "")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    top = f"defaults: [_base, _self_{more}, override /routing: column]\n"
    (tmp_path / "mine.yaml").write_text(f"{top}{BODY}models: {{a: {{uri: m, key: {{dow: 1}}}}}}\n")

    assert told(tmp_path, "mine", *overrides) == []


LATE_FILE = "# @package _global_\noutput:\n  annotate: false\n"


@pytest.mark.parametrize(
    ("choice", "path", "defaults"),
    [
        pytest.param("experiment=late", "experiment/late", "[build, _self_]", id="shipped-line"),
        pytest.param("experiment=[late]", "experiment/late", "[build, _self_]", id="list"),
        pytest.param("experiment=team/late", "experiment/team/late", "[_base, experiment: null, _self_]", id="folder"),
        pytest.param("env=late", "env/late", "[_base, env: null, _self_]", id="group"),
        pytest.param("experiment=over", "experiment/late", "[build, _self_]", id="what-it-names"),
    ],
)
def test_a_choice_of_the_command_line_is_not_set_back_silently(tmp_path, choice, path, defaults):
    """By a file that comes later; what the cure says works."""
    group = path.split("/")[0]
    for name, text in {
        path: LATE_FILE,
        "experiment/over": "# @package _global_\ndefaults: [/experiment/late]\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    for name, top in {"mine": defaults, "cured": f"[_base, _self_, {group}: null]"}.items():
        (tmp_path / f"{name}.yaml").write_text(f"defaults: {top}\nname: r\noutput: {{annotate: true}}\n")

    what = f"{path}.yaml sets this in line 3, but mine.yaml replaces it later."
    hint = f"Put '{group}: null' after _self_ in the defaults of mine.yaml: [_base, _self_, {group}: null]."
    assert told(tmp_path, "mine", choice) == [f"output.annotate: {what}\n  {hint}"]
    assert told(tmp_path, "mine", choice, "output.annotate=true") == []
    assert told(tmp_path, "cured", choice) == []
    assert composed(tmp_path, "cured", choice).tree["output"]["annotate"] is False


def test_two_choices_of_a_group_are_a_problem(tmp_path):
    """Hydra would take the last."""
    (tmp_path / "mine.yaml").write_text("defaults: [_base, _self_, experiment: null]\n")

    assert told(tmp_path, "mine", "experiment=tutorial", "experiment=flights") == [
        "experiment=flights: experiment is chosen twice: experiment=tutorial and experiment=flights.\n  Keep one."
    ]


def test_each_run_of_a_sweep_is_checked(tmp_path, run):
    """Hydra composes those itself."""
    (tmp_path / "mine.yaml").write_text("defaults: [_self_, build, override /routing: column]\n" + BODY)

    done = run("plan", "--config-dir", str(tmp_path), "--config-name", "mine", "-m", "output.on_error=raise,skip")

    assert done.code == 2
    assert "routing.on_unknown: mine.yaml sets this in line 3" in done.err


OPTIONS: dict[str, Any] = {
    "routing.on_unknown": "skip",
    "routing.levels": [["dow"], []],
    "output.annotate": True,
    "output.method": "predict_proba",
    "tracking.alias": "champion",
    "tracking.tags": {"team": "x"},
    "traffic.sticky": ["user"],
    "residency.max_bytes": "1GiB",
    "bundle.reuse": False,
    "environment.override": {"numpy": "==2"},
    "isolation": "process",
    "disabled_models": ["a"],
    "models.a": {"uri": "m", "key": {"dow": 1}},
    "sources.days.version": "latest",
    "sources.days.filter": "x",
}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_value_of_a_file_is_in_the_config_or_told(tmp_path, data):
    """Whatever a file says, in whatever order its defaults stand."""
    chosen = data.draw(st.lists(st.sampled_from(sorted(OPTIONS)), min_size=1, unique=True))
    order = data.draw(st.permutations(["_self_", "build", "/source@sources.days: registry"]))
    content: dict[str, Any] = {"name": "r"}
    for path in chosen:
        node = content
        *steps, last = path.split(".")
        for step in steps:
            node = node.setdefault(step, {})
        node[last] = OPTIONS[path]
    top = f"defaults: [{', '.join(order)}, override /routing: column]\n"
    (tmp_path / "mine.yaml").write_text(top + yaml.safe_dump(content))

    found = composed(tmp_path, "mine")

    reported = {problem.where for problem in found.problems}
    for path in chosen:
        value: Any = found.tree
        for step in path.split("."):
            value = value[step]
        held = value == OPTIONS[path] or (isinstance(value, dict) and value.items() >= OPTIONS[path].items())
        assert held != (path in reported)
    assert reported <= set(chosen)
