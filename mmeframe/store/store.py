"""What is asked of an MLflow store: what is registered and logged, and where a model's files lie.

Look-ups are bulk: a fixed number of paged searches whatever the number of models.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mmeframe.environ import variables
from mmeframe.errors import ConfigError, MissingError, suggest
from mmeframe.plugin import RegisteredModel, RegisteredVersion
from mmeframe.store.reach import WHERE, answering, check_reachable, client_of, said, sqlite_file, unanswered

__all__ = ["ROUTER_TAG", "Progress", "Store", "as_written", "registered_name", "using_store"]

# What versions and logged models that are routers have, and nothing else.
ROUTER_TAG = "mmeframe.digest"

# Told (what, done, total) as long work goes on.
Progress = Callable[[str, int, int], None]

# What stores give at a time: MLflow's own bound, and of versions what the hosted ones allow, too.
_PAGE, _VERSIONS = 1000, 10_000
# Above this many names, one scan of everything with their common prefix is cheaper than one search each.
_FEW = 8
# Missing models for which the nearest name is looked for: a report shows no more.
_HINTS = 16
_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>.+))")
_LOGGED = re.compile(r"models:/(m-[0-9a-f]+)/?")


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
    check_reachable(chosen, WHERE)
    if uri is not None:
        mlflow.set_tracking_uri(uri)
    try:
        registry = mlflow.get_registry_uri()
        if registry != chosen:
            check_reachable(registry, "MLFLOW_REGISTRY_URI")
        with answering(chosen), variables(_UNPRINTED):
            yield Store(chosen)
    finally:
        if uri is not None:
            mlflow.set_tracking_uri(before)


@dataclass
class Store:
    """The active store. Implements the plugin API's ``Registry``."""

    uri: str
    _known: dict[tuple[str, str], list[RegisteredModel]] = field(default_factory=dict)
    _asked: int = 0

    @cached_property
    def client(self) -> Any:
        """For writing: makes a sqlite file that is not there, as MLflow does."""
        return client_of()

    @property
    def place(self) -> str:
        """Its URI, with the whole path of a sqlite file: the same relative one is another store elsewhere."""
        path = sqlite_file(self.uri)
        return str(path.absolute()) if path else self.uri

    @property
    def _reader(self) -> Any:
        """For look-ups: a store that is not there has nothing, and looking does not make it.

        Raises MissingError for a sqlite file that does not exist.
        """
        path = sqlite_file(self.uri)
        if path and not path.is_file():
            raise MissingError(
                f"there is no store at {self.uri} ({path.absolute()} does not exist).",
                where=WHERE,
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
                raise ConfigError(f"MLflow refuses this filter: {said(error)}", where="filter") from error
            raise unanswered(error) from error
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
