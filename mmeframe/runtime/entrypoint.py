"""MLflow runs this file when it logs and when it loads a router (models from code); its copy lies in the model folder.

The archive beside it holds mmeframe's runtime and the embedded plugins. The installed mmeframe is used where it is the
same code, because it has more than serving needs. A process that has imported another one cannot use this router.
"""

import importlib.util
import pathlib
import sys
import zipimport

_archive = pathlib.Path(__file__).with_name("code") / "mmeframe.zip"
_spec = zipimport.zipimporter(str(_archive / "mmeframe")).find_spec("imports") if _archive.is_file() else None
# Without it the archive has plugins only, and mmeframe is a requirement.
if _spec is not None and _spec.loader is not None:
    _imports = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_imports)
    if not _imports.same_here(_archive, "mmeframe"):
        if "mmeframe" in sys.modules:
            from mmeframe.errors import PluginError

            _what, _hint = _imports.other_code(_archive, "mmeframe")
            raise PluginError(_what, hint=_hint)
        sys.path.insert(0, str(_archive))

import mlflow  # noqa: E402

from mmeframe.runtime.pythonmodel import RouterModel  # noqa: E402

mlflow.models.set_model(RouterModel())
