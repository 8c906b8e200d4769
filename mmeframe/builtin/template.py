"""``kind: template``: one URI pattern for every listed key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from math import prod
from string import Formatter
from typing import Any

from mmeframe.plugin import MISSING, ConfigError, ModelSource, SourceConf, SubModelEntry, canonical, suggest

__all__ = ["TemplateConf", "TemplateSource"]

# Far more than a router can hold.
_COMBINATIONS = 100_000


@dataclass
class TemplateConf(SourceConf):
    """Options of ``kind: template``."""

    # Key part -> its values. Several parts give every combination.
    each: dict[str, list[Any]] = field(default_factory=dict)
    # Where each sub-model is; {part} stands for the key's value, as in models:/shop_{shop}@champion.
    uri: str = MISSING


class TemplateSource(ModelSource[TemplateConf]):
    """Sub-models ``<source>_<key>``, one per combination of the listed values."""

    def expand(self) -> Iterable[SubModelEntry]:
        where = f"sources.{self.context.name}"
        if not self.conf.each:
            raise ConfigError("each is empty.", where=f"{where}.each", hint="List the values: each: {shop: [berlin]}.")
        for part, values in self.conf.each.items():
            if not values:
                raise ConfigError("it lists no values.", where=f"{where}.each.{part}", hint="Name one at least.")
            if part not in self.context.parts:
                known = suggest(part, self.context.parts, "Parts of routing.keys")
                raise ConfigError(f"{part!r} is no key part.", where=f"{where}.each", hint=known)
        if (many := prod(map(len, self.conf.each.values()))) > _COMBINATIONS:
            what = f"its values have {many:,} combinations, and a source brings {_COMBINATIONS:,} sub-models at most."
            raise ConfigError(what, where=f"{where}.each", hint="List the sub-models that there are: source=manifest.")
        if not self._is_pattern():
            what = f"{self.conf.uri!r} is no pattern over the parts {sorted(self.conf.each)}."
            raise ConfigError(what, where=f"{where}.uri", hint="Write {part} where its value belongs.")
        for chosen in product(*self.conf.each.values()):
            key = dict(zip(self.conf.each, chosen, strict=True))
            names = {part: str(canonical(value)) for part, value in key.items()}
            uri = self.conf.uri.format(**names)
            yield SubModelEntry(f"{self.context.name}_{'_'.join(names.values())}", uri, key, origin=where)

    def _is_pattern(self) -> bool:
        """Whether only parts stand in braces: Python's formats would reach into values, and widen them without end."""
        try:
            fields = [field for _, *field in Formatter().parse(self.conf.uri)]
        except ValueError:
            return False
        return all(
            name is None or (name in self.conf.each and not how and not conversion) for name, how, conversion in fields
        )
