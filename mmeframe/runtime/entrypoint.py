"""MLflow runs this file when it logs and when it loads a router (models from code); its copy lies in the model folder.

The archive beside it holds mmeframe's runtime and the embedded plugins. Nothing of it runs before it is verified: the
bundle's digest covers it, and all else that decides. So this file is what must be trusted first. The installed mmeframe
is used where it is the same code, because it has more than serving needs. A process that has imported another one
cannot use this router.
"""

import hashlib
import json
import os
import pathlib
import sys
import types
import zipimport

_root = pathlib.Path(__file__).parent
_archive = _root / "code" / "mmeframe.zip"
_manifest = _root / "artifacts" / "bundle" / "manifest.json"
# It is not there when MLflow logs.
if _manifest.is_file():
    _facts = json.loads(_manifest.read_bytes())
    _facts.pop("digest", None)
    _text = json.dumps(_facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    _digest = hashlib.sha256(_text.encode()).hexdigest()
    _expected = os.environ.get("MMEFRAME_EXPECT_DIGEST", _digest)
    # A router that is a sub-model of another one is not the one that is expected.
    _is_nested = getattr(sys.modules.get("mmeframe.runtime.deployment"), "is_nested", bool)
    if _expected != _digest and not _is_nested():
        raise RuntimeError(f"MMEFRAME_EXPECT_DIGEST expects sha256 {_expected}, and this router has {_digest}.")
    _sealed = _facts.get("artifact", {}).get("code/mmeframe.zip")
    if _sealed and hashlib.sha256(_archive.read_bytes()).hexdigest() != _sealed:
        raise RuntimeError(f"{_archive} was changed or damaged after the build: its sha256 is not {_sealed}.")
    # MLflow has put its folder on the path, before whatever is installed.
    _beside = sorted(set(os.listdir(_archive.parent)) - {_archive.name}) if _sealed else []
    if _beside:
        raise RuntimeError(f"{_archive.parent} was changed after the build: {_beside[0]!r} was not in it.")
try:
    _source = zipimport.zipimporter(str(_archive)).get_data("mmeframe/imports.py")
except (zipimport.ZipImportError, OSError):
    # The archive has plugins only, or there is none: mmeframe is a requirement.
    pass
else:
    # Compiled once in a process, since compiling it takes longer than all else here.
    _name = f"mmeframe_imports_{hashlib.sha256(_source).hexdigest()}"
    _imports = sys.modules.get(_name)
    if _imports is None:
        _imports = types.ModuleType(_name)
        # It cannot be imported before it is known whose mmeframe is.
        exec(compile(_source, str(_archive / "mmeframe" / "imports.py"), "exec"), vars(_imports))  # noqa: S102
        sys.modules[_name] = _imports
    if not _imports.same_here(_archive, "mmeframe"):
        if "mmeframe" in sys.modules:
            from mmeframe.errors import PluginError

            _what, _hint = _imports.other_code(_archive, "mmeframe")
            raise PluginError(_what, hint=_hint)
        sys.path.insert(0, str(_archive))

import mlflow  # noqa: E402

from mmeframe.runtime.pythonmodel import RouterModel  # noqa: E402

mlflow.models.set_model(RouterModel())
