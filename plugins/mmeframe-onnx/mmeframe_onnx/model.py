"""A live ONNX model: frames and arrays in, what MLflow's pyfunc flavor answers out. Knows no configs and no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mmeframe.plugin import ModelError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

__all__ = ["OnnxModel"]

# Types of tensors -> numpy's; others are handed over as they are.
_TYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


# How attributes of a classifier begin that hold its labels, and what skl2onnx calls an array of them, where ONNX has no
# operator for the classifier.
_LABELS, _CLASSES = b"classlabels", b"classes"


class OnnxModel:
    """A session of ONNX Runtime with ``predict``. Immutable; shared by threads.

    outputs: names of what it answers with. bytes: of memory that it takes. name: its id, for messages. read: gives its
    file again.
    """

    def __init__(
        self, session: Any, outputs: Sequence[str], bytes_: int, name: str, read: Callable[[], memoryview]
    ) -> None:
        self.session, self.bytes, self._read = session, bytes_, read
        self._outputs, self._name = list(outputs), name
        self._inputs = [(node.name, _TYPES.get(node.type), len(node.shape)) for node in session.get_inputs()]

    @property
    def takes_matrix(self) -> bool:
        """Whether all columns are one input."""
        return len(self._inputs) == 1

    @property
    def classes_(self) -> tuple[Any, ...] | None:
        """The labels of a classifier, in the order of its probabilities; None if its graph names none, or several.

        Only a build asks, and needs the package onnx. Raises ModelError without it.
        """
        data = bytes(self._read())
        if _LABELS not in data and _CLASSES not in data:
            return None
        try:
            import onnx
        except ModuleNotFoundError as error:
            raise ModelError(
                "the package onnx, which reads the classes of its probabilities, is not installed.",
                where=self._name,
                hint="Install it where the router is built: pip install onnx",
            ) from error
        graph = onnx.load_model_from_string(data).graph
        named = [it for node in graph.node for it in node.attribute if it.name.startswith(_LABELS.decode())]
        found = [tuple(text.decode() for text in it.strings) or tuple(it.ints) for it in named]
        arrays = [it for it in graph.initializer if it.name == _CLASSES.decode()]
        found += [tuple(onnx.numpy_helper.to_array(it).tolist()) for it in arrays]
        return found[0] if len(set(found)) == 1 else None

    def predict(self, data: pd.DataFrame | Array) -> pd.DataFrame | Array:
        """A frame with a column for each output; a table where the only output has several values in a row.

        data: a frame; or an array of shape (n_rows, columns), which only a model that ``takes_matrix`` understands, and
        which is answered with an array where there is one output.
        """
        import numpy as np
        import pandas as pd

        answers = [np.asarray(it) for it in self.session.run(self._outputs, self._feed(data))]
        # One value per row, however it is nested.
        columns = [it.reshape(-1) if it.size == len(it) else it for it in answers]
        if len(columns) == 1 and (columns[0].ndim > 1 or isinstance(data, np.ndarray)):
            return columns[0].reshape(len(columns[0]), -1)
        for name, column in zip(self._outputs, columns, strict=True):
            if column.ndim > 1:
                raise ModelError(
                    f"its output {name!r} has several values in a row, beside other outputs.",
                    where=self._name,
                    hint=f"Choose what it answers: loader: {{kind: onnx, outputs: [{name}]}}.",
                )
        return pd.DataFrame(dict(zip(self._outputs, columns, strict=True)), copy=False)

    def _feed(self, data: Any) -> dict[str, Array]:
        import numpy as np

        if self.takes_matrix:
            ((name, kind, _),) = self._inputs
            return {name: _as(data if isinstance(data, np.ndarray) else data.to_numpy(), kind)}
        feed = {name: _as(data[name].to_numpy(), kind) for name, kind, _ in self._inputs}
        # A column is a vector to MLflow; converters declare it as a matrix of one column.
        return {name: feed[name].reshape(-1, 1) if rank == 2 else feed[name] for name, _, rank in self._inputs}


def _as(values: Array, kind: str | None) -> Array:
    """Values in the type of a tensor, which may lose digits after the point and nothing else; else a TypeError."""
    if kind is None or values.dtype == kind:
        return values
    return values.astype(kind, casting="same_kind" if kind.startswith("float") else "safe")
