"""A stable hash of rows, for shares of traffic: the same values give the same number in every process, for ever.

Lowest layer: numpy and, on use, pandas. Contract, so that other languages can compute it too: ``blake2b`` with an
8-byte digest over the UTF-8 text of the salt, then for each value its length in bytes, ``:`` and its canonical text in
UTF-8, or ``-`` for a missing one; the upper 53 bits of the digest, a big-endian integer, divided by 2 ** 53.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fraction", "fractions"]


def fraction(salt: str, values: Sequence[str | None]) -> float:
    """The number in [0, 1) of one row: its values as canonical texts, None for a missing one."""
    digest = hashlib.blake2b(salt.encode(), digest_size=8)
    for value in values:
        text = b"-" if value is None else value.encode(errors="surrogatepass")
        digest.update(text if value is None else b"%d:%b" % (len(text), text))
    # All that a double holds: a division of all 64 bits could give 1.
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2.0**53


def fractions(salt: str, columns: Sequence[pd.Categorical]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same for every row of columns of canonical texts (see ``keys.normalised``); hashed once per distinct row."""
    import pandas as pd

    positions = np.asarray(columns[0].codes, np.int64)
    for column in columns[1:]:
        # Numbered anew after each column, so that the product of many columns' sizes cannot overflow.
        positions, _ = pd.factorize(positions * (len(column.categories) + 1) + column.codes + 1)
    positions, distinct = pd.factorize(positions)
    first = np.empty(len(distinct), np.int64)
    first[positions[::-1]] = np.arange(len(positions))[::-1]
    texts = [np.array([*column.categories, None], object).take(column.codes[first]) for column in columns]
    found = np.fromiter((fraction(salt, row) for row in zip(*texts, strict=True)), np.float64, len(distinct))
    return found.take(positions)
