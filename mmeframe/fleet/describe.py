"""Find out what sub-models are: their URIs pinned, their small description files read; nothing else is downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from mmeframe.errors import BuildError, MissingError, MmeframeError, PluginError, Report, suggest
from mmeframe.fleet.bare import (
    FileAlone,
    bare_file,
    declared,
    doubles,
    form_of,
    look_into,
    look_into_folder,
    requirements,
)
from mmeframe.fleet.embed import loader_code
from mmeframe.fleet.environment import read_requirements
from mmeframe.fleet.live import LiveModels
from mmeframe.fleet.mlmodel import ROUTER, Descriptions, code_modules, text_of
from mmeframe.fleet.pickles import PICKLES, holds_code, session_problem
from mmeframe.fleet.released import EarlierBuild, Facts, stamp_of
from mmeframe.fleet.submodel import PinnedModel, kept_files, sub_model
from mmeframe.plugin import RegisteredModel, SubModelEntry
from mmeframe.plugin.components import make_component, runs_code
from mmeframe.plugin.kinds import LOADER
from mmeframe.plugin.manager import Plugins
from mmeframe.rows.outputs import Outputs
from mmeframe.sections import BundleSpec
from mmeframe.shipped import STANDARD, standard
from mmeframe.spec import ANNOTATE, Column, ComponentSpec
from mmeframe.store.folders import ModelFile, ModelFolder, fetched
from mmeframe.store.store import Progress, Store, as_written, registered_name

__all__ = ["Describer", "Journal"]

PYFUNC = "python_function"
_FROM = "Relative paths are from the working directory. Or leave it out: exclude."
# Sub-models whose description files are read at a time.
_READERS = 8
# Options of flavors that name what a sub-model is made of, in its folder.
_FILES = ("data", "pickled_model", "model_path", "model_data", "python_model")


class Journal(EarlierBuild, Protocol):
    """What a build notes as it goes, and knows of an interrupted one."""

    def describe(self, model: PinnedModel) -> None:
        """Note what a sub-model is."""
        ...


@dataclass(frozen=True, slots=True)
class _Pinned:
    """A pinned entry. folder: of its files, None if they are gone. stamp: see ``fleet.released``."""

    entry: SubModelEntry
    folder: ModelFolder | None
    stamp: str | None


@dataclass
class Describer:
    """Reads sub-models; what is wrong with any of them joins ``report``, what is odd ``warnings``.

    routers: gets ids of source entries that are routers, which no source may bring.
    """

    plugins: Plugins
    store: Store
    report: Report
    warnings: list[str]
    bundle: BundleSpec
    # Asks those whose files do not say what they are.
    live: LiveModels
    # The method that each will be asked for, by id.
    methods: Callable[[str], str]
    known: Sequence[EarlierBuild]
    journal: Journal | None
    progress: Progress
    routers: set[str] = field(default_factory=set)
    # What thousands of sub-models have alike is read once, and is one object in all of them.
    _descriptions: Descriptions = field(default_factory=Descriptions)
    _declared: dict[int, tuple[tuple[Column, ...], Outputs | None]] = field(default_factory=dict)
    _columns: dict[tuple[str, ...], tuple[Column, ...]] = field(default_factory=dict)
    _outputs: dict[Outputs, Outputs] = field(default_factory=dict)
    # Requirements of bare files, None where a distribution is missing.
    _needed: dict[str, tuple[str, ...] | None] = field(default_factory=dict)

    def read(self, entries: Sequence[SubModelEntry]) -> list[PinnedModel]:
        """Pin and describe every entry that has a URI, in parallel; those that cannot be are left out."""
        pinned = self._pinned([entry for entry in entries if entry.uri])
        known = {it.entry.id: model for it in pinned if (model := self._known(it)) is not None}
        new = [it for it in pinned if it.entry.id not in known]
        files = {it.entry.id: it.folder for it in new if isinstance(it.folder, ModelFile)}
        away = {it.entry.id: (_where(it.entry), files[it.entry.id]) for it in new if _is_away(it.folder)}
        described = []
        with ThreadPoolExecutor(_READERS, "mmeframe-read") as pool, closing(fetched([*away.values()])) as folders:
            try:
                begun = {
                    it.entry.id: pool.submit(self._describe, it.entry, it.folder)
                    for it in new
                    if it.entry.id not in files
                }
                for number, it in enumerate(pinned):
                    self.progress("reading", number, len(pinned))
                    id_ = it.entry.id
                    if id_ in files:
                        # Loading estimators is Python's own work: threads would only wait for one another.
                        model = self._bare(it.entry, files[id_], next(folders) if id_ in away else None)
                    else:
                        model = known.get(id_) or begun[id_].result()
                    if model is not None:
                        described.append(self._noted(model, it.stamp))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self.progress("reading", len(pinned), len(pinned))
        return described

    def _pinned(self, entries: Sequence[SubModelEntry]) -> list[_Pinned]:
        """Where the files of each entry lie; what cannot be pinned is left out."""
        unpinned = [entry for entry in entries if entry.model_id is None]
        names = [name for entry in unpinned if (name := registered_name(entry.uri))]
        registered = self.store.named(names) if names else {}
        pinned = [found for entry in entries if (found := self._pin(entry, registered))]
        ids = [entry.model_id for entry, _ in pinned if entry.model_id]
        locations = self.store.locations(ids) if ids else {}
        places = [self._place(entry, source, locations) for entry, source in pinned]
        # Who only looks at a fleet compares it with no build.
        stamped = bool(self.known) or self.journal is not None
        return [
            _Pinned(entry, folder, self._stamp(entry, folder) if stamped and folder is not None else None)
            for (entry, _), folder in zip(pinned, places, strict=True)
        ]

    def _noted(self, model: PinnedModel, stamp: str | None) -> PinnedModel:
        found = model if model.stamp else replace(model, stamp=stamp)
        if self.journal is not None:
            self.journal.describe(found)
        return found

    def _place(self, entry: SubModelEntry, source: str, locations: Mapping[str, str]) -> ModelFolder | None:
        """Where its files lie; None, with a problem, if its LoggedModel is gone."""
        if entry.model_id is None:
            return bare_file(source, self._suffixes) or ModelFolder(source)
        if entry.model_id not in locations:
            what = f"{entry.uri} cannot be read: there is no logged model {entry.model_id}."
            self.report.add(_where(entry), what, "", "missing")
            return None
        return ModelFolder(locations[entry.model_id])

    @cached_property
    def _suffixes(self) -> list[str]:
        return self.plugins.suffixes()

    @cached_property
    def _how(self) -> tuple[Any, ...]:
        return self.bundle.skops_trusted, loader_code(self.plugins)

    def _stamp(self, entry: SubModelEntry, folder: ModelFolder) -> str | None:
        try:
            return stamp_of(entry, folder, self._how)
        except OSError:
            # Reading it will say what is wrong.
            return None

    def _known(self, pinned: _Pinned) -> PinnedModel | None:
        """The sub-model as an earlier build has it, if it did not change."""
        entry, folder, stamp = pinned.entry, pinned.folder, pinned.stamp
        if stamp is None or folder is None:
            return None
        wanted = self.methods(entry.id)
        for build in self.known:
            facts = build.facts(entry.id, stamp)
            # Answers of ``predict`` are declared, and those of other methods found from there.
            if facts is None or facts.method not in ("predict", wanted):
                continue
            claims = ["pyfunc"] if facts.params else self.plugins.loaders_for(facts.flavor) or ["pyfunc"]
            if entry.loader == "auto" and claims != [facts.loader.kind]:
                continue
            if isinstance(folder, ModelFile) and not self._installed(facts):
                continue
            kept = facts.kept if facts.method == wanted else None
            return sub_model(entry, folder, stamp=stamp, **{**vars(facts), "kept": kept})
        return None

    def _installed(self, facts: Facts) -> bool:
        """Whether a bare file would get the same requirements again: they are of what is installed here."""
        # Thousands of files have the same few.
        key = repr((facts.loader, facts.options))
        if key not in self._needed:
            try:
                self._needed[key] = requirements(facts.loader, facts.options)
            except MmeframeError:
                # Reading it will say what is missing.
                self._needed[key] = None
        return self._needed[key] == facts.requirements

    def _pin(self, entry: SubModelEntry, models: dict[str, RegisteredModel]) -> tuple[SubModelEntry, str] | None:
        """The entry with name, version and LoggedModel id, and the URI that its files come from."""
        if entry.model_id is not None:
            return entry, entry.uri
        try:
            version, model_id = self.store.pin(entry.uri, models)
        except MissingError as error:
            self.report.add(f"{entry.origin} ({entry.uri})", error.what, error.hint, error.code)
            return None
        if version is None:
            return replace(entry, model_id=model_id), entry.uri
        uri = f"models:/{version.name}/{version.version}"
        entry = replace(entry, name=version.name, version=version.version, model_id=model_id, uri=uri)
        return entry, version.source if model_id is None else uri

    def _describe(self, entry: SubModelEntry, folder: ModelFolder | None) -> PinnedModel | None:
        where = _where(entry)
        if folder is None:
            return None
        try:
            raw = folder.read("MLmodel")
            if raw is not None:
                return self._facts(entry, folder, raw, where)
        except (BuildError, PluginError) as error:
            self.report.add(error.where or where, error.what, error.hint, error.code)
        except Exception as error:  # noqa: BLE001 - a store fails in its own ways
            what = f"{entry.uri} cannot be read: {error}"
            self.report.add(where, what, as_written(entry.uri), "missing")
        else:
            files = ", ".join(self._suffixes)
            hint = f"It must be an MLflow model folder, which holds a file MLmodel, or a file: {files}."
            is_file = folder.here is not None and folder.here.is_file()
            what = "{} has an unsupported file type." if is_file else "there is no MLflow model at {}."
            self.report.add(where, what.format(folder.place), hint, "missing")
        return None

    def _bare(
        self, entry: SubModelEntry, file: ModelFile, download: AbstractContextManager[Path] | None
    ) -> PinnedModel | None:
        """A bare file: what config does not declare of it is found by loading it, from where it was downloaded to."""
        where = _where(entry)
        if file.here is not None and not file.here.is_file():
            self.report.add(where, f"there is no file {file.here.absolute()}.", _FROM, "missing")
            return None
        if file.here is not None and (problem := session_problem(where, {file.here.name: file.here.read_bytes()})):
            self.report.take([problem])
            return None
        try:
            flavor, options = form_of(
                file, self.plugins, entry.loader if isinstance(entry.loader, ComponentSpec) else None
            )
            chosen = self._choose(entry, {flavor: options}, where)
            if chosen is None:
                return None
            flavor, loader = chosen
            inputs, outputs = self._signature(entry)
            model = sub_model(
                entry,
                file,
                flavor=flavor,
                options={**options, "predict_fn": "predict"},
                loader=loader,
                inputs=inputs,
                outputs=outputs or Outputs(()),
                requirements=requirements(loader, options),
            )
            # The fleet refuses what runs code: nothing of it is loaded, so its columns are not known.
            refused = not self.bundle.allow_pickle and runs_code(make_component(loader), [file.name], options)
            if refused or (inputs and outputs):
                return model
            with ExitStack() as folders:
                if download is not None:
                    file = replace(file, location=str(folders.enter_context(download) / file.name))
                inputs, found = self._looked_into(model, file, folders)
        except MmeframeError as error:
            self.report.add(where, error.what, error.hint, error.code)
            return None
        except Exception as error:  # noqa: BLE001 - a store fails in its own ways
            self.report.add(where, f"{entry.uri} cannot be read: {error}", "", "missing")
            return None
        return replace(model, inputs=inputs, outputs=self._outputs.setdefault(found, found))

    def _looked_into(
        self, model: PinnedModel, file: ModelFile, folders: ExitStack
    ) -> tuple[tuple[Column, ...], Outputs]:
        """What a file shows that is loaded: elsewhere, if it holds code, since nobody knows which Python's."""
        if file.name.endswith(PICKLES) and holds_code(file.read(file.name) or b""):
            inputs, outputs = self.live.run(look_into_folder, model, folders.enter_context(file.local()))
            return inputs, outputs
        return look_into(model, FileAlone(model, file, folders), self._doubles)

    def _signature(self, entry: SubModelEntry) -> tuple[tuple[Column, ...], Outputs | None]:
        """What config declares of the columns and the answers of an entry."""
        known = self._declared.get(id(entry.signature))
        if known is None:
            known = self._declared[id(entry.signature)] = declared(entry.signature)
        return known

    def _doubles(self, names: tuple[str, ...]) -> tuple[Column, ...]:
        known = self._columns.get(names)
        if known is None:
            known = self._columns[names] = doubles(names)
        return known

    def _facts(self, entry: SubModelEntry, folder: ModelFolder, raw: bytes, where: str) -> PinnedModel | None:
        flavors, inputs, outputs, params, is_router, how = self._descriptions.read(raw)
        if is_router and not entry.origin.startswith("models."):
            self.routers.add(entry.id)
            return None
        if is_router:
            # What the outer router is asked for is its own answers' notes.
            params = {name: param for name, param in params.items() if name != ANNOTATE}
            how = ROUTER
        loader = self._choose(entry, flavors, where, "pyfunc" if params and PYFUNC in flavors else None)
        given, answers = self._signature(entry)
        inputs, outputs = given or inputs, answers or outputs
        for fault in dict.fromkeys(it for it in (inputs, outputs) if isinstance(it, str)):
            self.report.add(where, fault, how.format(id=entry.id), "fleet")
        if loader is None or isinstance(inputs, str) or isinstance(outputs, str):
            return None
        flavor, component = loader
        needs, left = read_requirements(text_of(folder, "requirements.txt"), text_of(folder, "constraints.txt"))
        for option in left:
            self.warnings.append(f"{where}: its requirements.txt has {option}, which the router does not take over.")
        options = dict(flavors.get(PYFUNC if flavor == "pyfunc" else flavor, {}))
        if params:
            options["params"] = params
        options["predict_fn"] = flavors.get(PYFUNC, {}).get("predict_fn", "predict")
        if not self._usable(folder, options, where):
            return None
        if folder.here is not None and isinstance(entry.loader, ComponentSpec):
            # One that is chosen by the flavor takes it.
            kept_files(component, folder.names(), options, f"{where}.loader")
        ships = any(isinstance(conf, dict) and conf.get("code") for conf in flavors.values())
        code = code_modules(folder) if ships else {}
        if hidden := standard(code):
            self.report.add(where, f"it ships a module {hidden!r}, {STANDARD}", "Rename the module.", "fleet")
            return None
        return sub_model(
            entry,
            folder,
            flavor=flavor,
            options=options,
            loader=component,
            inputs=inputs,
            outputs=outputs,
            requirements=needs,
            python=str(flavors.get(PYFUNC, {}).get("python_version", "")),
            code=code,
        )

    def _usable(self, folder: ModelFolder, options: Mapping[str, Any], where: str) -> bool:
        """Whether its files are there, and its pickles can be loaded elsewhere; as far as they lie here, unloaded."""
        if folder.here is None:
            return True
        names = [name for option in _FILES if isinstance(name := options.get(option), str)]
        found = folder.names()
        there = {*found, *(str(above) for name in found for above in PurePosixPath(name).parents)}
        gone = [name for name in names if os.path.normpath(name) not in there]
        for name in gone:
            self.report.add(where, f"{folder.place} has no file {name!r}.", "Log or copy the model again.", "missing")
        pickles = {name: folder.read(name) or b"" for name in names if name.endswith(PICKLES) and name not in gone}
        problem = session_problem(where, pickles)
        self.report.take([problem] if problem else [])
        return not gone and problem is None

    def _choose(
        self, entry: SubModelEntry, flavors: Mapping[str, Any], where: str, wanted: str | None = None
    ) -> tuple[str, ComponentSpec] | None:
        """The flavor and the loader of a sub-model: its native flavor's, pyfunc where nobody claims that.

        wanted: the loader that it needs where its entry leaves that open: MLflow's knows what parameters do.
        """
        native = [name for name in flavors if name != PYFUNC]
        if entry.flavor == "auto":
            if len(native) > 1:
                self.report.add(
                    f"{where}.flavor", f"it has several flavors: {', '.join(native)}.", "Choose one.", "fleet"
                )
                return None
            flavor = native[0] if native else "pyfunc"
        else:
            flavor = entry.flavor
            if flavor not in [*native, "pyfunc"]:
                known = suggest(flavor, [*native, "pyfunc"], "Its flavors")
                self.report.add(f"{where}.flavor", f"the model has no flavor {flavor!r}.", known, "fleet")
                return None
        if isinstance(entry.loader, ComponentSpec):
            return flavor, entry.loader
        loader = wanted or self.plugins.loader_for(flavor) or "pyfunc"
        if loader == "pyfunc" and PYFUNC not in flavors:
            self.report.add(
                where, f"no loader takes the flavor {flavor!r}, and the model has no pyfunc flavor.", "", "fleet"
            )
            return None
        return flavor, self.plugins.get(LOADER.noun, loader, where).component({})


def _is_away(folder: ModelFolder | None) -> bool:
    """Whether it is a bare file that has to be downloaded."""
    return isinstance(folder, ModelFile) and folder.here is None


def _where(entry: SubModelEntry) -> str:
    return f"models.{entry.id}" if not entry.origin.startswith("models.") else entry.origin
