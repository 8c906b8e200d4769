"""Take credentials out of text before it is stored or shown.

Lowest layer: standard library only, below the errors, whose texts pass through here. Two things count as secret: the
user info, query and token-like fragment of a URI, and the value of a key whose name says so. A text that can be read in
two ways is read in the one that hides more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["HIDDEN", "redact", "redact_message", "redact_override", "redact_tree", "sounds_secret"]

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
# What pathlib has made of a URI: https:/user:password@host.
_ONE_SLASH = re.compile(
    r"(?<![\w+.-])((?:https?|s?ftp|ssh|s3[an]?|gc?s|abfss?|wasbs?|adls?|hdfs|mongodb|rediss?|(?:postgres(?:ql)?|mysql"
    r"|mariadb|mssql|oracle|snowflake|sqlite)(?:\+\w++)?):/)(?=[^/\s])",
    re.IGNORECASE,
)
# Nearly no name has any of these.
_MAYBE_SECRET = re.compile(
    r"pass|pwd|secret|token|cred|auth|bearer|jwt|dsn|otp|cookie|[cx]srf|conn|key|sess|sas", re.IGNORECASE
)
# Words of a name, in any way of joining them: api_key, api-key, apiKey, APIKEY. Ends of words too, as in authtoken.
_JOINED = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\W_]++")
_SECRET_NAME = re.compile(
    r"pass_?\d*$|(?:pass_?(?:word|wd|phrase|code)|pwd|secret|token|credential|oauth)s?(?![a-z])"
    r"|(?<![a-z])(?:auth|creds?|bearer|jwt|dsn|otp|cookies?|csrf|xsrf|connection_?string)(?![a-z])|authoriz|authentic"
    r"|(?:api|access|account|auth|aws|azure|client|consumer|db|database|deploy|encrypt(?:ion)?|host|license|master|priv"
    r"|private|root|secret|service|session|shared|sign(?:ing)?|ssh|storage|subscription|user)_?keys?(?![a-z])"
    r"|session_?id(?![a-z])|sas_?\d*$"
)
# Tags have any names; elsewhere a key is what rows are routed by.
_FREE = "tags"
_KEYS = ("key", "keys")
# An interpolation without a literal of its own: of another option, or of the environment.
_PLACE = re.compile(r"(?:\$\{oc\.decode:)*+\$\{(?:oc\.env:\w++|[\w.]++)\}++")
# In a Hydra override: a key of a map, then what its value may be.
_KEY = re.compile(r"(?<!\w)(\w++)\s*+:\s*(?!//)")
# In a message: an override that is quoted there; a version (name==1) is none.
_ASSIGNED = re.compile(r"(?<![\w./@+~-])([\w./@+~-]++)=(?!=)")
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


def redact(text: str) -> str:
    """Every URI in ``text`` without user info, query, and a fragment that has values (``#access_token=...``).

    Redacted text stays as it is when it is redacted again.
    """
    # Paths are no URIs, and there may be many.
    if ":/" not in text:
        return text
    text = _ONE_SLASH.sub(r"\1/", text)
    return _WORD.sub(_clean_word, text) if "://" in text else text


def redact_message(text: str) -> str:
    """A text for people: its URIs, and the rest of a line in which a name that sounds secret is given a value."""
    text = redact(text)
    if "=" in text or "{" in text:
        text = "\n".join(map(_without_values, text.split("\n")))
    return text


def _without_values(line: str) -> str:
    for found in _ASSIGNED.finditer(line):
        if _has_secret_step(found[1]):
            return f"{line[: found.end()]}{HIDDEN}"
    start = line.find("{")
    return line if start < 0 else f"{line[:start]}{_hide_inside(line[start:], _FREE in line[:start])}"


def sounds_secret(name: str, within: str = "") -> bool:
    """Whether a name says that its value is a secret. within: the name above it, since ``key`` counts in tags only."""
    if _MAYBE_SECRET.search(name) is None:
        return False
    return _SECRET_NAME.search(_JOINED.sub("_", name).lower()) is not None or (
        within == _FREE and name.lower() in _KEYS
    )


def _has_secret_step(path: str) -> bool:
    """Whether a name in a config path sounds secret; an override may begin with a sign, and name a package."""
    steps = re.split(r"[./@]", path.lstrip("+~"))
    return any(sounds_secret(step, above) for above, step in zip(["", *steps], steps, strict=False))


def _is_free(path: str) -> bool:
    return _FREE in re.split(r"[./@]", path.lstrip("+~"))


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


def redact_tree(value: Any, name: str = "", within: str = "") -> Any:
    """A config tree with secrets replaced: URIs cleaned, everything below a secret-sounding name hidden.

    name, within: its own name, and that above it. An interpolation such as ``${oc.env:TOKEN}`` says where a secret is,
    not what it is, and is kept.
    """
    secret = sounds_secret(name, within)
    if isinstance(value, Mapping):
        # What is below a secret name has that name.
        below = [(name, within)] * len(value) if secret else [(str(key), name) for key in value]
        return {key: redact_tree(item, *it) for it, (key, item) in zip(below, value.items(), strict=True)}
    if isinstance(value, list | tuple):
        return [redact_tree(item, name, within) for item in value]
    if isinstance(value, str):
        if _PLACE.fullmatch(value):
            return value
        return HIDDEN if secret and value else redact(value)
    return HIDDEN if secret and value is not None and not isinstance(value, bool) else value


def redact_override(override: str) -> str:
    """One Hydra override; a map or list in its value is searched for secret-sounding names too."""
    name, equals, value = override.partition("=")
    if equals and _has_secret_step(name) and not _PLACE.fullmatch(value):
        return f"{name}={HIDDEN}"
    return redact(f"{name}{equals}{_hide_inside(value, _is_free(name))}")


def _hide_inside(value: str, free: bool) -> str:
    """Replace the values of secret-sounding keys in ``{a: b, c: [d, {e: f}]}``. free: it is what tags are."""
    found, at = "", 0
    # Where the tags in it end.
    end = len(value) if free else 0
    while match := _KEY.search(value, at):
        found += value[at : match.end()]
        at = match.end()
        if sounds_secret(match[1], _FREE if at <= end else ""):
            at = _end_of_value(value, at)
            found += HIDDEN
        elif match[1] == _FREE and at > end:
            end = _end_of_value(value, at)
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
