"""Bare estimator files: what an MLmodel file says of other sub-models is declared, or found by loading the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.errors import FAULTS, BuildError
from mmeframe.fleet.examples import learnt_rows, made_up
from mmeframe.fleet.methods import answers, lost_class
from mmeframe.plugin.components import make_component
from mmeframe.rows.outputs import Outputs
from mmeframe.spec import Column, ComponentSpec
from mmeframe.store.folders import ModelFile

if TYPE_CHECKING:
    from mmeframe.fleet.submodel import PinnedModel
    from mmeframe.plugin import SubModelFiles
    from mmeframe.plugin.manager import Plugins

__all__ = ["FileAlone", "bare_file", "declared", "doubles", "form_of", "look_into", "look_into_folder", "requirements"]

Doubles = Callable[[tuple[str, ...]], tuple[Column, ...]]
_DECLARE = "signature: {inputs: {x1: double}, outputs: double}, in its entry or in its source"


def bare_file(location: str, suffixes: Collection[str]) -> ModelFile | None:
    """The file at a location; None for what is a model folder, by its suffix. suffixes: those that loaders read."""
    suffix = os.path.splitext(location)[1]
    if suffix not in suffixes:
        return None
    # One name for all, so that their options are equal, wherever they lie.
    file = ModelFile(location, f"model{suffix}")
    return None if file.here is not None and file.here.is_dir() else file


def form_of(file: ModelFile, plugins: Plugins, loader: ComponentSpec | None) -> tuple[str, dict[str, str]]:
    """The flavor of a bare file, and its loader's options. loader: the one that is chosen for it.

    Raises PluginError if several loaders read such a file in different ways, and none of these is chosen.
    """
    flavor, options = plugins.form(os.path.splitext(file.name)[1], loader)
    return flavor, {option: value.format(name=file.name) for option, value in options.items()}


def declared(signature: Mapping[str, Any] | None) -> tuple[tuple[Column, ...], Outputs | None]:
    """Columns and answers of a ``signature:`` option; what it leaves out is empty, and None."""
    if not signature:
        return (), None
    inputs = tuple(Column(name, kind) for name, kind in signature["inputs"].items())
    given = signature["outputs"]
    if not given:
        return inputs, None
    named = given if isinstance(given, Mapping) else {"prediction": given}
    return inputs, Outputs(tuple(Column(name, kind) for name, kind in named.items()))


def requirements(loader: ComponentSpec, options: Mapping[str, Any]) -> tuple[str, ...]:
    """What its loader needs, in the versions that are installed here.

    Raises BuildError for a distribution that is not installed.
    """
    return tuple(map(_pinned, make_component(loader).distributions(options)))


@lru_cache(maxsize=256)
def _pinned(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        raise BuildError(f"{name} is not installed.", hint=f"pip install {name}") from None


class FileAlone:
    """The ``SubModelFiles`` of the plugin API over one file: a folder is made only for loaders that want one."""

    def __init__(self, model: PinnedModel, file: ModelFile, folders: ExitStack) -> None:
        self.id, self.flavor, self.options, self.columns = model.id, model.flavor, model.options, model.inputs
        self.names = [file.name]
        self._file, self._folders = file, folders

    def read(self, name: str) -> memoryview:
        return memoryview(self._file.read(name) or b"")

    def folder(self) -> Path:
        return self._folders.enter_context(self._file.local())


def look_into(model: PinnedModel, files: SubModelFiles, columns: Doubles) -> tuple[tuple[Column, ...], Outputs]:
    """The columns and the answers of an estimator: as declared, or as loading and asking it shows.

    Raises BuildError for a file that cannot be loaded, or that holds something else.
    """
    live = _load(model, files)
    inputs = model.inputs or _find_inputs(live, columns)
    return inputs, model.outputs if model.outputs.columns else _find_outputs(live, inputs)


def look_into_folder(model: PinnedModel, root: Path) -> tuple[tuple[Column, ...], Outputs]:
    """The same of the one file in a folder."""
    return look_into(model, model.files(root), doubles)


def doubles(names: tuple[str, ...]) -> tuple[Column, ...]:
    """Columns of these names."""
    return tuple(Column(name, "double") for name in names)


def _load(model: PinnedModel, files: SubModelFiles) -> Any:
    try:
        live = make_component(model.loader).load(files)
    except FAULTS as error:
        said = (str(error).splitlines() or [""])[0]
        what = f"{model.uri} cannot be loaded: {type(error).__name__}: {said}"
        hint = "It must be written by the library, and in the version, that is here."
        raise BuildError(what, hint=lost_class(error) or hint) from error
    if not callable(getattr(live, "predict", None)):
        raise BuildError(f"{model.uri} holds a {type(live).__name__}, which has no predict.")
    return live


def _find_inputs(live: Any, columns: Doubles) -> tuple[Column, ...]:
    """The columns that an estimator was fitted with: doubles, but for categories, whose type its loader tells.

    Raises BuildError if it does not know their names.
    """
    names = getattr(live, "feature_names_in_", None)
    if names is None:
        what = "it was fitted without names of columns, so which ones it takes is not known."
        raise BuildError(what, hint=f"Fit it on a DataFrame, or declare {_DECLARE}.")
    found, types = columns(tuple(map(str, names))), getattr(live, "column_types", {})
    return tuple(replace(it, type=types[it.name]) if it.name in types else it for it in found) if types else found


def _find_outputs(live: Any, inputs: tuple[Column, ...]) -> Outputs:
    """What an estimator answers, from a call on a few rows. Raises BuildError if it does not take them."""
    try:
        return answers(live, chain(made_up(inputs), learnt_rows(live, inputs)), "predict", "")
    except BuildError as error:
        raise BuildError(error.what, hint=f"Declare {_DECLARE}.") from error
