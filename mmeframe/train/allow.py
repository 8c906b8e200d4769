"""What the config of a training may name to be imported.

A config runs no code that whoever runs it has not allowed: it may name scikit-learn's estimators. More is allowed by
``--allow`` and ``MMEFRAME_ALLOW``, never by the config itself.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Collection, Iterable
from typing import Any

from mmeframe.errors import ConfigError, UsageError, suggest

__all__ = ["allowance", "estimator_class", "table_object"]

_PACKAGES = ("sklearn",)
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*)?")


def allowance(given: Iterable[str]) -> tuple[str, ...]:
    """The values of ``--allow``, and those of the variable, separated by commas.

    Each is a package or a module, whose estimators may be trained, or ``MODULE:NAME``, a table or a function that gives
    one. Raises UsageError for anything else.
    """
    more = os.environ.get("MMEFRAME_ALLOW", "").split(",")
    found = tuple(name.strip() for name in (*given, *more) if name.strip())
    for name in found:
        if not _NAME.fullmatch(name):
            hint = "Name a package, as in xgboost, or a table, as in my_package.tables:sales."
            raise UsageError(f"{name!r} names no package and no table.", where="--allow", hint=hint)
    return found


def table_object(name: str, allow: Collection[str]) -> Any:
    """What ``train.reader.object`` names. Raises ConfigError if it is not allowed, or not there."""
    where = "train.reader.object"
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ConfigError(f"{name!r} names no object.", where=where, hint="Write MODULE:NAME, as in my_tables:sales.")
    if name not in allow:
        raise _refused(name, name, where)
    return _imported(module, attribute, where)


def estimator_class(name: str, allow: Iterable[str]) -> Any:
    """The class that ``train.estimator.class`` names: scikit-learn's, or one that has its protocol.

    Raises ConfigError if it is something else, or if it, or the module that defines it, is not of an allowed package.
    """
    from sklearn.base import BaseEstimator

    where = "train.estimator.class"
    module, _, attribute = name.rpartition(".")
    if not module:
        hint = "Write the whole name, as in sklearn.linear_model.Ridge."
        raise ConfigError(f"{name!r} names no class of a module.", where=where, hint=hint)
    packages = (*_PACKAGES, *allow)
    if not _within(module, packages):
        raise _refused(name, name.partition(".")[0], where)
    kind = _imported(module, attribute, where)
    protocol = all(callable(getattr(kind, method, None)) for method in ("fit", "get_params", "set_params"))
    if not isinstance(kind, type) or not (issubclass(kind, BaseEstimator) or protocol):
        what = f"{name} is no estimator."
        raise ConfigError(what, where=where, hint="Name a class such as sklearn.linear_model.Ridge.")
    # A module has more than what it defines.
    if not _within(kind.__module__, packages):
        raise _refused(f"{kind.__module__}.{kind.__qualname__}", kind.__module__.partition(".")[0], where)
    return kind


def _within(module: str, packages: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def _refused(name: str, cure: str, where: str) -> ConfigError:
    hint = f"If you trust it, add --allow {cure} to the command, or set MMEFRAME_ALLOW={cure}."
    return ConfigError(f"{name!r} is not allowed: it would be imported.", where=where, hint=hint)


def _imported(module: str, attribute: str, where: str) -> Any:
    try:
        home = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{module!r} cannot be imported: {error}.", where=where) from None
    if not hasattr(home, attribute):
        raise ConfigError(f"{module} has no {attribute!r}.", where=where, hint=suggest(attribute, dir(home), "It has"))
    return getattr(home, attribute)
