"""``loader: sklearn``: estimators straight from their bytes, in whichever format MLflow wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmeframe.builtin._fitted import AsFitted, as_fitted
from mmeframe.builtin._loading import deserialize
from mmeframe.plugin import LoaderConf, ModelLoader, SubModel, SubModelFiles

__all__ = ["SklearnConf", "SklearnLoader"]


@dataclass
class SklearnConf(LoaderConf):
    """Options of ``loader: sklearn``: none."""


class _Method:
    """An estimator whose ``predict`` is another method, as ``pyfunc_predict_fn`` asked when it was logged."""

    def __init__(self, estimator: Any, name: str) -> None:
        self.estimator = estimator
        self.predict = getattr(estimator, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.estimator, name)

    def __dir__(self) -> list[str]:
        return dir(self.estimator)


class SklearnLoader(ModelLoader[SklearnConf]):
    """Load skops, cloudpickle, pickle and joblib files as MLflow's sklearn flavor names them, without pyfunc.

    A skops file makes objects of trusted types only; the others can run any code. May be asked by several threads at
    once, as scikit-learn's estimators change nothing of themselves when they predict.
    """

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        del names
        return [options["pickled_model"]]

    def distributions(self, options: Mapping[str, Any]) -> Iterable[str]:
        # A pickle names modules of numpy for its arrays.
        form = options["serialization_format"]
        return ["scikit-learn", "numpy", *([] if form == "pickle" else [form])]

    def runs_code(self, names: Sequence[str], options: Mapping[str, Any]) -> bool:
        del names
        return _form(options) != "skops"

    def load(self, files: SubModelFiles) -> SubModel:
        estimator = deserialize(files, files.options["pickled_model"], _form(files.options))
        method = files.options.get("predict_fn", "predict")
        return as_fitted(estimator if method == "predict" else _Method(estimator, method), files, estimator)

    def for_arrays(self, model: SubModel) -> SubModel | None:
        """The estimator without the names it was fitted with, which it would miss with a warning on every call."""
        if isinstance(model, AsFitted):
            return None
        inner = model.estimator if isinstance(model, _Method) else model
        return model if _forget_names(inner) else None


def _form(options: Mapping[str, Any]) -> str:
    return str(options.get("serialization_format", "pickle"))


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
