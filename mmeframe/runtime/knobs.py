"""What may change when a router is deployed, without a rebuild: shares of arms, and disabled sub-models.

MLflow's ``model_config`` carries them (flat names, always stored, because MLflow drops names that it does not know);
the variable ``MMEFRAME_`` + upper case beats it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mmeframe.errors import ConfigError, suggest
from mmeframe.spec import TrafficSpec

__all__ = ["disabled_models", "traffic"]


def _given(name: str, given: Mapping[str, Any]) -> tuple[str, Any]:
    """Where a knob's value comes from, and the value; None if nobody turned it."""
    variable = f"MMEFRAME_{name.upper()}"
    if variable in os.environ:
        return variable, os.environ[variable]
    return f"model_config.{name}", given.get(name)


def traffic(spec: TrafficSpec, known: Collection[str], given: Mapping[str, Any]) -> TrafficSpec:
    """The shares with what ``traffic_arms`` changes: ``canary=0.25,blue=0``. Arms that it does not name keep theirs.

    Raises ConfigError for an arm that no sub-model has, and for shares that are none or exceed one.
    """
    where, value = _given("traffic_arms", given)
    if value is None:
        return spec
    pairs = value.items() if isinstance(value, Mapping) else _pairs(str(value), where)
    arms = dict(spec.arms)
    for arm, text in pairs:
        if arm not in known:
            raise ConfigError(f"no sub-model has the arm {arm!r}.", where=where, hint=suggest(arm, known, "Arms"))
        if arm in spec.shadow and float(text):
            raise ConfigError(f"{arm!r} is a shadow, and takes no traffic.", where=where)
        try:
            share = float(text)
        except (TypeError, ValueError):
            share = -1.0
        if not 0 <= share <= 1:
            raise ConfigError(f"the share of {arm!r} must be from 0 to 1.", where=where, hint="Write canary=0.25.")
        arms[arm] = share
    if sum(arms.values()) > 1 + 1e-9:
        raise ConfigError(f"the shares exceed one: {sum(arms.values()):g}.", where=where)
    return dataclasses.replace(spec, arms=arms)


def _pairs(text: str, where: str) -> list[tuple[str, str]]:
    pairs = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        arm, equals, share = piece.partition("=")
        if not equals:
            raise ConfigError(f"{piece!r} is no share.", where=where, hint="Write canary=0.25, with commas between.")
        pairs.append((arm.strip(), share.strip()))
    return pairs


def disabled_models(spec: Iterable[str], known: Collection[str], given: Mapping[str, Any]) -> tuple[str, ...]:
    """The disabled sub-models; ``disabled_models`` replaces the list that was built in, and may be empty.

    Raises ConfigError for an id that the fleet does not have.
    """
    where, value = _given("disabled_models", given)
    if value is None:
        return tuple(spec)
    listed = value.split(",") if isinstance(value, str) else list(value)
    ids = tuple(filter(None, (str(id_).strip() for id_ in listed)))
    for id_ in ids:
        if id_ not in known:
            raise ConfigError(f"there is no sub-model {id_!r}.", where=where, hint=suggest(id_, known, "Ids"))
    return ids
