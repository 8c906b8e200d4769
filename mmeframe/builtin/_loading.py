"""What the loaders share: their libraries, and objects from serialized bytes."""

from __future__ import annotations

import importlib
import io
import os
import pickle
from typing import Any

from mmeframe.builtin._skops_types import TRUSTED
from mmeframe.plugin import ModelError, SubModelFiles

__all__ = ["deserialize", "library"]

_VARIABLE = "MMEFRAME_SKOPS_TRUSTED"


def library(name: str, files: SubModelFiles) -> Any:
    """A library that a sub-model needs. Raises ModelError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if error.name != package:
            raise
        raise ModelError(
            f"it needs {package}, which is not installed.", where=files.id, hint=f"Install it: pip install {package}"
        ) from error


def deserialize(files: SubModelFiles, name: str, form: str) -> Any:
    """The object in a skops, cloudpickle, pickle or joblib file.

    Deserialising can run code. Bytes are verified against the bundle's digests first, and
    ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`` is honoured as MLflow does, for skops too.
    Raises ModelError for what is not allowed here.
    """
    if os.environ.get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true").lower() in ("false", "0"):
        raise ModelError(
            "deserialising it is not allowed here.",
            where=files.id,
            hint="MLFLOW_ALLOW_PICKLE_DESERIALIZATION is false; set it to true to load models that you trust.",
        )
    data = files.read(name)
    if form == "skops":
        return _skops(bytes(data), files)
    if form == "cloudpickle":
        return library("cloudpickle", files).loads(data)
    if form == "pickle":
        return pickle.loads(data)  # noqa: S301 - verified bytes of a model that the user chose
    if form == "joblib":
        return library("joblib", files).load(io.BytesIO(data))
    raise ModelError(f"serialization format {form!r} is not known.", where=files.id, hint="Use loader: pyfunc.")


def _skops(data: bytes, files: SubModelFiles) -> Any:
    """From a skops file whose types are all trusted: by skops, by us, or by whoever runs this process."""
    skops = library("skops.io", files)
    more = {name.strip() for name in os.environ.get(_VARIABLE, "").split(",")}
    # Handing skops the few that it asks for is several times faster than the whole list.
    asked = skops.get_untrusted_types(data=data)
    if missing := [name for name in asked if name not in TRUSTED and name not in more]:
        raise ModelError(
            f"its skops file has types that are not trusted: {', '.join(missing)}.",
            where=files.id,
            hint=f"If you trust these types, set {_VARIABLE}={','.join(missing)} where the router "
            f"is served, and bundle.skops_trusted=[{','.join(missing)}] where it is built.",
        )
    return skops.loads(data, trusted=asked)
