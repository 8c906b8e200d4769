"""What a live ONNX model takes, and what its loader says: ``python memory.py FOLDER``, an MLflow model's."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import yaml

from mmeframe_onnx.loader import OnnxConf, OnnxLoader

COUNT = 150


class Files:
    """The ``SubModelFiles`` of the plugin API over an MLflow model's own folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.id, self.flavor = root, "m", "onnx"
        self.options = yaml.safe_load((root / "MLmodel").read_text())["flavors"]["onnx"]

    @property
    def names(self) -> list[str]:
        return [path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()]

    def read(self, name: str) -> memoryview:
        return memoryview((self.root / name).read_bytes())

    def folder(self) -> Path:
        return self.root


def rss() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(root: Path) -> None:
    """Print bytes of resident memory for each of many live ones, and the loader's number."""
    loader, files = OnnxLoader(OnnxConf()), Files(root)
    # What a process needs once is used up first.
    kept = [loader.load(files) for _ in range(COUNT)]
    before = rss()
    kept += [loader.load(files) for _ in range(COUNT)]
    print((rss() - before) / COUNT, loader.size(kept[0]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
