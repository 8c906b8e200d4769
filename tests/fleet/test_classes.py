"""Answers that are about classes: those of several sub-models are for the same ones, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mmeframe import api
from mmeframe.errors import ProblemsError
from mmeframe.fleet.signature import alike_labels
from mmeframe.runtime import Router
from tests import flavors, fleets
from tests.conftest import Store

ROUTED = ("routing=column", "routing.column=key")
ROWS = fleets.rows(60)[["x1", "x2"]]
FILL = {"predict_proba": 0.0, "predict_log_proba": -np.inf, "decision_function": np.nan}
Keep = Callable[..., str]
Make = Callable[..., Router]


def classifier(*labels: Any, shift: float = 0.0) -> LogisticRegression:
    """A classifier of ROWS with these labels."""
    edges = np.linspace(-0.8, 0.8, len(labels) + 1)[1:-1]
    return LogisticRegression().fit(ROWS, np.array(labels)[np.digitize(ROWS["x1"] + shift, edges)])


def routed(paths: dict[str, str], *more: str) -> tuple[str, ...]:
    return (*ROUTED, *(f"+models.{id_}={{uri:{path}{''.join(more)}}}" for id_, path in paths.items()))


def as_predict(keep: Keep, models: dict[str, Any], method: str, answers: Any = None) -> dict[str, str]:
    """Sub-models that were logged so that their ``predict`` is another method."""
    own = {id_: getattr(model, method)(ROWS) if answers is None else answers for id_, model in models.items()}
    return {id_: keep(model, ROWS, own[id_], pyfunc_predict_fn=method) for id_, model in models.items()}


@pytest.fixture(scope="module")
def refused(module_store: Store) -> Callable[..., list[str]]:
    """The problems that ``validate`` reports, without their hints."""

    def report(*overrides: str) -> list[str]:
        with pytest.raises(ProblemsError) as caught:
            api.validate("name=bad", *overrides, module_store.override, plugins=fleets.plugins())
        return [line for line in str(caught.value).splitlines() if not line.startswith("  ")]

    return report


PETS = {
    "pets": classifier("cat", "dog"),
    "birds": classifier("bird", "dog", shift=0.3),
    "zoo": make_pipeline(StandardScaler(), classifier("dog", "cat", "emu")).fit(
        ROWS, np.array(["cat", "dog", "emu"])[np.digitize(ROWS["x2"], [-0.3, 0.3])]
    ),
}


@pytest.mark.build
def test_classes_of_probabilities_are_aligned(make, keep):
    """Logged with ``pyfunc_predict_fn="predict_proba"``: a column for each class of the fleet, whoever knows it."""
    router = make(*routed(as_predict(keep, PETS, "predict_proba")))
    rows = ROWS.head(9).assign(key=list(PETS) * 3)

    answer = router.predict(rows)

    assert answer.columns.tolist() == ["bird", "cat", "dog", "emu"]
    for row, key in enumerate(rows["key"]):
        own = dict(zip(PETS[key].classes_, PETS[key].predict_proba(ROWS.iloc[[row]])[0], strict=True))
        wanted = [own.get(name, 0.0) for name in answer.columns]
        np.testing.assert_allclose(answer.iloc[row], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.build
@pytest.mark.parametrize("method", list(FILL))
def test_each_method_has_its_own_null(make, keep, method):
    """What a class gets that a sub-model never saw."""
    models = {"few": classifier("a", "b", "c"), "more": classifier("b", "c", "d", shift=0.2)}
    router = make(*routed(as_predict(keep, models, method)))

    answer = router.predict(ROWS.head(2).assign(key=["few", "more"]))

    assert answer.columns.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal([answer["d"][0], answer["a"][1]], [FILL[method]] * 2)
    np.testing.assert_allclose(answer.iloc[0, :3], getattr(models["few"], method)(ROWS.head(1))[0], rtol=1e-9)
    np.testing.assert_allclose(answer.iloc[1, 1:], getattr(models["more"], method)(ROWS.iloc[[1]])[0], rtol=1e-9)


@pytest.mark.build
def test_mlflows_own_loader_knows_the_classes_too(make, keep):
    """With ``loader: pyfunc`` they are read from behind MLflow's wrapper."""
    router = make(*routed(as_predict(keep, PETS, "predict_proba"), ",loader:pyfunc"))

    answer = router.predict(ROWS.head(2).assign(key=["pets", "birds"]))

    assert answer.columns.tolist() == ["bird", "cat", "dog", "emu"]
    np.testing.assert_allclose(answer["cat"][0], PETS["pets"].predict_proba(ROWS.head(1))[0, 0], rtol=1e-9)


@pytest.mark.build
def test_classes_are_kept_by_a_build_that_reuses(make, keep, module_store):
    """A second build, which reads nothing again, answers the same and finds the same that is wrong."""
    paths = as_predict(keep, PETS, "predict_proba")
    first = make(*routed(paths), name="again")

    second = make(*routed(paths), name="again")

    assert [it.classes for it in second.bundle.manifest.outputs] == [
        ("bird", "dog"),
        ("cat", "dog"),
        ("cat", "dog", "emu"),
    ]
    assert second.bundle.digest == first.bundle.digest


@pytest.mark.build
def test_rows_that_a_model_refuses_do_not_matter(make, keep):
    """The classes are known without asking for an answer: example rows are made up, and may be refused."""
    from sklearn.preprocessing import OneHotEncoder

    texts = pd.DataFrame({"shop": np.resize(["berlin", "paris"], 40)})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(texts, np.resize(["yes", "no"], 40))
    path = keep(model, texts, model.predict_proba(texts), pyfunc_predict_fn="predict_proba")

    router = make(*routed({"a": path}), notes=None)

    assert router.predict(texts.head(1).assign(key="a")).columns.tolist() == ["no", "yes"]


def multinomial(*labels: Any) -> Any:
    import statsmodels.api

    return statsmodels.api.MNLogit(pd.Series(np.resize(labels, 60)), ROWS).fit(disp=0)


def ordered(*labels: Any) -> Any:
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    target = pd.Series(pd.Categorical(np.resize(labels, 60), labels, ordered=True))
    return OrderedModel(target, ROWS).fit(disp=0, method="bfgs")


@pytest.mark.build
@pytest.mark.parametrize("numbered", [True, False], ids=["frame", "array"])
def test_classes_of_statsmodels_are_aligned(make, module_store, numbered):
    """Multinomial and ordered models know them, whether their answers were logged as an array or a numbered frame."""
    models = {"pets": multinomial("cat", "dog", "emu"), "birds": multinomial("dog", "owl", "emu")}
    models |= {"sizes": ordered("dog", "cat", "bat"), "numbers": multinomial(3, 10, 2)}
    known = [["cat", "dog", "emu"], ["dog", "emu", "owl"], ["dog", "cat", "bat"], ["2", "3", "10"]]
    answers = {id_: model.predict(ROWS) for id_, model in models.items()}
    paths = {
        id_: flavors.keep(
            module_store.folder, "statsmodels", model, ROWS, answers[id_] if numbered else answers[id_].to_numpy()
        )
        for id_, model in models.items()
    }

    answer = make(*routed(paths)).predict(ROWS.head(4).assign(key=list(models)))

    assert answer.columns.tolist() == ["2", "3", "10", "bat", "cat", "dog", "emu", "owl"]
    for row, (id_, names) in enumerate(zip(models, known, strict=True)):
        own = dict(zip(names, answers[id_].iloc[row], strict=True))
        np.testing.assert_allclose(answer.iloc[row], [own.get(name, 0.0) for name in answer.columns], rtol=1e-9)


@pytest.mark.build
def test_numbered_columns_are_no_names(make, keep):
    """Probabilities that were logged as a frame without names of its own."""
    numbered = pd.DataFrame(PETS["pets"].predict_proba(ROWS))
    models = {"pets": PETS["pets"], "birds": PETS["birds"]}
    router = make(*routed(as_predict(keep, models, "predict_proba", numbered)))

    answer = router.predict(ROWS.head(2).assign(key=["pets", "birds"]))

    assert answer.columns.tolist() == ["bird", "cat", "dog"]
    np.testing.assert_allclose(answer["cat"], [PETS["pets"].predict_proba(ROWS.head(1))[0, 0], 0.0], rtol=1e-9)


@pytest.mark.build
@pytest.mark.parametrize("fleet", [["two", "three"], ["three", "two"], ["three", "three"]], ids="-".join)
def test_labels_of_two_and_of_three_classes(make, module_store, fleet):
    """CatBoost gives those of three each in a list of its own: beside labels without one they are labels."""
    import catboost

    known = {"two": ("cat", "dog"), "three": ("a", "b", "c")}
    models = {
        f"m{at}": catboost.CatBoostClassifier(**flavors.CAT).fit(ROWS, np.resize(known[name], 60))
        for at, name in enumerate(fleet)
    }
    paths = {id_: flavors.keep(module_store.folder, "catboost", it, ROWS) for id_, it in models.items()}

    answer = make(*routed(paths)).predict(ROWS.head(2).assign(key=list(models)))

    expected = [np.ravel(model.predict(ROWS.iloc[[row]]))[0] for row, model in enumerate(models.values())]
    assert np.ravel(answer).tolist() == expected
    assert np.ndim(answer) == 1 + ("two" not in fleet)


# -- what cannot be aligned ------------------------------------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize("logged", [True, False], ids=["pyfunc_predict_fn", "output.method"])
def test_one_number_for_two_classes(refused, make, keep, logged):
    """A binary ``decision_function`` is about its second class: sub-models with other classes do not share it."""
    models = {"pets": PETS["pets"], "birds": classifier("dog", "bird"), "owls": classifier("cat", "owl")}
    same = {"one": PETS["pets"], "two": classifier("cat", "dog", shift=0.5)}
    if logged:
        paths, alike = (as_predict(keep, it, "decision_function") for it in (models, same))
        more: tuple[str, ...] = ()
    else:
        paths, alike = ({id_: keep(model, ROWS) for id_, model in it.items()} for it in (models, same))
        more = ("output.method=decision_function",)

    assert refused(*routed(paths), *more) == [
        "models.owls: its answer is about cat, owl, and about bird, dog in 'birds'.",
        "models.pets: its answer is about cat, dog, and about bird, dog in 'birds'.",
    ]
    router = make(*routed(alike), *more)
    np.testing.assert_allclose(
        router.predict(ROWS.head(1).assign(key="two")), same["two"].decision_function(ROWS.head(1)), rtol=1e-9
    )


def test_pairs_of_other_classes(refused, keep):
    """One against one, three classes have three pairs: they are not named, so the classes must be the same."""
    models = {
        name: SVC(decision_function_shape="ovo").fit(ROWS, np.array(labels)[np.digitize(ROWS["x1"], [-0.4, 0.4])])
        for name, labels in {"abc": ["a", "b", "c"], "abd": ["a", "b", "d"]}.items()
    }

    assert refused(*routed({id_: keep(it, ROWS) for id_, it in models.items()}), "output.method=decision_function") == [
        "models.abd: its answer is about a, b, d, and about a, b, c in 'abc'."
    ]


@pytest.mark.build
def test_names_that_a_signature_gives_are_for_the_same_classes(refused, make, keep):
    """Columns that a signature names keep their names; two sub-models may not mean different classes by one."""
    named = pd.DataFrame(PETS["pets"].predict_proba(ROWS), columns=["p0", "p1"])
    models = {"birds": PETS["birds"], "pets": PETS["pets"]}

    assert refused(*routed(as_predict(keep, models, "predict_proba", named))) == [
        "models.pets: its p0 is about cat, and about bird in 'birds'."
    ]
    router = make(*routed(as_predict(keep, {"pets": PETS["pets"]}, "predict_proba", named)))
    assert router.predict(ROWS.head(1).assign(key="pets")).columns.tolist() == ["p0", "p1"]


def test_probabilities_and_others_do_not_mix(refused, keep):
    """Two numbers per row that are no classes are not taken for classes."""
    two = keep(Ridge().fit(ROWS, ROWS), ROWS)

    assert refused(*routed({**as_predict(keep, {"pets": PETS["pets"]}, "predict_proba"), "two": two})) == [
        "models.two: it answers with 2 numbers per row and 'pets' with 2 columns."
    ]


# -- other methods of a sub-model that has a predict_fn ----------------------------------------------------------------


@pytest.mark.build
@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba"])
@pytest.mark.parametrize("logged", ["predict_proba", "predict_log_proba", "decision_function"])
def test_any_method_of_a_model_with_a_predict_fn(make, keep, method, logged):
    """``output.method`` names a method of the estimator, whichever one ``predict`` calls."""
    router = make(*routed(as_predict(keep, {"pets": PETS["pets"]}, logged)), f"output.method={method}")

    answer = router.predict(ROWS.head(3).assign(key="pets"))

    assert answer.columns.tolist() == ["cat", "dog"]
    np.testing.assert_allclose(answer, getattr(PETS["pets"], method)(ROWS.head(3)), rtol=1e-9, atol=1e-12)


def test_a_method_that_is_not_there_is_told(refused, keep, module_store):
    """With the nearest one that the estimator has."""
    paths = as_predict(keep, {"pets": PETS["pets"]}, "predict_proba")

    with pytest.raises(ProblemsError) as caught:
        api.validate("name=bad", *routed(paths), "output.method=predict_prob", module_store.override)

    assert str(caught.value).startswith(
        "models.pets: it has no method 'predict_prob' (output.method).\n  Did you mean 'predict_proba'?"
    )


# -- labels that may be one --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "first", "second"),
    [
        pytest.param(("No", "Yes"), ("no", "yes"), "'no' and 'No'", "'yes' and 'Yes'", id="case"),
        pytest.param((False, True), (0, 1), "0 and False", "1 and True", id="booleans-and-numbers"),
        pytest.param((False, True), ("False", "True"), "'False' and False", "'True' and True", id="booleans-and-text"),
        pytest.param((0, 1), ("0", "1"), "'0' and 0", "'1' and 1", id="numbers-and-text"),
        pytest.param(("a", "b"), ("a ", "b "), "'a ' and 'a'", "'b ' and 'b'", id="blanks"),
    ],
)
def test_labels_that_differ_only_in_type_or_case_are_told(make, keep, module_store, one, two, first, second):
    """The build says which labels of which sub-models they are; answers are as the sub-models give them."""
    paths = {id_: keep(classifier(*labels), ROWS) for id_, labels in {"one": one, "two": two}.items()}

    found = api.validate(
        "name=alike", *routed(paths), "output.method=predict_proba", module_store.override, plugins=fleets.plugins()
    )

    told = [
        f"models.two: its class {both} of 'one' differ only in type or case. "
        "If they are one, fit both with one spelling."
        for both in (first, second)
    ]
    assert [note for note in found.warnings if "differ only" in note] == told


@pytest.mark.build
@pytest.mark.parametrize("logged", ["sklearn", "pipeline", "pyfunc"])
def test_labels_of_predict_are_told(keep, module_store, logged):
    """Also when a sub-model comes to others that an earlier build has packed, and when nothing is packed anew."""
    models = {"one": ("No", "Yes"), "two": ("no", "yes"), "three": ("Yes", "maybe")}
    wrap = make_pipeline if logged == "pipeline" else lambda it: it
    paths = {id_: keep(wrap(classifier(*labels)), ROWS) for id_, labels in models.items()}
    loader = ["model_defaults.loader=pyfunc"] if logged == "pyfunc" else []
    told = (
        "models.two: its class 'no' and 'No' of 'one' differ only in type or case. If they are one, fit both with one "
        "spelling."
    )

    def build(*ids: str) -> list[str]:
        found = api.build(
            f"name=labels_{logged}",
            *routed({id_: paths[id_] for id_ in ids}),
            *loader,
            module_store.override,
            plugins=fleets.plugins(),
        )
        return [note for note in found.notes if "differ only" in note]

    assert build("one", "three") == []
    for _ in range(2):
        first, second = build("one", "three", "two")
        assert first == told
        assert second.startswith("models.two: its class 'yes' and 'Yes' of ")


LABELS = st.sampled_from(["yes", "Yes", "no", "1", "0", 1, 0, 2, 1.0, True, False])


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(LABELS, min_size=1, max_size=4, unique_by=str), min_size=1))
def test_only_labels_of_different_sub_models_are_told(fleet):
    """A warning names two sub-models that have the labels it names; those with equal labels get none."""
    told = alike_labels(fleet)

    spelled = {label if isinstance(label, str) else repr(label) for labels in fleet.values() for label in labels}
    assert len(told) <= len(spelled)
    assert len(set(map(repr, fleet.values()))) > 1 or not told
    for line in told:
        assert line.split(": its class ")[0].removeprefix("models.") in fleet
