"""What every model loader promises."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from mmeframe.errors import MissingError
from mmeframe.fleet.bare import bare_file, form_of
from mmeframe.fleet.examples import same
from mmeframe.fleet.signature import read_columns
from mmeframe.plugin import ModelLoaderPlugin
from mmeframe.spec import Column
from mmeframe.testing import new_process as apart
from mmeframe.testing.cases import LoaderCase
from mmeframe.testing.check import BrokenError, Check, expect
from mmeframe.testing.checks.common import COMMON_CHECKS
from mmeframe.testing.new_process import Files
from mmeframe.testing.threads_and_files import THREADS, in_threads

__all__ = [
    "LOADER_CHECKS",
    "check_answers_are_pure",
    "check_distributions",
    "check_for_arrays",
    "check_keep",
    "check_kept_files_suffice",
    "check_one_answer_per_row",
    "check_runs_code",
    "check_size",
    "check_threads",
    "files_of",
]

_PYFUNC = "python_function"
_CODE = "code"
# Of the size that a loader tells, and that the process grows by, one may be so many times the other; in bytes, what
# allocators and page sizes blur.
_TIMES, _BLUR = 4, 2**16


@contextlib.contextmanager
def files_of(case: LoaderCase, *, everything: bool = False) -> Iterator[Files]:
    """The case's sub-model as a loader gets it from a bundle, or, with ``everything``, from its own folder.

    Modules that it ships can be imported as long as the block runs.
    """
    flavor, options, sources = _described(case)
    names = sorted(sources)
    kept = names if everything else _kept(case, names, options)
    before = list(sys.path)
    with tempfile.TemporaryDirectory(prefix="mmeframe-case-") as folder:
        root = Path(folder)
        for name in kept:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sources[name], root / name)
        if (root / _CODE).is_dir():
            sys.path.insert(0, str(root / _CODE))
        try:
            yield Files(flavor, options, kept, root, _columns(case))
        finally:
            sys.path[:] = before


def _kept(case: LoaderCase, names: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    kept = set(case.make().keep(names, options))
    return [name for name in names if name in kept or name.startswith(f"{_CODE}/")]


def _described(case: LoaderCase) -> tuple[str, dict[str, Any], dict[str, Path]]:
    """The flavor, its section of the MLmodel file, and the files by name."""
    import yaml

    if case.path.is_file():
        suffixes = case.known.suffixes()
        file = bare_file(str(case.path), suffixes)
        if file is None:
            hint = f"Give a model folder, which holds a file MLmodel, or a file: {', '.join(suffixes)}."
            raise MissingError(f"{case.path.name} has an unsupported file type.", hint=hint)
        flavor, options = form_of(file, case.known, case.component)
        return flavor, {**options, "predict_fn": "predict"}, {file.name: case.path}
    flavors = yaml.safe_load((case.path / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    flavor = _flavor(case, flavors)
    options = dict(flavors[_PYFUNC if flavor == "pyfunc" else flavor])
    options["predict_fn"] = flavors.get(_PYFUNC, {}).get("predict_fn", "predict")
    files = (path for path in case.path.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return flavor, options, {path.relative_to(case.path).as_posix(): path for path in files}


def _columns(case: LoaderCase) -> Sequence[Column]:
    """What its signature declares; nothing of a bare file, or of a model without a signature."""
    if case.path.is_file():
        return ()
    from mlflow.models import Model

    signature = Model.load(str(case.path)).signature
    found = read_columns(signature.inputs if signature else None)
    return () if isinstance(found, str) else found


def _flavor(case: LoaderCase, flavors: Mapping[str, Any]) -> str:
    """The model's flavor that the loader claims, else its first one, else pyfunc."""
    record = case.entry.record
    claimed = record.flavors if isinstance(record, ModelLoaderPlugin) else ()
    native = [name for name in flavors if name != _PYFUNC]
    return next((name for name in native if name in claimed), native[0] if native else "pyfunc")


@Check
def check_keep(case: LoaderCase) -> None:
    """``keep`` chooses among the files that it is told, each once, and the same ones whenever it is asked."""
    _, options, sources = _described(case)
    names = sorted(sources)
    kept = list(case.make().keep(names, options))
    alien = sorted(set(kept) - set(names))
    expect(not alien, f"keep() gives {alien[:3]}, which are not among the files")
    expect(kept, "keep() gives no files, and load() would get none")
    expect(len(set(kept)) == len(kept), "keep() gives a file twice")
    again = sorted(case.make().keep(list(reversed(names)), options))
    expect(again == sorted(kept), f"keep() gives {again} when it is asked again, and {sorted(kept)} before")


@Check
def check_kept_files_suffice(case: LoaderCase) -> None:
    """A sub-model of the kept files alone answers as one of the whole model folder."""
    with files_of(case, everything=True) as files:
        expected = _answer(case.make().load(files), case.frame)
    with files_of(case) as files:
        found = _answer(case.make().load(files), case.frame)
    expect(same(found, expected), "a sub-model of the kept files answers otherwise than one of the model's own folder")


@Check
def check_one_answer_per_row(case: LoaderCase) -> None:
    """``load`` gives an object whose ``predict`` answers each row: an array, a frame, a series or a list."""
    with files_of(case) as files:
        model = case.make().load(files)
        kind = type(model).__name__
        expect(callable(getattr(model, "predict", None)), f"load() gives a {kind}, which has no predict")
        for rows in (case.frame, case.frame.iloc[:1]):
            found = model.predict(rows.copy())
            kinds = (np.ndarray, pd.DataFrame, pd.Series, list)
            expect(isinstance(found, kinds), f"its predict gives a {type(found).__name__}")
            shape = np.shape(found)
            expect(shape[0] == len(rows) and len(shape) < 3, f"its predict gives shape {shape} for {len(rows)} rows")


@Check
def check_answers_are_pure(case: LoaderCase) -> None:
    """Two that are loaded alike give equal answers, as often as they are asked, and leave the rows as they were."""
    with files_of(case) as files:
        sent = case.frame.copy(deep=True)
        one, other = case.make().load(files), case.make().load(files)
        first = one.predict(sent)
        expect(sent.equals(case.frame), "its predict changed the rows")
        expect(same(_answer(one, sent), first), "it gives other answers when it is asked again")
        expect(same(_answer(other, sent), first), "two that are loaded alike give different answers")


@Check
def check_threads(case: LoaderCase) -> None:
    """Several threads load at once, and share what was loaded."""
    with files_of(case) as files:
        loader = case.make()
        model = loader.load(files)
        expected = _answer(model, case.frame)
        for found in in_threads(lambda _: _answer(model, case.frame)):
            expect(all(same(it, expected) for it in found), f"{THREADS} threads that share one get other answers")
        for found in in_threads(lambda _: _answer(loader.load(files), case.frame)):
            expect(all(same(it, expected) for it in found), f"of {THREADS} loaded at once some answer otherwise")


@Check
def check_for_arrays(case: LoaderCase) -> None:
    """What ``for_arrays`` gives answers an array of doubles as ``load``'s answers a frame."""
    if not all(pd.api.types.is_numeric_dtype(dtype) for dtype in case.frame.dtypes):
        return
    with files_of(case) as files:
        loader = case.make()
        expected = _answer(loader.load(files), case.frame)
        model = loader.for_arrays(loader.load(files))
        if model is not None:
            found = model.predict(case.frame.to_numpy(np.float64))
            expect(same(found, expected), "it answers an array otherwise than the frame of the same numbers")


@Check
def check_size(case: LoaderCase) -> None:
    """``size`` is about what a process grows by for each sub-model: a budget counts it."""
    found = _loaded_apart(case)
    size, grown = found["size"], found["grown"]
    expect(size >= 0, f"size() is {size}")
    if grown is not None:
        expect(grown <= _TIMES * size + _BLUR, f"size() is {size:,} bytes, and a process grows by {grown:,.0f}")
        expect(size <= _TIMES * grown + _BLUR, f"size() is {size:,} bytes, and a process grows by only {grown:,.0f}")


@Check
def check_runs_code(case: LoaderCase) -> None:
    """``runs_code`` is True or False, and False only where ``load`` unpickles nothing."""
    _, options, sources = _described(case)
    answer = case.make().runs_code(sorted(sources), options)
    expect(isinstance(answer, bool), f"runs_code() gives {answer!r}")
    if not answer:
        found = _loaded_apart(case)["unpickled"]
        shown = ", ".join(found[:5])
        expect(not found, f"runs_code() is False, and load() unpickles {shown}: a pickle can run any code")


@Check
def check_distributions(case: LoaderCase) -> None:
    """``distributions`` names what must be installed to load a bare file, as it is installed here."""
    if not case.path.is_file():
        return
    _, options, _ = _described(case)
    for name in case.make().distributions(options):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            raise BrokenError(f"distributions() gives {name!r}, and no distribution of that name is here") from None


LOADER_CHECKS = (
    *COMMON_CHECKS,
    check_keep,
    check_kept_files_suffice,
    check_one_answer_per_row,
    check_answers_are_pure,
    check_threads,
    check_for_arrays,
    check_size,
    check_runs_code,
    check_distributions,
)


def _answer(model: Any, rows: pd.DataFrame) -> Any:
    return model.predict(rows.copy())


def _loaded_apart(case: LoaderCase) -> Any:
    """What loading it in a new process shows; done once for all checks that ask."""
    if case not in _apart:
        with files_of(case) as files:
            _apart[case] = apart.run("load", (case.component.to_json(), files))
    return _apart[case]


_apart: WeakKeyDictionary[LoaderCase, Any] = WeakKeyDictionary()
