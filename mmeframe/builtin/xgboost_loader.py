"""``loader: xgboost``: boosters and XGBoost's scikit-learn estimators, from memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from mmeframe.builtin._fitted import AsFitted, as_fitted, unwrapped
from mmeframe.builtin._loading import library
from mmeframe.plugin import LoaderConf, ModelError, ModelLoader, SubModel, SubModelFiles

__all__ = ["XgboostConf", "XgboostLoader"]

_BOOSTER = "xgboost.core.Booster"
# Bytes in memory for one in a file: measured by tests/benchmarks/flavors.py.
_LIVE = 1.4


@dataclass
class XgboostConf(LoaderConf):
    """Options of ``loader: xgboost``: none."""


class _Booster:
    """A booster that takes frames, as MLflow's pyfunc makes of it.

    XGBoost promises that trees are asked by any number of threads at once, and promises nothing of linear boosters:
    those are asked one at a time.
    """

    def __init__(self, xgboost: Any, booster: Any) -> None:
        self._matrix, self.booster = xgboost.DMatrix, booster
        self._lock = _lock_for(booster)
        # For arrays: the names that the booster wants to see.
        self.names: Any = None

    def predict(self, data: Any) -> Any:
        matrix = self._matrix(data, feature_names=self.names, enable_categorical=True)
        if self._lock is None:
            return self.booster.predict(matrix)
        with self._lock:
            return self.booster.predict(matrix)


class _OneAtATime:
    """An estimator whose methods are called by one thread at a time."""

    def __init__(self, model: Any, lock: threading.Lock) -> None:
        self._model, self._lock = model, lock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if not callable(found):
            return found

        def locked(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                return found(*args, **kwargs)

        return locked


class XgboostLoader(ModelLoader[XgboostConf]):
    """Load the ``ubj``, ``json`` and older binary files of MLflow's xgboost flavor, without pyfunc around them.

    None of these formats holds code. Trees may be asked by several threads at once; see ``_Booster``.
    """

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        del names
        return [options["data"]]

    def distributions(self, options: Mapping[str, Any]) -> Iterable[str]:
        del options
        # Its build without GPU libraries has a name of its own.
        installed = [name for name in ("xgboost", "xgboost-cpu") if _is_installed(name)]
        return installed[:1] or ["xgboost"]

    def runs_code(self, names: Sequence[str], options: Mapping[str, Any]) -> bool:
        del names, options
        return False

    def load(self, files: SubModelFiles) -> SubModel:
        xgboost = library("xgboost", files)
        wanted = str(files.options.get("model_class", _BOOSTER))
        # The file names a class: only XGBoost's own are made.
        known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in _classes(xgboost)}
        if wanted not in known:
            raise ModelError(f"{wanted} is no class of xgboost.", where=files.id, hint="Use loader: pyfunc.")
        model: Any = known[wanted]()
        model.load_model(bytearray(files.read(files.options["data"])))
        if wanted == _BOOSTER:
            return as_fitted(_Booster(xgboost, model), files, model)
        lock = _lock_for(model.get_booster())
        return as_fitted(model if lock is None else _OneAtATime(model, lock), files, model)

    def for_arrays(self, model: SubModel) -> SubModel | None:
        """The same: an array's columns are taken to be the ones that it was fitted on, in their order."""
        if isinstance(model, AsFitted):
            return None
        if isinstance(model, _Booster):
            model.names = model.booster.feature_names
        return model

    def size(self, model: SubModel) -> int:
        """From what its file would take: the library holds it outside of Python."""
        held = unwrapped(model)
        return int(_LIVE * len((held.booster if isinstance(held, _Booster) else held.get_booster()).save_raw()))


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _classes(xgboost: Any) -> list[Any]:
    kinds = [getattr(xgboost, name) for name in xgboost.__all__]
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, xgboost.Booster | xgboost.XGBModel)]


def _lock_for(booster: Any) -> threading.Lock | None:
    kind = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"]
    return threading.Lock() if kind == "gblinear" else None
