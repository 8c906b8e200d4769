"""Options as ``mmeframe validate`` checks them."""

from __future__ import annotations

from typing import Any

from mmeframe.config.validation import Checker
from mmeframe.plugin.components import make_component
from tests.fleets import plugins


def problems(noun: str, **options: Any) -> list[str]:
    """Everything that is wrong with the options of ``kind``, at the config path ``at``."""
    checker = Checker(plugins())
    checker.component(noun, options, "at")
    return [str(problem) for problem in checker.report.problems]


def made(noun: str, **options: Any) -> Any:
    """The component as a router makes it of what the bundle records, which is JSON with sorted maps."""
    import json

    checker = Checker(plugins())
    component = checker.component(noun, options, "at")
    assert component is not None, checker.report.problems
    recorded = json.loads(json.dumps(component.to_json(), sort_keys=True, allow_nan=False))
    return make_component(type(component).from_json(recorded))
