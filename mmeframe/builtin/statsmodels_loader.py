"""``loader: statsmodels``: results of fitted statsmodels models, from memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mmeframe.builtin._fitted import AsFitted, as_fitted
from mmeframe.builtin._loading import deserialize, library
from mmeframe.plugin import BadInputError, LoaderConf, ModelLoader, SubModel, SubModelFiles

__all__ = ["StatsmodelsConf", "StatsmodelsLoader"]


@dataclass
class StatsmodelsConf(LoaderConf):
    """Options of ``loader: statsmodels``: none."""


class _TimeSeries:
    """The results of a time series model, asked as MLflow does: one row with the columns start and end.

    One thread at a time: a prediction of a state space model changes the model while it runs.
    """

    def __init__(self, results: Any) -> None:
        self.results = results
        self._lock = threading.Lock()

    def predict(self, data: Any) -> Any:
        if len(data) != 1 or not {"start", "end"} <= set(data.columns):
            raise BadInputError("a time series model takes one row, with the columns start and end.")
        with self._lock:
            return self.results.predict(start=data["start"].iloc[0], end=data["end"].iloc[0])


class StatsmodelsLoader(ModelLoader[StatsmodelsConf]):
    """Load the pickle of MLflow's statsmodels flavor, without pyfunc around it.

    Other than time series, results may be asked by several threads at once: a prediction is a product of the rows, or
    of what the formula makes of them, with parameters that nothing changes.
    """

    knows_classes: ClassVar[bool] = True

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        del names
        return [options["data"]]

    def load(self, files: SubModelFiles) -> SubModel:
        library("statsmodels", files)
        results: Any = deserialize(files, files.options["data"], "pickle")
        from statsmodels.tsa.base.tsa_model import TimeSeriesModel

        if isinstance(results.model, TimeSeriesModel):
            return _TimeSeries(results)
        if (classes := _classes(results.model)) is not None:
            results.classes_ = classes
        # A formula reads columns by their names; a product of matrices does not look at them.
        names = [] if hasattr(results.model, "formula") else getattr(results.model, "exog_names", None)
        return as_fitted(results, files, names=names or [])

    def for_arrays(self, model: SubModel) -> SubModel | None:
        """The same results; None for a formula, which reads columns by their names."""
        inner: Any = model
        return None if isinstance(model, _TimeSeries | AsFitted) or hasattr(inner.model, "formula") else model


def _classes(model: Any) -> Any:
    """An array of what a multinomial or ordered model's probabilities are for; None for a model with other answers."""
    import numpy as np
    from statsmodels.discrete.discrete_model import MNLogit
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    if isinstance(model, OrderedModel):
        return np.asarray(model.labels)
    # The names of its equations are all that it keeps of them.
    return np.array([*model._ynames_map.values()]) if isinstance(model, MNLogit) else None
