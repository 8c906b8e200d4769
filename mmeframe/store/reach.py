"""Whether there is a store at a URI, and what is wrong where it does not answer."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mmeframe.errors import ConfigError, MissingError, suggest

__all__ = ["WHERE", "answering", "check_reachable", "client_of", "said", "sqlite_file", "unanswered"]

WHERE = "tracking.uri"
# Seconds for which a server is waited for, before it has answered once.
_FIRST_ANSWER = 10.0
# Database -> a driver of it, for examples.
_DATABASES = {"postgresql": "psycopg2", "mysql": "pymysql", "mssql": "pyodbc", "sqlite": "pysqlite"}
# Module of a driver -> what installs it, where the two differ.
_DRIVERS = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Tell a store that goes away or breaks in the middle, as on a full disk, from other errors of MLflow."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as Unreachable
    from requests.exceptions import Timeout
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (MlflowException, DBAPIError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, Unreachable | Timeout | DBAPIError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        what, hint = f"the tracking server at {uri} stopped answering.", "Start it, and"
        if isinstance(cause, DBAPIError):
            # What the database says, without the statement and its values.
            text = (str(cause.orig) or type(cause.orig).__name__).splitlines()[0]
            what, hint = f"the database of the store at {uri} failed: {text}.", "Mend that, and"
        lost = MissingError(what, where=WHERE, hint=f"{hint} run the same command again.")
        for note in getattr(error, "__notes__", ()):
            lost.add_note(note)
        raise lost from error


def check_reachable(uri: str, where: str) -> None:
    """Look whether there can be a store. where: what named it."""
    scheme = uri.partition(":")[0].lower()
    if (path := sqlite_file(uri)) and not path.parent.is_dir():
        raise MissingError(f"there is no folder {path.parent.absolute()}.", where=where)
    if scheme in ("http", "https"):
        _check_server(uri, where)
    elif scheme.split("+")[0] in _DATABASES:
        _check_driver(uri, scheme, where)
    elif "://" in uri and scheme != "file":
        # Only MLflow knows the schemes that its plugins add.
        client_of(uri)


def _check_server(uri: str, where: str) -> None:
    """Ask for an answer, whatever it says: MLflow would retry for minutes before it says that there is none.

    Nothing secret is sent, so a server may refuse; what is wrong with TLS is for MLflow to say.
    """
    try:
        parts = urlsplit(uri)
        secure = parts.scheme.lower() == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        asked = f"GET {parts.path.rstrip('/')}/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    except ValueError:
        raise _unreadable(where) from None
    what = f"the {'tracking' if where == WHERE else 'registry'} server at {uri} does not answer"
    try:
        with (
            socket.create_connection((host, port), timeout=_FIRST_ANSWER) as plain,
            _unverified().wrap_socket(plain, server_hostname=host) if secure else plain as link,
        ):
            link.sendall(asked)
            reason = "" if link.recv(1) else "it closes the connection"
    except ssl.SSLError:
        return
    except TimeoutError:
        reason = f"no answer within {_FIRST_ANSWER:g} seconds"
    except (OSError, UnicodeError) as error:
        reason = str(error)
    if reason:
        raise MissingError(f"{what}: {reason}.", where=where, hint=f"Start it, or set {where}.")


def _unverified() -> ssl.SSLContext:
    """For asking whether a server answers: MLflow verifies it, as it is told to, before it is told anything."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _check_driver(uri: str, scheme: str, where: str) -> None:
    """Let SQLAlchemy import the driver, as MLflow will; nothing is connected, and the URI is not repeated."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    database = scheme.split("+")[0]
    example = f"{database}+{_DATABASES[database]}://"
    try:
        create_engine(uri).dispose()
    except ImportError as error:
        what = f"the driver of {scheme}:// cannot be imported: {said(error).rstrip('.')}."
        package = _DRIVERS.get(error.name or "", error.name)
        hint = f"pip install {package}" if package else "Install the libraries that it needs"
        other = "" if "+" in scheme else f", or name a driver that you have, as in {example}"
        raise MissingError(what, where=where, hint=f"{hint}{other}.") from None
    except NoSuchModuleError:
        what = f"SQLAlchemy knows no driver {scheme}://."
        raise ConfigError(what, where=where, hint=f"Write it as in {example}.") from None
    except (SQLAlchemyError, ValueError):
        raise _unreadable(where) from None


def _unreadable(where: str) -> ConfigError:
    hint = "Write scheme://user:password@host:port/name, with %2F for / and %40 for @ in the password."
    return ConfigError("this URI cannot be read.", where=where, hint=hint)


def client_of(uri: str | None = None) -> Any:
    """MLflow's client of a store, the active one without a URI; opens databases, and makes a sqlite file.

    Raises ConfigError for a scheme that MLflow has no store for, MissingError if MLflow refuses the store.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

    try:
        return MlflowClient(uri)
    except UnsupportedModelRegistryStoreURIException as error:
        named = uri or "the tracking or the registry URI"
        known = [scheme for scheme in error.supported_uri_schemes if scheme]
        hint = suggest(named.partition(":")[0], known, "Schemes")
        raise ConfigError(f"MLflow has no store for {named}.", where=WHERE, hint=hint) from None
    except MlflowException as error:
        raise unanswered(error) from error


def sqlite_file(uri: str) -> Path | None:
    """The file of a store in sqlite, whose URI may hold sqlite's own (file:...), as SQLAlchemy takes it."""
    if not uri.startswith("sqlite:///") or ":memory:" in uri:
        return None
    return Path(uri.removeprefix("sqlite:///").removeprefix("file:").split("?")[0])


def said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def unanswered(error: Exception) -> MissingError:
    return MissingError(f"the store cannot be asked: {said(error)}", where=WHERE)
