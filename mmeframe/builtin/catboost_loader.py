"""``loader: catboost``: CatBoost models of every type, from memory."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmeframe.builtin._fitted import AsFitted, as_fitted, unwrapped
from mmeframe.builtin._loading import library
from mmeframe.plugin import LoaderConf, ModelError, ModelLoader, SubModel, SubModelFiles

__all__ = ["CatboostConf", "CatboostLoader"]

_TYPES = ("CatBoost", "CatBoostClassifier", "CatBoostRanker", "CatBoostRegressor")
# Bytes in memory for one in a file: measured by tests/benchmarks/flavors.py.
_LIVE = 2.0


@dataclass
class CatboostConf(LoaderConf):
    """Options of ``loader: catboost``: none."""


class CatboostLoader(ModelLoader[CatboostConf]):
    """Load the files of MLflow's catboost flavor, without pyfunc around them.

    No format that CatBoost reads holds code. May be asked by several threads at once: a prediction makes a pool of its
    own, and only reads the model.
    """

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        del names
        return [options["data"]]

    def distributions(self, options: Mapping[str, Any]) -> Iterable[str]:
        del options
        return ["catboost"]

    def runs_code(self, names: Sequence[str], options: Mapping[str, Any]) -> bool:
        del names, options
        return False

    def load(self, files: SubModelFiles) -> SubModel:
        catboost = library("catboost", files)
        kind, form = files.options["model_type"], files.options.get("save_format", "cbm")
        if kind not in _TYPES:
            raise ModelError(f"{kind} is no class of catboost.", where=files.id, hint="Use loader: pyfunc.")
        model: Any = getattr(catboost, kind)()
        name = files.options["data"]
        if form == "cbm":
            model.load_model(blob=bytes(files.read(name)))
        else:
            # Only its own format is read from memory.
            model.load_model(str(files.folder() / name), form)
        return as_fitted(model, files)

    def for_arrays(self, model: SubModel) -> SubModel | None:
        """The same: an array's columns are taken to be the ones that it was fitted on, in their order."""
        return None if isinstance(model, AsFitted) else model

    def size(self, model: SubModel) -> int:
        """From what its file would take: the library holds it outside of Python."""
        return int(_LIVE * len(pickle.dumps(unwrapped(model))))
