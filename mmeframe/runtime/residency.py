"""Which sub-models are in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from mmeframe.errors import MmeframeError, ModelError
from mmeframe.plugin import SubModel

__all__ = ["EagerResidency"]


class EagerResidency:
    """Everything is loaded when the router opens, and stays.

    load: makes the sub-model with a number. ids: names of the sub-models, for messages. without: numbers of those that
    have no files. Raises ModelError naming the first sub-model that cannot be loaded.
    """

    def __init__(self, ids: Sequence[str], load: Callable[[int], SubModel], without: Collection[int] = ()) -> None:
        models: list[SubModel | None] = []
        for number, name in enumerate(ids):
            try:
                models.append(None if number in without else load(number))
            except MmeframeError:
                raise
            except Exception as error:
                raise ModelError(f"it cannot be loaded: {type(error).__name__}: {error}", where=name) from error
        self._models = tuple(models)

    def acquire(self, targets: Sequence[int]) -> AbstractContextManager[Sequence[Any]]:
        """The live sub-models with these numbers, in this order, held until the block ends."""
        return nullcontext([self._models[target] for target in targets])
