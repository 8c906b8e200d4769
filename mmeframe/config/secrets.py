"""What would be stored in the clear, and could be a secret: refused, unless the config says that it is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmeframe.errors import Problem, listed
from mmeframe.redact import redact, sounds_secret
from mmeframe.sections import OWN_ROUTING, SECTIONS

__all__ = ["stored_secrets"]

_ALLOWANCE = "tracking.public"

Steps = tuple[str | int, ...]


def _patterns(*texts: str) -> list[list[str]]:
    return [text.split(".") for text in texts]


# What is used and never stored. A star is any name.
_USED = _patterns("tracking.uri", _ALLOWANCE, "train.reader", "train.jobs")
# Names and places that exist, or are made, in the store or on disk. Of a place no user info or query is stored.
_PLACES = _patterns(
    "models.*", "models.*.uri", "sources.*.path", "sources.*.name", "sources.*.pattern", "sources.*.version"
)
_NAMES = _patterns("name", "tracking.experiment_name", "tracking.run_name", "tracking.register_as", "tracking.alias")
_NAMES += _patterns("train.register_as", "train.global_as", "train.alias")
# Of sources these are stored with each sub-model; their other options are used while a build looks for sub-models.
_OF_SOURCES = ("arm", "key", "each", "signature", "prove", "kind")
_TAGS = ("tracking", "tags")
# Where options begin whose names a plugin, or a library, has chosen.
_OPTIONS = _patterns("routing.keys.*", "routing", "observers.*", "models.*.loader", "models.*.combine")
_OPTIONS += _patterns("model_defaults.loader", "train.estimator.params")


def stored_secrets(tree: Mapping[str, Any], origins: Mapping[str, Sequence[str]]) -> list[Problem]:
    """A problem for each value that a router, a sub-model or a run would hold in the clear, and that could be a secret.

    That is what came from the environment, what an option with a secret-sounding name holds, and a URI with user info
    or query. origins: as of ``Composed``. Names and places are what the environment is asked for most: they are refused
    only if the variable's name sounds secret.
    """
    tracking = tree["tracking"]
    allowed = tracking.get("public") if isinstance(tracking, Mapping) else None
    allowed = [allowed] if isinstance(allowed, str) else allowed or []
    problems = []
    for steps, value in _leaves(tree, ()):
        path = _path(steps)
        if path in allowed or _is_used(steps):
            continue
        place = _is_one(steps, _PLACES)
        named = place or _is_one(steps, _NAMES)
        came = [name for name in _origins(steps, origins) if name not in allowed]
        if named:
            came = [name for name in came if sounds_secret(name)]
        if came:
            what = f"its value comes from {listed(came)}, of the environment, and would be stored in the clear."
            problems.append(Problem(path, what, _unless(came)))
        elif not isinstance(value, str):
            # A secret that is a text is refused where a number is wanted, and the other way round.
            continue
        elif not (place or _is_cleaned(steps)) and redact(value) != value:
            what = "a URI with user info or a query would be stored in the clear."
            problems.append(Problem(path, what, f"Leave them out. {_unless([path])}"))
        elif value and _is_secret_option(steps):
            what = "this would be stored in the clear, and its name says that it is a secret."
            problems.append(Problem(path, what, f"Have it read from a variable where it is used. {_unless([path])}"))
    return problems


def _unless(names: Sequence[str]) -> str:
    shown = ",".join(name if re.fullmatch(r"[\w.]+", name) else f"'{name}'" for name in names)
    return f"If it is no secret, say so: {_ALLOWANCE}=[{shown}]."


def _leaves(value: Any, steps: Steps) -> Iterator[tuple[Steps, Any]]:
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    else:
        yield steps, value
    for step, item in inner:
        yield from _leaves(item, (*steps, step if isinstance(value, list | tuple) else str(step)))


def _path(steps: Steps) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _origins(steps: Steps, origins: Mapping[str, Sequence[str]]) -> list[str]:
    """Where a value came from, or what it is inside of."""
    return [name for end in range(1, len(steps) + 1) for name in origins.get(_path(steps[:end]), ())]


def _below(steps: Steps, pattern: Sequence[str]) -> bool:
    return len(steps) >= len(pattern) and all(word in ("*", step) for word, step in zip(pattern, steps, strict=False))


def _is_one(steps: Steps, patterns: Iterable[Sequence[str]]) -> bool:
    return any(len(steps) == len(it) and _below(steps, it) for it in patterns)


def _is_used(steps: Steps) -> bool:
    """Whether a value is in nothing that is logged; a tag whose name sounds secret is hidden there."""
    if steps[:2] == _TAGS:
        return any(sounds_secret(str(step), "tags") for step in steps[2:])
    if steps[0] == "sources" and len(steps) > 2 and not _is_one(steps, _PLACES):
        return steps[2] not in _OF_SOURCES
    section = SECTIONS.get(str(steps[0]))
    return (section is not None and not section.logged) or any(_below(steps, it) for it in _USED)


def _is_cleaned(steps: Steps) -> bool:
    """Whether URIs are stored without what is secret in them, or refused elsewhere."""
    return steps[:2] == _TAGS or steps[0] == "environment"


def _is_secret_option(steps: Steps) -> bool:
    """Whether a value is an option with a secret-sounding name, or is inside of one."""
    start = next((len(it) for it in _OPTIONS if _below(steps, it)), len(steps))
    if steps[0] == "routing" and start == 1 and steps[1] in OWN_ROUTING:
        return False
    return any(sounds_secret(step) for step in steps[start:] if isinstance(step, str))
