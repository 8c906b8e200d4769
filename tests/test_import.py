"""What is imported when: nothing heavy before it is needed, and nothing of Hydra where a router is served."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmeframe.fleet.embed import embedded_files, write_archive

HEAVY = ("mlflow", "pandas", "sklearn", "hydra", "omegaconf", "pydantic", "numpy")


def imported(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after ``code``."""
    report = "import sys; sys.stderr.write('MODULES ' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "absent"),
    [
        pytest.param("import mmeframe", (*HEAVY, "pluggy", "rich"), id="package"),
        pytest.param("import mmeframe.cli", (*HEAVY, "pluggy", "rich"), id="cli"),
        pytest.param(
            "from mmeframe.cli import main; assert main(['--help']) == 0", (*HEAVY, "pluggy", "rich"), id="help"
        ),
        pytest.param(
            "from mmeframe.cli import main; assert main(['--version']) == 0", (*HEAVY, "pluggy", "rich"), id="version"
        ),
        pytest.param(
            "from mmeframe.cli import main; assert main(['validte']) == 2",
            (*HEAVY, "pluggy", "rich"),
            id="unknown-command",
        ),
        pytest.param(
            "from mmeframe.cli import main; assert main(['plugins']) == 0",
            ("mlflow", "pandas", "sklearn", "hydra", "omegaconf"),
            id="plugins",
        ),
        pytest.param(
            "from mmeframe.cli import main; assert main(['validate', 'serve.prt=1']) == 2",
            ("mlflow", "pandas", "sklearn"),
            id="config-that-is-wrong",
        ),
        pytest.param("import mmeframe.spec, mmeframe.worker.process", ("pydantic", "mlflow", "pandas"), id="worker"),
        pytest.param("import mmeframe.api", ("mlflow", "pandas", "sklearn"), id="api"),
        pytest.param(
            "import mmeframe.plugin", ("mlflow", "pandas", "sklearn", "hydra", "omegaconf", "pluggy"), id="plugin-api"
        ),
        pytest.param(
            "import mmeframe.plugin.components", ("mlflow", "pandas", "hydra", "omegaconf", "pluggy"), id="components"
        ),
        pytest.param("import mmeframe.runtime", ("hydra", "omegaconf", "pluggy", "mlflow"), id="runtime"),
        pytest.param("import mmeframe.runtime.pythonmodel", ("hydra", "omegaconf", "pluggy"), id="python-model"),
        pytest.param(
            "import mmeframe.builtin.plugin", ("mlflow", "pandas", "sklearn", "hydra", "omegaconf"), id="built-ins"
        ),
        pytest.param(
            "import mmeframe.builtin.column, mmeframe.builtin.datepart, mmeframe.builtin.param",
            ("mlflow", "pandas", "sklearn", "hydra", "omegaconf", "pluggy"),
            id="strategies",
        ),
        pytest.param(
            "import mmeframe.bundle", ("mlflow", "pandas", "sklearn", "hydra", "omegaconf", "pluggy"), id="bundle"
        ),
        pytest.param("import mmeframe.config", ("mlflow", "pandas", "sklearn", "hydra", "omegaconf"), id="config"),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code, absent):
    """A fresh interpreter has none of these modules afterwards."""
    assert imported(code) & set(absent) == set()


@pytest.mark.process
def test_a_function_of_the_api_is_imported_on_use():
    """``mmeframe.compose`` and its like are there without an import of mmeframe.api."""
    assert "pydantic" not in imported("import mmeframe")
    assert "pydantic" in imported("import mmeframe; mmeframe.compose")


def test_an_unknown_attribute_is_an_attribute_error():
    """The package's lazy attributes answer a misspelling as a module does."""
    import mmeframe

    with pytest.raises(AttributeError, match="module 'mmeframe' has no attribute 'compse'"):
        mmeframe.compse  # noqa: B018


def test_every_public_name_exists():
    """What ``__all__`` lists can be had."""
    import mmeframe

    assert [name for name in mmeframe.__all__ if getattr(mmeframe, name, None) is None] == []


@pytest.mark.process
def test_running_the_module_is_the_command():
    """``python -m mmeframe`` is ``mmeframe``."""
    done = subprocess.run([sys.executable, "-m", "mmeframe", "--version"], capture_output=True, text=True, check=True)

    import mmeframe

    assert done.stdout == f"{mmeframe.__version__}\n"


@pytest.mark.process
def test_the_copy_in_a_router_says_why_it_has_no_api(tmp_path):
    """A router's archive stands first where mmeframe was not in use before, and has only what serving needs."""
    archive = tmp_path / "mmeframe.zip"
    write_archive(archive, embedded_files({}, ()))
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r}); import mmeframe\n"
        "for ask in ('from mmeframe import api', 'from mmeframe import build', 'mmeframe.explain'):\n"
        "    try: exec(ask)\n"
        "    except ImportError as error: print(error)\n"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    hint = "  Use it in another process, or build the router again with the mmeframe that is installed.\n"
    assert said == "".join(
        f"this mmeframe is the copy inside a router that was loaded, and has no {name!r}.\n{hint}"
        for name in ("api", "build", "explain")
    )
