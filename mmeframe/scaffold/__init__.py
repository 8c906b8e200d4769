"""Start a project, or a package with a plugin: files from templates, in a folder that has none of them yet.

The templates lie beside this module, in the layout that they make; Jinja fills the texts and the paths.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from mmeframe._version import __version__
from mmeframe.errors import UsageError, suggest
from mmeframe.plugin.kinds import KINDS
from mmeframe.plugin.manager import isolated_plugins

__all__ = ["new_plugin", "new_project"]

_TEMPLATE = ".jinja"
_PROJECT = re.compile(r"[a-z][a-z0-9_]*")
_PLUGIN = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def new_project(folder: Path) -> list[Path]:
    """Write a project that trains, builds, tests and serves a router; its name is the folder's. Returns its files.

    Raises UsageError for a name that config could not use, and for a folder that has one of the files already.
    """
    name = folder.absolute().name.lower().replace("-", "_")
    if not _PROJECT.fullmatch(name):
        raise UsageError(
            f"{folder.absolute().name!r} cannot name a project.",
            where="init",
            hint="Use a folder whose name is letters, digits, - and _, such as shop.",
        )
    return _write(folder, ["project"], {"name": name, **_versions()})


def new_plugin(name: str, kind: str, folder: Path | None = None) -> list[Path]:
    """Write a package ``mmeframe-<name>`` with one component of a kind, and its tests. Returns its files.

    folder: where; by default a new one called like the package. Raises UsageError for a name that no package can have,
    for an unknown kind, and for a folder that has one of the files already.
    """
    short = name.removeprefix("mmeframe-").replace("_", "-")
    if not _PLUGIN.fullmatch(short):
        hint = "Write lower-case letters, digits and -, such as geohash."
        raise UsageError(f"{name!r} cannot name a plugin.", where="--plugin", hint=hint)
    known = {it.name: it.noun for it in KINDS}
    if kind not in known:
        raise UsageError(f"there is no kind {kind!r} of component.", where="--kind", hint=suggest(kind, known, "Kinds"))
    kept = short.replace("-", "_")
    if kept in {"builtin", *known, *isolated_plugins().names(known[kind])}:
        hint = f"Write what is particular about yours, such as my-{short}."
        raise UsageError(f"{name!r} is a name of mmeframe's own.", where="--plugin", hint=hint)
    values = {
        "distribution": f"mmeframe-{short}",
        "package": f"mmeframe_{kept}",
        "name": kept,
        "class": "".join(word.capitalize() for word in short.split("-")),
        "kind": kind,
        "noun": known[kind],
        **_versions(),
    }
    return _write(folder or Path(values["distribution"]), ["plugin", kind], values)


def _versions() -> dict[str, str]:
    major, minor = __version__.split(".")[:2]
    return {"version": f"{major}.{minor}", "next_version": f"{major}.{int(minor) + 1}"}


def _write(folder: Path, templates: list[str], values: Mapping[str, str]) -> list[Path]:
    """All files, or none: what is there already is kept, and what was begun is taken back."""
    texts = {folder / path: text for template in templates for path, text in _rendered(template, values)}
    if taken := sorted(str(path) for path in texts if path.exists()):
        more = f" and {len(taken) - 1} more exist" if len(taken) > 1 else " exists"
        hint = "Name another folder, or move what is there."
        raise UsageError(f"{taken[0]}{more} already.", where="init", hint=hint)
    made: list[Path] = []
    try:
        for path, text in texts.items():
            missing = [parent for parent in path.parents if not parent.exists()]
            made += reversed(missing)
            path.parent.mkdir(parents=True, exist_ok=True)
            made.append(path)
            path.write_text(text, encoding="utf-8")
    except BaseException as error:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            where = error.filename or folder
            raise UsageError(f"the files cannot be written: {error.strerror}.", where=str(where)) from error
        raise
    return sorted(texts)


def _rendered(template: str, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Path and text of each file of a template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    home = Path(str(files("mmeframe") / "scaffold" / "templates" / template))
    # Plain text files for people: nothing to escape.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(home), undefined=StrictUndefined, keep_trailing_newline=True
    )
    for name in sorted(environment.list_templates()):
        path = environment.from_string(name.removesuffix(_TEMPLATE)).render(values)
        yield path, environment.get_template(name).render(values)
