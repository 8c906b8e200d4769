"""A router whose files are damaged or forged, each in turn: ``python -m tests.benchmarks.corrupted --cases 1000``.

Each case changes one thing in a copy of a router with plugin code, sub-models of several loaders, a look-up table, a
gate, a combination and shipped modules. Processes of their own load it: plain MLflow, the same with
``MMEFRAME_EXPECT_DIGEST``, and mmeframe's commands. Each asks every sub-model. What comes of it is the right answers,
or an error that says something; foreign code leaves a trace. Ends with 1 for another answer, for foreign code where
SECURITY.md does not say that nobody can look before, and for a process that ends without words. Half of the processes
have no mmeframe, so that the code that runs is the router's own.

Ends by showing that wrong answers and foreign code are noticed: with verification off, and in the entrypoint.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd

# Neither mmeframe nor the libraries of sub-models: processes begin with what is imported here.

CODE, ENTRYPOINT, BUNDLE = "code/mmeframe.zip", "entrypoint.py", "artifacts/bundle"
TRACE = "import os, pathlib; pathlib.Path(os.environ['TRACE']).touch()\n"
LIBRARIES = ("sklearn.linear_model", "sklearn.cluster", "sklearn.pipeline", "lightgbm", "xgboost", "skops.io", "yaml")
COMMANDS = ("mmeframe.cli", "mmeframe.api", "mmeframe.commands", "mmeframe.runtime.pythonmodel", "hydra", "omegaconf")
WAYS = ("mlflow", "mlflow, digest", "mmeframe")
STORES = ["skops", "boosted", "trees", "both", "own", "s1", "s2", "s3", "elsewhere"]
PLUGIN = """
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
OWN = """
from sklearn.linear_model import LinearRegression

class Own(LinearRegression):
    pass
"""


def rows() -> pd.DataFrame:
    chance = np.random.default_rng(0)
    frame = pd.DataFrame(chance.standard_normal((len(STORES) * 4, 2)), columns=["x1", "x2"])
    return frame.assign(store=STORES * 4, n=np.arange(len(frame)) // len(STORES))


def apart(work: Callable[[], Any]) -> tuple[int, Any]:
    """What something returns in a process of its own, and how that ended; with 0 and None it had nothing to say."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            signal.alarm(120)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            found = work()
            with os.fdopen(writer, "w") as pipe:
                json.dump(found, pipe)
        except BaseException:
            with os.fdopen(writer, "w") as pipe:
                json.dump(["harness", traceback.format_exc()], pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, json.loads(said) if said else None


# -- the routers -------------------------------------------------------------------------------------------------------


def build(home: Path, seed: int) -> tuple[str, str, str]:
    """A router: its model folder, its digest, and the bytes of a coefficient of the global sub-model.

    Seeds differ in every sub-model.
    """
    from lightgbm import LGBMRegressor
    from sklearn.cluster import KMeans
    from sklearn.linear_model import Ridge
    from xgboost import XGBRegressor

    from mmeframe import api
    from tests import flavors, fleets

    home.mkdir()
    (home / "modules").mkdir()
    (home / "modules" / "parity_plugin.py").write_text(PLUGIN)
    (home / "modules" / "own_model.py").write_text(OWN)
    sys.path.insert(0, str(home / "modules"))
    own = importlib.import_module("own_model")
    chance = np.random.default_rng(seed)
    features = pd.DataFrame(chance.standard_normal((40, 2)), columns=["x1", "x2"])
    y = features["x1"] * (seed + 1) - features["x2"] + chance.standard_normal(40)

    def linear(scale: float) -> str:
        return fleets.keep(home, Ridge().fit(features, y * scale), features)

    def skops() -> str:
        path = str(home / "skops")
        options: dict[str, Any] = {"pip_requirements": fleets.pins(), "serialization_format": "skops"}
        model = Ridge().fit(features, y * 2)
        signature = mlflow.models.infer_signature(features, model.predict(features))
        mlflow.sklearn.save_model(model, path, signature=signature, **options)
        return path

    shipped = fleets.keep(
        home, own.Own().fit(features, y * 5), features, code_paths=[str(home / "modules" / "own_model.py")]
    )
    cluster = fleets.keep(home, KMeans(2, n_init=2, random_state=seed).fit(features), features)
    (home / "regions.csv").write_text("store,region\ns1,eu\ns2,us\n")
    lgb = {"n_estimators": 4, "verbose": -1, "num_threads": 1, "min_child_samples": 2}
    models = {
        "skops": (skops(), "{store: skops}"),
        "boosted": (
            flavors.keep(home, "lightgbm", LGBMRegressor(**lgb).fit(features, y), features),
            "{store: boosted}",
        ),
        "trees": (
            flavors.keep(home, "xgboost", XGBRegressor(n_estimators=4).fit(features, y), features),
            "{store: trees}",
        ),
        "own": (shipped, "{store: own}"),
        "eu_odd": (linear(7), "{region: eu, parity: odd}"),
        "eu_even": (linear(8), "{region: eu, parity: even}"),
        "us_odd": (linear(9), "{region: us, parity: odd}"),
        "cluster": (cluster, "none"),
        "first": (linear(11), '{group: "0"}'),
        "everyone": (linear(12), "{}"),
    }
    store = fleets.make_store(home)
    with fleets.inside(home):
        logged = api.build(
            "name=corrupted",
            *("+routing@routing.keys.store=column", "routing.keys.store.column=store"),
            *("+routing@routing.keys.region=lookup", "routing.keys.region.part=store"),
            *(f"routing.keys.region.table={home}/regions.csv", "routing.keys.region.to=region"),
            *("+routing@routing.keys.parity=parity", "routing.keys.parity.column=n"),
            *("+routing@routing.keys.group=gate", "routing.keys.group.model=cluster"),
            "routing.levels=[[store],[region,parity],[group],[]]",
            *(f"+models.{id_}={{uri:'{uri}',key:{key}}}" for id_, (uri, key) in models.items()),
            "+models.both={combine:{kind:mean,of:[skops,own]},key:{store:both}}",
            f"tracking.uri={store}",
            plugins=["parity_plugin"],
        )
        with fleets.active(store):
            folder = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
    shutil.copytree(folder, home / "model", ignore=shutil.ignore_patterns("__pycache__"))
    return str(home / "model"), logged.digest, Ridge().fit(features, y * 12).coef_.tobytes().hex()


# -- what is changed ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A change of one file, or of a place. before: it takes effect before anybody can look, with plain MLflow.

    forged: the digests are right, but for the one from elsewhere. fresh: the processes have imported no libraries yet.
    """

    what: str
    where: str
    change: Callable[[Path, random.Random], object]
    before: bool = False
    forged: bool = False
    fresh: bool = False


def cases(original: Path, other: Path) -> list[Case]:
    """One of each kind, for every file."""
    found = []
    for path in sorted(path for path in original.rglob("*") if path.is_file()):
        name = str(path.relative_to(original))
        # The entrypoint is the one file that has to be believed, and MLmodel names what MLflow imports.
        before = name in (ENTRYPOINT, "MLmodel")
        found += [Case(what, name, change, before) for what, change in damages(name, original, other).items()]
    return found + list(forgeries(original)) + list(beside())


def damages(name: str, original: Path, other: Path) -> dict[str, Callable[[Path, random.Random], object]]:
    def bytes_of(change: Callable[[bytearray, random.Random], bytes | bytearray]) -> Any:
        def done(root: Path, chance: random.Random) -> None:
            (root / name).write_bytes(change(bytearray((root / name).read_bytes()), chance))

        return done

    def flip(raw: bytearray, chance: random.Random) -> bytearray:
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        return raw

    def overwrite(raw: bytearray, chance: random.Random) -> bytearray:
        at = chance.randrange(len(raw))
        raw[at : at + 64] = chance.randbytes(len(raw[at : at + 64]))
        return raw

    def link(to: Path) -> Any:
        def done(root: Path, chance: random.Random) -> None:
            (root / name).unlink()
            (root / name).symlink_to(to)

        return done

    def delete(root: Path, chance: random.Random) -> None:
        (root / name).unlink()

    def folder(root: Path, chance: random.Random) -> None:
        (root / name).unlink()
        (root / name).mkdir()

    return {
        "flip a bit": bytes_of(flip),
        "overwrite": bytes_of(overwrite),
        "cut": bytes_of(lambda raw, chance: raw[: chance.randrange(len(raw))]),
        "extend": bytes_of(lambda raw, chance: raw + chance.randbytes(chance.choice([1, 8, 4096]))),
        "empty": bytes_of(lambda raw, chance: b""),
        "another router's": bytes_of(lambda raw, chance: (other / name).read_bytes()),
        "delete": delete,
        "a folder": folder,
        "link to the same": link(original / name),
        "link to another router's": link(other / name),
        "link to nothing": link(Path("/nowhere/at/all")),
    }


def in_zip(name: str, change: Callable[[bytes], bytes], added: bool = False) -> Callable[[Path, random.Random], object]:
    """Change a file in the archive, or add one; what the archive says of itself is right."""

    def done(root: Path, chance: random.Random) -> None:
        with zipfile.ZipFile(root / CODE) as archive:
            files = {info: archive.read(info) for info in archive.infolist()}
            comment = archive.comment
        with zipfile.ZipFile(root / CODE, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = comment
            for info, data in files.items():
                archive.writestr(info, change(data) if info.filename == name else data)
            if added:
                archive.writestr(name, change(b""))

    return done


def sealed(change: Callable[[Path, random.Random], object]) -> Callable[[Path, random.Random], object]:
    """The same, and all digests in the folder made anew: nobody sees it but who knows the right one."""

    def done(root: Path, chance: random.Random) -> None:
        from mmeframe.bundle import artifact

        change(root, chance)
        artifact.seal(root)

    return done


def two_blobs(root: Path, chance: random.Random) -> None:
    """Swap the places of two blobs in the index of the pack."""
    facts = json.loads((root / BUNDLE / "manifest.json").read_text())["pack"]
    path, count = root / BUNDLE / "pack.bin", facts["blobs"]
    raw = bytearray(path.read_bytes())
    one, two = chance.sample(range(count), 2)
    for start in (facts["index_offset"] + 32 * count, facts["index_offset"] + 40 * count):
        places = [slice(start + 8 * it, start + 8 * it + 8) for it in (one, two)]
        raw[places[0]], raw[places[1]] = raw[places[1]], raw[places[0]]
    path.write_bytes(raw)


def two_contents(root: Path, chance: random.Random) -> None:
    """Swap parts of the bytes of two blobs."""
    facts = json.loads((root / BUNDLE / "manifest.json").read_text())["pack"]
    path = root / BUNDLE / "pack.bin"
    raw = bytearray(path.read_bytes())
    size = chance.choice([8, 64, 512])
    one, two = (chance.randrange(8, facts["index_offset"] - size) for _ in range(2))
    raw[one : one + size], raw[two : two + size] = raw[two : two + size], raw[one : one + size]
    path.write_bytes(raw)


def described(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, random.Random], object]:
    """Change what MLmodel says."""

    def done(root: Path, chance: random.Random) -> None:
        import yaml

        facts = yaml.safe_load((root / "MLmodel").read_text())
        change(facts)
        (root / "MLmodel").write_text(yaml.safe_dump(facts))

    return done


def manifest(
    change: Callable[[dict[str, Any], random.Random], object], renewed: bool = False
) -> Callable[[Path, random.Random], object]:
    """Change what the manifest says. renewed: with a digest of that."""

    def done(root: Path, chance: random.Random) -> None:
        from mmeframe.bundle.format import canonical_json

        path = root / BUNDLE / "manifest.json"
        facts = json.loads(path.read_text())
        change(facts, chance)
        if renewed:
            facts.pop("digest", None)
            facts["digest"] = hashlib.sha256(canonical_json(facts)).hexdigest()
        path.write_text(json.dumps(facts))

    return done


def forgeries(original: Path) -> Iterator[Case]:
    """What somebody does who knows the format, with and without all digests made anew."""
    trace = TRACE.encode()
    codes = {
        "a line of its imports.py": in_zip("mmeframe/imports.py", lambda raw: raw + trace),
        "a line of its route/table.py": in_zip("mmeframe/route/table.py", lambda raw: raw + trace),
        "a line of a plugin": in_zip("parity_plugin.py", lambda raw: raw.replace(b'"odd" if', b'"even" if')),
        "an unlisted module": in_zip("mmeframe/builtin/unlisted.py", lambda raw: trace, added=True),
        "a library": in_zip("lightgbm/__init__.py", lambda raw: trace, added=True),
        "bytecode": in_zip("mmeframe/routes.pyc", lambda raw: trace, added=True),
        "sitecustomize": in_zip("sitecustomize.py", lambda raw: trace, added=True),
    }
    for what, change in codes.items():
        yield Case(what, CODE, change, fresh=True)
        yield Case(f"{what}, sealed", CODE, sealed(change), forged=True)
    yield Case("two blobs swapped", f"{BUNDLE}/pack.bin", two_blobs)
    yield Case("bytes of two blobs swapped", f"{BUNDLE}/pack.bin", two_contents)

    def levels(facts: dict[str, Any], chance: random.Random) -> None:
        facts["routing"]["levels"] = facts["routing"]["levels"][::-1]

    def any_field(facts: dict[str, Any], chance: random.Random) -> None:
        facts.pop(chance.choice(sorted(facts)))

    for what, edit in {"other levels": levels, "a field left out": any_field}.items():
        yield Case(what, f"{BUNDLE}/manifest.json", manifest(edit))
        yield Case(f"{what}, sealed", f"{BUNDLE}/manifest.json", manifest(edit, renewed=True), forged=True)

    def own_loader(root: Path, chance: random.Random) -> None:
        described(lambda facts: facts["flavors"]["python_function"].update(loader_module="own_loader"))(root, chance)
        (root / "code" / "own_loader.py").write_text(TRACE)

    def own_entrypoint(root: Path, chance: random.Random) -> None:
        described(lambda facts: facts["flavors"]["python_function"].update(model_code_path="own.py"))(root, chance)
        (root / "own.py").write_text(TRACE + (root / ENTRYPOINT).read_text())

    def own_code(root: Path, chance: random.Random) -> None:
        described(lambda facts: facts["flavors"]["python_function"].update(code="more"))(root, chance)
        (root / "more").mkdir()
        (root / "more" / "lightgbm.py").write_text(TRACE)

    yield Case("its loader", "MLmodel", own_loader, before=True, fresh=True)
    yield Case("its entrypoint", "MLmodel", own_entrypoint, before=True)
    yield Case("its code folder", "MLmodel", own_code, before=True, fresh=True)
    yield Case(
        "a disabled sub-model",
        "MLmodel",
        described(lambda facts: facts["flavors"]["python_function"]["config"].update(disabled_models="own")),
    )
    import yaml

    for name, value in yaml.safe_load((original / "MLmodel").read_text()).items():
        if name not in ("flavors", "signature"):
            for given in (None, True, "x", [], {"x": 1}):
                if given != value:
                    edit = described(lambda facts, name=name, given=given: facts.update({name: given}))
                    yield Case(f"its {name}", "MLmodel", edit)

    def run_first(root: Path, chance: random.Random) -> None:
        (root / ENTRYPOINT).write_text(TRACE + (root / ENTRYPOINT).read_text())

    yield Case("a line", ENTRYPOINT, run_first, before=True)


def beside() -> Iterator[Case]:
    """Files that were not there."""

    def written(path: str, text: str = TRACE) -> Callable[[Path, random.Random], object]:
        def done(root: Path, chance: random.Random) -> None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)

        return done

    modules = ["sitecustomize", "mmeframe/__init__", "parity_plugin", "own_model", "numpy", "json", "mlflow"]
    modules += ["lightgbm", "xgboost", "skops/__init__", "sklearn/__init__", "pyarrow/__init__", "yaml", "cloudpickle"]
    modules += ["zipimport", "hashlib", "pydantic/__init__", "re2", "own.cpython-311-x86_64-linux-gnu.so"]
    for module in modules:
        path = f"code/{module}" if "." in module else f"code/{module}.py"
        yield Case(f"unlisted {path}", "code/", written(path), fresh=True)
    for path in ("own_model.py", "artifacts/own_model.py", f"{BUNDLE}/lightgbm.py", f"{BUNDLE}/code/own_model.py"):
        yield Case(f"unlisted {path}", "beside", written(path))

    def bytecode(root: Path, chance: random.Random) -> None:
        """Of other source, for a file of this size and time."""
        from importlib import util

        path = root / ENTRYPOINT
        facts = path.stat()
        code = compile(TRACE + path.read_text(), str(path), "exec")
        external: Any = importlib.import_module("importlib._bootstrap_external")
        cached = Path(util.cache_from_source(str(path)))
        cached.parent.mkdir()
        cached.write_bytes(external._code_to_timestamp_pyc(code, int(facts.st_mtime), facts.st_size))

    yield Case("bytecode of the entrypoint", "beside", bytecode, before=True)
    yield Case("a file for its bytecode", "beside", written("__pycache__"))


# -- what comes of it --------------------------------------------------------------------------------------------------


def without_mmeframe() -> None:
    """From now on mmeframe is not installed here."""
    sys.path[:] = [place for place in sys.path if not (Path(place or ".") / "mmeframe" / "__init__.py").is_file()]
    assert "mmeframe" not in sys.modules


def answer(model: Any) -> list[Any]:
    found = model.predict(rows(), {"annotate": True})
    return ["answer", np.asarray(found["prediction"]).tolist(), list(found["model_id"])]


def by_mlflow(folder: Path, bare: bool) -> list[Any]:
    if bare:
        without_mmeframe()
    try:
        return answer(mlflow.pyfunc.load_model(str(folder), suppress_warnings=True))
    except Exception as error:
        return ["error", f"{type(error).__name__}: {error}"]


def by_mmeframe(folder: Path) -> list[Any]:
    """What ``validate`` says, and what is answered if that is nothing."""
    from mmeframe import api, cli

    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        status = cli.main(["validate", f"model={folder}"])
    try:
        found = answer(api.load_router(str(folder)))
    except Exception as error:
        found = ["error", f"{type(error).__name__}: {error}"]
    if status:
        refused = told.getvalue().strip()
        return ["error", refused] if found[0] == "error" or found == RIGHT else found
    return found


RIGHT: list[Any] = []


def outcome(case: Case, way: str, folder: Path, digest: str, bare: bool, trace: Path) -> tuple[str, str]:
    """A word for what came of it, and the text that an error has."""

    def work() -> list[Any]:
        os.environ["TRACE"] = str(trace)
        if way != "mlflow":
            os.environ["MMEFRAME_EXPECT_DIGEST"] = digest
        return by_mmeframe(folder) if way == "mmeframe" else by_mlflow(folder, bare)

    status, found = apart(work)
    foreign = trace.exists()
    trace.unlink(missing_ok=True)
    if foreign:
        return ("believed" if case.before and way != "mmeframe" else "FOREIGN CODE"), str(found)
    if status or found is None:
        return "WITHOUT WORDS", f"it ended with {status}"
    kind, text = found[0], str(found[1]).strip()
    if kind == "answer":
        return ("right" if found == RIGHT else "WRONG ANSWER"), str(found)
    if kind != "error":
        return "HARNESS", text
    lowered = text.lower()
    named = ["digest", "changed", "damaged", "not a manifest", "the bundle", "the model has no", case.where.lower()]
    return (
        "refused" if any(word in lowered for word in named) else "mlflow's error" if text else "WITHOUT WORDS"
    ), text


def unverified(folder: Path) -> list[Any]:
    """The same with the verification of blobs off, to show what it prevents."""
    from mmeframe.bundle import reader

    def blob(self: Any, sha256: bytes) -> memoryview:
        at = [digest.tobytes() for digest in self._digests].index(sha256)
        return memoryview(self._read(int(self._offsets[at]), int(self._lengths[at])))

    setattr(reader.Bundle, "blob", blob)  # noqa: B010 - so that mypy lets it
    return by_mlflow(folder, bare=False)


def check_itself(home: Path, original: Path, digest: str, other: Path, coefficient: bytes) -> None:
    """Show that wrong answers and foreign code are noticed. Raises AssertionError if they are not."""
    root = Path(shutil.copytree(original, home / "check"))
    raw = bytearray((root / BUNDLE / "pack.bin").read_bytes())
    raw[raw.index(coefficient) + 6] ^= 1
    (root / BUNDLE / "pack.bin").write_bytes(raw)
    status, found = apart(lambda: unverified(root))
    assert (status, found[0]) == (0, "answer"), found
    assert found != RIGHT, "a changed coefficient changes no answer"
    shutil.rmtree(root)
    root = Path(shutil.copytree(original, home / "check"))
    shutil.copy(other / ENTRYPOINT, root / ENTRYPOINT)
    (root / ENTRYPOINT).write_text(TRACE + (root / ENTRYPOINT).read_text())
    case = Case("a line", ENTRYPOINT, lambda *_: None, before=True)
    assert outcome(case, "mlflow", root, digest, False, home / "trace")[0] == "believed"
    shutil.rmtree(root)
    assert outcome(case, "mlflow", other, digest, False, home / "trace")[0] == "WRONG ANSWER"


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--cases", type=int, default=1000)
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--minutes", type=float, default=60.0, help="after which no other case is begun")
    given = reader.parse_args()
    home = Path(tempfile.mkdtemp(prefix="corrupted-"))
    os.environ["TMPDIR"] = str(home / "tmp")
    (home / "tmp").mkdir()
    tempfile.tempdir = None
    try:
        return run(home, given)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def turns(kinds: list[Case], count: int) -> Iterator[tuple[int, Case, str, bool]]:
    """Numbers of cases, each with a change, who loads it, and whether mmeframe is not installed there.

    All have their turn before any has another one, with other places of damage. First those that need processes without
    libraries, then those without mmeframe, then the others: processes begin with what was imported before them.
    """
    pairs = [(case, way) for case in kinds for way in WAYS if not (case.forged and way == "mlflow")]
    again = [(case, way) for case, way in pairs if not case.fresh]
    pairs += [again[turn % len(again)] for turn in range(max(count - len(pairs), 0))]
    found = [
        (number, case, way, way != "mmeframe" and number % 2 == 0) for number, (case, way) in enumerate(pairs[:count])
    ]
    yield from (it for it in found if it[1].fresh)
    for library in LIBRARIES:
        importlib.import_module(library)
    yield from (it for it in found if it[3] and not it[1].fresh)
    for module in COMMANDS:
        importlib.import_module(module)
    yield from (it for it in found if not it[3] and not it[1].fresh)


def run(home: Path, given: argparse.Namespace) -> int:
    routers = []
    for seed in (0, 1):
        status, found = apart(lambda seed=seed: build(home / f"router-{seed}", seed))
        assert (status, found[0]) != (0, "harness"), found
        routers.append((Path(found[0]), found[1], bytes.fromhex(found[2])))
    (original, digest, coefficient), (other, _, _) = routers
    _, found = apart(lambda: by_mlflow(original, bare=True))
    assert found[0] == "answer", found
    assert len(set(found[2])) == 10, found
    RIGHT[:] = found
    assert apart(lambda: by_mmeframe(original))[1] == RIGHT
    for root in (original, other):
        shutil.rmtree(root / "__pycache__", ignore_errors=True)
    kinds = cases(original, other)
    table: dict[tuple[str, str], Counter[str]] = {}
    faults, done, end = [], 0, time.monotonic() + 60 * given.minutes
    for number, case, way, bare in turns(kinds, given.cases):
        if time.monotonic() > end:
            break
        root = Path(shutil.copytree(original, home / "case"))
        status, made = apart(lambda case=case, root=root, number=number: case.change(root, random.Random(number)))
        assert (status, made) == (0, None), (case, made)
        word, text = outcome(case, way, root, digest, bare, home / "trace")
        table.setdefault((case.where, way), Counter())[word] += 1
        if word.isupper():
            faults.append(f"{number}: {case.what} of {case.where}, {way}: {word}: {text[:300]}")
            print(faults[-1], flush=True)
        shutil.rmtree(root)
        done += 1
        if done % 50 == 0:
            print(f"{done} cases, {len(faults)} faults", flush=True)
    words = ["right", "refused", "mlflow's error", "believed"]
    print(f"| file | loaded by | {' | '.join(words)} | wrong, foreign, without words |")
    for (where, way), row in sorted(table.items()):
        worst = sum(count for word, count in row.items() if word.isupper())
        print(f"| {where} | {way} | {' | '.join(str(row[word]) for word in words)} | {worst} |")
    print(f"{done} cases of {len(kinds)} kinds of change, {len(faults)} faults")
    check_itself(home, original, digest, other, coefficient)
    print("self-check: a wrong answer and foreign code are noticed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
