"""The entry point: what this distribution registers. Imported when a config is composed, never to serve."""

from __future__ import annotations

from mmeframe.plugin import CombinerPlugin, hookimpl

from mmeframe_trimmed.combiner import TrimmedConf

__all__: list[str] = []


@hookimpl
def mmeframe_combiners() -> list[CombinerPlugin]:
    return [
        CombinerPlugin(
            "trimmed",
            TrimmedConf,
            "mmeframe_trimmed.combiner:TrimmedCombiner",
            "the mean of numbers without the lowest and highest",
        )
    ]
