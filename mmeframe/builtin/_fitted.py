"""Ask a model with the frames that it was fitted on: its columns in its own order, its categories as categories.

A signature knows neither: it calls a category of texts ``string``, and may list columns in another order.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmeframe.plugin import ModelError, SubModel, SubModelFiles

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AsFitted", "as_fitted", "unwrapped"]

# Types of columns that can hold the values of a category, by pandas' name for what these are.
_HOLDERS: Mapping[str, tuple[str, ...]] = {
    "string": ("string",),
    "integer": ("integer", "long", "float", "double"),
    "boolean": ("boolean",),
    "floating": ("double", "float"),
}
# What XGBoost 3.1 and newer write of every model: the categories of its columns, which may be none.
_XGBOOST_KEEPS = re.compile(rb'cats"?\s*:?\s*\{')
_PYFUNC = "set models.{}.loader=pyfunc, which hands columns over as the signature has them."


class AsFitted:
    """A live model that gets every frame as it was fitted on one.

    order: its columns, None for those of the frame. categories: column -> its values. A value that is none of them is
    missing to the model, as to its library, and so is a whole column. ``column_types``: MLflow's type of each category.
    """

    def __init__(self, model: Any, order: Sequence[str] | None, categories: Mapping[str, pd.Index[Any]]) -> None:
        self.model, self._order, self._categories = model, order, categories
        self.column_types = {name: _HOLDERS[_kind(values)][0] for name, values in categories.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.model, name)
        if not callable(found):
            return found

        def fitted(data: Any, *args: Any, **kwargs: Any) -> Any:
            return found(self._fitted(data), *args, **kwargs)

        return fitted

    def __dir__(self) -> list[str]:
        return dir(self.model)

    def _fitted(self, data: pd.DataFrame) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        places = {str(name): place for place, name in enumerate(data.columns)}
        # Rows come without an optional whole number or boolean that they lack: to the model it is missing.
        order = list(places) if self._order is None else self._order
        frame = data.iloc[:, [places[name] for name in order if name in places]].copy(deep=False)
        for place, name in enumerate(order):
            if name not in places:
                frame.insert(place, name, np.nan)
            if (values := self._categories.get(name)) is not None:
                codes = values.get_indexer(frame.iloc[:, place].array)
                frame.isetitem(place, pd.Categorical.from_codes(codes, values))
        return frame


def as_fitted(model: Any, files: SubModelFiles, inner: Any = None, names: Sequence[str] | None = None) -> SubModel:
    """A live model, or one around it that restores what its signature does not say.

    inner: what was fitted, if ``model`` is something around that. names: of its columns, if it does not say.
    Raises ModelError for a model that was fitted on other columns than its signature declares, or whose categories
    nothing records: it would answer with other numbers than it has learned.
    """
    inner = model if inner is None else inner
    order = _order(inner, names, files)
    categories: dict[str, pd.Index[Any]] = {}
    for booster in _boosters(inner):
        for name, values in _categories(booster, files, inside=booster is not inner).items():
            if not categories.setdefault(name, values).equals(values):
                raise ModelError(
                    f"it holds several models, which know different categories of its column {name!r}.",
                    where=files.id,
                    hint="Fit them on one type: pandas' CategoricalDtype with all categories.",
                )
    declared = [column.name for column in files.columns]
    optional = order is not None and not all(column.required for column in files.columns)
    if categories or optional or order not in (None, declared):
        return AsFitted(model, order or declared or None, categories)
    known: SubModel = model
    return known


def unwrapped(model: Any) -> Any:
    """What ``as_fitted`` was given."""
    return model.model if isinstance(model, AsFitted) else model


# -- order of columns -------------------------------------------------------------------------------------------------


def _order(model: Any, names: Sequence[str] | None, files: SubModelFiles) -> list[str] | None:
    """The signature's columns in the order of those that it was fitted on; None if it takes them as they come."""
    declared = [column.name for column in files.columns]
    known = [(model, list(names))] if names is not None else [(it, _names(it)) for it in _asked(model)]
    for holder, fitted in known:
        if fitted is None or not declared:
            continue
        spelled = _spelled(holder, declared)
        if sorted(fitted) == sorted(spelled):
            own = dict(zip(spelled, declared, strict=True))
            return [own[name] for name in fitted]
        # scikit-learn says which names it takes and which it lacks; some of its estimators take more.
        if _is_booster(holder) and not _made_up(fitted):
            lacking, more = (
                _some([it for it in one if it not in other]) for one, other in ((fitted, spelled), (spelled, fitted))
            )
            raise ModelError(
                f"it was fitted on columns that its signature does not declare ({lacking}), and that declares others "
                f"({more}).",
                where=files.id,
                hint="Log it with the signature of the frame that it was fitted on; or " + _PYFUNC.format(files.id),
            )
    return None


def _asked(model: Any) -> Iterator[Any]:
    """A model, and in turn what each hands its rows to as they are: a pipeline's first step, a search's best."""
    while model is not None:
        yield model
        if hasattr(model, "steps"):
            model = next((step for _, step in model.steps if step not in (None, "passthrough")), None)
        elif not type(model).__module__.startswith("sklearn."):
            # Another's estimator may make columns of its own for what it holds.
            return
        elif hasattr(model, "calibrated_classifiers_"):
            model = model.calibrated_classifiers_[0].estimator
        else:
            held = (getattr(model, name, None) for name in ("best_estimator_", "estimator_", "regressor_"))
            several = getattr(model, "estimators_", None)
            model = next((it for it in held if it is not None), several[0] if isinstance(several, list) else None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (" ..." if len(names) > 5 else "") if names else "none"


def _names(model: Any) -> list[str] | None:
    """The columns that a model was fitted on, None if it does not know."""
    found: Any = None
    if (booster := _lightgbm(model)) is not None:
        found = booster.feature_name()
    elif (booster := _xgboost(model)) is not None:
        found = booster.feature_names
    elif _of("catboost", "CatBoost", model):
        found = model.feature_names_
    else:
        found = getattr(model, "feature_names_in_", None)
    return None if found is None else [str(name) for name in found]


def _made_up(names: Sequence[str]) -> bool:
    """Whether these are what LightGBM and CatBoost call the columns of arrays."""
    numbers = range(len(names))
    return list(names) in ([f"Column_{number}" for number in numbers], [str(number) for number in numbers])


def _spelled(model: Any, names: list[str]) -> list[str]:
    """Names as a library writes them: LightGBM's files separate them by spaces."""
    return names if _lightgbm(model) is None else [re.sub(r"\s", "_", name) for name in names]


# -- categories -------------------------------------------------------------------------------------------------------


def _categories(booster: Any, files: SubModelFiles, *, inside: bool) -> dict[str, pd.Index[Any]]:
    """Of the signature's columns, those that a booster knows as categories.

    inside: other estimators stand between: steps of a pipeline may have made its columns, or given them a prefix.
    Raises ModelError for a column whose declared type cannot hold its categories: all would be missing.
    """
    types = {column.name: column.type for column in files.columns}
    names = _names(booster) or []
    spelled = dict(zip(_spelled(booster, list(types)), types, strict=True))
    sources = {name: _source(name, spelled, inside=inside) if types else name for name in names}
    own = {name: column for name, column in sources.items() if column is not None}
    known = {name: types[column] for name, column in own.items() if column in types}
    read = _of_lightgbm if _lightgbm(booster) is not None else _of_xgboost
    found = {own[name]: values for name, values in read(booster, known, files).items() if name in own}
    unfit = {name: values for name, values in found.items() if name in types and not _holds(types[name], values)}
    if unfit and not inside:
        name, values = next(iter(unfit.items()))
        raise ModelError(
            f"its column {name!r} is declared {types[name]}, and holds categories that are {_kind(values)}.",
            where=files.id,
            hint="Log it with the signature of the frame that it was fitted on.",
        )
    return {name: values for name, values in found.items() if name not in unfit}


def _source(name: str, spelled: Mapping[str, str], *, inside: bool) -> str | None:
    """The signature's column that a booster's is: scikit-learn puts names of steps before it, as in ``rest__shop``."""
    if name in spelled:
        return spelled[name]
    ends = [it for it in spelled if name.endswith(f"__{it}")] if inside else []
    return spelled[max(ends, key=len)] if ends else None


def _of_xgboost(model: Any, types: Mapping[str, str], files: SubModelFiles) -> dict[str, pd.Index[Any]]:
    import pandas as pd

    booster = _xgboost(model)
    marked = [
        name
        for name, kind in zip(booster.feature_names or [], booster.feature_types or [], strict=False)
        if kind == "c"
    ]
    if not marked:
        return {}
    if hasattr(booster, "get_categories"):
        exported = booster.get_categories(export_to_arrow=True).to_arrow()
        known = {name: values for name, values in exported if values is not None}
        if garbled := [name for name, values in known.items() if not _ascii(values)]:
            # XGBoost 3.2 cuts texts by the number of letters, where it should count bytes.
            raise ModelError(
                f"XGBoost has garbled categories of its columns {_some(garbled)}: they have letters outside ASCII.",
                where=files.id,
                hint="Fit it on categories of whole numbers, or of ASCII letters.",
            )
        if known:
            return {name: pd.Index(values.to_pandas()) for name, values in known.items()}
    texts = [name for name in marked if types.get(name) == "string"]
    if not texts and _holds_codes(model, files):
        return {}
    raise ModelError(
        f"XGBoost has not recorded the categories of its columns {_some(texts or marked)}.",
        where=files.id,
        hint="Fit it with XGBoost 3.1 or newer, which records them. If its rows hold the codes of categories, "
        + _PYFUNC.format(files.id),
    )


def _ascii(values: Any) -> bool:
    """Whether an Arrow array holds numbers, or texts of ASCII letters alone."""
    return str(values.type) != "string" or all(text.isascii() for text in values.view("binary").to_pylist())


def _holds_codes(model: Any, files: SubModelFiles) -> bool:
    """Whether a model without categories was fitted on their codes: newer files would have them, older ones have not.

    In a pickle only an estimator tells: by ``feature_types``, which whoever has codes must give.
    """
    name = files.options.get("data")
    if name is not None and files.flavor == "xgboost":
        return _XGBOOST_KEEPS.search(files.read(name)) is not None
    return getattr(model, "feature_types", None) is not None


def _of_lightgbm(model: Any, types: Mapping[str, str], files: SubModelFiles) -> dict[str, pd.Index[Any]]:
    import pandas as pd

    booster = _lightgbm(model)
    recorded = [pd.Index(values) for values in booster.pandas_categorical or []]
    if not recorded:
        return {}
    # LightGBM has the lists in the order of the columns, and does not say of which. It says what values it has seen.
    head = booster.model_to_string(num_iteration=1)
    seen = dict(zip(booster.feature_name(), head.split("\nfeature_infos=")[1].split("\n")[0].split(" "), strict=True))
    codes = {name: [_codes(info, values) for values in recorded] for name, info in seen.items()}
    fits = {
        name: [
            fit and (name not in types or _holds(types[name], it)) for fit, it in zip(fitting, recorded, strict=True)
        ]
        for name, fitting in codes.items()
    }
    # It takes texts as categories only; what it calls a category may also have been a number.
    texts = {name for name in seen if types.get(name) == "string"}
    called = {name for name, info in seen.items() if info[0] not in "[n"}
    found = _placed(fits, texts | called) or _placed(fits, texts) or _placed(codes, called)
    if len(found) == 1:
        return dict(zip(found[0], recorded, strict=True))
    maybe = [name for name, fitting in fits.items() if any(fitting)]
    if types and not any(name in types for name in maybe):
        return {}
    raise ModelError(
        f"LightGBM has not recorded which of its columns are categories: {_some(maybe)} may be.",
        where=files.id,
        hint="Fit it on categories of text, or without an order.",
    )


def _placed(fits: Mapping[str, Sequence[bool]], needed: set[str]) -> list[tuple[str, ...]]:
    """The ways, two at most, to give each list of categories a column, in the order of both, with all that are needed.

    fits: column -> for each list, whether it can be the column's.
    """
    lists = len(next(iter(fits.values())))
    # By how many lists are left: the ways to place these in the columns from the current one on.
    ways: list[list[tuple[str, ...]]] = [[()], *([] for _ in range(lists))]
    for name, fitting in reversed(list(fits.items())):
        skipped: list[list[tuple[str, ...]]] = [[] if name in needed else list(found) for found in ways]
        taken = [
            [],
            *([(name, *rest) for rest in ways[left - 1]] if fitting[-left] else [] for left in range(1, lists + 1)),
        ]
        ways = [(one + two)[:2] for one, two in zip(taken, skipped, strict=True)]
    return ways[lists]


def _codes(info: str, values: pd.Index[Any]) -> bool:
    """Whether what LightGBM has seen of a column, ``0:2:1``, ``[0:2]`` or ``none``, can be codes of these values."""
    try:
        codes = [int(code) for code in info.strip("[]").split(":") if code != "none"]
    except ValueError:
        return False
    # A missing one is -1.
    return all(-1 <= code < len(values) for code in codes)


def _holds(kind: str, values: pd.Index[Any]) -> bool:
    """Whether a column of this type can hold these categories."""
    if kind not in _HOLDERS.get(_kind(values), ()):
        return False
    return kind != "float" or bool((values == values.astype("float32")).all())


def _kind(values: pd.Index[Any]) -> str:
    from pandas.api.types import infer_dtype

    return infer_dtype(values)


# -- libraries: none is imported that the model has not ---------------------------------------------------------------


def _of(library: str, name: str, model: Any) -> bool:
    # Another thread may be importing it.
    return isinstance(model, getattr(sys.modules.get(library), name, ()))


def _lightgbm(model: Any) -> Any:
    """LightGBM's booster of a model, None if it is none of LightGBM's."""
    if _of("lightgbm", "Booster", model):
        return model
    return model.booster_ if _of("lightgbm", "LGBMModel", model) else None


def _xgboost(model: Any) -> Any:
    """XGBoost's booster of a model, None if it is none of XGBoost's."""
    if _of("xgboost", "Booster", model):
        return model
    return model.get_booster() if _of("xgboost", "XGBModel", model) else None


def _is_booster(model: Any) -> bool:
    return _of("catboost", "CatBoost", model) or _lightgbm(model) is not None or _xgboost(model) is not None


_BOOSTERS = (("lightgbm", "Booster"), ("lightgbm", "LGBMModel"), ("xgboost", "Booster"), ("xgboost", "XGBModel"))


def _boosters(model: Any) -> list[Any]:
    """The fitted models of LightGBM and XGBoost: the model itself, or those that estimators of scikit-learn hold.

    None of them where a function or another's estimator stands between: it may make categories of its own of the same
    columns, which it then gets as plain MLflow hands them over.
    """
    kinds = tuple(kind for library, name in _BOOSTERS if (kind := getattr(sys.modules.get(library), name, None)))
    todo, seen, found = [model] if kinds else [], set(), []
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, kinds):
            # Estimators keep what they have copied and fitted, too.
            if not hasattr(item, "__sklearn_is_fitted__") or item.__sklearn_is_fitted__():
                found.append(item)
        elif isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, list | tuple):
            todo += item
        elif type(item).__module__.startswith("sklearn.") and getattr(item, "func", None) is None:
            # Some hold their estimators in objects that are none.
            todo.append(getattr(item, "__dict__", {}))
        elif _of("sklearn.base", "BaseEstimator", item):
            return []
    return found
