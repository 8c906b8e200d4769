"""What sub-models answer to another method than ``predict``: their signatures do not say, so they are tried."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.budget import KEPT
from mmeframe.bundle.format import ARRAY, FRAME
from mmeframe.errors import FAULTS, BuildError, MmeframeError, Problem, listed, suggest
from mmeframe.fleet.examples import Rows, fresh, probe_rows, same
from mmeframe.fleet.pickles import OF_A_SESSION
from mmeframe.fleet.signature import type_of
from mmeframe.plugin.components import make_component
from mmeframe.redact import redact
from mmeframe.rows.keys import canonical
from mmeframe.rows.outputs import Outputs
from mmeframe.spec import Column

if TYPE_CHECKING:
    from mmeframe.fleet.submodel import PinnedModel

__all__ = [
    "FILL",
    "WITH_EXAMPLE",
    "Asked",
    "Trial",
    "answers",
    "asked",
    "asked_alone",
    "classes_of",
    "discover",
    "has_classes",
    "labels",
    "lost_class",
    "said",
    "tried",
    "unanswered",
]

WITH_EXAMPLE = "Log the sub-model with an input_example, so that rows which it takes are known."
# Methods whose columns are classes, and what a class that a sub-model never saw gets.
FILL = {"predict_proba": "0.0", "predict_log_proba": "-inf", "decision_function": "nan"}
# Characters that are shown of what a library says.
_SAID = 400


def classes_of(model: Any) -> list[Any] | None:
    """The labels that a live sub-model can answer with: a classifier's classes, a clusterer's numbers."""
    # A pipeline hands on its last step's classes, but not its clusters.
    model = _unwrapped(model)
    model = model.steps[-1][1] if hasattr(model, "steps") else model
    found = getattr(model, "classes_", None)
    if found is not None:
        # A multi-output classifier has a list of them.
        return None if isinstance(found, list) else list(found)
    centers = getattr(model, "cluster_centers_", None)
    count = getattr(model, "n_clusters", None) if centers is None else len(centers)
    return list(range(count)) if isinstance(count, int) else None


def _unwrapped(model: Any) -> Any:
    """What MLflow's own wrapper, which hands nothing on, is around."""
    with suppress(NotImplementedError):
        return model.get_raw_model() if hasattr(model, "get_raw_model") else model
    return model


def lost_class(error: BaseException) -> str:
    """What to do about a pickle that names a class which cannot be imported here; an empty text for other errors."""
    if re.match(r"Can't get attribute '.*' on <module '[\w.]*__main__'", str(error)):
        return OF_A_SESSION
    if isinstance(error, ModuleNotFoundError) or re.match(r"Can't get attribute '.*' on <module", str(error)):
        return (
            "Install its module here; or log the model with code_paths=[<file>], or after "
            "cloudpickle.register_pickle_by_value(<module>), which keep it with the model."
        )
    return ""


def labels(model: PinnedModel, root: Path) -> list[Any] | None:
    """The same of a sub-model from its own folder ``root``; None if its ``predict`` answers with other values."""
    return None if _asked(model) in FILL else classes_of(_loaded(model, root))


def has_classes(model: PinnedModel) -> bool:
    """Whether what a sub-model declares to predict may be a value for each class, which its signature does not name."""
    if model.outputs.classes or model.of:
        return False
    return _asked(model) in FILL or (_unnamed(model.outputs).width > 0 and make_component(model.loader).knows_classes)


def discover(model: PinnedModel, root: Path, method: str) -> Outputs:
    """The answers of ``method``, from a call on a few rows; columns are classes where there is one for each.

    Those of ``predict`` are declared, and only get the names of their classes.
    Raises BuildError for a sub-model that has no such method, or does not answer with one value or row per row.
    """
    live = _loaded(model, root)
    if method != "predict":
        return answers(live, probe_rows(model, root, live), method, f"models.{model.id}")
    found = classes_of(live)
    # A loader that knows classes gives probabilities.
    known = _asked(model) if _asked(model) in FILL else "predict_proba"
    return model.outputs if found is None else _classed(_unnamed(model.outputs), found, known, live)


def _unnamed(outputs: Outputs) -> Outputs:
    """As of an array, what a frame answers whose columns pandas has numbered."""
    names = [column.name for column in outputs.columns]
    if outputs.aligned or names != [str(number) for number in range(len(names))]:
        return outputs
    return Outputs((replace(outputs.columns[0], name="prediction"),), len(names))


def _asked(model: PinnedModel) -> str:
    """The method that a sub-model's ``predict`` calls, as it was logged."""
    return str(model.options.get("predict_fn", "predict"))


def _classed(outputs: Outputs, classes: list[Any], method: str, live: Any) -> Outputs:
    """With the classes that the values of an answer are for, as names of its columns where they have none."""
    labels = tuple(map(_plain, classes))
    # One against one, there is a column for each pair of classes: three for three.
    pairs = method == "decision_function" and getattr(live, "decision_function_shape", "ovr") == "ovo"
    if outputs.width != len(labels) or pairs:
        return replace(outputs, classes=labels)
    columns = tuple(Column(str(canonical(label)), outputs.columns[0].type) for label in labels)
    return Outputs(columns, aligned=True, fill=FILL[method], classes=labels)


def _plain(label: Any) -> str | int | float | bool:
    """A label as JSON can hold it."""
    value = label.item() if hasattr(label, "item") else label
    return value if isinstance(value, str | int | float) else str(value)


def _loaded(model: PinnedModel, root: Path) -> Any:
    """The live sub-model. Raises BuildError if it cannot be loaded."""
    try:
        return model.load(root)
    except MmeframeError:
        raise
    except FAULTS as error:
        what = f"it cannot be loaded: {type(error).__name__}: {error}"
        hint = f"{model.uri} must be whole, and written by the library, and in the version, that is here."
        raise BuildError(what, where=f"models.{model.id}", hint=lost_class(error) or hint) from error


def answers(live: Any, tries: Iterable[Rows], method: str, where: str) -> Outputs:
    """What a live sub-model answers to ``method``, for the first rows that it takes. Raises BuildError as above."""
    import numpy as np
    import pandas as pd

    if not callable(getattr(live, method, None)):
        methods = [name for name in dir(live) if name[0] != "_" and callable(getattr(live, name, None))]
        raise BuildError(f"it has no method {method!r} (output.method).", where=where, hint=suggest(method, methods))
    found = asked(getattr(live, method), tries)
    if found.rows is None:
        raise BuildError(f"its {method} refused the example rows ({found.refusal}).", where=where, hint=WITH_EXAMPLE)
    rows, raw = found.rows, found.answer
    if isinstance(raw, pd.DataFrame):
        return Outputs(tuple(Column(str(name), type_of(raw[name].dtype)) for name in raw.columns))
    try:
        values = np.asarray(raw.todense() if hasattr(raw, "todense") else raw)
    except ValueError:
        # A list of arrays of several widths, one for each target.
        raise BuildError(f"its {method} gives {len(raw)} arrays that differ in shape.", where=where) from None
    if values.ndim not in (1, 2) or len(values) != len(rows):
        raise BuildError(f"its {method} gives shape {values.shape} for {len(rows)} rows.", where=where)
    kind = type_of(values.dtype)
    outputs = Outputs((Column("prediction", kind),), values.shape[1] if values.ndim == 2 else 0)
    classes = classes_of(live) if method in FILL else None
    return outputs if classes is None else _classed(outputs, classes, method, live)


@dataclass(frozen=True, slots=True)
class Asked:
    """What asking with rows in several tries has shown: the first that were answered, or why none were.

    refusal: in one line, of made-up rows only, so that it holds nobody's data. hint: what to do about it, if known.
    """

    rows: Any = None
    answer: Any = None
    refusal: str = ""
    hint: str = ""


def asked(ask: Callable[[Any], Any], tries: Iterable[Rows]) -> Asked:
    """Ask with each of the rows in turn, until some are answered."""
    refusal = ""
    for rows in tries:
        try:
            return Asked(rows.frame, ask(fresh(rows.frame)))
        except FAULTS as error:
            if rows.made_up and not refusal:
                refusal = said(error)
    return Asked(refusal=refusal)


def said(error: BaseException) -> str:
    """An error in one line: what a library raised, where one of ours only names its type."""
    if isinstance(error, MmeframeError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, MmeframeError):
        return error.what
    # Libraries say first that something is wrong, and what it is in the lines below.
    text = redact(" ".join(str(error)[:_SAID].split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def asked_alone(live: Any, model: PinnedModel, root: Path, method: str) -> Asked:
    """Ask a live sub-model with its probe rows."""
    found = asked(getattr(live, method), probe_rows(model, root, live))
    return found if found.rows is not None else replace(found, hint=_misnamed(live, model))


def _misnamed(live: Any, model: PinnedModel) -> str:
    """What to do about a signature without columns that scikit-learn's estimator knows; an empty text if it has all."""
    fitted = [str(name) for name in getattr(_unwrapped(live), "feature_names_in_", ())]
    declared = [column.name for column in model.inputs]
    lacking = [name for name in fitted if name not in declared]
    if not lacking:
        return ""
    others = [name for name in declared if name not in fitted]
    return (
        f"It was fitted on {listed([repr(name) for name in lacking])}, which its signature does not declare. "
        f"{suggest(lacking[0], others, 'Instead it declares')} Mend models.{model.id}.signature, or log the sub-model "
        "with the signature of the frame that it was fitted on."
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """What one load of a sub-model shows: the memory that it takes live, in bytes, and the form of its rows.

    That is ARRAY if its loader can make it take arrays, and it then answers on probe rows as it does on frames.
    refusal: why it answered none of its probe rows; empty if it answered some; hint: what to do about it, if known.
    labels: texts that it may answer with.
    """

    memory: int
    form: str = FRAME
    refusal: str = ""
    labels: tuple[str, ...] = ()
    hint: str = ""


def tried(model: PinnedModel, root: Path, method: str) -> Trial:
    """Load a sub-model once, and ask it. Raises BuildError if it cannot be loaded, or has no such method."""
    live = _loaded(model, root)
    loader = make_component(model.loader)
    if not callable(getattr(live, method, None)):
        what = f"{model.uri} holds a {type(live).__name__}, which has no {method}."
        raise BuildError(what, where=f"models.{model.id}", hint="Give the file of a fitted model.")
    found = asked_alone(live, model, root, method)
    if (
        model.params
        and found.rows is not None
        and asked(partial(getattr(live, method), params={}), [Rows(found.rows)]).refusal
    ):
        raise BuildError(
            "its signature declares parameters, and its loader takes none.",
            where=f"models.{model.id}",
            hint=f"Set models.{model.id}.loader=pyfunc, which hands them over.",
        )
    other = None
    if (
        model.inputs
        and found.rows is not None
        and all(column.type == "double" and column.required for column in model.inputs)
    ):
        other = _for_arrays(loader, live, method, found)
    texts = model.outputs.single and model.outputs.columns[0].type == "string" and _asked(model) == method == "predict"
    known = (classes_of(live) or []) if texts else []
    found_labels = tuple(str(label) for label in known if isinstance(label, str))
    size = loader.size(live if other is None else other) + KEPT
    return Trial(size, FRAME if other is None else ARRAY, found.refusal, found_labels, found.hint)


def _for_arrays(loader: Any, live: Any, method: str, found: Asked) -> Any:
    """The sub-model for arrays of doubles, None if it does not answer on them as it does on frames."""
    import numpy as np

    try:
        other = loader.for_arrays(live)
        if other is not None and same(getattr(other, method)(found.rows.to_numpy(np.float64)), found.answer):
            return other
    except Exception:  # noqa: BLE001 - whatever it does not like, frames are what it was made for
        return None
    return None


def unanswered(id_: str, what: str, hint: str = "") -> Problem:
    """A sub-model that would answer nobody, as far as anybody can see; or, with a hint of its own, not as it should."""
    hint = hint or f"{WITH_EXAMPLE} If it answers real rows all the same, set +models.{id_}.prove=false."
    return Problem(f"models.{id_}", what if what.endswith(".") else f"{what}.", hint, "fleet")
