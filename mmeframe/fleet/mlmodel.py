"""What the MLmodel files of sub-models say, and the files beside them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mmeframe.errors import BuildError
from mmeframe.fleet.signature import Param, read_columns, read_outputs, read_params
from mmeframe.imports import code_digest, modules_of
from mmeframe.rows.outputs import Outputs
from mmeframe.spec import Column
from mmeframe.store.folders import ModelFolder, code_of

__all__ = ["ROUTER", "Described", "Descriptions", "code_modules", "text_of"]

# Lines of an MLmodel file that no two models have alike, and that say nothing about it here.
_OWN = re.compile(
    rb"^(?:artifact_path|model_id|model_size_bytes|model_uuid|run_id|utc_time_created):.*\n(?: .*\n)*", re.MULTILINE
)
_LOG_IT = (
    "A router checks rows against it. Log the model with signature=infer_signature(X, model.predict(X)), or declare "
    "it: +models.{id}.signature='{{inputs: {{<column>: double}}, outputs: double}}'."
)
ROUTER = (
    "It is a router that leaves its inputs open. Build that one with signature.mode=union, or declare what it takes: "
    "+models.{id}.signature='{{inputs: {{<column>: double}}, outputs: double}}'."
)
_HINTED = (
    "MLflow derives it from the type hints of predict, and then ignores signature=. Log the model with "
    "pandas.DataFrame as "
    "the type hint of predict's input, and with signature=infer_signature(X, answers)."
)


class Described(NamedTuple):
    """What an MLmodel file says. A text in place of columns or answers says why they cannot be used.

    how: how a signature is given to such a model.
    """

    flavors: dict[str, Any]
    inputs: tuple[Column, ...] | str
    outputs: Outputs | str
    params: dict[str, Param]
    is_router: bool
    how: str


class Descriptions:
    """Reads MLmodel files. What thousands of them have alike is read once, and is one object in all of them."""

    def __init__(self) -> None:
        self._known: dict[bytes, Described] = {}

    def read(self, raw: bytes) -> Described:
        """What the file with this content says. Raises BuildError for one that MLflow has not written."""
        text = _OWN.sub(b"", raw)
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = _parse(text)
        return known


def _parse(text: bytes) -> Described:
    import yaml
    from mlflow.models import ModelSignature

    try:
        # The C loader is ten times faster than the one MLflow uses.
        described = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
        flavors, signature = dict(described.get("flavors", {})), described.get("signature")
        is_router = "mmeframe" in (described.get("metadata") or {})
        if not signature:
            return Described(flavors, "it has no signature.", "it has no signature.", {}, is_router, _LOG_IT)
        parsed = ModelSignature.from_dict(signature)
    except Exception as error:
        what = "its file MLmodel is cut off, or was not written by MLflow."
        raise BuildError(what, hint="Copy or log the model again.") from error
    how = _HINTED if described.get("is_signature_from_type_hint") else _LOG_IT
    params = read_params(parsed.params)
    return Described(flavors, read_columns(parsed.inputs), read_outputs(parsed.outputs), params, is_router, how)


def text_of(folder: ModelFolder, name: str) -> str:
    return (folder.read(name) or b"").decode(errors="replace")


def code_modules(folder: ModelFolder) -> dict[str, str]:
    """Modules that can be imported from a model's code folder -> digest of their files, and of data beside them."""
    with folder.local() as root:
        return {name: code_digest(files) for name, files in modules_of(code_of(folder, root)).items()}
