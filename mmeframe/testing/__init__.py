"""What authors of plugins and of configs test with: the conformance kit and a pytest plugin. See ``docs/testing.md``.

Public API, versioned with mmeframe. Nothing else in the package imports it, and no router carries it. Importing it
imports nothing heavy: the pytest plugin is part of every pytest run of an environment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmeframe.testing.cases import (
        Case,
        CombinerCase,
        LoaderCase,
        ObserverCase,
        SourceCase,
        StrategyCase,
    )
    from mmeframe.testing.check import Check
    from mmeframe.testing.checks.strategy import bound, keys_of
    from mmeframe.testing.conformance import (
        CombinerConformance,
        ModelLoaderConformance,
        ModelSourceConformance,
        ObserverConformance,
        RoutingStrategyConformance,
        checks_of,
        parametrize_with_checks,
    )

__all__ = [
    "Case",
    "Check",
    "CombinerCase",
    "CombinerConformance",
    "LoaderCase",
    "ModelLoaderConformance",
    "ModelSourceConformance",
    "ObserverCase",
    "ObserverConformance",
    "RoutingStrategyConformance",
    "SourceCase",
    "StrategyCase",
    "bound",
    "checks_of",
    "keys_of",
    "parametrize_with_checks",
]

_HOMES = {
    "Check": "check",
    "bound": "checks.strategy",
    "keys_of": "checks.strategy",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mmeframe.testing' has no attribute {name!r}")
    home = _HOMES.get(name) or ("cases" if name.endswith("Case") else "conformance")
    return getattr(importlib.import_module(f"mmeframe.testing.{home}"), name)
