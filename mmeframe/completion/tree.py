"""The paths of a config as a tree that is grown only where somebody looks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mmeframe import sections
from mmeframe.config.model_entry import ModelConf
from mmeframe.config.options import REF, choices, config_schema
from mmeframe.config.quick_choices import Layout
from mmeframe.plugin.kinds import CHOSEN, COMBINER, LOADER
from mmeframe.plugin.manager import Plugins

__all__ = ["Node", "tree"]


def _nothing() -> Mapping[str, Node]:
    return {}


@dataclass(frozen=True)
class Node:
    """What stands at a path.

    below: names and what stands there; a path without any is an option, which takes a value. values: those to choose
    from. other: what stands under a name that nobody knows yet, in maps that take any.
    """

    below: Callable[[], Mapping[str, Node]] = _nothing
    values: Callable[[], Iterable[str]] = tuple
    other: Callable[[str], Node] | None = None

    @property
    def is_option(self) -> bool:
        """Whether a value is all that it takes."""
        return self.below is _nothing

    def at(self, path: Iterable[str]) -> Node:
        """The node further down. Where nothing is known, one of nothing."""
        node = self
        for name in path:
            found = node.below().get(name)
            node = found or (node.other(name) if node.other else Node())
        return node


def tree(layout: Layout, plugins: Plugins) -> Node:
    """The whole config that the words of a line choose."""

    def component(place: str) -> Node:
        entry = plugins.chosen(*layout.kinds[place]) if place in layout.kinds else None
        return _dataclass(entry.record.config) if entry else Node(dict)

    def names(path: str) -> list[str]:
        placed = [place.removeprefix(f"{path}.") for place in layout.kinds if place.startswith(f"{path}.")]
        return [*dict.fromkeys([*layout.names(path), *placed])]

    def components(path: str) -> Node:
        return Node(lambda: {name: component(f"{path}.{name}") for name in names(path)})

    loader = Node(values=lambda: ["auto", *plugins.names(LOADER.noun)])
    flavor = Node(values=lambda: ["auto", *(name for record in plugins.loaders.values() for name in record.flavors)])
    parts = Node(lambda: {name: Node() for name in names("routing.keys")})
    combine = Node(lambda: {"kind": Node(values=lambda: plugins.names(COMBINER.noun)), "of": Node()})
    model = _dataclass(ModelConf, loader=loader, flavor=flavor, key=parts, combine=combine)

    def root() -> Mapping[str, Node]:
        return {
            **{name: _section(it) for name, it in sections.SECTIONS.items()},
            **{kind.place: components(kind.place) for kind in CHOSEN if not kind.alone},
            "disabled_models": Node(values=lambda: layout.names("models")),
            "models": Node(lambda: dict.fromkeys(layout.names("models"), model), other=lambda _: model),
            "routing": Node(
                lambda: {
                    **_dataclass(sections.RoutingConf, keys=components("routing.keys")).below(),
                    **component("routing").below(),
                }
            ),
            "model_defaults": _dataclass(sections.ModelDefaults, loader=loader, flavor=flavor),
            "train": _dataclass(sections.TrainSpec, key=Node(values=lambda: names("routing.keys"))),
        }

    return Node(root)


def _section(section: sections.Section) -> Node:
    """A dataclass of options, or one option."""
    if section.closed:
        return _dataclass(section.type)
    return Node(values=lambda: _values(config_schema(section.type), {}))


def _dataclass(config: type[Any], **known: Node) -> Node:
    """The options of a dataclass; ``known``: what stands at some of them instead of what their annotations say."""

    def below() -> Mapping[str, Node]:
        whole = config_schema(config)
        return _properties(whole, whole["$defs"]) | known

    return Node(below)


def _properties(whole: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Node]:
    return {name: _of(option, definitions) for name, option in whole.get("properties", {}).items()}


def _of(option: Mapping[str, Any], definitions: Mapping[str, Any]) -> Node:
    """One option; a dataclass of its own has options below."""
    for member in (option, *option.get("anyOf", ())):
        inner = definitions.get(str(member.get("$ref")).removeprefix(REF), {})
        if "properties" in inner:
            return Node(partial(_properties, inner, definitions))
    found = _values(option, definitions)
    return Node(values=lambda: found)


def _values(option: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    return [value if isinstance(value, str) else json.dumps(value) for value in choices(option, definitions)]
