"""Which sub-model gets which row, and why: strategies, levels, arms. No sub-model is loaded for it, but a gate's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from graphlib import TopologicalSorter
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from mmeframe.errors import FAULTS, BadInputError, MmeframeError, PluginError, UnknownKeyError, count, suggest
from mmeframe.graph import reached
from mmeframe.plugin import Batch, ComponentContext, RoutingInputs, RoutingStrategy
from mmeframe.route.table import NO_TARGET, Routed, RouteTable
from mmeframe.rows.batch import FrameBatch, values_of
from mmeframe.rows.key_columns import changed_by_csv, normalised, one_per_row
from mmeframe.rows.key_index import NO_KEY, KeyIndex
from mmeframe.rows.keys import canonical, csv_form
from mmeframe.rows.schema import check_frame
from mmeframe.rows.shares import fractions
from mmeframe.sections import RoutingSpec, TrafficSpec
from mmeframe.spec import ANNOTATE, Column

if TYPE_CHECKING:
    from mmeframe.rows.key_index import Codes

__all__ = ["Arms", "ModelIndex", "Parts", "Routable", "Routing", "as_given"]

# Keys of rows, declared keys, and characters of a key that a message shows.
_SHOWN, _SHOWN_KNOWN, _SHOWN_TEXT = 5, 16, 40
Ints = np.ndarray[Any, np.dtype[np.int32]]


class Routable(Protocol):
    """What can be said of one sub-model: a record of a bundle, or one that a build has described."""

    @property
    def id(self) -> str: ...
    @property
    def key(self) -> Mapping[str, str]: ...
    @property
    def arm(self) -> str: ...
    @property
    def version(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class ModelIndex:
    """The sub-models of a fleet by their numbers: there may be many, and most are never looked at.

    at: one of them. number: of an id, None if there is none. routed: whether a key reaches it. of: the ids whose
    answers it combines, for those that combine.
    """

    at: Callable[[int], Routable]
    number: Callable[[str], int | None]
    routed: Sequence[bool]
    of: Mapping[int, Sequence[str]]

    def __len__(self) -> int:
        return len(self.routed)

    def users(self, ids: Collection[str]) -> set[int]:
        """Numbers of these sub-models, and of those that combine one of them, and so on."""
        needs = {self.at(number).id: of for number, of in self.of.items()}
        found = {number for id_ in ids if (number := self.number(id_)) is not None}
        return found | {number for number in self.of if reached([self.at(number).id], needs) & set(ids)}


@dataclass(frozen=True, slots=True)
class Step:
    """What a level said to a row."""

    level: str
    found: str


@dataclass(frozen=True, slots=True)
class ExplainedRow:
    """The way of one row: its key, the levels up to the one that answered, the sub-model, None for none, and why."""

    row: int
    key: Mapping[str, str | None]
    route: tuple[Step, ...]
    arm: str | None
    model_id: str | None
    model_version: str | None
    reason: str

    @property
    def answer(self) -> tuple[str | None, ...]:
        """Who answers, and why: what follows the route in a table."""
        return self.arm, self.model_id, self.model_version, self.reason

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "key": dict(self.key),
            "route": [{"level": step.level, "found": step.found} for step in self.route],
            "arm": self.arm,
            "model_id": self.model_id,
            "model_version": self.model_version,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Parts:
    """What computes key parts.

    strategies: by key part, not bound yet. files: part -> what its strategy prepared. score: answers of a sub-model,
    for strategies that ask one.
    """

    strategies: Mapping[str, RoutingStrategy[Any]]
    files: Mapping[str, Mapping[str, bytes | memoryview]]
    score: Callable[[str, Batch], Any]


@dataclass(frozen=True, slots=True)
class Arms:
    """What decides beside keys.

    traffic: shares of arms. disabled: ids that get no rows; what combines one of them gets none either. columns: of the
    union schema, which decide a row's arm where ``traffic.sticky`` names none.
    """

    traffic: TrafficSpec = field(default_factory=TrafficSpec)
    disabled: Collection[str] = ()
    columns: Sequence[Column] = ()


class Routing:
    """Immutable after construction; shared by threads. models: of the fleet. table: of their keys."""

    def __init__(self, spec: RoutingSpec, models: ModelIndex, table: RouteTable, parts: Parts, arms: Arms) -> None:
        self.spec, self.models, self.table = spec, models, table
        self.strategies, self.traffic = parts.strategies, arms.traffic
        inputs = {name: strategy.inputs() for name, strategy in parts.strategies.items()}
        self.order = tuple(TopologicalSorter({name: it.parts for name, it in inputs.items()}).static_order())
        self.params = frozenset(name for it in inputs.values() for name in it.params)
        self._columns = {name: tuple(it.columns) for name, it in inputs.items()}
        self.disabled = frozenset(arms.disabled)
        self._typed = {column.name: column for column in arms.columns}
        self._named = bool(arms.traffic.sticky)
        self._sticky = arms.traffic.sticky or tuple(self._typed)
        ask = partial(_scored, parts.score)
        for name, strategy in parts.strategies.items():
            known = partial(_known, self.table.indexes[name])
            strategy.bind(ComponentContext(parts.files.get(name, {}), known, ask))
        self._written = self._keys_of_files(inputs)
        self._arms = self._shares()
        # The last entry is for no sub-model.
        self._off = np.zeros(len(models) + 1, bool)
        self._off[list(models.users(self.disabled))] = True

    def _shares(self) -> list[tuple[str, Ints, np.ndarray[Any, np.dtype[np.float64]]]]:
        """Arms that take traffic, in name order: each with its sub-model, and its share, by the main one's number."""
        found = []
        for arm, variants in self.table.arms.items():
            share = np.where(variants != NO_TARGET, self.traffic.arms.get(arm, 0.0), 0.0)
            if arm in self.traffic.only:
                wanted = np.zeros(len(share), bool)
                wanted[[self.table.main(dict(key)) for key in self.traffic.only[arm]]] = True
                share = np.where(wanted, share, 0.0)
            if share.any():
                found.append((arm, variants, share))
        return found

    def _keys_of_files(self, inputs: Mapping[str, RoutingInputs]) -> Mapping[str, KeyIndex]:
        """Of parts that read a column of keys, all values that anything knows, where some do not survive a CSV file."""
        more: dict[str, set[str]] = {}
        for strategy in self.strategies.values():
            for name, keys in strategy.part_keys().items():
                more.setdefault(name, set()).update(keys)
        readable = [name for name, it in inputs.items() if "key" in it.columns.values()]
        indexes = {
            name: KeyIndex.of({*self.table.indexes[name], *more[name]}) if name in more else self.table.indexes[name]
            for name in readable
        }
        return {name: index for name, index in indexes.items() if index.csv_forms}

    # -- keys --------------------------------------------------------------------------------------------------

    def keys(self, batch: FrameBatch, params: Mapping[str, Any]) -> dict[str, Codes]:
        """The code of every row's key parts; parts that build on others come after those."""
        codes: dict[str, Codes] = {}
        n_rows = len(batch)
        given = as_given(self.params, params)
        for name in self.order:
            try:
                raw = self.strategies[name].route_keys(batch, given)
            except MmeframeError:
                raise
            except FAULTS as error:
                if (why := batch.unreadable(self._columns[name])) is not None:
                    raise BadInputError(why, where=f"routing.keys.{name}") from error
                # Its text may hold the caller's data.
                what = f"the strategy failed with {type(error).__name__}."
                raise PluginError(what, where=f"routing.keys.{name}") from error
            try:
                batch.raw_parts[name] = raw = one_per_row(raw, n_rows)
            except (TypeError, ValueError) as error:
                hint = "route_keys returns one scalar for all rows, or an array, a Series or a list with one for each."
                raise PluginError(f"the strategy returned {error}.", where=f"routing.keys.{name}", hint=hint) from None
            index = self.table.indexes[name]
            try:
                alike = _alike(raw)
                codes[name] = index.codes(raw, n_rows) if alike is _VARIED else index.code(alike)
                if (written := self._written.get(name)) is not None:
                    _refuse_changed(raw, codes[name] if written is index else written.codes(raw, n_rows), written)
            except BadInputError as error:
                hint = error.hint or "Send text, whole numbers, true and false, or times."
                raise BadInputError(error.what, where=f"routing.keys.{name}", hint=hint) from None
        return codes

    def route(self, batch: FrameBatch, params: Mapping[str, Any]) -> Routed:
        """Where every row goes. Raises UnknownKeyError for rows without a sub-model, unless they may be skipped."""
        codes = self.keys(batch, params)
        routed = self._route(batch, codes)
        if self.spec.on_unknown == "raise":
            if isinstance(routed.target, int):
                if routed.target == NO_TARGET:
                    self._refuse(np.arange(len(batch)), routed.reason, batch)
            elif len(lost := np.flatnonzero(routed.target == NO_TARGET)):
                self._refuse(lost, routed.reason[lost], batch)
        return routed

    def reach(self, batch: FrameBatch, params: Mapping[str, Any]) -> Routed:
        """Like ``route``, but rows without a sub-model are told, whatever ``on_unknown`` says."""
        return self._route(batch, self.keys(batch, params))

    def main_of(self) -> Ints:
        """By a sub-model's number, the number of the main one for the same key."""
        found = np.arange(len(self.models), dtype=np.int32)
        for variants in self.table.arms.values():
            mains = np.flatnonzero(variants[:-1] != NO_TARGET)
            found[variants[mains]] = mains
        return found

    def _route(self, batch: FrameBatch, codes: Mapping[str, Codes]) -> Routed:
        choose = self._chooser(batch) if self._arms or self.disabled else None
        return self.table.route(codes, len(batch), choose)

    def _in_arms(self, batch: FrameBatch, hit: Ints, rows: Any) -> Ints:
        """What main sub-models become for these rows, whether it is disabled or not."""
        chosen = hit.copy()
        for arm, variants, share in self._arms:
            # Rows of an earlier arm stay there.
            open_ = np.flatnonzero((chosen == hit) & (share[hit] > 0))
            if len(open_):
                moved = open_[self._fractions(arm, batch, rows[open_]) < share[hit[open_]]]
                chosen[moved] = variants[hit[moved]]
        return chosen

    def _chooser(self, batch: FrameBatch) -> Callable[[Ints, Any], tuple[Ints, Any]]:
        def choose(hit: Ints, rows: Any) -> tuple[Ints, Any]:
            chosen = self._in_arms(batch, hit, rows)
            off = self._off[chosen]
            if off.any():
                # To the main arm, and if that is disabled too, to the next level.
                chosen[off] = np.where(self._off[hit[off]], NO_TARGET, hit[off])
            return chosen, off

        return choose

    def _fractions(self, arm: str, batch: FrameBatch, rows: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The number in [0, 1) that decides whether a row is in an arm: the same for the same row, for ever.

        However it is sent: values of the sub-models' columns are hashed as these columns are declared.
        """
        typed = [self._typed[name] for name in self._sticky if name in self._typed]
        sent = [column for column in typed if column.name in batch.columns]
        declared = _declared(batch.frame[[column.name for column in sent]].iloc[rows], sent)
        kinds = {column.name: column.type for column in sent}
        columns = []
        for name in self._sticky:
            kind = kinds.get(name)
            # A double is the same however it was sent; of all columns, which are no names of anybody, none is refused.
            exact = self._named and kind not in ("float", "double")
            raw = batch.column(name)[rows] if exact and kind in (None, "integer", "long") else None
            try:
                if kind is not None and raw is not None and raw.dtype.kind not in "iu":
                    # Whole numbers that came as floats are declared ones now, and may be others.
                    normalised(raw, len(rows))
                value = values_of(declared[name]) if name in declared else raw
                columns.append(normalised(value, len(rows), exact))
            except BadInputError as error:
                hint = error.hint or "Set traffic.sticky to columns with one value in a row."
                raise BadInputError(error.what, where=f"column {name!r}", hint=hint) from None
        return fractions(arm, columns or [normalised(None, len(rows))])

    def shadows(self, target: Any) -> list[tuple[str, Any]]:
        """Shadow arms with their sub-models: for each main sub-model's number, the variant's or ``NO_TARGET``."""
        found = []
        for arm in self.traffic.shadow:
            variants = self.table.arms[arm][target]
            variants = np.where(self._off[variants], NO_TARGET, variants)
            if np.any(variants != NO_TARGET):
                found.append((arm, variants))
        return found

    # -- messages ----------------------------------------------------------------------------------------------

    def _refuse(self, rows: Any, reason: Any, batch: FrameBatch) -> None:
        """Name a few of the keys that no sub-model has, and count the rows."""
        if not len(rows):
            return
        missing = np.broadcast_to(reason == self.table.missing, rows.shape)
        if missing.all():
            raise BadInputError(
                f"{count(len(rows), 'row')} {'has' if len(rows) == 1 else 'have'} no routing key "
                f"({', '.join(self.table.in_levels)}), and no level takes rows without one.",
                hint="Fill the key, add the level [] and a global sub-model, or build with routing.on_unknown=skip.",
            )
        shown: dict[str, None] = {}
        for row in rows[~missing][:1000]:
            values = {name: _text(batch.raw_parts[name], row) for name in self.table.parts}
            shown[", ".join(f"{name}={(text or 'missing')[:_SHOWN_TEXT]}" for name, text in values.items())] = None
            if len(shown) > _SHOWN:
                break
        more = " ..." if len(shown) > _SHOWN else ""
        lacking = f"; {int(missing.sum())} of them without a key" if missing.any() else ""
        off = f" Disabled: {', '.join(sorted(self.disabled)[:_SHOWN])}." if self.disabled else ""
        raise UnknownKeyError(
            f"no sub-model for {count(len(rows), 'row')}: {'; '.join(list(shown)[:_SHOWN])}{more}{lacking}.",
            hint=f"Known keys: {self._known_keys()}{off} Or declare a global sub-model, "
            "or build with routing.on_unknown=skip.",
        )

    def _known_keys(self) -> str:
        most = max(_SHOWN_KNOWN // max(len(self.table.in_levels), 1), 1)
        shown = []
        for name in self.table.in_levels:
            index = self.table.indexes[name]
            keys = [key if len(key) <= _SHOWN_TEXT else f"{key[:_SHOWN_TEXT]}..." for key in islice(index, most)]
            more = f" and {len(index) - most} more" if len(index) > most else ""
            shown.append(f"{name}: {', '.join(keys) or 'none'}{more}.")
        return " ".join(shown)

    def explain(self, batch: FrameBatch, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """For each row: its key parts, what every level said until one matched, the arm, the sub-model, the reason.

        Rows that no sub-model takes are explained too, whatever ``on_unknown`` says.
        """
        return [row.to_json() for row in self.explained(batch, params)]

    def explained(self, batch: FrameBatch, params: Mapping[str, Any]) -> Iterator[ExplainedRow]:
        """What ``explain`` tells, as values."""
        codes = self.keys(batch, params)
        n_rows = len(batch)
        routed = self._route(batch, codes)
        target, reason = np.broadcast_to(routed.target, (n_rows,)), np.broadcast_to(routed.reason, (n_rows,))
        keys = {name: normalised(batch.raw_parts[name], n_rows) for name in self.table.parts}
        texts = {name: np.array([*column.categories, None], object).take(column.codes) for name, column in keys.items()}
        full = {name: np.broadcast_to(np.asarray(code, np.int32), (n_rows,)) for name, code in codes.items()}
        for row in range(n_rows):
            number = int(target[row])
            model = self.models.at(number) if number != NO_TARGET else None
            at = {name: int(code[row]) for name, code in full.items()}
            yield ExplainedRow(
                row,
                {name: column[row] for name, column in texts.items()},
                tuple(self._steps(batch, row, number, int(reason[row]), at)),
                model.arm if model else None,
                model.id if model else None,
                model.version if model else None,
                self.table.reasons[int(reason[row])],
            )

    def _steps(self, batch: FrameBatch, row: int, target: int, reason: int, codes: Mapping[str, int]) -> list[Step]:
        """What each level said to one row, up to the one that answered."""
        steps = []
        for number, level in enumerate(self.table.levels):
            name = "+".join(level) or "global"
            absent = [part for part in level if codes[part] == NO_KEY]
            hit = self.table.at(number, codes)
            if absent:
                said = f"{', '.join(absent)} missing"
            elif hit == NO_TARGET:
                said = "no sub-model"
            else:
                said = self._found(batch, row, hit, target, reason)
            steps.append(Step(name, said))
            if hit != NO_TARGET and (target == hit or self._varies(hit, target)):
                break
        return steps

    def _varies(self, main: int, target: int) -> bool:
        return any(target != NO_TARGET and variants[main] == target for variants in self.table.arms.values())

    def _found(self, batch: FrameBatch, row: int, main: int, target: int, reason: int) -> str:
        name = self.models.at(main).id
        if target == main and reason == self.table.disabled:
            # It may have been turned away here, or at a level before.
            wanted = int(self._in_arms(batch, np.array([main], np.int32), np.array([row]))[0])
            return name if wanted == main else f"arm {self.models.at(wanted).arm} is disabled: {name}"
        if target == main:
            return name
        if self._varies(main, target):
            variant = self.models.at(target)
            return f"{name}, arm {variant.arm}: {variant.id}"
        return f"{name} is disabled"


def _refuse_changed(raw: Any, codes: Codes, index: KeyIndex) -> None:
    """Raises BadInputError for values without a sub-model that a CSV reader may have made of a declared key.

    Numbers and booleans, as 7 of "007", and NaN, as of "NA". Text is as it was sent, and so are None and pd.NA.
    """
    lost = np.flatnonzero(np.asarray(codes) < 0)
    if not len(lost):
        return
    found = changed_by_csv(raw[lost] if getattr(raw, "ndim", 0) else raw, index.csv_forms)
    if found:
        key, form = next((key, form) for key in index if (form := csv_form(key)) in found)
        what = "a number or boolean as its key" if form else "no key"
        lacking = " For a row without a key send None or pandas.NA as objects, or rename the key." if not form else ""
        hint = "Send the keys as text: in quotes in JSON, a CSV file read with dtype=str and keep_default_na=False."
        raise BadInputError(f"a row has {what}, which CSV readers make of {key!r}.", hint=hint + lacking)


def as_given(names: Collection[str], params: Mapping[str, Any]) -> dict[str, str | None]:
    """Routing parameters as strategies get them on every way: canonical texts, None for those that were left out.

    names: of all that there are. Raises BadInputError for a parameter that is no single value, or that nothing reads:
    it would do nothing.
    """
    given: dict[str, str | None] = dict.fromkeys(names)
    for name, value in params.items():
        if name not in given:
            raise BadInputError(
                f"there is no parameter {name!r}.", hint=suggest(name, [*names, ANNOTATE], "Parameters")
            )
        try:
            given[name] = canonical(value)
        except BadInputError as error:
            hint = error.hint or "Send one value for all rows, and what differs from row to row as a column."
            raise BadInputError(error.what, where=f"parameter {name!r}", hint=hint) from None
    return given


def _declared(frame: pd.DataFrame, columns: Sequence[Column]) -> Mapping[str, pd.Series[Any]]:
    """Columns with the values that the sub-models declare; those that have none there are as they were sent.

    A row of a sub-model without a column may hold anything in it, and is not refused for what another one needs.
    """

    def converted(some: pd.DataFrame) -> dict[str, pd.Series[Any]]:
        return dict(check_frame(some, columns, frozenset()).items())  # type: ignore[arg-type]

    try:
        return converted(frame)
    except BadInputError:
        if len(columns) > 1:
            return {column.name: _declared(frame[[column.name]], [column])[column.name] for column in columns}
    (name,) = frame.columns
    found = frame[name].astype(object).to_numpy(copy=True)
    present = np.flatnonzero(frame[name].notna())
    try:
        found[present] = converted(frame.iloc[present])[name].astype(object)
    except BadInputError:
        for row in present.tolist():
            with suppress(BadInputError):
                found[row] = converted(frame.iloc[[row]])[name].iloc[0]
    return {name: pd.Series(found, frame.index, dtype=object)}


# What ``_alike`` says of values that differ, or that it does not look at.
_VARIED = object()


def _alike(raw: Any) -> Any:
    """The value of rows that all have the same one, where that is cheap to see: then they all go one way."""
    if not getattr(raw, "ndim", 0):
        return raw
    if not isinstance(raw, np.ndarray) or not len(raw):
        return _VARIED
    first = raw[0]
    same = len(raw) == 1 or (raw.dtype.kind in "iu" and first == raw.max() and first == raw.min())
    return first if same else _VARIED


def _known(index: Any, keys: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([index.code(key) >= 0 for key in keys], bool)


def _scored(score: Callable[[str, Batch], Any], model_id: str, batch: Batch) -> Any:
    """What a strategy is told by a sub-model. Libraries refuse empty frames, so without rows none is asked."""
    return score(model_id, batch) if len(batch) else np.empty(0, object)


def _text(raw: Any, row: int) -> str | None:
    value = raw[row] if np.ndim(raw) else raw
    return canonical(value)
