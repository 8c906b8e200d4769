"""``kind: registry``: registered models by name pattern, filter or tag; pinned when the router is built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import StrictInt, StrictStr

from mmeframe.plugin import (
    MISSING,
    MissingError,
    ModelSource,
    NamePattern,
    RegisteredModel,
    RegisteredVersion,
    SourceConf,
    SubModelEntry,
)

__all__ = ["RegistryConf", "RegistrySource"]


@dataclass
class RegistryConf(SourceConf):
    """Options of ``kind: registry``."""

    # Pattern of registered names: {part} reads a key part from the name, * is anything.
    name: str = MISSING
    # Which version of each: @alias, latest, or a number.
    version: str = "@champion"
    # MLflow's own filter over registered models, for instance tags.team = 'pricing'.
    filter: str = ""
    # Key parts that the name does not give: a value for all, or tags.<tag> (the version's tag, else the model's).
    key: dict[str, StrictStr | StrictInt] = field(default_factory=dict)


class RegistrySource(ModelSource[RegistryConf]):
    """One sub-model per registered model that matches; its id is the registered name."""

    def expand(self) -> Iterable[SubModelEntry]:
        where = f"sources.{self.context.name}"
        pattern = NamePattern(self.conf.name, self.context.parts, f"{where}.name")
        assert self.context.registry is not None  # noqa: S101 - the host always gives one to sources
        models = self.context.registry.models(pattern.like, self.conf.filter)
        entries, faults, hint = [], [], ""
        for model in models:
            if model.name in self.context.taken:
                continue
            try:
                key = pattern.read(model.name)
                if key is not None:
                    entries.append(self._entry(model, key, where))
            except ValueError as error:
                faults.append(str(error))
                tags = ", ".join(f"{part}: tags.{part}" for part in pattern.parts)
                hint = f"Read the key from tags, which 'mmeframe train' sets: a * in the name, and key: {{{tags}}}."
            except LookupError as error:
                faults.append(str(error.args[0]))
        if faults:
            more = f" (and {len(faults) - 1} more like it)" if len(faults) > 1 else ""
            raise MissingError(f"{faults[0]}{more}.", where=where, hint=hint)
        if not entries:
            raise MissingError(
                f"no registered model matches {self.conf.name!r}.",
                where=where,
                hint="Check tracking.uri, the pattern and the filter; 'mmeframe train' registers models.",
            )
        return entries

    def _entry(self, model: RegisteredModel, key: dict[str, str], where: str) -> SubModelEntry:
        version = self._version(model)
        full = {**key, **NamePattern.from_tags(self.conf.key, dict(version.tags), dict(model.tags))}
        return SubModelEntry(
            model.name,
            f"models:/{model.name}/{version.version}",
            full,
            name=model.name,
            version=version.version,
            model_id=version.model_id,
            origin=where,
        )

    def _version(self, model: RegisteredModel) -> RegisteredVersion:
        wanted = self.conf.version
        if wanted == "latest":
            number = model.versions[0].version if model.versions else None
        elif wanted.startswith("@"):
            number = model.aliases.get(wanted[1:])
        else:
            number = wanted
        for version in model.versions:
            if version.version == number:
                return version
        if not model.versions:
            raise LookupError(f"registered model {model.name!r} has no versions; register one, or delete it")
        known = ", ".join(f"@{alias}" for alias in sorted(model.aliases)) or "none"
        raise LookupError(
            f"registered model {model.name!r} has no version {wanted!r} (aliases: {known}); "
            f"set the alias, or write version: latest"
        )
