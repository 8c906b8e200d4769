"""Combinations where pickles are forbidden: what combines others has no files, so it runs none."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from mmeframe import api
from mmeframe.errors import ModelError, ProblemsError
from tests import fleets

ROWS = fleets.rows(20)[["x1", "x2"]]
OF = ("one", "two", "three")
FORBID = "bundle.allow_pickle=false"
# Every combiner that this environment has -> its options, and what it makes of three answers.
COMBINERS: dict[str, tuple[str, Any]] = {
    "mean": ("", lambda answers: np.mean(answers, axis=0)),
    "median": ("", lambda answers: np.median(answers, axis=0)),
    "weighted": (",weights:[1,0,3]", lambda answers: (answers[0] + 3 * answers[2]) / 4),
    "vote": ("", lambda answers: np.array(answers[0])),
    "trimmed": ("", lambda answers: np.mean(answers, axis=0)),
}


def test_all_combiners_are_here():
    """A new one joins the table."""
    assert set(fleets.plugins().names("combiner")) == set(COMBINERS)


def save(folder: Path, number: int, form: str) -> str:
    path = tempfile.mkdtemp(prefix=f"{form}_", dir=folder)
    # All three vote alike.
    model = LinearRegression().fit(ROWS, (ROWS["x1"] > 0) * 0 + number * (form != "vote"))
    mlflow.sklearn.save_model(
        model,
        path,
        signature=mlflow.models.infer_signature(ROWS, model.predict(ROWS)),
        pip_requirements=fleets.pins(),
        serialization_format="cloudpickle" if form == "cloudpickle" else "skops",
    )
    return path


@pytest.fixture(scope="module")
def config(module_store) -> Any:
    """(form) -> overrides of a fleet with a combination of each kind, one of combinations, and a gate's members."""

    def config(form: str) -> list[str]:
        found = [
            f"+models.{name}={{uri:'{save(module_store.folder, number, form)}',key:none}}"
            for number, name in enumerate(OF)
        ]
        # What they vote on must be whole or text; combinations of one are its own answers.
        for kind, (options, _) in COMBINERS.items():
            of = ",".join(OF)
            if kind != "vote":
                found.append(f"+models.{kind}.combine={{kind:{kind},of:[{of}]{options}}}")
        found.append("+models.nested.combine={kind:mean,of:[mean,median]}")
        return ["routing=column", "routing.column=key", *found, module_store.override]

    return config


@pytest.fixture(scope="module")
def logged(config, module_store) -> Any:
    with fleets.inside(module_store.folder):
        return api.build("name=safe", *config("skops"), FORBID)


@pytest.mark.parametrize("kind", [kind for kind in COMBINERS if kind != "vote"])
def test_every_combiner(logged, module_store, kind):
    """A fleet of safe sub-models is built, opened and asked, whatever combines them."""
    router = api.load_router(logged.model_uri, tracking_uri=module_store.uri)

    answers = [router.score(name, ROWS) for name in OF]
    found = router.predict(ROWS.assign(key=kind))

    assert found.tolist() == pytest.approx(COMBINERS[kind][1](np.array(answers)).tolist())


@pytest.mark.build
def test_votes(module_store):
    """Of texts."""
    from sklearn.linear_model import LogisticRegression

    labels = np.where(ROWS["x1"] > 0, "up", "down")
    paths = [tempfile.mkdtemp(dir=module_store.folder) for _ in OF]
    for path in paths:
        mlflow.sklearn.save_model(
            LogisticRegression(C=1e6).fit(ROWS, labels),
            path,
            signature=mlflow.models.infer_signature(ROWS, labels),
            pip_requirements=fleets.pins(),
            serialization_format="skops",
        )
    models = [f"+models.{name}={{uri:'{path}',key:none}}" for name, path in zip(OF, paths, strict=True)]
    vote = "+models.vote.combine={kind:vote,of:[one,two,three]}"
    with fleets.inside(module_store.folder):
        made = api.build(
            "name=votes", "routing=column", "routing.column=key", *models, vote, FORBID, module_store.override
        )

    router = api.load_router(made.model_uri, tracking_uri=module_store.uri)

    assert router.predict(ROWS.assign(key="vote")).tolist() == router.score("one", ROWS).tolist() == labels.tolist()


@pytest.mark.build
@pytest.mark.parametrize("value", ["false", "true"])
def test_where_a_deployment_forbids(config, module_store, monkeypatch, value):
    """Combinations of pickles are refused by the variable, naming their members only; safe ones are not."""
    monkeypatch.setenv("MMEFRAME_ALLOW_PICKLE", value)
    monkeypatch.chdir(module_store.folder)
    safe = api.build("name=allowed", *config("skops"))

    answers = api.load_router(safe.model_uri, tracking_uri=module_store.uri).predict(ROWS.assign(key="nested"))
    monkeypatch.setenv("MMEFRAME_ALLOW_PICKLE", "true")
    pickled = api.build("name=pickled", *config("cloudpickle"))
    monkeypatch.setenv("MMEFRAME_ALLOW_PICKLE", value)

    assert answers.tolist() == pytest.approx([1.0] * len(ROWS))
    if value == "false":
        with pytest.raises(ModelError) as caught:
            api.load_router(pickled.model_uri, tracking_uri=module_store.uri)
        assert caught.value.hint == "They are: one, three, two."


def test_a_build_that_forbids_names_members(config):
    """No combination is named: it has nothing to be refused."""
    with pytest.raises(ProblemsError) as caught:
        api.validate("name=no", *config("cloudpickle"), FORBID)

    (problem,) = caught.value.problems
    assert problem.where == "bundle.allow_pickle"
    assert problem.hint.startswith("They are: one, three, two. ")
