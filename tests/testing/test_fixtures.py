"""The pytest plugin's fixtures and its marker, used as people use them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mmeframe.errors import BadInputError, ConfigError, MissingError, PluginError, ProblemsError, UnknownKeyError
from mmeframe.plugin import ObserverPlugin, hookimpl
from mmeframe.plugin.manager import isolated_plugins
from tests import fleets
from tests.testing import observers

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("+models.a={uri:'models:/a@champion',key:{dow:0}}", "+models.all={uri:'models:/all/1',key:{}}")
DOW = ("name=r", "routing=column", "routing.column=dow", "routing.levels=[[dow],[]]", *MODELS)
dow = pytest.mark.mmeframe(*DOW)


# -- compositions ----------------------------------------------------------------------------------------------------


def test_a_composition(mmeframe_compose):
    """A validated config, of any command."""
    spec = mmeframe_compose(*DOW)

    assert [part.name for part in spec.routing.parts] == ["dow"]
    assert mmeframe_compose("name=served", command="serve").tracking.register_as == "served"


def test_a_config_that_is_wrong(mmeframe_compose):
    """Every problem at its path, each time it is asked for."""
    for _ in range(2):
        with pytest.raises(ProblemsError, match="there is no section 'rooting'"):
            mmeframe_compose(*DOW, "rooting.column=x")


def test_what_a_test_changes_is_its_own(mmeframe_compose):
    """Nobody else sees it."""
    first = mmeframe_compose(*DOW)
    first.routing.parts[0].strategy.options["column"] = "changed"

    assert mmeframe_compose(*DOW).routing.parts[0].strategy.options == {"column": "dow"}


def test_folders_of_configs(mmeframe_compose, tmp_path):
    """A file that changes is read again."""
    (tmp_path / "routing").mkdir()
    preset = tmp_path / "routing" / "mine.yaml"

    def column() -> object:
        spec = mmeframe_compose("name=r", "routing=mine", MODELS[1], config_dirs=[tmp_path])
        return spec.routing.parts[0].strategy.options["column"]

    found = []
    for name in ("first", "other"):
        preset.write_text(f"kind: column\ncolumn: {name}_column\n")
        os.utime(preset, (len(name), len(found)))
        found.append(column())

    assert found == ["first_column", "other_column"]


def test_what_follows_from_the_environment_is_composed_anew(mmeframe_compose, monkeypatch):
    """A resolver may say something else the next time."""
    found = []
    for value in ("one", "two"):
        monkeypatch.setenv("A_NAME_OF_A_TEST", value)
        found.append(mmeframe_compose("name=${oc.env:A_NAME_OF_A_TEST}", *DOW[1:]).name)

    assert found == ["one", "two"]


@pytest.mark.parametrize("how", ["file", "override"])
def test_a_kind_that_follows_from_the_environment(mmeframe_compose, monkeypatch, tmp_path, how):
    """A resolver that chooses a file is in no composed config, and may choose another one the next time."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "kinds.yaml").write_text(
        "# @package _global_\ndefaults:\n- override /routing: ${oc.env:A_KIND_OF_A_TEST}\n- _self_\nname: r\n"
    )
    chosen = {"file": ["experiment=kinds"], "override": ["name=r", "routing=${oc.env:A_KIND_OF_A_TEST}"]}[how]
    found = []
    for kind in ("column", "param"):
        monkeypatch.setenv("A_KIND_OF_A_TEST", kind)
        spec = mmeframe_compose(*chosen, f"+routing.{kind}=dow", "+models.a.uri=models:/a/1", config_dirs=tmp_path)
        found.append(spec.routing.parts[0].strategy.kind)

    assert found == ["column", "param"]


@pytest.mark.mmeframe("name=r", "routing=good", "+models.a.uri=models:/a/1", plugins="tests.testing.strategies")
def test_one_plugin_needs_no_list(mmeframe_cfg, mmeframe_compose, pytestconfig):
    """One name stands for a list of one, as everywhere in a config."""
    routed = ("name=r", "routing=good", "+models.a.uri=models:/a/1")

    assert mmeframe_compose(*routed, plugins="tests.testing.strategies") == mmeframe_cfg


def test_an_application_with_hydra_keeps_it(mmeframe_compose, tmp_path):
    """Hydra's own state is what it was, also after an error."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        mmeframe_compose(*DOW, "exclude=[not_cached_yet]")
        with pytest.raises(ProblemsError):
            mmeframe_compose("nme=x")
        assert GlobalHydra.instance().hydra is outer
    assert not GlobalHydra.instance().is_initialized()


# -- the marker ------------------------------------------------------------------------------------------------------


@dow
class TestMarkers:
    """Markers add up, and the nearer ones come later."""

    def test_of_a_class(self, mmeframe_cfg):
        """Every test of the class has its config."""
        assert mmeframe_cfg.name == "r"

    @pytest.mark.mmeframe("name=first")
    @pytest.mark.mmeframe("name=second", "routing.on_unknown=skip")
    def test_of_a_function(self, mmeframe_cfg):
        """Read from the top to the bottom, after those of the class."""
        assert (mmeframe_cfg.name, mmeframe_cfg.routing.on_unknown) == ("second", "skip")

    @pytest.mark.mmeframe("name=function")
    @pytest.mark.parametrize(
        "name",
        [pytest.param("function"), pytest.param("param", marks=pytest.mark.mmeframe("name=param"))],
    )
    def test_of_a_parameter(self, mmeframe_cfg, name):
        """``pytest.param`` has the last word."""
        assert mmeframe_cfg.name == name

    @pytest.mark.parametrize("mmeframe_overrides", [["name=one"], "name=two"], indirect=True)
    def test_indirect_parameters(self, mmeframe_cfg, mmeframe_overrides):
        """Overrides as parameters."""
        assert f"name={mmeframe_cfg.name}" == mmeframe_overrides[-1]


@pytest.mark.parametrize("column", ["day", "weekday"])
class TestOverridesThatFollow:
    """A class, module or conftest may derive overrides from parameters and fixtures."""

    @pytest.fixture
    def mmeframe_overrides(self, column):
        return ["name=r", "routing=column", f"routing.column={column}", f"+models.a={{uri:a,key:{{{column}:0}}}}"]

    def test_routes_by_the_column(self, mmeframe_router, column):
        assert mmeframe_router.route([{column: 0}]) == ["a"]


@pytest.mark.mmeframe("name=served", command="serve")
def test_another_command(mmeframe_cfg):
    """A config of what a command needs."""
    assert (mmeframe_cfg.serve.port, mmeframe_cfg.models) == (5000, ())


@pytest.mark.mmeframe("name=r", "routing=good", "+models.a={uri:a,key:{x:1}}", plugins=["tests.testing.strategies"])
def test_plugins_of_a_marker(mmeframe_router):
    """As ``-p`` adds them."""
    assert mmeframe_router.route([{"x": 1}]) == ["a"]


# -- routing ---------------------------------------------------------------------------------------------------------


@dow
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([{"dow": 0}, {"dow": 3}], id="dicts"),
        pytest.param(pd.DataFrame({"dow": [0, 3]}), id="frame"),
        pytest.param({"dow": ["0", "3"]}, id="columns"),
    ],
)
def test_rows_are_routed(mmeframe_router, rows):
    """By a config alone: no store is there, and no sub-model."""
    assert mmeframe_router.route(rows) == ["a", "all"]
    assert [it["reason"] for it in mmeframe_router.explain(rows)] == ["exact", "fallback"]


@dow
@pytest.mark.mmeframe("routing.levels=auto", "~models.all")
class TestUnknownKeys:
    def test_are_an_error(self, mmeframe_router):
        """As in the router that is served."""
        with pytest.raises(UnknownKeyError, match="no sub-model for 1 row: dow=3"):
            mmeframe_router.route([{"dow": 0}, {"dow": 3}])

    @pytest.mark.mmeframe("routing.on_unknown=skip")
    def test_are_skipped(self, mmeframe_router):
        """None stands for a row without a sub-model."""
        assert mmeframe_router.route([{"dow": 0}, {"dow": 3}]) == ["a", None]


@pytest.mark.mmeframe("name=r", "routing=param", "routing.param=dow", MODELS[0])
def test_parameters_route(mmeframe_router):
    """One that nothing reads is refused."""
    assert mmeframe_router.route([{"x": 1.0}, {"x": 2.0}], {"dow": 0}) == ["a", "a"]
    with pytest.raises(BadInputError, match="there is no parameter 'dwo'"):
        mmeframe_router.route([{"x": 1.0}], {"dwo": 0})


@dow
@pytest.mark.mmeframe("~models.all", "routing.levels=auto", "models.a.key={}")
def test_a_fleet_that_does_not_fit(request):
    """Keys, levels and arms are checked as a build would."""
    with pytest.raises(ProblemsError, match=r"routing\.levels"):
        request.getfixturevalue("mmeframe_router")


ARM = ("+models.b={uri:b,key:{dow:0},arm:canary}", "+traffic.arms.canary=0.5")


@dow
@pytest.mark.mmeframe(*ARM, "traffic.sticky=[user]")
def test_arms(mmeframe_router):
    """A row is in an arm by its sticky columns."""
    rows = [{"dow": 0, "user": user} for user in range(40)]

    assert set(mmeframe_router.route(rows)) == {"a", "b"}
    assert mmeframe_router.route(rows) == mmeframe_router.route(rows)


@dow
@pytest.mark.mmeframe(*ARM)
def test_arms_that_only_a_build_can_tell(request):
    """All columns of the sub-models decide, and none of those is read."""
    with pytest.raises(ConfigError, match=r"traffic.sticky: all columns .*\n  Name the columns that decide, or build"):
        request.getfixturevalue("mmeframe_router")


@pytest.mark.mmeframe("name=r", "routing=gate", "routing.model=g", "+models.g={uri:g,key:none}", "+models.a={uri:a}")
def test_a_gate(mmeframe_router):
    """Its sub-model is not there to be asked."""
    with pytest.raises(MissingError, match=r"models.g: a gate asks it for keys, and this router has no sub-models"):
        mmeframe_router.route([{"x": 1}])


@pytest.mark.mmeframe("name=r", "routing=column", "routing.column=dow", "+source@sources.days=registry")
@pytest.mark.mmeframe("sources.days.name='day_{dow}'")
def test_sources_ask_the_store(mmeframe_store, request):
    """Sub-models that a source brings are those of the active store."""
    example = fleets.rows(5)[["x1", "x2"]]
    fleets.log_sklearn(fleets.fitted(3), "day_3", example)

    assert request.getfixturevalue("mmeframe_router").route([{"dow": 3}]) == ["day_3"]


# -- stores, builds, commands ----------------------------------------------------------------------------------------


def test_a_store_of_its_own(mmeframe_store, tmp_path, monkeypatch):
    """Empty, active, and all that is logged lies in it, whatever the working directory is."""
    import mlflow

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert mlflow.get_tracking_uri() == mmeframe_store.uri
    assert mlflow.search_registered_models() == []
    mlflow.set_experiment("theirs")
    try:
        with mlflow.start_run():
            mlflow.log_text("text", "a.txt")
        folder = mlflow.get_experiment_by_name("Default").artifact_location
    finally:
        mlflow.set_experiment(experiment_id="0")

    assert list(elsewhere.iterdir()) == []
    assert folder.startswith(str(mmeframe_store.folder))
    assert [path.name for path in mmeframe_store.folder.rglob("a.txt")] == ["a.txt"]


def test_the_store_is_gone_afterwards():
    """MLflow's own choice is what it was."""
    import mlflow

    assert "pytest" not in mlflow.get_tracking_uri()


@pytest.mark.build
@pytest.mark.mmeframe("name=built", "routing=column", "routing.column=dow")
@pytest.mark.mmeframe("+models.a={uri:'models:/day_0@champion',key:{dow:0}}")
def test_a_router_that_is_built(mmeframe_store, mmeframe_built, mmeframe_cli):
    """Logged in the test's store, loaded from there, and shown by a command."""
    model, rows = fleets.fitted(0), fleets.rows(5)
    fleets.log_sklearn(model, "day_0", rows[["x1", "x2"]])

    router = mmeframe_built("output.annotate=true")

    answers = router.predict(rows.assign(dow=0))
    assert answers["model_id"].tolist() == ["a"] * 5
    assert abs(answers["prediction"] - model.predict(rows[["x1", "x2"]])).max() < 1e-9
    shown = mmeframe_cli("show", "name=built", "--json")
    assert [it["id"] for it in shown.json["sub_models"]] == ["a"]
    served = mmeframe_cli("serve", "name=built", "serve.port=0")
    assert (served.code, served.err.splitlines()[1]) == (
        2,
        "error: serve: it becomes a server in place of this process, which runs tests.",
    )


def test_a_command(mmeframe_cli):
    """Code, output and errors."""
    version, wrong = mmeframe_cli("--version"), mmeframe_cli("validte")

    assert (version.code, version.err) == (0, "")
    assert (wrong.code, wrong.out) == (2, "")
    assert "Did you mean 'validate'?" in wrong.err


def test_a_command_leaves_the_process_as_it_was(mmeframe_cli, capfd, tmp_path, monkeypatch):
    """Hydra's own flags too, and plugins of the working directory; what the test captures itself is not disturbed."""
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugin_of_a_command.py").write_text(
        "from mmeframe.plugin import hookimpl\n@hookimpl\ndef mmeframe_observers():\n    return []\n"
    )
    before = list(sys.argv), list(sys.path), dict(os.environ)

    done = mmeframe_cli("build", "--cfg", "job", "-p", "plugin_of_a_command", *DOW)

    assert (done.code, "column: dow" in done.out) == (0, True)
    assert (sys.argv, sys.path, dict(os.environ)) == before
    assert not GlobalHydra.instance().is_initialized()
    assert capfd.readouterr() == ("", "")


# -- plugins ---------------------------------------------------------------------------------------------------------


class Offers:
    """A plugin that is an object."""

    @hookimpl
    def mmeframe_observers(self):
        return [ObserverPlugin("mine", observers.SomeConf, "tests.testing.observers:Good", "for a test")]


class Misspelt:
    def mmeframe_observers(self):
        return []


def test_isolated_plugins(mmeframe_plugins, mmeframe_compose, monkeypatch):
    """Nothing that is installed or switched on is there, but the built-in ones and what is given."""
    monkeypatch.setenv("MMEFRAME_PLUGINS", "no.such.module")
    plugins = mmeframe_plugins(Offers(), observers, "tests.testing.combiners")

    assert plugins.names("observer") == sorted(["log", "mine", *(it.__name__.lower() for it in observers.BROKEN)])
    assert "good" in plugins.names("combiner")
    assert "nearest" not in plugins.names("routing strategy")
    spec = mmeframe_compose(*DOW, "+observer@observers.it=mine", plugins=plugins)
    assert [name for name, _ in spec.observers] == ["it"]


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        pytest.param(Misspelt(), r"mmeframe_observers\(\) is not marked", id="unmarked"),
        pytest.param(object(), "object has no hook, so it is no plugin", id="no-hook"),
        pytest.param("no_such_module_of_a_plugin", "No module named", id="no-module"),
    ],
)
def test_plugins_that_are_none(plugin, said):
    """Who is broken stops the test, with the reason."""
    with pytest.raises(PluginError, match=said):
        isolated_plugins(plugin)


# -- pytest itself ---------------------------------------------------------------------------------------------------


def run_pytest(folder: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hydra_pytest", *arguments]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.process
def test_in_a_project_of_its_own(tmp_path):
    """Strict markers know ours, config folders come from the ini-file, and two workers share nothing."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers --strict-config\nmmeframe_config_dirs = conf\nfilterwarnings = error\n"
    )
    (tmp_path / "conf" / "routing").mkdir(parents=True)
    (tmp_path / "conf" / "routing" / "mine.yaml").write_text("kind: column\ncolumn: day\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.mmeframe('name=r', 'routing=mine', '+models.mon.uri=x')\n"
        "@pytest.mark.parametrize('day', ['mon'] * 6)\n"
        "def test_it(mmeframe_router, day):\n"
        "    assert mmeframe_router.route([{'day': day}]) == ['mon']\n"
        "def test_command(mmeframe_cli):\n"
        "    assert 'column: day' in mmeframe_cli('build', 'name=r', 'routing=mine', '--cfg', 'job').out\n"
    )

    assert "7 passed" in run_pytest(tmp_path, "-n", "2")
    assert "@pytest.mark.mmeframe(*overrides, command='build'" in run_pytest(tmp_path, "--markers")


@pytest.mark.process
@pytest.mark.parametrize(
    ("mark", "said"),
    [
        pytest.param("mmeframe('name=r', comand='build')", "the marker mmeframe takes no comand", id="keyword"),
        pytest.param("mmeframe(['name=r'])", "the marker mmeframe takes no ['name=r']", id="list"),
    ],
)
def test_a_marker_that_is_wrong(tmp_path, mark, said):
    """It is told before anything is composed."""
    (tmp_path / "test_it.py").write_text(f"import pytest\n@pytest.mark.{mark}\ndef test_it(mmeframe_cfg):\n    pass\n")

    assert said in run_pytest(tmp_path)


@pytest.mark.process
def test_the_plugin_imports_nothing_heavy(tmp_path):
    """It is part of every pytest run of the environment."""
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "def pytest_unconfigure():\n"
        "    heavy = {'numpy', 'pandas', 'pydantic', 'hydra', 'pluggy', 'mlflow', 'sklearn', 'mmeframe'}\n"
        "    print('FOUND', *sorted(heavy & set(sys.modules)))\n"
    )
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")

    said = run_pytest(tmp_path, "-s")

    assert "FOUND mmeframe pluggy\n" in said
