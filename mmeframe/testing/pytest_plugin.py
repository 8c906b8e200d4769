"""The pytest plugin: fixtures that compose, route, build and run commands, and the marker that says of which config.

Loaded in every pytest run of the environment, so it imports nothing heavy before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mmeframe.plugin.manager import Plugins
    from mmeframe.runtime import Router
    from mmeframe.sections import RouterSpec
    from mmeframe.testing.command import CommandResult
    from mmeframe.testing.compositions import Compositions
    from mmeframe.testing.routing_only import DryRouter
    from mmeframe.testing.stores import LocalStore

__all__ = [
    "mmeframe_built",
    "mmeframe_cfg",
    "mmeframe_cli",
    "mmeframe_compose",
    "mmeframe_overrides",
    "mmeframe_plugins",
    "mmeframe_router",
    "mmeframe_store",
]

_DIRS = "mmeframe_config_dirs"
_MARKER = (
    "mmeframe(*overrides, command='build', config_dirs=(), plugins=()): the config of mmeframe_cfg, mmeframe_router "
    "and mmeframe_built; markers of module, class, function and pytest.param add up, the nearer ones later."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(_DIRS, "folders of your own mmeframe configs, relative to this file", type="paths", default=[])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


@dataclass
class _Marked:
    """What the markers of a test say together."""

    overrides: list[str] = field(default_factory=list)
    command: str = "build"
    config_dirs: list[Path] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)


def _marked(item: Any) -> _Marked:
    found = _Marked()
    root = item.config.rootpath
    for mark in _markers(item):
        options = dict(mark.kwargs)
        found.overrides += mark.args
        found.command = options.pop("command", found.command)
        # Folders that are named nearer to the test win over others.
        found.config_dirs = [
            *(root / folder for folder in _several(options.pop("config_dirs", ()))),
            *found.config_dirs,
        ]
        found.plugins += _several(options.pop("plugins", ()))
        alien = [repr(it) for it in mark.args if not isinstance(it, str)] + sorted(options)
        if alien:
            raise pytest.UsageError(f"the marker mmeframe takes no {alien[0]}: {_MARKER}")
    return found


def _several(names: Any) -> Any:
    """Names, also where one is given for many."""
    return (names,) if isinstance(names, str | Path) else names


def _markers(item: Any) -> Iterator[pytest.Mark]:
    """From module to class to function, top to bottom, to ``pytest.param``."""
    params = item.callspec.marks if hasattr(item, "callspec") else []
    for part in item.listchain():
        if isinstance(part, pytest.Class):
            found = [mark for base in reversed(part.obj.__mro__) for mark in _decorators(base)]
        else:
            found = [mark for mark in part.own_markers if not any(mark is param for param in params)]
            # pytest keeps the decorators of a function from the bottom to the top.
            found = found[::-1] if part is item else found
        yield from (mark for mark in (*found, *(params if part is item else ())) if mark.name == "mmeframe")


def _decorators(kind: type[Any]) -> list[pytest.Mark]:
    """A class's own marks, from the top to the bottom; not those of its bases."""
    own: Any = vars(kind).get("pytestmark", [])
    marks = reversed(own if isinstance(own, list) else [own])
    return [mark.mark if isinstance(mark, pytest.MarkDecorator) else mark for mark in marks]


@pytest.fixture(scope="session")
def _mmeframe_compositions() -> Compositions:
    from mmeframe.testing.compositions import Compositions

    return Compositions()


@pytest.fixture(scope="session")
def _mmeframe_template(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    from mmeframe.testing.stores import make_store

    return make_store(tmp_path_factory.mktemp("mmeframe-template"))


@pytest.fixture
def mmeframe_plugins() -> Callable[..., Plugins]:
    """Plugins without what is installed: ``mmeframe_plugins(module_or_object, ...)`` is the built-in ones and these.

    Give names of modules, modules, or objects with hooks as methods.
    """
    from mmeframe.plugin.manager import isolated_plugins

    return isolated_plugins


@pytest.fixture
def mmeframe_compose(_mmeframe_compositions: Compositions, pytestconfig: pytest.Config) -> Callable[..., RouterSpec]:
    """The validated config of a command: ``mmeframe_compose(*overrides, command="build", config_dirs=(), plugins=())``.

    Composed once per session for equal arguments; what it returns is the test's own. The folders of the ini option
    ``mmeframe_config_dirs`` come after ``config_dirs``.
    """
    dirs: list[Path] = pytestconfig.getini(_DIRS)

    def compose(
        *overrides: str,
        command: str = "build",
        config_dirs: str | Path | Sequence[str | Path] = (),
        plugins: str | Sequence[str] | Plugins = (),
    ) -> RouterSpec:
        return _mmeframe_compositions.get(overrides, command, [*_several(config_dirs), *dirs], _several(plugins))

    return compose


@pytest.fixture
def mmeframe_overrides(request: pytest.FixtureRequest) -> list[str]:
    """The overrides of the test's config: those of its markers, and of an indirect parametrization.

    Override it where they follow from other fixtures or parameters::

        @pytest.fixture
        def mmeframe_overrides(mmeframe_overrides, column):
            return [*mmeframe_overrides, f"routing.column={column}"]
    """
    return [*_marked(request.node).overrides, *_several(getattr(request, "param", ()))]


@pytest.fixture
def mmeframe_cfg(
    request: pytest.FixtureRequest, mmeframe_compose: Callable[..., RouterSpec], mmeframe_overrides: list[str]
) -> RouterSpec:
    """The validated config that the test's markers describe."""
    marked = _marked(request.node)
    return mmeframe_compose(
        *mmeframe_overrides, command=marked.command, config_dirs=marked.config_dirs, plugins=marked.plugins
    )


@pytest.fixture
def mmeframe_router(request: pytest.FixtureRequest, mmeframe_cfg: RouterSpec) -> DryRouter:
    """A router of ``mmeframe_cfg`` that only routes: ``.route(rows, params)`` and ``.explain(rows, params)``.

    No sub-model is read, so explicitly declared ones need not exist, nor a store.
    """
    from mmeframe.testing.installed import found_plugins
    from mmeframe.testing.routing_only import DryRouter

    return DryRouter(mmeframe_cfg, found_plugins(_marked(request.node).plugins))


@pytest.fixture
def mmeframe_store(
    _mmeframe_template: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalStore]:
    """An empty MLflow store of the test's own, which is MLflow's active one while the test runs."""
    from mmeframe.testing.stores import active, copy_of

    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "store"
    folder.mkdir()
    store = copy_of(_mmeframe_template, folder)
    with active(store):
        yield store


@pytest.fixture
def mmeframe_built(
    request: pytest.FixtureRequest, mmeframe_store: LocalStore, mmeframe_overrides: list[str]
) -> Callable[..., Router]:
    """Build, log and load a router in ``mmeframe_store``: ``mmeframe_built(*overrides)``, after the markers' own."""
    from mmeframe import api
    from mmeframe.testing.installed import found_plugins

    marked = _marked(request.node)
    dirs = [*marked.config_dirs, *request.config.getini(_DIRS)]

    def build(*overrides: str) -> Router:
        logged = api.build(
            *mmeframe_overrides,
            *overrides,
            mmeframe_store.override,
            config_dirs=dirs,
            plugins=found_plugins(marked.plugins),
        )
        return api.load_router(logged.model_uri, tracking_uri=mmeframe_store.uri)

    return build


@pytest.fixture
def mmeframe_cli(pytestconfig: pytest.Config) -> Callable[..., CommandResult]:
    """Run a command in this process: ``mmeframe_cli("plan", "name=x")`` has ``code``, ``out``, ``err`` and ``json``.

    The folders of the ini option ``mmeframe_config_dirs`` come after those that ``--config-dir`` names.
    """
    from mmeframe.testing.command import run_command

    return lambda *argv: run_command(argv, pytestconfig.getini(_DIRS))
