"""MLflow runs this file when it logs and when it loads a router (models from code); its copy lies in the model folder.

The archive beside it holds mmeframe's runtime and the embedded plugins. A process that already uses mmeframe keeps its
own, and finds only the plugins there that it does not have.
"""

import pathlib
import sys

_archive = pathlib.Path(__file__).with_name("code") / "mmeframe.zip"
if _archive.is_file() and str(_archive) not in sys.path:
    sys.path.insert(len(sys.path) if "mmeframe" in sys.modules else 0, str(_archive))

import mlflow  # noqa: E402

from mmeframe.runtime.pythonmodel import RouterModel  # noqa: E402

mlflow.models.set_model(RouterModel())
