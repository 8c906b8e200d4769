"""Copies of routers stay what was downloaded, and nothing outside of a sub-model's folder is read."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from mmeframe import api
from mmeframe.bundle import Bundle
from mmeframe.cache import cache_folder, digests_in
from mmeframe.errors import MmeframeError, ProblemsError
from mmeframe.store import routers
from mmeframe.store.store import using_store
from mmeframe.testing.stores import LocalStore as Store
from tests import fleets

ROWS = fleets.rows(8)[["x1", "x2"]]
CONFIG = ("name=r", "routing=column", "routing.column=who", "routing.levels=[[]]")


def model(folder: Path) -> str:
    return f"+models.m={{uri:{folder},key:{{}}}}"


# -- copies of routers -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def away(module_store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a router whose files are downloaded: an artifact of a run."""
    saved = fleets.keep(module_store.folder, fleets.fitted(0), ROWS)
    with fleets.inside(module_store.folder):
        logged = api.build(*CONFIG, model(Path(saved)), "tracking.register_as=away", module_store.override)
        with using_store(module_store.uri) as store:
            folder = routers.fetch(store, logged.model_uri)
            store.client.log_artifacts(logged.run_id, str(folder), "copy")
    return f"runs:/{logged.run_id}/copy"


@pytest.fixture
def fetch(away: str, module_store: Store) -> Callable[[], Path]:
    def fetch() -> Path:
        with fleets.inside(module_store.folder), using_store(module_store.uri) as store:
            return routers.fetch(store, away)

    return fetch


def bundle_of(folder: Path) -> Path:
    return folder / "artifacts" / "bundle"


def change_the_entrypoint(folder: Path) -> None:
    (folder / "entrypoint.py").write_text("raise SystemExit")


def cut_the_pack(folder: Path) -> None:
    os.truncate(bundle_of(folder) / "pack.bin", 100)


def change_the_code(folder: Path) -> None:
    (folder / "code" / "mmeframe.zip").write_bytes(b"")


def plant_bytecode(folder: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "entrypoint.cpython-311.pyc").write_bytes(b"")


def link(folder: Path) -> None:
    shutil.copy(bundle_of(folder) / "pack.bin", folder.parent.parent / "same")
    (bundle_of(folder) / "pack.bin").unlink()
    (bundle_of(folder) / "pack.bin").symlink_to(folder.parent.parent / "same")


def clean_half(folder: Path) -> None:
    shutil.rmtree(bundle_of(folder))


def clean_all_files(folder: Path) -> None:
    for path in [path for path in folder.parent.rglob("*") if path.is_file()]:
        path.unlink()


HARMS = [
    change_the_entrypoint,
    cut_the_pack,
    change_the_code,
    plant_bytecode,
    link,
    clean_half,
    clean_all_files,
    shutil.rmtree,
]


def test_a_copy_is_made_once(fetch):
    """A second command finds what the first one has downloaded."""
    before = fetch().stat().st_ino

    assert fetch().stat().st_ino == before


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_copy_is_made_anew(fetch, harm):
    """Whatever became of it: the next command has what was logged."""
    folder = fetch()
    expected = digests_in(folder)
    harm(folder)

    again = fetch()

    assert (again, digests_in(again), len(expected)) == (folder, expected, len(digests_in(again)))
    Bundle(bundle_of(again)).verify()


FETCH = """
import sys
from mmeframe.store import routers
from mmeframe.store.store import using_store
with using_store(sys.argv[1]) as store:
    routers.verified(store, sys.argv[2])
"""


@pytest.mark.process
def test_several_processes_mend_a_copy_at_once(fetch, away, module_store):
    """Each ends with the whole router, and nothing stays beside it."""
    folder = fetch()
    expected = digests_in(folder)
    clean_half(folder)

    command = [sys.executable, "-c", FETCH, module_store.uri, away]
    processes = [subprocess.Popen(command, cwd=module_store.folder) for _ in range(3)]

    assert [process.wait() for process in processes] == [0, 0, 0]
    assert digests_in(folder) == expected
    assert os.listdir(cache_folder() / "routers") == [folder.parent.name]


def test_a_disk_that_takes_no_copy(fetch, tmp_path, monkeypatch):
    """The place and the cure are named."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "file" / "cache"))

    with pytest.raises(MmeframeError, match=r"cache: the cache folder takes no files: Not a directory\.\n  Free space"):
        fetch()


# -- a sub-model's own folder ----------------------------------------------------------------------------------------


@pytest.fixture
def own(store: Store, tmp_path: Path) -> Path:
    """A sub-model in a folder of its own, with a module, beside something that is none of its files."""
    (tmp_path / "zz_own.py").write_text("IS = 'own'")
    saved = fleets.keep(store.folder, fleets.fitted(0), ROWS, code_paths=[str(tmp_path / "zz_own.py")])
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    folder = tmp_path / "models" / "m"
    shutil.copytree(saved, folder)
    return folder


def move_out(folder: Path, name: str) -> None:
    outside = folder.parent.parent / "outside" / Path(name).name
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)


@pytest.mark.parametrize("name", ["MLmodel", "model.pkl", "requirements.txt", "code/zz_own.py", "code"])
@pytest.mark.parametrize("source", [False, True], ids=["entry", "folder-source"])
def test_a_link_out_of_the_folder(own, name, source):
    """It is named with where it leads, whatever it is, and however the model is found."""
    move_out(own, name)
    found = ("+source@sources.s=folder", f"sources.s.path={own.parent}", 'sources.s.pattern="{who}"')
    overrides = (*CONFIG[:3], *found) if source else (*CONFIG, model(own))

    with pytest.raises(ProblemsError) as caught:
        api.validate(*overrides)

    assert str(caught.value) == (
        f"models.m: its link {name!r} leads out of its folder, to {own.parent.parent / 'outside' / Path(name).name}.\n"
        "  Put a copy of that into the folder."
    )


@pytest.mark.parametrize(
    "target", ["{outside}", "{outside}/secret", "../../outside", "..", "/proc/self/environ", "{outside}/gone"]
)
def test_a_link_that_nobody_asked_for(own, tmp_path, target):
    """Whatever its name, and also to nothing: the loader of a folder may read all of it."""
    (own / "extra").symlink_to(target.format(outside=tmp_path / "outside"))

    with pytest.raises(ProblemsError, match=r"models\.m: its link 'extra' leads out of its folder, to "):
        api.build(*CONFIG, model(own))


@pytest.mark.build
def test_links_inside_the_folder(own):
    """They are what they lead to, in files and in folders, also in circles; and so is the folder itself."""
    (own / "model.pkl").rename(own / "model_v2.pkl")
    (own / "model.pkl").symlink_to("model_v2.pkl")
    (own / "code").rename(own / "lib")
    (own / "code").symlink_to(own / "lib")
    for name in ("a", "b", "c"):
        (own / name).symlink_to(".")
    linked = own.parent / "by_link"
    linked.symlink_to(own)

    uri = api.build(*CONFIG, model(linked)).model_uri

    assert api.load_router(uri).predict(ROWS.assign(who="x")).tolist() == fleets.fitted(0).predict(ROWS).tolist()


@pytest.mark.parametrize("name", ["../../outside/secret", "/etc/hostname", "gone", "code/../../other/model.pkl"])
def test_a_description_that_names_a_file_outside(own, tmp_path, name):
    """What a model is made of lies in its folder."""
    text = (own / "MLmodel").read_text()
    (own / "MLmodel").write_text(text.replace(": model.pkl", f": {name}"))

    with pytest.raises(ProblemsError, match=rf"models\.m: {re.escape(str(own))} has no file "):
        api.build(*CONFIG, model(own))


def foreign(source: Path) -> Path:
    """Bytecode of something else, where Python looks for that of a source, so that it does not compare the two."""
    path = Path(importlib.util.cache_from_source(str(source)))
    path.parent.mkdir()
    other = source.parent.parent / "other.py"
    other.write_text("IS = 'foreign'")
    py_compile.compile(str(other), str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    other.unlink()
    return path


MODEL = """
import mlflow
from mlflow.pyfunc import PythonModel
class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        import zz_own
        assert zz_own.IS == "own", zz_own.IS
        return model_input["x1"]
mlflow.models.set_model(Model())
"""


@pytest.fixture
def from_code(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model from code that imports its module when it predicts."""
    (tmp_path / "zz_own.py").write_text("IS = 'own'")
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    mlflow.pyfunc.save_model(
        str(tmp_path / "m"),
        python_model=str(tmp_path / "model.py"),
        code_paths=[str(tmp_path / "zz_own.py")],
        signature=mlflow.models.infer_signature(ROWS, ROWS["x1"]),
        pip_requirements=fleets.pins(),
    )
    sys.path.remove(str(tmp_path))
    shutil.rmtree(tmp_path / "m" / "code" / "__pycache__", ignore_errors=True)
    sys.modules.pop("zz_own", None)
    yield tmp_path / "m"
    sys.modules.pop("zz_own", None)


@pytest.mark.build
@pytest.mark.parametrize("isolation", ["shared", "process"])
def test_a_build_runs_sources_and_leaves_the_folder_alone(from_code, monkeypatch, isolation):
    """Bytecode beside them is not what is built in; nor is any written there, or where the router unpacks them."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    planted = foreign(from_code / "code" / "zz_own.py")

    router = api.load_router(api.build(*CONFIG, model(from_code), f"isolation={isolation}").model_uri)

    assert router.predict(ROWS.assign(who="x")).tolist() == ROWS["x1"].tolist()
    assert list(from_code.rglob("*.pyc")) == [planted]
    unpacked = {path.name for path in cache_folder().rglob("*") if path.is_file()}
    assert ("model.py" in unpacked, [name for name in unpacked if name.endswith(".pyc")]) == (True, [])
    router.close()


@pytest.mark.parametrize("isolation", ["shared", "process"])
@pytest.mark.parametrize("path", ["statistics.py", "json/__init__.py"])
def test_a_module_that_hides_a_standard_one(own, isolation, path):
    """It is told before anything is loaded, and in whichever process that would be."""
    (own / "code" / path).parent.mkdir(exist_ok=True)
    (own / "code" / path).write_text("raise SystemExit")
    name = path.removesuffix("/__init__.py").removesuffix(".py")

    with pytest.raises(ProblemsError) as caught:
        api.build(*CONFIG, model(own), f"isolation={isolation}")

    assert str(caught.value) == (
        f"models.m: it ships a module {name!r}, which is the name of one of Python's standard library: everything in "
        "the process would get the wrong one.\n  Rename the module."
    )
