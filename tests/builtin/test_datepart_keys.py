"""Which keys parts of timestamps can give."""

from __future__ import annotations

import pandas as pd
import pytest

from mmeframe.builtin.datepart import DatepartConf, DatepartStrategy
from mmeframe.testing import keys_of


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("quarter", range(1, 5)),
        ("month", range(1, 13)),
        ("week", range(1, 54)),
        ("day", range(1, 32)),
        ("dayofyear", range(1, 367)),
        ("weekday", range(7)),
        ("day_name", ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]),
        ("hour", range(24)),
        ("minute", range(60)),
    ],
)
def test_closed_parts(part, keys):
    """Every value that the part can have is listed, and each of them occurs in some years."""
    strategy = DatepartStrategy(DatepartConf("ts", part))
    # 1,441 minutes: every hour and minute comes by, on every day of a leap year and of one with 53 weeks.
    times = pd.date_range("2020-01-01", "2021-01-04", freq="1441min", unit="s")
    found = set(keys_of(strategy, pd.DataFrame({"ts": times})))
    minutes = pd.date_range("2020-01-01", periods=1440, freq="1min", unit="s")
    found |= set(keys_of(strategy, pd.DataFrame({"ts": minutes})))

    assert list(strategy.keys()) == list(keys)
    assert found == {str(key) for key in keys}


@pytest.mark.parametrize("part", ["year", "date"])
def test_open_parts(part):
    """There is no last year."""
    assert DatepartStrategy(DatepartConf("ts", part)).keys() is None
