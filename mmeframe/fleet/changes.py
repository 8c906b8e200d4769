"""What a build would change of the router that is registered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmeframe.fleet.embed import CodeChange, code_changes, used_plugins
from mmeframe.fleet.manifest import components, settings
from mmeframe.sections import SECTIONS
from mmeframe.spec import MAIN_ARM, ComponentSpec

if TYPE_CHECKING:
    from mmeframe.bundle import Bundle
    from mmeframe.fleet.fleet import Fleet
    from mmeframe.plugin.manager import Plugins

__all__ = ["PARTS", "Changed", "Difference", "Retargeted", "compare"]

# What a plan compares as a whole, in words: sections, facts of the whole fleet, and two things that the manifest
# has nowhere by themselves.
PARTS = {
    **{name: it.compared for name, it in SECTIONS.items() if it.compared},
    "union": "columns or their types",
    "answer": "columns, types or what may be null",
    "params": "parameters of sub-models",
    "environment": "requirements",
    "tables": "files that components read",
    "wrapping": "requirements, signature, embedded code or what a deployment may change",
}
_SECTIONS = [name for name in PARTS if name not in ("tables", "wrapping")]


@dataclass(frozen=True)
class Changed:
    """A sub-model of which something changes: what it was, what it will be."""

    id: str
    before: str
    after: str


@dataclass(frozen=True)
class Retargeted:
    """A key that gets another sub-model, in an arm."""

    key: Mapping[str, str]
    arm: str
    before: str
    after: str


@dataclass(frozen=True)
class Difference:
    """What a build would change of a router. ``against``: its URI, None where there is none.

    differing: names of ``PARTS``. code: of mmeframe and of plugins, where it is another here, whatever its version.
    files: sub-models whose files differ, None where they are not compared. newest: the version that is newer than it.
    """

    against: str | None
    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[Changed]
    retargeted: Sequence[Retargeted]
    differing: Collection[str]
    code: Sequence[CodeChange]
    files: Sequence[str] | None = None
    newest: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it tells of nothing."""
        lists = (self.added, self.removed, self.changed, self.retargeted, self.differing, self.code, self.files)
        return not any(lists) and self.newest is None

    def to_json(self) -> dict[str, Any]:
        return {
            "against": self.against,
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": [{"id": it.id, "from": it.before, "to": it.after} for it in self.changed],
            "retargeted": [
                {"key": dict(it.key), "arm": it.arm, "from": it.before, "to": it.after} for it in self.retargeted
            ],
            **{name: name in self.differing for name in _SECTIONS},
            "code": [change.to_json() for change in self.code],
            "tables": "tables" in self.differing,
            "files": self.files if self.files is None else list(self.files),
            "newest": self.newest,
            "wrapping": "wrapping" in self.differing,
        }


def compare(fleet: Fleet, bundle: Bundle | None, against: str | None, plugins: Plugins) -> Difference:
    """Compare what a build would log with a router; with none, every sub-model is added.

    A sub-model is compared by its version, else its LoggedModel or URI: its files are not read.
    """
    new = {model.id: _facts(model, model.loader) for model in fleet.models}
    if bundle is None:
        return Difference(None, [*new], [], [], [], (), [])
    loaders = bundle.manifest.loaders
    old = {record.id: _facts(record, loaders[record.loader]) for record in bundle}
    return Difference(
        against,
        [id_ for id_ in new if id_ not in old],
        [id_ for id_ in old if id_ not in new],
        [found for id_ in sorted(new.keys() & old.keys()) if (found := _changed(id_, old[id_], new[id_]))],
        _retargeted(fleet, bundle),
        _differing(fleet, bundle),
        code_changes(bundle.manifest, used_plugins(components(fleet).values(), plugins)),
    )


def _differing(fleet: Fleet, bundle: Bundle) -> list[str]:
    # As JSON gives it back: what was built was read from there.
    then, now = (json.loads(json.dumps(it.to_json())) for it in (bundle.manifest, settings(fleet)))
    found = [name for name in _SECTIONS if now[name] != then[name]]
    return found + ["tables"] * (_tables(fleet) != bundle.manifest.components)


def _changed(id_: str, old: Mapping[str, str], new: Mapping[str, str]) -> Changed | None:
    names = [name for name in new if new[name] != old[name]]
    before, after = (", ".join(facts[name] for name in names) for facts in (old, new))
    return Changed(id_, before, after) if names else None


def _retargeted(fleet: Fleet, bundle: Bundle) -> list[Retargeted]:
    owners = {_place(record): record.id for record in bundle if record.routed}
    found = []
    for model in fleet.models:
        before = owners.get(_place(model))
        if model.routed and before is not None and before != model.id:
            found.append(Retargeted(model.key, model.arm, before, model.id))
    return found


def _facts(model: Any, loader: ComponentSpec) -> dict[str, str]:
    """What can change of a sub-model, in words."""
    made_of = f"{model.name} {model.version}" if model.version else str(model.model_id or model.uri)
    key = ", ".join(f"{part}={value}" for part, value in sorted(model.key.items()))
    options = ", ".join(f"{name}={value}" for name, value in loader.options.items())
    return {
        "files": "" if model.of else made_of,
        "key": f"key {key or '(all)'}" if model.routed else "key (none)",
        "arm": f"arm {model.arm}",
        "loader": f"{loader.kind}({options})",
    }


def _tables(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Digests of what components read from the config's files, as the manifest has them."""
    return {
        where: {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        for where, files in fleet.prepared.items()
        if files
    }


def _place(model: Any) -> tuple[frozenset[tuple[str, str]], str]:
    return frozenset(model.key.items()), model.arm or MAIN_ARM
