"""The entry point: what this distribution registers. Imported when a config is composed, never to serve."""

from __future__ import annotations

from mmeframe.plugin import ModelSourcePlugin, hookimpl

from mmeframe_fsspec.source import FsspecConf

__all__: list[str] = []


@hookimpl
def mmeframe_model_sources() -> list[ModelSourcePlugin]:
    return [
        ModelSourcePlugin(
            "fsspec",
            FsspecConf,
            "mmeframe_fsspec.source:FsspecSource",
            "models that lie in a file system of fsspec, such as S3",
        )
    ]
