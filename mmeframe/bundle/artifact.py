"""What lies around the bundle in a router's model folder, under the bundle's digest.

A build seals the folder that MLflow has written: the manifest gets the sha256 of each file that decides how the router
runs. So the one digest covers code, entrypoint, requirements, and what MLmodel says of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from mmeframe.bundle.format import canonical_json
from mmeframe.bundle.manifest import Manifest
from mmeframe.errors import CorruptBundleError, MissingError, MmeframeError
from mmeframe.versions import tell

__all__ = ["BUNDLE", "CODE", "check", "check_code", "forget_bytecode", "seal"]

BUNDLE = Path("artifacts") / "bundle"
CODE, ENTRYPOINT, MLMODEL = "code/mmeframe.zip", "entrypoint.py", "MLmodel"
# They decide what is installed before the router is loaded.
ENVIRONMENT = ("requirements.txt", "conda.yaml", "python_env.yaml")
# Of MLmodel: a run, a place and a time, which decide nothing, and metadata, which has the digest. Where the model is
# kept, MLflow may set them anew.
_TELLS = ("artifact_path", "metadata", "model_id", "model_size_bytes", "model_uuid", "run_id", "utc_time_created")


def seal(root: Path) -> str:
    """Put a saved model folder under its bundle's digest, which is returned."""
    artifact = {name: _sha256(root, name) for name in (CODE, ENTRYPOINT, MLMODEL, *ENVIRONMENT)}
    return replace(Manifest.read(root / BUNDLE), artifact=artifact).write(root / BUNDLE)


def check(root: Path, manifest: Manifest, *, strict: bool) -> None:
    """Raise CorruptBundleError for a file that is another one than the manifest says.

    strict: files of ENVIRONMENT, too; else they are told: MLflow has a command that edits them. Nothing else may lie
    beside the archive of code: MLflow puts that folder on the path, before whatever is installed.
    """
    for name, expected in manifest.artifact.items():
        if strict or name not in ENVIRONMENT:
            _compare(root, name, expected)
        elif _sha256(root, name) != expected:
            tell([f"{root / name} is not the one that was built: the digest does not cover it."])
    _check_beside(root, manifest)


def _check_beside(root: Path, manifest: Manifest) -> None:
    folder = (root / CODE).parent
    if manifest.artifact and folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path != root / CODE:
                _differs(path, None, _sha256(root, str(path.relative_to(root))))


def forget_bytecode(root: Path) -> None:
    """Remove what Python would run in place of the entrypoint, without looking at more of it than size and time.

    Raises MmeframeError if that cannot be removed.
    """
    path = root / "__pycache__"
    with contextlib.suppress(OSError):
        path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
    if any(path.glob("*")):
        what = f"this bytecode may differ from {ENTRYPOINT}, and cannot be removed."
        hint = "Ask somebody who may write there to remove it. MLflow leaves it when it loads a router in place."
        raise MmeframeError(what, where=str(path), hint=hint)


def check_code(archive: Path, manifest: Manifest) -> None:
    """The same for the archive of code alone, wherever it is imported."""
    if manifest.artifact:
        _compare(archive.parents[1], CODE, manifest.artifact[CODE])


def _compare(root: Path, name: str, expected: str | None) -> None:
    actual = _sha256(root, name)
    if actual == expected:
        return
    if actual is None:
        what = f"the model has no {name}."
        raise MissingError(what, where=str(root), hint="Download the model again, or rebuild it.")
    _differs(root / name, expected, actual)


def _differs(path: Path, expected: str | None, actual: str | None) -> NoReturn:
    what = "its digest does not match" if expected else "the router was built without this file"
    raise CorruptBundleError(str(path), expected or "(none)", actual or "(no file)", what)


def _sha256(root: Path, name: str) -> str | None:
    """Of a file, or of what decides in MLmodel; None if there is none."""
    path = root / name
    if not path.is_file():
        return None
    raw = path.read_bytes()
    if name == MLMODEL:
        import yaml

        try:
            # libyaml, where there is one, takes a tenth of the time.
            described = yaml.load(raw, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
            raw = canonical_json({key: value for key, value in described.items() if key not in _TELLS})
        except (yaml.YAMLError, AttributeError, ValueError, TypeError):
            # It is damaged, and its own digest is no other's.
            pass
    return hashlib.sha256(raw).hexdigest()
