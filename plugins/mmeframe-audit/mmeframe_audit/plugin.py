"""The entry point: what this distribution registers. Imported when a config is composed, never to serve."""

from __future__ import annotations

from mmeframe.plugin import ObserverPlugin, hookimpl

from mmeframe_audit.observer import AuditConf

__all__: list[str] = []


@hookimpl
def mmeframe_observers() -> list[ObserverPlugin]:
    return [
        ObserverPlugin(
            "audit",
            AuditConf,
            "mmeframe_audit.observer:AuditObserver",
            "a log of answered batches in Parquet files",
        )
    ]
