"""Stores that cannot be used: said at tracking.uri, before MLflow tries, and without the password."""

from __future__ import annotations

import socket
import sys

import pytest
from sqlalchemy import event

from mmeframe.build.store import Store, using_store
from mmeframe.errors import ConfigError, MissingError


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
    assert caught.value.__suppress_context__
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
