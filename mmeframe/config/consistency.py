"""What composes and is wrong all the same: choices without effect, and keys that YAML misread."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmeframe.config.files import text_of
from mmeframe.config.hydra_api import (
    active,
    as_hydra,
    conf_dir,
    failures,
    group_options,
    groups,
    is_group_choice,
    own_files,
    parse_override,
    run_hydra,
)
from mmeframe.config.override_errors import headless
from mmeframe.config.quick_choices import WITH_KINDS, said
from mmeframe.errors import Problem
from mmeframe.plugin.kinds import of_group

__all__ = ["contradictions", "misplaced", "misread_integers", "undone"]


def contradictions(tree: Any, overrides: Sequence[str]) -> list[Problem]:
    """A group chosen on the command line whose kind the composed config does not have, or chosen twice."""
    from omegaconf import OmegaConf

    problems = []
    chosen_at: dict[str, str] = {}
    for override in overrides:
        parsed = parse_override(override)
        if parsed is None or not is_group_choice(override) or not isinstance(parsed.value(), str):
            continue
        group, package = parsed.key_or_group, parsed.package or parsed.key_or_group
        first = chosen_at.setdefault(f"{group}@{package}", override)
        if first != override:
            problems.append(Problem(override, f"{package} is chosen twice: {first} and {override}.", "Keep one."))
            continue
        if group not in WITH_KINDS or parsed.value() not in group_options(group):
            continue
        if (kind := of_group(group)) and not kind.alone and parsed.package is None:
            continue
        if OmegaConf.select(tree, package) is None:
            # The override itself could not be applied, and is reported for that.
            continue
        try:
            wanted = _kind(group, parsed.value())
        except failures():
            # Reported where the override itself fails.
            continue
        found = OmegaConf.select(tree, f"{package}.kind")
        # As it is written: a variable may have given it.
        written: Any = OmegaConf.to_container(OmegaConf.select(tree, package))
        written = written["kind"] if isinstance(written, dict) and found else found
        if wanted is not None and found != wanted and not _chosen_again(package, override, overrides):
            problems.append(
                Problem(
                    override,
                    f"the config sets {package}.kind={written} in place, so this choice has no effect.",
                    f"Remove kind there; choose it in the defaults: '{_default(group, package, written)}'.",
                )
            )
    return problems


def _kind(group: str, name: str) -> Any:
    """The kind that a choice stands for. Composing it takes longer than all else here, and few files name others."""
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    loader: Any = GlobalHydra.instance().config_loader()
    file = loader.repository.load_config(f"{group}/{name}")
    if file is not None and not file.defaults_list and file.header.get("package") is None:
        return OmegaConf.select(file.config, "kind")
    return OmegaConf.select(run_hydra(f"{group}/{name}", []), f"{group}.kind")


def _default(group: str, package: str, kind: str) -> str:
    return f"override /{group}: {kind}" if package == group else f"/{group}@{package}: {kind}"


def _chosen_again(package: str, override: str, overrides: Sequence[str]) -> bool:
    others = [parse_override(other) for other in overrides if other != override]
    return any(other is not None and (other.package or other.key_or_group) == package for other in others)


def misplaced(config_name: str, tree: Any, overrides: Sequence[str]) -> list[Problem]:
    """Files of groups such as experiments whose header does not say that they are about the whole config.

    Hydra puts what such a file says below the name of its group, where nothing reads it.
    """
    lost = {str(name) for name in tree} & set(groups()) - {*WITH_KINDS}
    if not lost:
        return []
    used = [item for item in _used(config_name, overrides) if str(item.package).split(".")[0] in lost]
    return [found for item in used if (found := headless(item.config_path))]


def misread_integers(config_name: str, tree: Any, overrides: Sequence[str]) -> list[Problem]:
    """Keys and ids that YAML 1.1 reads as another number than is written: 010 is 8, 12:30 is 750, 1_000 is 1000.

    The composed tree holds only the number, so where it has any the text of the user's own files is looked at.
    """
    import yaml
    from omegaconf import OmegaConf

    current = active.get()
    if current is None or not current.config_dirs or not _has_integers(OmegaConf.to_container(tree), ""):
        return []
    problems = []
    for path in dict.fromkeys(item.config_path for item in _used(config_name, overrides)):
        for file in own_files(path)[:1]:
            for where, node in _keys_of(yaml.compose(text_of(file), yaml.SafeLoader), ()):
                if node.tag.endswith(":int") and not re.fullmatch(r"-?(0|[1-9]\d*)", node.value):
                    read_as = yaml.safe_load(node.value)
                    what = f"YAML read {node.value} as the number {read_as}; quote it to use it as a key."
                    problems.append(Problem(where, what, f"Write '{node.value}' in {file.name}."))
    return problems


def _used(config_name: str, overrides: Sequence[str]) -> list[Any]:
    """Hydra's list of what a config is composed of, in its order, without Hydra's own configs."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    plain = [piece for override in overrides for piece in as_hydra(override)]
    loader = GlobalHydra.instance().config_loader()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = loader.compute_defaults_list(config_name, plain, RunMode.RUN).defaults
    except failures():
        return []
    return [item for item in found if item.config_path and not item.config_path.startswith("hydra/")]


def undone(config_name: str, tree: Any, overrides: Sequence[str]) -> list[Problem]:
    """What files say and defaults set back: those of mmeframe or of a kind, where they come later than the user's own.

    Later files of the user, experiments and overrides change values on purpose; what the command line chooses must not
    be set back by a file. Hydra is asked for the order only where a value of a file is not in the composed config.
    """
    from omegaconf import OmegaConf

    current = active.get()
    if current is None or not current.config_dirs:
        return []
    composed = OmegaConf.to_container(tree)
    folders = [Path(folder) for folder in current.config_dirs]
    shipped = conf_dir()
    parsed = [(is_group_choice(text), found) for text in overrides if (found := parse_override(text))]
    given = [found.key_or_group for chooses, found in parsed if not chooses]
    chosen = {f"{found.key_or_group}/{name}" for chooses, found in parsed if chooses for name in _names(found.value())}
    files = said(config_name, overrides, [*folders, shipped])
    experiments = any(chooses and found.key_or_group not in WITH_KINDS for chooses, found in parsed)
    if not experiments and not any(it.parent != shipped and _lost(content, composed) for it, content in files.items()):
        return []
    items = [(item, *_content(item)) for item in _used(config_name, overrides)]
    problems = []
    for place, (item, home, content) in enumerate(items, start=1):
        file = Path(home.removeprefix("file://")) / f"{item.config_path}.yaml"
        asked = bool({item.config_path, item.parent} & chosen) and file.is_file()
        if home not in [f"file://{folder}" for folder in folders] and not asked:
            continue
        for path in _lost(content, composed):
            if any(_within(path, key) or _within(key, path) for key in given):
                continue
            later = [(it, at) for it, at, values in items[place:] if _at(values, path) is not _NOTHING]
            # Another kind than the file's may be chosen on the command line.
            if path.endswith(".kind") and later and _chosen_again(later[-1][0].package, "", overrides):
                continue
            if later and _is_default(*later[-1]):
                problems.append(_undone(path, file, item.package, later[-1][0]))
            elif later and asked and not {later[-1][0].config_path, later[-1][0].parent} & chosen:
                problems.append(_outdone(path, file, item, later[-1][0]))
    return problems


_NOTHING = object()


def _content(item: Any) -> tuple[str, Any]:
    """Where a config of Hydra's list comes from, and what it says at its place."""
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    loader: Any = GlobalHydra.instance().config_loader()
    result = loader.repository.load_config(item.config_path)
    content = OmegaConf.to_container(result.config)
    for step in reversed(item.package.split(".") if item.package else ()):
        content = {step: content}
    return str(result.path), content


def _is_default(item: Any, home: str) -> bool:
    """Whether a config holds defaults of mmeframe or of a kind; a shipped experiment is chosen for what it says."""
    return home.startswith("mmeframe:") or (
        home == f"file://{conf_dir()}" and not item.config_path.startswith("experiment/")
    )


def _names(value: Any) -> list[str]:
    """What a choice names: one, or several."""
    return [str(name) for name in (value if isinstance(value, list) else [value])]


def _outdone(path: str, file: Path, item: Any, last: Any) -> Problem:
    line, group = _line(file, path.removeprefix(f"{item.package}.")), item.config_path.split("/")[0]
    what = f"{item.config_path}.yaml sets this in line {line}, but {last.config_path}.yaml replaces it later."
    own = f"{last.config_path}.yaml: [_base, _self_, {group}: null]"
    return Problem(path, what, f"Put '{group}: null' after _self_ in the defaults of {own}.")


def _undone(path: str, file: Path, package: str | None, last: Any) -> Problem:
    line = _line(file, path.removeprefix(f"{package}.") if package else path)
    name, hint = (
        last.config_path,
        f"Put _self_ after the shipped config in the defaults of {file.name}: [build, _self_].",
    )
    if "/" in name and last.parent != "_base":
        name = f"/{name.replace('/', f'@{last.package}: ')}"
        hint = f"Name '{name}' in the defaults of {file.name}, before _self_."
    what = f"{file.name} sets this in line {line}, but the later defaults of '{name}' replace it."
    return Problem(path, what, hint)


def _line(file: Path, path: str) -> int:
    """The line of a file on which a value stands."""
    import yaml

    node, line = yaml.compose(text_of(file), yaml.SafeLoader), 0
    while isinstance(node, yaml.MappingNode) and path:
        for name, value in node.value:
            if _within(path, name.value):
                node, line, path = value, name.start_mark.line + 1, path[len(name.value) + 1 :]
                break
        else:
            break
    return line


def _lost(content: Any, composed: Any) -> list[str]:
    """Paths of values that a config says and the composed one does not hold."""
    return [path for path, value in _leaves(content) if value != "???" and _at(composed, path) != value]


def _leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values of a config with their paths; what says which files there are is none."""
    for name, value in content.items() if isinstance(content, dict) else ():
        where = f"{path}.{name}" if path else str(name)
        if isinstance(value, dict):
            yield from _leaves(value, where)
        elif where != "defaults":
            yield where, value


def _at(content: Any, path: str) -> Any:
    """The value at a path; names may hold dots."""
    if not path:
        return content
    for name, value in content.items() if isinstance(content, dict) else ():
        if _within(path, str(name)) and (found := _at(value, path[len(str(name)) + 1 :])) is not _NOTHING:
            return found
    # What is no map stands in place of all below it.
    return _NOTHING if isinstance(content, dict) else content


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")


def _has_integers(value: Any, name: Any) -> bool:
    """Whether any id or key value below a name is a number."""
    if isinstance(value, dict):
        if name == "models" and any(isinstance(id_, int) for id_ in value):
            return True
        below = {"key": "key", "each": "key"}
        return any(_has_integers(item, name if name == "key" else below.get(it, it)) for it, item in value.items())
    if isinstance(value, list):
        return any(_has_integers(item, name) for item in value)
    return name == "key" and isinstance(value, int)


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
