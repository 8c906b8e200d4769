"""``mmeframe init``: what it writes works as it is, in an environment of its own; nothing that is there is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from mmeframe.errors import UsageError
from mmeframe.plugin import kinds
from mmeframe.scaffold import new_plugin, new_project
from tests import run_doc
from tests.causes import causes

ROOT = Path(__file__).resolve().parents[1]
KINDS = {kind.name: kind.noun for kind in kinds.KINDS}


def ran(python: Path, folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    env = {**inherited, "MLFLOW_DISABLE_TELEMETRY": "true", **environment}
    return subprocess.run([str(python), *command], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
@causes("process")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with mmeframe's wheel. Libraries are this environment's."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    done = ran(python, folder, *install, "--force-reinstall", str(wheel))
    assert done.returncode == 0, done.stderr
    return python


# -- a project -------------------------------------------------------------------------------------------------------


def test_a_project_works_as_generated(python, tmp_path):
    """Train, validate, build and the tests: its own Makefile, in its own folder, in a fresh environment."""
    made = ran(python, tmp_path, "-m", "mmeframe", "init", "corner-shop")
    assert made.returncode == 0, made.stderr
    assert "wrote    corner-shop/conf/experiment/corner_shop.yaml" in made.stdout.splitlines()
    assert made.stdout.splitlines()[-1].startswith(
        "next     cd corner-shop; pip install -r requirements.txt; make train"
    )

    path = f"{python.parent}:{os.environ['PATH']}"
    cache = {"MMEFRAME_CACHE_DIR": str(tmp_path / "cache"), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = {
        target: ran(Path(shutil.which("make") or "make"), tmp_path / "corner-shop", target, **cache)
        for target in ("train", "validate", "build", "test", "predict")
    }

    assert {target: it.returncode for target, it in done.items()} == dict.fromkeys(done, 0), done
    assert "6 passed" in done["test"].stdout
    assert "coverage: 120 of 120 rows (100.00%): exact 80, fallback 40" in done["validate"].stdout
    scored = (tmp_path / "corner-shop" / "predictions.csv").read_text().splitlines()
    assert len(scored) == 121


# -- a plugin --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_works_as_generated(python, tmp_path, kind):
    """Its tests pass, its wheel builds and holds it, and installed it is what config chooses."""
    name = f"made-{kind}"
    made = ran(python, tmp_path, "-m", "mmeframe", "init", "--plugin", name, "--kind", kind)
    assert made.returncode == 0, made.stderr
    home = tmp_path / f"mmeframe-{name}"
    pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = ran(python, home, *pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "dist", ".")
    assert wheel.returncode == 0, wheel.stderr
    (built,) = (home / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        package = f"mmeframe_made_{kind}"
        assert {f"{package}/{module}.py" for module in ("__init__", "plugin", kind)} <= set(archive.namelist())
    installed = ran(python, home, *pip, "install", "--no-deps", "--no-index", str(built))
    assert installed.returncode == 0, installed.stderr

    tests = ran(
        python, home, "-m", "pytest", "-q", "-p", "no:cacheprovider", MMEFRAME_CACHE_DIR=str(tmp_path / "cache")
    )
    listed = ran(python, tmp_path, "-m", "mmeframe", "plugins")

    assert tests.returncode == 0, tests.stdout
    assert "passed" in tests.stdout
    assert "failed" not in tests.stdout
    assert f"{KINDS[kind]}: made_{kind}" in " ".join(listed.stdout.split()), listed.stdout + listed.stderr


def test_the_tutorial(python, tmp_path):
    """Every step of the guide, from an empty folder to the wheel, as written, in a fresh environment."""
    # Libraries are there, and no index is asked for them.
    environment = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}
    environment |= {"PATH": f"{python.parent}:{os.environ['PATH']}", "MMEFRAME_CACHE_DIR": str(tmp_path / "cache")}
    steps = [block for block in run_doc.blocks(ROOT / "docs" / "plugins.md") if "tutorial" in block.words]
    assert len(steps) >= 7
    home = tmp_path
    for step in steps:
        if path := run_doc.file_of(step):
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(step.body)
            continue
        script = f"set -euo pipefail\n{step.body}\npwd"
        done = ran(Path("/bin/bash"), home, "-c", script, **environment)
        assert done.returncode == 0, f"docs/plugins.md:{step.line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        home = Path(done.stdout.splitlines()[-1])
    assert [path.name for path in (home / "dist").iterdir()] == ["mmeframe_initials-0.1.0-py3-none-any.whl"]


# -- what is refused -------------------------------------------------------------------------------------------------


def test_nothing_that_exists_is_touched(tmp_path):
    """One file that is there stops it before anything is written."""
    (tmp_path / "shop" / "tests").mkdir(parents=True)
    mine = tmp_path / "shop" / "Makefile"
    mine.write_text("mine\n")

    with pytest.raises(UsageError) as caught:
        new_project(tmp_path / "shop")

    assert str(caught.value) == f"init: {mine} exists already.\n  Name another folder, or move what is there."
    assert [path.name for path in (tmp_path / "shop").iterdir()] in (["tests", "Makefile"], ["Makefile", "tests"])
    assert list((tmp_path / "shop" / "tests").iterdir()) == []


def test_the_first_of_many_files_that_exist(tmp_path):
    """A second ``init`` says how many there are."""
    written = new_project(tmp_path / "shop")

    with pytest.raises(UsageError, match=rf"and {len(written) - 1} more exist already\."):
        new_project(tmp_path / "shop")


def test_a_folder_of_the_users_may_have_other_files(tmp_path):
    """A repository that was just made, for instance."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "LICENSE").write_text("mine\n")

    made = new_project(tmp_path / "shop")

    assert tmp_path / "shop" / "conf" / "experiment" / "shop.yaml" in made
    assert (tmp_path / "shop" / "LICENSE").read_text() == "mine\n"


def test_what_was_begun_is_taken_back(tmp_path, monkeypatch):
    """Interrupted, it leaves nothing: not the folder either."""
    real, written = Path.write_text, []

    def interrupted(path, *args, **kwargs):
        written.append(path)
        if len(written) == 4:
            raise KeyboardInterrupt
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", interrupted)

    with pytest.raises(KeyboardInterrupt):
        new_plugin("geohash", "strategy", tmp_path / "new" / "geohash")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    """A file where a folder should be."""
    (tmp_path / "shop").write_text("")

    with pytest.raises(UsageError, match=r"the files cannot be written: (Not a directory|File exists)"):
        new_project(tmp_path / "shop")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(["init"], "error: init: init needs one folder.", id="no-folder"),
        pytest.param(["init", "a", "b"], "error: init: init needs one folder.", id="two-folders"),
        pytest.param(["init", "9 lives"], "error: init: '9 lives' cannot name a project.", id="no-name"),
        pytest.param(
            ["init", "--plugin", "Geo Hash"], "error: --plugin: 'Geo Hash' cannot name a plugin.", id="plugin"
        ),
        pytest.param(
            ["init", "--plugin", "column"],
            "error: --plugin: 'column' is a name of mmeframe's own.\n  Write what is particular",
            id="plugin-of-ours",
        ),
        pytest.param(
            ["init", "--plugin", "mmeframe-loader", "--kind", "loader"],
            "error: --plugin: 'mmeframe-loader' is a name of mmeframe's own.",
            id="plugin-of-a-class-of-ours",
        ),
        pytest.param(
            ["init", "--plugin", "geohash", "--kind", "stratgy"],
            "error: --kind: there is no kind 'stratgy' of component.\n  Did you mean 'strategy'? Kinds:",
            id="kind",
        ),
        pytest.param(["init", "shop", "--kind", "loader"], "error: --kind: only a plugin has a kind.", id="kind-alone"),
        pytest.param(["build", "--plugin", "x"], "error: build takes no --plugin.", id="another-command"),
        pytest.param(["init", "shop", "--data", "x.csv"], "error: init takes no --data.", id="another-flag"),
    ],
)
def test_a_command_line_that_cannot_be(run, tmp_path, monkeypatch, argv, said):
    """Exit 2, nothing is written."""
    monkeypatch.chdir(tmp_path)

    done = run(*argv)

    assert done.code == 2
    assert done.err.startswith(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["geohash", "mmeframe-geohash", "geo_hash", "geo-hash2"])
def test_names_of_packages(tmp_path, name):
    """However it is written, the distribution, the package and the component follow from the name."""
    made = new_plugin(name, "strategy", tmp_path / "it")

    short = name.removeprefix("mmeframe-").replace("_", "-")
    assert f'name = "mmeframe-{short}"' in (tmp_path / "it" / "pyproject.toml").read_text()
    assert tmp_path / "it" / f"mmeframe_{short.replace('-', '_')}" / "plugin.py" in made


def test_templates_have_no_loose_ends(tmp_path):
    """No brace of Jinja stays, and every Python file compiles."""
    for kind in KINDS:
        for path in new_plugin("loose-ends", kind, tmp_path / kind):
            text = path.read_text()
            assert "{{" not in text, path
            assert "jinja" not in path.name
            if path.suffix == ".py":
                compile(text, str(path), "exec")
