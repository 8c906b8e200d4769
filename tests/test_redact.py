"""No credential gets past redaction, and nothing else is taken away."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.redact import HIDDEN, redact, redact_override, redact_tree

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        pytest.param("https://user:hunter2@host/x", "https://host/x", id="user-info"),
        pytest.param("https://hunter2@host/x", "https://host/x", id="user-only"),
        pytest.param("https://user:hun@ter2@host/x", "https://host/x", id="at-sign-in-password"),
        pytest.param("postgresql+psycopg://u:hunter2@host:5432/db", "postgresql+psycopg://host:5432/db", id="driver"),
        pytest.param("https://host/x?token=hunter2&b=1", "https://host/x", id="query"),
        pytest.param("s3://bucket/key?versionId=hunter2", "s3://bucket/key", id="bucket"),
        pytest.param("https://u:hunter2@a/x?k=hunter2 and s3://b/y?k=1", "https://a/x and s3://b/y", id="two"),
        pytest.param("{uri: https://u:hunter2@a/x?k=hunter2, b: 1}", "{uri: https://a/x, b: 1}", id="in-braces"),
        pytest.param("'https://u:hunter2@a/x?k=1' is down", "'https://a/x' is down", id="in-quotes"),
        pytest.param("models:/m@champion", "models:/m@champion", id="alias-stays"),
        pytest.param("runs:/abc/model", "runs:/abc/model", id="run-stays"),
        pytest.param("me@example.org asks: why?", "me@example.org asks: why?", id="mail-stays"),
        pytest.param("file:///a/b@c/d", "file:///a/b@c/d", id="at-sign-in-path-stays"),
        pytest.param("", "", id="empty"),
    ],
)
def test_redact(text, clean):
    """A URI loses its user info and its query, and nothing else."""
    assert redact(text) == clean


PASSWORDS = ["password", "db_password", "passwd", "PASS", "passphrase", "secret", "client_secret", "credentials"]
KEYS = ["token", "hf_token_file", "api_key", "apikey", "aws_access_key_id", "private_key", "adls_sas"]


@pytest.mark.parametrize("name", [*PASSWORDS, *KEYS])
def test_secret_names(name):
    """The value of a key whose name says so is hidden, text or number."""
    assert redact_tree({name: SECRET, "n": {name: 1234}}) == {name: HIDDEN, "n": {name: HIDDEN}}


@pytest.mark.parametrize("name", ["user", "passenger", "compass_x", "key", "keys", "bypass_cache", "column"])
def test_other_names(name):
    """Names that only sound a little like secrets keep their values."""
    assert redact_tree({name: "plain", "n": [{name: 7}]}) == {name: "plain", "n": [{name: 7}]}


@pytest.mark.parametrize(
    ("tree", "clean"),
    [
        pytest.param({"tokens": ["a", "b"]}, {"tokens": [HIDDEN, HIDDEN]}, id="list"),
        pytest.param({"secret": {"name": SECRET}}, {"secret": {"name": HIDDEN}}, id="map"),
        pytest.param({"uris": ["s3://u:p@h/x"]}, {"uris": ["s3://h/x"]}, id="uri-in-a-list"),
        pytest.param({"token": "${oc.env:TOKEN}"}, {"token": "${oc.env:TOKEN}"}, id="interpolation-stays"),
        pytest.param({"token": "${oc.env:TOKEN,hunter2}"}, {"token": HIDDEN}, id="interpolation-with-a-default"),
        pytest.param({"token": "a${oc.env:TOKEN}"}, {"token": HIDDEN}, id="text-around-an-interpolation"),
        pytest.param({"token": None, "secret": ""}, {"token": None, "secret": ""}, id="nothing-to-hide"),
        pytest.param({"use_token": True}, {"use_token": True}, id="switch"),
        pytest.param({1: ("a", 2.5)}, {1: ["a", 2.5]}, id="other-values"),
    ],
)
def test_redact_tree(tree, clean):
    """Everything below a secret name is hidden; an interpolation names where a secret is, and stays."""
    assert redact_tree(tree) == clean


@pytest.mark.parametrize(
    ("override", "clean"),
    [
        pytest.param("tracking.token=hunter2", "tracking.token=***", id="name"),
        pytest.param("+db.password='hunter2 x'", "+db.password=***", id="quoted"),
        pytest.param("x.token=${oc.env:TOKEN}", "x.token=${oc.env:TOKEN}", id="interpolation-stays"),
        pytest.param("x.token=${oc.env:TOKEN,hunter2}", "x.token=***", id="interpolation-with-a-default"),
        pytest.param("x={password: hunter2, b: 1}", "x={password: ***, b: 1}", id="map"),
        pytest.param("x={a: {password: hunter2}, b: 1}", "x={a: {password: ***}, b: 1}", id="nested-map"),
        pytest.param("uri=https://u:hunter2@h/x?k=1", "uri=https://h/x", id="uri"),
        pytest.param("x=[s3://u:hunter2@h/x,b]", "x=[s3://h/x,b]", id="uri-in-a-list"),
        pytest.param("routing=column", "routing=column", id="plain"),
        pytest.param("~sources.days", "~sources.days", id="deletion"),
    ],
)
def test_redact_override(override, clean):
    """An override keeps its form, without what is secret in it."""
    assert redact_override(override) == clean


@pytest.mark.parametrize(
    "override",
    [
        pytest.param("x={password: 'a hunter2', b: 1}", id="space-in-quotes"),
        pytest.param("x={password: 'a,hunter2', b: 1}", id="comma-in-quotes"),
        pytest.param("x={tokens: [a, hunter2], b: 1}", id="list"),
        pytest.param("x=[{token: hunter2}]", id="map-in-a-list"),
        pytest.param("x={api_key2: hunter2}", id="digit-in-the-name"),
        pytest.param("x={secret: {value: hunter2}}", id="map-below-a-secret-name"),
        pytest.param("x={uri: https://u:hunter2@h/x}", id="uri-in-a-map"),
    ],
)
def test_no_secret_stays_in_an_override(override):
    """However a secret is written into a value, it does not come out."""
    assert SECRET not in redact_override(override)


WORD = st.text("abcXYZ019-._~%!$&+;=", min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(scheme=st.sampled_from(["https", "s3", "sqlite"]), host=WORD, path=WORD, user=WORD, query=WORD)
def test_user_info_and_query_never_stay(scheme, host, path, user, query):
    """A URI with user info and query is the URI without them."""
    clean = f"{scheme}://{host}/{path}"

    assert redact(f"{scheme}://{user}:{query}@{host}/{path}?{query}") == clean
