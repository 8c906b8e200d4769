"""Registered names that ``train`` will write: each compared with the others, and with those that the config reads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mmeframe.errors import ConfigError, MissingError, Problem, ProblemsError, count
from mmeframe.plugin.components import make_component
from mmeframe.rows.keys import canonical, csv_twins
from mmeframe.sections import RouterSpec, TrainSpec
from mmeframe.spec import SubModelEntry
from mmeframe.store.store import Store, registered_name
from mmeframe.train.rows import Key

__all__ = ["key_text", "registered_names"]


def key_text(key: Key, settings: TrainSpec) -> str:
    """The value of a key with one part, else ``region=eu, store=7``."""
    if len(key) == 1:
        return key[0]
    return ", ".join(f"{part}={value}" for part, value in zip(settings.key, key, strict=True))


def registered_names(
    kept: Mapping[Key, Any], n_rows: int, spec: RouterSpec, settings: TrainSpec, store: Store
) -> dict[Key | None, str]:
    """Registered names of all sub-models that will be made. Refused before the first fit; keys are data, not shown."""
    if not n_rows:
        hint = "The table has no row with a target. Look at train.reader and train.target."
        raise ConfigError("there is nothing to train.", where="train", hint=hint)
    if not kept and not settings.global_as:
        few = f"Every key has fewer than train.min_rows={settings.min_rows} rows with a target"
        hint = f"{few}, and train.global_as is null."
        raise ConfigError("there is nothing to train.", where="train", hint=hint)
    bad = sum(1 for key in kept if set("".join(key)) & set("/:") or not "".join(key).isprintable())
    if bad:
        what = f"{count(bad, 'key')} cannot be part of a registered name."
        hint = "MLflow takes no /, no : and no line breaks there. Clean the column first; of times train over a part, "
        raise ConfigError(what, where="train.register_as", hint=f"{hint}with routing=datepart.")
    _check_twins(kept, spec, settings)

    def name(key: Key) -> str:
        values = dict(zip(settings.key, key, strict=True))
        return re.sub(r"\{([^{}]*)\}", lambda match: values.get(match[1], match[0]), settings.register_as)

    names: dict[Key | None, str] = {key: name(key) for key in kept}
    shared = len(names) - len(set(names.values()))
    if shared:
        hint = "Put a separator between the parts that no key holds."
        raise ConfigError(
            f"{count(shared + 1, 'key')} would share registered names.", where="train.register_as", hint=hint
        )
    if settings.global_as is not None:
        names[None] = settings.global_as
    _check_written(spec, settings, names, store)
    return names


def _check_twins(keys: Collection[Key], spec: RouterSpec, settings: TrainSpec) -> None:
    """Refuse keys that a build refuses, because a CSV reader makes two of them one."""
    for part in spec.routing.parts:
        if part.name not in settings.key or "key" not in make_component(part.strategy).inputs().columns.values():
            continue
        texts = {key[settings.key.index(part.name)] for key in keys}
        if twins := csv_twins(sorted(texts)):
            what = f"{count(len(twins), 'key')} and another key differ only in spelling, as 007 and 7 do."
            hint = "CSV files and spreadsheets cannot tell them apart, so no router takes both. Clean the column first."
            raise ConfigError(what, where=f"routing.keys.{part.name}", hint=hint)


def _check_written(spec: RouterSpec, settings: TrainSpec, names: Mapping[Key | None, str], store: Store) -> None:
    """Refuse names that stand for two things, before anything is fitted.

    names: by key, None for the sub-model on all rows. Raises ProblemsError with all of them. Names are those of the
    config: keys are data.
    """
    problems = [*_collisions(spec, settings, names), *_routers(names, store)]
    if problems:
        raise ProblemsError(problems)


def _collisions(spec: RouterSpec, settings: TrainSpec, names: Mapping[Key | None, str]) -> Iterator[Problem]:
    router, everyone = spec.tracking.register_as, names.get(None)
    of_keys = {name for key, name in names.items() if key is not None}
    if everyone in of_keys:
        what = f"{everyone!r} is also the name of a key's sub-model (train.register_as), and would take over its alias."
        yield Problem("train.global_as", what, f"Choose another name: train.global_as={everyone}_of_all.")
    if everyone is not None and everyone == router:
        what = f"{everyone!r} is also the name of the router."
        yield Problem("train.global_as", what, f"Choose another name: train.global_as={everyone}_of_all.")
    if router in of_keys:
        what = f"a key's sub-model would be registered as {router!r}, the name of the router."
        yield Problem("train.register_as", what, f"Rename one: tracking.register_as={router}_router.")
    written = {name: key for key, name in names.items()}
    for entry in spec.models:
        name = registered_name(entry.uri)
        if name in written and written[name] != _key_of(entry, settings):
            whose = "the sub-model on all rows" if written[name] is None else "another key's sub-model"
            what = f"it reads {name!r}, and {whose} would be registered under that name."
            yield Problem(entry.origin, what, "Change its key, or its uri, or the names that train gives.")


def _routers(names: Mapping[Key | None, str], store: Store) -> Iterator[Problem]:
    """Names under which a router is registered: a sub-model would take over its alias."""
    try:
        found = store.named([*names.values()])
    except MissingError:
        # Training makes a store that is not there.
        return
    for name, model in found.items():
        if any(map(store.is_router, model.versions)):
            where = "train.global_as" if name == names.get(None) else "train.register_as"
            yield Problem(where, f"{name!r} is the name of a registered router.", "Choose another name.")


def _key_of(entry: SubModelEntry, settings: TrainSpec) -> Key | None:
    """The key that an entry is for; None for one that is for all."""
    if entry.key is None:
        return (entry.id,)
    return tuple(str(canonical(entry.key.get(part))) for part in settings.key) if entry.key else None
