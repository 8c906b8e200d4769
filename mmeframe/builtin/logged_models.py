"""``kind: logged_models``: LoggedModels by MLflow's search filter, registered or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import StrictInt, StrictStr

from mmeframe.plugin import MissingError, ModelSource, NamePattern, SourceConf, SubModelEntry, canonical

__all__ = ["LoggedModelsConf", "LoggedModelsSource"]


@dataclass
class LoggedModelsConf(SourceConf):
    """Options of ``kind: logged_models``."""

    # MLflow's filter over logged models, for instance tags.family = 'stores' AND metrics.rmse < 2.
    filter: str = ""
    # Experiments to search, by name; none means all.
    experiments: list[str] = field(default_factory=list)
    # Pattern of model names: {part} reads a key part from the name, * is anything.
    name: str = "*"
    # Key parts that the name does not give: a value for all, or tags.<tag>.
    key: dict[str, StrictStr | StrictInt] = field(default_factory=dict)


class LoggedModelsSource(ModelSource[LoggedModelsConf]):
    """One sub-model per key: the newest logged model that matches. Its id is ``<source>_<key>``."""

    def expand(self) -> Iterable[SubModelEntry]:
        where = f"sources.{self.context.name}"
        pattern = NamePattern(self.conf.name, self.context.parts, f"{where}.name")
        registry = self.context.registry
        assert registry is not None  # noqa: S101 - the host always gives one to sources
        # By key: texts of several parts may be joined to one id.
        entries: dict[tuple[str, ...], SubModelEntry] = {}
        for model in registry.logged_models(self.conf.filter, self.conf.experiments, pattern.like):
            try:
                key = pattern.read(model.name)
                if key is None:
                    continue
                full = {**key, **NamePattern.from_tags(self.conf.key, dict(model.tags))}
            except (ValueError, LookupError) as error:
                raise MissingError(f"logged model {model.model_id}: {error.args[0]}.", where=where) from None
            texts = tuple(str(canonical(value)) for value in full.values())
            entry = SubModelEntry(
                "_".join([self.context.name, *texts]),
                f"models:/{model.model_id}",
                full,
                model_id=model.model_id,
                origin=where,
            )
            # Newest first: an older model of the same key is history.
            entries.setdefault(texts, entry)
        if not entries:
            raise MissingError(
                "no logged model matches.", where=where, hint="Check tracking.uri, experiments, filter and name."
            )
        return list(entries.values())
