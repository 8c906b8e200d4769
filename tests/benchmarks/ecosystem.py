"""What the pytest plugin costs: an empty run with and without it, and a composition that is remembered."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmeframe.testing.compositions import Compositions

ROUNDS = 15
_DOW = ("name=r", "routing=column", "routing.column=dow", "+models.a={uri:a,key:{dow:0}}")


def collect(folder: Path, *arguments: str) -> float:
    """Seconds of processor time that collecting an empty folder takes: on a busy machine wall time says little."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        *arguments,
        str(folder),
    ]
    # Where Python may not keep bytecode, every run would compile the plugin anew.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 5, done.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print milliseconds beside the bounds that the plugin keeps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [(collect(folder, "-p", "no:mmeframe"), collect(folder)) for _ in range(ROUNDS)]
        without, with_it = (min(times) for times in zip(*runs, strict=True))
        known = Compositions()
        start = time.perf_counter()
        known.get(_DOW, config_dirs=[folder])
        first = time.perf_counter() - start
        times = []
        for _ in range(200):
            start = time.perf_counter()
            known.get(_DOW, config_dirs=[folder])
            times.append(time.perf_counter() - start)
    print("| what | ms | bound |\n|---|---|---|")
    print(f"| an empty pytest run without the plugin, processor time | {without * 1000:.0f} | |")
    print(f"| ... what the plugin adds | {(with_it - without) * 1000:.1f} | 20 |")
    print(f"| a composition, the first of the process | {first * 1000:.0f} | |")
    print(f"| ... and again | {statistics.median(times) * 1000:.2f} | 2 |\n")


if __name__ == "__main__":
    main()
