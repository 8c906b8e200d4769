"""A router that only routes: of a config, before anything is built or logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmeframe.errors import ConfigError, MissingError
from mmeframe.fleet.resolve import declared_entries
from mmeframe.fleet.routing import members_of, parts_of, table_of
from mmeframe.plugin.manager import Plugins
from mmeframe.route.routing import Arms, Routing
from mmeframe.route.table import NO_TARGET
from mmeframe.rows.batch import as_batch
from mmeframe.sections import RouterSpec
from mmeframe.store.store import Store, using_store

__all__ = ["DryRouter"]


class DryRouter:
    """Routes rows as the router of a config would. No sub-model is read, so none has to exist.

    A store is only asked for sources that look there. Raises ProblemsError for what is wrong with keys, levels or arms.
    """

    def __init__(self, spec: RouterSpec, plugins: Plugins) -> None:
        if any(spec.traffic.arms.values()) and not spec.traffic.sticky:
            raise ConfigError(
                "all columns of the sub-models decide a row's arm, and this router does not read them.",
                where="traffic.sticky",
                hint="Name the columns that decide, or build the router: mmeframe_built.",
            )
        if spec.sources:
            with using_store(spec.tracking.uri) as store:
                models, prepared = declared_entries(spec, plugins, store)
        else:
            models, prepared = declared_entries(spec, plugins, Store(""))
        self._routing = Routing(
            spec.routing,
            members_of(models),
            table_of(spec.routing, models),
            parts_of(spec.routing, prepared, _not_read),
            Arms(spec.traffic, spec.disabled_models),
        )

    def route(self, rows: Any, params: Mapping[str, Any] | None = None) -> list[str | None]:
        """The id of each row's sub-model, None for a row that is skipped.

        rows: a DataFrame, a list of dicts, or a dict of columns. params: request parameters.
        Raises UnknownKeyError for rows without a sub-model if ``routing.on_unknown`` is ``raise``.
        """
        import numpy as np

        batch = as_batch(rows)
        target = np.broadcast_to(self._routing.route(batch, params or {}).target, (len(batch),))
        return [None if number == NO_TARGET else self._routing.models.at(int(number)).id for number in target]

    def explain(self, rows: Any, params: Mapping[str, Any] | None = None) -> Sequence[Mapping[str, Any]]:
        """For each row: its key, what every level said, the arm, the sub-model, the reason; as ``mmeframe explain``."""
        return self._routing.explain(as_batch(rows), params or {})


def _not_read(model_id: str, batch: Any) -> Any:
    del batch
    raise MissingError(
        "a gate asks it for keys, and this router has no sub-models.",
        where=f"models.{model_id}",
        hint="Build the router: mmeframe_built.",
    )
