"""The router: rows in, each scored by its sub-model, answers out in the order of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.bundle import Bundle, SubModelRecord
from mmeframe.errors import BadInputError, MissingError, MmeframeError, ModelError, UnknownKeyError, suggest
from mmeframe.keys import MISSING, canonical
from mmeframe.plugin import ComponentContext, ModelLoader, RoutingStrategy
from mmeframe.routes import NO_TARGET, Route, Routed, RouteTable
from mmeframe.runtime.batch import FrameBatch, as_batch
from mmeframe.runtime.components import load_component
from mmeframe.runtime.files import BundleFiles, add_code
from mmeframe.runtime.outputs import as_prediction, gather, nulls
from mmeframe.runtime.residency import EagerResidency
from mmeframe.runtime.schema import check_frame
from mmeframe.spec import Column, Component, RoutingSpec

__all__ = ["ANNOTATE", "Answer", "Router"]

# The request parameter that asks for annotated answers.
ANNOTATE = "annotate"
_SHOWN = 5


@dataclass(frozen=True)
class Answer:
    """A scored batch.

    values: shape (n_rows,) or (n_rows, outputs), or a frame. routed: one target and reason per row, or one for all.
    """

    router: Router
    values: Any
    routed: Routed
    n_rows: int

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The annotated form: prediction, model_id, model_version, reason and arm, each with one value per row."""
        if isinstance(self.values, pd.DataFrame):
            columns: dict[str, Any] = {str(name): self.values[name].to_numpy() for name in self.values.columns}
        else:
            columns = {"prediction": self.values}
        target = np.broadcast_to(self.routed.target, (self.n_rows,))
        reason = np.broadcast_to(self.routed.reason, (self.n_rows,))
        for name, labels in self.router.labels.items():
            # The last label is for NO_TARGET, which is -1.
            columns[name] = labels.take(target)
        columns["reason"] = self.router.reasons.take(reason)
        arm = columns.pop("arm")
        return {**columns, "arm": arm}


def _has(schema: Sequence[Column], column: Column) -> bool:
    """Whether a sub-model has a column, with the same type."""
    return any(own.name == column.name and own.type == column.type for own in schema)


def _required(columns: Sequence[Column]) -> frozenset[str]:
    return frozenset(column.name for column in columns if column.required)


class Router:
    """A bundle, live. Immutable after construction; ``predict`` may be called from any number of threads.

    bundle: the bundle to serve. code: the archive of embedded plugins, if the artifact has one.
    """

    def __init__(self, bundle: Bundle, code: Path | None = None) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.name: str = manifest["name"]
        self.spec = RoutingSpec.from_json(manifest["routing"])
        self.annotate: bool = manifest["output"]["annotate"]
        self.method: str = manifest["output"]["method"]
        self.schemas = [tuple(Column(*column) for column in schema) for schema in manifest["schemas"]]
        self.union = tuple(Column(*column) for column in manifest["union"])
        self._plugins, self._code = manifest["plugins"], code
        self.records: Sequence[SubModelRecord] = list(bundle)
        self.table = RouteTable(
            [part.name for part in self.spec.parts],
            self.spec.levels,
            [Route(record.key, number, record.arm) for number, record in enumerate(self.records)],
        )
        self.reasons = np.array(self.table.reasons, object)
        self.labels = {
            "model_id": np.array([record.id for record in self.records] + [None], object),
            "model_version": np.array([record.version for record in self.records] + [None], object),
            "arm": np.array([record.arm for record in self.records] + [None], object),
        }
        self.strategies = {
            part.name: self._strategy(part.strategy, f"routing.keys.{part.name}") for part in self.spec.parts
        }
        self.params = frozenset(name for it in self.strategies.values() for name in it.inputs().params)
        everywhere = [column for column in self.union if all(_has(schema, column) for schema in self.schemas)]
        self._shared = tuple(everywhere)
        self._loaders = [load_component(Component.from_json(it), self._plugins, code) for it in manifest["loaders"]]
        for loader in self._loaders:
            loader.bind(ComponentContext())
        self.residency = EagerResidency([record.id for record in self.records], self._load)

    @classmethod
    def open(cls, folder: str | Path, *, code: Path | None = None, expect: str | None = None) -> Router:
        """Open and verify a bundle folder. ``expect``: the digest it must have."""
        return cls(Bundle(folder, expect), code)

    def _strategy(self, component: Component, where: str) -> RoutingStrategy[Any]:
        strategy: RoutingStrategy[Any] = load_component(component, self._plugins, self._code)
        strategy.bind(ComponentContext(self.bundle.component_files(where)))
        return strategy

    def _load(self, number: int) -> Any:
        record = self.records[number]
        add_code(self.bundle, record)
        loader: ModelLoader[Any] = self._loaders[record.loader]
        model = loader.load(BundleFiles(self.bundle, record))
        if not callable(getattr(model, self.method, None)):
            raise ModelError(f"it has no method {self.method!r}.", where=record.id)
        return model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score rows: an array or frame of predictions, or the annotated columns where they are asked for.

        data: a DataFrame, a dict of columns or a list of rows. params: routing parameters, and ``annotate``.
        Raises BadInputError, UnknownKeyError or ModelError.
        """
        given = dict(params or {})
        annotate = given.pop(ANNOTATE, None)
        if annotate is not None and not isinstance(annotate, bool):
            raise BadInputError(f"parameter {ANNOTATE!r} must be true or false, not {type(annotate).__name__}.")
        answer = self.answer(data, given)
        return answer.columns if (self.annotate if annotate is None else annotate) else answer.values

    def answer(self, data: Any, params: Mapping[str, Any] | None = None) -> Answer:
        """Like ``predict``, with where every row went and why."""
        for name in params or {}:
            if name not in self.params:
                known = [*self.params, ANNOTATE]
                raise BadInputError(f"there is no parameter {name!r}.", hint=suggest(name, known, "Parameters"))
        batch = as_batch(data)
        n_rows = len(batch)
        routed = self.route(batch, params or {})
        # Libraries refuse empty frames, so without rows no sub-model is asked.
        targets = np.unique(routed.target) if n_rows else np.empty(0, np.int32)
        if len(targets) == 1 and targets[0] != NO_TARGET:
            values = self._predict_all(batch.frame, int(targets[0]))
        else:
            values = self._predict_groups(batch.frame, np.broadcast_to(routed.target, (n_rows,)), targets)
        if isinstance(values, pd.DataFrame):
            values = values.set_axis(batch.frame.index)
        return Answer(self, values, routed, n_rows)

    def route(self, batch: FrameBatch, params: Mapping[str, Any]) -> Routed:
        """Where every row goes. Raises UnknownKeyError for rows without a sub-model, unless they may be skipped."""
        n_rows = len(batch)
        raw = {name: strategy.route_keys(batch, params) for name, strategy in self.strategies.items()}
        codes = {}
        for name, values in raw.items():
            try:
                codes[name] = self.table.indexes[name].codes(values, n_rows)
            except BadInputError as error:
                raise BadInputError(error.what, where=f"routing.keys.{name}", hint=error.hint) from None
            except ValueError as error:
                raise MmeframeError(f"the strategy gave {error}.", where=f"routing.keys.{name}") from error
        routed = self.table.route(codes, n_rows)
        if self.spec.on_unknown == "raise" and np.any(lost := routed.target == NO_TARGET):
            self._refuse(np.flatnonzero(np.broadcast_to(lost, (n_rows,))), raw, codes)
        return routed

    def _refuse(self, rows: Any, raw: Mapping[str, Any], codes: Mapping[str, Any]) -> None:
        """Name a few of the keys that no sub-model has, and count the rows."""
        if not len(rows):
            return
        missing = np.zeros(len(rows), bool)
        for code in codes.values():
            missing |= (np.asarray(code)[rows] if np.ndim(code) else np.asarray(code)) == MISSING
        if missing.all():
            raise BadInputError(
                f"{len(rows)} rows have no routing key ({', '.join(raw)}), and no level takes rows without one.",
                hint="Fill the key, declare a global sub-model with routing.levels, or set routing.on_unknown=skip.",
            )
        shown: dict[str, None] = {}
        for row in rows[~missing][:1000]:
            values = {name: canonical(value[row] if np.ndim(value) else value) for name, value in raw.items()}
            shown[", ".join(f"{name}={(text or 'missing')[:40]}" for name, text in values.items())] = None
            if len(shown) > _SHOWN:
                break
        more = " ..." if len(shown) > _SHOWN else ""
        known = [
            f"{name}: {suggest('', index.values, 'known').removeprefix('known: ')}"
            for name, index in self.table.indexes.items()
        ]
        raise UnknownKeyError(
            f"no sub-model for {len(rows)} rows: {'; '.join(list(shown)[:_SHOWN])}{more}.",
            hint=f"Known keys: {' '.join(known)} Or declare a global sub-model, or set routing.on_unknown=skip.",
        )

    def _own(self, target: int) -> Sequence[Column]:
        return self.schemas[self.records[target].inputs]

    def _predict_all(self, frame: pd.DataFrame, target: int) -> Any:
        with self.residency.acquire([target]) as (model,):
            return self._call(model, target, check_frame(frame, self._own(target), _required(self._own(target))))

    def _predict_groups(self, frame: pd.DataFrame, target: Any, targets: Any) -> Any:
        """Bring each sub-model's rows together with one take, and put the answers back.

        Columns that all sub-models share with one type are checked and converted once, for the whole batch; the others
        only for the rows of those that have them: no row is refused, or changed, for what another sub-model needs.
        """
        wanted = [int(number) for number in targets if number != NO_TARGET]
        if not wanted:
            check_frame(frame, self.union, _required(self.union) if not len(frame) else frozenset())
            return self.no_answers(len(frame))
        checked = check_frame(frame, self._shared, _required(self._shared))
        alike = len(self._shared) == len(self.union)
        others = frame[[] if alike else [name for name in frame.columns if name not in checked.columns]]
        # A small unsigned type makes numpy's stable sort a radix sort.
        order = np.argsort((target + 1).astype(np.uint16) if len(self.records) < 65_000 else target, kind="stable")
        taken, rest = checked.take(order), others.take(order)
        bounds = np.searchsorted(target[order], [*wanted, wanted[-1] + 1])
        pieces = []
        with self.residency.acquire(wanted) as models:
            for number, model in enumerate(models):
                rows = slice(bounds[number], bounds[number + 1])
                group = self._complete(taken.iloc[rows], rest.iloc[rows], wanted[number])
                pieces.append((order[rows], self._call(model, wanted[number], group), self.records[wanted[number]].id))
        return gather(pieces, len(frame))

    def _complete(self, shared: pd.DataFrame, rest: pd.DataFrame, target: int) -> pd.DataFrame:
        """A sub-model's own columns, in its order: the shared ones, and its others from what was sent."""
        own = [column for column in self._own(target) if column.name not in shared.columns]
        if own:
            shared = pd.concat([shared, check_frame(rest, own, _required(own))], axis=1)
        names = [column.name for column in self._own(target) if column.name in shared.columns]
        return shared if names == list(shared.columns) else shared[names]

    def _call(self, model: Any, target: int, frame: pd.DataFrame) -> Any:
        """One sub-model on its rows, which have exactly its own columns and types."""
        record = self.records[target]
        try:
            raw = getattr(model, self.method)(frame)
        except Exception as error:
            # The text of a library's error may hold the caller's data: it stays in the chained exception.
            raise ModelError(f"its {self.method} failed with {type(error).__name__}.", where=record.id) from error
        return as_prediction(raw, len(frame), record.id)

    def no_answers(self, n_rows: int) -> Any:
        """What a batch gets of which no row reaches a sub-model: nulls in the declared shape."""
        answer = self.bundle.manifest["answer"]
        columns = [Column(*column) for column in answer["columns"]]
        if answer["width"]:
            return np.full((n_rows, answer["width"]), np.nan)
        if len(columns) == 1:
            return nulls(columns[0].type, n_rows)
        return pd.DataFrame({column.name: nulls(column.type, n_rows) for column in columns})

    def score(self, model_id: str, data: Any) -> Any:
        """One sub-model's answer for all rows, past routing. Raises MissingError for an unknown id."""
        target = self.bundle.position(model_id)
        if target is None:
            raise MissingError(
                f"no sub-model named {model_id!r}.", hint=suggest(model_id, [record.id for record in self.records])
            )
        return self._predict_all(as_batch(data).frame, target)
