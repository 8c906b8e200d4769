"""MLflow's view of a router: a PythonModel. The only place where our errors become MLflow's."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.pyfunc.model import PythonModel

from mmeframe.bundle import Bundle, artifact
from mmeframe.errors import MmeframeError
from mmeframe.rows.answers import for_json
from mmeframe.runtime.deployment import Deployment, is_nested
from mmeframe.runtime.router import Router

__all__ = ["RouterModel"]

BUNDLE = "bundle"

# MLflow's error codes by ours; each has its HTTP status.
_CODES = {"unknown_key": RESOURCE_DOES_NOT_EXIST, "bad_input": INVALID_PARAMETER_VALUE}


# Set by MLflow in processes that answer in JSON.
_SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


class _RouterError(MlflowException):
    """Keeps its text: MLflow's server would put the caller's rows before it."""

    @property
    def message(self) -> str:
        return str(self.args[0])

    @message.setter
    def message(self, text: str) -> None:
        """What MLflow sets is the same, or has the rows in it."""


class RouterModel(PythonModel):
    """Made by the entrypoint script; it never defines ``__call__``, which MLflow would take for a function model."""

    router: Router

    def load_context(self, context: Any) -> None:
        """Open the bundle. ``MMEFRAME_EXPECT_DIGEST`` refuses any other than the one that was built."""
        # A sub-model may itself be a router: variables mean the outermost one. As they are now: a copy has the same.
        environ = {} if is_nested() else {name: it for name, it in os.environ.items() if name.startswith("MMEFRAME_")}
        expect = environ.get("MMEFRAME_EXPECT_DIGEST")
        bundle = Bundle(context.artifacts[BUNDLE], expect)
        root = next((it for it in bundle.folder.absolute().parents if (it / "MLmodel").is_file()), None)
        code = None
        if root is not None:
            artifact.check(root, bundle.manifest, strict=expect is not None)
            code = root / artifact.CODE
        deployment = Deployment(getattr(context, "model_config", None) or {}, environ)
        self.router = Router(bundle, code if code is not None and code.is_file() else None, deployment)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Score a batch. Errors keep their meaning: 404 for unknown keys, 400 for bad input, 500 for the rest."""
        del context
        try:
            answer = self.router.predict(model_input, params)
        except MmeframeError as error:
            raise _RouterError(str(error), error_code=_CODES.get(error.code, INTERNAL_ERROR)) from error
        return for_json(answer) if os.environ.get(_SERVING) == "true" else answer
