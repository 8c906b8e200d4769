"""mmeframe: many models behind one endpoint.

Config names things, plugins provide them, ``build`` turns names into files, ``runtime`` turns files into
predictions. Importing the package imports nothing heavy; the functions of ``mmeframe.api`` load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mmeframe._version import __version__

if TYPE_CHECKING:
    from mmeframe.api import build, compose, coverage, explain, load_router, plan, predict_table, show, train, validate

__all__ = [
    "__version__",
    "build",
    "compose",
    "coverage",
    "explain",
    "load_router",
    "plan",
    "predict_table",
    "show",
    "train",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in __all__ or name == "api":
        try:
            api = importlib.import_module("mmeframe.api")
        except ModuleNotFoundError as error:
            if error.name != "mmeframe.api":
                raise
            # A router's archive has what serving needs, and stands first where other code, or none, is installed.
            raise ImportError(
                f"this mmeframe is the copy inside a router that was loaded, and has no {name!r}.\n"
                "  Use it in another process, or build the router again with the mmeframe that is installed."
            ) from None
        return api if name == "api" else getattr(api, name)
    raise AttributeError(f"module 'mmeframe' has no attribute {name!r}")
