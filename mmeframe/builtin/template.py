"""``kind: template``: one URI pattern for every listed key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from mmeframe.plugin import MISSING, ConfigError, ModelSource, SourceConf, SubModelEntry, canonical, suggest

__all__ = ["TemplateConf", "TemplateSource"]


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
        for chosen in product(*self.conf.each.values()):
            key = dict(zip(self.conf.each, chosen, strict=True))
            names = {part: str(canonical(value)) for part, value in key.items()}
            try:
                uri = self.conf.uri.format(**names)
            except (KeyError, IndexError, ValueError):
                raise ConfigError(
                    f"{self.conf.uri!r} is no pattern over the parts {sorted(key)}.",
                    where=f"{where}.uri",
                    hint="Write {part} where its value belongs.",
                ) from None
            yield SubModelEntry(f"{self.context.name}_{'_'.join(names.values())}", uri, key, origin=where)
