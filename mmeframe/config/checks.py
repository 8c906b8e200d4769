"""What composes and is wrong all the same: choices without effect, and keys that YAML misread."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmeframe.config.active import active
from mmeframe.config.calls import as_hydra, failures, group_options, parse_override, run_hydra
from mmeframe.errors import Problem

__all__ = ["contradictions", "misread_integers"]

# Groups that choose the kind of a section: option -> the key that must agree with it afterwards.
_KINDS = ("routing", "residency", "source", "observer")


def contradictions(tree: Any, overrides: Sequence[str]) -> list[Problem]:
    """A group chosen on the command line whose kind the composed config does not have, or chosen twice."""
    from omegaconf import OmegaConf

    problems = []
    chosen_at: dict[str, str] = {}
    for override in overrides:
        parsed = parse_override(override)
        if parsed is None or parsed.key_or_group not in _KINDS or not isinstance(parsed.value(), str):
            continue
        group, package = parsed.key_or_group, parsed.package or parsed.key_or_group
        if parsed.value() not in group_options(group) or (group in ("source", "observer") and parsed.package is None):
            continue
        if OmegaConf.select(tree, package) is None:
            # The override itself could not be applied, and is reported for that.
            continue
        first = chosen_at.setdefault(package, override)
        if first != override:
            problems.append(Problem(override, f"{package} is chosen twice: {first} and {override}.", "Keep one."))
            continue
        try:
            wanted = _kind(group, parsed.value())
        except failures():
            # Reported where the override itself fails.
            continue
        found = OmegaConf.select(tree, f"{package}.kind")
        if wanted is not None and found != wanted and not _chosen_again(package, override, overrides):
            problems.append(
                Problem(
                    override,
                    f"the config sets {package}.kind={found} in place, so this choice has no effect.",
                    f"Remove kind there; choose it in the defaults: '{_default(group, package, found)}'.",
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


def misread_integers(config_name: str, tree: Any, overrides: Sequence[str]) -> list[Problem]:
    """Keys and ids that YAML 1.1 reads as another number than is written: 010 is 8, 12:30 is 750, 1_000 is 1000.

    The composed tree holds only the number, so where it has any the text of the user's own files is looked at.
    """
    import yaml
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    current = active.get()
    if current is None or not current.config_dirs or not _has_integers(OmegaConf.to_container(tree), ""):
        return []
    plain = [piece for override in overrides for piece in as_hydra(override)]
    try:
        used = GlobalHydra.instance().config_loader().compute_defaults_list(config_name, plain, RunMode.RUN).defaults
    except failures():
        return []
    problems = []
    for path in dict.fromkeys(item.config_path for item in used if item.config_path):
        for folder in current.config_dirs:
            file = Path(folder) / f"{path}.yaml"
            if file.is_file():
                for where, node in _keys_of(yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader), ()):
                    if node.tag.endswith(":int") and not re.fullmatch(r"-?(0|[1-9]\d*)", node.value):
                        read_as = yaml.safe_load(node.value)
                        what = f"YAML read {node.value} as the number {read_as}; quote it to use it as a key."
                        problems.append(Problem(where, what, f"Write '{node.value}' in {file.name}."))
                break
    return problems


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
