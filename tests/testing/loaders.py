"""A plugin of model loaders: one keeps every promise, each of the others breaks one."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmeframe.plugin import LoaderConf, ModelLoader, ModelLoaderPlugin, SubModelFiles, hookimpl


@dataclass
class SomeConf(LoaderConf):
    """Options of all of them."""

    # What answers are multiplied with.
    times: float = 1.0


class Weighted:
    """A sum of columns, each with its weight."""

    def __init__(self, weights: Any) -> None:
        self.weights = np.array(weights, float)

    def predict(self, data: Any) -> Any:
        return np.asarray(data, float) @ self.weights


class Good(ModelLoader[SomeConf]):
    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        return [options["data"]]

    def runs_code(self, names: Sequence[str], options: Mapping[str, Any]) -> bool:
        return False

    def load(self, files: SubModelFiles) -> Any:
        return self.model(self.weights(files) * self.conf.times)

    def weights(self, files: SubModelFiles) -> Any:
        return np.array(json.loads(bytes(files.read(files.options["data"]))))

    def model(self, weights: Any) -> Any:
        return Weighted(weights)

    def for_arrays(self, model: Any) -> Any:
        return model


class KeepsOthers(Good):
    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        return [options["data"], "weights.bin"]


class KeepsNothing(Good):
    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        return []


class KeepsTwice(Good):
    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        return [options["data"]] * 2


class KeepsTheFirst(Good):
    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        return names[:1]


class ReadsMore(Good):
    def weights(self, files: SubModelFiles) -> Any:
        more = files.folder() / "more.txt"
        return super().weights(files) * (2 if more.exists() else 1)


class NeedsMore(Good):
    def weights(self, files: SubModelFiles) -> Any:
        return super().weights(files) * len(files.read("more.txt"))


class Mean(Weighted):
    def predict(self, data: Any) -> Any:
        return super().predict(data).mean()


class OneAnswer(Good):
    def model(self, weights: Any) -> Any:
        return Mean(weights)


class NoPredict(Good):
    def model(self, weights: Any) -> Any:
        return weights


class Drifting(Weighted):
    def predict(self, data: Any) -> Any:
        self.weights += 0.5
        return super().predict(data)


class Drifts(Good):
    def model(self, weights: Any) -> Any:
        return Drifting(weights)


class Filling(Weighted):
    def predict(self, data: Any) -> Any:
        found = super().predict(data)
        if hasattr(data, "columns"):
            data[data.columns[0]] = 0.0
        return found


class Writes(Good):
    def model(self, weights: Any) -> Any:
        return Filling(weights)


class Remembering(Weighted):
    def predict(self, data: Any) -> Any:
        self.data = data
        time.sleep(0.001)
        self.data = None if self.data is data else self.data
        return super().predict(data if self.data is None else 0 * self.data)


class Remembers(Good):
    def model(self, weights: Any) -> Any:
        return Remembering(weights)


class LoadsOneByOne(Good):
    def load(self, files: SubModelFiles) -> Any:
        self.factor = 0.0
        time.sleep(0.001)
        self.factor += 1.0
        time.sleep(0.001)
        return self.model(self.weights(files) * self.factor)


class OtherForArrays(Good):
    def for_arrays(self, model: Any) -> Any:
        return Weighted(model.weights + 1)


class Large(Weighted):
    def __init__(self, weights: Any) -> None:
        super().__init__(weights)
        self.table = np.ones(2**17)


class SaysLittle(Good):
    def model(self, weights: Any) -> Any:
        return Large(weights)

    def size(self, model: Any) -> int:
        return 100


class SaysMuch(Good):
    def size(self, model: Any) -> int:
        return 10**9


class Perhaps(Good):
    def runs_code(self, names: Sequence[str], options: Mapping[str, Any]) -> Any:
        return "no"


class Unpickles(Good):
    def weights(self, files: SubModelFiles) -> Any:
        return pickle.loads(pickle.dumps(super().weights(files)))


class NeedsUnknown(Good):
    def distributions(self, options: Mapping[str, Any]) -> Iterable[str]:
        return ["numpy", "no-such-distribution-1"]


BROKEN = [it for it in list(vars().values()) if isinstance(it, type) and issubclass(it, Good)]


@hookimpl
def mmeframe_model_loaders():
    return [
        ModelLoaderPlugin(kind.__name__.lower(), SomeConf, f"{__name__}:{kind.__name__}", "for tests")
        for kind in BROKEN
    ]


def write_model(folder: Path) -> Path:
    """A model of a flavor that only these loaders know, in an empty folder."""
    (folder / "MLmodel").write_text("flavors: {weighted: {data: weights.json}}\n")
    (folder / "weights.json").write_text("[1.0, -2.0, 0.5]")
    (folder / "more.txt").write_text("three")
    return folder
