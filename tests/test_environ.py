"""Environment variables that are set for a while."""

from __future__ import annotations

import os

import pytest

from mmeframe.environ import variables


@pytest.mark.parametrize("before", [None, "own"])
@pytest.mark.parametrize("while_", [None, "other"])
def test_variables_are_as_they_were(monkeypatch, before, while_):
    """Set or unset while the block runs, and as before after it; other variables stay."""
    monkeypatch.delenv("MMEFRAME_A", raising=False)
    monkeypatch.delenv("MMEFRAME_B", raising=False)
    if before is not None:
        monkeypatch.setenv("MMEFRAME_A", before)

    with variables({"MMEFRAME_A": while_}):
        assert os.environ.get("MMEFRAME_A") == while_
        monkeypatch.setenv("MMEFRAME_B", "kept")

    assert (os.environ.get("MMEFRAME_A"), os.environ.get("MMEFRAME_B")) == (before, "kept")
