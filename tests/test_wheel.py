"""The wheel: what ``pip install`` gives works away from the checkout, with the configs inside."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.causes import causes

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
@causes("process")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_every_config(wheel):
    """conf/ of the repository is mmeframe/conf of the wheel, file by file."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name.removeprefix("mmeframe/") for name in archive.namelist() if name.startswith("mmeframe/conf/")}

    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*") if path.suffix in (".yaml", ".py")}
    assert shipped == own


def test_an_installed_wheel_composes(wheel, tmp_path):
    """Installed elsewhere and run from another folder, it finds its own configs."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(tmp_path / "site"), str(wheel)], check=True, capture_output=True)
    code = "from mmeframe import api, config; print(config.conf_dir(), api.compose('experiment=flights').name)"

    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )

    assert ran.stdout.split() == [str(tmp_path / "site" / "mmeframe" / "conf"), "flights"], ran.stderr
