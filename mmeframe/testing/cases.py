"""Cases: a component, named and configured as in a config, with what it is tried on.

A case finds its component through the plugin manager and a real composition, so what is tested is what a plugin
registers. Nothing is composed, read or made before a check asks for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mmeframe.errors import MissingError, UsageError
from mmeframe.plugin import (
    ComponentContext,
    ModelSource,
    Registry,
    RoutingStrategy,
    SourceContext,
    SubModelEntry,
)
from mmeframe.plugin.components import make_component
from mmeframe.plugin.kinds import COMBINER, LOADER, OBSERVER, SOURCE, STRATEGY, Kind
from mmeframe.plugin.manager import Plugins, Registered
from mmeframe.spec import ComponentSpec
from mmeframe.testing.installed import found_plugins

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mmeframe.sections import RouterSpec

__all__ = ["Case", "CombinerCase", "LoaderCase", "ObserverCase", "SourceCase", "StrategyCase"]

Content = str | bytes | Path
# The key part, sub-model, source or observer that a case is in the config that it composes.
NAME = "the_case"
# Characters of an option's value in the name of a test.
_SHOWN = 24


@dataclass(eq=False)
class Case:
    """What cases of every kind have.

    kind: the registered name. options: as config has them; what is left out has its default. files: name -> content, or
    a path to copy from, or a function that gives one of the two; they lie in the working directory while the component
    prepares or expands, and are gone afterwards: name the tables of ``options`` here. plugins: modules to add, as
    ``-p`` does, for a plugin that is not installed. id: for the names of tests; kind and options by default.
    """

    of_kind: ClassVar[Kind]

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    files: Mapping[str, Content | Callable[[], Content]] = field(default_factory=dict, kw_only=True)
    plugins: Sequence[str] = field(default=(), kw_only=True)
    id: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.plugins, str):
            raise UsageError(f"plugins is a list of modules, not {self.plugins!r}.", where=type(self).__name__)
        shown = [f"{name}={_short(value)}" for name, value in self.options.items()]
        self.id = self.id or "-".join([self.kind, *shown])

    def __str__(self) -> str:
        return f"{self.noun} {self.id!r}"

    @property
    def noun(self) -> str:
        return self.of_kind.noun

    @cached_property
    def known(self) -> Plugins:
        """The plugins of the environment, and those of the case."""
        return found_plugins(self.plugins)

    @cached_property
    def entry(self) -> Registered:
        """What the plugin has registered. Raises UnknownNameError with the nearest name."""
        return self.known.get(self.noun, self.component.kind if self._preset else self.kind, "kind")

    @property
    def _preset(self) -> bool:
        """Whether the kind is the name of a YAML file that a plugin ships."""
        return False

    @cached_property
    def component(self) -> ComponentSpec:
        """The component as a validated config has it. Raises ProblemsError for what is wrong with the options."""
        if not self._preset:
            self.known.get(self.noun, self.kind, "kind")
        return self._found(self.spec)

    @cached_property
    def spec(self) -> RouterSpec:
        """A config that holds the case and little else."""
        import yaml

        from mmeframe.config import compose, parse

        defaults, tree = self._config()
        text = yaml.safe_dump({"defaults": [*defaults, "_self_"], "name": "conformance", **tree}, sort_keys=False)
        with tempfile.TemporaryDirectory(prefix="mmeframe-case-") as folder:
            home = Path(folder) / "experiment"
            home.mkdir()
            (home / f"{NAME}.yaml").write_text(f"# @package _global_\n{text}", encoding="utf-8")
            composed = compose("build", [f"experiment={NAME}"], plugins=self.known, config_dirs=[folder])
        return parse(composed, self.known)

    def _config(self) -> tuple[list[Any], dict[str, Any]]:
        """Choices for a ``defaults`` list, and the config below it."""
        raise NotImplementedError

    def _found(self, spec: RouterSpec) -> ComponentSpec:
        raise NotImplementedError

    def make(self) -> Any:
        """A fresh component, made of what a bundle would record: JSON with sorted maps."""
        recorded = json.loads(json.dumps(self.component.to_json(), sort_keys=True, allow_nan=False))
        return make_component(ComponentSpec.from_json(recorded))

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A working directory of the case's own, with its files, as long as the block runs."""
        before = Path.cwd()
        with tempfile.TemporaryDirectory(prefix="mmeframe-case-") as name:
            folder = Path(name).resolve()
            for path, content in self.files.items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                found = content() if callable(content) else content
                data = found.read_bytes() if isinstance(found, Path) else found
                target.write_bytes(data.encode() if isinstance(data, str) else data)
            os.chdir(folder)
            try:
                yield folder
            finally:
                os.chdir(before)

    def prepared(self) -> dict[str, bytes]:
        """What a fresh component puts into the bundle."""
        with self.workspace():
            return dict(self.make().prepare())

    def bound(self) -> Any:
        """A fresh component, bound to what another one prepared."""
        component = self.make()
        component.bind(ComponentContext({name: memoryview(data) for name, data in self.prepared().items()}))
        return component


@dataclass(eq=False)
class StrategyCase(Case):
    """A routing strategy, or a preset of one that a plugin ships, and rows that it routes.

    rows: a frame, or a function that makes it; a key part that the strategy builds on is the column of that name. Rows
    with missing values and with several keys show most. params: request parameters. declared: keys that
    ``context.is_known`` knows. score: answers of ``context.score``, from (model id, batch).
    """

    of_kind = STRATEGY

    rows: Any
    params: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    declared: Sequence[str] = field(default=(), kw_only=True)
    score: Callable[[str, Any], Any] | None = field(default=None, kw_only=True)

    @cached_property
    def frame(self) -> pd.DataFrame:
        return _some_rows(self)

    @property
    def _preset(self) -> bool:
        return self.kind not in self.known.registered[self.noun] and self.kind in self.known.presets(self.of_kind.group)

    def _config(self) -> tuple[list[Any], dict[str, Any]]:
        # Whatever part the strategy builds on is there.
        columns = [name for name in map(str, self.frame.columns) if name.isidentifier() and name not in _REFUSED]
        parts = {name: {"kind": "column", "column": name} for name in columns}
        keys = {**parts, NAME: dict(self.options)}
        return [{f"/routing@routing.keys.{NAME}": self.kind}], {"routing": {"keys": keys, "levels": [[NAME]]}}

    def _found(self, spec: RouterSpec) -> ComponentSpec:
        (found,) = [part.strategy for part in spec.routing.parts if part.name == NAME]
        return found

    def bound(self, prepared: Mapping[str, bytes] | None = None) -> RoutingStrategy[Any]:
        """A fresh strategy as a served router has it: bound to what another one prepared, where no file is."""
        prepared = self.prepared() if prepared is None else prepared
        files = {name: memoryview(data) for name, data in prepared.items()}
        strategy: RoutingStrategy[Any] = self.make()
        more: dict[str, Any] = {"score": self.score} if self.score else {}
        strategy.bind(ComponentContext(files, self._is_known, **more))
        return strategy

    def _is_known(self, keys: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        import numpy as np

        from mmeframe.rows.keys import canonical

        return np.array([canonical(key) in set(self.declared) for key in keys], bool)


@dataclass(eq=False)
class LoaderCase(Case):
    """A model loader, and a sub-model that it loads.

    model: an MLflow model folder or a bare file; or a function that is given an empty folder, writes one there and
    returns its path. rows: a frame that the sub-model answers, or a function that makes it.
    """

    of_kind = LOADER

    model: Any
    rows: Any

    @cached_property
    def frame(self) -> pd.DataFrame:
        return _some_rows(self)

    @cached_property
    def path(self) -> Path:
        """Where the sub-model lies."""
        found = Path(self.model(self._home()) if callable(self.model) else self.model).absolute()
        if not found.exists():
            raise MissingError(f"there is no model at {found}.", where=str(self))
        return found

    def _home(self) -> Path:
        """A folder that is there as long as the case."""
        home = tempfile.mkdtemp(prefix="mmeframe-case-")
        weakref.finalize(self, shutil.rmtree, home, ignore_errors=True)
        return Path(home)

    def _config(self) -> tuple[list[Any], dict[str, Any]]:
        model = {"uri": NAME, "key": {}, "loader": {"kind": self.kind, **self.options}}
        return [], {"routing": {"levels": [[]]}, "models": {NAME: model}}

    def _found(self, spec: RouterSpec) -> ComponentSpec:
        (found,) = [model.loader for model in spec.models if isinstance(model.loader, ComponentSpec)]
        return found


@dataclass(eq=False)
class SourceCase(Case):
    """A model source.

    parts: the key parts of the routing. expected: the ids that it brings, or id -> key; None where they are not known.
    registry: what it searches, by default the active MLflow store.
    """

    of_kind = SOURCE

    parts: Sequence[str] = field(default=("key",), kw_only=True)
    expected: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = field(default=None, kw_only=True)
    registry: Registry | None = field(default=None, kw_only=True)

    def _config(self) -> tuple[list[Any], dict[str, Any]]:
        keys = {part: {"kind": "column", "column": part} for part in self.parts}
        routing: dict[str, Any] = {"keys": keys} if keys else {"levels": [[]]}
        return [{f"/source@sources.{NAME}": self.kind}], {"routing": routing, "sources": {NAME: dict(self.options)}}

    def _found(self, spec: RouterSpec) -> ComponentSpec:
        ((_, found),) = spec.sources
        return found

    def bound(self, parts: Sequence[str] | None = None, taken: frozenset[str] = frozenset()) -> ModelSource[Any]:
        """A fresh source. parts: the case's by default. taken: registered models that explicit entries name."""
        source: ModelSource[Any] = self.make()
        parts = tuple(self.parts if parts is None else parts)
        source.bind(SourceContext(name=NAME, parts=parts, registry=self.registry or _Active(), taken=taken))
        return source

    def expanded(self, **context: Any) -> list[SubModelEntry]:
        """What a fresh source brings. context: arguments of ``bound``."""
        with self.workspace():
            return list(self.bound(**context).expand())


@dataclass(eq=False)
class CombinerCase(Case):
    """A combiner, and answers of several sub-models for the same rows: arrays of one shape, one for each of ``of``."""

    of_kind = COMBINER

    answers: Sequence[Any]

    @cached_property
    def arrays(self) -> list[np.ndarray[Any, Any]]:
        """The answers, which nobody can change."""
        import numpy as np

        found = [np.array(answer) for answer in self.answers]
        if not found or not len(found[0]):
            raise _no_rows(self)
        for array in found:
            array.flags.writeable = False
        return found

    @property
    def of(self) -> list[str]:
        """Ids of the sub-models: those of the options, or made up."""
        return list(self.options.get("of", [f"m{number}" for number in range(len(self.answers))]))

    def _config(self) -> tuple[list[Any], dict[str, Any]]:
        combine = {"kind": self.kind, **self.options, "of": self.of}
        others = {id_: {"uri": id_, "key": "none"} for id_ in self.of}
        models = {**others, NAME: {"key": {}, "combine": combine}}
        return [], {"routing": {"levels": [[]]}, "models": models}

    def _found(self, spec: RouterSpec) -> ComponentSpec:
        (found,) = [model.combine for model in spec.models if model.combine is not None]
        return found


@dataclass(eq=False)
class ObserverCase(Case):
    """An observer: it is told events of every type."""

    of_kind = OBSERVER

    def _config(self) -> tuple[list[Any], dict[str, Any]]:
        tree = {"routing": {"levels": [[]]}, "observers": {NAME: dict(self.options)}}
        return [{f"/observer@observers.{NAME}": self.kind}], tree

    def _found(self, spec: RouterSpec) -> ComponentSpec:
        ((_, found),) = spec.observers
        return found


# Names of columns that cannot carry a key.
_REFUSED = ("messages", "prompt", "input", "annotate", NAME)


class _Active:
    """MLflow's active store as sources see it, opened only if one asks."""

    def models(self, name_like: str = "%", filter_string: str = "") -> Sequence[Any]:
        with _active() as registry:
            return registry.models(name_like, filter_string)

    def logged_models(self, filter_string: str, experiments: Sequence[str], name_like: str = "%") -> Sequence[Any]:
        with _active() as registry:
            return registry.logged_models(filter_string, experiments, name_like)


@contextlib.contextmanager
def _active() -> Iterator[Registry]:
    from mmeframe.fleet.brought import SourceRegistry
    from mmeframe.store.store import using_store

    with using_store(None) as store:
        yield SourceRegistry(store)


def _some_rows(case: StrategyCase | LoaderCase) -> pd.DataFrame:
    found: pd.DataFrame = case.rows() if callable(case.rows) else case.rows
    if not len(found):
        raise _no_rows(case)
    return found


def _no_rows(case: Case) -> UsageError:
    return UsageError("the case has no rows, so it checks nothing.", where=str(case))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
