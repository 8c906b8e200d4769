"""What notebooks call beside the commands."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap

import pytest

from mmeframe import api
from mmeframe.cache import cache_folder
from mmeframe.errors import UsageError
from mmeframe.store import routers
from tests import fleets


def digest_at(uri: str, store) -> str:
    """The digest of the router that ``fetch`` finds at a URI."""
    folder = routers.fetch(store, uri)
    return json.loads((folder / "artifacts" / "bundle" / "manifest.json").read_text())["digest"]


@pytest.mark.build
def test_a_router_that_was_logged_again_to_the_same_place_is_fetched_again(week, tmp_path):
    """A copy is kept per content, not per place; the second look is answered from the copy."""
    import mlflow

    with fleets.active(week.uri):
        client = mlflow.MlflowClient()
        first, second = (api.build(f"name={name}", *fleets.WEEK, week.override) for name in ("once", "twice"))
        run = client.create_run("0").info.run_id
        uri, found = f"runs:/{run}/router", []
        for logged in (first, second):
            with api.job("show", [week.override]).store() as store:
                folder = routers.fetch(store, f"models:/{logged.model_id}")
                client.log_artifacts(run, str(folder), "router")
                found += [digest_at(uri, store), digest_at(uri, store)]

    assert found == [first.digest] * 2 + [second.digest] * 2
    assert len(list((cache_folder() / "routers").iterdir())) == 2


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [pytest.param((["name=a"],), "list", id="a-list"), pytest.param(("name=a", {"name": "a"}), "dict", id="a-map")],
)
def test_overrides_are_texts(overrides, kind):
    """A list in place of its elements is told as what it is, not as what Hydra's parser makes of it."""
    with pytest.raises(UsageError, match=rf"^overrides: an override is a text; this is a {kind}\.") as caught:
        api.compose(*overrides)

    assert "those of a list with *" in caught.value.hint


@pytest.mark.parametrize("name", [name for name in api.__all__ if name != "Job"])
def test_a_function_says_how_it_is_called(name):
    """Its docstring has an example that calls it, with parameters that it names."""
    function = getattr(api, name)
    example = inspect.cleandoc(function.__doc__).partition("Example::\n\n")[2]
    assert example.startswith("    ")

    calls = [it for it in ast.walk(ast.parse(textwrap.dedent(example))) if isinstance(it, ast.Call)]
    (call,) = [it for it in calls if ast.unparse(it.func) == f"mmeframe.{name}"]
    parameters = inspect.signature(function).parameters
    assert {it.arg for it in call.keywords} <= {*parameters}
    assert not any(it.kind is inspect.Parameter.VAR_KEYWORD for it in parameters.values())
