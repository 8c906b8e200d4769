"""Schemas: read from real MLflow signatures, merged into one, declared to MLflow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.types import ColSpec, DataType, ParamSpec, Schema, TensorSpec

from mmeframe.errors import Problem, Report
from mmeframe.fleet.signature import (
    Union,
    mlflow_signature,
    read_columns,
    read_outputs,
    union_columns,
    union_outputs,
)
from mmeframe.rows.outputs import Outputs
from mmeframe.spec import Column

F = pd.DataFrame
# Types of MLflow's that are no names are its own descriptions.
TEXTS = '{"items":{"type":"string"},"type":"array"}'
OBJECT = '{"properties":{"k":{"required":true,"type":"long"}},"type":"object"}'
# MLflow warns that integer columns cannot be missing, which is not what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def inputs_of(data: object) -> object:
    return read_columns(infer_signature(data).inputs)


def outputs_of(data: object) -> object:
    return read_outputs(infer_signature(None, data).outputs)


# -- one sub-model's inputs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "required"),
    [
        pytest.param([1, 2], "long", True, id="int64"),
        pytest.param(np.array([1, 2], "int32"), "integer", True, id="int32"),
        pytest.param([1.5, 2.5], "double", True, id="float64"),
        pytest.param(np.array([1.5, 2.5], "float32"), "float", True, id="float32"),
        pytest.param([1.5, np.nan], "double", False, id="float-with-missing"),
        pytest.param(["a", "b"], "string", True, id="text"),
        pytest.param(["a", None], "string", False, id="text-with-missing"),
        pytest.param(pd.Categorical(["a", "b"]), "string", True, id="category"),
        pytest.param([True, False], "boolean", True, id="bool"),
        pytest.param(pd.to_datetime(["2020-01-02", "2020-01-03"]), "datetime", True, id="datetime"),
        pytest.param(pd.array([1, None], dtype="Int64"), "long", False, id="nullable"),
        pytest.param([b"a", b"b"], "binary", True, id="bytes"),
        pytest.param([["a", "b"], ["c"]], TEXTS, True, id="lists"),
        pytest.param([{"k": 1}, {"k": 2}], OBJECT, True, id="objects"),
    ],
)
def test_read_columns(values, kind, required):
    """A column has MLflow's own type name; what was missing in the example is optional."""
    assert inputs_of(F({"x": values})) == (Column("x", kind, required),)


def test_columns_keep_their_order():
    """Columns come in the order in which the sub-model was trained."""
    assert [column.name for column in inputs_of(F({"b": [1], "a": [1], "c": [1]}))] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        pytest.param(None, "it has no input signature.", id="none"),
        pytest.param(
            infer_signature(np.zeros((2, 2))).inputs, "its signature is a tensor without column names.", id="tensor"
        ),
        pytest.param(
            infer_signature({"x": np.zeros(2)}).inputs, "its signature is a tensor without column names.", id="tensors"
        ),
        pytest.param(infer_signature([1.0, 2.0]).inputs, "its signature has columns without names.", id="list"),
    ],
)
def test_inputs_that_cannot_be_checked(schema, why):
    """A router checks named columns; what has none is answered with the reason."""
    assert read_columns(schema) == why


# -- one sub-model's answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "width"),
    [
        pytest.param(np.array([1.5]), "double", 0, id="floats"),
        pytest.param(np.array([1.5], "float32"), "double", 0, id="float32"),
        pytest.param(np.array([1]), "long", 0, id="ints"),
        pytest.param(np.array([1], "uint8"), "long", 0, id="unsigned"),
        pytest.param(np.array([True]), "boolean", 0, id="bools"),
        pytest.param(np.array(["a", "long"]), "string", 0, id="text"),
        pytest.param(np.array(["a"], object), "string", 0, id="objects"),
        pytest.param(np.array(["2020-01-02"], "M8[ns]"), "datetime", 0, id="times"),
        pytest.param(np.zeros((2, 3)), "double", 3, id="three-per-row"),
        pytest.param(np.zeros((2, 1)), "double", 1, id="one-per-row-in-a-table"),
        pytest.param(pd.Series([1.5], name="y"), "double", 0, id="series"),
        pytest.param(F({"y": [1]}), "long", 0, id="frame-of-one-column"),
        pytest.param(["a", "b"], "string", 0, id="list"),
    ],
)
def test_read_outputs(values, kind, width):
    """One answer per row is called prediction, whatever the sub-model calls it."""
    assert outputs_of(values) == Outputs((Column("prediction", kind),), width)


def test_read_named_outputs():
    """Several named answers keep their names and types."""
    assert outputs_of(F({"low": [1.0], "label": ["x"]})) == Outputs(
        (Column("low", "double"), Column("label", "string"))
    )


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        pytest.param(None, "it has no output signature.", id="none"),
        pytest.param(
            infer_signature(None, np.zeros((3, 2, 2))).outputs,
            "its answers are float64 tensors of shape (-1, 2, 2).",
            id="3d",
        ),
        pytest.param(
            infer_signature(None, np.array([1j])).outputs,
            "its answers are complex128 tensors of shape (-1,).",
            id="complex",
        ),
        pytest.param(
            infer_signature(None, {"a": np.zeros(2), "b": np.zeros(2)}).outputs,
            "it answers with several named tensors.",
            id="several",
        ),
    ],
)
def test_outputs_that_cannot_be_gathered(schema, why):
    """Answers that are no table are answered with the reason."""
    assert read_outputs(schema) == why


def test_outputs_as_json():
    """Outputs are stored as plain JSON."""
    assert Outputs((Column("prediction", "double"),), 3).to_json() == {
        "columns": [["prediction", "double", True]],
        "width": 3,
        "aligned": False,
        "fill": "nan",
        "classes": [],
        "labels": [],
    }


# -- the union of inputs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "kind"),
    [
        pytest.param("integer", "long", "long", id="integer-long"),
        pytest.param("float", "double", "double", id="float-double"),
        pytest.param("integer", "float", "double", id="integer-float"),
        pytest.param("long", "float", "double", id="long-float"),
        pytest.param("long", "double", "double", id="long-double"),
    ],
)
def test_promotion(one, two, kind):
    """Numbers of two types meet in the narrowest that holds both, whoever comes first, and are listed."""
    for first, second in ((one, two), (two, one)):
        problems: list[Problem] = []

        union = union_columns({"a": [Column("x", first)], "b": [Column("x", second)]}, Report(problems=problems))

        assert (union, problems) == (Union((Column("x", kind),), {"x": tuple(sorted([one, two]))}), [])


@pytest.mark.parametrize("kind", ["long", "double", "string", "boolean", "datetime", TEXTS])
def test_agreement(kind):
    """What all sub-models agree on is kept, and is not promoted."""
    assert union_columns({"a": [Column("x", kind)], "b": [Column("x", kind)]}, Report()) == Union(
        (Column("x", kind),), {}
    )


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param("string", "long", id="text-number"),
        pytest.param("boolean", "long", id="bool-number"),
        pytest.param("datetime", "string", id="time-text"),
        pytest.param("any", "string", id="any-text"),
    ],
)
def test_clash(one, two):
    """Types that no type holds are a problem naming both sub-models."""
    problems: list[Problem] = []

    union_columns({"berlin": [Column("x", one)], "paris": [Column("x", two)]}, Report(problems=problems))

    assert problems == [
        Problem(
            "models.paris",
            f"column 'x' is {two} here and {one} in 'berlin'.",
            "One table cannot have both: log one with the other's type, or give it its own router.",
            "fleet",
        )
    ]


@pytest.mark.parametrize(
    ("one", "two", "required"),
    [
        pytest.param([Column("x", "long")], [Column("x", "long")], True, id="both"),
        pytest.param([Column("x", "long")], [Column("x", "long", False)], False, id="optional-in-one"),
        pytest.param([Column("x", "long")], [], False, id="absent-in-one"),
        pytest.param([Column("x", "long", False)], [Column("x", "long", False)], False, id="neither"),
        pytest.param([Column("x", "integer")], [Column("x", "long")], True, id="promoted"),
    ],
)
def test_required(one, two, required):
    """A column is required of every row only if every sub-model requires it."""
    union = union_columns({"a": one, "b": two}, Report())

    assert [column.required for column in union.columns] == [required]


def test_union_order():
    """Columns stand in the order in which they first appear."""
    schemas = {
        "a": [Column("x", "long"), Column("z", "long")],
        "b": [Column("y", "long"), Column("x", "long"), Column("z", "long")],
    }

    assert [column.name for column in union_columns(schemas, Report()).columns] == ["x", "z", "y"]


# -- the union of answers ------------------------------------------------------------------------------------------


def one_value(kind: str, width: int = 0) -> Outputs:
    return Outputs((Column("prediction", kind),), width)


@pytest.mark.parametrize(
    ("outputs", "merged"),
    [
        pytest.param([one_value("double")], one_value("double"), id="one"),
        pytest.param([one_value("long"), one_value("double")], one_value("double"), id="promoted"),
        pytest.param([one_value("string"), one_value("string")], one_value("string"), id="the-same"),
        pytest.param([one_value("double", 3), one_value("double", 3)], one_value("double", 3), id="widths"),
        pytest.param(
            [
                Outputs((Column("low", "long"), Column("high", "double"))),
                Outputs((Column("low", "double"), Column("label", "string"))),
            ],
            Outputs((Column("low", "double"), Column("high", "double", False), Column("label", "string", False))),
            id="columns-by-union",
        ),
    ],
)
def test_union_outputs(outputs, merged):
    """Answers are aligned by name, and numbers promoted."""
    problems: list[Problem] = []

    assert (union_outputs({f"m{n}": item for n, item in enumerate(outputs)}, Report(problems=problems)), problems) == (
        merged,
        [],
    )


@pytest.mark.parametrize(
    ("one", "two", "what", "hint"),
    [
        pytest.param(
            one_value("long"),
            one_value("string"),
            "its prediction is string, and long in 'a'.",
            "Answers of one router have one type.",
            id="types",
        ),
        pytest.param(
            one_value("double", 3),
            one_value("double", 4),
            "it answers with 4 numbers per row and 'a' with 3 numbers per row.",
            "Sub-models of one router answer in one shape.",
            id="widths",
        ),
        pytest.param(
            one_value("double"),
            one_value("double", 2),
            "it answers with 2 numbers per row and 'a' with one value.",
            "Sub-models of one router answer in one shape.",
            id="value-and-table",
        ),
        pytest.param(
            Outputs((Column("p", "double"), Column("q", "double"))),
            one_value("double"),
            "it answers with one value and 'a' with 2 columns.",
            "Sub-models of one router answer in one shape.",
            id="columns-and-value",
        ),
    ],
)
def test_answers_that_do_not_mix(one, two, what, hint):
    """Answers of different shape or kind are a problem naming both sub-models."""
    problems: list[Problem] = []

    union_outputs({"a": one, "b": two}, Report(problems=problems))

    assert problems == [Problem("models.b", what, hint, "fleet")]


# -- what MLflow is told -------------------------------------------------------------------------------------------


UNION = (Column("x", "double"), Column("note", "string", False), Column("tags", TEXTS))


def test_checked_leaves_inputs_to_the_router():
    """No declaration of a key column is safe under MLflow's enforcement, so there is none."""
    assert mlflow_signature("checked", UNION, [Column("dow", "key")], one_value("double"), [], False).inputs is None


def test_union_declares_the_inputs():
    """Routing columns come first, then the union; keys are anything."""
    routing = [Column("dow", "key"), Column("x", "string")]

    inputs = mlflow_signature("union", UNION, routing, one_value("double"), [], False).inputs

    assert [(spec.name, read_columns(Schema([spec]))[0].type, spec.required) for spec in inputs] == [
        ("dow", "any", True),
        ("x", "double", True),
        ("note", "string", False),
        ("tags", TEXTS, True),
    ]


@pytest.mark.parametrize("mode", ["checked", "union"])
def test_routing_parameters_have_no_default(mode):
    """A parameter that is left out is None: no default ever routes."""
    signature = mlflow_signature(mode, UNION, [], one_value("double"), ["dow", "shop"], False)

    assert signature.params.params == [
        ParamSpec("dow", DataType.string, None),
        ParamSpec("shop", DataType.string, None),
        ParamSpec("annotate", DataType.boolean, None),
    ]


@pytest.mark.parametrize(
    ("outputs", "annotate", "declared"),
    [
        pytest.param(one_value("double"), False, Schema([ColSpec("double", "prediction")]), id="one-value"),
        pytest.param(
            one_value("double", 3), False, Schema([TensorSpec(np.dtype("float64"), (-1, 3))]), id="three-values"
        ),
        pytest.param(
            Outputs((Column("low", "double"), Column("label", "string"))),
            False,
            Schema([ColSpec("double", "low"), ColSpec("string", "label")]),
            id="columns",
        ),
        pytest.param(
            one_value("long"),
            True,
            Schema(
                [
                    ColSpec("long", "prediction"),
                    *(ColSpec("string", name) for name in ("model_id", "model_version", "reason", "arm")),
                ]
            ),
            id="annotated",
        ),
    ],
)
def test_declared_outputs(outputs, annotate, declared):
    """MLflow is told what the router answers, with the notes where they are always added."""
    assert mlflow_signature("checked", (), [], outputs, [], annotate).outputs == declared


def test_the_signature_survives_storage():
    """What is logged is read back as it was."""
    signature = mlflow_signature("union", UNION, [Column("dow", "key")], one_value("double"), ["dow"], True)

    assert type(signature).from_dict(signature.to_dict()) == signature
