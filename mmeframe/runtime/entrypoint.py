"""MLflow runs this file when it logs and when it loads a router (models from code); its copy lies in the model folder.

The archive beside it holds mmeframe's runtime and the embedded plugins. A process that already uses mmeframe keeps its
own, and so does one where the archive's version is installed; they find only the plugins there that they do not have.
"""

import pathlib
import sys
import zipfile
from importlib import metadata


def _here(archive: pathlib.Path) -> bool:
    if "mmeframe" in sys.modules:
        return True
    with zipfile.ZipFile(archive) as opened:
        version = opened.comment.decode()
    try:
        return metadata.version("mmeframe") == version
    except metadata.PackageNotFoundError:
        return False


_archive = pathlib.Path(__file__).with_name("code") / "mmeframe.zip"
if _archive.is_file() and str(_archive) not in sys.path:
    sys.path.insert(len(sys.path) if _here(_archive) else 0, str(_archive))

import mlflow  # noqa: E402

from mmeframe.runtime.pythonmodel import RouterModel  # noqa: E402

mlflow.models.set_model(RouterModel())
