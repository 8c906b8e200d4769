"""A router that requires other versions than it is proved with says so."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from mmeframe import api
from tests import fleets

HERE = version("scikit-learn")


def requiring(keep, pin: str) -> str:
    """A sub-model that was logged with another scikit-learn."""
    rows = fleets.rows(20)[["x1", "x2"]]
    path = keep(fleets.fitted(0), rows)
    lines = [line for line in fleets.pins() if not line.startswith("scikit-learn")]
    (Path(path) / "requirements.txt").write_text("\n".join([*lines, f"scikit-learn=={pin}"]))
    return path


@pytest.mark.parametrize(
    ("pins", "told"),
    [
        pytest.param(("0.24.1", "1.0"), "1.0", id="another"),
        pytest.param(("0.24.1", HERE), None, id="the-highest-is-here"),
    ],
)
def test_the_highest_of_several_versions_is_compared_with_the_one_here(module_store, keep, pins, told):
    """With environment.merge=highest one version is required, and what is installed here proves the answers."""
    models = [f"+models.m{at}={{uri:'{requiring(keep, pin)}',key:{{k:{at}}}}}" for at, pin in enumerate(pins)]
    plan = api.plan(
        "name=proved",
        "routing=column",
        "routing.column=k",
        "environment.merge=highest",
        *models,
        module_store.override,
        plugins=fleets.plugins(),
    )

    about = [line for line in plan["warnings"] if line.startswith("environment: scikit-learn")]
    said = (
        f"environment: scikit-learn=={told} is required, and {HERE} is installed here. The build proves "
        f"the sub-models with the installed one."
    )
    assert about == ([said] if told else [])
