"""``loader: sklearn``: estimators straight from their bytes, in whichever format MLflow wrote them."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmeframe.plugin import LoaderConf, ModelError, ModelLoader, SubModel, SubModelFiles

__all__ = ["SklearnConf", "SklearnLoader"]


@dataclass
class SklearnConf(LoaderConf):
    """Options of ``loader: sklearn``: none."""


class _Method:
    """An estimator whose ``predict`` is another method, as ``pyfunc_predict_fn`` asked when it was logged."""

    def __init__(self, estimator: Any, name: str) -> None:
        self.estimator = estimator
        self.predict = getattr(estimator, name)


class SklearnLoader(ModelLoader[SklearnConf]):
    """Load skops, cloudpickle and pickle files as MLflow's sklearn flavor writes them, and joblib files.

    Deserialising can run code. Bytes are verified against the bundle's digests first, and
    ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`` is honoured as MLflow does, for all formats.
    """

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        del names
        return [options["pickled_model"]]

    def distributions(self, options: Mapping[str, Any]) -> Iterable[str]:
        # A pickle names modules of numpy for its arrays.
        form = options["serialization_format"]
        return ["scikit-learn", "numpy", *([] if form == "pickle" else [form])]

    def load(self, files: SubModelFiles) -> SubModel:
        if os.environ.get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true").lower() in ("false", "0"):
            raise ModelError(
                "deserialising it is not allowed here.",
                where=files.id,
                hint="MLFLOW_ALLOW_PICKLE_DESERIALIZATION is false; set it to true to load models that you trust.",
            )
        estimator = self._read(files)
        method = files.options.get("predict_fn", "predict")
        return estimator if method == "predict" else _Method(estimator, method)

    def for_arrays(self, model: SubModel) -> SubModel | None:
        """The estimator without the names it was fitted with, which it would miss with a warning on every call."""
        inner = model.estimator if isinstance(model, _Method) else model
        return model if _forget_names(inner) else None

    def _read(self, files: SubModelFiles) -> Any:
        data = files.read(files.options["pickled_model"])
        form = files.options.get("serialization_format", "pickle")
        if form == "skops":
            import skops.io

            return skops.io.loads(bytes(data), trusted=files.options.get("skops_trusted_types"))
        if form == "joblib":
            import joblib

            return joblib.load(io.BytesIO(data))
        if form == "cloudpickle":
            import cloudpickle

            return cloudpickle.loads(data)
        if form == "pickle":
            return pickle.loads(data)  # noqa: S301 - verified bytes of a model that the user chose
        raise ModelError(f"serialization format {form!r} is not known.", where=files.id, hint="Use loader: pyfunc.")


def _forget_names(estimator: Any) -> bool:
    """Take the names of columns from an estimator and those inside it; False if one of them chooses columns by name."""
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer

    if isinstance(estimator, ColumnTransformer):
        return False
    if isinstance(estimator, list | tuple):
        return all(_forget_names(item) for item in estimator)
    if not isinstance(estimator, BaseEstimator):
        return True
    vars(estimator).pop("feature_names_in_", None)
    return all(_forget_names(value) for value in list(vars(estimator).values()))
