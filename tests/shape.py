"""The shape of the product's code: ``python -m tests.shape`` prints it.

Import circles, lengths of functions and of modules, and lines in all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "mmeframe"

Graph = Mapping[str, set[str]]


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module of a package, by its name; a package is its ``__init__``."""
    return {_name(path, package): path for path in sorted(package.rglob("*.py"))}


def imports(paths: Mapping[str, Path], *, type_checking: bool) -> Graph:
    """Who imports whom among these modules, anywhere in a file. type_checking: with imports for type checkers only."""
    graph: dict[str, set[str]] = {name: set() for name in paths}
    for name, path in paths.items():
        for node in _statements(ast.parse(path.read_bytes()), type_checking):
            graph[name] |= _imported(node, paths)
        graph[name].discard(name)
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Modules that reach one another, each circle once."""
    reached = {name: _reached(graph, name) for name in graph}
    rounds = {tuple(sorted(other for other in there if name in reached[other])) for name, there in reached.items()}
    return [list(circle) for circle in sorted(rounds) if circle]


def function_lines(paths: Mapping[str, Path]) -> dict[str, int]:
    """The lines of every function, from ``def`` to its end."""
    return {
        f"{name}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for name, path in paths.items()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def module_lines(paths: Mapping[str, Path]) -> dict[str, int]:
    """The lines of every module."""
    return {name: path.read_bytes().count(b"\n") for name, path in paths.items()}


def _name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _statements(tree: ast.AST, type_checking: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not type_checking and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _statements(ast.Module(node.orelse, []), type_checking)
        else:
            yield from _statements(node, type_checking)


def _imported(node: ast.Import | ast.ImportFrom, known: Mapping[str, Path]) -> set[str]:
    """Modules that a statement names: of ``from a import b``, a.b where that is a module, else a. None is relative."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & known.keys()
    names = [f"{node.module}.{alias.name}" for alias in node.names]
    return {name if name in known else str(node.module) for name in names} & known.keys()


def _reached(graph: Graph, start: str) -> set[str]:
    """Modules at the end of any path of imports; the start itself only on a circle."""
    found: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += graph[name]
    return found


def _percentile(values: Sequence[int], share: float) -> int:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def _print_lengths(what: str, lengths: Mapping[str, int], limit: int) -> None:
    values = list(lengths.values())
    median, p90, longest = _percentile(values, 0.5), _percentile(values, 0.9), max(values)
    print(f"{what}: {len(values):,}; lines: median {median}, p90 {p90}, max {longest}; {limit} at most")
    for name in sorted(lengths, key=lengths.__getitem__, reverse=True):
        if lengths[name] > limit:
            print(f"  {lengths[name]:4} {name}")


def _print_circles(when: str, found: Sequence[Sequence[str]]) -> None:
    print(f"import circles {when}: {len(found)}")
    for circle in found:
        print(f"  {', '.join(circle)}")


def main() -> None:
    paths = modules()
    _print_circles("at run time", circles(imports(paths, type_checking=False)))
    _print_circles("for type checkers too", circles(imports(paths, type_checking=True)))
    _print_lengths("functions", function_lines(paths), 50)
    _print_lengths("modules", module_lines(paths), 500)
    print(f"product lines: {sum(module_lines(paths).values()):,}")


if __name__ == "__main__":
    main()
