"""Registered names that ``train`` will write: each compared with the others, and with those that the config reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmeframe.errors import MissingError, Problem, ProblemsError
from mmeframe.rows.keys import canonical
from mmeframe.sections import RouterSpec, TrainSpec
from mmeframe.spec import SubModelEntry
from mmeframe.store.store import Store, registered_name
from mmeframe.train.rows import Key

__all__ = ["check_written"]


def check_written(spec: RouterSpec, settings: TrainSpec, names: Mapping[Key | None, str], store: Store) -> None:
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
        what = f"{everyone!r} is also the name of a key's sub-model (train.register_as), and would take its alias."
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
    """Names under which a router is registered: a sub-model would take its alias."""
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
