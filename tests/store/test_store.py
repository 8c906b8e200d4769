"""Stores that cannot be used: said at tracking.uri, before MLflow tries, and without the password."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import event

from mmeframe.errors import ConfigError, MissingError
from mmeframe.store import reach as module
from mmeframe.store.store import Store, using_store


@pytest.fixture
def without_drivers(monkeypatch):
    """No database driver can be imported, whatever is installed beside the tests."""
    for name in ("psycopg", "psycopg2", "MySQLdb", "pymysql", "pyodbc"):
        monkeypatch.setitem(sys.modules, name, None)


def refused(uri, error):
    """What using a store says; never the password, nor by a chained traceback."""
    with pytest.raises(error) as caught, using_store(uri):
        pytest.fail("the store can be used")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize(
    ("scheme", "module", "hint"),
    [
        pytest.param("postgresql+psycopg2", "psycopg2", "pip install psycopg2-binary.", id="psycopg2"),
        pytest.param("postgresql+psycopg", "psycopg", "pip install 'psycopg[binary]'.", id="psycopg"),
        pytest.param("mysql+pymysql", "pymysql", "pip install pymysql.", id="pymysql"),
        pytest.param(
            "mysql",
            "MySQLdb",
            "pip install mysqlclient, or name a driver that you have, as in mysql+pymysql://.",
            id="mysql",
        ),
        pytest.param(
            "mssql", "pyodbc", "pip install pyodbc, or name a driver that you have, as in mssql+pyodbc://.", id="mssql"
        ),
    ],
)
def test_a_driver_that_is_not_installed(without_drivers, scheme, module, hint):
    """The module is named, and what installs it."""
    error = refused(f"{scheme}://u:hunter2@h/db", MissingError)

    assert error.where == "tracking.uri"
    assert error.what.startswith(f"the driver of {scheme}:// cannot be imported: ")
    assert module in error.what
    assert error.hint == hint


def test_the_driver_that_sqlalchemy_chooses(without_drivers):
    """Which one stands for plain postgresql:// depends on SQLAlchemy's version; another can be named."""
    error = refused("postgresql://u:hunter2@h/db", MissingError)

    assert error.hint.startswith(("pip install psycopg2-binary", "pip install 'psycopg[binary]'"))
    assert error.hint.endswith(", or name a driver that you have, as in postgresql+psycopg2://.")


def test_a_driver_that_lacks_a_library(monkeypatch, tmp_path):
    """It is installed and cannot be imported: its own reason is said, in one line."""
    (tmp_path / "pymysql.py").write_text("raise ImportError('no native library.\\nAttempts made: ...')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pymysql", raising=False)
    error = refused("mysql+pymysql://u:hunter2@h/db", MissingError)

    assert error.what == "the driver of mysql+pymysql:// cannot be imported: no native library."
    assert error.hint == "Install the libraries that it needs."


@pytest.mark.parametrize("uri", ["sqlite+nosuch:////tmp/a.db", "postgresql+nosuch://u:hunter2@h/db"])
def test_a_driver_that_does_not_exist(uri):
    """SQLAlchemy is asked for the driver of any database."""
    error = refused(uri, ConfigError)

    assert error.what == f"SQLAlchemy knows no driver {uri.partition(':')[0]}://."
    assert error.hint.startswith("Write it as in ")


@pytest.mark.parametrize(
    ("uri", "shown", "guess"),
    [
        pytest.param("foo://u:hunter2@x", "foo://x", "Schemes: ", id="nothing-close"),
        pytest.param(
            "postgres://u:hunter2@h/db", "postgres://h/db", "Did you mean 'postgresql'? Schemes: ", id="near-miss"
        ),
        pytest.param("htp://h:5000", "htp://h:5000", "Did you mean 'http'? Schemes: ", id="misspelt"),
    ],
)
def test_an_unknown_scheme(uri, shown, guess):
    """The schemes that MLflow and its plugins know are listed."""
    error = refused(uri, ConfigError)

    assert (error.where, error.what) == ("tracking.uri", f"MLflow has no store for {shown}.")
    assert error.hint.startswith(guess)
    assert "sqlite" in error.hint


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("postgresql://u:hunter2@h:hunter2/db", id="database-port"),
        pytest.param("postgresql:u:hunter2@h", id="no-slashes"),
        pytest.param("http://u:hunter2/x@h", id="slash-in-a-password"),
        pytest.param("http://[h", id="bracket"),
    ],
)
def test_a_uri_that_cannot_be_read(uri):
    """No part of it is repeated, since any may be of the password."""
    error = refused(uri, ConfigError)

    assert (error.where, error.what) == ("tracking.uri", "this URI cannot be read.")
    assert "%2F" in error.hint


def test_a_store_that_mlflow_refuses_to_write_to(tmp_path):
    """What MLflow says is a problem of tracking.uri, for writing as for looking up."""
    with using_store(f"{tmp_path}/mlruns") as store, pytest.raises(MissingError, match="maintenance mode") as caught:
        store.client.search_experiments()

    assert caught.value.where == "tracking.uri"


def test_looking_makes_no_database(tmp_path):
    """The check of a sqlite file's driver opens nothing."""
    with using_store(f"sqlite:///{tmp_path}/a.db") as store:
        assert isinstance(store, Store)

    assert list(tmp_path.iterdir()) == []


def test_a_registry_that_does_not_answer(monkeypatch, store):
    """It is asked for a connection like the tracking store: MLflow would try for minutes."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    with pytest.raises(MissingError) as caught, using_store(store.uri):
        pytest.fail("the registry can be used")

    assert caught.value.where == "MLFLOW_REGISTRY_URI"
    assert caught.value.what.startswith(f"the registry server at {uri} does not answer: ")
    assert caught.value.hint == "Start it, or set MLFLOW_REGISTRY_URI."


@contextmanager
def listening(answer):
    """The URI of a server that accepts connections and says ``answer``, nothing and for ever if it is None."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            open_ones = []
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                open_ones.append(link)
                if answer is not None:
                    link.recv(4096)
                    link.sendall(answer)
                    # Who has read the answer may have hung up already.
                    with suppress(OSError):
                        link.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("scheme", "answer", "reason"),
    [
        pytest.param("http", None, "no answer within 0.2 seconds", id="silent"),
        pytest.param("HTTP", None, "no answer within 0.2 seconds", id="upper"),
        pytest.param("https", None, "no answer within 0.2 seconds", id="silent-tls"),
        pytest.param("http", b"", "it closes the connection", id="closing"),
    ],
)
@pytest.mark.parametrize("named", ["tracking.uri", "MLFLOW_REGISTRY_URI"])
def test_a_server_that_takes_connections_and_never_answers(monkeypatch, store, scheme, answer, reason, named):
    """A connection is no answer: MLflow would wait for twenty minutes."""
    monkeypatch.setattr(module, "_FIRST_ANSWER", 0.2)
    with listening(answer) as place:
        uri = f"{scheme}://user:hunter2@{place}"
        if named == "MLFLOW_REGISTRY_URI":
            monkeypatch.setenv(named, uri)
        error = refused(store.uri if named == "MLFLOW_REGISTRY_URI" else uri, MissingError)

    assert error.where == named
    assert f"{place} does not answer: {reason}" in error.what
    assert error.hint == f"Start it, or set {named}."


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 401 Unauthorized\r\n\r\n"])
def test_any_answer_is_one(answer):
    """A server may have no such page, or want to know who asks: MLflow has the credentials."""
    with listening(answer) as place, using_store(f"http://{place}/mlflow") as used:
        assert used.uri == f"http://{place}/mlflow"


def test_a_host_that_is_no_name():
    """Python encodes names of hosts, and refuses what no name can be."""
    assert "does not answer" in refused(f"http://{'a' * 70}.x", MissingError).what


def test_a_database_that_has_no_room(store):
    """sqlite's own bound on pages is a full disk to everybody who writes: its words, without the statement."""

    def fill():
        with using_store(store.uri) as used:
            engine = used.client._tracking_client.store.engine
            with engine.connect() as connection:
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            event.listen(engine, "checkout", lambda raw, *_: raw.execute(f"PRAGMA max_page_count = {pages}"))
            for number in range(1000):
                used.client.create_experiment(f"{number}" + "x" * 200)

    with pytest.raises(MissingError) as caught:
        fill()

    assert caught.value.what == f"the database of the store at {store.uri} failed: database or disk is full."
    assert caught.value.hint == "Mend that, and run the same command again."
