"""What may change when a router is deployed: shares, disabled sub-models, observers, residency, and pickles.

MLflow's ``model_config`` carries them (flat names, always stored, because MLflow drops names that it does not know);
the variable ``MMEFRAME_`` + upper case beats it. Pickles are the exception: whoever forbids them wins.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from mmeframe.errors import ConfigError, listed, suggest
from mmeframe.sections import ResidencySpec, TrafficSpec
from mmeframe.spec import MAIN_ARM
from mmeframe.versions import tell

__all__ = ["Deployment", "is_nested", "nested"]

_loading = threading.local()


@contextmanager
def nested() -> Iterator[None]:
    """Whatever loads here belongs to a router: one that is a sub-model itself is not the outermost."""
    before = is_nested()
    _loading.now = True
    try:
        yield
    finally:
        _loading.now = before


def is_nested() -> bool:
    return getattr(_loading, "now", False)


# The variables that mmeframe reads, anywhere; those of residency are its options.
_VARIABLES = (
    "ALLOW_PICKLE",
    "CACHE_DIR",
    "CONFIG_DIR",
    "DISABLED_MODELS",
    "DISABLE_PLUGINS",
    "EXPECT_DIGEST",
    "OBSERVERS",
    "PLUGINS",
    "SKOPS_TRUSTED",
    "TRAFFIC_ARMS",
)
NO_GATES = "Disable the sub-models that it sends rows to."


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """What a deployment says. config: MLflow's ``model_config``. environ: variables, which beat it.

    Raises ConfigError for a variable that is nearly one of mmeframe's: a rollback that does nothing looks done.
    """

    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [*_VARIABLES, *(f"RESIDENCY_{name.upper()}" for name in _RESIDENCY)]
        for variable in self.environ:
            name = variable.removeprefix("MMEFRAME_")
            if name != variable and name not in known and (close := get_close_matches(name, known, 1, 0.8)):
                what = "there is no such variable, so it would do nothing."
                raise ConfigError(what, where=variable, hint=f"Did you mean 'MMEFRAME_{close[0]}'? Else rename it.")

    def _given(self, name: str) -> tuple[str, Any]:
        """Where a setting's value comes from, and the value; None if nobody set it."""
        variable = f"MMEFRAME_{name.upper()}"
        if variable in self.environ:
            return variable, self.environ[variable]
        return f"model_config.{name}", self.config.get(name)

    def place(self, path: str) -> str:
        """Where that was said which holds at a config path: a variable, ``model_config``, or the path itself."""
        where, value = self._given(path.replace(".", "_"))
        return path if value is None else where

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
                arms[arm] = TrafficSpec.from_json({"arms": {"arm": text}}).arms["arm"]
            except ValidationError:
                what, hint = f"the share of {arm!r} must be from 0 to 1.", "Write canary=0.25."
                raise ConfigError(what, where=where, hint=hint) from None
            if arm in spec.shadow and arms[arm]:
                raise ConfigError(f"{arm!r} is a shadow, and takes no traffic.", where=where)
        found = dataclasses.replace(spec, arms=arms)
        if found.excess:
            raise ConfigError(found.excess, where=where)
        now, built = (", ".join(f"{arm}={share:g}" for arm, share in it.items() if share) for it in (arms, spec.arms))
        if now != built:
            tell([f"{where} changes which rows go to arms: {now or 'none'}; built: {built or 'none'}."])
        return found

    def residency(self, spec: ResidencySpec) -> ResidencySpec:
        """What is in memory, with what the settings ``residency_<option>`` change; ``none`` takes a bound away.

        Raises ConfigError for a value that an option does not take, and for an option that has no effect.
        """
        given = {name: self._given(f"residency_{name}") for name in _RESIDENCY}
        changes = {name: _option(name, *said) for name, said in given.items() if said[1] is not None}
        found = dataclasses.replace(spec, **changes)
        for name in found.idle_options:
            if getattr(found, name) != getattr(spec, name):
                raise ConfigError(f"it has no effect with residency.kind={found.kind}.", where=given[name][0])
            # It was built for the other kind.
            found = dataclasses.replace(found, **{name: getattr(ResidencySpec(), name)})
        return found

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

    def disabled_models(
        self, spec: Iterable[str], ids: Callable[[], Collection[str]], gates: Collection[str]
    ) -> tuple[str, ...]:
        """The disabled sub-models; ``disabled_models`` replaces the list that was built in, and may be empty.

        Raises ConfigError for an id that the fleet does not have, and for a gate's: it decides which rows go where.
        """
        where, value = self._given("disabled_models")
        if value is None:
            return tuple(spec)
        found = _listed(value, "ids", where)
        known = ids() if found else ()
        for id_ in found:
            if id_ not in known:
                raise ConfigError(f"there is no sub-model {id_!r}.", where=where, hint=suggest(id_, known, "Ids"))
            if id_ in gates:
                raise ConfigError(f"{id_!r} is a gate, and decides where rows go.", where=where, hint=NO_GATES)
        if {*found} != {*spec}:
            now, built = (listed([*map(repr, it)]) or "none" for it in (found, [*spec]))
            tell([f"{where} changes which sub-models get no rows: {now}; built: {built}."])
        return found

    def observers(self, built: Collection[str]) -> tuple[str, ...]:
        """Who is told: names of observers that were built in, and ``module:Class`` of a deployment's own.

        ``observers`` replaces the list that was built in, and may be empty. Raises ConfigError for a name that the
        router does not have. Only the variable names classes: ``model_config`` is stored in the artifact, which
        cannot name just any class of the process.
        """
        where, value = self._given("observers")
        if value is None:
            return tuple(built)
        found = _listed(value, "observers", where)
        for name in found:
            if name not in built and not (":" in name and where.startswith("MMEFRAME_")):
                hint = suggest(name, built, "Observers")
                if ":" in name:
                    hint = f"A class is named by the variable MMEFRAME_OBSERVERS only. {hint}"
                raise ConfigError(f"the router has no observer {name!r}.", where=where, hint=hint)
        return tuple(dict.fromkeys(found))


def _listed(value: Any, what: str, where: str) -> tuple[str, ...]:
    try:
        return _ids(value)
    except ValueError:
        hint = "Write one,another, or a list."
        raise ConfigError(f"{value!r} is no list of {what}.", where=where, hint=hint) from None


def _ids(value: Any) -> tuple[str, ...]:
    """A list of ids, or one line of CSV: an id may have a comma, in quotes."""
    if isinstance(value, str):
        value = next(csv.reader(io.StringIO(value, newline=""), skipinitialspace=True), [])
    elif not isinstance(value, list | tuple):
        raise ValueError("write one,another, or a list")
    return tuple(filter(None, (str(id_).strip() for id_ in value)))


# Options of residency, each with its default.
_RESIDENCY = {option.name: getattr(ResidencySpec(), option.name) for option in dataclasses.fields(ResidencySpec)}


def _option(name: str, where: str, value: Any) -> Any:
    """An option of residency as its section declares it; ``none`` takes a bound away, and a list may be one line."""
    try:
        read = _ids(value) if isinstance(_RESIDENCY[name], tuple) else None if value == "none" else value
        return getattr(ResidencySpec.from_json({name: read}), name)
    except ValueError as error:
        raise ConfigError(f"{value!r} is no {name}: {_why(error)}.", where=where) from None


def _why(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    (fault,) = error.errors()
    facts = fault.get("ctx", {})
    if "expected" in facts:
        return f"it is {facts['expected']}".replace("'", "")
    said = str(fault["msg"]).removeprefix("Value error, ")
    return f"it must be at least {facts['ge']}" if "ge" in facts else f"{said[:1].lower()}{said[1:]}"


def _pairs(text: str, where: str) -> list[tuple[str, str]]:
    pairs = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        arm, equals, share = piece.partition("=")
        if not equals:
            raise ConfigError(f"{piece!r} is no share.", where=where, hint="Write canary=0.25, with commas between.")
        pairs.append((arm.strip(), share.strip()))
    return pairs
