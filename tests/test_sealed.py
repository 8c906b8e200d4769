"""One digest covers all that decides in a router's artifact, and is compared before code of the artifact runs."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from mmeframe import api
from mmeframe.bundle import Bundle, Manifest, artifact
from mmeframe.cli import main
from mmeframe.errors import CorruptBundleError, MissingError, MmeframeError
from tests import fleets
from tests.conftest import Store

ROWS = fleets.rows(6)[["x1", "x2"]]
REQUEST = ROWS.assign(key=["a", "b"] * 3)
DECIDES = ("code/mmeframe.zip", "entrypoint.py", "MLmodel")


@pytest.fixture(scope="module")
def logged(module_store: Store, keep: Callable[..., str]) -> Any:
    models = [
        f"+models.{key}.uri={keep(Ridge().fit(ROWS, np.arange(6) * scale), ROWS, np.zeros(6))}"
        for key, scale in (("a", 1.0), ("b", -1.0))
    ]
    return api.build(
        "name=sealed", "routing=column", "routing.column=key", *models, module_store.override, plugins=fleets.plugins()
    )


@pytest.fixture(scope="module")
def expected(logged: Any, module_store: Store) -> list[float]:
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)
    answer: list[float] = router.predict(REQUEST).tolist()
    return answer


@pytest.fixture(scope="module")
def original(logged: Any, module_store: Store) -> Path:
    """The model folder as it was built."""
    with fleets.active(module_store.uri):
        return Path(mlflow.artifacts.download_artifacts(logged.model_uri))


@pytest.fixture
def copied(original: Path, tmp_path: Path) -> Path:
    """A copy of the model folder, to do with as one likes."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def edit_zip(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change one file in an archive, and what the archive says of itself."""
    with zipfile.ZipFile(path) as archive:
        files = {info: archive.read(info) for info in archive.infolist()}
        comment = archive.comment
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = comment
        for info, data in files.items():
            archive.writestr(info, change(data) if info.filename == name else data)


MARK = b"\nimport pathlib; pathlib.Path(__file__).parents[4].joinpath('ran').touch()\n"


def in_code(root: Path) -> None:
    edit_zip(root / artifact.CODE, "mmeframe/imports.py", lambda data: data + MARK)


def in_routing(root: Path) -> None:
    edit_zip(root / artifact.CODE, "mmeframe/route/table.py", lambda data: data.replace(b"return", b"return "))


def in_entrypoint(root: Path) -> None:
    path = root / "entrypoint.py"
    path.write_bytes(b"import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n" + path.read_bytes())


def without_code(root: Path) -> None:
    (root / artifact.CODE).unlink()


def in_config(root: Path) -> None:
    path = root / "MLmodel"
    described = yaml.safe_load(path.read_text())
    described["flavors"]["python_function"]["config"]["disabled_models"] = "a"
    path.write_text(yaml.safe_dump(described))


def in_loader(root: Path) -> None:
    path = root / "MLmodel"
    path.write_text(path.read_text().replace("mlflow.pyfunc.loaders.code_model", "own_loader"))
    (root / "code" / "own_loader.py").write_text("raise SystemExit('foreign')\n")


def in_signature(root: Path) -> None:
    path = root / "MLmodel"
    path.write_text(path.read_text().replace('"type": "double", "name": "prediction"', '"type": "long", "name": "p"'))


def beside_code(root: Path) -> None:
    """MLflow puts the folder on the path, before the libraries that a sub-model is yet to import."""
    (root / "code" / "skops").mkdir()
    (root / "code" / "skops" / "__init__.py").write_text(
        "import pathlib; pathlib.Path(__file__).parents[2].joinpath('ran').touch()\n"
    )


CHANGES = [in_code, in_routing, in_entrypoint, without_code, in_config, in_loader, in_signature, beside_code]


@pytest.mark.parametrize("change", CHANGES, ids=lambda it: it.__name__)
def test_nothing_of_a_changed_router_runs(copied, change):
    """Commands compare before they import anything of it, and name the file."""
    change(copied)

    with pytest.raises((CorruptBundleError, MissingError)) as caught:
        api.load_router(str(copied))

    assert any(name in str(caught.value) for name in (*DECIDES, "code/skops"))
    assert not (copied / "ran").exists()


@pytest.mark.parametrize(
    "change", [in_code, in_routing, without_code, in_config, in_signature, beside_code], ids=lambda it: it.__name__
)
def test_plain_mlflow_refuses_it_too(copied, change):
    """But for the entrypoint and what MLflow imports before that, which nobody else can look at."""
    change(copied)

    with pytest.raises(Exception) as caught:
        mlflow.pyfunc.load_model(str(copied))

    assert any(name in str(caught.value) for name in (*DECIDES, "'skops' was not in it"))
    assert not (copied / "ran").exists()


def other(value: Any) -> Any:
    return not value if isinstance(value, bool) else {"a": 1} if not isinstance(value, dict) else {**value, "a": 1}


def test_of_mlmodel_all_is_covered_but_what_tells_of_its_making(copied):
    """Also what MLflow may write there, and heed, one day."""
    path, manifest = copied / "MLmodel", Manifest.read(copied / artifact.BUNDLE)
    described = yaml.safe_load(path.read_text())
    names = [*described, "of_a_later_mlflow"]
    free = set()
    for name in names:
        path.write_text(yaml.safe_dump({**described, name: other(described.get(name))}))
        with contextlib.suppress(CorruptBundleError):
            artifact.check(copied, manifest, strict=True)
            free.add(name)

    made = {"artifact_path", "model_id", "model_size_bytes", "model_uuid", "run_id", "utc_time_created"}
    assert free == {*made, "metadata"} & described.keys()


def foreign_bytecode(path: Path) -> Path:
    """What Python takes for the bytecode of a file, and is of other source."""
    facts = path.stat()
    code = compile(MARK.replace(b"[4]", b"[0]") + path.read_bytes(), str(path), "exec")
    cached = Path(cache_from_source(str(path)))
    cached.parent.mkdir()
    data = importlib.import_module("importlib._bootstrap_external")._code_to_timestamp_pyc(
        code, int(facts.st_mtime), facts.st_size
    )
    cached.write_bytes(data)
    return cached


def test_bytecode_beside_the_entrypoint_never_runs(copied, expected, monkeypatch):
    """Python believes it by the size and time of a file that was compared. Commands leave none, either."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    cached = foreign_bytecode(copied / "entrypoint.py")

    assert api.load_router(str(copied)).predict(REQUEST).tolist() == expected

    assert not (copied / "ran").exists()
    assert not cached.parent.exists()


def test_what_validate_says_holds_for_bytecode_too(copied, expected):
    """Whoever follows SECURITY.md serves the folder with plain MLflow afterwards."""
    foreign_bytecode(copied / "entrypoint.py")

    assert main(["validate", f"model={copied}"]) == 0

    assert mlflow.pyfunc.load_model(str(copied)).predict(REQUEST).tolist() == expected
    assert not (copied / "ran").exists()


def test_bytecode_that_cannot_be_removed():
    """A store may be somebody else's: its router is refused until they have removed it."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "__pycache__").mkdir()
        (root / "__pycache__" / "entrypoint.cpython-311.pyc").touch()
        for folder in (root / "__pycache__", root):
            folder.chmod(0o555)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(MmeframeError, match=r"may differ from entrypoint\.py, and cannot be removed"):
                artifact.forget_bytecode(root)
        finally:
            os.seteuid(user)
            for folder in (root, root / "__pycache__"):
                folder.chmod(0o755)
        artifact.forget_bytecode(root)
        assert not list(root.iterdir())


@pytest.mark.parametrize("name", ["requirements.txt", "conda.yaml", "python_env.yaml"])
def test_other_requirements(copied, logged, expected, name, monkeypatch, caplog):
    """MLflow's own command edits them, so that is told; where a digest is expected, nothing may differ."""
    with (copied / name).open("a") as file:
        file.write("# added\n")

    router = api.load_router(str(copied))

    assert router.predict(REQUEST).tolist() == expected
    assert f"{copied / name} is not the one that was built" in caplog.text
    monkeypatch.setenv("MMEFRAME_EXPECT_DIGEST", logged.digest)
    with pytest.raises(CorruptBundleError, match=name):
        api.load_router(str(copied))
    with pytest.raises(CorruptBundleError, match=name):
        mlflow.pyfunc.load_model(str(copied))


def test_whoever_seals_it_again_has_another_digest(copied, logged, monkeypatch):
    """All of it can be made anew but for the digest, which is compared with one from elsewhere."""
    in_code(copied)
    other = artifact.seal(copied)
    monkeypatch.setenv("MMEFRAME_EXPECT_DIGEST", logged.digest)

    for load in (api.load_router, mlflow.pyfunc.load_model):
        with pytest.raises(Exception, match=f"{logged.digest}.*{other}"):
            load(str(copied))
    assert not (copied / "ran").exists()


def test_the_store_names_the_digest(logged, module_store, original, tmp_path):
    """Files that were replaced in the store are not those that it knows."""
    kept = shutil.copytree(original, tmp_path / "kept")
    try:
        in_routing(original)
        other = artifact.seal(original)
        with pytest.raises(CorruptBundleError, match=f"another digest.*{logged.digest}.*{other}"):
            api.load_router(logged.model_uri, tracking_uri=module_store.uri)
    finally:
        shutil.rmtree(original)
        shutil.copytree(kept, original)


@pytest.mark.parametrize("expect", ["", " ", "abc", "0" * 64, "DIGEST "])
def test_an_expectation_is_met_or_refused(copied, logged, expect, monkeypatch):
    """An empty one, as of a variable that was forgotten, is no expectation that anything meets."""
    monkeypatch.setenv("MMEFRAME_EXPECT_DIGEST", expect.replace("DIGEST", logged.digest))

    for load in (api.load_router, mlflow.pyfunc.load_model):
        with pytest.raises(Exception, match="MMEFRAME_EXPECT_DIGEST"):
            load(str(copied))


def test_the_expected_one_is_loaded(copied, logged, expected, monkeypatch):
    monkeypatch.setenv("MMEFRAME_EXPECT_DIGEST", logged.digest)

    assert api.load_router(str(copied)).predict(REQUEST).tolist() == expected
    assert mlflow.pyfunc.load_model(str(copied)).predict(REQUEST).tolist() == expected


def test_what_is_covered(original, logged):
    """The manifest has the digest of each file that decides, and the store that of the manifest."""
    manifest = Bundle(original / artifact.BUNDLE).manifest

    assert set(manifest.artifact) == {*DECIDES, "requirements.txt", "conda.yaml", "python_env.yaml"}
    assert all(manifest.artifact.values())
    assert manifest.digest == logged.digest


_SERVED = """
import sys, json
import mlflow.pyfunc, pandas as pd
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame(json.loads(sys.argv[2]))).tolist()))
"""


@pytest.fixture(scope="module")
def files(original: Path) -> list[str]:
    return sorted(str(path.relative_to(original)) for path in original.rglob("*") if path.is_file())


@pytest.mark.process
def test_it_runs_where_nothing_else_is(copied, expected, tmp_path):
    """Its code is used there after it was compared; a changed one never is."""
    environment = {**os.environ, "PYTHONPATH": ""}
    command = [sys.executable, "-c", _SERVED, str(copied), json.dumps(REQUEST.to_dict("list"))]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert json.loads(done.stdout) == expected

    in_code(copied)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.returncode == 1
    assert "was changed or damaged after the build" in done.stderr
    assert not (copied / "ran").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damaged_byte(original, files, expected, tmp_path, data):
    """Whichever file it is in: the answers are right, or there are none."""
    name = data.draw(st.sampled_from(files))
    root = tmp_path / "damaged"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(original, root)
    raw = bytearray((root / name).read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    (root / name).write_bytes(raw)

    try:
        found = api.load_router(str(root)).predict(REQUEST).tolist()
    except Exception:
        return
    assert found == expected
