"""Everything that is asked of an MLflow store: where it is, what is registered, where a model's files lie.

Look-ups are bulk: a fixed number of paged searches whatever the number of models.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mmeframe.cache import work_folder
from mmeframe.environ import variables
from mmeframe.errors import BuildError, ConfigError, MissingError, suggest
from mmeframe.plugin import RegisteredModel, RegisteredVersion
from mmeframe.shipped import CODE

__all__ = [
    "ROUTER_TAG",
    "ModelFile",
    "ModelFolder",
    "Progress",
    "Store",
    "as_written",
    "code_of",
    "fetched",
    "registered_name",
    "using_store",
]

# What versions and logged models that are routers have, and nothing else.
ROUTER_TAG = "mmeframe.digest"

# Told (what, done, total) as long work goes on.
Progress = Callable[[str, int, int], None]

_WHERE = "tracking.uri"
# What stores give at a time: MLflow's own bound, and of versions what the hosted ones allow, too.
_PAGE, _VERSIONS = 1000, 10_000
# Above this many names, one scan of everything with their common prefix is cheaper than one search each.
_FEW = 8
# Missing models for which the nearest name is looked for: a report shows no more.
_HINTS = 16
# Sub-models that are downloaded at a time, ahead of the one that is worked on.
_DOWNLOADS = 8
# Seconds for which a server is waited for, before it has answered once.
_FIRST_ANSWER = 10.0
_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>.+))")
_LOGGED = re.compile(r"models:/(m-[0-9a-f]+)/?")
# Database -> a driver of it, for examples.
_DATABASES = {"postgresql": "psycopg2", "mysql": "pymysql", "mssql": "pyodbc", "sqlite": "pysqlite"}
# Module of a driver -> what installs it, where the two differ.
_DRIVERS = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def as_written(uri: str) -> str:
    """How a registered model is named, where a name stands alone: MLflow takes that for the id of a logged model."""
    alone = re.fullmatch(r"models:/(?!m-[0-9a-f]{32}$)[^/@]+", uri)
    return f"A registered model is {uri}/<version> or {uri}@<alias>." if alone else ""


def registered_name(uri: str) -> str | None:
    """The registered model that a URI names, None if it names none."""
    match = _REGISTERED.fullmatch(uri)
    return match["name"] if match else None


# MLflow would print where to view a run: among results for machines, and with the password of the URL.
_UNPRINTED = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


@contextmanager
def using_store(uri: str | None) -> Iterator[Store]:
    """Make ``uri`` MLflow's tracking store while the block runs; None leaves MLflow's own.

    The registry is the same store, unless MLFLOW_REGISTRY_URI says otherwise.
    Raises MissingError if a tracking server does not answer, stops answering, or a database's driver is not installed,
    ConfigError for a URI that MLflow has no store for.
    """
    import mlflow

    # MLflow keeps its choice in the environment too, for its child processes; None takes it back.
    before: Any = os.environ.get("MLFLOW_TRACKING_URI")
    chosen = uri or mlflow.get_tracking_uri()
    _check_reachable(chosen, _WHERE)
    if uri is not None:
        mlflow.set_tracking_uri(uri)
    try:
        registry = mlflow.get_registry_uri()
        if registry != chosen:
            _check_reachable(registry, "MLFLOW_REGISTRY_URI")
        with _answering(chosen), variables(_UNPRINTED):
            yield Store(chosen)
    finally:
        if uri is not None:
            mlflow.set_tracking_uri(before)


@contextmanager
def _answering(uri: str) -> Iterator[None]:
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
            said = (str(cause.orig) or type(cause.orig).__name__).splitlines()[0]
            what, hint = f"the database of the store at {uri} failed: {said}.", "Mend that, and"
        lost = MissingError(what, where=_WHERE, hint=f"{hint} run the same command again.")
        for note in getattr(error, "__notes__", ()):
            lost.add_note(note)
        raise lost from error


def _check_reachable(uri: str, where: str) -> None:
    """Look whether there can be a store. where: what named it."""
    scheme = uri.partition(":")[0].lower()
    if (path := _sqlite_file(uri)) and not path.parent.is_dir():
        raise MissingError(f"there is no folder {path.parent.absolute()}.", where=where)
    if scheme in ("http", "https"):
        _check_server(uri, where)
    elif scheme.split("+")[0] in _DATABASES:
        _check_driver(uri, scheme, where)
    elif "://" in uri and scheme != "file":
        # Only MLflow knows the schemes that its plugins add.
        _client(uri)


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
    what = f"the {'tracking' if where == _WHERE else 'registry'} server at {uri} does not answer"
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
        reason = f"nothing came for {_FIRST_ANSWER:g} seconds"
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
        what = f"the driver of {scheme}:// cannot be imported: {_said(error).rstrip('.')}."
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


def _client(uri: str | None = None) -> Any:
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
        raise ConfigError(f"MLflow has no store for {named}.", where=_WHERE, hint=hint) from None
    except MlflowException as error:
        raise _unanswered(error) from error


def _sqlite_file(uri: str) -> Path | None:
    """The file of a store in sqlite, whose URI may hold sqlite's own (file:...), as SQLAlchemy takes it."""
    if not uri.startswith("sqlite:///") or ":memory:" in uri:
        return None
    return Path(uri.removeprefix("sqlite:///").removeprefix("file:").split("?")[0])


@dataclass(frozen=True)
class ModelFolder:
    """A sub-model's files, wherever they are; downloaded when read."""

    location: str

    @cached_property
    def here(self) -> Path | None:
        """The folder itself where it is on this machine, else None."""
        if ":" not in self.location:
            return Path(self.location)
        parts = urlsplit(self.location)
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        return Path(self.location) if not parts.scheme else None

    @property
    def place(self) -> str:
        """Where a reader finds it: the whole path, or the address."""
        return self.location if self.here is None else str(self.here.absolute())

    def files(self, root: Path) -> list[str]:
        """Paths of all files in the folder, which is on this machine at ``root``. Raises what ``_files_in`` does."""
        return _files_in(root)

    @cached_property
    def _files_here(self) -> list[str]:
        assert self.here is not None  # noqa: S101 - only asked where it is
        return _files_in(self.here)

    def read(self, name: str) -> bytes | None:
        """One file, None if there is no such file. Raises BuildError for a link that leads out of the folder."""
        if self.here is not None:
            path = self.here / name
            return path.read_bytes() if path.is_file() and name in self._files_here else None
        import mlflow

        if name not in self._remote_names:
            return None
        with work_folder() as folder:
            uri = f"{self.location.rstrip('/')}/{name}"
            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder))).read_bytes()

    @cached_property
    def _remote_names(self) -> frozenset[str]:
        """What lies in the folder, listed once: a file that is not there is known from one that cannot be fetched."""
        import mlflow

        found = mlflow.artifacts.list_artifacts(artifact_uri=self.location)
        return frozenset(item.path.rsplit("/", 1)[-1] for item in found)

    def names(self) -> list[str]:
        """Paths of all files inside the folder; nothing is downloaded. Raises BuildError for a link that leads out."""
        if self.here is not None:
            return list(self._files_here)
        return list(_listed(self.location.rstrip("/")))

    @contextmanager
    def local(self) -> Iterator[Path]:
        """The whole folder on this machine, for as long as the block runs.

        Raises BuildError for a link that leads out of it: whoever loads the folder would follow that.
        """
        if self.here is not None:
            _files_in(self.here)
            yield self.here
            return
        import mlflow

        with work_folder() as folder:
            yield Path(mlflow.artifacts.download_artifacts(self.location, dst_path=str(folder)))


@dataclass(frozen=True)
class ModelFile(ModelFolder):
    """A bare estimator file, as the one file of a folder: ``name`` is what it is called there."""

    name: str

    def files(self, root: Path) -> list[str]:
        del root
        return [self.name]

    def names(self) -> list[str]:
        return [self.name]

    def read(self, name: str) -> bytes | None:
        if name != self.name:
            return None
        if self.here is not None:
            return self.here.read_bytes()
        with self.local() as folder:
            return (folder / name).read_bytes()

    @contextmanager
    def local(self) -> Iterator[Path]:
        """A folder that holds the file and nothing of what lies beside it."""
        with work_folder() as folder:
            path = folder / self.name
            if self.here is not None:
                path.symlink_to(self.here.absolute())
            else:
                import mlflow

                Path(mlflow.artifacts.download_artifacts(self.location, dst_path=str(folder))).rename(path)
            yield folder


@dataclass
class Store:
    """The active store. Implements the plugin API's ``Registry``."""

    uri: str
    _known: dict[tuple[str, str], list[RegisteredModel]] = field(default_factory=dict)
    _asked: int = 0

    @cached_property
    def client(self) -> Any:
        """For writing: makes a sqlite file that is not there, as MLflow does."""
        return _client()

    @property
    def place(self) -> str:
        """Its URI, with the whole path of a sqlite file: the same relative one is another store elsewhere."""
        path = _sqlite_file(self.uri)
        return str(path.absolute()) if path else self.uri

    @property
    def _reader(self) -> Any:
        """For look-ups: a store that is not there has nothing, and looking does not make it.

        Raises MissingError for a sqlite file that does not exist.
        """
        path = _sqlite_file(self.uri)
        if path and not path.is_file():
            raise MissingError(
                f"there is no store at {self.uri} ({path.absolute()} does not exist).",
                where=_WHERE,
                hint="Run from the folder of your mlflow.db, or set tracking.uri. 'mmeframe train' makes a new store.",
            )
        return self.client

    def models(self, name_like: str = "%", filter_string: str = "") -> Sequence[RegisteredModel]:
        """Two paged searches: registered models (aliases, tags), and their versions (LoggedModel, tags)."""
        key = (name_like, filter_string)
        if key not in self._known:
            name, both = _named(name_like, ""), _named(name_like, filter_string)
            registered = _pages(self._reader.search_registered_models, filter_string=both or None, max_results=_PAGE)
            versions: dict[str, list[RegisteredVersion]] = {}
            if registered:
                for version in _pages(self._reader.search_model_versions, filter_string=name, max_results=_VERSIONS):
                    versions.setdefault(version.name, []).append(_version(version))
            self._known[key] = [_model(model, versions.get(model.name, [])) for model in registered]
        return self._known[key]

    def named(self, names: Iterable[str]) -> dict[str, RegisteredModel]:
        """Registered models by exact name; absent ones are left out."""
        wanted = set(names)
        # An underscore in LIKE is any character: more may be found than was asked for, and is left out at the end.
        if len(wanted) > _FEW:
            prefix = os.path.commonprefix(list(wanted))  # noqa: RUF071 - of names, not paths
            found = list(self.models(f"{prefix}%"))
        else:
            found = [model for name in sorted(wanted) for model in self.models(name)]
        return {model.name: model for model in found if model.name in wanted}

    def logged_models(self, filter_string: str, experiments: Sequence[str], name_like: str = "%") -> Sequence[Any]:
        """LoggedModels that match, newest first. Raises MissingError for an unknown experiment."""
        known = self._experiments
        for name in experiments:
            if name not in known:
                raise MissingError(f"there is no experiment {name!r}.", hint=suggest(name, known))
        ids = [known[name] for name in experiments] or list(known.values())
        return _pages(
            self._reader.search_logged_models,
            experiment_ids=ids,
            filter_string=_named(name_like, filter_string) or None,
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
            max_results=_PAGE,
        )

    def is_router(self, version: RegisteredVersion) -> bool:
        """Whether a version is a router, also one that MLflow's own functions registered, which sets no tags."""
        return ROUTER_TAG in version.tags or version.model_id in self._routers

    @cached_property
    def _routers(self) -> frozenset[str]:
        """Ids of the LoggedModels that are routers."""
        return frozenset(model.model_id for model in self.logged_models(f"tags.`{ROUTER_TAG}` != ''", ()))

    @cached_property
    def _experiments(self) -> dict[str, str]:
        """Name -> id."""
        return {item.name: item.experiment_id for item in _pages(self._reader.search_experiments, max_results=_PAGE)}

    def locations(self, model_ids: Iterable[str]) -> dict[str, str]:
        """Where the files of LoggedModels lie, by id; unknown ids are left out. One search per 1,000 ids."""
        wanted = sorted(set(model_ids))
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _PAGE):
            listed = ", ".join(f"'{id_}'" for id_ in wanted[start : start + _PAGE])
            for model in self.logged_models(f"model_id IN ({listed})", ()):
                found[model.model_id] = model.artifact_location
        return found

    def pin(self, uri: str, models: dict[str, RegisteredModel]) -> tuple[RegisteredVersion | None, str | None]:
        """What a URI means now: a registered version and a LoggedModel id, either may be None.

        models: from ``named``. Raises MissingError naming the model, version or alias that is not there.
        """
        logged = _LOGGED.fullmatch(uri)
        if logged:
            return None, logged[1]
        match = _REGISTERED.fullmatch(uri)
        if match is None:
            return None, None
        name = match["name"]
        model = models.get(name)
        if model is None:
            raise MissingError(f"there is no registered model {name!r}.", hint=self._nearest(name))
        if match["alias"] is not None:
            number = model.aliases.get(match["alias"])
            if number is None:
                known = suggest(match["alias"], model.aliases, "Its aliases")
                raise MissingError(f"registered model {name!r} has no alias {match['alias']!r}.", hint=known)
        else:
            number = match["version"]
            if number == "latest":
                number = model.versions[0].version if model.versions else number
        for version in model.versions:
            if version.version == number:
                return version, version.model_id
        known = suggest(str(number), [version.version for version in model.versions], "Its versions")
        raise MissingError(f"registered model {name!r} has no version {number!r}.", hint=known)

    def _nearest(self, name: str) -> str:
        """What is registered, for the first few names that are not: looking for the nearest takes time."""
        self._asked += 1
        return suggest(name, (item.name for item in self.models()), "Registered") if self._asked <= _HINTS else ""


def _files_in(root: Path) -> list[str]:
    """Paths of all files in a sub-model's folder, sorted; its links are followed as long as they stay inside.

    Raises BuildError for a link that leads out: a router would carry whatever its builder may read.
    """
    home = os.path.realpath(root)

    def walk(folder: str, linked: bool) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if link := entry.is_symlink():
                    leads = os.path.realpath(entry.path)
                    if os.path.commonpath([home, leads]) != home:
                        name = os.path.relpath(entry.path, root)
                        what = f"its link {name!r} leads out of its folder, to {leads}."
                        raise BuildError(what, hint="Put a copy of that into the folder.")
                if entry.is_dir():
                    # Below a link no other one is followed: they may lead in circles.
                    if not (linked and link):
                        yield from walk(entry.path, linked or link)
                elif entry.is_file():
                    yield os.path.relpath(entry.path, root)

    return sorted(walk(os.fspath(root), linked=False))


def code_of(folder: ModelFolder, root: Path) -> dict[str, bytes]:
    """What a model ships in its code folder, by the path in there, with its sha256. root: its own folder, here."""
    names = [name for name in folder.files(root) if name.startswith(CODE) and "__pycache__" not in name.split("/")]
    return {name[len(CODE) :]: hashlib.sha256((root / name).read_bytes()).digest() for name in names}


def fetched(folders: Sequence[tuple[str, ModelFolder]]) -> Generator[AbstractContextManager[Path]]:
    """Every folder in its turn, on this machine for as long as its block runs; the next few are downloaded meanwhile.

    folders: each with the config path of whose it is. A block begins with MissingError, which has that path, for a
    folder that cannot be downloaded. Close the generator where not all are asked for.
    """
    begun: dict[int, Future[tuple[ExitStack, Path]]] = {}
    ahead = 0
    pool = ThreadPoolExecutor(_DOWNLOADS, "mmeframe-download")
    try:
        for place in range(len(folders)):
            for number in range(ahead, min(place + _DOWNLOADS, len(folders))):
                if folders[number][1].here is None:
                    begun[number] = pool.submit(_fetch, folders[number][1])
                ahead = number + 1
            yield _opened(begun, place, *folders[place])
    finally:
        pool.shutdown(cancel_futures=True)
        for future in begun.values():
            if not future.cancelled() and future.exception() is None:
                future.result()[0].close()


@contextmanager
def _opened(
    begun: dict[int, Future[tuple[ExitStack, Path]]], place: int, where: str, folder: ModelFolder
) -> Iterator[Path]:
    try:
        held, root = begun.pop(place).result() if place in begun else _fetch(folder)
    except Exception as error:
        what = f"{folder.location} cannot be downloaded: {_said(error)}"
        raise MissingError(what, where=where, hint="Look whether it is there, and run the command again.") from error
    with held:
        yield root


def _fetch(folder: ModelFolder) -> tuple[ExitStack, Path]:
    held = ExitStack()
    return held, held.enter_context(folder.local())


def _listed(location: str, inside: str = "") -> Iterator[str]:
    """Paths of all files in a folder of an artifact store."""
    import mlflow

    for item in mlflow.artifacts.list_artifacts(artifact_uri=f"{location}/{inside}".rstrip("/")):
        name = item.path.rsplit("/", 1)[-1]
        path = f"{inside}/{name}" if inside else name
        if item.is_dir:
            yield from _listed(location, path)
        else:
            yield path


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unanswered(error: Exception) -> MissingError:
    return MissingError(f"the store cannot be asked: {_said(error)}", where=_WHERE)


def _pages(search: Any, **arguments: Any) -> list[Any]:
    """All pages of a search.

    Raises ConfigError for a filter that MLflow refuses, MissingError for a store that cannot be asked.
    """
    from mlflow.exceptions import MlflowException

    found: list[Any] = []
    token = None
    while True:
        try:
            page = search(page_token=token, **arguments)
        except MlflowException as error:
            if arguments.get("filter_string") and error.error_code == "INVALID_PARAMETER_VALUE":
                raise ConfigError(f"MLflow refuses this filter: {_said(error)}", where="filter") from error
            raise _unanswered(error) from error
        found += page
        token = page.token
        if not token:
            return found


def _named(name_like: str, filter_string: str) -> str:
    """A filter, and the names that are wanted."""
    text = name_like.replace("'", "''")
    return " AND ".join(part for part in ("" if name_like == "%" else f"name LIKE '{text}'", filter_string) if part)


def _version(version: Any) -> RegisteredVersion:
    match = _LOGGED.fullmatch(version.source or "")
    tags = dict(version.tags or {})
    return RegisteredVersion(
        version.name, str(version.version), version.source or "", match[1] if match else None, tags
    )


def _model(model: Any, versions: list[RegisteredVersion]) -> RegisteredModel:
    newest = sorted(versions, key=lambda version: int(version.version), reverse=True)
    aliases = {alias: str(number) for alias, number in dict(model.aliases or {}).items()}
    return RegisteredModel(model.name, aliases, dict(model.tags or {}), tuple(newest))
