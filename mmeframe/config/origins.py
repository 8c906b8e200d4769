"""Which values of a config came from the environment, whatever they went through on their way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmeframe.redact import redact

__all__ = ["interpolations", "origins", "resolved", "watched"]

# Resolvers that give what the config holds, what mmeframe knows, or what others give that they ask.
_KNOWN = {"oc.create", "oc.decode", "oc.deprecated", "oc.select", "oc.dict.keys", "oc.dict.values"}
_KNOWN |= {"hydra", "now", "python_version"}


@contextmanager
def watched() -> Iterator[dict[str, str]]:
    """Where values come from while the block resolves any: names of variables, and of resolvers of the user's own.

    OmegaConf's resolvers are the process's; whoever calls this has borrowed Hydra.
    """
    from omegaconf.basecontainer import BaseContainer

    seen: dict[str, str] = {}
    before = dict(BaseContainer._resolvers)

    def watch(name: str, resolver: Any) -> Any:
        def watching(config: Any, parent: Any, node: Any, args: Any, texts: Any) -> Any:
            value = resolver(config, parent, node, args, texts)
            if name != "oc.env":
                seen[name] = str(value)
            elif args and (given := os.environ.get(str(args[0]))) is not None:
                seen[str(args[0])] = given
            return value

        return watching

    BaseContainer._resolvers.update({name: watch(name, it) for name, it in before.items() if name not in _KNOWN})
    try:
        yield seen
    finally:
        BaseContainer._resolvers.update(before)


def origins(tree: Any) -> Mapping[str, tuple[str, ...]]:
    """Paths of a composed config, each with the variables and resolvers whose values are in what would be stored of it.

    A password in a URI is in nothing that is stored, so it is left out. Resolves what it looks at.
    """
    found = {}
    for path, node in interpolations(tree):
        with watched() as seen:
            text = str(resolved(node))
        kept = redact(text)
        if names := tuple(name for name, given in seen.items() if given in kept or given not in text):
            found[path] = names
    return found


def resolved(node: Any) -> Any:
    """What an interpolation gives, to its end."""
    from omegaconf import OmegaConf

    value = node._dereference_node()
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def interpolations(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a config that is one, with its path."""
    from omegaconf import DictConfig, ListConfig

    if node._is_interpolation():
        yield path, node
    elif not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    elif isinstance(node, ListConfig):
        for at in range(len(node)):
            yield from interpolations(node._get_node(at), f"{path}[{at}]")
    else:
        for name in node:
            yield from interpolations(node._get_node(name), f"{path}.{name!s}" if path else str(name))
