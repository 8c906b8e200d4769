"""Compose a config with Hydra. Writes no files, leaves no global state behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from mmeframe.config.consistency import contradictions, misplaced, misread_integers, undone
from mmeframe.config.files import Counter, TooMuch
from mmeframe.config.hydra_api import Active, active, conf_dir, failures, hydra_base, is_group_choice, reason, run_hydra
from mmeframe.config.origins import origins
from mmeframe.config.override_errors import bad_interpolations, broken_file, endless, problem_of
from mmeframe.config.quick_choices import located
from mmeframe.errors import ConfigError, Problem, ProblemsError, UsageError
from mmeframe.plugin.manager import Plugins

__all__ = ["Composed", "activated", "compose", "composed_from"]

# Hydra has one state for the whole process; a run of hydra.main composes inside of itself.
_hydra = threading.RLock()
# What is initialised, the config of a run, and the version whose defaults hold.
_STATE = ("GlobalHydra", "HydraConfig", "VersionBase")


@dataclass(frozen=True)
class Composed:
    """A composed config. ``tree``: plain containers, resolved; ``text``: the YAML before interpolation.

    origins: paths of values that came from the environment, with the names of variables, or of the user's resolvers.
    """

    command: str
    tree: Mapping[str, Any]
    text: str
    overrides: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = field(default=())
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@contextmanager
def activated(plugins: Plugins, config_dirs: Sequence[str | Path] = ()) -> Iterator[None]:
    """Let Hydra see the plugins' options and the user's config folders, for as long as the block runs.

    One thread at a time. Raises UsageError for a folder that does not exist.
    """
    from mmeframe.config.hydra_plugins import plugin_options

    folders = [Path(folder).absolute() for folder in config_dirs]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}.", where="--config-dir")
    with _borrowed_hydra():
        options, paths = plugin_options(plugins), plugins.config_paths
        token = active.set(Active(tuple(map(str, folders)), options, paths, plugins.absent()))
        try:
            yield
        finally:
            active.reset(token)


@contextmanager
def _borrowed_hydra() -> Iterator[None]:
    """Hydra for us alone. An application of the user's may have initialised it already: it gets it back as it was."""
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton
    from omegaconf.basecontainer import BaseContainer

    from mmeframe.config.hydra_plugins import CheckedFiles, register

    def state() -> dict[Any, dict[str, Any]]:
        return {kind: dict(vars(one)) for kind, one in Singleton._instances.items() if kind.__name__ in _STATE}

    with _hydra:
        # Hydra registers its own resolvers each time, over others of the same names.
        before, resolvers = state(), dict(BaseContainer._resolvers)
        GlobalHydra.instance().clear()
        register()
        readers = SourcesRegistry.instance().types
        files, readers[CheckedFiles.scheme()] = readers[CheckedFiles.scheme()], CheckedFiles
        try:
            with _bounded_interpolations(), _bounded_defaults():
                yield
        except TooMuch as error:
            raise ProblemsError([error.problem]) from None
        finally:
            readers[CheckedFiles.scheme()] = files
            for kind in state().keys() - before.keys():
                del Singleton._instances[kind]
            for kind, values in before.items():
                for name, value in values.items():
                    setattr(kind.instance(), name, value)
            BaseContainer._resolvers.update(resolvers)


@contextmanager
def _bounded_interpolations() -> Iterator[None]:
    """Let all that interpolations give be counted: names of names would double until nothing can hold it."""
    from omegaconf import OmegaConf
    from omegaconf.base import Container

    resolve, counter = Container._resolve_interpolation_from_parse_tree, Counter()

    def counted(*args: Any, **options: Any) -> Any:
        found = resolve(*args, **options)
        plain = found is not None and OmegaConf.is_config(found)
        counter.add(OmegaConf.to_container(found) if plain else found and found._value())
        return found

    Container._resolve_interpolation_from_parse_tree = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Container._resolve_interpolation_from_parse_tree = resolve  # type: ignore[method-assign]


@contextmanager
def _bounded_defaults() -> Iterator[None]:
    """Let the files of a composition be counted: lists of defaults that name the next file twice would double."""
    from hydra._internal.config_repository import CachingConfigRepository

    load = CachingConfigRepository.load_config
    # Hydra makes a repository for each composition.
    counters: WeakKeyDictionary[Any, Counter] = WeakKeyDictionary()

    def counted(self: Any, config_path: str) -> Any:
        counters.setdefault(self, Counter()).add_file()
        return load(self, config_path)

    CachingConfigRepository.load_config = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        CachingConfigRepository.load_config = load  # type: ignore[method-assign]


def compose(
    command: str,
    overrides: Sequence[str] = (),
    *,
    plugins: Plugins,
    config_dirs: Sequence[str | Path] = (),
    config_name: str | None = None,
) -> Composed:
    """Compose the primary config of a command with overrides.

    Overrides that cannot be applied become ``problems`` of the result, each with the nearest name, so that one report
    can hold them with what parsing finds. Raises ProblemsError if nothing can be composed at all.
    """
    try:
        return _composed(command, overrides, plugins, config_dirs, config_name)
    except RecursionError:
        raise ProblemsError([endless(f"{config_name or command}.yaml")]) from None


def _composed(
    command: str,
    overrides: Sequence[str],
    plugins: Plugins,
    config_dirs: Sequence[str | Path],
    config_name: str | None,
) -> Composed:
    from hydra import initialize_config_dir

    name, folders = located(config_name or command, config_dirs)
    with activated(plugins, folders), initialize_config_dir(str(conf_dir()), job_name=command, **hydra_base()):
        tree, applied, problems = _compose_all(name, list(overrides))
        # What follows from a file that cannot be read, or says all of it elsewhere, is not worth saying.
        unread = [it for it in problems if it.where.endswith(".yaml") and "=" not in it.where]
        if files := unread or misplaced(name, tree, applied):
            raise ProblemsError(files)
        problems += contradictions(tree, applied)
        problems += undone(name, tree, applied)
        problems += misread_integers(name, tree, overrides)
        return _finish(command, tree, tuple(overrides), tuple(problems))


def composed_from(command: str, tree: Any, overrides: tuple[str, ...], config_name: str | None = None) -> Composed:
    """The same from a config that ``hydra.main`` composed, while it runs."""
    return _finish(command, tree, overrides, tuple(undone(config_name or command, tree, overrides)))


def _compose_all(config_name: str, overrides: list[str]) -> tuple[Any, list[str], list[Problem]]:
    """The tree of all overrides that work, those, and what is wrong with the others."""
    caught = failures()
    try:
        return run_hydra(config_name, overrides), overrides, []
    except caught as error:
        if not overrides:
            raise broken_file(config_name, error) from None
        first = error
    # Find every override that fails, each in the company of all that work: choices of groups come first, and one that
    # fails is tried again after the others, because it may need them.
    good: list[str] = []
    rest = sorted(overrides, key=lambda text: not is_group_choice(text))
    try:
        run_hydra(config_name, good)
    except caught as error:
        raise broken_file(config_name, error) from None
    progress = True
    failed: dict[str, Exception] = {}
    while rest and progress:
        progress = False
        for override in list(rest):
            try:
                run_hydra(config_name, [*good, override])
            except caught as error:
                failed[override] = error
            else:
                good.append(override)
                rest.remove(override)
                progress = True
    tree = run_hydra(config_name, good)
    if not rest:
        return tree, good, [Problem("overrides", reason(first))]
    return tree, good, [problem_of(override, failed[override], tree) for override in rest]


def _finish(command: str, tree: Any, overrides: tuple[str, ...], problems: tuple[Problem, ...]) -> Composed:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=False)
        came = origins(tree)
    except OmegaConfBaseException as error:
        raise ProblemsError([*problems, *bad_interpolations(tree, error)]) from None
    if not isinstance(plain, dict):
        raise ConfigError("the config must be a map.", where=command)
    sections = {str(name): value for name, value in plain.items()}
    return Composed(command, sections, OmegaConf.to_yaml(tree), overrides, problems, came)
