"""The entry point: what this distribution registers. Imported when a config is composed, never to serve."""

from __future__ import annotations

from mmeframe.plugin import ModelLoaderPlugin, hookimpl

from mmeframe_onnx.loader import OnnxConf

__all__: list[str] = []


@hookimpl
def mmeframe_model_loaders() -> list[ModelLoaderPlugin]:
    return [
        ModelLoaderPlugin(
            "onnx",
            OnnxConf,
            "mmeframe_onnx.loader:OnnxLoader",
            "ONNX models by ONNX Runtime, from memory",
            flavors=("onnx",),
            suffixes={".onnx": {"data": "{name}"}},
        )
    ]
