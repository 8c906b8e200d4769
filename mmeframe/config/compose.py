"""Compose a config with Hydra: the one place that calls it. Writes no files, leaves no global state behind."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    token = active.set(Active(tuple(map(str, folders)), group_options(plugins), plugins.absent()))
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
        problems += _misread_integers(config_name or command, overrides)
        return _finish(command, tree, tuple(overrides), tuple(problems))


def hydra_base() -> dict[str, Any]:
    """Hydra 1.3 wants to be told whose defaults to use; 1.4 deprecates the question."""
    from importlib.metadata import version

    return {} if version("hydra-core").startswith("1.4") else {"version_base": "1.3"}


def composed_from(command: str, tree: Any, overrides: tuple[str, ...]) -> Composed:
    """The same from a config that ``hydra.main`` composed."""
    return _finish(command, tree, overrides, ())


def _hydra(config_name: str, overrides: Iterable[str]) -> Any:
    import hydra

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return hydra.compose(config_name, [piece for override in overrides for piece in _as_hydra(override)])


def _as_hydra(override: str) -> list[str]:
    """What Hydra is given: an override of a sub-model's key replaces it whole, where Hydra would merge the parts."""
    match = re.fullmatch(r"(models\.[^.=+~]+\.key)=(\{.*)", override, re.DOTALL)
    return [f"~{match[1]}", f"+{match[1]}={match[2]}"] if match else [override]


def _failures() -> tuple[type[Exception], ...]:
    """What an override or a file can make Hydra raise."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError)


def _compose_all(config_name: str, overrides: list[str]) -> tuple[Any, list[Problem]]:
    """The tree of all overrides that work, and what is wrong with the others."""
    failures = _failures()
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
        return tree, [Problem("overrides", _reason(first))]
    return tree, [_explain(override, failed[override], tree) for override in rest]


def _broken_file(config_name: str, error: Exception) -> ProblemsError:
    """A config that does not compose on its own."""
    import yaml
    from hydra.errors import MissingConfigException

    where = f"{config_name}.yaml"
    if isinstance(error, yaml.YAMLError):
        return ProblemsError([Problem(where, f"this is not YAML: {_yaml_fault(error)}.")])
    missing = error.missing_cfg_file if isinstance(error, MissingConfigException) else None
    if missing == config_name:
        hint = (
            suggest(config_name, _config_names(), "Shipped configs" if not _own_configs() else "Configs")
            + " Add your own folder with --config-dir."
        )
        return ProblemsError([Problem("--config-name", f"there is no config {config_name!r}.", hint)])
    if missing is not None:
        group, _, name = missing.rpartition("/")
        known = _group_options(group) if group else _config_names()
        return ProblemsError([Problem(where, f"no {group or 'config'} named {name!r}.", suggest(name, known))])
    # Hydra 1.3's words, and 1.4's.
    unmatched = re.search(r"(?:Could not override|No earlier Group Default for) '([^'@]+)", str(error))
    if unmatched:
        what = f"its defaults override {unmatched[1]!r}, which is in no defaults list before it."
        return ProblemsError([Problem(where, what, suggest(unmatched[1], _groups(), "Groups"))])
    if wrong := _wrong_shapes(config_name):
        return ProblemsError(wrong)
    # OmegaConf knows the path in the config, where it reads a file that Hydra only names.
    inner = _innermost(error)
    path = getattr(inner, "full_key", None)
    return ProblemsError([Problem(str(path) if path else where, f"{_reason(error)} (in {where})")])


def _wrong_shapes(config_name: str) -> list[Problem]:
    """Sections of the user's own file that are no maps, which is what Hydra cannot merge."""
    import yaml

    current = active.get()
    files = [Path(folder) / f"{config_name}.yaml" for folder in (current.config_dirs if current else ())]
    file = next((path for path in files if path.is_file()), None)
    if file is None:
        return []
    base = yaml.safe_load((conf_dir() / "_base.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [
        Problem(name, f"this must be a map, not a {type(value).__name__} (in {file.name}).")
        for name, value in (own.items() if isinstance(own, dict) else ())
        if isinstance(base.get(name), dict) and isinstance(value, list | str | int)
    ]


def _config_names() -> list[str]:
    """Primary configs: the shipped ones and the user's own."""
    shipped = {path.stem for path in conf_dir().glob("*.yaml") if path.stem[0] != "_"}
    return sorted(shipped | _own_configs())


def _own_configs() -> set[str]:
    current = active.get()
    return {path.stem for folder in (current.config_dirs if current else ()) for path in Path(folder).glob("*.yaml")}


def _yaml_fault(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    at = f" in {mark.name}, line {mark.line + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or _reason(error)}{at}"


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _reason(error: BaseException) -> str:
    """What Hydra says, without its wrapping: the innermost cause, on one line."""
    error = _innermost(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if "Exception" not in line and "object_type" not in line and "HYDRA_" not in line]
    return "; ".join(said[:3]).replace("full_key: ", "at ") or type(error).__name__


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


# Maps that take any key, in which a new one needs a plus.
_OPEN = re.compile(
    r"models(\.[^.]+)?(\.key)?|sources\.[^.]+\.(key|each)|tracking\.tags|environment\.override|train\.estimator\.params"
)


def _explain(override: str, error: Exception, tree: Any) -> Problem:
    """Say what is wrong with one override: syntax, a sweep, a group, an option, a key."""
    import yaml

    parsed = _parse(override)
    if isinstance(error, yaml.YAMLError):
        return Problem(override, f"its file is not YAML: {_yaml_fault(error)}.")
    if parsed is None:
        return Problem(
            override,
            f"this is not an override: {_reason(error)}",
            "Quote values that hold braces, commas, brackets or spaces: 'name=\"a,b\"'.",
        )
    if parsed.is_sweep_override():
        hint = f"Quote it for one value: '{parsed.key_or_group}=\"...\"', or add --multirun."
        return Problem(override, "values with a comma between them are several runs.", hint)
    groups = _groups()
    if parsed.key_or_group in groups and not parsed.is_delete():
        return _explain_group(override, parsed, error)
    if parsed.package is not None or (parsed.is_add() and "." not in parsed.key_or_group):
        close = get_close_matches(parsed.key_or_group, groups, n=1)
        if close:
            hint = f"Did you mean {override.replace(parsed.key_or_group, close[0], 1)}? {known_names(groups, 'Groups')}"
            return Problem(override, f"there is no group {parsed.key_or_group!r}.", hint)
    return _explain_key(override, parsed, tree)


def _explain_group(override: str, parsed: Any, error: Exception) -> Problem:
    group, value, options = parsed.key_or_group, parsed.value(), _group_options(parsed.key_or_group)
    if not isinstance(value, str | list):
        return Problem(override, f"{group} is chosen by name.", suggest("", options))
    if isinstance(value, str) and value not in options:
        current = active.get()
        absent = current.absent if current else ""
        return Problem(override, f"no {group} named {value!r}.", f"{suggest(value, options)} {absent}".rstrip())
    if parsed.is_add():
        return Problem(override, f"{group} is in the defaults already.", f"Write {override.lstrip('+')}.")
    if parsed.package is not None:
        return Problem(override, f"nothing is chosen at {parsed.package} yet.", f"Write +{override}.")
    if group == "source":
        return Problem(override, "a source needs a name.", f"Write +source@sources.<name>={value}.")
    if re.search("No match in the defaults list|No earlier Group Default", str(error)):
        hint = f"Add '- {group}: null' to the defaults of your config, after _self_."
        return Problem(override, f"the config does not take {group}.", hint)
    return Problem(override, _reason(error))


def _explain_key(override: str, parsed: Any, tree: Any) -> Problem:
    key, value = parsed.key_or_group, parsed.value()
    head = key.split(".")
    if len(head) > 2 and head[0] == "sources" and head[1] not in tree.get("sources", {}):
        return Problem(
            override,
            f"there is no source {head[1]!r} yet.",
            f"Use +source@sources.{head[1]}=<kind> to add one. {known_names(_group_options('source'), 'Kinds')}",
        )
    if len(head) > 3 and head[:2] == ["routing", "keys"] and head[2] not in tree.routing["keys"]:
        kinds = known_names(_group_options("routing"), "Kinds")
        return Problem(
            override,
            f"there is no key part {head[2]!r} yet.",
            f"Use +routing@routing.keys.{head[2]}=<kind> to add one. {kinds}",
        )
    known = _paths(tree)
    plain = override.lstrip("+~")
    parent = ".".join(head[:-1])
    if key in known and isinstance(value, dict):
        return Problem(override, f"{key} takes new keys with a plus.", f"Use +{plain}, or +{key}.<name>=<value>.")
    if not parsed.is_add() and (head[0] == "models" and len(head) > 2 and ".".join(head[:2]) not in known):
        return Problem(override, f"there is no sub-model {head[1]!r} yet.", f"Use +{plain} to add it.")
    if not parsed.is_add() and not parsed.is_delete() and _OPEN.fullmatch(parent) and parent in known:
        return Problem(override, f"{parent} has no {head[-1]!r} yet.", f"Use +{plain} to add it.")
    close = get_close_matches(key, known, n=1, cutoff=0.75) or _same_leaf(key, known)
    assigned = "" if parsed.is_delete() else f"={parsed.get_value_string()}"
    sign = "~" if parsed.is_delete() else ""
    guess = f"Did you mean {sign}{close[0]}{assigned}? " if close else ""
    if not close and len(head) == 1:
        near = get_close_matches(key, _groups(), n=1)
        guess = f"Did you mean {near[0]}{assigned}? " if near else ""
    if len(head) == 1 or head[0] not in tree:
        return Problem(
            override, f"there is no section {head[0]!r}.", f"{guess}{known_names(map(str, tree), 'Sections')}"
        )
    siblings = _siblings(tree, head)
    return Problem(
        override, f"there is no option {head[-1]!r} in {parent}.", f"{guess}{known_names(siblings, 'It has')}"
    )


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
    """A group chosen on the command line whose kind the composed config does not have, or chosen twice."""
    from omegaconf import OmegaConf

    problems = []
    chosen_at: dict[str, str] = {}
    for override in overrides:
        parsed = _parse(override)
        if parsed is None or parsed.key_or_group not in _KINDS or not isinstance(parsed.value(), str):
            continue
        group, package = parsed.key_or_group, parsed.package or parsed.key_or_group
        if parsed.value() not in _group_options(group) or (group == "source" and parsed.package is None):
            continue
        if OmegaConf.select(tree, package) is None:
            # The override itself could not be applied, and is reported for that.
            continue
        first = chosen_at.setdefault(package, override)
        if first != override:
            problems.append(Problem(override, f"{package} is chosen twice: {first} and {override}.", "Keep one."))
            continue
        try:
            wanted = OmegaConf.select(_hydra(f"{group}/{parsed.value()}", []), f"{group}.kind")
        except _failures():
            # Reported where the override itself fails.
            continue
        found = OmegaConf.select(tree, f"{package}.kind")
        if wanted is not None and found != wanted and not _chosen_again(package, override, overrides):
            problems.append(
                Problem(
                    override,
                    f"the config sets {package}.kind={found} in place, so this choice has no effect.",
                    f"Remove kind there; choose it in the defaults: 'override /{group}: {found}'.",
                )
            )
    return problems


def _chosen_again(package: str, override: str, overrides: Sequence[str]) -> bool:
    others = [_parse(other) for other in overrides if other != override]
    return any(other is not None and (other.package or other.key_or_group) == package for other in others)


def _misread_integers(config_name: str, overrides: Sequence[str]) -> list[Problem]:
    """Keys and ids that YAML 1.1 reads as another number than is written: 010 is 8, 12:30 is 750, 1_000 is 1000.

    The composed tree holds only the number, so the text of the user's own files is looked at.
    """
    import yaml
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    current = active.get()
    plain = [piece for override in overrides for piece in _as_hydra(override)]
    try:
        used = GlobalHydra.instance().config_loader().compute_defaults_list(config_name, plain, RunMode.RUN).defaults
    except _failures():
        return []
    problems = []
    for path in dict.fromkeys(item.config_path for item in used if item.config_path):
        for folder in current.config_dirs if current else ():
            file = Path(folder) / f"{path}.yaml"
            if file.is_file():
                for where, node in _keys_of(yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader), ()):
                    if node.tag.endswith(":int") and not re.fullmatch(r"-?(0|[1-9]\d*)", node.value):
                        read_as = yaml.safe_load(node.value)
                        what = f"YAML read {node.value} as the number {read_as}; quote it to use it as a key."
                        problems.append(Problem(where, what, f"Write '{node.value}' in {file.name}."))
                break
    return problems


def _keys_of(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Plain scalars that are ids or key values: of ``models``, ``key`` and ``each``, with their paths."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if path == ("models",) and isinstance(name, yaml.ScalarNode):
                yield f"models.{name.value}", name
            yield from _keys_of(value, (*path, str(name.value)))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _keys_of(item, path)
    elif isinstance(node, yaml.ScalarNode) and not node.style and {"key", "each"} & set(path[:-1]):
        yield ".".join(path), node


def _bad_interpolations(tree: Any, error: Exception) -> list[Problem]:
    """Every value whose interpolation fails, at its own path."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    problems = []
    for path in _paths(tree):
        try:
            OmegaConf.select(tree, path, throw_on_missing=False, throw_on_resolution_failure=True)
        except OmegaConfBaseException as fault:
            problems.append(Problem(path, _reason(fault)))
    return problems or [Problem(str(getattr(error, "full_key", None) or "config"), _reason(error))]


def _finish(command: str, tree: Any, overrides: tuple[str, ...], problems: tuple[Problem, ...]) -> Composed:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ProblemsError([*problems, *_bad_interpolations(tree, error)]) from None
    if not isinstance(plain, dict):
        raise ConfigError("the config must be a map.", where=command)
    return Composed(
        command, {str(name): value for name, value in plain.items()}, OmegaConf.to_yaml(tree), overrides, problems
    )
