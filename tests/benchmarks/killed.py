"""Builds and trainings that are killed at any moment: ``python -m tests.benchmarks.killed --builds 200``.

Each is a real command in a process of its own, over a sqlite store or an MLflow server, ended by SIGKILL, SIGTERM or
SIGINT after a random part of the time that it takes, or by SIGKILL before or after one of its calls of the store. Then
another process looks: every version is whole, byte by byte; the alias names one that answers as before. Mostly the
next command follows at once, else another kill: it must succeed, and leave nothing of the killed ones. Ends with 1 if
any of that was not so. Begins by breaking a store on purpose: what is not found then is never found.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import LoggedModelStatus

from mmeframe import cli
from mmeframe.bundle.artifact import BUNDLE
from mmeframe.store import routers
from mmeframe.store.store import using_store
from tests import fleets, servers

ROWS = fleets.rows(21)
KILLS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Every one of these kills is followed by another one; the others by a command that must succeed.
IN_A_ROW = 4
TENTHS = 10


def apart(work: Callable[[], Any], log: Path) -> tuple[int, int]:
    """Begin something in a process of its own; what it returns is written to the other end of a pipe."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    os.close(reader)
    status = 1
    try:
        with log.open("a") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            found = work()
            with os.fdopen(writer, "w") as pipe:
                json.dump(found, pipe)
            status = found if isinstance(found, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def ended(child: int, reader: int) -> tuple[int, Any]:
    """How a process has ended, and what it returned."""
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, json.loads(said) if said else None


def done(work: Callable[[], Any], log: Path) -> Any:
    """What something returns in a process of its own. Raises AssertionError if it fails."""
    status, found = ended(*apart(work, log))
    assert status == 0, f"it ended with {status}: {log.read_text()[-3000:]}"
    return found


# -- what there is -----------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A store, and the commands that are killed over it. folder: where its files and all temporary ones are."""

    folder: Path
    uri: str
    calls: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    # Versions that were whole when they were new, by registered name.
    known: dict[str, int] = field(default_factory=dict)
    expected: list[float] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def command(self, verb: str) -> list[str]:
        if verb == "build":
            return ["build", "name=router", *fleets.WEEK, "tracking.alias=champion", "build.unchanged=register"]
        return [
            *("train", "name=trained", "routing=column", "routing.column=dow", "routing.levels=[[dow]]"),
            *("+source@sources.parts=registry", "sources.parts.name='part_{dow}'"),
            *(f"train.reader.path={self.folder}/rows.csv", "train.target=y", "train.features.numeric=[x1,x2]"),
            *("train.estimator.class=sklearn.linear_model.Ridge", "train.min_rows=2", "train.alias=champion"),
        ]

    def run(self, verb: str, strike: Callable[[], None] | None = None) -> int:
        """The command, as ``mmeframe`` runs it. strike: called before and after each call of the store."""
        os.chdir(self.folder)
        if strike is not None:
            watch(strike)
        sys.argv = ["mmeframe", *self.command(verb), f"tracking.uri={self.uri}"]
        try:
            cli.entry()
        except SystemExit as ended_by:
            return int(ended_by.code or 0)


def watch(strike: Callable[[], None]) -> None:
    """Call ``strike`` before and after every call of MLflow's client that is not made by another one."""
    from mlflow import MlflowClient

    inside = [False]

    def wrapped(method: Any) -> Any:
        def call(self: Any, *args: Any, **options: Any) -> Any:
            if inside[0]:
                return method(self, *args, **options)
            inside[0] = True
            try:
                strike()
                found = method(self, *args, **options)
                strike()
            finally:
                inside[0] = False
            return found

        return call

    for name, method in vars(MlflowClient).copy().items():
        if callable(method) and not name.startswith("_"):
            setattr(MlflowClient, name, wrapped(method))


def half(store: Any, known: dict[str, int], expected: list[float]) -> list[str]:
    """What nobody should ever find in a registry; ``known`` gets the versions that were whole."""
    client, found = store.client, []
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{model.name}'")
        for version in versions:
            if int(version.version) <= known.get(model.name, 0):
                continue
            try:
                logged = client.get_logged_model(model_id(version))
                assert logged.status == LoggedModelStatus.READY, f"its model is {logged.status}"
                uri = f"models:/{model.name}/{version.version}"
                if model.name == "router":
                    routers.verified(store, uri)
                elif model.name.startswith("trained_"):
                    loaded(uri)
            except Exception as error:
                found.append(f"version {version.version} of {model.name}: {type(error).__name__}: {error}")
        known[model.name] = max((int(version.version) for version in versions), default=0)
        for alias, number in dict(model.aliases).items():
            if str(number) not in {str(version.version) for version in versions}:
                found.append(f"alias {alias} of {model.name} names version {number}, which is not there")
    try:
        answers = loaded("models:/router@champion").tolist()
        if answers != expected:
            found.append("the alias answers otherwise")
    except Exception as error:
        found.append(f"the alias does not answer: {type(error).__name__}: {error}")
    return found


def model_id(version: Any) -> str:
    """Searches leave it out."""
    return str(version.source.rpartition("/")[2])


def loaded(uri: str) -> Any:
    import mlflow.pyfunc

    # MLflow leaves what it downloads until the process ends as it should, and these do not.
    with tempfile.TemporaryDirectory() as folder:
        return np.asarray(mlflow.pyfunc.load_model(uri, suppress_warnings=True, dst_path=folder).predict(ROWS))


def left(client: Any, folder: Path) -> dict[str, int]:
    """What a killed process leaves: runs without an end, models that nobody has registered, and folders."""
    experiments = [it.experiment_id for it in client.search_experiments()]
    runs = client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000)
    used = {model_id(version) for version in client.search_model_versions(max_results=10_000)}
    models = client.search_logged_models(experiments, max_results=1000)
    folders = [
        path for path in (folder / "tmp").rglob("*") if path.parent.name in ("work", "routers", "models", "code")
    ]
    others = [path for path in (folder / "tmp").iterdir() if not path.name.startswith("mmeframe-")]
    drafts = list((folder / "tmp").glob("mmeframe-*/builds/*"))
    whole = [path for path in folders if path.parent.name != "work" and not path.name.startswith(".")]
    return {
        "runs": len(runs),
        "models": sum(model.model_id not in used for model in models),
        "folders": len(folders) - len(whole) + len(others),
        "drafts": len(drafts),
    }


def look(place: Place) -> dict[str, Any]:
    with using_store(place.uri) as store:
        known = dict(place.known)
        wrong = half(store, known, place.expected)
        return {"wrong": wrong, "known": known, "left": left(store.client, place.folder)}


# -- the self-check ----------------------------------------------------------------------------------------------------


def broken(place: Place) -> list[str]:
    """Break a store in ways that a half registration could; what the check says of each, or an empty text."""
    said = []
    with using_store(place.uri) as store:
        client = store.client
        version = client.get_model_version_by_alias("router", "champion")
        newest = int(version.version)
        # Where the store keeps them, behind a server, too.
        (root,) = (path.parent for path in place.folder.rglob("MLmodel") if path.parts[-3] == model_id(version))
        for name in (BUNDLE / "pack.bin", Path("MLmodel")):
            kept = (root / name).read_bytes()
            (root / name).write_bytes(kept[:-3])
            forget(place)
            said.append(half(store, {"router": newest - 1}, place.expected))
            (root / name).write_bytes(kept)
        pending = client.create_logged_model("0", name="half", source_run_id=version.run_id)
        source = f"models:/{pending.model_id}"
        made = client.create_model_version("router", source, version.run_id, model_id=pending.model_id)
        client.set_registered_model_alias("router", "champion", made.version)
        said.append(half(store, {"router": newest}, place.expected))
        client.set_registered_model_alias("router", "champion", version.version)
        client.delete_model_version("router", made.version)
        client.delete_logged_model(pending.model_id)
        said.append(half(store, {"router": newest}, [number + 1 for number in place.expected]))
        healed = half(store, {}, place.expected)
        assert not healed, healed
    return ["; ".join(it) for it in said]


def forget(place: Place) -> None:
    """Remove copies of routers from the cache: they stay whole, whatever becomes of the store."""
    for folder in (place.folder / "tmp").glob("mmeframe-*/routers"):
        shutil.rmtree(folder)


# -- kills -------------------------------------------------------------------------------------------------------------


def prepare(place: Place) -> None:
    """What the commands need, what they answer when nothing strikes, and how long they take."""
    (place.folder / "tmp").mkdir()

    def fill() -> list[float]:
        fleets.make_store(place.folder)
        frame = ROWS.assign(y=ROWS["x1"] + ROWS["dow"])
        frame.to_csv(place.folder / "rows.csv", index=False)
        with fleets.inside(place.folder), fleets.active(place.uri):
            example = ROWS[["x1", "x2"]]
            for day in range(7):
                fleets.log_sklearn(fleets.fitted(day), f"day_{day}", example, tags={"dow": str(day)})
            fleets.log_sklearn(fleets.fitted(20), "all_days", example)
        assert place.run("build") == 0
        with fleets.active(place.uri):
            answers: list[float] = loaded("models:/router@champion").tolist()
        return answers

    place.expected = done(fill, place.log)

    def imported() -> list[str]:
        for verb in ("build", "train"):
            assert place.run(verb) == 0
        with fleets.active(place.uri):
            loaded("models:/trained_0@champion")
        return sorted(sys.modules)

    # Every process begins with what commands import, and with nothing that is open.
    for name in done(imported, place.log):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    for verb in ("build", "train"):
        times = []
        for _ in range(3):
            start = time.monotonic()
            done(lambda verb=verb: place.run(verb), place.log)
            times.append(time.monotonic() - start)
        place.seconds[verb] = sorted(times)[1]

    def count() -> dict[str, int]:
        seen = [0]
        assert place.run("build", lambda: seen.__setitem__(0, seen[0] + 1)) == 0
        return {"calls": seen[0]}

    place.calls = done(count, place.log)["calls"]


def kill(place: Place, verb: str, number: signal.Signals, at: float, aimed: bool) -> bool:
    """Run a command that is struck at a part of its time, or of its calls; whether it was."""
    if aimed:
        seen, wanted = [0], int(at * place.calls)

        def strike() -> None:
            if seen[0] == wanted:
                os.kill(os.getpid(), number)
            seen[0] += 1

        status, _ = ended(*apart(lambda: place.run(verb, strike), place.log))
        return status != 0
    child, reader = apart(lambda: place.run(verb), place.log)
    time.sleep(at * place.seconds[verb])
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
    status, _ = ended(child, reader)
    return status != 0


def storm(place: Place, kills: int, seed: int) -> tuple[dict[Any, Counter[str]], list[str]]:
    """Counts by verb, signal and tenth of the time; and all that was wrong."""
    chance, faults = random.Random(seed), []
    table: dict[Any, Counter[str]] = {}
    for turn in range(kills):
        if turn % 20 == 19:
            tell(table, turn)
        verb = "train" if turn % 5 == 4 else "build"
        aimed = verb == "build" and turn % 3 == 2
        number = signal.SIGKILL if aimed else KILLS[turn % len(KILLS)]
        # Even over the whole: at random within each tenth.
        at = (turn * 3 % TENTHS + chance.random()) / TENTHS
        struck = kill(place, verb, number, at, aimed)
        row = table.setdefault((verb, "at a call" if aimed else number.name, int(at * TENTHS)), Counter())
        row["kills" if struck else "ended before"] += 1
        found = done(lambda: look(place), place.log)
        place.known = found["known"]
        row.update({f"left {what}": count for what, count in found["left"].items()})
        wrong = found["wrong"]
        if turn % IN_A_ROW != IN_A_ROW - 1:
            found = done(lambda verb=verb: {"status": place.run(verb), **look(place)}, place.log)
            status = found["status"]
            place.known = found["known"]
            wrong += found["wrong"] + ([f"the next {verb} ended with {status}"] if status else [])
            row.update({f"after {what}": count for what, count in found["left"].items()})
            # What a build has packed is kept for the next build.
            cleaned = [what for what in found["left"] if (verb, what) != ("train", "drafts")]
            wrong += [f"{found['left'][what]} {what} are not cleaned" for what in cleaned if found["left"][what]]
        row["wrong"] += bool(wrong)
        for line in wrong:
            faults.append(f"{turn}: {verb} {number.name} at {at:.3f}{' of calls' if aimed else ''}: {line}")
            print(faults[-1], flush=True)
    return table, faults


def tell(table: dict[Any, Counter[str]], kills: int) -> None:
    """Tenths of a time, or of all calls, with what was left in them, and what the next command has left of that."""
    kinds = ["runs", "models", "folders", "drafts"]
    print(f"after {kills} kills:")
    print(f"| command | struck by | tenth | killed | ended before | left: {', '.join(kinds)} | then | faults |")
    for (verb, number, tenth), row in sorted(table.items()):
        before, after = (", ".join(str(row[f"{when} {what}"]) for what in kinds) for when in ("left", "after"))
        counts = f"{row['kills']} | {row['ended before']} | {before} | {after} | {row['wrong']}"
        print(f"| {verb} | {number} | {tenth + 1} | {counts} |", flush=True)


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--builds", type=int, default=200)
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--server", type=float, default=0.25, help="the share that an MLflow server has for its store")
    given = reader.parse_args()
    served = int(given.builds * given.server)
    faults = []
    if given.builds > served:
        with tempfile.TemporaryDirectory(prefix="killed-") as home:
            faults += struck(Path(home), f"sqlite:///{home}/mlflow.db", given.builds - served, given.seed)
    if served:
        with tempfile.TemporaryDirectory(prefix="killed-") as home, servers.mlflow_server(Path(home)) as uri:
            faults += struck(Path(home), uri, served, given.seed)
    print(f"{given.builds} kills, {len(faults)} faults")
    return 1 if faults else 0


def struck(home: Path, uri: str, kills: int, seed: int) -> list[str]:
    """Kill over one store; all that was wrong."""
    os.environ["TMPDIR"], tempfile.tempdir = str(home / "tmp"), None
    place = Place(home, uri)
    prepare(place)
    checks = done(lambda: broken(place), place.log)
    assert all(checks), f"a broken store is taken for a whole one: {checks}"
    took = ", ".join(f"a {verb} takes {seconds:.1f} s" for verb, seconds in place.seconds.items())
    print(f"{uri}: {took}; {place.calls} moments of calls; self-check: {len(checks)} broken stores found", flush=True)
    table, wrong = storm(place, kills, seed)
    tell(table, kills)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
