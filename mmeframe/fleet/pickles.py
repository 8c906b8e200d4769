"""What a pickle would import, read without loading it: nothing of it runs."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator, Mapping
from typing import Any

from mmeframe.errors import Problem

__all__ = ["OF_A_SESSION", "PICKLES", "holds_code", "of_main", "session_problem"]

# What to do about a class that only the session has in which it was made.
OF_A_SESSION = (
    "Its class was made in a notebook or a script, where nobody else finds it. Write it with cloudpickle, which keeps "
    'such a class with the model (MLflow: serialization_format="cloudpickle"); or put the class into a module and log '
    "the model with code_paths=[<file>]."
)

# Suffixes of files that are pickles, alone or with other data behind.
PICKLES = (".pkl", ".pickle", ".cloudpickle", ".joblib", ".dill", ".statsmodels")
_MAIN = "__main__"
# What stands in a pickle that makes functions or classes of the bytecode that it holds.
_BY_VALUE = (b"cloudpickle", b"dill", b"marshal", b"CodeType")
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}


def holds_code(data: bytes) -> bool:
    """Whether a pickle may hold bytecode, which only the Python that wrote it can run; it does not say which did."""
    return any(name in data for name in _BY_VALUE)


def of_main(data: bytes) -> str | None:
    """The first name that a pickle takes from ``__main__``, None if there is none.

    What cloudpickle stores by value only says where it came from, and needs no such module.
    """
    # Most have none, and going through a large one takes a while.
    if _MAIN.encode() not in data:
        return None
    try:
        return next((name for module, name in _names(data) if module == _MAIN), None)
    except Exception:  # noqa: BLE001 - it is damaged, or no pickle all through: loading it will tell
        return None


def _names(data: bytes) -> Iterator[tuple[str, str]]:
    """Module and name of each class or function that a pickle asks for by them."""
    memo: dict[int, str | None] = {}
    texts: list[str] = []
    # What was pushed last, if it was a text.
    top: str | None = None
    given: Any
    for code, given, _ in pickletools.genops(data):
        if code.name == "MEMOIZE" or code.name in _PUTS:
            memo[len(memo) if given is None else int(given)] = top
            continue
        if code.name in ("GLOBAL", "INST"):
            module, _, name = given.partition(" ")
            yield module, name
        elif code.name == "STACK_GLOBAL" and len(texts) > 1:
            yield texts[-2], texts[-1]
        top = given if code.name in _TEXTS else memo.get(int(given)) if code.name in _GETS else None
        if top is not None:
            texts.append(top)


def session_problem(where: str, files: Mapping[str, bytes]) -> Problem | None:
    """What is wrong with pickles that need what only the session that wrote them has."""
    for name, data in files.items():
        missing = of_main(data) if name.endswith(PICKLES) else None
        if missing is not None:
            what = f"{name} needs {missing!r} of __main__, which only the session that wrote it has."
            return Problem(where, what, OF_A_SESSION, "fleet")
    return None
