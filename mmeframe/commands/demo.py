"""``mmeframe demo``: the whole way once, on 336,776 real flights, in the current directory's store."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mmeframe.budget import size_text
from mmeframe.commandline import ConfigCommand
from mmeframe.commands.train import show_trained
from mmeframe.output import note, progress_bar, say, table

if TYPE_CHECKING:
    import subprocess

    import pandas as pd

    from mmeframe.api import Job
    from mmeframe.commandline import Flags
    from mmeframe.runtime import Router

__all__ = ["COMMAND"]

BATCH = 100_000
# What the config of ``conf/experiment/flights.yaml`` trains on, and whoever runs the demo allows with it.
_TABLE = "mmeframe.train.datasets:flights"
_SHOWN = 8
_SERVER_TIMEOUT_S = 120


def _run(work: Job, flags: Flags) -> int:
    """Train, build, load back, score a mixed batch, serve, ask over HTTP; print what happened."""
    from mmeframe.store.routers import load
    from mmeframe.train import allowance
    from mmeframe.train.rows import read

    work = replace(work, allow=(*work.allow, _TABLE))
    with progress_bar() as progress:
        note("training the sub-models ...")
        trained = work.train(progress)
        note("building the router ...")
        logged = work.build(progress)
    settings = work.spec.train
    assert settings is not None  # noqa: S101 - parsing has refused a demo without training
    rows = read(settings.reader, allowance(work.allow)).sample(BATCH, random_state=settings.seed)
    with work.store() as store:
        router = load(store, logged.model_uri)
    note(f"scoring {len(rows):,} rows ...")
    timing = _measure(router, rows)
    note("serving it with MLflow's server ...")
    answered = _ask_server(logged.model_uri, rows, work)
    if flags.json:
        import dataclasses

        data = {
            "logged": dataclasses.asdict(logged),
            "trained": dataclasses.asdict(trained),
            **timing,
            "http": answered,
        }
        print(json.dumps({"ok": True, **data}, indent=1, default=str))
        return 0
    _print(work, trained, logged, router, rows, timing, answered)
    return 0


def _measure(router: Router, rows: pd.DataFrame) -> dict[str, float]:
    """Seconds for the mixed batch, and the sum of the bare sub-models' own on rows that are cut for them already."""
    import statistics

    import numpy as np

    answer = router.answer(rows)
    names = [column.name for column in router.union]
    features = rows[names].astype({c.name: float for c in router.union if c.type == "double"})
    target = np.broadcast_to(answer.routed.target, (len(rows),))
    groups = [(int(number), features[target == number]) for number in np.unique(target)]
    routed, bare = [], []
    for models in router.residency.acquire([number for number, _ in groups]):
        for _ in range(3):
            start = time.perf_counter()
            router.predict(rows)
            routed.append(time.perf_counter() - start)
            start = time.perf_counter()
            for number, group in groups:
                models[number].predict(group)
            bare.append(time.perf_counter() - start)
    return {"routed_s": statistics.median(routed), "bare_s": statistics.median(bare)}


def _a_few(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of several days, the last one without its time: no weekday, so the last level answers."""
    some = rows.drop_duplicates("day").head(_SHOWN).copy()
    some.loc[some.index[-1], "time_hour"] = None
    return some


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ask_server(uri: str, rows: pd.DataFrame, work: Job) -> dict[str, Any]:
    """Start the server, send one request with rows of several weekdays, stop the server."""
    import subprocess
    import urllib.request

    port = _free_port()
    command = [sys.executable, "-m", "mmeframe", "serve", f"model={uri}", f"serve.port={port}"]
    if work.spec.tracking.uri:
        command.append(f"tracking.uri={work.spec.tracking.uri}")
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        _wait(f"http://127.0.0.1:{port}/ping", server)
        some = _a_few(rows)
        body = {
            "dataframe_split": json.loads(some.to_json(orient="split", index=False)),
            "params": {"annotate": True},
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            predictions = json.load(response)["predictions"]
        return {
            "status": response.status,
            "port": port,
            "rows": some[["time_hour", "carrier", "dest"]].to_dict("list"),
            **predictions,
        }
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
        if server.stderr:
            server.stderr.close()


def _wait(url: str, server: subprocess.Popen[str]) -> None:
    import urllib.request

    from mmeframe.errors import MmeframeError

    end = time.monotonic() + _SERVER_TIMEOUT_S
    while time.monotonic() < end:
        if server.poll() is not None:
            text = server.stderr.read() if server.stderr else ""
            raise MmeframeError(f"the server stopped with code {server.returncode}.", hint=text[-2000:])
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310
                return
        except OSError:
            time.sleep(0.2)
    raise MmeframeError(f"the server did not answer within {_SERVER_TIMEOUT_S} s.")


def _print(
    work: Job,
    trained: Any,
    logged: Any,
    router: Router,
    rows: pd.DataFrame,
    timing: dict[str, float],
    answered: dict[str, Any],
) -> None:
    show_trained(trained)
    say("", f"router   {logged.model_uri}")
    say(f"name     {logged.name}, version {logged.version}, alias {logged.alias}")
    say(f"size     {logged.sub_models} sub-models, {size_text(logged.bytes)}, digest {logged.digest[:16]}...")
    shown = _a_few(rows)
    columns = router.predict(shown, {"annotate": True})
    facts = zip(shown["time_hour"], shown["carrier"], shown["origin"], shown["dest"], strict=True)
    table(
        "a few of the mixed batch: arrival delay in minutes",
        ["time_hour (UTC)", "flight", "prediction", "sub-model", "reason"],
        [
            [when if isinstance(when, str) else "(missing)", f"{by} {origin}-{to}", float(value), model, reason]
            for (when, by, origin, to), value, model, reason in zip(
                facts, columns["prediction"], columns["model_id"], columns["reason"], strict=True
            )
        ],
    )
    routed, bare = timing["routed_s"], timing["bare_s"]
    say(
        f"mixed batch of {len(rows):,} rows: {len(rows) / routed:,.0f} rows/s ({routed:.3f} s); the bare sub-models,",
        f"on rows cut for them beforehand: {len(rows) / bare:,.0f} rows/s ({bare:.3f} s); ratio {routed / bare:.2f}",
    )
    used = sorted(set(answered["model_id"]))
    say(
        f"over HTTP: status {answered['status']}, {len(answered['prediction'])} rows answered by {len(used)} sub-models"
    )
    store = (
        f" --backend-store-uri {work.spec.tracking.uri}"
        if work.spec.tracking.uri
        else " --backend-store-uri sqlite:///mlflow.db"
    )
    bin_ = os.path.dirname(sys.executable)
    say("", "serve it:            " + _command(bin_, "mmeframe", f"serve model={logged.model_uri}"))
    say("or with MLflow alone: " + f"PATH={bin_}:$PATH mlflow models serve -m {_alias_uri(logged)} --env-manager local")
    say("open the MLflow UI:  " + _command(bin_, "mlflow", f"ui{store}"))


def _alias_uri(logged: Any) -> str:
    return f"models:/{logged.name}@{logged.alias}" if logged.alias else str(logged.model_uri)


def _command(folder: str, name: str, rest: str) -> str:
    """A command as it can be typed here: by name if the environment is active, else by path."""
    import shutil

    found = shutil.which(name)
    here = os.path.relpath(os.path.join(folder, name))
    return f"{name if found and os.path.samefile(os.path.dirname(found), folder) else here} {rest}"


COMMAND = ConfigCommand(
    name="demo",
    summary="train, build, score and serve on 336,776 real flights",
    examples=("mmeframe demo",),
    run=_run,
    flags=("--allow",),
)
