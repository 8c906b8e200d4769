"""What a router carries is what runs: its plugins, its mmeframe, the modules of its sub-models; or it says why not."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import pickle
import py_compile
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mmeframe
from mmeframe import api
from mmeframe.bundle import Bundle, BundleWriter, FileRef, Manifest, SubModelRecord
from mmeframe.bundle.artifact import seal
from mmeframe.errors import BuildError, MmeframeError, ModelError, PluginError, ProblemsError
from mmeframe.fleet.embed import embedded_files, write_archive
from mmeframe.imports import from_router, modules_of, rival_of, same_here, version_of
from mmeframe.plugin.manager import PluginInfo
from mmeframe.runtime.files import add_code
from mmeframe.store import routers
from tests import fleets
from tests.fleet.test_embed import ALIKE, DIFFERENT

PLUGIN = """
from dataclasses import dataclass
from mmeframe.plugin import MISSING, RoutingInputs, RoutingStrategy, RoutingStrategyPlugin, StrategyConf, hookimpl

@dataclass
class Conf(StrategyConf):
    column: str = MISSING

class Sign(RoutingStrategy[Conf]):
    def inputs(self):
        return RoutingInputs({self.conf.column: "double"})
    def route_keys(self, batch, params):
        return ["plus" if value THAN 0 else "minus" for value in batch.column(self.conf.column)]

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("sign", Conf, __name__ + ":Sign", "plus or minus")]
"""
# Two versions of one plugin, which send every row to another sub-model.
FIRST, SECOND = PLUGIN.replace("THAN", ">"), PLUGIN.replace("THAN", "<")
ROWS = pd.DataFrame({"x1": [1.0, -1.0], "x2": [0.0, 0.0]})


def forget(name: str) -> None:
    """As in a process that has not imported it."""
    sys.modules.pop(name, None)
    importlib.invalidate_caches()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder on the path, where a plugin is installed."""
    home = tmp_path / "site"
    home.mkdir()
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield home
    forget("sign_plugin")


@pytest.fixture
def install(home) -> Callable[[str | None], None]:
    """Install a version of the plugin in place of the one that is there; None for none."""

    def install(source: str | None) -> None:
        forget("sign_plugin")
        if source is None:
            (home / "sign_plugin.py").unlink()
        else:
            (home / "sign_plugin.py").write_text(source)

    return install


CONFIG = (
    "routing=sign",
    "routing.column=x1",
    "+models.plus={uri:'models:/day_0/1',key:{x1:plus}}",
    "+models.minus={uri:'models:/day_1/1',key:{x1:minus}}",
)


def _as_wheel(home: Path) -> None:
    with zipfile.ZipFile(home / "sign_plugin-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("sign_plugin.py", FIRST)
    sys.path.insert(0, str(home / "sign_plugin-1.0-py3-none-any.whl"))


def _as_bytecode(home: Path) -> None:
    (home / "sign_plugin.py").write_text(FIRST)
    py_compile.compile(str(home / "sign_plugin.py"), str(home / "sign_plugin.pyc"))
    (home / "sign_plugin.py").unlink()


@pytest.mark.build
@pytest.mark.parametrize(
    ("put", "what"),
    [
        pytest.param(
            _as_wheel,
            "has no files of its module 'sign_plugin', as in an archive, which cannot be embedded.",
            id="wheel",
        ),
        pytest.param(_as_bytecode, "has compiled modules (sign_plugin.pyc), which cannot be embedded.", id="bytecode"),
    ],
)
def test_a_plugin_that_no_archive_can_hold(week, home, put, what):
    """It lies in an archive of its own, which is no router's, or is compiled: found by a plan, too, with the cure."""
    put(home)
    forget("sign_plugin")

    with pytest.raises(BuildError) as caught, fleets.inside(week.folder):
        api.build("name=held", *CONFIG, week.override, plugins=["sign_plugin"])

    assert caught.value.where == "environment.indexed"
    assert what in caught.value.what
    assert not from_router("sign_plugin")
    assert version_of("sign_plugin", "sign-plugin") is None


@pytest.fixture(scope="module")
def logged(week, tmp_path_factory) -> dict[str, str]:
    """URIs of two routers: each carries its own version of one plugin."""
    home, found = tmp_path_factory.mktemp("plugin"), {}
    sys.path.insert(0, str(home))
    for name, source in (("first", FIRST), ("second", SECOND)):
        (home / "sign_plugin.py").write_text(source)
        forget("sign_plugin")
        with fleets.inside(week.folder):
            made = api.build(f"name=sign_{name}", *CONFIG, week.override, plugins=["sign_plugin"])
        found[name] = made.model_uri
    sys.path.remove(str(home))
    forget("sign_plugin")
    return found


def load(week: Any, uri: str) -> Any:
    return api.load_router(uri, tracking_uri=week.uri)


def ids(router: Any) -> list[str]:
    return list(router.predict(ROWS, {"annotate": True})["model_id"])


# -- plugins ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("here", [FIRST, SECOND, None], ids=["the-same", "another", "none"])
def test_what_is_installed_does_not_matter(logged, week, install, here):
    """The archive's code answers, whatever is installed; nothing of it stays on the path."""
    install(FIRST)
    install(here)

    router = load(week, logged["first"])

    assert ids(router) == ["plus", "minus"]
    assert ("mmeframe.zip" in str(sys.modules["sign_plugin"].__file__)) == (here != FIRST)
    assert not [place for place in sys.path if "mmeframe.zip" in place]


def test_a_plugin_that_was_imported_before(logged, week, install):
    """The same code is used; other code of that name makes the router refuse, naming both and the cure."""
    install(FIRST)
    importlib.import_module("sign_plugin")
    assert ids(load(week, logged["first"])) == ["plus", "minus"]

    with pytest.raises(PluginError) as caught:
        load(week, logged["second"])

    assert caught.value.what == (
        "this router carries sign_plugin, and this process has imported other code of that name from "
        f"{sys.modules['sign_plugin'].__file__}."
    )
    assert caught.value.hint == (
        "Load it in a process that has not imported sign_plugin; or build the router again with what is installed."
    )


def test_two_routers_of_one_process(logged, week, install):
    """The second refuses in whichever order, and the first goes on with its own code."""
    install(FIRST)
    install(None)
    for one, two, expected in (("first", "second", ["plus", "minus"]), ("second", "first", ["minus", "plus"])):
        forget("sign_plugin")
        router = load(week, logged[one])

        with pytest.raises(PluginError, match=r"has imported other code of that name from .*mmeframe\.zip"):
            load(week, logged[two])

        assert ids(router) == expected


@pytest.mark.build
def test_a_router_in_a_router(logged, week, install):
    """What the inner one carries is held against this process, too, when the outer one is built."""
    columns = "{inputs:{x1:double,x2:double},outputs:double}"
    inner = f"+models.inner={{uri:'{logged['first']}',key:{{}},signature:{columns}}}"
    routing = ("routing=column", "routing.column=who", "routing.levels=[[]]")
    build = ("name=outer", *routing, inner, week.override)
    rows = ROWS.assign(who="a")
    install(SECOND)
    with fleets.inside(week.folder):
        uri = api.build(*build).model_uri
    answers = load(week, uri).predict(rows).tolist()
    assert answers == load(week, logged["first"]).predict(ROWS).tolist()

    install(SECOND)
    importlib.import_module("sign_plugin")

    with pytest.raises(MmeframeError, match="carries sign_plugin, and this process has imported other code"):
        load(week, uri).predict(rows)


def ids_there(sent: bytes) -> list[str]:
    """Runs in another process."""
    return ids(pickle.loads(sent))


def test_a_router_that_is_sent_to_another_process(logged, week, install):
    """It opens the same archive there, though the plugin is not installed, or another version of it is."""
    install(SECOND)
    sent = pickle.dumps(load(week, logged["first"]))

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(ids_there, (sent,)) == ["plus", "minus"]


def test_a_build_after_a_router_was_loaded(logged, week, install):
    """It does not log the code of that router as what is installed: the plugin cannot be used in this process."""
    install(SECOND)
    load(week, logged["first"])

    with pytest.raises(PluginError, match="this process has imported the sign_plugin that a router carries"):
        api.validate("name=late", *CONFIG, week.override, plugins=["sign_plugin"])


def test_a_plan_tells_other_code(logged, week, install, run):
    """plan and show name the plugin, though no version changed; without a change there is no difference."""
    words = ["-p", "sign_plugin", "name=sign_first", *CONFIG, week.override]
    install(FIRST)
    assert run("plan", *words).lines[-1] == "no difference"

    install(SECOND)
    assert run("plan", *words).lines[-1] == "code: sign_plugin: a module -> a module with other code"
    shown = run("show", f"model={logged['first']}", week.override).lines
    assert "differs sign_plugin a module; here: a module with other code" in shown
    install(None)
    shown = run("show", f"model={logged['first']}", week.override).lines
    assert "differs sign_plugin a module; here: (not installed)" in shown


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        pytest.param("0.3.1", None, id="the-same"),
        pytest.param("0.4.0", {"name": "mmeframe", "from": "0.4.0", "to": mmeframe.__version__}, id="another"),
    ],
)
def test_a_plan_tells_another_mmeframe(logged, week, mine, said):
    """Its version is compared, and its code."""
    from mmeframe.fleet.embed import code_changes

    manifest = replace(Bundle(api_folder(week, logged["first"]) / "artifacts" / "bundle").manifest, plugins={})
    manifest = replace(manifest, mmeframe=mine) if said else manifest

    assert [it.to_json() for it in code_changes(manifest, {})] == ([said] if said else [])
    changed = replace(manifest, mmeframe=mmeframe.__version__, code={"mmeframe": "0" * 64})
    other = {"name": "mmeframe", "from": mmeframe.__version__, "to": f"{mmeframe.__version__} with other code"}
    assert [it.to_json() for it in code_changes(changed, {})] == [other]


def api_folder(week: Any, uri: str) -> Path:
    from mmeframe.store.store import using_store

    with using_store(week.uri) as store:
        return routers.fetch(store, uri)


@pytest.mark.build
def test_options_that_another_version_has_recorded(week, tmp_path):
    """The component, both versions and the cure are named, not a library's error."""
    with fleets.inside(week.folder):
        models = "+models.a={uri:'models:/day_0/1'}"
        config = ("name=options", "routing=column", "routing.column=dow", models, week.override)
        uri = api.build(*config).model_uri
    folder = tmp_path / "model"
    shutil.copytree(api_folder(week, uri), folder)
    bundle = folder / "artifacts" / "bundle"
    manifest = fleets.with_strategy(Bundle(bundle).manifest, options={"column": "dow", "shape": "round"})
    replace(manifest, mmeframe="0.7.0").write(bundle)

    with pytest.raises(PluginError) as caught:
        api.load_router(str(folder))

    assert str(caught.value) == (
        f"column: the router was logged with mmeframe 0.7.0, and mmeframe {mmeframe.__version__} does not take an "
        "option of it: shape: Unexpected keyword argument.\n  pip install mmeframe==0.7.0, or build the router again."
    )


# -- any package -----------------------------------------------------------------------------------------------------

_NAME = st.sampled_from(["a", "b", "c_d", "e9"])
_FILES = st.dictionaries(
    st.builds(lambda folders, name: "/".join([*folders, f"{name}.py"]), st.lists(_NAME, max_size=2), _NAME),
    st.binary(max_size=8),
    max_size=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=_FILES, change=st.sampled_from(["nothing", "content", "missing", "moved"]), data=st.data())
def test_any_package_is_the_same_or_not(tmp_path_factory, files, change, data):
    """A package is the archive's own exactly if every file of the archive is in it, with the same bytes."""
    home = tmp_path_factory.mktemp("home")
    files = {"__init__.py": b"", **files}
    for name, content in files.items():
        path = home / "any_package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sys.path.insert(0, str(home))
    try:
        importlib.invalidate_caches()
        archive = home / "code.zip"
        write_archive(archive, embedded_files({"any_package": PluginInfo("any", "any_package")}, ["mmeframe"]))
        path = home / "any_package" / data.draw(st.sampled_from(sorted(files)))
        if change == "content":
            path.write_bytes(path.read_bytes() + b"\n")
        elif change == "missing":
            path.unlink()
        elif change == "moved":
            path.rename(path.with_name(f"moved_{path.name}"))

        assert same_here(archive, "any_package") == (change == "nothing")
    finally:
        sys.path.remove(str(home))
        sys.path_importer_cache.pop(str(home), None)


# -- mmeframe itself ---------------------------------------------------------------------------------------------

_PLAIN = """
import sys
BEFORE
import mlflow
router = mlflow.pyfunc.load_model(sys.argv[1])
import mmeframe, pandas as pd
rows = pd.DataFrame({"x1": [1.0, -1.0], "x2": [0.0, 0.0]})
print(mmeframe.__version__, "mmeframe.zip" in mmeframe.__file__)
print(router.predict(rows, params={"annotate": True})["model_id"].tolist())
"""


@pytest.fixture(scope="module")
def other_mmeframe(tmp_path_factory) -> Path:
    """A folder with an mmeframe of another version."""
    home = tmp_path_factory.mktemp("other")
    shutil.copytree(Path(mmeframe.__file__).parent, home / "mmeframe")
    init = home / "mmeframe" / "_version.py"
    init.write_text(init.read_text().replace(f'"{mmeframe.__version__}"', '"0.0.9"'))
    return home


@pytest.mark.process
@pytest.mark.parametrize("before", ["pass", "import mmeframe"], ids=["not-imported", "imported"])
def test_another_mmeframe_is_installed(logged, week, other_mmeframe, before):
    """The archive's answers where none is imported yet; else the router refuses, naming both versions and a cure."""
    environment = {**os.environ, "PYTHONPATH": str(other_mmeframe), "MLFLOW_TRACKING_URI": week.uri}
    code = _PLAIN.replace("BEFORE", before)

    done = subprocess.run(
        [sys.executable, "-c", code, logged["first"]],
        env=environment,
        cwd=other_mmeframe,
        capture_output=True,
        text=True,
        check=False,
    )

    if before == "pass":
        assert done.stdout.splitlines() == [f"{mmeframe.__version__} True", "['plus', 'minus']"]
    else:
        place = other_mmeframe / "mmeframe" / "__init__.py"
        assert (
            f"this router carries mmeframe {mmeframe.__version__}, and this process has imported mmeframe 0.0.9 from "
            f"{place}.\n  Load it in a process that has not imported mmeframe; or serve it: mmeframe serve, and mlflow "
            f"models serve, use what it carries; or pip install mmeframe=={mmeframe.__version__}; or build the router "
            "again with what is installed." in done.stderr
        )


@pytest.mark.process
@pytest.mark.build
def test_a_build_by_other_code_reuses_nothing(week, tmp_path, run):
    """Of one version: what it keeps of a sub-model may be another thing now. plan says so, and it does not load."""
    config = ("name=by_two", "routing=column", "routing.column=dow", "+models.a={uri:'models:/day_0/1',key:{dow:0}}")
    build = (*config, week.override)
    with fleets.inside(week.folder):
        api.build(*build)
        assert api.build(*build).unchanged == 1
    home = Path(mmeframe.__file__).parents[1]
    for part in ("mmeframe", "conf"):
        shutil.copytree(home / part, tmp_path / part)
    with (tmp_path / "mmeframe" / "budget.py").open("a") as opened:
        opened.write("# changed\n")

    done = subprocess.run(
        [sys.executable, "-m", "mmeframe", "build", *build, "--json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=week.folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    logged = json.loads(done.stdout)
    assert logged["unchanged"] == 0
    version = mmeframe.__version__
    assert f"code: mmeframe: {version} -> {version} with other code" in run("plan", *build).lines[-2].strip()
    with pytest.raises(PluginError, match="has imported other code of that name and version from"):
        load(week, logged["model_uri"])


def test_commands_say_it_in_their_own_words(logged, week, run, tmp_path):
    """MLflow wraps what the entrypoint raises; commands show what it says. Those that read files only do their work."""
    (tmp_path / "rows.csv").write_text("x1,x2\n1,0\n")
    changed = tmp_path / "model"
    shutil.copytree(api_folder(week, logged["first"]), changed)
    archive = changed / "code" / "mmeframe.zip"
    with zipfile.ZipFile(archive, "a") as opened:
        facts = opened.comment.decode().replace(f'"version": "{mmeframe.__version__}"', '"version": "0.0.9"')
        opened.comment = facts.encode()
        opened.writestr("mmeframe/more.py", "")
    seal(changed)

    predicted = run("predict", f"model={changed}", f"data={tmp_path / 'rows.csv'}")
    shown = run("show", f"model={changed}")

    assert predicted.code == 1
    assert predicted.err.startswith(
        f"error: this router carries mmeframe 0.0.9, and this process has imported mmeframe {mmeframe.__version__} "
    )
    assert shown.code == 0


# -- modules of sub-models -----------------------------------------------------------------------------------------


@pytest.fixture
def paths(monkeypatch, tmp_path) -> Iterator[list[str]]:
    """sys.path, restored; so are the modules that a test imports."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield sys.path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    importlib.invalidate_caches()


def shipping(folder: Path, name: str, files: dict[str, str]) -> tuple[Bundle, SubModelRecord]:
    """A router's bundle, and its one sub-model that ships these files."""
    with BundleWriter(folder / name) as writer:
        refs = tuple(FileRef(f"code/{path}", writer.add(text.encode())) for path, text in files.items())
        writer.finish(Manifest(name=name), ())
    record = SubModelRecord("m", "", None, None, None, "main", {}, "", {}, 0, 0, 0, 0, 5, 90, refs)
    return Bundle(folder / name), record


@pytest.mark.parametrize(("one", "two"), ALIKE.values(), ids=ALIKE)
def test_code_of_two_routers_that_may_share_a_process(tmp_path, paths, one, two):
    """As within one router: equal modules are one, others have other names."""
    for name, files in (("one", one), ("two", two)):
        add_code(*shipping(tmp_path, name, files))
        assert {path: (Path(sys.path[0]) / path).read_text() for path in files} == files


@pytest.mark.parametrize(("one", "two", "what"), DIFFERENT.values(), ids=DIFFERENT)
def test_code_of_two_routers_that_may_not(tmp_path, paths, one, two, what):
    """Both are named before the second imports anything: the first may not have imported its own module yet."""
    add_code(*shipping(tmp_path, "one", one))
    before = list(sys.path)

    with pytest.raises(ModelError) as caught:
        add_code(*shipping(tmp_path, "two", two))

    module = what.split()[0]
    assert str(caught.value) == (
        f"m: it ships a module {module}, and this process has other code of that name, from sub-model 'm' of the "
        "router 'one'.\n  One process can import only one of them. Build one of the routers with isolation=process, "
        "load them in processes of their own, or rename the module."
    )
    assert sys.path == before


@pytest.mark.parametrize(("one", "two"), ALIKE.values(), ids=ALIKE)
def test_code_that_is_imported_and_alike(tmp_path, paths, one, two):
    """What plain MLflow, or the user, has imported from elsewhere is used where it is the same."""
    import_all(tmp_path / "elsewhere", one)

    add_code(*shipping(tmp_path, "two", two))

    assert {path: (Path(sys.path[0]) / path).read_text() for path in two} == two


@pytest.mark.parametrize(("one", "two", "what"), DIFFERENT.values(), ids=DIFFERENT)
def test_code_that_is_imported_and_differs(tmp_path, paths, one, two, what):
    """It is refused, naming where the other came from."""
    import_all(tmp_path / "elsewhere", one)

    with pytest.raises(ModelError, match=r"this process has other code of that name, from (.*elsewhere|an unknown)"):
        add_code(*shipping(tmp_path, "two", two))


def import_all(home: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
    sys.path.insert(0, str(home))
    importlib.invalidate_caches()
    hashes = {path: hashlib.sha256(text.encode()).digest() for path, text in files.items()}
    for module in modules_of(hashes):
        # A text such as "A" is no program; and a module hides the folder of its name.
        with contextlib.suppress(NameError, ModuleNotFoundError):
            spec = importlib.util.find_spec(module)
            sys.modules[module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[module])


def test_a_module_that_was_made_by_hand(tmp_path, paths, monkeypatch):
    """Nobody knows what it is made of, so it is other code."""
    monkeypatch.setitem(sys.modules, "by_hand", type(sys)("by_hand"))

    assert rival_of({"by_hand": {"by_hand.py": b""}}) == ("by_hand", "an unknown place")


HELPER = "def factor(): return {}"
MODEL = """
import mlflow
from mlflow.pyfunc import PythonModel
class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        from late_helper import factor
        return model_input["x1"] * factor()
mlflow.models.set_model(Model())
"""


@pytest.mark.process
@pytest.mark.build
def test_two_routers_with_one_helper_of_two_contents(module_store, tmp_path, paths):
    """Imported late, in predict: the second router refuses, in a process of its own it answers with its own code."""
    rows, uris = ROWS.assign(who="m"), {}
    for name, factor in (("two", 2), ("three", 3)):
        home = tmp_path / name
        home.mkdir()
        (home / "late_helper.py").write_text(HELPER.format(factor))
        (home / "model.py").write_text(MODEL)
        sys.path.insert(0, str(home))
        mlflow.pyfunc.save_model(
            str(home / "saved"),
            python_model=str(home / "model.py"),
            code_paths=[str(home / "late_helper.py")],
            signature=mlflow.models.infer_signature(rows, rows["x1"]),
            pip_requirements=fleets.pins(),
        )
        sys.path.remove(str(home))
    models = {name: f"+models.m={{uri:{tmp_path / name / 'saved'},key:{{}}}}" for name in ("two", "three")}
    config = ("routing=column", "routing.column=who", "routing.levels=[[]]", module_store.override)
    with fleets.inside(module_store.folder):
        uris["two"] = api.build("name=two", models["two"], *config).model_uri
        with pytest.raises(ProblemsError, match=r"models\.m: it ships a module 'late_helper', and this process has"):
            api.build("name=three", models["three"], *config)
        apart = api.build("name=apart", models["three"], "isolation=process", *config).model_uri
        # As a process would find it that has built nothing.
        forget("late_helper")
        sys.path[:] = [place for place in sys.path if "/mmeframe-" not in place]
        uris["three"] = api.build("name=three", models["three"], *config).model_uri
    forget("late_helper")
    sys.path[:] = [place for place in sys.path if "/mmeframe-" not in place]

    first = load(module_store, uris["two"])
    second = load(module_store, apart)

    assert first.predict(rows).tolist() == [2.0, -2.0]
    assert second.predict(rows).tolist() == [3.0, -3.0]
    copied = pickle.loads(pickle.dumps(second))
    assert copied.predict(rows).tolist() == [3.0, -3.0]
    copied.close()
    with pytest.raises(ModelError, match=r"from sub-model 'm' of the router 'two'"):
        load(module_store, uris["three"]).predict(rows)
    second.close()


@pytest.mark.build
def test_a_plugin_that_was_edited_after_a_build(week, install):
    """What this process runs is what it has imported: a build that would log the edited file says so."""
    install(FIRST)
    with fleets.inside(week.folder):
        build = ("name=edited", *CONFIG, week.override)
        uri = api.build(*build, plugins=["sign_plugin"]).model_uri
        Path(sys.modules["sign_plugin"].__file__).write_text(SECOND)

        with pytest.raises(PluginError, match="this process has imported other code of that name"):
            api.build(*build, plugins=["sign_plugin"])

    assert ids(load(week, uri)) == ["plus", "minus"]
