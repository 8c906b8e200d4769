"""Take credentials out of text before it is stored or shown.

Lowest layer: standard library only. Two things count as secret: the user info and query of a URI, and the value of a
key whose name says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["HIDDEN", "redact", "redact_override", "redact_tree"]

HIDDEN = "***"

_USER_INFO = re.compile(r"(?<=://)[^/@\s'\"]+@")
_QUERY = re.compile(r"(?<=://)([^?\s'\"]*)\?[^\s'\",}\]]*")
_SECRET_NAME = re.compile(
    r"pass(word|wd)?$|passphrase|secret|token|credential|api_?key|access_?key|private_?key|sas$", re.IGNORECASE
)


def redact(text: str) -> str:
    """Every URI in ``text`` without user info and query."""
    return _QUERY.sub(r"\1", _USER_INFO.sub("", text))


def redact_tree(value: Any, name: str = "") -> Any:
    """A config tree with secrets replaced: URIs cleaned, values of secret-sounding keys hidden.

    An interpolation such as ``${oc.env:TOKEN}`` is kept: it names where the secret is, not what it is.
    """
    if isinstance(value, Mapping):
        return {key: redact_tree(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_tree(item, name) for item in value]
    if isinstance(value, str):
        if value.startswith("${") and value.endswith("}") and "," not in value:
            return value
        return HIDDEN if _SECRET_NAME.search(name) and value else redact(value)
    return HIDDEN if value is not None and not isinstance(value, bool) and _SECRET_NAME.search(name) else value


def redact_override(override: str) -> str:
    """One Hydra override; a value that is more than a plain word is cleaned as text."""
    name, equals, value = override.partition("=")
    if equals and _SECRET_NAME.search(name) and not value.startswith("${"):
        return f"{name}={HIDDEN}"
    # A secret inside {a: b} or [..] has its own name there.
    inner = re.sub(
        r"([A-Za-z_]+)(\s*:\s*)([^,}\]\s]+)",
        lambda m: m.group(1) + m.group(2) + HIDDEN if _SECRET_NAME.search(m.group(1)) else m.group(0),
        value,
    )
    return redact(f"{name}{equals}{inner}")
