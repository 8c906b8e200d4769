"""Take credentials out of text before it is stored or shown.

Lowest layer: standard library only. Two things count as secret: the user info, query and token-like fragment of a URI,
and the value of a key whose name says so. A text that can be read in two ways is read in the one that hides more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["HIDDEN", "redact", "redact_override", "redact_tree"]

HIDDEN = "***"

# All patterns take time linear in the text: a repetition is possessive, or ends where the next attempt begins.
_VALUE = r"""(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z))"""
# What pip reads in a fragment is no secret.
_PIP = r"""(?:(?:egg|subdirectory|md5|sha\d{1,3})=[\w.+%/\[\]-]++&?)++(?![^\s'",}\]])"""
_FRAGMENT = rf"""[#](?!{_PIP})[^\s'"#?=,}}\]]*+="""
# Where a quote begins a value of a query (?a="b c") and does not end the word: one that stands before the word ends it.
_OPENS = r"""(?:(?<==\\)|(?<==)(?(open)(?!(?P=open))))"""
# Text up to a space or quote, and what follows its first :// if it has one.
_WORD = re.compile(
    rf"""
    (?P<open>['"])?+
    (?P<head> (?:(?!://)[^\s'"])*+ )
    (?: ://
        (?P<rest>
            (?: [^\s'"?#]++ | (?!{_FRAGMENT})[#] )*+
            (?: [?#] (?: [^\s'"]++ | {_OPENS}{_VALUE} )*+ )?
        )
    )?
    """,
    re.VERBOSE,
)
# A query goes on after a comma or bracket where another parameter follows.
_QUERY = re.compile(rf"(?:\?|{_FRAGMENT})(?:[^,}}\]]|[,}}\]](?=[^,}}\]:/]*[=&]))*+")
_NEXT_URI = re.compile(r"(?=,[A-Za-z][A-Za-z0-9+.-]*+://)")
_AUTHORITY = re.compile(r"(https?|ssh)?://([^/?#]*+)")
# A host and its port: "localhost:5000/" does not begin "user:password". Without a dot it may be a user, and is no host.
_HOST = re.compile(r"(?:[^:@]*+@)?+(?:localhost|(?=[^:@]*\.)[^:@\[\]]*+|\[[0-9A-Fa-f:.]*+\])(?::\d{0,5})?")
_SECRET_NAME = re.compile(
    r"pass(word|wd)?\d*$|pwd|passphrase|secret|token|credential|authorization|connection_?string"
    r"|(api|access|private|account)_?key|sas\d*$",
    re.IGNORECASE,
)
# In a Hydra override: a key of a map, then what its value may be.
_KEY = re.compile(r"(?<!\w)(\w++)\s*+:\s*(?!//)")
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


def redact(text: str) -> str:
    """Every URI in ``text`` without user info, query, and a fragment that has values (``#access_token=...``).

    Redacted text stays as it is when it is redacted again.
    """
    # Paths are no URIs, and there may be many.
    return _WORD.sub(_clean_word, text) if "://" in text else text


def _clean_word(match: re.Match[str]) -> str:
    if match["rest"] is None:
        return match[0]
    uris = f"{match['head']}://{re.sub(_VALUE, '', match['rest'])}"
    return (match["open"] or "") + "".join(_clean_uri(uri) for uri in _NEXT_URI.split(uris))


def _clean_uri(uri: str) -> str:
    head, mark, rest = _without_user_info(uri).partition("://")
    # Once more, because https://h?k,u:p@x is https://h,u:p@x without its query.
    return _without_user_info(f"{head}{mark}{_QUERY.sub('', rest)}")


def _without_user_info(uri: str) -> str:
    """What begins like ``user:password`` is user info up to the last @, since passwords hold / and #.

    A user without a password ends before the path, so that ``https://host/path@version`` stays.
    """
    clean, at, last = "", 0, uri.rfind("@") + 1
    for match in _AUTHORITY.finditer(uri):
        start, authority = match.start(2), match[2]
        if not at <= start < last:
            break
        clean += uri[at:start]
        is_host = ":" not in authority or (match[1] and _HOST.fullmatch(authority))
        at = start + authority.rfind("@") + 1 if is_host else last
    return clean + uri[at:]


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
    """Where the value that begins at ``start`` ends: quotes and nested brackets are one; an open quote has no end."""
    depth, at = 0, start
    while at < len(value):
        if quoted := _QUOTED.match(value, at):
            at = quoted.end()
            continue
        letter = value[at]
        if letter in "'\"":
            return len(value)
        if depth == 0 and letter in ",}]":
            return at
        depth += (letter in "{[") - (letter in "}]")
        at += 1
    return at
