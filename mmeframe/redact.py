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

_USER_INFO = re.compile(r"(?<=://)[^/?#\s'\"]+@")
_QUERY = re.compile(r"(?<=://)([^?\s'\"]*)\?[^\s'\",}\]]*")
_SECRET_NAME = re.compile(
    r"pass(word|wd)?\d*$|pwd|passphrase|secret|token|credential|authorization|connection_?string"
    r"|(api|access|private|account)_?key|sas\d*$",
    re.IGNORECASE,
)
# In a Hydra override: a key of a map, then what its value may be.
_KEY = re.compile(r"([A-Za-z_]\w*)\s*:\s*(?!//)")
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


def redact(text: str) -> str:
    """Every URI in ``text`` without user info and query."""
    return _QUERY.sub(r"\1", _USER_INFO.sub("", text))


def _names_a_place(value: str) -> bool:
    """Whether a value is an interpolation without a default: it says where a secret is, not what it is."""
    return value.startswith("${") and value.endswith("}") and "," not in value


def redact_tree(value: Any, name: str = "") -> Any:
    """A config tree with secrets replaced: URIs cleaned, everything below a secret-sounding name hidden.

    An interpolation such as ``${oc.env:TOKEN}`` is kept.
    """
    secret = _SECRET_NAME.search(name) is not None
    if isinstance(value, Mapping):
        return {key: redact_tree(item, name if secret else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_tree(item, name) for item in value]
    if isinstance(value, str):
        if _names_a_place(value):
            return value
        return HIDDEN if secret and value else redact(value)
    return HIDDEN if secret and value is not None and not isinstance(value, bool) else value


def redact_override(override: str) -> str:
    """One Hydra override; a map or list in its value is searched for secret-sounding names too."""
    name, equals, value = override.partition("=")
    if equals and _SECRET_NAME.search(name) and not _names_a_place(value):
        return f"{name}={HIDDEN}"
    return redact(f"{name}{equals}{_hide_inside(value)}")


def _hide_inside(value: str) -> str:
    """Replace the values of secret-sounding keys in ``{a: b, c: [d, {e: f}]}``."""
    found, at = "", 0
    while match := _KEY.search(value, at):
        found += value[at : match.end()]
        at = match.end()
        if _SECRET_NAME.search(match[1]):
            at = _end_of_value(value, at)
            found += HIDDEN
    return found + value[at:]


def _end_of_value(value: str, start: int) -> int:
    """Where the value that begins at ``start`` ends: quotes and nested brackets are one."""
    depth, at = 0, start
    while at < len(value):
        if quoted := _QUOTED.match(value, at):
            at = quoted.end()
            continue
        letter = value[at]
        if depth == 0 and letter in ",}]":
            return at
        depth += (letter in "{[") - (letter in "}]")
        at += 1
    return at
