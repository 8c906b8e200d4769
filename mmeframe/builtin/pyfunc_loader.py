"""``loader: pyfunc``: any MLflow model, through ``mlflow.pyfunc``, from a real folder."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass

from mmeframe.plugin import LoaderConf, ModelLoader, SubModel, SubModelFiles
from mmeframe.shipped import without_bytecode

__all__ = ["PyfuncConf", "PyfuncLoader"]

# MLflow hands models from code over in a process-wide variable: parallel loads return the wrong model. Re-entrant,
# because a sub-model may itself be a router.
LOAD_LOCK = threading.RLock()


@dataclass
class PyfuncConf(LoaderConf):
    """Options of ``loader: pyfunc``: none."""


class PyfuncLoader(ModelLoader[PyfuncConf]):
    """The loader for everything that no other loader claims."""

    def load(self, files: SubModelFiles) -> SubModel:
        import mlflow.pyfunc

        folder = files.folder()
        # MLflow runs models from code in the folder itself.
        with LOAD_LOCK, without_bytecode():
            paths = list(sys.path)
            try:
                # Requirements were checked once, on the union of all sub-models.
                model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
            finally:
                # MLflow adds <folder>/code per model and never takes it away; the host has put the code there once.
                sys.path[:] = paths
        loaded: SubModel = model
        return loaded
