"""What sub-models are: their URIs pinned, their small description files read; nothing else is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any

from mmeframe.build.environment import read_requirements
from mmeframe.build.signature import Outputs, read_columns, read_outputs
from mmeframe.build.store import ModelFolder, Store, registered_name
from mmeframe.errors import MissingError, Problem, suggest
from mmeframe.plugin import RegisteredModel, SubModelEntry
from mmeframe.plugin.components import make_component
from mmeframe.plugin.manager import Plugins
from mmeframe.redact import redact
from mmeframe.spec import Column, Component

__all__ = ["Describer", "OwnFiles", "SubModel"]

PYFUNC = "python_function"


@dataclass(frozen=True)
class SubModel:
    """A pinned sub-model with the facts that its MLmodel file and requirements give.

    ``of``: the ids whose answers it combines; then ``loader`` is its combiner, and it has no files.
    """

    id: str
    uri: str
    key: Mapping[str, str]
    arm: str
    name: str | None
    version: str | None
    model_id: str | None
    flavor: str
    options: Mapping[str, Any]
    loader: Component
    inputs: tuple[Column, ...]
    outputs: Outputs
    requirements: tuple[str, ...]
    python: str
    folder: ModelFolder
    # Modules that the model ships beside its data -> digest of their files.
    code: Mapping[str, str]
    origin: str
    routed: bool = True
    of: tuple[str, ...] = ()

    def load(self, root: Path) -> Any:
        """The live sub-model, by its own loader from its own folder ``root``."""
        return make_component(self.loader).load(OwnFiles(self, root))

    def load_for_arrays(self, root: Path) -> Any:
        """The same for arrays of doubles, None if its loader cannot make it take them."""
        loader = make_component(self.loader)
        return loader.for_arrays(loader.load(OwnFiles(self, root)))


class OwnFiles:
    """The ``SubModelFiles`` of the plugin API over a sub-model's original folder."""

    def __init__(self, model: SubModel, root: Path) -> None:
        self.id, self.flavor, self._root = model.id, model.flavor, root
        self.options: Mapping[str, Any] = model.options

    @property
    def names(self) -> Sequence[str]:
        return [path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file()]

    def read(self, name: str) -> memoryview:
        return memoryview((self._root / name).read_bytes())

    def folder(self) -> Path:
        return self._root


@dataclass
class Describer:
    """Reads sub-models; what is wrong with any of them joins ``problems``, what is odd ``warnings``."""

    plugins: Plugins
    store: Store
    problems: list[Problem]
    warnings: list[str]

    def problem(self, where: str, what: str, hint: str, code: Any) -> None:
        self.problems.append(Problem(where, what, hint, code))

    def read(self, entries: Sequence[SubModelEntry]) -> list[SubModel]:
        """Pin and describe every entry that has a URI, in parallel; those that cannot be are left out."""
        open_entries = [entry for entry in entries if entry.uri]
        unpinned = [entry for entry in open_entries if entry.model_id is None]
        names = [name for entry in unpinned if (name := registered_name(entry.uri))]
        registered = self.store.named(names) if names else {}
        pinned = [found for entry in open_entries if (found := self._pin(entry, registered))]
        ids = [entry.model_id for entry, _ in pinned if entry.model_id]
        locations = self.store.locations(ids) if ids else {}
        with ThreadPoolExecutor(8) as pool:
            work = [pool.submit(self._describe, entry, source, locations) for entry, source in pinned]
            return [model for done in work if (model := done.result()) is not None]

    def _pin(self, entry: SubModelEntry, models: dict[str, RegisteredModel]) -> tuple[SubModelEntry, str] | None:
        """The entry with name, version and LoggedModel id, and the URI that its files come from."""
        if entry.model_id is not None:
            return entry, entry.uri
        try:
            version, model_id = self.store.pin(entry.uri, models)
        except MissingError as error:
            self.problems.append(replace(Problem.of(error), where=f"{entry.origin} ({redact(entry.uri)})"))
            return None
        if version is None:
            return replace(entry, model_id=model_id), entry.uri
        uri = f"models:/{version.name}/{version.version}"
        entry = replace(entry, name=version.name, version=version.version, model_id=model_id, uri=uri)
        return entry, version.source if model_id is None else uri

    def _describe(self, entry: SubModelEntry, source: str, locations: Mapping[str, str]) -> SubModel | None:
        where = f"models.{entry.id}" if not entry.origin.startswith("models.") else entry.origin
        try:
            folder = self._folder(entry, source, locations)
            raw = folder.read("MLmodel")
        except Exception as error:  # noqa: BLE001 - a store fails in its own ways
            self.problem(where, f"{redact(entry.uri)} cannot be read: {redact(str(error))}", "", "missing")
            return None
        if raw is None:
            hint = "It must be an MLflow model folder, which holds a file MLmodel."
            self.problem(where, f"there is no MLflow model at {redact(entry.uri)}.", hint, "missing")
            return None
        return self._facts(entry, folder, raw, where)

    def _folder(self, entry: SubModelEntry, source: str, locations: Mapping[str, str]) -> ModelFolder:
        if entry.model_id is not None:
            if entry.model_id not in locations:
                raise MissingError(f"there is no logged model {entry.model_id}.")
            return ModelFolder(locations[entry.model_id])
        return ModelFolder(source)

    def _facts(self, entry: SubModelEntry, folder: ModelFolder, raw: bytes, where: str) -> SubModel | None:
        import yaml
        from mlflow.models import ModelSignature

        # The C loader is ten times faster than the one MLflow uses.
        described = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
        flavors = described.get("flavors", {})
        loader = self._choose(entry, flavors, where)
        signature = described.get("signature")
        faults = []
        inputs: Any = "it has no signature."
        outputs: Any = Outputs(())
        if signature:
            parsed = ModelSignature.from_dict(signature)
            inputs, outputs = read_columns(parsed.inputs), read_outputs(parsed.outputs)
        faults = [fault for fault in (inputs, outputs) if isinstance(fault, str)]
        for fault in faults:
            self.problem(
                where,
                fault,
                "A router checks rows against it. Log the model with signature=infer_signature(X, model.predict(X)), "
                "or add one to the logged model with mlflow.models.set_signature(uri, signature).",
                "fleet",
            )
        if loader is None or faults:
            return None
        flavor, component = loader
        requirements, left = read_requirements(_text(folder, "requirements.txt"), _text(folder, "constraints.txt"))
        for option in left:
            self.warnings.append(f"{where}: its requirements.txt has {option}, which the router does not take over.")
        options = dict(flavors.get(PYFUNC if flavor == "pyfunc" else flavor, {}))
        options["predict_fn"] = flavors.get(PYFUNC, {}).get("predict_fn", "predict")
        code = next((conf["code"] for conf in flavors.values() if isinstance(conf, dict) and conf.get("code")), None)
        return SubModel(
            id=entry.id,
            uri=redact(entry.uri),
            key={part: str(value) for part, value in (entry.key or {}).items()},
            arm=entry.arm,
            name=entry.name,
            version=entry.version,
            model_id=entry.model_id,
            flavor=flavor,
            options=options,
            loader=component,
            inputs=inputs,
            outputs=outputs,
            requirements=requirements,
            python=str(flavors.get(PYFUNC, {}).get("python_version", "")),
            folder=folder,
            code=_code_modules(folder, code) if code else {},
            origin=entry.origin,
            routed=entry.routed,
        )

    def _choose(self, entry: SubModelEntry, flavors: Mapping[str, Any], where: str) -> tuple[str, Component] | None:
        """The flavor and the loader of a sub-model: its native flavor's, pyfunc where nobody claims that."""
        native = [name for name in flavors if name != PYFUNC]
        if entry.flavor == "auto":
            if len(native) > 1:
                self.problem(f"{where}.flavor", f"it has several flavors: {', '.join(native)}.", "Choose one.", "fleet")
                return None
            flavor = native[0] if native else "pyfunc"
        else:
            flavor = entry.flavor
            if flavor not in [*native, "pyfunc"]:
                known = suggest(flavor, [*native, "pyfunc"], "Its flavors")
                self.problem(f"{where}.flavor", f"the model has no flavor {flavor!r}.", known, "fleet")
                return None
        if isinstance(entry.loader, Component):
            return flavor, entry.loader
        loader = self.plugins.loader_for(flavor) or "pyfunc"
        if loader == "pyfunc" and PYFUNC not in flavors:
            self.problem(
                where, f"no loader takes the flavor {flavor!r}, and the model has no pyfunc flavor.", "", "fleet"
            )
            return None
        return flavor, self.plugins.get("model loader", loader, where).component({})


def _text(folder: ModelFolder, name: str) -> str:
    return (folder.read(name) or b"").decode(errors="replace")


def _code_modules(folder: ModelFolder, code: str) -> dict[str, str]:
    """Modules that can be imported from a model's code folder -> digest of their files, and of data beside them.

    A package is one module; of a folder without ``__init__``, a namespace package, each module is one, as in ``ns.a``.
    """
    modules: dict[str, Any] = {}
    data = hashlib.sha256()
    with folder.local() as root:
        home = root / code
        for path in sorted(home.rglob("*")):
            inner = path.relative_to(home)
            if not path.is_file() or "__pycache__" in inner.parts:
                continue
            name = _module(home, inner)
            digest = data if name is None else modules.setdefault(name, hashlib.sha256())
            digest.update(inner.as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    # A module may read what lies beside it.
    return {name: hashlib.sha256(digest.digest() + data.digest()).hexdigest() for name, digest in modules.items()}


def _module(home: Path, inner: Path) -> str | None:
    """The module that a file is, or whose package it is part of; None for data outside a package."""
    for depth in range(1, len(inner.parts)):
        package = Path(*inner.parts[:depth])
        if any((home / package / f"__init__{suffix}").is_file() for suffix in all_suffixes()):
            return ".".join(package.parts)
    suffix = next((it for it in sorted(all_suffixes(), key=len, reverse=True) if inner.name.endswith(it)), None)
    return ".".join([*inner.parts[:-1], inner.name.removesuffix(suffix)]) if suffix else None
