"""``loader: lightgbm``: boosters and LightGBM's scikit-learn estimators, from memory."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmeframe.builtin._fitted import as_fitted, unwrapped
from mmeframe.builtin._loading import deserialize, library
from mmeframe.plugin import LoaderConf, ModelLoader, SubModel, SubModelFiles

__all__ = ["LightgbmConf", "LightgbmLoader"]

_BOOSTER = "lightgbm.basic.Booster"
# Bytes in memory for one in a file: measured by tests/benchmarks/flavors.py.
_LIVE = 1.4


@dataclass
class LightgbmConf(LoaderConf):
    """Options of ``loader: lightgbm``: none."""


class LightgbmLoader(ModelLoader[LightgbmConf]):
    """Load what MLflow's lightgbm flavor writes: a booster's text; skops, cloudpickle or pickle of other estimators.

    May be asked by several threads at once: a prediction makes its own predictor, and LightGBM's library guards the
    booster with a lock that predictions share.
    """

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        del names
        return [options["data"]]

    def distributions(self, options: Mapping[str, Any]) -> Iterable[str]:
        del options
        return ["lightgbm"]

    def runs_code(self, names: Sequence[str], options: Mapping[str, Any]) -> bool:
        del names
        return not _is_text(options) and _form(options) != "skops"

    def load(self, files: SubModelFiles) -> SubModel:
        lightgbm = library("lightgbm", files)
        name = files.options["data"]
        if _is_text(files.options):
            return as_fitted(lightgbm.Booster(model_str=bytes(files.read(name)).decode()), files)
        return as_fitted(deserialize(files, name, _form(files.options)), files)

    def for_arrays(self, model: SubModel) -> SubModel | None:
        """A booster, alone or out of an estimator that answers what its booster does; estimators miss names."""
        from lightgbm import Booster, LGBMRanker, LGBMRegressor

        inner: Any = model
        if isinstance(inner, LGBMRanker | LGBMRegressor):
            inner = inner.booster_
        return inner if isinstance(inner, Booster) else None

    def size(self, model: SubModel) -> int:
        """From what its file would take: the library holds it outside of Python."""
        return int(_LIVE * len(pickle.dumps(unwrapped(model))))


def _is_text(options: Mapping[str, Any]) -> bool:
    return bool(options.get("model_class", _BOOSTER) == _BOOSTER)


def _form(options: Mapping[str, Any]) -> str:
    return str(options.get("serialization_format", "cloudpickle"))
