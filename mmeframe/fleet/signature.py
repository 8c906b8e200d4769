"""One schema for a fleet: the union of its sub-models' columns, and the signature that MLflow sees."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from mmeframe.errors import Report
from mmeframe.rows.keys import canonical, is_whole
from mmeframe.rows.outputs import Outputs
from mmeframe.rows.types import is_compound, shown, type_text
from mmeframe.spec import Column

__all__ = [
    "alike_labels",
    "as_sent",
    "mlflow_signature",
    "natural",
    "read_columns",
    "read_outputs",
    "read_params",
    "readable",
    "type_of",
    "union_columns",
    "union_outputs",
    "union_params",
]

# Columns of annotated answers beside the prediction.
NOTES = ("model_id", "model_version", "reason", "arm")
# Number types from narrow to wide. Mixing whole and floating numbers gives double.
_WHOLE, _FLOATING = ("integer", "long"), ("float", "double")
_TENSOR_TYPES = {
    "b": "boolean",
    "i": "long",
    "u": "long",
    "f": "double",
    "U": "string",
    "O": "string",
    "S": "binary",
    "M": "datetime",
}
_NAME_CLASSES = (
    "Log both with pyfunc_predict_fn='predict_proba', or set output.method=predict_proba: its columns have the names "
    "of the classes."
)

# A parameter of a sub-model: its type, and its default where MLflow needs one, of lists, objects and times; JSON.
Param = Sequence[Any]


def read_columns(schema: Any) -> tuple[Column, ...] | str:
    """Columns of an MLflow input schema, or why it cannot be used."""
    if schema is None or not schema.inputs:
        return "it has no input signature."
    if schema.is_tensor_spec():
        return "its signature is a tensor without column names."
    columns = []
    for spec in schema.inputs:
        if spec.name is None:
            return "its signature has columns without names."
        if not isinstance(spec.name, str | int | float) or spec.name != spec.name:
            # Names of several levels, times, and gaps, as pandas has them.
            return f"its signature names a column {spec.name!r}, which is no text and no number."
        # Of a frame with numbered columns MLflow keeps the numbers.
        number = None if isinstance(spec.name, str) else spec.name
        columns.append(Column(str(spec.name), type_text(spec.type), bool(spec.required), number))
    names = Counter(column.name for column in columns)
    if twice := [name for name, times in names.items() if times > 1]:
        return f"its signature has two columns named {twice[0]!r}, one of them a number."
    return tuple(columns)


def read_params(schema: Any) -> dict[str, Param]:
    """Parameters of an MLflow schema: name -> its type, and its default where MLflow needs one."""
    found: dict[str, Param] = {}
    for spec in schema.params if schema is not None else ():
        kind = type_text(spec.dtype)
        if spec.shape is not None:
            kind = json.dumps({"items": {"type": kind}, "type": "array"}, sort_keys=True, separators=(",", ":"))
        needs = is_compound(kind) or kind == "datetime"
        found[spec.name] = [kind, spec.to_dict()["default"] if needs else None]
    return found


def union_params(params: Mapping[str, Mapping[str, Param]], taken: Collection[str], report: Report) -> dict[str, Param]:
    """Parameters of all sub-models. Those that clash with one another, or with the router's, are problems.

    params: sub-model id -> its own. taken: names that the router reads itself.
    MLflow needs a default of a list, an object or a time, so sub-models must have the same one; of others each has its
    own.
    """
    merged: dict[str, Param] = {}
    owner: dict[str, str] = {}
    for id_, own in params.items():
        for name, (kind, default) in own.items():
            known, usual = merged.setdefault(name, [kind, default])
            other = owner.setdefault(name, id_)
            if name in taken:
                what, hint = f"its parameter {name!r} has the name of one of the router's.", "Rename one of them."
            elif known != kind:
                what = f"its parameter {name!r} is {shown(kind)}, and {shown(known)} in {other!r}."
                hint = "A request has one value for both: log one of them with the other's type."
            elif usual != default:
                what = f"its parameter {name!r} has another default than in {other!r}."
                hint = f"MLflow needs one default of {shown(kind)} for the whole router: log both with the same."
            else:
                continue
            report.add(f"models.{id_}", what, hint, "fleet")
    return merged


def read_outputs(schema: Any) -> Outputs | str:
    """Outputs of an MLflow output schema, or why they cannot be used."""
    if schema is None or not schema.inputs:
        return "it has no output signature."
    if schema.is_tensor_spec():
        if len(schema.inputs) > 1:
            return "it answers with several named tensors."
        spec = schema.inputs[0]
        kind = _TENSOR_TYPES.get(spec.type.kind)
        if kind is None or len(spec.shape) > 2:
            return f"its answers are {spec.type} tensors of shape {spec.shape}."
        width = 0 if len(spec.shape) == 1 else int(spec.shape[1])
        return Outputs((Column("prediction", kind),), width)
    columns = tuple(
        Column("prediction" if it.name is None else str(it.name), type_text(it.type), bool(it.required))
        for it in schema.inputs
    )
    if len(columns) == 1:
        return Outputs((replace(columns[0], name="prediction"),))
    return Outputs(columns)


def type_of(dtype: Any) -> str:
    """MLflow's name of a column type, from that of an answer."""
    return _TENSOR_TYPES.get(dtype.kind, "string") if hasattr(dtype, "kind") else "string"


def _wider(one: str, two: str) -> str | None:
    """The type that holds both, None if there is none."""
    if one == two:
        return one
    if {one, two} <= set(_WHOLE):
        return "long"
    return "double" if {one, two} <= {*_WHOLE, *_FLOATING} else None


def readable(found: str, wanted: str) -> bool:
    """Whether a column of sub-models can be read as a strategy wants it; keys are text, numbers and times alike."""
    kinds = {"double": {*_WHOLE, *_FLOATING}, "string": {"string"}, "datetime": {"datetime", "string"}}
    return found in kinds.get(wanted, {found}) or wanted in ("key", "any")


@dataclass(frozen=True, slots=True)
class Union:
    """The union schema, and its columns that are wider than some sub-model's own: column -> types."""

    columns: tuple[Column, ...]
    promoted: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def union_columns(schemas: Mapping[str, Sequence[Column]], report: Report) -> Union:
    """Merge input schemas by column name, in order of first appearance.

    schemas: sub-model id -> columns. A column is required only if every sub-model requires it. Types that no type
    holds become problems naming both sub-models.
    """
    merged: dict[str, Column] = {}
    owner: dict[str, str] = {}
    seen: dict[str, set[str]] = {}
    required: dict[str, int] = {}
    # Most sub-models share one schema: what fitted once fits again.
    shared = Counter(map(id, schemas.values()))
    fitting: set[int] = set()
    for id_, columns in schemas.items():
        if id(columns) in fitting:
            continue
        before = len(report)
        for column in columns:
            seen.setdefault(column.name, set()).add(column.type)
            required[column.name] = required.get(column.name, 0) + column.required * shared[id(columns)]
            known = merged.setdefault(column.name, column)
            owner.setdefault(column.name, id_)
            kind = _wider(known.type, column.type)
            if kind is None:
                report.add(
                    f"models.{id_}",
                    f"column {column.name!r} is {shown(column.type)} here and {shown(known.type)} in "
                    f"{owner[column.name]!r}.",
                    "One table cannot have both: log one with the other's type, or give it its own router.",
                    "fleet",
                )
            else:
                merged[column.name] = Column(column.name, kind)
        if len(report) == before:
            fitting.add(id(columns))
    columns_out = tuple(Column(c.name, c.type, required[c.name] == len(schemas)) for c in merged.values())
    promoted = {name: tuple(sorted(types)) for name, types in seen.items() if len(types) > 1}
    return Union(columns_out, promoted)


def natural(value: str) -> tuple[bool, int, str]:
    """A key to sort by: whole numbers by size, then texts."""
    return (False, int(value), "") if is_whole(value) else (True, 0, value)


def union_outputs(outputs: Mapping[str, Outputs], report: Report) -> Outputs:
    """Merge output schemas. Different shapes or types that do not mix become problems naming both sub-models.

    A column that a sub-model lacks, or may leave out, may be null; a class that it lacks has a number of its own.
    """
    if any(it.single for it in outputs.values()):
        # Of three classes CatBoost gives each row's label in a list of its own, and of two it does not.
        outputs = {id_: replace(it, width=0) if it.width == 1 else it for id_, it in outputs.items()}
    first_id, first = next(iter(outputs.items()))
    classed_id, classed = next((item for item in outputs.items() if item[1].classes), (first_id, first))
    merged = {column.name: column.type for column in first.columns}
    distinct = {id(it): it for it in outputs.values()}.values()
    always = set.intersection(*({it.name for it in other.columns if it.required} for other in distinct))
    fitting: set[int] = set()
    for id_, other in outputs.items():
        if id(other) in fitting:
            continue
        where, before = f"models.{id_}", len(report)
        if other.width != first.width or other.single != first.single or other.aligned != first.aligned:
            what = f"it answers with {_shape(other)} and {first_id!r} with {_shape(first)}."
            report.add(where, what, "Sub-models of one router answer in one shape.", "fleet")
            continue
        if apart := _other_classes(classed, other):
            what = f"its {apart[0]} is about {apart[1]}, and about {apart[2]} in {classed_id!r}."
            report.add(where, what, _NAME_CLASSES, "fleet")
        _widen(report.below(where), other.columns, merged, first_id)
        if len(report) == before:
            fitting.add(id(other))
    names = sorted(merged, key=natural) if first.aligned else list(merged)
    columns = tuple(Column(name, merged[name], first.aligned or name in always) for name in names)
    return Outputs(columns, first.width, first.aligned, first.fill)


def _widen(report: Report, columns: Iterable[Column], merged: dict[str, str], first_id: str) -> None:
    """Make types wide enough for a sub-model's columns of answers, too; report those that do not mix."""
    for column in columns:
        if column.name in NOTES:
            what = f"its answers have a column {column.name!r}, which annotated answers use."
            report.add("", what, "Rename it in the model's output.", "fleet")
        kind = _wider(merged.setdefault(column.name, column.type), column.type)
        if kind is None:
            what = f"its {column.name} is {shown(column.type)}, and {shown(merged[column.name])} in {first_id!r}."
            report.add("", what, "Answers of one router have one type.", "fleet")
        else:
            merged[column.name] = kind


def _other_classes(one: Outputs, two: Outputs) -> tuple[str, str, str] | None:
    """An answer that two sub-models call alike, and the classes that it is about in the second and in the first."""
    if one.aligned or not one.classes or not two.classes:
        return None
    names = [[column.name for column in it.columns] for it in (one, two)]
    if len(names[0]) == len(one.classes) and len(names[1]) == len(two.classes):
        own = dict(zip(names[0], map(canonical, one.classes), strict=True))
        for name, label in zip(names[1], map(canonical, two.classes), strict=True):
            if own.get(name, label) != label:
                return name, str(label), str(own[name])
        return None
    mine, theirs = (", ".join(str(canonical(label)) for label in it.classes) for it in (two, one))
    return None if mine == theirs else ("answer", mine, theirs)


def alike_labels(classes: Mapping[str, Sequence[Any]]) -> list[str]:
    """Warnings about classes of two sub-models that differ only in type or case: they may be meant to be one."""
    # Most sub-models share their classes. True equals 1, so the types are part of what tells them apart.
    distinct = {(*it, *map(_kind, it)): (id_, it) for id_, it in classes.items()}
    known: dict[str, dict[tuple[str, str], tuple[str, Any]]] = {}
    told: dict[str, str] = {}
    for id_, labels in distinct.values():
        for label in labels:
            spelled = str(canonical(label))
            plain = {"true": "1", "false": "0"}.get(spelled.strip().casefold(), spelled.strip().casefold())
            spellings = known.setdefault(plain, {})
            spellings.setdefault((_kind(label), spelled), (id_, label))
            for spelling, (other, rival) in spellings.items():
                if other != id_ and spelling != (_kind(label), spelled):
                    what = f"models.{id_}: its class {label!r} and {rival!r} of {other!r} differ only in type or case"
                    told.setdefault(plain, f"{what}. If they are one, fit both with one spelling.")
    return list(told.values())


def _kind(label: Any) -> str:
    return "number" if isinstance(label, int | float) and not isinstance(label, bool) else type(label).__name__


def _shape(outputs: Outputs) -> str:
    if outputs.width:
        return f"{outputs.width} numbers per row"
    return "one value" if outputs.single else f"{len(outputs.columns)} columns"


def as_sent(column: Column) -> Column:
    """A column that routing reads, declared so that MLflow leaves its values as they are sent, as it does with doubles.

    Of others its parsers make text of numbers, 2 of 2.5, and of a null the text "None" or False.
    """
    return column if column.type in ("float", "double") else replace(column, type="any")


def mlflow_signature(
    mode: str,
    union: Sequence[Column],
    routing: Sequence[Column],
    outputs: Outputs,
    params: Iterable[str],
    annotate: bool,
    nulls: Collection[str] = (),
    model_params: Mapping[str, Param] = MappingProxyType({}),
) -> Any:
    """What the router declares to MLflow.

    mode: ``checked`` leaves inputs to the router, ``union`` declares them. routing: columns that only routing reads.
    params: of routing. They are text, which every key can be, so that another sub-model never changes what a client may
    send; None as their default means "left out": no default ever routes. nulls: notes that may be null.
    model_params: of sub-models, with their types; each has a default of its own where one is left out.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    inputs = None
    if mode == "union":
        known = {column.name for column in union}
        columns = [*(column for column in routing if column.name not in known), *union]
        inputs = Schema([ColSpec(_data_type(column.type), column.name, column.required) for column in columns])
    if outputs.width and not annotate:
        import numpy as np

        declared = Schema([TensorSpec(np.dtype(float), (-1, outputs.width))])
    else:
        named = outputs.columns
        if outputs.width:
            named = tuple(replace(named[0], name=f"prediction_{number}") for number in range(outputs.width))
        answers: list[Any] = [ColSpec(_data_type(column.type), column.name, column.required) for column in named]
        notes = NOTES if annotate else ()
        declared = Schema(answers + [ColSpec(DataType.string, note, note not in nulls) for note in notes])
    specs = [ParamSpec(name, "string", None) for name in params]
    specs += [_param_spec(name, *param) for name, param in model_params.items()]
    return ModelSignature(inputs, declared, ParamSchema([*specs, ParamSpec("annotate", "boolean", None)]))


def _param_spec(name: str, kind: str, default: Any) -> Any:
    from mlflow.types import ParamSpec

    described: dict[str, Any] = json.loads(kind) if is_compound(kind) else {"type": kind}
    if described["type"] == "array":
        return ParamSpec(name, described["items"]["type"], default, (-1,))
    return ParamSpec(name, _data_type(kind), default)


def _data_type(kind: str) -> Any:
    """MLflow's type; ``any`` for one of ours that it does not know, such as ``key``."""
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import AnyType

    if is_compound(kind):
        return ColSpec.from_json_dict(**json.loads(kind)).type  # type: ignore[no-untyped-call]
    return DataType[kind] if kind in DataType.__members__ else AnyType()  # type: ignore[no-untyped-call]
