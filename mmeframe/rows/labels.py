"""Labels of rows: sub-models see 0 to n - 1, whatever the caller's are and whoever else is in the batch.

So a sub-model that sets a column or a Series beside its frame gets the same rows alone and behind the router.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

__all__ = ["in_order", "unlabelled"]


def unlabelled(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose rows are labelled 0 to n - 1; its columns are not copied."""
    if _plain(frame.index):
        return frame
    out = frame.iloc[:]
    out.index = pd.RangeIndex(len(frame))
    return out


def in_order(answer: Any) -> Any:
    """An answer in the order of its rows: where its labels are those of the rows in another order, it follows them.

    That is how pandas, and so plain MLflow, would set it beside the rows. Any other labels say nothing.
    """
    if not isinstance(answer, pd.DataFrame | pd.Series) or _plain(answer.index):
        return answer
    index = answer.index
    if isinstance(index, pd.MultiIndex) or not index.is_unique:
        return answer
    place = index.get_indexer(pd.RangeIndex(len(answer)))
    return answer if (place < 0).any() else answer.take(place)


def _plain(index: Any) -> bool:
    return type(index) is pd.RangeIndex and index.start == 0 and index.step == 1
