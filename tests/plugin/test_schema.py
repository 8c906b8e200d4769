"""The JSON Schema with distributions that are really installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml

from tests.plugin.geohash import GEOHASH
from tests.plugin.test_listing import ODDITIES


@pytest.fixture
def faults(installed, run) -> Callable[[str], list[str]]:
    """Paths at which a YAML text is wrong, by the schema that the command prints."""
    installed(GEOHASH)
    schema: Any = run("schema").json

    def find(text: str) -> list[str]:
        validator = jsonschema.Draft202012Validator(schema)
        return sorted({".".join(map(str, it.absolute_path)) for it in validator.iter_errors(yaml.safe_load(text))})

    return find


@pytest.mark.parametrize(
    ("text", "where"),
    [
        pytest.param("routing: {kind: geohash, column: c, precision: 4, box: {north: 1}}", [], id="strategy"),
        pytest.param("routing: {kind: geohash, precison: 4}", ["routing"], id="strategy-misspelt"),
        pytest.param("routing: {kind: geohash, precision: abc}", ["routing.precision"], id="strategy-type"),
        pytest.param("routing: {kind: geohash, precision: 13}", ["routing.precision"], id="strategy-range"),
        pytest.param("routing: {kind: geohash, cells: many}", ["routing.cells"], id="strategy-union"),
        pytest.param("routing: {kind: geohash, box: {north: 91}}", ["routing.box.north"], id="strategy-nested"),
        pytest.param("routing: {kind: geohash, precision: '${p}', box: '${b}'}", [], id="interpolation"),
        pytest.param("routing: {precision: 13}", ["routing.precision"], id="kind-of-another-file"),
        pytest.param(
            "defaults: [_base, _self_, {override routing: geohash}]\nrouting: {closed: left}", ["routing"], id="chosen"
        ),
        pytest.param("sources: {s: {kind: bucket, requests: 65}}", ["sources.s.requests"], id="source"),
        pytest.param("observers: {o: {kind: statsd, port: 0}}", ["observers.o.port"], id="observer"),
        pytest.param("models: {a: {loader: mleap}}", [], id="loader"),
        pytest.param("models: {a: {loader: {kind: mleap, threads: -1}}}", ["models.a.loader.threads"], id="range"),
        pytest.param("models: {a: {combine: {kind: clipped, share: 0.5}}}", ["models.a.combine.share"], id="combiner"),
    ],
)  # fmt: skip
def test_options_of_a_distribution(faults, text, where):
    """They are as right or wrong as those that come with mmeframe, at their own paths."""
    assert faults(text) == where


def test_options_that_no_config_can_hold_are_left_out(installed, run):
    """The schema comes all the same, and what it lacks is said beside it."""
    installed(ODDITIES)

    done = run("schema")

    assert (done.code, done.json["title"]) == (0, "mmeframe config")
    assert "warning: the schema lacks what odd-options 1.0 provides: Plugin 'lock': " in done.err
