"""What a component implements and what it is given. Every component is ``Class(conf)``.

Components are made once, ``bind`` is called once, and from then on they are shared by threads: keep them immutable
or locked. Import heavy libraries inside methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from mmeframe.plugin.conf import Conf, LoaderConf, SourceConf, StrategyConf

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mmeframe.spec import SubModelEntry

__all__ = [
    "Batch",
    "ComponentContext",
    "ModelLoader",
    "ModelSource",
    "RegisteredModel",
    "RegisteredVersion",
    "Registry",
    "RoutingInputs",
    "RoutingStrategy",
    "SourceContext",
    "SubModel",
    "SubModelFiles",
]

C = TypeVar("C", bound=Conf)


class Batch(Protocol):
    """A request's rows, whatever the caller sent."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns that were sent."""

    def __len__(self) -> int:
        """Number of rows."""

    def column(self, name: str) -> Any:
        """One column: a 1-D numpy array, or the pandas array of a category, nullable or text column.

        Raises BadInputError naming the nearest column if it was not sent.
        """


@dataclass(frozen=True, slots=True)
class ComponentContext:
    """Given to ``bind``. ``files``: what this component's ``prepare`` returned when the router was built."""

    files: Mapping[str, bytes | memoryview] = field(default_factory=dict)


class Component(Generic[C]):
    """Base of strategies, loaders and sources."""

    def __init__(self, conf: C) -> None:
        self.conf = conf

    def bind(self, context: ComponentContext) -> None:
        """Take what the host offers; called once, before any other method but ``prepare``."""

    def prepare(self) -> Mapping[str, bytes]:
        """Files to put into the bundle, read from the paths in the config; called once, at build.

        No path of the config exists where the router is served, so read tables here and get them back from
        ``context.files``.
        """
        return {}


S = TypeVar("S", bound=StrategyConf)


@dataclass(frozen=True, slots=True)
class RoutingInputs:
    """What a strategy reads: columns with their types, and request parameters.

    A column's type is MLflow's name for it (``double``, ``string``, ``datetime`` ...), or ``key`` if the column carries
    the key itself, which is then read as an integer where all declared keys are whole numbers, else as text.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    params: tuple[str, ...] = ()


class RoutingStrategy(Component[S]):
    """Computes one key part for every row.

    ``row_wise`` says that a row's key depends on nothing but that row, so a batch may be cut and permuted.
    """

    row_wise: ClassVar[bool] = True

    def inputs(self) -> RoutingInputs:
        """The columns and parameters that this strategy reads."""
        return RoutingInputs()

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        """Raw key values: one scalar for the whole request, or a 1-D array with one per row.

        None or NaN means missing. The host normalises, looks up and falls back; raise BadInputError for a request
        that cannot be understood at all.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement route_keys")


class SubModel(Protocol):
    """A live sub-model. Called concurrently."""

    def predict(self, data: pd.DataFrame) -> np.ndarray[Any, Any] | pd.DataFrame | pd.Series[Any] | list[Any]:
        """One prediction per row of ``data``, which has exactly the columns of the sub-model's signature."""


class SubModelFiles(Protocol):
    """The files of one sub-model, as its loader sees them."""

    id: str
    flavor: str
    # The flavor's section of the MLmodel file.
    options: Mapping[str, Any]

    @property
    def names(self) -> Sequence[str]:
        """Paths inside the model folder, ``/``-separated, of the files that the loader kept."""

    def read(self, name: str) -> memoryview:
        """The bytes of one file, verified, without a copy."""

    def folder(self) -> Path:
        """All files in a real folder, for libraries that cannot load from memory; unpacked once per content."""


L = TypeVar("L", bound=LoaderConf)


class ModelLoader(Component[L]):
    """Turns a sub-model's files into a live object with ``predict``."""

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        """Which files of the model folder go into the bundle. By default all of them."""
        del options
        return names

    def load(self, files: SubModelFiles) -> SubModel:
        """The live sub-model. Called from several threads at once, for different sub-models."""
        raise NotImplementedError(f"{type(self).__name__} must implement load")


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A model version. ``model_id`` is the LoggedModel behind it, None for versions made before MLflow 3."""

    name: str
    version: str
    source: str
    model_id: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model with its aliases (alias -> version) and its versions, newest first."""

    name: str
    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    versions: tuple[RegisteredVersion, ...]


class Registry(Protocol):
    """Bulk look-ups in the model registry: a fixed number of paged searches, never one call per model."""

    def models(self, name_like: str = "%", filter_string: str = "") -> Sequence[RegisteredModel]:
        """Registered models whose name is LIKE ``name_like`` and that match MLflow's ``filter_string``."""

    def logged_models(self, filter_string: str, experiments: Sequence[str]) -> Sequence[Any]:
        """LoggedModels that match, from the named experiments (all if none are named), newest first."""


@dataclass(frozen=True, slots=True)
class SourceContext(ComponentContext):
    """Given to a source's ``bind``. ``name``: the source's own; ``parts``: names of the key parts."""

    name: str = ""
    parts: tuple[str, ...] = ()
    registry: Registry | None = None
    # Registered models that explicit entries name, which a source leaves out.
    taken: frozenset[str] = frozenset()


R = TypeVar("R", bound=SourceConf)


class ModelSource(Component[R]):
    """Lists a family of sub-models."""

    context: SourceContext

    def bind(self, context: ComponentContext) -> None:
        assert isinstance(context, SourceContext)  # noqa: S101 - sources are only ever bound to this
        self.context = context

    def expand(self) -> Iterable[SubModelEntry]:
        """The family's entries. Raise ConfigError or MissingError for what is wrong; all at once is kinder."""
        raise NotImplementedError(f"{type(self).__name__} must implement expand")
