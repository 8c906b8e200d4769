"""Sub-models that are asked at build: in this process, or in one that may crash.

With ``isolation: process`` there is one for each code. What another Python, or another version of a library, has
pickled, or nobody knows which, is asked in one of its own, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.errors import BuildError, ModelError
from mmeframe.fleet.pickles import PICKLES, holds_code
from mmeframe.imports import modules_of, rival_of
from mmeframe.shipped import CODE, as_ever, importable
from mmeframe.store.folders import code_of
from mmeframe.worker import Ended, Remote, Worker

if TYPE_CHECKING:
    from mmeframe.fleet.submodel import PinnedModel

__all__ = ["LiveModels"]

_AGAIN = (
    "Save it again with this Python and the libraries installed here, or in a format that holds no code, such as "
    'serialization_format="skops".'
)


class LiveModels:
    """Runs what needs a live sub-model. isolation: the config's; with ``process`` no two modules of a name meet.

    risky: ids of those that may crash a process. The processes end with this object.
    """

    def __init__(self, isolation: str) -> None:
        self._apart = isolation == "process"
        self.risky: set[str] = set()
        self._workers: dict[frozenset[tuple[str, str]], Worker] = {}
        # By id: whether it holds bytecode, and does not say of which Python.
        self._untold: dict[str, bool] = {}
        self._known: set[frozenset[tuple[str, str]]] = set()

    def run(self, function: Callable[..., Any], model: PinnedModel, root: Path, *args: Any) -> Any:
        """``function(model, root, *args)``, where the modules that the sub-model ships can be imported.

        root: the sub-model's own folder. Raises what the function raises, ModelError if its process ends, BuildError if
        it would run other code than it ships.
        """
        if not self._elsewhere(model, root):
            with self._importable(model, root):
                return function(model, root, *args)
        try:
            return self._worker(model).run(_there, function, model, root, *args)
        except Ended as error:
            doubt = self.doubt(model)
            hint = f"{doubt[:1].upper()}{doubt[1:]}. {_AGAIN}" if doubt else ""
            raise ModelError(str(error), where=f"models.{model.id}", hint=hint) from None

    def doubt(self, model: PinnedModel) -> str:
        """Why a sub-model may fail whatever rows it is asked with, an empty text for those that nothing is known of."""
        if model.id in self.risky:
            return "another version of Python or of a library has pickled it"
        return "it holds code, and does not say which Python has pickled it" if self._untold.get(model.id) else ""

    def load(self, model: PinnedModel, root: Path) -> Any:
        """A live sub-model that can ``predict``."""
        if not self._elsewhere(model, root):
            with self._importable(model, root):
                return model.load(root)
        return Remote(self._worker(model), model.id, partial(_there, _load, model, root), ("predict",))

    @contextmanager
    def _importable(self, model: PinnedModel, root: Path) -> Iterator[None]:
        if not model.code:
            yield
            return
        code, files = root / CODE, code_of(model.folder, root)
        self._refuse(model, files)
        before = list(sys.path)
        importable(code, files)
        sys.path.insert(0, str(code))
        try:
            yield
        finally:
            sys.path[:] = before
            # It is somebody's own folder, and may hold something else the next time.
            as_ever(code)

    def _refuse(self, model: PinnedModel, files: Mapping[str, bytes]) -> None:
        """This process may have imported other modules of these names, from wherever; of this fleet they are alike."""
        known = frozenset(model.code.items())
        if known not in self._known and (rival := rival_of(modules_of(files))):
            module, place = rival
            raise BuildError(
                f"it ships a module {module!r}, and this process has imported other code of that name, from {place}.",
                where=f"models.{model.id}",
                hint="Begin a new process, log the sub-model with that code, or set isolation=process.",
            )
        self._known.add(known)

    def _elsewhere(self, model: PinnedModel, root: Path) -> bool:
        return bool(self._apart and model.code) or model.id in self.risky or self._is_untold(model, root)

    def _is_untold(self, model: PinnedModel, root: Path) -> bool:
        if model.python:
            return False
        if model.id not in self._untold:
            pickles = [path for path in root.rglob("*") if path.suffix in PICKLES]
            self._untold[model.id] = any(holds_code(path.read_bytes()) for path in pickles)
        return self._untold[model.id]

    def _worker(self, model: PinnedModel) -> Worker:
        return self._workers.setdefault(frozenset(model.code.items()), Worker())


def _load(model: PinnedModel, root: Path) -> Any:
    return model.load(root)


def _there(function: Callable[..., Any], model: PinnedModel, root: Path, *args: Any) -> Any:
    """Runs in a worker, whose path keeps the code: a sub-model may import when it predicts."""
    if model.code and str(code := root / CODE) not in sys.path:
        importable(code, code_of(model.folder, root))
        sys.path.insert(0, str(code))
    return function(model, root, *args)
