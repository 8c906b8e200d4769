"""``loader: onnx``: what MLflow's onnx flavor has saved, by ONNX Runtime, without pyfunc around it.

All that serving imports; it must not import ``plugin``, because no plugin is discovered there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar

from mmeframe.plugin import LoaderConf, ModelError, ModelLoader, SubModel, SubModelFiles, suggest
from pydantic import Field

from mmeframe_onnx.model import OnnxModel

__all__ = ["OnnxConf", "OnnxLoader"]

# Every tensor that lies outside of the model file names its file under this key.
_OUTSIDE = b"location"
# Folders of a model that it does not load from.
_BESIDE = ("code/", "extra_files/")
# Bytes in memory: of a session by itself; for a byte of its file, where it has trees and where it has none; for a byte
# of weights in files of their own. Measured over sessions of ten kinds of models: within a factor of two for all.
_SESSION, _TREES, _OTHERS, _WEIGHTS = 70_000, 6.3, 2.0, 1.0
_HAS_TREES = b"TreeEnsemble"


@dataclass
class OnnxConf(LoaderConf):
    """Options of ``loader: {kind: onnx}``."""

    # Threads that one prediction of one sub-model may use; 0: as many as ONNX Runtime likes. It takes the place of what
    # the model was logged with: a router has many sub-models, and rows of several requests at a time.
    threads: Annotated[int, Field(ge=0, le=256, strict=True)] = 1
    # Names of the outputs that are the answer, in this order; none: all of them, as MLflow answers.
    outputs: list[str] = field(default_factory=list)
    # Execution providers, in the order to try them.
    providers: Annotated[list[str], Field(min_length=1)] = field(default_factory=lambda: ["CPUExecutionProvider"])


class OnnxLoader(ModelLoader[OnnxConf]):
    """Load ``model.onnx`` from its bytes; from an unpacked folder only where weights lie in files of their own.

    ONNX holds a graph of operators and its weights, and no code. A session may be asked by several threads at once.
    """

    knows_classes: ClassVar[bool] = True

    def keep(self, names: Sequence[str], options: Mapping[str, Any]) -> Iterable[str]:
        # Which files hold weights, only the model itself says.
        del options
        return [name for name in names if not name.startswith(_BESIDE)]

    def distributions(self, options: Mapping[str, Any]) -> Iterable[str]:
        del options
        return ["onnxruntime"]

    def runs_code(self, names: Sequence[str], options: Mapping[str, Any]) -> bool:
        del names
        # These are texts for ONNX Runtime itself, which may name files of the machine.
        return bool(_logged(options).get("extra_session_config"))

    def load(self, files: SubModelFiles) -> SubModel:
        import onnxruntime

        known = onnxruntime.get_available_providers()
        for name in self.conf.providers:
            if name not in known:
                raise ModelError(
                    f"this ONNX Runtime has no execution provider {name!r}.", where=files.id, hint=suggest(name, known)
                )
        name = files.options["data"]
        data = bytes(files.read(name))
        source: Any = data
        size = _SESSION + len(data) * (_TREES if _HAS_TREES in data else _OTHERS)
        if _OUTSIDE in data:
            root = files.folder()
            source = str(root / name)
            weights = [it for it in self.keep(files.names, files.options) if it != name]
            size += _WEIGHTS * sum((root / it).stat().st_size for it in weights)
        session = onnxruntime.InferenceSession(
            source, self._settings(onnxruntime, _logged(files.options)), providers=self.conf.providers
        )
        names = [node.name for node in session.get_outputs()]
        for output in self.conf.outputs:
            if output not in names:
                raise ModelError(
                    f"it has no output {output!r}.", where=files.id, hint=suggest(output, names, "Its outputs")
                )
        return OnnxModel(session, self.conf.outputs or names, int(size), files.id, partial(files.read, name))

    def for_arrays(self, model: SubModel) -> SubModel | None:
        """The same for a model of one input, which is a matrix; several inputs go by the names of columns."""
        return model if isinstance(model, OnnxModel) and model.takes_matrix else None

    def size(self, model: SubModel) -> int:
        """From what its files take: the session is outside of Python."""
        assert isinstance(model, OnnxModel)  # noqa: S101 - this loader makes no other
        return model.bytes

    def _settings(self, onnxruntime: Any, logged: Mapping[str, Any]) -> Any:
        """Settings of a session as the model was logged with them, but for threads."""
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = self.conf.threads
        # An arena keeps what the largest batch took, and there may be thousands of sessions.
        settings.enable_cpu_mem_arena = False
        # Errors are raised; a line in the log for each sub-model helps nobody.
        settings.log_severity_level = 4
        if mode := logged.get("execution_mode"):
            settings.execution_mode = getattr(onnxruntime.ExecutionMode, f"ORT_{mode.upper()}")
        if level := logged.get("graph_optimization_level"):
            settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel(level)
        for key, value in (logged.get("extra_session_config") or {}).items():
            settings.add_session_config_entry(key, value)
        return settings


def _logged(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return options.get("onnx_session_options") or {}
