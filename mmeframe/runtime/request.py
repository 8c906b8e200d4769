"""What a caller sends: rows, parameters of sub-models, and those of routing."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mmeframe.errors import BadInputError, suggest
from mmeframe.rows.batch import FrameBatch, as_batch
from mmeframe.rows.types import RefusedError, converter, is_compound, shown
from mmeframe.spec import ANNOTATE, Column

__all__ = ["Requests"]


class Requests:
    """Reads requests. union: the columns of sub-models. read: columns that routing reads.

    params: of sub-models, name -> type and default. routing: names of the parameters that routing reads.
    """

    def __init__(
        self,
        union: Sequence[Column],
        read: Iterable[str],
        params: Mapping[str, Sequence[Any]],
        routing: Collection[str],
    ) -> None:
        self._declared = frozenset([*(column.name for column in union), *read])
        self._nested = frozenset(it.name for it in union if it.type == "any" or is_compound(it.type))
        self._kinds: dict[str, str] = {name: kind for name, (kind, _) in params.items()}
        self._routing = routing

    def batch(self, data: Any) -> FrameBatch:
        """Rows."""
        return as_batch(data, self._declared, self._nested)

    def read(self, data: Any, params: Mapping[str, Any] | None) -> tuple[FrameBatch, Mapping[str, Any]]:
        """Rows with the parameters of sub-models, and those of routing. Raises BadInputError for unknown ones."""
        batch = self.batch(data)
        if not params:
            return batch, {}
        if not isinstance(params, Mapping):
            raise BadInputError(f"parameters must be a map of names to values, not {type(params).__name__}.")
        if unnamed := [type(name).__name__ for name in params if not isinstance(name, str)]:
            raise BadInputError(f"the name of a parameter must be text, not {unnamed[0]}.")
        given = dict(params)
        for name in [name for name in given if name in self._kinds]:
            value = given.pop(name)
            if value is not None:
                batch.params[name] = _as_declared(name, value, self._kinds[name])
        if unknown := [name for name in given if name not in self._routing]:
            known = [*self._routing, *self._kinds, ANNOTATE]
            raise BadInputError(f"there is no parameter {unknown[0]!r}.", hint=suggest(unknown[0], known, "Parameters"))
        return batch, given


def _as_declared(name: str, value: Any, kind: str) -> Any:
    """A parameter's value in its declared type; times as MLflow hands them over."""
    try:
        found = converter(kind)(value)
    except RefusedError as error:
        raise BadInputError(f"parameter {name!r} must be {shown(kind)}: {error}.") from None
    if kind == "datetime":
        return _time(value, found)
    return [*map(_time, value, found)] if isinstance(found, list) and _of_times(kind) else found


def _of_times(kind: str) -> bool:
    return bool(json.loads(kind)["items"]["type"] == "datetime")


def _time(given: Any, read: Any) -> Any:
    """A date where a date was given, else a time; ``read``: it, as a column has it."""
    moment = read.astype("M8[us]").item()
    return moment.date() if len(str(given)) == len("2024-01-01") else moment
