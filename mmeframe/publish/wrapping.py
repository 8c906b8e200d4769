"""What a router's artifact holds beside its bundle: code, requirements, signature, and what a deployment may change."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmeframe._version import __version__
from mmeframe.bundle.artifact import seal
from mmeframe.environ import variables
from mmeframe.errors import Report
from mmeframe.fleet.embed import ARCHIVE, Embedded, embedded_files, plugin_requirements, used_plugins, write_archive
from mmeframe.fleet.environment import merge
from mmeframe.fleet.examples import example_request
from mmeframe.fleet.fleet import Fleet
from mmeframe.fleet.manifest import components
from mmeframe.fleet.signature import as_sent, mlflow_signature
from mmeframe.plugin.manager import Plugins
from mmeframe.rows.types import shown
from mmeframe.sections import RouterSpec
from mmeframe.spec import Column

__all__ = ["Wrapping", "columns", "save", "wrapping"]

_BUNDLE = "bundle"


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What an artifact holds beside its bundle. code: of mmeframe and plugins, empty if an index serves them all."""

    requirements: list[str]
    code: Embedded
    signature: Any
    digest: str


def wrapping(fleet: Fleet, plugins: Plugins) -> Wrapping:
    """What wraps a fleet's bundle. Raises ProblemsError, or BuildError."""
    modules = used_plugins(components(fleet).values(), plugins)
    requirements = _requirements(fleet, modules)
    code = embedded_files(modules, fleet.spec.environment.indexed)
    signature = _signature(fleet)
    digest = hashlib.sha256(json.dumps([requirements, signature.to_dict(), _deployment(fleet.spec)]).encode())
    for name, file in code.files:
        digest.update(f"\0{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return Wrapping(requirements, code, signature, digest.hexdigest())


def save(path: str, model: Any, fleet: Fleet, bundle: Path, around: Wrapping, scratch: Path) -> str:
    """Write the router's model folder, whole; returns the digest that covers it."""
    import mlflow.pyfunc

    archive = scratch / ARCHIVE
    if around.code.files:
        write_archive(archive, around.code)
    rows, given = example_request(fleet)
    # A uv project in the working directory would replace the requirements; and nothing needs to be installed to log.
    with variables({"MLFLOW_UV_AUTO_DETECT": "false", "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true"}):
        mlflow.pyfunc.save_model(
            path,
            python_model=str(files("mmeframe") / "runtime" / "entrypoint.py"),
            artifacts={_BUNDLE: str(bundle)},
            code_paths=[str(archive)] if around.code else None,
            signature=around.signature,
            input_example=(rows, given) if given else rows,
            pip_requirements=around.requirements,
            mlflow_model=model,
            # What a deployment may change: MLflow drops overrides of names that are not stored.
            model_config=_deployment(fleet.spec),
            # One text: MLflow reads the file three times to load a model, and each name and value takes a while.
            metadata={"mmeframe": {"sub_models": len(fleet.models), "columns": json.dumps(columns(fleet))}},
        )
    # MLflow notes where things lay on this machine; only their names matter to whoever loads the model.
    flavor = model.flavors["python_function"]
    flavor["artifacts"][_BUNDLE]["uri"] = _BUNDLE
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    described = Path(path) / "MLmodel"
    model.save(str(described))
    digest = seal(Path(path))
    # Outside of what it covers.
    model.metadata["mmeframe"]["digest"] = digest
    model.save(str(described))
    return digest


def _requirements(fleet: Fleet, modules: Mapping[str, Any]) -> list[str]:
    report = Report()
    wanted: list[tuple[str, Any]] = [("the sub-models", fleet.requirements)]
    wanted += plugin_requirements(modules, fleet.spec.environment.indexed)
    merged = list(merge(wanted, fleet.spec.environment, report))
    report.check()
    if "mmeframe" in fleet.spec.environment.indexed:
        merged.append(f"mmeframe=={__version__}")
    return merged


def _signature(fleet: Fleet) -> Any:
    spec = fleet.spec
    params = dict.fromkeys(name for inputs in fleet.inputs.values() for name in inputs.params)
    routing = _routing_columns(fleet)
    read = {name for inputs in fleet.inputs.values() for name in inputs.columns} | {*spec.traffic.sticky}
    needed = {name for it in fleet.inputs.values() if not it.params for name in it.columns} | {*spec.traffic.sticky}
    # A column that some sub-model does without is required all the same if routing reads it.
    union = [replace(column, required=column.required or column.name in needed) for column in fleet.union.columns]
    return mlflow_signature(
        spec.signature.mode,
        [as_sent(column) if column.name in read else column for column in union],
        [as_sent(column) for column in routing],
        fleet.outputs,
        params,
        spec.output.annotate,
        _nulls(fleet),
        fleet.params,
    )


def _nulls(fleet: Fleet) -> set[str]:
    """Notes that a row may be without: no sub-model answers it, or one that has no version."""
    if fleet.spec.output.missing_note is not None:
        return set()
    if fleet.spec.may_skip:
        return {"model_id", "model_version", "arm"}
    return {"model_version"} if any(model.version is None for model in fleet.models if model.routed) else set()


def columns(fleet: Fleet) -> dict[str, str]:
    """All columns that a request may have, with their types."""
    return {column.name: shown(column.type) for column in [*_routing_columns(fleet), *fleet.union.columns]}


def _routing_columns(fleet: Fleet) -> list[Column]:
    """Columns that only routing reads; optional where a parameter may carry the key."""
    known = {column.name for column in fleet.union.columns}
    found = {}
    for inputs in fleet.inputs.values():
        for name, kind in inputs.columns.items():
            if name not in known:
                found[name] = Column(name, kind, not inputs.params)
    # They are only hashed, so any type will do.
    return list(found.values()) + [
        Column(name, "any") for name in fleet.spec.traffic.sticky if name not in known and name not in found
    ]


def _deployment(spec: RouterSpec) -> dict[str, str]:
    """What a deployment may change, in the form of its variables; ``runtime.deployment`` reads it."""
    shares = ",".join(f"{arm}={share!r}" for arm, share in sorted(spec.traffic.arms.items()))
    residency = {f"residency_{name}": _setting(value) for name, value in spec.residency.to_json().items()}
    return {
        "traffic_arms": shares,
        "disabled_models": _line(spec.disabled_models),
        "observers": _line(name for name, _ in spec.observers),
        "bundle_allow_pickle": str(spec.bundle.allow_pickle).lower(),
        **residency,
    }


def _setting(value: Any) -> str:
    return "none" if value is None else _line(value) if isinstance(value, list) else str(value)


def _line(values: Iterable[str]) -> str:
    """One line of CSV; what would end it is quoted."""
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().removesuffix("\r\n")
