"""What a build would change of the router that is registered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmeframe.fleet.embed import code_changes, used_plugins
from mmeframe.fleet.manifest import components, settings
from mmeframe.spec import MAIN_ARM

if TYPE_CHECKING:
    from mmeframe.bundle import Bundle
    from mmeframe.fleet.resolve import Fleet
    from mmeframe.plugin.manager import Plugins

__all__ = ["compare"]

# Parts of a manifest that a plan compares as a whole.
SECTIONS = (
    "routing",
    "traffic",
    "disabled_models",
    "isolation",
    "observers",
    "output",
    "residency",
    "signature",
    "union",
    "answer",
    "params",
    "environment",
)


def compare(fleet: Fleet, bundle: Bundle | None, plugins: Plugins) -> dict[str, Any]:
    """What a build would change: sub-models added, removed, changed, keys that get another one, sections that differ.

    So does code of mmeframe and of plugins that is another one here, whatever its version.

    A sub-model is compared by its version, else its LoggedModel or URI: its files are not read.
    """
    loaders: Sequence[Any] = bundle.manifest["loaders"] if bundle else ()
    old = {record.id: _facts(record, loaders[record.loader]) for record in bundle} if bundle else {}
    new = {model.id: _facts(model, model.loader.to_json()) for model in fleet.models}
    found: dict[str, Any] = {
        "added": [id_ for id_ in new if id_ not in old],
        "removed": [id_ for id_ in old if id_ not in new],
        "changed": [],
        "retargeted": [],
    }
    # As JSON gives it back: the manifest was read from there.
    now = json.loads(json.dumps(settings(fleet)))
    found |= {name: bundle is not None and now[name] != bundle.manifest[name] for name in SECTIONS}
    used = used_plugins(components(fleet).values(), plugins)
    found["code"] = code_changes(bundle.manifest, used) if bundle is not None else []
    found["tables"] = bundle is not None and _tables(fleet) != bundle.manifest["components"]
    for id_ in sorted(new.keys() & old.keys()):
        differ = [name for name in new[id_] if new[id_][name] != old[id_][name]]
        if differ:
            before, after = (", ".join(facts[id_][name] for name in differ) for facts in (old, new))
            found["changed"].append({"id": id_, "from": before, "to": after})
    owners = {_place(record): record.id for record in bundle if record.routed} if bundle else {}
    for model in fleet.models:
        before_id = owners.get(_place(model))
        if model.routed and before_id is not None and before_id != model.id:
            found["retargeted"].append({"key": dict(model.key), "arm": model.arm, "from": before_id, "to": model.id})
    return found


def _facts(model: Any, loader: Mapping[str, Any]) -> dict[str, str]:
    """What can change of a sub-model, in words."""
    made_of = f"{model.name} {model.version}" if model.version else str(model.model_id or model.uri)
    key = ", ".join(f"{part}={value}" for part, value in sorted(model.key.items()))
    options = ", ".join(f"{name}={value}" for name, value in loader["options"].items())
    return {
        "files": "" if model.of else made_of,
        "key": f"key {key or '(all)'}" if model.routed else "key (none)",
        "arm": f"arm {model.arm}",
        "loader": f"{loader['kind']}({options})",
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
