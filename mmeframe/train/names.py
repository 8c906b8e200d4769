"""Registered names that ``train`` will write: each compared with the others, and with those that the config reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mmeframe.build.store import Store, registered_name
from mmeframe.errors import MissingError, Problem, ProblemsError
from mmeframe.keys import canonical
from mmeframe.spec import RouterSpec, SubModelEntry, TrainSpec

__all__ = ["check_written", "name_of"]


def name_of(key: str | None, settings: TrainSpec) -> str:
    """The registered name of a key's sub-model; None is the one on all rows."""
    return str(settings.global_as) if key is None else settings.register_as.replace(f"{{{settings.key}}}", key)


def check_written(spec: RouterSpec, settings: TrainSpec, keys: Iterable[str], store: Store) -> None:
    """Refuse names that stand for two things, before anything is fitted.

    Raises ProblemsError with all of them. Names are those of the config: keys are data.
    """
    names: dict[str, str | None] = {name_of(key, settings): key for key in keys}
    problems = [*_collisions(spec, settings, names), *_routers(settings, names, store)]
    if problems:
        raise ProblemsError(problems)


def _collisions(spec: RouterSpec, settings: TrainSpec, names: dict[str, str | None]) -> Iterator[Problem]:
    router, everyone = spec.tracking.register_as, settings.global_as
    if everyone and everyone in names:
        what = f"{everyone!r} is also the name of a key's sub-model (train.register_as), and would take its alias."
        yield Problem("train.global_as", what, f"Choose another name: train.global_as={everyone}_of_all.")
    if everyone and everyone == router:
        what = f"{everyone!r} is also the name of the router."
        yield Problem("train.global_as", what, f"Choose another name: train.global_as={everyone}_of_all.")
    if router in names:
        what = f"a key's sub-model would be registered as {router!r}, the name of the router."
        yield Problem("train.register_as", what, f"Rename one: tracking.register_as={router}_router.")
    written = {**names, **({everyone: None} if everyone else {})}
    for entry in spec.models:
        name = registered_name(entry.uri)
        if name in written and written[name] != _key_of(entry, settings):
            whose = "the sub-model on all rows" if written[name] is None else "another key's sub-model"
            what = f"it reads {name!r}, and {whose} would be registered under that name."
            yield Problem(entry.origin, what, "Change its key, or its uri, or the names that train gives.")


def _routers(settings: TrainSpec, names: dict[str, str | None], store: Store) -> Iterator[Problem]:
    """Names under which a router is registered: a sub-model would take its alias."""
    wanted = [*names, *([settings.global_as] if settings.global_as else [])]
    try:
        found = store.named(wanted)
    except MissingError:
        # Training makes a store that is not there.
        return
    for name, model in found.items():
        if any(map(store.is_router, model.versions)):
            where = "train.register_as" if name in names else "train.global_as"
            yield Problem(where, f"{name!r} is the name of a registered router.", "Choose another name.")


def _key_of(entry: SubModelEntry, settings: TrainSpec) -> str | None:
    """The key of the trained part that an entry is for; None for one that is for all."""
    return entry.id if entry.key is None else canonical(entry.key.get(settings.key))
