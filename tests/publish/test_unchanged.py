"""Same fleet, same bytes; and a build that changes nothing registers nothing."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from sklearn.ensemble import RandomForestClassifier

from mmeframe import api
from mmeframe.fleet import embed
from tests import fleets
from tests.conftest import Store

pytestmark = pytest.mark.build

ROUTED = ("routing=column", "routing.column=key", "routing.levels=[[key],[]]")
ROWS = fleets.rows(60)
Build = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Bare files a, b, everyone, and a table."""
    home = tmp_path / "files"
    home.mkdir()
    for seed, key in enumerate(("a", "b", "everyone")):
        (home / f"{key}.pkl").write_bytes(pickle.dumps(fleets.fitted(seed)))
    return home


@pytest.fixture
def config(folder: Path, module_store: Store, request: pytest.FixtureRequest) -> list[str]:
    name = "".join(letter for letter in request.node.name if letter.isalnum())
    models = [f"+models.{key}.uri={folder}/{key}.pkl" for key in ("a", "b")]
    everyone = f"+models.everyone={{uri:'{folder}/everyone.pkl',key:{{}}}}"
    return [f"name={name}", *ROUTED, *models, everyone, module_store.override]


@pytest.fixture
def build(config: list[str]) -> Build:
    return lambda *overrides: api.build(*config, *overrides, plugins=fleets.plugins())


@pytest.fixture
def versions(config: list[str], module_store: Store) -> Callable[[], tuple[list[str], dict[str, str]]]:
    """Numbers of the registered versions, newest first, and the aliases."""

    def found() -> tuple[list[str], dict[str, str]]:
        client = mlflow.MlflowClient(module_store.uri)
        name = config[0].removeprefix("name=")
        numbers = [str(version.version) for version in client.search_model_versions(f"name = '{name}'")]
        return sorted(numbers, reverse=True), {
            alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()
        }

    return found


# -- same fleet, same bytes --------------------------------------------------------------------------------------------

_BUILD = """
import sys
from mmeframe import api
logged = api.build(*sys.argv[1:])
print(logged.digest, logged.model_id)
"""


@pytest.mark.process
def test_two_processes_write_the_same_bytes(keep, config, module_store, tmp_path):
    """Whatever order sets and addresses have in a process; only what is measured may differ."""
    classes = RandomForestClassifier(5, random_state=0).fit(ROWS[["x1", "x2"]], ROWS["dow"].map(str))
    path = keep(classes, ROWS[["x1", "x2"]])
    config = [line for line in config if "models." not in line]
    config += [f"+models.{key}={{uri:'{path}',key:{{key:{key}}}}}" for key in ("c", "e")]
    config += [f"+models.all={{uri:'{path}',key:{{}}}}", f"+models.d={{uri:'{path}',key:{{key:c}},arm:canary}}"]
    config += ["+traffic.arms.canary=0.1", "+observer@observers.log=log", "build.unchanged=register"]
    homes = []

    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "MMEFRAME_CACHE_DIR": str(tmp_path / seed)}
        command = [sys.executable, "-c", _BUILD, *config, "bundle.reuse=false"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digest, model_id = done.stdout.split()[-2:]
        location = mlflow.MlflowClient(module_store.uri).get_logged_model(model_id).artifact_location
        homes.append((digest, Path(location.removeprefix("file://")) / "artifacts/bundle"))

    (one, first), (two, second) = homes
    assert one == two
    names = sorted(path.name for path in first.iterdir())
    assert names == ["manifest.json", "memory.bin", "pack.bin", "records.arrow"]
    differ = [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()]
    assert set(differ) <= {"memory.bin"}


# -- a build that changes nothing --------------------------------------------------------------------------------------


def test_what_is_registered_already_is_not_registered_again(build, versions, module_store):
    """The version that holds it is named; no run is left."""
    first = build()
    runs = len(mlflow.MlflowClient(module_store.uri).search_runs(["0"]))

    second = build()

    assert (first.version, first.same_as) == ("1", None)
    assert (second.version, second.same_as, second.model_uri) == ("1", "1", first.model_uri)
    assert (second.run_id, second.model_id, second.digest) == (first.run_id, first.model_id, first.digest)
    assert (second.sub_models, second.bytes, second.experiment_id) == (3, first.bytes, first.experiment_id)
    assert versions() == (["1"], {})
    assert len(mlflow.MlflowClient(module_store.uri).search_runs(["0"])) == runs


def test_reading_all_anew_finds_that_nothing_changed(build, versions):
    build()

    assert build("bundle.reuse=false").same_as == "1"
    assert versions() == (["1"], {})


def touch(folder: Path) -> None:
    """The same bytes, written later."""
    path = folder / "a.pkl"
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(10**18, 10**18))


def retrain(folder: Path) -> None:
    (folder / "a.pkl").write_bytes(pickle.dumps(fleets.fitted(9)))
    os.utime(folder / "a.pkl", ns=(10**18, 10**18))


def test_a_file_that_was_only_touched(build, folder, run, config):
    """What counts is what it holds; once it was read, a plan and the next build know it."""
    build()
    touch(folder)

    assert (build().same_as, build().unchanged) == ("1", 3)
    assert run("plan", "--exit-code", *config).code == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(["routing.on_unknown=skip"], id="routing"),
        pytest.param(["environment.extra=[packaging]"], id="requirements"),
        pytest.param(["signature.mode=union"], id="signature"),
        pytest.param(["output.annotate=true"], id="answers"),
        pytest.param(["residency=lazy", "residency.max_models=2"], id="deployment"),
        pytest.param(["+observer@observers.log=log"], id="observers"),
        pytest.param(["disabled_models=[a]"], id="disabled"),
        pytest.param(["exclude=[]", "build.unchanged=register"], id="asked-for"),
    ],
)
def test_whatever_changes_is_registered(build, versions, change):
    """Of the bundle and of what wraps it; or where a version for each build is wanted."""
    build()

    assert build(*change).same_as is None
    assert versions()[0] == ["2", "1"]


def test_other_embedded_code_is_registered(build, versions, monkeypatch):
    """The runtime that a router brings with it is part of it."""
    build()
    monkeypatch.setattr(embed, "_RUNTIME", (*embed._RUNTIME, "commandline.py"))

    assert build().same_as is None
    assert versions()[0] == ["2", "1"]


def test_a_retrained_sub_model_is_registered(build, folder, versions):
    build()
    retrain(folder)

    assert build().same_as is None
    assert versions()[0] == ["2", "1"]


@pytest.mark.parametrize("file", ["pack.bin", "records.arrow", "manifest.json", "memory.bin"])
def test_a_version_that_was_damaged_is_no_such_version(build, module_store, versions, file):
    """Its digest is a promise about bytes that are no longer there."""
    model = build().model_id
    home = mlflow.MlflowClient(module_store.uri).get_logged_model(model).artifact_location.removeprefix("file://")
    path = Path(home) / "artifacts/bundle" / file
    data = bytearray(path.read_bytes())
    data[100 % len(data)] ^= 1
    path.write_bytes(data)

    assert build().same_as is None
    assert versions()[0] == ["2", "1"]


def test_a_version_that_nobody_has_proved_is_none(build, versions, module_store):
    """Another build has registered it, and is still at it: it may be taken back."""
    client = mlflow.MlflowClient(module_store.uri)
    first = build()
    client.set_terminated(first.run_id, "RUNNING")

    assert build().same_as is None
    assert versions()[0] == ["2", "1"]
    client.set_terminated(first.run_id, "FINISHED")


def test_an_interrupted_move_of_the_alias_is_taken_back(build, versions, monkeypatch):
    """As with all that a build has begun."""
    build("tracking.alias=champion")
    build("tracking.alias=champion", "output.annotate=true")
    build("tracking.alias=champion", "build.unchanged=register")
    real = mlflow.MlflowClient.set_registered_model_alias

    def interrupted(self, *args):
        monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", real)
        real(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", interrupted)

    with pytest.raises(KeyboardInterrupt):
        build("tracking.alias=next")

    assert versions() == (["3", "2", "1"], {"champion": "3"})


def test_an_older_version_that_is_the_same_is_no_reason(build, versions):
    """What is newest is what everybody takes for current."""
    build()
    build("output.annotate=true")

    assert build().version == "3"


def test_the_alias_moves_to_the_version_that_is_there(build, versions, module_store):
    """Somebody set it back: the build of the same fleet sets it again, and says so."""
    build("tracking.alias=champion")
    build("tracking.alias=champion", "output.annotate=true")
    registered = build("tracking.alias=champion", "output.annotate=true")
    assert (registered.same_as, registered.notes) == ("2", ())
    mlflow.MlflowClient(module_store.uri).set_registered_model_alias(registered.name, "champion", "1")

    again = build("tracking.alias=champion", "output.annotate=true")

    assert (again.same_as, again.alias) == ("2", "champion")
    assert again.notes == (f"alias champion now means version 2 of {again.name}; it was version 1.",)
    assert versions() == (["2", "1"], {"champion": "2"})


def test_a_new_alias_is_set_without_a_new_version(build, versions):
    build()

    again = build("tracking.alias=champion")

    assert again.notes == (f"alias champion now means version 1 of {again.name}; it is new.",)
    assert versions() == (["1"], {"champion": "1"})


def test_the_command_says_that_nothing_was_registered(run, config):
    """In text and for machines; it is no failure."""
    run("build", *config)

    done, told = run("build", *config), run("build", "--json", *config).json

    name = config[0].removeprefix("name=")
    assert done.code == 0
    assert done.lines[0].startswith(f"same as models:/{name}/1 (3 sub-models, ")
    assert done.lines[0].endswith("): nothing was registered")
    assert (told["same_as"], told["version"]) == ("1", "1")


# -- plan for scripts --------------------------------------------------------------------------------------------------


def test_a_plan_ends_with_what_a_build_would_do(run, config, folder):
    """3 where something would change, 0 where nothing would; 0 for both where nobody asks."""
    codes = [run("plan", "--exit-code", *config).code]
    run("build", *config)
    codes += [run("plan", "--exit-code", *config).code, run("plan", *config, "output.annotate=true").code]
    codes += [run("plan", "--exit-code", *config, "output.annotate=true").code]
    codes += [run("plan", "--exit-code", *config, "tracking.alias=champion").code]
    codes += [run("plan", "--exit-code", *config, "environment.extra=[packaging]").code]
    retrain(folder)
    changed = run("plan", "--exit-code", *config)

    assert codes == [3, 0, 0, 3, 3, 3]
    assert (changed.code, changed.lines[-1]) == (3, "other files: a")


def test_a_plan_against_an_older_version(run, config):
    """What the alias means is compared, and what is newest is said."""
    run("build", *config, "tracking.alias=champion")
    run("build", *config, "output.annotate=true")
    name = config[0].removeprefix("name=")

    done = run("plan", "--exit-code", *config, "tracking.alias=champion")

    assert done.code == 3
    assert done.lines[-2:] == [f"against models:/{name}/1:", "it is not the newest version, which is 2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["build", "--exit-code"], "build takes no --exit-code.", id="another-command"),
        pytest.param(["plan", "--exit-code", "model=models:/a/1"], "there is no config to compare.", id="no-config"),
    ],
)
def test_where_there_is_no_exit_code(run, words, said):
    done = run(*words)

    assert (done.code, said in done.err) == (2, True)
