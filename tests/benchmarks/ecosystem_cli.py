"""Plugins and the command line: discovery, ``mmeframe plugins`` and completion, with 20 distributions installed.

``python -m tests.benchmarks.ecosystem_cli``. The best of several processes each, beside its limit.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.commands import ROUNDS, wall
from tests.plugin.geohash import GEOHASH
from tests.plugin.projects import GEO, Project, strategies, write

DISTRIBUTIONS = 20

# Imports come first: what is measured is finding, checking and registering.
_DISCOVERY = """
import importlib, sys, time
from importlib.metadata import entry_points
for entry in entry_points(group="mmeframe"):
    entry.load()
importlib.import_module("mmeframe.builtin.plugin")
from mmeframe.plugin.manager import load_plugins
start = time.perf_counter()
plugins = load_plugins()
seconds = time.perf_counter() - start
assert not [it for it in plugins.plugins if it.status != "ok"], plugins.plugins
assert len(plugins.plugins) > len(sys.argv) - 1
print(seconds)
"""


def projects() -> list[Project]:
    """Small distributions with a strategy each, and one with all kinds and a preset."""
    small = [
        Project(f"mmeframe-small-{number}", "1.0", ((f"s{number}", strategies(GEO.replace('"geo"', f'"s{number}"'))),))
        for number in range(DISTRIBUTIONS - 1)
    ]
    return [*small, GEOHASH]


def install(made: Sequence[Project], site: Path, work: Path) -> None:
    """Build wheels with hatchling and put them into a folder with pip."""
    from hatchling.build import build_wheel

    wheels = []
    for project in made:
        folder = work / project.name
        folder.mkdir()
        write(project, folder)
        with contextlib.chdir(folder):
            wheels.append(str(folder / "dist" / build_wheel("dist")))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--target", str(site), *wheels], check=True)


def discovery(modules: Sequence[str]) -> float:
    """Seconds that the manager takes beyond importing the plugins."""
    command = [sys.executable, "-c", _DISCOVERY, *modules]
    said = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(ROUNDS)]
    return min(map(float, said))


def main() -> None:
    """Print one line per number: seconds and the limit."""
    mmeframe = [sys.executable, "-m", "mmeframe"]
    words = [*mmeframe, "completion", "words", "zsh"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = projects()
        install(made, folder / "site", folder)
        here = str(Path(__file__).resolve().parents[2])
        # As for a user: modules are compiled once.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPATH"] = os.pathsep.join([here, str(folder / "site")])
        modules = [project.module(plugin) for project in made for plugin, _ in project.plugins]
        found = [
            (f"discovery of {DISTRIBUTIONS} distributions beyond imports", discovery(modules), 0.05),
            ("mmeframe plugins", wall([*mmeframe, "plugins"], folder), 0.6),
            ("mmeframe plugins show geohash", wall([*mmeframe, "plugins", "show", "geohash"], folder), 0.6),
            ("completion of a command", wall([*words, "bui"], folder), 0.8),
            ("completion of routing=", wall([*words, "build", "routing="], folder), 0.8),
            ("completion of routing.", wall([*words, "build", "routing=geohash", "routing."], folder), 0.8),
            (
                "completion of routing.keys.dow. of an experiment",
                wall([*words, "build", "experiment=flights", "routing.keys.dow."], folder),
                0.8,
            ),
        ]
    print("| what | s | limit s | |\n|---|---|---|---|")
    for label, seconds, limit in found:
        print(f"| {label} | {seconds:.3f} | {limit} | {'ok' if seconds < limit else 'TOO SLOW'} |")


if __name__ == "__main__":
    main()
