"""``--params``: what a request would carry beside its rows."""

from __future__ import annotations

import json
from typing import Any

from mmeframe.errors import UsageError

__all__ = ["params", "routing_params"]


def params(text: str | None) -> dict[str, Any]:
    """Raises UsageError for a text that is no JSON object, and for an ``annotate`` that is no bool."""
    if text is None:
        return {}
    hint = """For instance '{"dow": 1}'."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"this is not JSON: {error}.", where="--params", hint=hint) from None
    if not isinstance(found, dict):
        raise UsageError("this must be a JSON object.", where="--params", hint=hint)
    if not isinstance(found.get("annotate", False), bool):
        raise UsageError("annotate must be true or false.", where="--params")
    return found


def routing_params(text: str | None) -> dict[str, Any]:
    """Those that may decide where a row goes."""
    return {name: value for name, value in params(text).items() if name != "annotate"}
