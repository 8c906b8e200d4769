"""A sub-model's files: unpacked once, whole, inside their folder, where nobody else can write."""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib
import importlib.resources
import importlib.util
import inspect
import io
import os
import pkgutil
import py_compile
import re
import shutil
import subprocess
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mmeframe.bundle import PACK, Bundle, BundleWriter, FileRef, Manifest, SubModelRecord
from mmeframe.cache import digests_in, work_folder
from mmeframe.errors import CorruptBundleError, MmeframeError, ModelError
from mmeframe.plugin import LoaderConf, ModelLoader
from mmeframe.runtime import files as module
from mmeframe.runtime.files import BundleFiles, add_code, load_record, unpack
from mmeframe.worker import Worker

CONTENT = {"model.pkl": b"model", "code/shop_of_test_files/__init__.py": b"OPEN = True\n", "data/a b/empty": b""}


def ref(path: str, data: bytes = b"model") -> FileRef:
    return FileRef(path, hashlib.sha256(data).digest())


REFS = tuple(ref(path, data) for path, data in CONTENT.items())


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with the bytes of CONTENT."""
    with BundleWriter(tmp_path / "bundle") as writer:
        for data in CONTENT.values():
            writer.add(data)
        writer.finish(Manifest(name="r"), ())
    return Bundle(tmp_path / "bundle")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / f"mmeframe-{os.getuid()}"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- unpacking -----------------------------------------------------------------------------------------------------


def test_unpack(bundle, cache):
    """All files are there, in their folders, with their bytes, inside the cache folder."""
    folder = unpack(bundle, "models", REFS)

    assert (content(folder), folder.parent) == (CONTENT, cache / "models")


def test_equal_files_are_unpacked_once(bundle, cache):
    """The same files, in whatever order, are one folder; nothing is written again."""
    folder = unpack(bundle, "models", REFS)
    before = (folder / "model.pkl").stat()

    again = unpack(bundle, "models", REFS[::-1])

    after = (again / "model.pkl").stat()
    assert (again, after.st_ino, after.st_mtime_ns) == (folder, before.st_ino, before.st_mtime_ns)
    assert os.listdir(cache / "models") == [folder.name]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([ref("model.pkl", b"")], id="content"),
        pytest.param([ref("model2.pkl")], id="name"),
        pytest.param([ref("model.pkl"), ref("x")], id="one-more"),
    ],
)
def test_other_files_are_another_folder(bundle, cache, other):
    """A folder is named by its paths and its content, so that no version meets the files of another."""
    assert unpack(bundle, "models", [ref("model.pkl")]) != unpack(bundle, "models", other)


def test_kinds_are_apart(bundle, cache):
    """Code and models have folders of their own."""
    assert unpack(bundle, "code", REFS).parent != unpack(bundle, "models", REFS).parent


@pytest.mark.parametrize(
    "path",
    ["../evil", "a/../../evil", "a/b/../../../evil", "..", ".", "", "{outside}/evil"],
    ids=["up", "down-and-up", "far-up", "parent", "itself", "empty", "absolute"],
)
def test_a_path_outside_the_folder(bundle, cache, tmp_path, path):
    """A bundle cannot write outside its folder, and leaves nothing behind."""
    path = path.format(outside=tmp_path)

    with pytest.raises(MmeframeError) as caught:
        unpack(bundle, "models", [ref("a/ok"), ref(path)])

    assert str(caught.value) == f"the bundle names a file outside its folder: {path!r}."
    assert (list(tmp_path.rglob("evil")), os.listdir(cache / "models")) == ([], [])


def link(tmp_path: Path) -> str:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    return str(tmp_path / "link")


@pytest.mark.parametrize(
    "choose",
    [
        pytest.param(link, id="a-link"),
        pytest.param(lambda _: "cache", id="relative"),
        pytest.param(lambda folder: f"{folder}/x/../cache", id="with-dots"),
    ],
)
def test_any_cache_folder_of_the_users(bundle, tmp_path, monkeypatch, choose):
    """A cache folder behind a link, as /tmp often is, or a relative one, works like any other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", choose(tmp_path))

    assert content(unpack(bundle, "models", REFS)) == CONTENT


def test_the_unpacked_folder_survives_a_change_of_directory(bundle, tmp_path, monkeypatch):
    """The path is absolute: it goes on sys.path, and servers change their directory."""
    monkeypatch.setenv("MMEFRAME_CACHE_DIR", str(tmp_path / "cache"))

    assert unpack(bundle, "models", REFS).is_absolute()


def change(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"other")


def remove(folder: Path) -> None:
    (folder / "model.pkl").unlink()


def remove_half(folder: Path) -> None:
    shutil.rmtree(folder / "code")


def plant_bytecode(folder: Path) -> None:
    (folder / "code/shop_of_test_files/__pycache__").mkdir()
    (folder / "code/shop_of_test_files/__pycache__/__init__.cpython-311.pyc").write_bytes(b"")


def plant_a_module(folder: Path) -> None:
    (folder / "code/statistics.py").write_text("")


def link_a_file(folder: Path) -> None:
    (folder / "model.pkl").rename(folder.parent / "same")
    (folder / "model.pkl").symlink_to(folder.parent / "same")


def link_a_folder(folder: Path) -> None:
    (folder / "code").rename(folder.parent / "same")
    (folder / "code").symlink_to(folder.parent / "same")


def link_all(folder: Path) -> None:
    folder.rename(folder.parent / "same")
    folder.symlink_to(folder.parent / "same")


def a_file_instead(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


HARMS = [
    change,
    remove,
    remove_half,
    plant_bytecode,
    plant_a_module,
    link_a_file,
    link_a_folder,
    link_all,
    a_file_instead,
]


@pytest.mark.parametrize("harm", HARMS)
def test_an_unpacked_folder_is_verified_again(bundle, cache, harm):
    """A folder that somebody cleaned, changed or put something into is made again, from the bundle's bytes."""
    folder = unpack(bundle, "models", REFS)
    harm(folder)

    again = unpack(bundle, "models", REFS)

    assert (again, digests_in(again)) == (folder, {it.path: it.sha256 for it in REFS})
    assert {path.name for path in folder.parent.iterdir()} <= {folder.name, "same"}


def test_damage_leaves_nothing_behind(bundle, cache, tmp_path):
    """A folder appears whole or not at all: damaged bytes leave no half of it."""
    pack = tmp_path / "bundle" / PACK
    data = bytearray(pack.read_bytes())
    data[data.index(b"model")] ^= 1
    pack.write_bytes(data)

    with pytest.raises(CorruptBundleError):
        unpack(Bundle(tmp_path / "bundle"), "models", REFS)

    assert os.listdir(cache / "models") == []


class Together:
    """A bundle that hands out bytes only when all threads ask for them: every thread is then in the middle."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.bundle, self.barrier = bundle, threading.Barrier(threads, timeout=30)

    def blob(self, sha256: bytes) -> memoryview:
        self.barrier.wait()
        return self.bundle.blob(sha256)


@pytest.mark.parametrize("harm", [None, change, plant_bytecode, link_all])
def test_parallel_unpacking(bundle, cache, harm):
    """Threads that unpack the same files at once get one whole folder, and no work folder stays."""
    if harm is not None:
        harm(unpack(bundle, "models", REFS))
        shutil.rmtree(cache / "models" / "same", ignore_errors=True)
    together = Together(bundle, 4)

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: unpack(together, "models", REFS), range(4)))

    assert [content(folder) for folder in folders] == [CONTENT]
    assert os.listdir(cache / "models") == [folder.name for folder in folders]


def test_a_folder_that_cannot_be_put_in_place(bundle, cache, monkeypatch):
    """A failure that is not another process's success is not hidden."""

    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "rename", refuse)

    with pytest.raises(MmeframeError) as caught:
        unpack(bundle, "models", REFS)

    assert (type(caught.value.__cause__), os.listdir(cache / "models")) == (PermissionError, [])


UNPACK = """
import resource, signal, sys
from mmeframe.bundle import Bundle, FileRef
from mmeframe.runtime.files import unpack

bundle = Bundle(sys.argv[1])
if len(sys.argv) > 2:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
unpack(bundle, "models", [FileRef("model.bin", bundle._digests[0].tobytes())])
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A bundle with one blob that takes a while to write."""
    with BundleWriter(tmp_path / "large") as writer:
        writer.add(bytes(64 << 20))
        writer.finish(Manifest(name="r"), ())
    return tmp_path / "large"


def killed_while_unpacking(large: Path, cache: Path) -> list[Path]:
    """Kill -9 a process in the middle of unpacking; what it leaves."""
    for _ in range(20):
        shutil.rmtree(cache, ignore_errors=True)
        process = subprocess.Popen([sys.executable, "-c", UNPACK, str(large)])
        while process.poll() is None and not list(cache.glob("models/.unpacking-*/new/model.bin")):
            pass
        process.kill()
        process.wait()
        if left := list(cache.glob("models/.*")):
            return left
    raise AssertionError("it was never caught in the middle")


@pytest.mark.process
def test_a_process_that_is_killed_while_it_unpacks(large, cache):
    """The next one makes the folder whole, and removes what was left; who is still at it is left alone."""
    left = killed_while_unpacking(large, cache)
    bundle = Bundle(large)
    refs = [FileRef("model.bin", bundle._digests[0].tobytes())]

    with work_folder("models", ".unpacking-") as other:
        assert [path.exists() for path in left] == [False]
        folder = unpack(bundle, "models", refs)
        assert sorted((cache / "models").iterdir()) == sorted([other, folder])

    assert (list((cache / "models").iterdir()), (folder / "model.bin").stat().st_size) == ([folder], 64 << 20)


@pytest.mark.process
def test_a_cache_folder_that_is_full(large, cache):
    """Told with the place and what to do, and nothing stays. The kernel refuses a larger file, as a full disk does."""
    done = subprocess.run(
        [sys.executable, "-c", UNPACK, str(large), str(1 << 20)], capture_output=True, text=True, check=False
    )

    assert done.stderr.endswith(
        f"MmeframeError: {cache / 'models'}: the cache folder does not take the sub-model's files: File too large.\n"
        "  Free space there, or set MMEFRAME_CACHE_DIR to a folder on another disk.\n"
    )
    assert list((cache / "models").iterdir()) == []


# -- what a loader sees --------------------------------------------------------------------------------------------


@pytest.fixture
def record() -> SubModelRecord:
    numbers = {"loader": 0, "inputs": 0, "outputs": 0, "requirements": 0, "bytes": 5, "memory": 90}
    return SubModelRecord(
        "berlin", "models:/b/1", None, None, None, "main", {}, "sklearn", {"a": 1}, **numbers, files=REFS
    )


def test_what_a_loader_sees(bundle, record):
    """A loader gets the id, the flavor with its options and the names of the files."""
    files = BundleFiles(bundle, record)

    assert (files.id, files.flavor, files.options, list(files.names)) == ("berlin", "sklearn", {"a": 1}, list(CONTENT))


@pytest.mark.parametrize("name", CONTENT)
def test_read(bundle, record, name):
    """A file is read without unpacking anything."""
    assert bytes(BundleFiles(bundle, record).read(name)) == CONTENT[name]


def test_read_a_file_that_was_not_kept(bundle, record):
    """The sub-model and the file are named."""
    with pytest.raises(MmeframeError) as caught:
        BundleFiles(bundle, record).read("conda.yaml")

    assert str(caught.value) == "berlin: the bundle keeps no file 'conda.yaml' of it."


def test_folder(bundle, record, cache):
    """Libraries that need a real folder get one with all files."""
    assert content(BundleFiles(bundle, record).folder()) == CONTENT


# -- code that a sub-model ships -----------------------------------------------------------------------------------


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return sys.path


@pytest.mark.process
def test_shipped_code_can_be_imported(bundle, record, cache, paths):
    """The folder below code/ is put on the path, and its modules are found there."""
    add_code(bundle, record)

    code = "import shop_of_test_files; print(shop_of_test_files.OPEN)"
    env = {**os.environ, "PYTHONPATH": paths[0]}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_shipped_code_is_put_on_the_path_once(bundle, record, cache, paths):
    """A thousand sub-models with equal code add one entry."""
    before = len(paths)

    for _ in range(3):
        add_code(bundle, record)

    assert len(paths) == before + 1


def test_a_sub_model_without_code(bundle, cache, paths):
    """Nothing is put on the path, and nothing unpacked."""
    before = list(paths)
    bare = SubModelRecord(
        "b", "models:/b/1", None, None, None, "main", {}, "sklearn", {}, 0, 0, 0, 0, 5, 90, (REFS[0],)
    )

    add_code(bundle, bare)

    assert (paths, cache.exists()) == (before, False)


@pytest.fixture
def ship(tmp_path, cache, paths) -> Iterator[Callable[[Mapping[str, str | bytes]], Path]]:
    """Make these files of a sub-model importable: path in code/ -> content; where they lie then."""
    before = set(sys.modules)

    def ship(files: Mapping[str, str | bytes]) -> Path:
        content = {path: it.encode() if isinstance(it, str) else it for path, it in files.items()}
        with BundleWriter(tmp_path / "shipped") as writer:
            for data in content.values():
                writer.add(data)
            writer.finish(Manifest(name="r"), ())
        refs = tuple(ref(f"code/{path}", data) for path, data in content.items())
        facts = ("m", "", None, None, None, "main", {}, "", {}, 0, 0, 0, 0, 5, 90, refs)
        add_code(Bundle(tmp_path / "shipped"), SubModelRecord(*facts))
        return Path(paths[0])

    yield ship
    for name in set(sys.modules) - before:
        if name.startswith("zz_"):
            del sys.modules[name]


def foreign(source: Path) -> Path:
    """Bytecode of something else, where Python looks for that of a source, so that it does not compare the two."""
    path = Path(importlib.util.cache_from_source(str(source)))
    path.parent.mkdir(exist_ok=True)
    other = source.parent.parent / "other.py"
    other.write_text("IS = 'foreign'")
    py_compile.compile(str(other), str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return path


def test_bytecode_is_neither_read_nor_written(ship, monkeypatch):
    """Also what appears after the folder was verified: a source is what is run, in packages, too."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    home = ship({"zz_one.py": "IS = 1", "zz_pack/__init__.py": "IS = 2", "zz_pack/in_it.py": "IS = 3"})
    planted = [foreign(home / name) for name in ("zz_one.py", "zz_pack/__init__.py")]

    found = [importlib.import_module(name).IS for name in ("zz_one", "zz_pack", "zz_pack.in_it")]

    assert (found, sorted(home.rglob("*.pyc"))) == ([1, 2, 3], sorted(planted))


@pytest.mark.parametrize(
    "path", ["zz_planted.py", "zz_planted/__init__.py", "zz_planted.pyc", "zz_planted.so", "zz_pack/planted.py"]
)
def test_what_is_not_listed_is_not_there(ship, path):
    """A module that appears beside those of a sub-model, after they were verified, cannot be imported."""
    home = ship({"zz_pack/__init__.py": ""})
    (home / path).parent.mkdir(exist_ok=True)
    (home / path).write_text("raise SystemExit")
    importlib.invalidate_caches()

    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(re.sub(r"(/__init__)?\.[a-z]+$", "", path).replace("/", "."))


def test_a_standard_module_cannot_be_planted(ship):
    """Python looks into the folder first, and finds what is listed there only."""
    home = ship({"zz_one.py": ""})
    (home / "antigravity.py").write_text("")
    importlib.invalidate_caches()

    assert str(home) not in str(importlib.util.find_spec("antigravity").origin)


@pytest.mark.parametrize("path", ["zz_one.py", "zz_pack/__init__.py", "zz_pack/in_it.py"])
def test_a_module_that_was_changed_is_not_run(ship, path):
    """Between unpacking and importing: the file and both digests are named, by no error that code would catch."""
    home = ship({"zz_one.py": "", "zz_pack/__init__.py": "", "zz_pack/in_it.py": ""})
    (home / path).write_text("raise SystemExit")

    with pytest.raises(CorruptBundleError) as caught:
        importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))

    before, after = (hashlib.sha256(it).hexdigest() for it in (b"", b"raise SystemExit"))
    assert str(caught.value) == (
        f"{home / path}: its digest does not match: expected sha256 {before}, found {after}.\n"
        "  It was changed after it was verified. Start a new process: it unpacks the folder again."
    )


def test_shipped_packages_are_packages(ship):
    """Their modules and data are found as ever: namespaces, relative imports, resources, lists of modules, sources."""
    home = ship(
        {
            "zz_space/one.py": "from .two import IS",
            "zz_space/two.py": "IS = 2",
            "zz_pack/__init__.py": "from . import a\nIS = a.IS",
            "zz_pack/a.py": "import pkgutil\nIS = pkgutil.get_data('zz_pack', 'rates.csv')",
            "zz_pack/rates.csv": "1.5",
        }
    )
    package = importlib.import_module("zz_pack")

    assert importlib.import_module("zz_space.one").IS == 2
    assert package.IS == importlib.resources.files(package).joinpath("rates.csv").read_bytes() == b"1.5"
    assert [it.name for it in pkgutil.iter_modules(package.__path__)] == ["a"]
    assert (package.a.__file__, "get_data" in inspect.getsource(package.a)) == (str(home / "zz_pack" / "a.py"), True)


def compiled(folder: Path) -> tuple[str, bytes]:
    (folder / "zz_byte.py").write_text("def escape(text): return text")
    return "zz_byte.pyc", Path(py_compile.compile(str(folder / "zz_byte.py"), str(folder / "zz_byte.pyc"))).read_bytes()


def extension(folder: Path) -> tuple[str, bytes]:
    origin = Path(importlib.util.find_spec("markupsafe._speedups").origin)
    return f"zz_native/{origin.name}", origin.read_bytes()


@pytest.mark.parametrize("make", [compiled, extension])
def test_modules_without_a_source(ship, tmp_path, make):
    """Shipped as bytecode, or compiled: they are verified as sources are."""
    path, data = make(tmp_path)
    home = ship({path: data})
    module = path.split(".")[0].replace("/", ".")

    (home / path).write_bytes(data + b"x")
    with pytest.raises(CorruptBundleError, match=re.escape(path)):
        importlib.import_module(module)
    (home / path).write_bytes(data)

    assert importlib.import_module(module).__spec__.origin == str(home / path)


def test_an_archive_among_the_files(ship, tmp_path):
    """Modules inside of it are Python's to import: the archive is one file, which was verified."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("zz_in_archive/__init__.py", "IS = 5")
    home = ship({"inner/lib.zip": (tmp_path / "a.zip").read_bytes()})
    sys.path.insert(0, str(home / "inner" / "lib.zip"))

    assert importlib.import_module("zz_in_archive").IS == 5


@pytest.mark.parametrize("path", ["statistics.py", "antigravity.py", "json/__init__.py", "this.pyc"])
def test_code_with_the_name_of_a_standard_module(ship, paths, path):
    """Whether it is imported already or not: it would hide that one from everybody."""
    before, name = list(paths), path.removesuffix("/__init__.py").split(".")[0]

    with pytest.raises(ModelError) as caught:
        ship({"zz_one.py": "", path: ""})

    assert str(caught.value) == (
        f"m: it ships a module {name!r}, which is the name of one of Python's standard library: everything in the "
        "process would get the wrong one.\n  Rename the module."
    )
    assert paths == before


def test_a_part_of_a_namespace_hides_nothing(ship):
    """A folder without __init__ loses to a module of that name: it may be called as one of Python's."""
    ship({"zipapp/zz_part.py": "", "zz_one.py": ""})

    assert callable(importlib.import_module("zipapp").create_archive)


@pytest.mark.process
def test_workers_do_not_get_the_folders_on_their_path(ship):
    """What a worker imports of a sub-model is put on its path, and verified, there."""
    home = ship({"zz_one.py": ""})

    worker = Worker()
    there = worker.run(eval, "__import__('sys').path")
    worker.close()

    assert str(home) in sys.path
    assert str(home) not in there


# -- loading -------------------------------------------------------------------------------------------------------


class Arrays(ModelLoader):
    """An array, read by numpy; or whatever error a test wants."""

    tries = 0
    error: BaseException | None = None

    def load(self, files):
        self.tries += 1
        if self.error is not None:
            raise self.error
        return np.load(io.BytesIO(bytes(files.read("model.npy"))))


@pytest.fixture
def array(tmp_path):
    """A bundle with one array, and its record."""
    buffer = io.BytesIO()
    np.save(buffer, np.arange(5.0))
    with BundleWriter(tmp_path / "array") as writer:
        writer.add(buffer.getvalue())
        writer.finish(Manifest(name="r"), ())
    refs = (ref("model.npy", buffer.getvalue()),)
    record = SubModelRecord("a", "", None, None, None, "main", {}, "", {}, 0, 0, 0, 0, 5, 90, refs)
    return Bundle(tmp_path / "array"), record


@pytest.fixture
def beside(monkeypatch):
    """While numpy parses a header, another thread parses, too; and ends before."""
    others = []

    def parse(phase, info):
        names = {frame.name for frame in traceback.extract_stack()}
        if not others and "literal_eval" in names:
            others.append(threading.Thread(target=ast.literal_eval, args=("[1, (2, 3)]",)))
            others[0].start()
            others[0].join()

    before = gc.get_threshold()
    gc.callbacks.append(parse)
    gc.set_threshold(1)
    yield others
    gc.set_threshold(*before)
    gc.callbacks.remove(parse)


def test_two_threads_that_parse_at_once(array, beside):
    """Python 3.11 fails one of them, though nothing is wrong; the sub-model is loaded all the same."""
    loader = Arrays(LoaderConf())

    assert load_record(*array, loader).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len(beside) == 1
    assert loader.tries == (2 if sys.version_info < (3, 12) else 1)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        pytest.param(SystemError("AST constructor recursion depth mismatch (before=9, after=8)"), 5, id="for-ever"),
        pytest.param(SystemError("another"), 1, id="another"),
        pytest.param(ValueError("recursion depth mismatch"), 1, id="of-another-type"),
    ],
)
def test_errors_that_stay(array, error, tries):
    """What is wrong is raised."""
    loader = Arrays(LoaderConf())
    loader.error = error

    with pytest.raises(type(error), match=re.escape(str(error))):
        load_record(*array, loader)

    assert loader.tries == tries


def test_the_public_names():
    """What other modules may import is listed."""
    assert sorted(module.__all__) == [
        "BundleFiles",
        "add_code",
        "load_record",
        "shipped_code",
        "unpack",
    ]
