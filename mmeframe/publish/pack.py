"""Write a fleet as a bundle folder."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmeframe.budget import check_residency
from mmeframe.bundle import BundleWriter, FileRef, Manifest, SubModelRecord
from mmeframe.bundle.format import canonical_json
from mmeframe.errors import BuildError, CorruptBundleError, MmeframeError, Problem, Report
from mmeframe.fleet.embed import code_digests, recorded, used_plugins
from mmeframe.fleet.fleet import Fleet
from mmeframe.fleet.live import LiveModels
from mmeframe.fleet.manifest import components, settings
from mmeframe.fleet.methods import tried, unanswered
from mmeframe.fleet.pickles import session_problem
from mmeframe.fleet.released import Packed
from mmeframe.fleet.signature import alike_labels
from mmeframe.fleet.submodel import PinnedModel, kept_files
from mmeframe.plugin.components import holds_pickles
from mmeframe.plugin.manager import Plugins
from mmeframe.publish.journal import BuildJournal
from mmeframe.rows.outputs import Outputs
from mmeframe.shipped import CODE
from mmeframe.store.folders import fetched
from mmeframe.store.store import Progress
from mmeframe.versions import HERE, minor

__all__ = ["pack"]

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
    """Values that are stored once each, numbered as they come. key: by what two are the same."""

    def __init__(self, key: Callable[[Any], Hashable] = lambda value: value) -> None:
        self._key = key
        self._numbers: dict[Hashable, int] = {}
        self._last: tuple[Any, int] = (object(), 0)
        self.values: list[Any] = []

    def __call__(self, value: Any) -> int:
        # Many sub-models share one object, and to hash the columns of a schema takes a while.
        if value is not self._last[0]:
            number = self._numbers.setdefault(self._key(value), len(self._numbers))
            if number == len(self.values):
                self.values.append(value)
            self._last = value, number
        return self._last[1]


class _Records:
    """Records of sub-models as they are packed, and what they have the numbers of."""

    def __init__(self) -> None:
        self.made: list[SubModelRecord] = []
        self._schemas, self._outputs, self._requirements = _Numbered(), _Numbered(), _Numbered()
        self._loaders = _Numbered(lambda loader: canonical_json(loader.to_json()))

    def add(self, model: PinnedModel, packed: Packed, size: int) -> None:
        """size: of its files in the pack."""
        record = SubModelRecord(
            id=model.id,
            uri=model.uri,
            name=model.name,
            version=model.version,
            model_id=model.model_id,
            arm=model.arm,
            key=model.key,
            flavor=model.flavor,
            flavor_options=model.options,
            loader=self._loaders(model.loader),
            inputs=self._schemas(model.inputs),
            outputs=self._outputs(_labelled(model.outputs, packed.labels)),
            requirements=self._requirements(model.requirements),
            bytes=size,
            memory=packed.memory,
            files=packed.files,
            routed=model.routed,
            form=packed.form,
            of=model.of,
            python=packed.python,
        )
        self.made.append(record)

    def said_by(self, manifest: Manifest) -> Manifest:
        """With what the records have the numbers of."""
        return replace(
            manifest,
            outputs=tuple(self._outputs.values),
            schemas=tuple(self._schemas.values),
            requirements=tuple(self._requirements.values),
            loaders=tuple(self._loaders.values),
        )


def pack(fleet: Fleet, plugins: Plugins, journal: BuildJournal, progress: Progress) -> tuple[str, list[str]]:
    """Copy every sub-model and component file into the journal's bundle; returns its digest, and warnings.

    Raises MissingError for a sub-model that cannot be downloaded, BuildError if the bundle cannot be written, and
    ProblemsError with all sub-models that cannot be loaded, or that answer none of their probe rows.
    """
    records = _Records()
    labels: dict[str, tuple[str, ...]] = {}
    with BundleWriter(journal.bundle) as writer:
        for model, packed in _all_packed(fleet, journal, writer, progress):
            if model.routed:
                labels[model.id] = packed.labels
            records.add(model, packed, sum(writer.place(ref.sha256)[1] for ref in packed.files))
        made = records.made
        combined = {record.id for record in made if record.of}
        check_residency(fleet.spec.residency, [record.id for record in made], combined, lambda at: made[at].memory)
        used = used_plugins(components(fleet).values(), plugins)
        manifest = replace(
            records.said_by(settings(fleet)),
            plugins=recorded(used),
            code=code_digests(used),
            components=_prepare(fleet, writer),
        )
        digest = writer.finish(manifest, made)
    return digest, alike_labels(labels)


def _all_packed(
    fleet: Fleet, journal: BuildJournal, writer: BundleWriter, progress: Progress
) -> Iterator[tuple[PinnedModel, Packed]]:
    """Sub-models as they are packed. Raises ProblemsError in the end, with all that cannot be."""
    report = Report()
    todo = [(f"models.{model.id}", model.folder) for model in fleet.models if not model.of and model.kept is None]
    with closing(fetched(todo)) as folders:
        for number, model in enumerate(fleet.models):
            progress("packing", number, len(fleet.models))
            try:
                packed = _packed(model, fleet.live, folders, writer)
            except _RefusedError as refused:
                report.take([refused.problem])
                continue
            journal.pack(model, writer, packed)
            yield model, packed
    progress("packing", len(fleet.models), len(fleet.models))
    report.check()


def _labelled(outputs: Outputs, labels: tuple[str, ...]) -> Outputs:
    return outputs if outputs.labels == labels else replace(outputs, labels=labels)


def _packed(
    model: PinnedModel, live: LiveModels, folders: Iterator[AbstractContextManager[Path]], writer: BundleWriter
) -> Packed:
    """Store a sub-model's files: from an earlier build where that has them, else from the next of the folders."""
    if model.of:
        return Packed()
    if model.kept is None:
        with next(folders) as root:
            return _copy(model, root, live, writer)
    try:
        found = [model.kept.blob(ref.sha256) for ref in model.kept.packed.files]
    except CorruptBundleError:
        # Reading it again is always right.
        with model.folder.local() as root:
            return _copy(model, root, live, writer)
    for data in found:
        writer.add(data)
    return model.kept.packed


def _pickled_by(model: PinnedModel, files: Sequence[FileRef]) -> str:
    """The minor version of Python whose pickles they are: where nobody has said so, the one that reads them here."""
    pickled = holds_pickles(model.loader, [ref.path for ref in files], model.options)
    return (minor(model.python) or HERE) if pickled else ""


class _RefusedError(Exception):
    """A sub-model that cannot be packed; those after it are looked at all the same."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def _copy(model: PinnedModel, root: Path, live: LiveModels, writer: BundleWriter) -> Packed:
    files = tuple(_files(model, root, writer))
    try:
        trial = live.run(tried, model, root, model.method)
    except MmeframeError as error:
        raise _RefusedError(replace(Problem.of(error), where=f"models.{model.id}")) from error
    if trial.refusal and model.prove:
        why = "; ".join(filter(None, [trial.refusal, live.doubt(model)]))
        raise _RefusedError(unanswered(model.id, f"it answered none of its probe rows: {why}", trial.hint))
    return Packed(files, _pickled_by(model, files), trial.memory, trial.form, trial.labels)


def _files(model: PinnedModel, root: Path, writer: BundleWriter) -> Iterator[FileRef]:
    """The files that the sub-model's loader keeps, and the code that it ships."""
    names = [
        name for name in model.folder.files(root) if name.split("/")[0] not in _LEFT_OUT and "__pycache__" not in name
    ]
    kept = kept_files(model.loader, names, model.options, f"models.{model.id}.loader")
    for name in sorted(kept - set(names)):
        raise BuildError(f"{model.folder.place} has no file {name!r}.", where=f"models.{model.id}")
    for name in names:
        if name in kept or (model.code and name.startswith(CODE)):
            data = (root / name).read_bytes()
            if problem := session_problem(f"models.{model.id}", {name: data}):
                raise _RefusedError(problem)
            yield FileRef(name, writer.add(data))


def _prepare(fleet: Fleet, writer: BundleWriter) -> dict[str, dict[str, str]]:
    """Store what the components prepared; returns name -> digest for each."""
    return {
        where: {name: writer.add(bytes(data)).hex() for name, data in files.items()}
        for where, files in fleet.prepared.items()
        if files
    }
