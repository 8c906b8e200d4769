"""Plugins inside a router: used from config, carried in the artifact, and nothing else loaded from it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from mmeframe import api
from mmeframe.bundle import Manifest
from mmeframe.bundle.manifest import PluginFacts
from mmeframe.errors import PluginError
from mmeframe.runtime.components import load_component
from mmeframe.spec import ComponentSpec
from tests import fleets
from tests.causes import causes
from tests.conftest import Store
from tests.plugin.projects import GEO, Project, only, strategies

AIRPORTS = "site,latitude,longitude\nJFK,40.6413,-73.7781\nLGA,40.7769,-73.8740\nEWR,40.6895,-74.1745\n"
# Central Park is nearest to LaGuardia, Coney Island to Kennedy, Jersey City to Newark; Boston is near none of them.
PLACES = pd.DataFrame(
    {"latitude": [40.7829, 40.5749, 40.7178, 42.3601], "longitude": [-73.9654, -73.9859, -74.0431, -71.0589]}
)


@pytest.fixture
def airports(store, tmp_path):
    """A table of sites, and a sub-model per site with a global one."""
    (tmp_path / "airports.csv").write_text(AIRPORTS)
    example = fleets.rows(5)[["x1", "x2"]]
    for seed, name in enumerate(("JFK", "LGA", "EWR", "anywhere")):
        fleets.log_sklearn(fleets.fitted(seed), f"delay_{name}", example)
    return (
        "name=airports",
        "routing=nearest",
        f"routing.table={tmp_path / 'airports.csv'}",
        "routing.max_km=30",
        "routing.levels=[[nearest],[]]",
        "+source@sources.s=registry",
        "sources.s.name='delay_{nearest}'",
        "+models.anywhere={uri:'models:/delay_anywhere@champion',key:{}}",
    )


@pytest.mark.build
def test_an_installed_plugin_routes_from_config(airports, tmp_path):
    """Each row goes to the nearest airport's sub-model, one that is far from all of them to the global one."""
    logged = api.build(*airports)
    (tmp_path / "airports.csv").unlink()  # the table travels in the bundle

    router = api.load_router(logged.model_uri)

    answer = router.predict(PLACES.assign(x1=0.5, x2=1.0), {"annotate": True})
    assert answer["model_id"].tolist() == ["delay_LGA", "delay_JFK", "delay_EWR", "anywhere"]
    assert answer["reason"].tolist() == ["exact", "exact", "exact", "fallback"]


@pytest.mark.build
def test_the_bundle_records_its_plugins(airports):
    """show names the distribution and its version."""
    logged = api.build(*airports)

    assert api.show(logged.model_uri)["plugins"] == {
        "mmeframe_nearest": {"distribution": "mmeframe-nearest", "version": "0.1.0"}
    }


@pytest.mark.build
def test_an_indexed_plugin_is_required_by_name(airports):
    """environment.indexed: the index serves it, so it is a requirement and not in the archive."""
    import zipfile

    logged = api.build(*airports, "environment.indexed=[mmeframe-nearest]")

    folder = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
    assert "mmeframe-nearest==0.1.0" in (folder / "requirements.txt").read_text().split()
    with zipfile.ZipFile(folder / "code" / "mmeframe.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith("mmeframe_nearest")]


def test_a_wrong_site_table_is_found_before_a_build(airports, tmp_path):
    """validate reads the tables of strategies too."""
    (tmp_path / "airports.csv").write_text("site,lat,longitude\nJFK,1,2\n")

    with pytest.raises(Exception, match=r"routing.keys.nearest.*latitude"):
        api.validate(*airports)


_PLUGIN = """
from dataclasses import dataclass
from mmeframe.plugin import MISSING, RoutingInputs, RoutingStrategy, RoutingStrategyPlugin, StrategyConf, hookimpl

@dataclass
class ParityConf(StrategyConf):
    column: str = MISSING

class Parity(RoutingStrategy[ParityConf]):
    def inputs(self):
        return RoutingInputs({self.conf.column: "long"})
    def route_keys(self, batch, params):
        return ["odd" if value % 2 else "even" for value in batch.column(self.conf.column)]

@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("parity", ParityConf, "parity_plugin:Parity", "odd or even")]
"""

_LOAD = """
import json, sys
import mlflow, pandas as pd
router = mlflow.pyfunc.load_model(sys.argv[1])
rows = pd.DataFrame({"x1": [1.0, 2.0], "x2": [0.0, 0.0], "dow": [3, 4]})
answer = router.predict(rows, params={"annotate": True})
absent = [name for name in ("hydra", "omegaconf", "mmeframe.plugin.manager") if name in sys.modules]
print(json.dumps([answer["model_id"].tolist(), sys.modules["parity_plugin"].__file__, absent]))
"""


@pytest.mark.process
def test_a_module_plugin_travels_in_the_artifact(store, tmp_path):
    """Named with -p, embedded, and loaded in a process that has never heard of it; no hook machinery is imported."""
    home = tmp_path / "plugins"
    home.mkdir()
    (home / "parity_plugin.py").write_text(_PLUGIN)
    example = fleets.rows(5)[["x1", "x2"]]
    for seed, name in enumerate(("odd", "even")):
        fleets.log_sklearn(fleets.fitted(seed), name, example)
    environment = {**os.environ, "PYTHONPATH": str(home), "MLFLOW_TRACKING_URI": store.uri}
    build = [sys.executable, "-m", "mmeframe", "build", "-p", "parity_plugin", "name=p", "routing=parity"]
    build += ["routing.column=dow", "+models.odd.uri=models:/odd@champion", "+models.even.uri=models:/even@champion"]
    built = subprocess.run([*build, "--json"], env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.uri}
    ran = subprocess.run([sys.executable, "-c", _LOAD, "models:/p/1"], env=environment, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    ids, file, machinery = json.loads(ran.stdout.splitlines()[-1])
    assert ids == ["odd", "even"]
    assert "mmeframe.zip" in file
    assert machinery == []


def tampered(uri: str, change) -> Path:
    """A logged model folder whose manifest was changed by somebody who also renewed its digest."""
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    bundle = folder / "artifacts" / "bundle"
    change(Manifest.read(bundle)).write(bundle)
    return folder


def with_plugin(manifest: Manifest, module: str, *facts: str) -> Manifest:
    return replace(manifest, plugins={**manifest.plugins, module: PluginFacts(*facts)})


@pytest.mark.build
@pytest.mark.parametrize(
    "target", [pytest.param("os:system", id="standard-library"), pytest.param("subprocess:Popen", id="another")]
)
def test_a_bundle_names_no_arbitrary_class(airports, target):
    """Components come from mmeframe, the archive or a recorded plugin, whatever a manifest says."""
    logged = api.build(*airports)

    def change(manifest):
        return fleets.with_strategy(manifest, target=target)

    with pytest.raises(Exception, match=f"the router names {target.split(':')[0]}, which no plugin of it ships"):
        api.load_router(str(tampered(logged.model_uri, change)))


@pytest.mark.build
def test_a_recorded_plugin_must_be_a_plugin(airports):
    """Recording the standard library as somebody's plugin does not make it one."""
    logged = api.build(*airports)

    def change(manifest):
        return with_plugin(fleets.with_strategy(manifest, target="os:system"), "os", "mmeframe-nearest", "0.1.0")

    with pytest.raises(Exception, match="os is not part of an mmeframe plugin in mmeframe-nearest"):
        api.load_router(str(tampered(logged.model_uri, change)))


@pytest.mark.build
def test_a_plugin_that_is_not_installed_is_named(airports):
    """A router that does not carry its plugin says which one to install."""
    logged = api.build(*airports, "environment.indexed=[mmeframe-nearest]")

    def change(manifest):
        return with_plugin(manifest, "mmeframe_nearest", "mmeframe-absent", "0.3.1")

    with pytest.raises(
        Exception, match=r"This router was logged with mmeframe-absent 0.3.1, which is not installed here."
    ):
        api.load_router(str(tampered(logged.model_uri, change)))


RELEASES = {
    version: Project("mmeframe-geo", version, (("geo", strategies(GEO)),), package="geo_of_a_release")
    for version in ("0.3.0", "0.3.1", "0.4.0")
}
METRO = Project("metro", "1.0", (("metro", strategies(GEO.replace('"geo"', '"metro"'))),))


def among(site: Path | None, store: Store, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python where what a folder holds is installed, too."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.uri, "PYTHONPATH": str(site or "")}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
@causes("process")
def released(install, week):
    """The URI of a router that was logged with mmeframe-geo 0.3.1, which it requires by name."""
    config = ["name=released", "routing=geo", "routing.column=dow", "environment.indexed=[mmeframe-geo]"]
    fleet = "+models.day={uri:'models:/day_0/1',key:{dow:0}}"
    built = among(install(RELEASES["0.3.1"]), week, "-m", "mmeframe", "build", *config, fleet)
    assert built.returncode == 0, built.stderr
    return "models:/released/1"


@pytest.mark.process
@pytest.mark.parametrize(
    ("release", "said"),
    [
        pytest.param(None, "mmeframe-geo 0.3.1, which is not installed here.", id="missing"),
        pytest.param("0.3.0", "mmeframe-geo 0.3.1; 0.3.0 is installed here, which is older.", id="older"),
        pytest.param("0.3.1", None, id="the-same"),
        pytest.param("0.4.0", None, id="newer"),
    ],
)
def test_the_release_that_is_installed_where_a_router_is_loaded(install, week, released, release, said):
    """A plugin that an index serves is required by name, so what is installed decides: real distributions."""

    load = "import sys; from mmeframe import api; print(api.load_router(sys.argv[1]).bundle.manifest.plugins)"
    loaded = among(install(RELEASES[release]) if release else None, week, "-c", load, released)

    if said is None:
        assert loaded.stdout == "{'geo_of_a_release': PluginFacts(distribution='mmeframe-geo', version='0.3.1')}\n"
        told = f"mmeframe-geo==0.3.1 is required, and {release} is installed here."
        assert loaded.stderr.count(told) == (release != "0.3.1")
    else:
        assert f"This router was logged with {said}" in loaded.stderr
        assert "pip install mmeframe-geo==0.3.1" in loaded.stderr


_IMPORTED = """
import pathlib, sys
import mlflow.pyfunc
mlflow.pyfunc.load_model(sys.argv[1])
site = pathlib.Path(sys.argv[2])
files = {name: getattr(it, "__file__", None) or "/" for name, it in [*sys.modules.items()]}
print([name for name, file in files.items() if site in pathlib.Path(file).parents])
print("mmeframe.plugin.manager" in sys.modules)
"""


@pytest.mark.process
def test_entry_points_are_not_scanned_where_a_router_is_loaded(install, week, released):
    """Whatever else is installed: the recorded module is imported, and what looks for plugins is not."""
    site = install(RELEASES["0.3.1"], METRO)

    loaded = among(site, week, "-c", _IMPORTED, released, str(site))

    assert loaded.stdout.splitlines() == ["['geo_of_a_release']", "False"]


@pytest.mark.build
def test_coordinates_that_are_no_numbers_are_bad_input(airports):
    """The plugin's own message reaches the caller, through the host."""
    router = api.load_router(api.build(*airports).model_uri)

    with pytest.raises(Exception, match="column 'latitude'"):
        router.predict(pd.DataFrame({"latitude": ["x"], "longitude": [0.0], "x1": [1.0], "x2": [1.0]}))
    assert np.isfinite(router.predict(PLACES.assign(x1=0.5, x2=1.0))).all()


_LOAD_FIRST = """
import sys
import mlflow.pyfunc

router = mlflow.pyfunc.load_model(sys.argv[1])
from mmeframe import api

print(api.__file__)
print(sorted(api.show(sys.argv[1])["sub_models"][0]))
"""


@pytest.mark.build
@pytest.mark.process
def test_who_loads_a_router_first_has_the_installed_mmeframe(week):
    """The archive has what serving needs only: where its version is installed, that one is used, which has all."""
    logged = api.build(
        "name=first", "routing=column", "routing.column=dow", "+models.a.uri=models:/day_0/1", week.override
    )

    with fleets.active(week.uri):
        done = subprocess.run(
            [sys.executable, "-c", _LOAD_FIRST, logged.model_uri], capture_output=True, text=True, check=True
        )

    assert done.stdout.splitlines()[0] == str(Path(api.__file__))


# -- a plugin of another version is installed ------------------------------------------------------------------------

SIGN = """
    def inputs(self):
        return RoutingInputs({self.conf.column: "double"})
    def route_keys(self, batch, params):
        return ["plus" if value THAN 0 else "minus" for value in batch.column(self.conf.column)]
"""
_SIGNED = strategies('RoutingStrategyPlugin("sign", Conf, __name__ + ":Strategy", "plus or minus")')
_SIGNED = _SIGNED.replace("import RoutingStrategy,", "import RoutingInputs, RoutingStrategy,")
_SIGNED = _SIGNED.replace(
    "\n    def route_keys(self, batch, params):\n        return batch.column(self.conf.column)\n", SIGN
)
SIGNS = {
    version: Project("acme-sign", version, (("sign", _SIGNED.replace("THAN", than)),), package="acme_sign")
    for version, than in (("1.0", ">"), ("2.0", "<"))
}


@pytest.mark.build
@pytest.mark.process
def test_another_version_is_installed(install, week, run, monkeypatch, tmp_path):
    """A command that has imported it refuses, naming both versions; without it, as the message says, all is right."""

    @contextlib.contextmanager
    def installed(version: str) -> Iterator[None]:
        with monkeypatch.context() as patch:
            only(patch, install(SIGNS[version]))
            yield
        sys.modules.pop("acme_sign", None)

    models = ("+models.up={uri:'models:/day_0/1',key:{x1:plus}}", "+models.down={uri:'models:/day_1/1',key:{x1:minus}}")
    config = ("name=signs", "routing=sign", "routing.column=x1", *models, week.override)
    with installed("1.0"), fleets.inside(week.folder):
        uri = api.build(*config).model_uri
    (tmp_path / "rows.csv").write_text("x1,x2\n1,0\n-1,0\n")
    words = ["predict", f"model={uri}", f"data={tmp_path / 'rows.csv'}", week.override]
    words += ["--params", '{"annotate": true}']

    with installed("2.0"):
        refused, planned = run(*words), run("plan", *config)
    with installed("2.0"):
        answered = run(*words, "-p", "no:acme-sign")

    assert refused.code == 1
    assert "this router carries acme-sign 1.0, and this process has imported acme-sign 2.0 from " in refused.err
    assert "-p no:acme-sign" in refused.err
    assert "pip install acme-sign==1.0" in refused.err
    assert planned.lines[-1] == "code: acme-sign: 1.0 -> 2.0"
    assert answered.code == 0
    assert [line.split(",")[3] for line in answered.out.splitlines()[1:]] == ["up", "down"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"options": {"shape": 1}}, "an option of it: shape: Unexpected keyword argument.", id="option"),
        pytest.param({"target": "mmeframe_nearest:No"}, "its class: module mmeframe_nearest has no 'No'.", id="class"),
    ],
)
def test_what_another_version_of_a_plugin_does_not_know(change, said):
    """The plugin, both versions and the cure are named."""
    home = "mmeframe_nearest.strategy"
    component = ComponentSpec("nearest", f"{home}:NearestStrategy", f"{home}:NearestConf", {})
    manifest = Manifest(name="r", plugins={"mmeframe_nearest": PluginFacts("mmeframe-nearest", "0.0.9")})

    with pytest.raises(PluginError) as caught:
        load_component(replace(component, **change), manifest, None)

    assert str(caught.value) == (
        "nearest: the router was logged with mmeframe-nearest 0.0.9, and mmeframe-nearest 0.1.0 does not take "
        f"{said}\n  pip install mmeframe-nearest==0.0.9, or build the router again."
    )
