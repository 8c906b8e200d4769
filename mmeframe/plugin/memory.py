"""How much memory a live object takes: what a byte budget counts."""

from __future__ import annotations

import gc
import pickle
import sys
import types
from typing import Any

__all__ = ["bytes_of"]

# What many objects share, or what belongs to the process: none of it goes away with one sub-model.
_SHARED = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.CodeType,
    types.FrameType,
)
_PLAIN = (int, float, complex, str, bytes, bool, type(None))
# What malloc and the pointers of inlined attributes add to what an object says of itself, in bytes.
_OVERHEAD = 16


def bytes_of(value: Any) -> int:
    """Bytes that go away with an object: everything that it refers to, each counted once.

    Arrays count with the buffers that they own; memory that is mapped from a file belongs to the page cache and counts
    nothing. Objects of extension types that the garbage collector does not look into, such as scikit-learn's trees,
    count with what their pickle holds.
    """
    import numpy as np

    found, seen, waiting = 0, set[int](), [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, _SHARED) or item is None:
            continue
        seen.add(id(item))
        found += sys.getsizeof(item, 0) + _OVERHEAD
        if isinstance(item, _PLAIN):
            continue
        if isinstance(item, np.ndarray):
            # An array says the size of a buffer that it owns; a view's belongs to another object.
            waiting += [item.base] if item.base is not None else []
            waiting += list(item.flat) if item.dtype.hasobject else []
        elif isinstance(item, np.dtype | np.generic | memoryview):
            continue
        elif gc.is_tracked(item) or isinstance(item, dict | tuple | list | set | frozenset):
            waiting += gc.get_referents(item)
        else:
            found += _pickled(item)
    return found


def _pickled(item: Any) -> int:
    """Bytes of an opaque object's state, 0 if it cannot be pickled."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        plain = pickle.dumps(item, protocol=5, buffer_callback=buffers.append)
    except Exception:  # noqa: BLE001 - an object that cannot be pickled says nothing of its size
        return 0
    return len(plain) + sum(buffer.raw().nbytes for buffer in buffers)
