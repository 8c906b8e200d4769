"""What sources may see and bring: no routers of ours, and entries that can be sub-models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmeframe.errors import listed
from mmeframe.option_types import adapter_of
from mmeframe.plugin import RegisteredModel, SubModelEntry
from mmeframe.plugin.conf import FileSignatureConf
from mmeframe.spec import ComponentSpec
from mmeframe.store.store import ROUTER_TAG, Store

__all__ = ["SourceRegistry", "entry_fault", "routers_left_out"]

_ARM = re.compile(r"[A-Za-z_]\w*")


@dataclass
class SourceRegistry:
    """The store without routers: a family that held one would hold its own last version, deeper with each build.

    left_out: what would have been found: the name of a registered or logged router, or of a version that is one.
    """

    store: Store
    left_out: dict[str, None] = field(default_factory=dict)

    def models(self, name_like: str = "%", filter_string: str = "") -> Sequence[RegisteredModel]:
        return [
            kept
            for model in self.store.models(name_like, filter_string)
            if (kept := self._without_routers(model, name_like)) is not None
        ]

    def _without_routers(self, model: RegisteredModel, name_like: str) -> RegisteredModel | None:
        # Versions are newest first.
        routers = [version.version for version in model.versions if self.store.is_router(version)]
        if not routers:
            return model
        whole = len(routers) == len(model.versions)
        self._leave_out(model.name, name_like, "" if whole else f" ({listed(routers)})")
        if whole:
            return None
        versions = tuple(version for version in model.versions if version.version not in routers)
        aliases = {alias: number for alias, number in model.aliases.items() if number not in routers}
        return replace(model, versions=versions, aliases=aliases)

    def _leave_out(self, name: str, name_like: str, some: str = "") -> None:
        # To a store, an underscore is any letter.
        if re.fullmatch(".*".join(map(re.escape, name_like.split("%"))), name, re.DOTALL):
            self.left_out[f"{name}{some}"] = None

    def logged_models(self, filter_string: str, experiments: Sequence[str], name_like: str = "%") -> Sequence[Any]:
        found = []
        for model in self.store.logged_models(filter_string, experiments, name_like):
            if ROUTER_TAG in model.tags:
                self._leave_out(model.name, name_like)
            else:
                found.append(model)
        return found


def routers_left_out(names: Iterable[str]) -> str:
    """What a plan says of routers that a source would have brought; an empty text where there are none."""
    shown = list(names)
    if not shown:
        return ""
    are = "which is a router" if len(shown) == 1 else "which are routers"
    return f"it leaves out {listed(shown)}, {are}. An entry in models may name a router."


def entry_fault(entry: Any) -> str:
    """Why something that a source yields cannot be a sub-model, or an empty text."""
    if not isinstance(entry, SubModelEntry):
        return f"it is a {type(entry).__name__}, not a SubModelEntry"
    if not isinstance(entry.id, str) or not entry.id:
        return f"its id is {_shown(entry.id)}, not text"
    if not isinstance(entry.uri, str) or not (entry.uri or entry.combine):
        return f"its uri is {_shown(entry.uri)}, not text"
    if not isinstance(entry.arm, str) or not _ARM.fullmatch(entry.arm):
        return f"its arm is {_shown(entry.arm)}; an arm's name is letters, digits and underscores"
    if not isinstance(entry.flavor, str) or not entry.flavor:
        return f"its flavor is {_shown(entry.flavor)}, not text"
    if not entry.loader or not (isinstance(entry.loader, str | ComponentSpec) or _has(entry.loader, "kind")):
        return f"its loader is {_shown(entry.loader)}, neither a name nor a map with a kind"
    for name in ("name", "version", "model_id"):
        if (value := getattr(entry, name)) is not None and (not isinstance(value, str) or not value):
            return f"its {name} is {_shown(value)}, neither text nor None"
    if entry.signature is not None and not _is_signature(entry.signature):
        return f"its signature is {_shown(entry.signature)}, not a map of inputs and outputs with types of MLflow's"
    if entry.key is not None and not (isinstance(entry.key, Mapping) and all(isinstance(it, str) for it in entry.key)):
        return f"its key is {_shown(entry.key)}, not a map of key parts"
    if not isinstance(entry.prove, bool | None):
        return f"its prove is {_shown(entry.prove)}, neither true nor false"
    return ""


def _has(value: Any, *names: str) -> bool:
    return isinstance(value, Mapping) and all(name in value for name in names)


def _is_signature(value: Any) -> bool:
    """Whether it has both halves of a ``signature`` option, and types that there are."""
    if not _has(value, "inputs", "outputs") or not isinstance(value["inputs"], Mapping):
        return False
    try:
        adapter_of(FileSignatureConf).validate_python(dict(value))
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    return repr(value) if value is None or value == "" else f"the {type(value).__name__} {value!r}"
