"""Write a fleet as a bundle folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import mmeframe
from mmeframe.budget import check_bounds
from mmeframe.build.describe import SubModel
from mmeframe.build.embed import recorded, used_plugins
from mmeframe.build.fleet import Fleet
from mmeframe.build.live import LiveModels
from mmeframe.build.methods import tried
from mmeframe.build.previous import Previous
from mmeframe.bundle import BundleWriter, FileRef, SubModelRecord
from mmeframe.errors import BuildError
from mmeframe.plugin.components import make_component
from mmeframe.plugin.manager import Plugins
from mmeframe.spec import Component, ResidencySpec

__all__ = ["Progress", "components", "pack", "settings"]

# Told (what, done, total) as long work goes on.
Progress = Callable[[str, int, int], None]

# Environments are merged, examples are for people: neither is needed to predict.
_LEFT_OUT = (
    "conda.yaml",
    "python_env.yaml",
    "requirements.txt",
    "constraints.txt",
    "registered_model_meta",
    "input_example.json",
    "serving_input_example.json",
    "uv.lock",
    "pyproject.toml",
    ".python-version",
    "environment_variables.txt",
)


class _Numbered:
    """A list in which equal values are stored once."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def __call__(self, value: Any) -> int:
        if value not in self.values:
            self.values.append(value)
        return self.values.index(value)


def components(fleet: Fleet) -> dict[str, Component]:
    """Every component that the bundle will name, by config path."""
    found = {f"routing.keys.{part.name}": part.strategy for part in fleet.spec.routing.parts}
    found |= {f"observers.{name}": component for name, component in fleet.spec.observers}
    return found | {f"models.{model.id}.loader": model.loader for model in fleet.models}


def pack(fleet: Fleet, previous: Previous | None, plugins: Plugins, folder: Path, progress: Progress) -> str:
    """Copy every sub-model and component file into ``folder``; returns the bundle's digest.

    previous: where the sub-models are taken from that did not change.
    """
    schemas, outputs, requirements, loaders = _Numbered(), _Numbered(), _Numbered(), _Numbered()
    with BundleWriter(folder) as writer:
        records = []
        spec = fleet.spec
        answering = fleet.answering
        for number, model in enumerate(fleet.models):
            progress("packing", number, len(fleet.models))
            method = spec.output.method if model.id in answering else "predict"
            if previous is not None and model.known is not None:
                files, memory, arrays = _again(model.known, previous, writer)
            else:
                files, memory, arrays = _copy(model, writer, fleet.live, method)
            records.append(
                SubModelRecord(
                    id=model.id,
                    uri=model.uri,
                    name=model.name,
                    version=model.version,
                    model_id=model.model_id,
                    arm=model.arm,
                    key=model.key,
                    flavor=model.flavor,
                    flavor_options=model.options,
                    loader=loaders(model.loader.to_json()),
                    inputs=schemas([column.to_json() for column in model.inputs]),
                    outputs=outputs(model.outputs.to_json()),
                    requirements=requirements(list(model.requirements)),
                    bytes=sum(size for _, size in files),
                    memory=memory,
                    files=tuple(ref for ref, _ in files),
                    routed=model.routed,
                    arrays=arrays,
                    of=model.of,
                )
            )
        progress("packing", len(fleet.models), len(fleet.models))
        _check_bounds(spec.residency, records)
        facts = {
            **settings(fleet),
            "mmeframe": mmeframe.__version__,
            "outputs": outputs.values,
            "schemas": schemas.values,
            "requirements": requirements.values,
            "loaders": loaders.values,
            "plugins": recorded(used_plugins(components(fleet).values(), plugins)),
            "components": _prepare(fleet, writer),
        }
        return writer.finish(facts, [part.name for part in spec.routing.parts], spec.routing.levels, records)


def settings(fleet: Fleet) -> dict[str, Any]:
    """What the manifest says of a fleet as a whole, before anything is packed."""
    spec = fleet.spec
    return {
        "name": spec.name,
        "routing": spec.routing.to_json(),
        "traffic": spec.traffic.to_json(),
        "disabled_models": list(spec.disabled_models),
        "isolation": spec.isolation,
        "observers": [[name, component.to_json()] for name, component in spec.observers],
        "residency": spec.residency.to_json(),
        "allow_pickle": spec.bundle.allow_pickle,
        "output": asdict(spec.output),
        "signature": asdict(spec.signature),
        "union": [column.to_json() for column in fleet.union.columns],
        "answer": fleet.outputs.to_json(),
        "environment": list(fleet.requirements),
        "inputs": {
            part: {"columns": dict(read.columns), "params": list(read.params)} for part, read in fleet.inputs.items()
        },
    }


def _check_bounds(spec: ResidencySpec, records: Sequence[SubModelRecord]) -> None:
    """Refuse a budget that could not hold what it must."""

    def chosen(names: Sequence[str]) -> set[int]:
        return {number for number in numbers if any(fnmatchcase(records[number].id, name) for name in names)}

    numbers = [number for number, record in enumerate(records) if not record.of]
    pinned, preload = (set(numbers), set[int]()) if spec.kind == "eager" else (chosen(spec.pin), chosen(spec.preload))
    check_bounds(
        spec, numbers, lambda number: records[number].memory, lambda number: records[number].id, pinned, preload
    )


def _again(
    known: SubModelRecord, previous: Previous, writer: BundleWriter
) -> tuple[tuple[tuple[FileRef, int], ...], int, bool]:
    """What ``_copy`` gives, from the bytes of a registered version, which are verified."""
    found = []
    for ref in known.files:
        data = previous.bundle.blob(ref.sha256)
        writer.add(data)
        found.append((ref, len(data)))
    return tuple(found), known.memory, known.arrays


def _copy(
    model: SubModel, writer: BundleWriter, live: LiveModels, method: str
) -> tuple[tuple[tuple[FileRef, int], ...], int, bool]:
    """Store a sub-model's files; returns them with their sizes, and what loading it has shown (see ``tried``)."""
    if model.of:
        return (), 0, False
    with model.folder.local() as root:
        return tuple(_files(model, root, writer)), *live.run(tried, model, root, method)


def _files(model: SubModel, root: Path, writer: BundleWriter) -> Iterator[tuple[FileRef, int]]:
    """The files that the sub-model's loader keeps, and the code that it ships."""
    loader = make_component(model.loader)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    names = [name for name in names if name.split("/")[0] not in _LEFT_OUT and "__pycache__" not in name]
    kept = set(loader.keep(names, model.options))
    for name in sorted(kept - set(names)):
        raise BuildError(f"its folder has no file {name!r}.", where=f"models.{model.id}")
    for name in names:
        if name in kept or (model.code and name.startswith("code/")):
            data = (root / name).read_bytes()
            yield FileRef(name, writer.add(data)), len(data)


def _prepare(fleet: Fleet, writer: BundleWriter) -> dict[str, dict[str, str]]:
    """Store what the components prepared; returns name -> digest for each."""
    return {
        where: {name: writer.add(bytes(data)).hex() for name, data in files.items()}
        for where, files in fleet.prepared.items()
        if files
    }
