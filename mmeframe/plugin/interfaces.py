"""What a component implements and what it is given. Every component is ``Class(conf)``.

Components are made once, ``bind`` is called once, and from then on they are shared by threads: keep them immutable
or locked. Import heavy libraries inside methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from mmeframe.plugin.conf import CombinerConf, Conf, LoaderConf, ObserverConf, SourceConf, StrategyConf

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mmeframe.spec import Column, SubModelEntry

__all__ = [
    "Batch",
    "BatchEvent",
    "Combiner",
    "ComponentContext",
    "ErrorEvent",
    "EvictEvent",
    "LoadEvent",
    "ModelLoader",
    "ModelSource",
    "Observer",
    "RegisteredModel",
    "RegisteredVersion",
    "Registry",
    "RoutingInputs",
    "RoutingStrategy",
    "ShadowEvent",
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

    def numbers(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One column as doubles, NaN where it is missing; whole numbers from 2**53 on are rounded.

        Raises BadInputError if it was not sent, or holds something else than numbers.
        """

    def part(self, name: str) -> pd.Categorical:
        """Another key part, which ``inputs().parts`` must name: canonical texts, one per row, NaN where missing."""


def _knows_nothing(keys: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    import numpy as np

    return np.zeros(len(keys), bool)


def _has_no_models(model_id: str, batch: Batch) -> Any:
    raise LookupError(f"no sub-model {model_id!r} can be asked for {len(batch)} rows here")


@dataclass(frozen=True, slots=True)
class ComponentContext:
    """Given to ``bind``: what the host offers to a component.

    ``files``: what this component's ``prepare`` returned when the router was built.
    ``is_known``: for a strategy, which of some keys any sub-model is declared for.
    ``score``: the answers of a sub-model that ``inputs().models`` names, one per row of the batch.
    """

    files: Mapping[str, bytes | memoryview] = field(default_factory=dict)
    is_known: Callable[[Sequence[Any]], np.ndarray[Any, np.dtype[np.bool_]]] = _knows_nothing
    score: Callable[[str, Batch], Any] = _has_no_models


class Component(Generic[C]):
    """Base of strategies, loaders, sources, combiners and observers."""

    def __init__(self, conf: C) -> None:
        self.conf = conf

    def bind(self, context: ComponentContext) -> None:
        """Take what the host offers; called once, before anything is routed, loaded, listed, combined or observed.

        What describes the component is asked before: ``inputs``, ``answer_type``, ``keep``, ``runs_code``.
        """

    def prepare(self) -> Mapping[str, bytes]:
        """Files to put into the bundle, read from the paths in the config; called once, at build.

        Asked of strategies, combiners and observers. No path of the config exists where the router is served, so read
        tables here and get them back from ``context.files``.
        """
        return {}


S = TypeVar("S", bound=StrategyConf)


@dataclass(frozen=True, slots=True)
class RoutingInputs:
    """What a strategy reads: columns with their types, request parameters, other key parts, sub-models it asks.

    A column's type is MLflow's name for it (``double``, ``string``, ``datetime`` ...); ``key`` if the column carries
    the key itself; ``any`` if its values are only compared or hashed, as text where a file has no types.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    # Key parts that are computed first, for batch.part().
    parts: tuple[str, ...] = ()
    # Ids of sub-models for context.score().
    models: tuple[str, ...] = ()


class RoutingStrategy(Component[S]):
    """Computes one key part for every row.

    ``row_wise`` says that a row's key depends on nothing but that row, so a batch may be cut and permuted.
    """

    row_wise: ClassVar[bool] = True

    def inputs(self) -> RoutingInputs:
        """The columns and parameters that this strategy reads."""
        return RoutingInputs()

    def route_keys(self, batch: Batch, params: Mapping[str, str | None]) -> Any:
        """Raw key values: one scalar for the whole request, or an array, a Series or a list with one per row.

        A ``pd.Categorical`` is the cheapest to look up; the index of a Series is not looked at. None or NaN means
        missing. Anything else, such as a generator or a table, is refused. The host normalises, looks up and falls
        back; raise BadInputError for a request that cannot be understood at all.

        params: every parameter that ``inputs`` names, as the canonical text of its value (7, 7.0 and "7" are "7"), None
        if the request has left it out.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement route_keys")

    def keys(self) -> Iterable[str | int] | None:
        """All keys that this strategy can give, None if it could be anything. Called after ``bind``, at build.

        Sub-models with other keys are then reported as unreachable, and keys without a sub-model are named.
        """
        return None

    def part_keys(self) -> Mapping[str, Collection[str]]:
        """By name of another key part: its values that this strategy knows, as canonical texts. Called after ``bind``.

        Rows whose value a CSV reader may have made of one of them, as 7 of "007", are then refused.
        """
        return {}


class SubModel(Protocol):
    """A live sub-model. Called concurrently."""

    def predict(self, data: pd.DataFrame) -> np.ndarray[Any, Any] | pd.DataFrame | pd.Series[Any] | list[Any]:
        """One prediction per row of ``data``, which has exactly the columns of the sub-model's signature.

        Its rows are labelled 0 to n - 1; labels of an answer that are these in another order are followed. A sub-model
        whose signature declares parameters is asked with ``params=`` where a request sets some of them.
        """


class SubModelFiles(Protocol):
    """The files of one sub-model, as its loader sees them."""

    id: str
    flavor: str
    # The flavor's section of the MLmodel file.
    options: Mapping[str, Any]

    @property
    def columns(self) -> Sequence[Column]:
        """``name`` and ``type`` of the columns of its signature, in the order of the frames that it is asked with.

        Empty where that is not known yet: a bare file is loaded to find them.
        """

    @property
    def names(self) -> Sequence[str]:
        """Paths inside the model folder, ``/``-separated, of the files that the loader kept."""

    def read(self, name: str) -> memoryview:
        """The bytes of one file, verified, without a copy."""

    def folder(self) -> Path:
        """All files in a real folder, for libraries that cannot load from memory; unpacked once per content."""


L = TypeVar("L", bound=LoaderConf)


class ModelLoader(Component[L]):
    """Turns a sub-model's files into a live object with ``predict``.

    ``knows_classes`` says that a live object may answer with a probability for each of its ``classes_``, an array of
    labels, or a tuple: the build then names the columns after them. An estimator's ``classes_`` need no such word.
    """

    knows_classes: ClassVar[bool] = False

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        """Which files of the model folder go into the bundle. By default all of them."""
        del options
        return names

    def distributions(self, options: Mapping[str, Any]) -> Iterable[str]:
        """What must be installed to load a bare estimator file: names of distributions, pinned as they are here.

        An MLflow model says itself what it requires.
        """
        del options
        return ()

    def runs_code(self, names: Sequence[str], options: Mapping[str, Any]) -> bool:
        """Whether making such a sub-model live can run code that its files hold, as a pickle's can.

        ``bundle.allow_pickle: false`` refuses those. Asked with what ``keep`` is asked; the answer must follow from
        ``options`` as ``load`` follows them. By default True: whatever is not known to be safe.
        """
        del names, options
        return True

    def load(self, files: SubModelFiles) -> SubModel:
        """The live sub-model. Called from several threads at once, for different sub-models."""
        raise NotImplementedError(f"{type(self).__name__} must implement load")

    def for_arrays(self, model: SubModel) -> SubModel | None:
        """The same sub-model for a 2-D array of doubles, its columns in the signature's order; None if it needs names.

        Called with what ``load`` gave; may change and return that. Only for sub-models whose inputs are all numbers.
        The build compares both on probe rows, and records which sub-models take arrays: those are spared the frame.
        """
        del model
        return None

    def size(self, model: SubModel) -> int:
        """Bytes of memory that a live sub-model takes: what a budget counts. By default all that it refers to.

        Override it for a library that holds its models outside of Python.
        """
        from mmeframe.plugin.memory import bytes_of

        return bytes_of(model)


K = TypeVar("K", bound=CombinerConf)


class Combiner(Component[K]):
    """Makes one answer of the answers that several sub-models give for the same rows."""

    def combine(self, answers: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """One answer per row. answers: of each sub-model of ``of``, in its order; all have one shape, (n_rows,) or
        (n_rows, outputs). Called concurrently.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement combine")

    def answer_type(self, kind: str, width: int) -> str:
        """MLflow's name of the type of the combined answers, from that of the sub-models' own, which is one.

        Arrays, maps and objects have no name: of those it is MLflow's description as JSON.
        width: values in a sub-model's answer for a row: 1, or as many as there are outputs or classes.
        Raises ConfigError for answers that cannot be combined.
        """
        del width
        return kind


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """A batch was answered. ``models`` and ``reasons``: id, and reason, -> number of rows."""

    rows: int
    seconds: float
    models: Mapping[str, int]
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LoadEvent:
    """A sub-model was loaded. ``bytes``: the memory that it takes."""

    model_id: str
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class EvictEvent:
    """A sub-model was dropped from memory. ``reason``: ``budget`` (others need its room) or ``ttl`` (nobody asked)."""

    model_id: str
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class ShadowEvent:
    """A shadow arm's sub-model was asked what another one had answered. Answers: one per row, in the same order."""

    model_id: str
    shadow_id: str
    arm: str
    rows: int
    seconds: float
    answers: np.ndarray[Any, Any]
    shadow_answers: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """A sub-model failed. ``shadow``: in the background, so that no caller saw it.

    error: may be kept, as it keeps no sub-model alive; of one that was skipped, tracebacks are notes.
    """

    model_id: str
    rows: int
    error: Exception
    shadow: bool


O = TypeVar("O", bound=ObserverConf)  # noqa: E741 - the letter of its kind


class Observer(Component[O]):
    """Is told what a router does. Never changes an answer: one that raises is logged, and told nothing more.

    Called in the thread that did the work; ``on_shadow`` in the background. Be quick, or hand the event to a queue.
    """

    def on_batch(self, event: BatchEvent) -> None:
        """After a batch was answered."""

    def on_load(self, event: LoadEvent) -> None:
        """After a sub-model was loaded."""

    def on_evict(self, event: EvictEvent) -> None:
        """After a sub-model was dropped from memory."""

    def on_shadow(self, event: ShadowEvent) -> None:
        """After a shadow arm was scored."""

    def on_error(self, event: ErrorEvent) -> None:
        """After a sub-model failed."""


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
    """Bulk look-ups in the model registry: a fixed number of paged searches, never one call per model.

    A source is shown no routers: a family with one would hold its own last version.
    """

    def models(self, name_like: str = "%", filter_string: str = "") -> Sequence[RegisteredModel]:
        """Registered models whose name is LIKE ``name_like`` and that match MLflow's ``filter_string``."""

    def logged_models(self, filter_string: str, experiments: Sequence[str], name_like: str = "%") -> Sequence[Any]:
        """LoggedModels that match, from the named experiments (all if none are named), newest first."""


@dataclass(frozen=True, slots=True)
class SourceContext(ComponentContext):
    """Given to a source's ``bind``. ``name``: the source's own; ``parts``: names of the key parts."""

    name: str = ""
    parts: tuple[str, ...] = ()
    registry: Registry | None = None
    # Registered models that explicit entries of the main arm, or of its own, name, which a source leaves out.
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
