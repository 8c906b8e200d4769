"""How results are shown: JSON for machines, tables for people, a bar while long work goes on."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from mmeframe.errors import legible, legible_lines

__all__ = ["emit", "emit_rows", "note", "progress_bar", "say", "show_plugin_errors", "show_traceback", "table"]

if TYPE_CHECKING:
    from mmeframe.plugin.manager import Plugins
    from mmeframe.store.store import Progress


def emit(as_json: bool, data: Mapping[str, Any], show: Callable[[], None], *, ok: bool = True) -> None:
    """``--json`` prints data, otherwise people get a view of it."""
    if as_json:
        print(json.dumps({"ok": ok, **data}, indent=1, default=str))
    else:
        show()


def emit_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """``--json`` of many rows, whole or not at all: they are kept on disk until all are there."""
    import shutil
    import tempfile

    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write('{"ok": true, "rows": [')
        for number, row in enumerate(rows):
            file.write(("," if number else "") + "\n" + json.dumps(row, default=str))
        file.write("\n]}\n")
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout)


def table(title: str, columns: list[str], rows: list[list[Any]], limit: int = 40) -> None:
    """Print a table, as wide as its content where output is not a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    view = Table(title=legible(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for at, name in enumerate(columns):
        right = bool(rows) and all(isinstance(row[at], int | float) for row in rows)
        view.add_column(legible(name), justify="right" if right else "left", overflow="fold")
    for row in rows[:limit]:
        view.add_row(*map(_cell, row))
    # A name may look like rich's own markup, [red], or like an emoji's :name:.
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    console = Console(**plain)
    if not console.is_terminal:
        console = Console(width=200, **plain)
    console.print(view)
    if len(rows) > limit:
        say(f"... and {len(rows) - limit} more (--json lists all)")


def _cell(item: Any) -> str:
    return f"{item:.2f}" if isinstance(item, float) else "" if item is None else legible(str(item))


def say(*lines: str) -> None:
    """Print lines for people: names and keys in them may hold what a terminal would obey, or a line of their own."""
    for line in lines:
        print(legible(line))


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As Python shows it, without secrets: libraries repeat URLs and values."""
    import traceback

    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        note(line)


def show_plugin_errors(plugins: Plugins) -> None:
    """Tracebacks of what plugins raised when they were imported, and in their hooks."""
    for plugin in plugins.plugins:
        if plugin.error is not None:
            print(legible_lines(f"debug: plugin {plugin.title} raised:"), file=sys.stderr)
            show_traceback(type(plugin.error), plugin.error, plugin.error.__traceback__)


def note(text: str) -> None:
    """Say something beside the results."""
    print(legible(text), file=sys.stderr)


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on a terminal's standard error, nothing elsewhere; and an interruption never gets lost."""
    with _heard() as check, _bar() as update:

        def tell(what: str, done: int, total: int) -> None:
            check()
            update(what, done, total)

        yield tell


@contextlib.contextmanager
def _heard() -> Iterator[Callable[[], None]]:
    """What raises KeyboardInterrupt if a signal that does has come already.

    Python drops an exception in a weak reference's callback or in ``__del__``, and databases have many of those: the
    work would go on. Only the main thread gets signals.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def heard(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        before[signum](signum, frame)

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    try:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                if callable(handler := signal.getsignal(signum)):
                    before[signum] = handler
                    signal.signal(signum, heard)
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total or None)
            label = what if total else f"{what} {done:,} rows"
            bar.update(tasks[what], completed=done, total=total or None, description=label)

        yield update
