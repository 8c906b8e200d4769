"""Make a component from its recorded names. The one place that imports what a config or a bundle names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmeframe.errors import PluginError
from mmeframe.option_types import adapter_of
from mmeframe.plugin.interfaces import ModelLoader
from mmeframe.spec import ComponentSpec

__all__ = ["holds_pickles", "import_target", "make_component", "runs_code"]

_CODE = "code/"
# Suffixes of files that are pickles, or have some in them.
_PICKLES = (".pkl", ".pickle", ".cloudpickle", ".joblib", ".dill", ".pt", ".pth", ".statsmodels")


def import_target(target: str) -> Any:
    """The object behind ``package.module:Name``. Raises PluginError saying what is missing."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise PluginError(f"cannot import {target}: {error}") from error
    except AttributeError:
        raise PluginError(f"module {module} has no {name!r}.", where=target) from None


def make_component(component: ComponentSpec) -> Any:
    """A fresh component: its config dataclass filled with the options, its class called with it."""
    options: Mapping[str, Any] = component.options
    conf = adapter_of(import_target(component.config)).validate_python(dict(options))
    return import_target(component.target)(conf)


def runs_code(loader: ModelLoader[Any], names: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Whether making a sub-model live can run code of its files: its loader knows, or it ships modules."""
    return any(name.startswith(_CODE) for name in names) or loader.runs_code(names, options)


def holds_pickles(component: ComponentSpec, names: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Whether a sub-model is made of pickles, which only the Python that wrote them reads for certain."""
    loader: ModelLoader[Any] = make_component(component)
    if not loader.runs_code(names, options):
        return False
    # What MLflow loads may be of any kind.
    return component.kind != "pyfunc" or any(name.endswith(_PICKLES) for name in names if not name.startswith(_CODE))
