"""What may change when a router is deployed, without a rebuild: shares of arms, disabled sub-models, and pickles.

MLflow's ``model_config`` carries them (flat names, always stored, because MLflow drops names that it does not know);
the variable ``MMEFRAME_`` + upper case beats it. Pickles are the exception: whoever forbids them wins.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mmeframe.errors import ConfigError, suggest
from mmeframe.spec import MAIN_ARM, TrafficSpec

__all__ = ["Knobs"]

NO_GATES = "Disable the sub-models that it sends rows to."


@dataclasses.dataclass(frozen=True, slots=True)
class Knobs:
    """What a deployment says. config: MLflow's ``model_config``. environ: variables, which beat it."""

    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def _given(self, name: str) -> tuple[str, Any]:
        """Where a knob's value comes from, and the value; None if nobody turned it."""
        variable = f"MMEFRAME_{name.upper()}"
        if variable in self.environ:
            return variable, self.environ[variable]
        return f"model_config.{name}", self.config.get(name)

    def traffic(self, spec: TrafficSpec, known: Iterable[str]) -> TrafficSpec:
        """The shares with what ``traffic_arms`` changes: ``canary=0.25,blue=0``; other arms keep theirs.

        known: the arms that sub-models have. Raises ConfigError for another arm, and for shares that are none or
        exceed one.
        """
        where, value = self._given("traffic_arms")
        if value is None:
            return spec
        pairs = value.items() if isinstance(value, Mapping) else _pairs(str(value), where)
        arms, known = dict(spec.arms), [arm for arm in known if arm != MAIN_ARM]
        for arm, text in pairs:
            if arm not in known:
                raise ConfigError(f"no sub-model has the arm {arm!r}.", where=where, hint=suggest(arm, known, "Arms"))
            try:
                share = float(text)
            except (TypeError, ValueError):
                share = -1.0
            if not 0 <= share <= 1:
                raise ConfigError(f"the share of {arm!r} must be from 0 to 1.", where=where, hint="Write canary=0.25.")
            if arm in spec.shadow and share:
                raise ConfigError(f"{arm!r} is a shadow, and takes no traffic.", where=where)
            arms[arm] = share
        if sum(arms.values()) > 1 + 1e-9:
            raise ConfigError(f"the shares exceed one: {sum(arms.values()):g}.", where=where)
        return dataclasses.replace(spec, arms=arms)

    def who_forbids_pickle(self, allowed: bool) -> str | None:
        """Where sub-models are forbidden whose deserialising can run code, None if nobody forbids them.

        allowed: whether the build allows them; what it forbids no deployment allows. Raises ConfigError for a value
        that is neither true nor false.
        """
        if not allowed:
            return "bundle.allow_pickle"
        for where, value in (
            ("MMEFRAME_ALLOW_PICKLE", self.environ.get("MMEFRAME_ALLOW_PICKLE")),
            ("model_config.bundle_allow_pickle", self.config.get("bundle_allow_pickle")),
        ):
            text = "true" if value is None else str(value).strip().lower()
            if text not in ("true", "1", "false", "0"):
                raise ConfigError(f"{value!r} is neither true nor false.", where=where)
            if text in ("false", "0"):
                return where
        return None

    def disabled_models(self, spec: Iterable[str], known: Collection[str], gates: Collection[str]) -> tuple[str, ...]:
        """The disabled sub-models; ``disabled_models`` replaces the list that was built in, and may be empty.

        Raises ConfigError for an id that the fleet does not have, and for a gate's: it decides which rows go where.
        """
        where, value = self._given("disabled_models")
        if value is None:
            return tuple(spec)
        if isinstance(value, str):
            # One line of CSV: an id may have a comma, in quotes.
            value = next(csv.reader([value], skipinitialspace=True), [])
        elif not isinstance(value, list | tuple):
            raise ConfigError(f"{value!r} is no list of ids.", where=where, hint="Write one,another, or a list.")
        ids = tuple(filter(None, (str(id_).strip() for id_ in value)))
        for id_ in ids:
            if id_ not in known:
                raise ConfigError(f"there is no sub-model {id_!r}.", where=where, hint=suggest(id_, known, "Ids"))
            if id_ in gates:
                raise ConfigError(f"{id_!r} is a gate, and decides where rows go.", where=where, hint=NO_GATES)
        return ids


def _pairs(text: str, where: str) -> list[tuple[str, str]]:
    pairs = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        arm, equals, share = piece.partition("=")
        if not equals:
            raise ConfigError(f"{piece!r} is no share.", where=where, hint="Write canary=0.25, with commas between.")
        pairs.append((arm.strip(), share.strip()))
    return pairs
