"""pytest, or what to do where it is not installed: mmeframe does not depend on it."""

from __future__ import annotations

try:
    import pytest
except ModuleNotFoundError as error:
    if error.name != "pytest":
        raise
    raise ImportError("mmeframe.testing needs pytest, which is not installed.\n  pip install pytest") from None

__all__ = ["pytest"]
