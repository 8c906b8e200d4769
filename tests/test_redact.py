"""No credential gets past redaction, and nothing else is taken away."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.redact import HIDDEN, redact, redact_message, redact_override, redact_tree

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        pytest.param("https://user:hunter2@host/x", "https://host/x", id="user-info"),
        pytest.param("https://hunter2@host/x", "https://host/x", id="user-only"),
        pytest.param("https://user:hun@ter2@host/x", "https://host/x", id="at-sign-in-password"),
        pytest.param("postgresql+psycopg://u:hunter2@host:5432/db", "postgresql+psycopg://host:5432/db", id="driver"),
        pytest.param("https://host/x?token=hunter2&b=1", "https://host/x", id="query"),
        pytest.param("postgresql://user:pa/ss#w@host/db", "postgresql://host/db", id="slash-and-hash-in-password"),
        pytest.param("mysql://u:p?a/b@c#d@h:33/d?x=1", "mysql://h:33/d", id="everything-in-password"),
        pytest.param("https://u:12/hunter2@host/x", "https://host/x", id="password-like-a-port"),
        pytest.param("postgresql://a.b:12/hunter2@host/x", "postgresql://host/x", id="user-like-a-host"),
        pytest.param("postgresql://u@srv:pa/ss@srv.net/db", "postgresql://srv.net/db", id="at-sign-in-user"),
        pytest.param("https://:hunter2@host/x", "https://host/x", id="password-only"),
        pytest.param("git+https://hunter2@host/a@v1", "git+https://host/a@v1", id="user-only-before-a-tag"),
        pytest.param("ssh://git@host.org:22/a@v1", "ssh://host.org:22/a@v1", id="user-only-before-a-port"),
        pytest.param("[https://u:a/b@h/x,s3://u:c/d@i/y]", "[https://h/x,s3://i/y]", id="two-without-a-space"),
        pytest.param("https://proxy/s3://u:hunter2@h/x", "https://proxy/s3://h/x", id="one-in-another"),
        pytest.param("https://h/x#access_token=hunter2", "https://h/x", id="fragment"),
        pytest.param("https://h/x#a=1,2&token=hunter2", "https://h/x", id="comma-in-fragment"),
        pytest.param("https://h/x#egg=p&token=hunter2", "https://h/x", id="more-than-pip-reads"),
        pytest.param("http://h/#/experiments/1?token=hunter2", "http://h/#/experiments/1", id="query-in-fragment"),
        pytest.param('https://h/x?token="a b" is', "https://h/x is", id="quoted-value"),
        pytest.param('https://h/x?a="b"&token="a b"&c=1 is', "https://h/x is", id="quoted-values"),
        pytest.param("""x="https://h/x?sig='a b'" is""", """x="https://h/x" is""", id="quoted-in-quotes"),
        pytest.param(r"x='https://h/x?sig=\'a b\'' is", "x='https://h/x' is", id="escaped-quotes"),
        pytest.param("https://h/x?token='hunter2 is cut", "https://h/x", id="open-quote"),
        pytest.param("'https://h/x?token=' and 'b'", "'https://h/x' and 'b'", id="no-value-in-quotes"),
        pytest.param("https://h/x?f=a,b&token=hunter2", "https://h/x", id="comma-in-query"),
        pytest.param("[https://h/x?a=1,b]", "[https://h/x,b]", id="query-in-a-list"),
        pytest.param("https://host/path@version", "https://host/path@version", id="version-stays"),
        pytest.param("git+https://github.com/a/b@tag", "git+https://github.com/a/b@tag", id="tag-stays"),
        pytest.param("http://localhost:5000/m@champion", "http://localhost:5000/m@champion", id="port-stays"),
        pytest.param("https://h.org:80/a:b@c", "https://h.org:80/a:b@c", id="port-of-a-host-stays"),
        pytest.param("https://[::1]:80/a@b", "https://[::1]:80/a@b", id="port-of-an-address-stays"),
        pytest.param("http://mlflow:5000 for me@x.org", "http://mlflow:5000 for me@x.org", id="another-word-stays"),
        pytest.param("https://h/x#install", "https://h/x#install", id="place-in-a-page-stays"),
        pytest.param("https://h/p.whl#sha256=1f", "https://h/p.whl#sha256=1f", id="hash-stays"),
        pytest.param(
            "git+https://h/p@v#egg=p[x]&subdirectory=y", "git+https://h/p@v#egg=p[x]&subdirectory=y", id="pip"
        ),
        pytest.param("is it x?token='a b'", "is it x?token='a b'", id="no-uri-stays"),
        pytest.param("s3://bucket/key?versionId=hunter2", "s3://bucket/key", id="bucket"),
        pytest.param("https://u:hunter2@a/x?k=hunter2 and s3://b/y?k=1", "https://a/x and s3://b/y", id="two"),
        pytest.param("{uri: https://u:hunter2@a/x?k=hunter2, b: 1}", "{uri: https://a/x, b: 1}", id="in-braces"),
        pytest.param("'https://u:hunter2@a/x?k=1' is down", "'https://a/x' is down", id="in-quotes"),
        pytest.param("models:/m@champion", "models:/m@champion", id="alias-stays"),
        pytest.param("runs:/abc/model", "runs:/abc/model", id="run-stays"),
        pytest.param("me@example.org asks: why?", "me@example.org asks: why?", id="mail-stays"),
        pytest.param("file:///a/b@c/d", "file:///a/b@c/d", id="at-sign-in-path-stays"),
        pytest.param("/home/me/https:/u:hunter2@h/x?k=1 is", "/home/me/https://h/x is", id="of-a-path"),
        pytest.param("postgresql+psycopg:/u:hunter2@h/db", "postgresql+psycopg://h/db", id="one-slash"),
        pytest.param("file:/a/b@c dbfs:/a@b /bin:/usr", "file:/a/b@c dbfs:/a@b /bin:/usr", id="paths-stay"),
        pytest.param("", "", id="empty"),
    ],
)
def test_redact(text, clean):
    """A URI loses its user info, its query and a fragment with values, and nothing else."""
    assert redact(text) == clean
    assert redact(clean) == clean


PASSWORDS = ["password", "db_password", "passwd", "PASS", "passphrase", "secret", "client_secret", "credentials"]
KEYS = ["token", "hf_token_file", "api_key", "apikey", "aws_access_key_id", "private_key", "adls_sas"]
KEYS += ["session_key", "X-API-Key", "AWS_SECRET_ACCESS_KEY", "encryptionKey"]
OTHERS = ["bearer", "auth", "auth_header", "oauth", "credential", "gcpCredentials", "Authorization", "authToken"]
OTHERS += ["sessionid", "cookie", "jwt", "csrf", "dsn", "connectionString", "DB_PWD"]


@pytest.mark.parametrize("name", [*PASSWORDS, *KEYS, *OTHERS])
def test_secret_names(name):
    """The value of a key whose name says so is hidden, text or number."""
    assert redact_tree({name: SECRET, "n": {name: 1234}}) == {name: HIDDEN, "n": {name: HIDDEN}}


NAMES = ["user", "passenger", "compass_x", "key", "keys", "bypass_cache", "column", "author", "authority", "user_id"]
NAMES += ["tokenizer", "primary_key", "routing_key", "public_key", "key_columns", "secretary", "monkey"]


@pytest.mark.parametrize("name", NAMES)
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
        pytest.param({"tags": {"key": "a", "keys": 1}}, {"tags": {"key": HIDDEN, "keys": HIDDEN}}, id="key-of-a-tag"),
        pytest.param({"tags": {"a": {"key": "x"}}}, {"tags": {"a": {"key": "x"}}}, id="key-below-a-tag"),
        pytest.param({"token": "${oc.decode:${oc.env:T}}"}, {"token": "${oc.decode:${oc.env:T}}"}, id="decoded"),
        pytest.param({"token": "${oc.env:A}hunter2${oc.env:B}"}, {"token": HIDDEN}, id="text-between"),
        pytest.param({"token": "${oc.decode:hunter2}"}, {"token": HIDDEN}, id="a-literal-in-a-call"),
        pytest.param({"token": "${vault:hunter2}"}, {"token": HIDDEN}, id="a-call-of-the-users"),
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
        pytest.param("uri=https://h/x?sig='a hunter2'", "uri=https://h/x", id="quoted-query-value"),
        pytest.param("x={uri: https://h/x?sig='a, hunter2', b: 1}", "x={uri: https://h/x, b: 1}", id="in-a-map"),
        pytest.param("x=['postgresql://u:a/b@h/x',b]", "x=['postgresql://h/x',b]", id="slash-in-password"),
        pytest.param("x=[s3://u:hunter2@h/x,b]", "x=[s3://h/x,b]", id="uri-in-a-list"),
        pytest.param("routing=column", "routing=column", id="plain"),
        pytest.param("+tracking.tags.key=hunter2", "+tracking.tags.key=***", id="key-of-a-tag"),
        pytest.param("+tracking.tags={key: hunter2}", "+tracking.tags={key: ***}", id="key-in-tags"),
        pytest.param("x={tags: {key: hunter2}, key: b}", "x={tags: {key: ***}, key: b}", id="key-after-tags"),
        pytest.param("models.a={uri: u, key: {dow: 1}}", "models.a={uri: u, key: {dow: 1}}", id="key-of-a-model"),
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
        pytest.param("x={token: 'a, hunter2}", id="open-quote"),
    ],
)
def test_no_secret_stays_in_an_override(override):
    """However a secret is written into a value, it does not come out."""
    assert SECRET not in redact_override(override)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        pytest.param("Use +a.token=hunter2, or that.", "Use +a.token=***", id="override"),
        pytest.param("a.b=1 and x.PASSWORD='hun ter2'\nnext", "a.b=1 and x.PASSWORD=***\nnext", id="rest-of-a-line"),
        pytest.param("a={token: hunter2, b: 1} is no map", "a={token: ***, b: 1} is no map", id="map"),
        pytest.param("at input '{bearer: hunter2'.", "at input '{bearer: ***", id="piece-of-a-map"),
        pytest.param("http://u:hunter2@h/x?token=hunter2 is down", "http://h/x is down", id="uri"),
        pytest.param("google-auth==2.1 is needed", "google-auth==2.1 is needed", id="version-stays"),
        pytest.param("Write {name: value}, k=v, key=7.", "Write {name: value}, k=v, key=7.", id="others-stay"),
    ],
)
def test_redact_message(text, clean):
    """What is said to people has no value of a name that sounds secret, whatever it quotes."""
    assert redact_message(text) == clean
    assert redact_message(clean) == clean


WORD = st.text("abcXYZ019-._~%!$&+;=", min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(scheme=st.sampled_from(["https", "s3", "sqlite"]), host=WORD, path=WORD, user=WORD, query=WORD)
def test_user_info_and_query_never_stay(scheme, host, path, user, query):
    """A URI with user info and query is the URI without them."""
    clean = f"{scheme}://{host}/{path}"

    assert redact(f"{scheme}://{user}:{query}@{host}/{path}?{query}") == clean


@settings(max_examples=300, deadline=None)
@given(scheme=st.sampled_from(["https", "postgresql"]), password=st.text("Z09/#?@:&=[]{}%.!", max_size=8))
def test_no_password_stays(scheme, password):
    """Whatever a password is made of, all of it goes, and host and path stay."""
    assert redact(f"{scheme}://user:{password}@host/db") == f"{scheme}://host/db"


# What URIs are made of, put together at random.
PARTS = [*":/@?#=,}]&.'\"\\ ab1", "://", "http://", ",s3://", "localhost", "egg=", "?a=", "#a="]


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=16).map("".join) | st.text())
def test_redacted_text_is_its_own_redaction(text):
    """Any text can be redacted, and once is enough."""
    once = redact(text)

    assert redact(once) == once


REPEATED = [
    "{tags: ",
    "a=",
    "https:/a",
    "apiKey_",
    "://a:a@",
    "://a:a",
    "http://a.a:1/",
    "://?a='",
    ",a",
    "}a=",
    "#egg=a&",
    "\\'",
    "a.",
    *"a:@?#",
]


@pytest.mark.parametrize("end", ["", ":x@"])
@pytest.mark.parametrize("start", ["", "x://u:p@h/", "x://h?a=", "x://h#", "x={token: "])
@pytest.mark.parametrize("part", REPEATED)
def test_long_text(start, part, end):
    """However one part is repeated, the time that redaction takes grows with the text only: else this does not end."""
    text = start + part * (200_000 // len(part)) + end

    assert len(redact(text)) <= 2 * len(text)
    assert redact_override(text)
    assert redact_message(text)
