"""What a live booster takes, and what its loader says: ``python -m tests.builtin.booster_memory KIND FILE``."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.datasets import load_diabetes

from mmeframe.builtin.catboost_loader import CatboostConf, CatboostLoader
from mmeframe.builtin.lightgbm_loader import LightgbmConf, LightgbmLoader
from mmeframe.builtin.xgboost_loader import XgboostConf, XgboostLoader
from mmeframe.plugin.manager import isolated_plugins

COUNT = 150


@dataclass(frozen=True)
class Files:
    """The ``SubModelFiles`` of the plugin API over one file."""

    path: Path
    flavor: str
    options: dict[str, str]
    columns: tuple[()] = ()
    id: str = "m"

    @property
    def names(self) -> list[str]:
        return [self.path.name]

    def read(self, name: str) -> memoryview:
        return memoryview(self.path.with_name(name).read_bytes())

    def folder(self) -> Path:
        return self.path.parent


def fit(kind: str, path: Path) -> None:
    """Fifty trees on scikit-learn's diabetes data."""
    frame, target = load_diabetes(return_X_y=True, as_frame=True)
    model: Any
    if kind == "xgboost":
        import xgboost

        model = xgboost.train({"nthread": 1}, xgboost.DMatrix(frame, target), 50)
    elif kind == "lightgbm":
        import lightgbm

        model = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(frame, target), 50)
    else:
        import catboost

        options = {"iterations": 50, "verbose": False, "allow_writing_files": False, "thread_count": 1}
        model = catboost.CatBoostRegressor(**options).fit(frame, target)
    model.save_model(str(path))


def rss() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(kind: str, path: Path) -> None:
    """Print bytes of resident memory for each of many live ones, and the loader's number."""
    warnings.simplefilter("ignore")
    fit(kind, path)
    flavor, options = isolated_plugins().form(path.suffix, None)
    loaders: dict[str, Any] = {
        "xgboost": lambda: XgboostLoader(XgboostConf()),
        "lightgbm": lambda: LightgbmLoader(LightgbmConf()),
        "catboost": lambda: CatboostLoader(CatboostConf()),
    }
    loader = loaders[kind]()
    files = Files(path, flavor, {name: value.format(name=path.name) for name, value in options.items()})
    # What fitting has left is used up first.
    kept = [loader.load(files) for _ in range(COUNT)]
    before = rss()
    kept += [loader.load(files) for _ in range(COUNT)]
    print((rss() - before) / COUNT, loader.size(kept[0]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
