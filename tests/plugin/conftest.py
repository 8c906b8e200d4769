"""Real distributions and modules with plugins."""

from __future__ import annotations

import contextlib
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmeframe.plugin import manager
from tests.plugin.projects import Project, only, write

Install = Callable[..., Path]


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Install projects into one folder, once per combination."""
    from hatchling.build import build_wheel

    wheels: dict[Project, Path] = {}
    sites: dict[tuple[Project, ...], Path] = {}

    def build(project: Project) -> Path:
        folder = tmp_path_factory.mktemp("project")
        write(project, folder)
        with contextlib.chdir(folder):
            return folder / "dist" / build_wheel("dist")

    def into(*projects: Project) -> Path:
        if projects not in sites:
            files = [wheels.get(project) or wheels.setdefault(project, build(project)) for project in projects]
            sites[projects] = tmp_path_factory.mktemp("site")
            for file in files:
                # What pip does with a wheel that has neither scripts nor data.
                with zipfile.ZipFile(file) as wheel:
                    wheel.extractall(sites[projects])
        return sites[projects]

    return into


@pytest.fixture
def installed(install: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install projects, and see only these."""
    return lambda *projects: only(monkeypatch, install(*projects))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plugin is installed but the built-in one."""
    monkeypatch.setattr(manager, "_distributions", list)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: None) -> Iterator[Callable[[str], str]]:
    """A module that can be imported and that no distribution ships; returns its name."""
    names = []

    def make(source: str) -> str:
        name = f"plugin_{tmp_path.name}_{len(names)}"
        (tmp_path / f"{name}.py").write_text(source)
        names.append(name)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    yield make
    for name in names:
        sys.modules.pop(name, None)
