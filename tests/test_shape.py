"""The shape of the code: no module imports itself in the end."""

from __future__ import annotations

import pytest

from tests import shape


def test_no_circle_of_imports():
    """Neither when modules are imported, nor when a function imports on use, nor for type checkers."""
    assert shape.circles(shape.imports(shape.modules(), type_checking=True)) == []


@pytest.fixture
def ring(tmp_path):
    """a imports b, which imports a in a function; c and d import one another for type checkers only."""
    texts = {
        "__init__": "",
        "a": "import ring.b",
        "b": "def late():\n    from ring.a import name",
        "c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ring import d\nelse:\n    import ring.a",
        "d": "from ring import c",
    }
    (tmp_path / "ring").mkdir()
    for name, text in texts.items():
        (tmp_path / "ring" / f"{name}.py").write_text(f"{text}\n")
    return shape.modules(tmp_path / "ring")


@pytest.mark.parametrize(
    ("type_checking", "found"),
    [
        pytest.param(False, [["ring.a", "ring.b"]], id="run-time"),
        pytest.param(True, [["ring.a", "ring.b"], ["ring.c", "ring.d"]], id="type-checkers-too"),
    ],
)
def test_circles_are_found(ring, type_checking, found):
    """Each once, by all of its modules; an import of a package is none of what else is in it."""
    assert shape.circles(shape.imports(ring, type_checking=type_checking)) == found


def test_lines_are_counted(ring):
    """Of a function from def to its end, of a module all."""
    assert shape.function_lines(ring) == {"ring.b:1 late": 2}
    assert shape.module_lines(ring) == {"ring": 1, "ring.a": 1, "ring.b": 2, "ring.c": 5, "ring.d": 1}


def test_it_prints_what_it_finds(capsys):
    """Circles, functions, modules and lines in all."""
    shape.main()

    words = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert words == [
        "import circles at run time",
        "import circles for type checkers too",
        "functions",
        "modules",
        "product lines",
    ]
