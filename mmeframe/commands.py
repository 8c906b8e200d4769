"""What each command does and prints. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.budget import size_text
from mmeframe.errors import MmeframeError, Problem, ProblemsError, UsageError, count, listed
from mmeframe.output import emit, emit_rows, note, progress_bar, say, show_trained, table
from mmeframe.versions import HERE, faults

if TYPE_CHECKING:
    from mmeframe.api import Explained, Job
    from mmeframe.cli import Flags
    from mmeframe.plugin.manager import Plugins

__all__ = ["USES", "delegate", "help_for", "init", "run"]


def run(flags: Flags, plugins: Plugins) -> int:
    """Compose, validate and run one config command."""
    from mmeframe import api

    _check_flags(flags)
    work = api.job(
        flags.command,
        flags.overrides,
        config_dirs=_config_dirs(flags),
        config_name=flags.config_name,
        plugins=plugins,
        logged=flags.model is not None,
        allow=flags.allow,
    )
    _check_read(work, flags, flags.overrides)
    return _TASKS[flags.command](work, flags)


def _config_dirs(flags: Flags) -> list[str]:
    from mmeframe.config.layout import config_dirs

    return config_dirs(flags.config_dirs)


# Flags that only some commands take.
USES: Mapping[str, Sequence[str]] = {
    "predict": ("model", "data", "params", "out"),
    "validate": ("model", "data", "params"),
    "explain": ("model", "data", "params", "limit", "out"),
    "plan": ("model",),
    "serve": ("model",),
    "show": ("model",),
    "init": ("plugin", "kind"),
    "train": ("allow",),
    "demo": ("allow",),
}


def _check_flags(flags: Flags) -> None:
    for name in ("model", "data", "params", "limit", "out", "plugin", "kind", "allow"):
        if getattr(flags, name) not in (None, []) and name not in USES.get(flags.command, ()):
            raise UsageError(f"{flags.command} takes no --{name}.", hint=f"See mmeframe {flags.command} --help.")
    if flags.command == "explain" and flags.out is not None and flags.data is not None:
        out, data = Path(flags.out), Path(flags.data)
        if out.exists() and data.exists() and out.samefile(data):
            what = "this is the table that is read, whose columns would be lost."
            raise UsageError(what, where="--out", hint="Name another file.")
    if flags.exit_code and flags.command != "plan":
        raise UsageError(f"{flags.command} takes no --exit-code.", hint="Only plan does.")


# What a command about a logged router reads of a config; predict and serve read the sections of their names, too.
_CLIENT = ("name", "tracking.uri", "tracking.register_as", "tracking.alias")
# Sections that are for other commands than those that read a whole config; validate checks them all.
_OTHERS = {
    "build": ("train", "predict", "serve", "validate"),
    "plan": ("train", "predict", "serve", "validate"),
    "explain": ("train", "predict", "serve", "validate", "build"),
    "train": (
        *("predict", "serve", "validate", "build", "output", "signature", "environment", "residency"),
        *("traffic", "isolation", "observers"),
    ),
}


def _check_read(work: Job, flags: Flags, overrides: Sequence[str]) -> None:
    """Refuse overrides that do nothing in a command; a file may hold whatever all of them need."""
    command, sections = flags.command, work.composed.tree
    client = command in ("predict", "serve", "show") or (flags.model is not None and command != "plan")
    others, problems = _OTHERS.get(command, ()), []
    places = [_place(override) for override in overrides]
    # A fleet that is declared on the command line says whose router is meant, as a file does.
    fleet = ("routing", "models", "sources") if {"models", "sources"} & {section for _, section in places} else ()
    for override, (path, section) in zip(overrides, places, strict=True):
        if section == "hydra" and not flags.hydra and path != "hydra.searchpath":
            hint = "Leave it out: Hydra's own options are for its flags, such as --multirun."
            problems.append(Problem(override, f"{command} does not read hydra.", hint, "usage"))
        if section not in sections or section in fleet:
            continue
        read = any(path == it or path.startswith(f"{it}.") or it.startswith(f"{path}.") for it in (*_CLIENT, command))
        if not read if client else section in others:
            hint = f"Leave it out: it reads {', '.join([*_CLIENT, *({command} & {*sections})])}."
            if section == "output" and "annotate" in override and command == "predict":
                hint = """It is a router's own; ask for it with --params '{"annotate": true}'."""
            elif not client:
                hint = "Leave it out, or put it into a config file, which may hold what other commands need."
            problems.append(Problem(override, f"{command} does not read {section}.", hint, "usage"))
    if problems:
        raise ProblemsError(problems)


def _place(override: str) -> tuple[str, str]:
    """The path of a config that an override is about, and its section."""
    group, _, place = override.lstrip("+~").partition("=")[0].partition("@")
    path = place or group
    return path, path.split(".")[0].split("/")[0]


def delegate(flags: Flags, plugins: Plugins) -> int:
    """Hand Hydra's own flags to ``hydra.main``; ``-m`` runs the command once per combination."""
    import tempfile

    import hydra

    from mmeframe import api
    from mmeframe.config.calls import conf_dir, for_sweep, hydra_base, named, swept, tried_runs
    from mmeframe.config.compose import activated, compose, composed_from
    from mmeframe.config.layout import groups, located, places
    from mmeframe.redact import redact_override

    config_name, config_dirs = located(flags.config_name or flags.command, _config_dirs(flags))
    codes = []
    problems: list[Problem] = []
    sweeps = bool({"-m", "--multirun"} & set(flags.hydra))
    # The default alias would go to whichever trial comes last.
    alias = "train.alias" in map(named, flags.overrides)

    def task(cfg: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        found: tuple[Problem, ...] = ()
        given = tuple(HydraConfig.get().overrides.task) if sweeps else tuple(flags.overrides)
        try:
            work = api.job_of(composed_from(flags.command, cfg, given, config_name), plugins, allow=flags.allow)
            _check_read(work, flags, given)
            if sweeps and flags.command == "train":
                varied = swept(flags.overrides)
                label = " ".join(redact_override(text) for text in given if named(text) in varied or not varied)
                work = _as_trial(work, label, keeps_alias=not alias)
            codes.append(_TASKS[flags.command](work, flags))
        except ProblemsError as error:
            found = error.problems
        except MmeframeError as error:
            found = (Problem.of(error),)
        if found and sweeps:
            job = " ".join(HydraConfig.get().overrides.task)
            found = tuple(replace(problem, what=f"{problem.what} (in the run of {job})") for problem in found)
        problems.extend(found)

    quiet = [
        "hydra.run.dir=.",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        f"hydra.job.name={flags.command}",
    ]
    overrides, runs = flags.overrides, [flags.overrides]
    if sweeps:
        known = groups(places(map(str, config_dirs), plugins))
        overrides = for_sweep(overrides, known)
        runs = [*tried_runs(overrides, known)]
    sys.argv = [f"mmeframe {flags.command}", *flags.hydra, *overrides, *quiet]
    base: dict[str, Any] = hydra_base()
    # Hydra would end with its own words, or with a traceback, for what it cannot read.
    for tried in runs if "--hydra-help" not in flags.hydra else ():
        found = compose(
            flags.command, tried, plugins=plugins, config_dirs=config_dirs, config_name=config_name
        ).problems
        if found:
            raise ProblemsError(found)
    with activated(plugins, config_dirs), tempfile.TemporaryDirectory(prefix="mmeframe-sweep-") as scratch:
        # Hydra writes multirun.yaml somewhere, whatever is asked of it.
        sys.argv += [] if any("hydra.sweep.dir=" in word for word in sys.argv) else [f"hydra.sweep.dir={scratch}"]
        hydra.main(config_path=str(conf_dir()), config_name=config_name, **base)(task)()
    if problems:
        raise ProblemsError(problems)
    if sweeps and flags.command == "train" and not alias:
        note("a sweep moves no alias: train once more with the overrides of the best trial, or set train.alias")
    return max(codes, default=0)


def _as_trial(work: Job, label: str, *, keeps_alias: bool) -> Job:
    """The training of one combination of a sweep: what it makes is labelled, and no alias moves unasked."""
    spec = work.spec
    assert spec.train is not None  # noqa: S101 - parsing has refused a training without a section
    name = f"{spec.tracking.run_name or f'train-{spec.name}'} {label}"
    tracking = replace(spec.tracking, run_name=name, tags={**spec.tracking.tags, "mmeframe.trial": label})
    settings = replace(spec.train, alias=None) if keeps_alias else spec.train
    return replace(work, spec=replace(spec, tracking=tracking, train=settings))


# -- commands --------------------------------------------------------------------------------------------------------


def _key(key: Mapping[str, str | None] | None) -> str:
    if key is None:
        return "(none)"
    shown = {part: "(missing)" if value is None else value for part, value in key.items()}
    return ", ".join(f"{part}={value}" for part, value in shown.items()) or "(all)"


def _validate(work: Job, flags: Flags) -> int:
    from mmeframe import api

    gate = work.spec.validate.min_coverage
    if gate is not None and flags.data is None:
        raise UsageError("validate.min_coverage needs a table.", where="--data", hint="Name one with --data FILE.")
    if work.spec.validate.load and flags.model is not None:
        what = "a logged router was loaded and proved when it was built."
        raise UsageError(what, where="validate.load", hint="Leave it out, or leave --model out to prove a config.")
    with work.store() as store, progress_bar() as progress:
        if flags.model is None:
            data = api.plan_of(api.checked(work, store, progress))
            facts = {"sub_models": len(data["sub_models"]), "columns": len(data["columns"])}
            levels, warnings = data["routing"]["levels"], data["warnings"]
        else:
            _, bundle = api.verified(store, flags.model)
            facts = {"sub_models": len(bundle), "columns": len(bundle.manifest["union"])}
            levels = bundle.manifest["routing"]["levels"]
            warnings = faults(bundle.manifest["environment"], bundle.pickled(HERE))
        found = None
        if flags.data is not None:
            found = api.coverage_of(work, store, flags.model, Path(flags.data), _routing_params(flags))

    def show() -> None:
        named = " then ".join("+".join(level) or "global" for level in levels)
        proved = ", loaded and proved" if work.spec.validate.load else ""
        shown = f"{count(facts['sub_models'], 'sub-model')}{proved}, {count(facts['columns'], 'column')}"
        say(f"ok: {shown}, levels: {named}")
        if found is not None:
            _show_coverage(found)

    _warnings(warnings)
    low = found is not None and gate is not None and (found["coverage"] < gate or not found["rows"])
    emit(flags.json, {**facts, "warnings": warnings} | ({"coverage": found} if found else {}), show, ok=not low)
    if low and found is not None and gate is not None:
        said = f"{found['coverage']:.4%} of the rows reach a sub-model, not {gate:.4%}"
        note(f"error: validate.min_coverage: {said if found['rows'] else f'{flags.data} has no rows'}.")
    return int(low)


def _show_coverage(found: Mapping[str, Any]) -> None:
    reasons = _counts(found["reasons"])
    say(f"coverage: {found['covered']:,} of {found['rows']:,} rows ({found['coverage']:.2%}): {reasons}")
    rows = [[_key(it["key"]), it["rows"], it["model_id"] or "(none)", it["reason"]] for it in found["keys"]]
    table(count(len(rows), "key"), ["key", "rows", "sub-model", "reason"], rows)
    for title, names in (
        ("keys without a sub-model", [_key(it["key"]) for it in found["without_model"]]),
        ("sub-models that no row reaches", found["unreached"]),
        ("columns with several types", [f"{name} ({', '.join(types)})" for name, types in found["promoted"].items()]),
        ("columns of the table", found["faults"]),
    ):
        if names:
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            say(f"{title}: {'; '.join(names[:10])}{more}")


def _routing_params(flags: Flags) -> dict[str, Any]:
    return {name: value for name, value in _params(flags.params).items() if name != "annotate"}


def _explain(work: Job, flags: Flags) -> int:
    from mmeframe import api

    if flags.data is None:
        raise UsageError("explain needs a table.", where="--data", hint="mmeframe explain --data rows.csv")
    limit = _limit(flags.limit)
    with work.store() as store:
        found = api.explained(work, store, flags.model, Path(flags.data), _routing_params(flags))
        if flags.out is not None:
            _write_explained(found, limit, Path(flags.out), flags)
        elif flags.json:
            emit_rows(found.rows(limit))
        else:
            shown = list(found.rows(_SHOWN if limit is None else limit))
            # Only a table that has more is read to its end.
            _show_explained(shown, found.reasons() if len(shown) >= (_SHOWN if limit is None else limit) else None)
    return 0


# Rows that explain shows if nobody says how many.
_SHOWN = 40


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise UsageError(f"this is not a number of rows: {text}.", where="--limit", hint="For instance --limit 100.")
    return int(text)


def _write_explained(found: Explained, limit: int | None, out: Path, flags: Flags) -> None:
    from mmeframe.route.explain import write_explained

    with progress_bar() as progress:
        reasons = write_explained(found.rows(limit), found.routing.table.parts, out, progress)
    rows = sum(reasons.values())
    note(f"explained {rows:,} rows to {out}" + (f" ({_counts(reasons)})" if reasons else ""))
    if flags.json:
        emit(True, {"written": rows, "out": str(out), "reasons": reasons}, lambda: None)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {rows:,}" for reason, rows in reasons.items())


def _show_explained(found: list[dict[str, Any]], reasons: Mapping[str, int] | None) -> None:
    """reasons: of all rows, None where these are all."""
    from mmeframe.route.explain import route_text

    rows = [
        [
            it["row"],
            _key(it["key"]),
            route_text(it["route"]),
            it["arm"],
            it["model_id"],
            it["model_version"],
            it["reason"],
        ]
        for it in found
    ]
    total = len(rows) if reasons is None else sum(reasons.values())
    columns = ["row", "key", "route", "arm", "sub-model", "version", "reason"]
    table(count(total, "row"), columns, rows, limit=len(rows))
    if reasons and total > len(rows):
        say(f"... and {total - len(rows):,} more (--limit N shows more, --out FILE writes all)")
        say(f"all rows: {_counts(reasons)}")


def _plan(work: Job, flags: Flags) -> int:
    from mmeframe import api

    if not work.composed.tree["models"] and not work.composed.tree["sources"] and flags.model is not None:
        # No config to compare: what the router itself says.
        if flags.exit_code:
            raise UsageError(
                "there is no config to compare.", where="--exit-code", hint="Name one: --config-name NAME."
            )
        return _show(work, flags)
    with work.store() as store:
        fleet, difference, changes = api.planned(work, store, flags.model)
        data = {**api.plan_of(fleet), "difference": difference, "changes": changes}
    _warnings(data["warnings"])
    emit(flags.json, {"plan": data}, lambda: _show_plan(data))
    return _SOMETHING if flags.exit_code and changes else 0


# The exit code of a plan that would change something, where a script asks for it.
_SOMETHING = 3
# What a plan calls the parts of a router that are compared as a whole.
_SECTIONS = {
    "routing": "keys, levels or on_unknown",
    "tables": "files that components read",
    "traffic": "arms or shares",
    "disabled_models": "sub-models that get no rows",
    "isolation": "shared or process",
    "observers": "observers or their options",
    "output": "method, annotate, on_error or missing_note",
    "residency": "options",
    "signature": "mode",
    "union": "columns or their types",
    "answer": "columns, types or what may be null",
    "params": "parameters of sub-models",
    "environment": "requirements",
    "wrapping": "requirements, signature, embedded code or what a deployment may change",
}


def _show_difference(found: Mapping[str, Any]) -> None:
    if found["against"] is None:
        say("nothing is registered yet: every sub-model is new")
        return
    say(f"against {found['against']}:")
    for word in ("added", "removed"):
        if found[word]:
            more = f" and {len(found[word]) - 10} more" if len(found[word]) > 10 else ""
            say(f"  {word}: {', '.join(found[word][:10])}{more}")
    for it in found["changed"][:10]:
        say(f"  changed: {it['id']}: {it['from']} -> {it['to']}")
    for it in found["retargeted"][:10]:
        say(f"  retargeted: {_key(it['key'])}, arm {it['arm']}: {it['from']} -> {it['to']}")
    for it in found["code"]:
        say(f"  code: {it['name']}: {it['from'] or '(not used)'} -> {it['to'] or '(not used)'}")
    for word, what in _SECTIONS.items():
        if found[word]:
            say(f"  {word}: {what} differ")
    if found["files"]:
        more = f" and {len(found['files']) - 10} more" if len(found["files"]) > 10 else ""
        say(f"  other files: {', '.join(found['files'][:10])}{more}")
    if found["newest"]:
        say(f"  it is not the newest version, which is {found['newest']}")
    if not any(value for word, value in found.items() if word != "against"):
        say("  no difference")


def _show_plan(data: Mapping[str, Any]) -> None:
    target = f"{data['register_as']}" + (f"@{data['alias']}" if data["alias"] else "")
    say(f"router {data['name']}, to be registered as {target}")
    for part, key in data["routing"]["keys"].items():
        shown = ", ".join(key["declared"][:10]) + (" ..." if len(key["declared"]) > 10 else "")
        options = ", ".join(f"{k}={v}" for k, v in key.items() if k not in ("kind", "declared") and v is not None)
        say(f"key {part}: {key['kind']}({options}), declared: {shown}")
    levels = " then ".join("+".join(level) or "global" for level in data["routing"]["levels"])
    say(f"levels: {levels}; unknown keys: {data['routing']['on_unknown']}")
    rows = [[m["id"], _key(m["key"]), m["arm"], *_files_of(m)] for m in data["sub_models"]]
    table(count(len(rows), "sub-model"), ["id", "key", "arm", "uri", "flavor", "loader"], rows)
    _show_traffic(data)
    _show_columns([(c["name"], c["type"], c["required"]) for c in data["columns"]], data["routing_columns"])
    for name, parameter in data["params"].items():
        say(f"parameter {name} ({parameter['type']}): {listed(parameter['of'])}")
    say("requirements: " + ", ".join(data["requirements"]))
    for part, changes in data["csv_changes"].items():
        say(f"{part}, as CSV readers take it: " + ", ".join(f"{key} as {change}" for key, change in changes.items()))
    for entry in data["dropped"]:
        say(f"dropped: {entry['id']} (replaced by {entry['replaced_by']})")
    for where, path in data["paths"].items():
        say(f"{where}: {path}")
    _show_difference(data["difference"])
    files = any(not (m["of"] or m["version"] or m["model_id"]) for m in data["sub_models"])
    if files and data["difference"]["against"] and data["difference"]["files"] is None:
        say("  files on disk are not compared: build says how many of them changed")


def _show_columns(columns: Iterable[Sequence[Any]], routing: Mapping[str, str]) -> None:
    """What a request has: the columns of the sub-models, and those that routing reads."""
    rows = [[name, type_, "yes" if needed else "no", routing.get(name)] for name, type_, needed in columns]
    known = {row[0] for row in rows}
    rows += [[name, None, None, part] for name, part in routing.items() if name not in known]
    table("columns", ["name", "type of the sub-models", "required", "read to route by"], rows)


def _files_of(model: Mapping[str, Any]) -> list[Any]:
    """The last columns of a sub-model: where its files are, or whose answers it combines."""
    return [f"of {', '.join(model['of'])}" if model["of"] else model["uri"], model["flavor"], model["loader"]]


def _show_traffic(data: Mapping[str, Any]) -> None:
    traffic = data["traffic"]
    for arm, share in traffic["arms"].items():
        keys = traffic["only"].get(arm)
        say(f"arm {arm}: {share:.2%} of the rows" + (f" of {'; '.join(map(_key, keys))}" if keys else ""))
    for arm in traffic["shadow"]:
        say(f"arm {arm}: scored in the background for observers")
    if data["disabled_models"]:
        say(f"disabled: {', '.join(data['disabled_models'])}")


def _warnings(lines: Any) -> None:
    for line in lines:
        note(f"warning: {line}")


def _build(work: Job, flags: Flags) -> int:
    import dataclasses

    from mmeframe import api

    with progress_bar() as progress:
        logged = api.build_job(work, progress)
    _warnings(logged.notes)

    def show() -> None:
        done = "logged " if logged.same_as is None else "same as"
        size = f"{count(logged.sub_models, 'sub-model')}, {size_text(logged.bytes)}"
        say(f"{done}  {logged.model_uri} ({size})" + ("" if logged.same_as is None else ": nothing was registered"))
        if logged.version:
            alias = f", alias {logged.alias}" if logged.alias else ""
            say(f"version  {logged.version} of {logged.name}{alias}")
        if logged.same_as is None and (logged.unchanged or logged.resumed or logged.described):
            others = count(logged.sub_models - logged.unchanged - logged.resumed, "sub-model")
            same = f"; {logged.unchanged:,} did not change since version {logged.since}" if logged.unchanged else ""
            before = f"; {logged.resumed:,} by an interrupted build" if logged.resumed else ""
            read = f"; {logged.described:,} were read by an interrupted build"
            say(f"packed   {others}{read if logged.described else ''}{same}{before}")
        say(f"digest   {logged.digest}")
        say(f"serve    mmeframe serve model={logged.model_uri}{_store_override(work)}")

    emit(flags.json, dataclasses.asdict(logged), show)
    return 0


def _store_override(work: Job) -> str:
    uri = work.spec.tracking.uri
    return f" tracking.uri={uri}" if uri else ""


def _train(work: Job, flags: Flags) -> int:
    import dataclasses

    from mmeframe import api

    with progress_bar() as progress:
        trained = api.train_job(work, progress)
    emit(flags.json, dataclasses.asdict(trained), lambda: show_trained(trained))
    return 0


def _predict(work: Job, flags: Flags) -> int:
    import dataclasses

    from mmeframe import api
    from mmeframe.tables import score_table

    if flags.data is None:
        raise UsageError(
            "predict needs a table.", where="--data", hint="mmeframe predict --data rows.csv --out out.csv"
        )
    params = _params(flags.params)
    settings = work.spec.predict
    with work.store() as store:
        router = api.load_from(store, api.find(work, flags.model, store))
        with progress_bar() as progress:
            scored = score_table(
                router,
                Path(flags.data),
                params=_routing_params(flags),
                out=Path(flags.out) if flags.out else None,
                stream=None if flags.json else sys.stdout,
                batch_rows=settings.batch_rows,
                keep=settings.keep,
                annotate=params.get("annotate"),
                progress=progress,
            )
    reasons = _counts(scored.reasons)
    note(
        f"scored {scored.rows:,} rows"
        + (f" to {scored.out}" if scored.out else "")
        + (f" ({reasons})" if reasons else "")
    )
    if flags.json:
        emit(flags.json, dataclasses.asdict(scored), lambda: None)
    return 0


def _params(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        params = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"this is not JSON: {error}.", where="--params", hint="""For instance '{"dow": 1}'."""
        ) from None
    if not isinstance(params, dict):
        raise UsageError("this must be a JSON object.", where="--params", hint="""For instance '{"dow": 1}'.""")
    if not isinstance(params.get("annotate", False), bool):
        raise UsageError("annotate must be true or false.", where="--params")
    return params


def _serve(work: Job, flags: Flags) -> int:
    """Become MLflow's scoring server: no idle parent process stays behind."""
    from mmeframe import api

    with work.store() as store:
        uri = api.find(work, flags.model, store)
        # Named here, in a line: the server would end with a traceback.
        folder, bundle = api.verified(store, uri)
    settings = work.spec.serve
    _check_address(settings.host, settings.port)
    note(f"serving {uri} on http://{settings.host}:{settings.port}/invocations (Ctrl-C stops it)")
    command = [sys.executable, "-m", "uvicorn", "mlflow.pyfunc.scoring_server.app:app"]
    command += ["--host", settings.host, "--port", str(settings.port), "--workers", str(settings.workers)]
    command += ["--log-level", "info" if flags.debug else "warning"]
    environment = {**os.environ, "__pyfunc_model_path__": str(folder), "MMEFRAME_EXPECT_DIGEST": bundle.digest}
    # A copy in the cache folder must stay what was downloaded: MLflow runs the entrypoint where it lies.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606 - exactly this server, no shell


def _check_address(host: str, port: int) -> None:
    """Raises MmeframeError if nothing can listen there, naming the options that say where."""
    import socket

    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        what = f"nothing can listen on {host}:{port}: {error.strerror or error}."
        raise MmeframeError(what, where="serve.port", hint="Choose another serve.port, or serve.host.") from None


def _show(work: Job, flags: Flags) -> int:
    from mmeframe import api

    with work.store() as store:
        data = api.show_from(store, api.find(work, flags.model, store))
    emit(flags.json, data, lambda: _show_router(data))
    return 0


def _show_router(data: Mapping[str, Any]) -> None:
    say(f"router   {data['name']} ({data['uri']})")
    say(f"built by mmeframe {data['mmeframe']}, bundle format {data['format']}")
    say(f"digest   {data['digest']}")
    fleet = count(len(data["sub_models"]), "sub-model")
    say(f"size     {size_text(data['bytes'])} in {fleet}, {size_text(data['pack_bytes'])} packed")
    for name, strategy in data["routing"]["parts"]:
        options = ", ".join(f"{k}={v}" for k, v in strategy["options"].items() if v is not None)
        say(f"key      {name}: {strategy['kind']}({options})")
    levels = " then ".join("+".join(level) or "global" for level in data["routing"]["levels"])
    say(f"levels   {levels}; unknown keys: {data['routing']['on_unknown']}")
    say(f"memory   {_residency(data['residency'])}")
    for module, plugin in data["plugins"].items():
        say(f"plugin   {plugin['distribution'] or module} {plugin['version'] or '(embedded module)'}")
    for it in data["other_code_here"]:
        say(f"differs  {it['name']} {it['from']}; here: {it['to'] or '(not installed)'}")
    rows = [
        [m["id"], _key(m["key"]), m["arm"], *_files_of(m), size_text(m["bytes"]), size_text(m["memory"])]
        for m in data["sub_models"]
    ]
    table("sub-models", ["id", "key", "arm", "uri", "flavor", "loader", "size", "memory"], rows)
    _show_traffic(data)
    _show_columns(data["columns"], data["routing_columns"])
    say("requirements: " + ", ".join(data["environment"]))


def _residency(options: Mapping[str, Any]) -> str:
    """The kind, and what bounds or fills it."""
    bytes_ = options["max_bytes"]
    shown = {**options, "max_bytes": None if bytes_ is None else size_text(bytes_)}
    shown |= {name: " ".join(options[name]) for name in ("pin", "preload")}
    names = ("max_bytes", "max_models", "pin", "preload", "ttl_s")
    return ", ".join([options["kind"], *(f"{name}={shown[name]}" for name in names if shown[name])])


def _demo(work: Job, flags: Flags) -> int:
    from mmeframe.demo import demo

    return demo(work, flags)


def init(flags: Flags) -> int:
    """Write a project or a plugin package into a folder, and say what to do there."""
    from mmeframe.scaffold import new_plugin, new_project

    _check_flags(flags)
    folders = [Path(word) for word in flags.overrides]
    if len(folders) > 1 or (not folders and flags.plugin is None):
        hint = "mmeframe init shop, or mmeframe init --plugin geohash [FOLDER]"
        raise UsageError("init needs one folder.", where="init", hint=hint)
    if flags.plugin is None:
        if flags.kind is not None:
            raise UsageError("only a plugin has a kind.", where="--kind", hint="Add --plugin NAME.")
        made = new_project(folders[0])
        todo = "pip install -r requirements.txt; make train validate build test"
    else:
        made = new_plugin(flags.plugin, flags.kind or "strategy", folders[0] if folders else None)
        todo = "python -m pip install -e '.[test]'; make test"
    home = Path(os.path.commonpath([path.parent for path in made]))

    def show() -> None:
        for path in made:
            say(f"wrote    {path}")
        say(f"next     cd {home}; {todo}")

    emit(flags.json, {"files": [str(path) for path in made]}, show)
    return 0


_EXAMPLES = {
    "demo": ["mmeframe demo"],
    "train": [
        "mmeframe train experiment=flights --allow mmeframe.train.datasets:flights",
        "mmeframe train experiment=flights --allow mmeframe.train.datasets:flights train.holdout=0.1",
    ],
    "build": [
        "mmeframe build experiment=flights",
        "mmeframe build name=days routing=column routing.column=dow +models.mon.uri=models:/mon@champion",
        "mmeframe build --config-dir conf --config-name my_router tracking.alias=champion",
    ],
    "validate": [
        "mmeframe validate experiment=flights",
        "mmeframe validate --config-dir conf --config-name my_router data=rows.csv validate.min_coverage=0.99",
    ],
    "plan": ["mmeframe plan experiment=flights", "mmeframe plan experiment=flights model=models:/flights/1"],
    "explain": [
        "mmeframe explain experiment=flights data=rows.csv",
        "mmeframe explain model=models:/flights@champion data=rows.csv --limit 1000 --out ways.csv",
    ],
    "predict": [
        "mmeframe predict model=models:/flights@champion data=rows.csv --out scored.parquet",
        """mmeframe predict model=models:/dow_router@champion data=rows.csv --params '{"dow": 1, "annotate": true}'""",
    ],
    "serve": ["mmeframe serve model=models:/flights@champion serve.port=5001", "mmeframe serve experiment=flights"],
    "show": ["mmeframe show model=models:/flights@champion", "mmeframe show experiment=flights --json"],
    "plugins": [
        "mmeframe plugins",
        "mmeframe plugins show datepart",
        "mmeframe plugins -p my_module -p no:mmeframe-nearest",
    ],
    "init": ["mmeframe init shop", "mmeframe init --plugin geohash", "mmeframe init --plugin onnx --kind loader"],
    "completion": [
        """eval "$(mmeframe completion bash)"            # in ~/.bashrc""",
        """eval "$(mmeframe completion zsh)"             # in ~/.zshrc, after compinit""",
        "mmeframe completion fish > ~/.config/fish/completions/mmeframe.fish",
    ],
    "schema": [
        "mmeframe schema > mmeframe.schema.json        # of a config; its first line then names it:",
        "# yaml-language-server: $schema=mmeframe.schema.json",
        "mmeframe schema routing > routing.schema.json # of a file in the group routing",
    ],
}


def help_for(flags: Flags, summary: str) -> int:
    """A command's groups, options and examples."""
    say(f"mmeframe {flags.command}: {summary}", "", "Examples:")
    for example in _EXAMPLES[flags.command]:
        say(f"  {example}")
    if flags.command not in _TASKS:
        return 0
    from mmeframe.config.calls import conf_dir
    from mmeframe.listing import show_chosen
    from mmeframe.plugin.kinds import CHOSEN
    from mmeframe.plugin.manager import load_plugins

    loaded = load_plugins(flags.plugins)
    experiments = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
    say("", "Groups:", f"  experiment={' | '.join([*experiments, *loaded.presets('experiment')])}")
    for kind in CHOSEN:
        choices = " | ".join([*loaded.names(kind.noun), *loaded.presets(kind.group)])
        say(f"  {kind.group}={choices}" if kind.alone else f"  {kind.add('<name>', choices)}")
    show_chosen(flags, flags.command, loaded, _config_dirs(flags))
    say("", "Options (section.option=value), with their defaults:", "")
    print((conf_dir() / "_base.yaml").read_text(encoding="utf-8"), end="")
    say("", "Flags: mmeframe --help")
    return 0


_TASKS: Mapping[str, Callable[[Any, Any], int]] = {
    "demo": _demo,
    "train": _train,
    "build": _build,
    "validate": _validate,
    "plan": _plan,
    "explain": _explain,
    "predict": _predict,
    "serve": _serve,
    "show": _show,
}
