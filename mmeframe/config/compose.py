"""Compose a config with Hydra: the one place that calls it. Writes no files, leaves no global state behind."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmeframe.config.hydra_plugins import Active, active, group_options, register
from mmeframe.errors import ConfigError, MissingError, Problem, ProblemsError, known_names, suggest
from mmeframe.plugin.manager import Plugins

__all__ = ["Composed", "activated", "compose", "composed_from", "conf_dir"]

# Groups that choose the kind of a section: option -> the key that must agree with it afterwards.
_KINDS = ("routing", "residency", "source")


@dataclass(frozen=True)
class Composed:
    """A composed config. ``tree``: plain containers, resolved; ``text``: the YAML before interpolation."""

    command: str
    tree: Mapping[str, Any]
    text: str
    overrides: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = field(default=())


def conf_dir() -> Path:
    """The shipped configs: ``mmeframe/conf`` in a wheel, ``conf`` beside the package in a checkout."""
    for folder in (Path(str(files("mmeframe"))) / "conf", Path(__file__).resolve().parents[2] / "conf"):
        if (folder / "_base.yaml").is_file():
            return folder
    raise MissingError("mmeframe's own configs are missing.", hint="Reinstall mmeframe.")


@contextmanager
def activated(plugins: Plugins, config_dirs: Sequence[str | Path] = ()) -> Iterator[None]:
    """Let Hydra see the plugins' options and the user's config folders, for as long as the block runs.

    Raises MissingError for a folder that does not exist.
    """
    from hydra.core.global_hydra import GlobalHydra

    folders = [Path(folder).absolute() for folder in config_dirs]
    for folder in folders:
        if not folder.is_dir():
            raise MissingError(f"there is no folder {folder}.", where="--config-dir")
    register()
    token = active.set(Active(tuple(map(str, folders)), group_options(plugins)))
    # An application of the user's may have Hydra initialised already: give it back as it was.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = outer
        active.reset(token)


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
    from hydra import initialize_config_dir

    with activated(plugins, config_dirs), initialize_config_dir(str(conf_dir()), job_name=command, **hydra_base()):
        tree, problems = _compose_all(config_name or command, list(overrides))
        problems += _contradictions(tree, list(overrides))
        return _finish(command, tree, tuple(overrides), tuple(problems))


def hydra_base() -> dict[str, Any]:
    """Hydra 1.3 wants to be told whose defaults to use; 1.4 deprecates the question."""
    from importlib.metadata import version

    return {} if version("hydra-core").startswith("1.4") else {"version_base": "1.3"}


def composed_from(command: str, tree: Any, overrides: tuple[str, ...]) -> Composed:
    """The same from a config that ``hydra.main`` composed."""
    return _finish(command, tree, overrides, ())


def _hydra(config_name: str, overrides: list[str]) -> Any:
    import hydra

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return hydra.compose(config_name, overrides)


def _compose_all(config_name: str, overrides: list[str]) -> tuple[Any, list[Problem]]:
    """The tree of all overrides that work, and what is wrong with the others."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    failures = (HydraException, OmegaConfBaseException, yaml.YAMLError)
    try:
        return _hydra(config_name, overrides), []
    except failures as error:
        if not overrides:
            raise _broken_file(config_name, error) from None
        first = error
    # Find every override that fails, each in the company of all that work: choices of groups come first, and one that
    # fails is tried again after the others, because it may need them.
    good: list[str] = []
    rest = sorted(overrides, key=lambda text: not _is_group_choice(text))
    try:
        _hydra(config_name, good)
    except failures as error:
        raise _broken_file(config_name, error) from None
    progress = True
    failed: dict[str, Exception] = {}
    while rest and progress:
        progress = False
        for override in list(rest):
            try:
                _hydra(config_name, [*good, override])
            except failures as error:
                failed[override] = error
            else:
                good.append(override)
                rest.remove(override)
                progress = True
    tree = _hydra(config_name, good)
    if not rest:
        return tree, [Problem("overrides", _first_line(first))]
    return tree, [_explain(override, failed[override], tree) for override in rest]


def _broken_file(config_name: str, error: Exception) -> ProblemsError:
    import yaml
    from hydra.errors import MissingConfigException

    if isinstance(error, MissingConfigException) and config_name in str(error):
        names = sorted(path.stem for path in conf_dir().glob("*.yaml") if not path.stem.startswith("_"))
        hint = suggest(config_name, names, "Shipped configs") + " Add your own folder with --config-dir."
        return ProblemsError([Problem("--config-name", f"there is no config {config_name!r}.", hint)])
    if isinstance(error, yaml.YAMLError):
        return ProblemsError([Problem(config_name, f"this is not YAML: {error}")])
    return ProblemsError([Problem(config_name, _first_line(error))])


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _parse(override: str) -> Any | None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _groups() -> list[str]:
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    return sorted(group for group in loader.list_groups("") if group != "hydra")


def _group_options(group: str) -> list[str]:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    return sorted(GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG))


def _is_group_choice(override: str) -> bool:
    parsed = _parse(override)
    return parsed is not None and parsed.key_or_group in _groups()


def _explain(override: str, error: Exception, tree: Any) -> Problem:
    """Say what is wrong with one override: syntax, group, option or key."""
    parsed = _parse(override)
    if parsed is None:
        return Problem(
            override,
            f"this is not an override: {_first_line(error)}",
            "Quote values that hold braces, commas, brackets or spaces: 'name=\"a,b\"'.",
        )
    key, value = parsed.key_or_group, parsed.value()
    groups = _groups()
    if key in groups and isinstance(value, str) and value not in _group_options(key):
        return Problem(override, f"no {key} named {value!r}.", suggest(value, _group_options(key)))
    if key in groups:
        hint = f"Choose where it goes: +{key}@{key}s.<name>={value}." if key == "source" else ""
        return Problem(override, _first_line(error), hint)
    head = key.split(".")
    if len(head) > 2 and head[0] == "sources" and head[1] not in tree.sources:
        return Problem(
            override,
            f"there is no source {head[1]!r} yet.",
            f"Use +source@sources.{head[1]}=<kind> to add one. {known_names(_group_options('source'), 'Kinds')}",
        )
    if head[0] == "routing" and len(head) > 3 and head[1] == "keys" and head[2] not in tree.routing["keys"]:
        kinds = known_names(_group_options("routing"), "Kinds")
        return Problem(
            override,
            f"there is no key part {head[2]!r} yet.",
            f"Use +routing@routing.keys.{head[2]}=<kind> to add one. {kinds}",
        )
    known = _paths(tree)
    if key in known and isinstance(value, dict):
        return Problem(override, f"{key} takes new keys with a plus.", f"Use +{override}, or +{key}.<name>=<value>.")
    close = get_close_matches(key, known, n=1, cutoff=0.75) or _same_leaf(key, known)
    siblings = _siblings(tree, head)
    guess = f"Did you mean {close[0]}={parsed.get_value_string() if value is not None else ''}? " if close else ""
    if not close and len(head) == 1:
        near = get_close_matches(key, groups, n=1)
        guess = f"Did you mean {near[0]}={value}? " if near else ""
    what = f"there is no {'option' if len(head) > 1 else 'section'} {head[-1]!r}"
    place = f" in {'.'.join(head[:-1])}" if len(head) > 1 else ""
    return Problem(override, f"{what}{place}.", f"{guess}{known_names(siblings, 'It has' if place else 'Sections')}")


def _paths(tree: Any, prefix: str = "") -> list[str]:
    from omegaconf import DictConfig

    found = []
    for name in tree:
        path = f"{prefix}{name}"
        found.append(path)
        child = tree._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            found += _paths(child, f"{path}.")
    return found


def _same_leaf(key: str, known: Sequence[str]) -> list[str]:
    leaves = {path.rsplit(".", 1)[-1]: path for path in known}
    return [leaves[name] for name in get_close_matches(key.rsplit(".", 1)[-1], leaves, n=1, cutoff=0.8)]


def _siblings(tree: Any, head: Sequence[str]) -> list[str]:
    from omegaconf import DictConfig, OmegaConf

    node = OmegaConf.select(tree, ".".join(head[:-1])) if len(head) > 1 else tree
    return [str(name) for name in node] if isinstance(node, DictConfig) else []


def _contradictions(tree: Any, overrides: Sequence[str]) -> list[Problem]:
    """A group chosen on the command line whose kind the composed config does not have."""
    from omegaconf import OmegaConf

    problems = []
    for override in overrides:
        parsed = _parse(override)
        if parsed is None or parsed.key_or_group not in _KINDS or not isinstance(parsed.value(), str):
            continue
        if parsed.value() not in _group_options(parsed.key_or_group):
            continue
        package = parsed.package or parsed.key_or_group
        chosen = _hydra(f"{parsed.key_or_group}/{parsed.value()}", [])
        wanted = OmegaConf.select(chosen, f"{parsed.key_or_group}.kind")
        found = OmegaConf.select(tree, f"{package}.kind")
        if wanted is not None and found != wanted:
            problems.append(
                Problem(
                    override,
                    f"the config sets {package}.kind={found} in place, so this choice has no effect.",
                    f"Remove kind there; choose it in the defaults: 'override /{parsed.key_or_group}: {found}'.",
                )
            )
    return problems


def _finish(command: str, tree: Any, overrides: tuple[str, ...], problems: tuple[Problem, ...]) -> Composed:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        where = getattr(error, "full_key", None) or "config"
        raise ProblemsError([*problems, Problem(str(where), _first_line(error))]) from None
    if not isinstance(plain, dict):
        raise ConfigError("the config must be a map.", where=command)
    return Composed(
        command, {str(name): value for name, value in plain.items()}, OmegaConf.to_yaml(tree), overrides, problems
    )
