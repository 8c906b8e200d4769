"""The built-in plugin: registered through the same manager as any other."""

from __future__ import annotations

from mmeframe.builtin.bins import BinsConf
from mmeframe.builtin.catboost_loader import CatboostConf
from mmeframe.builtin.column import ColumnConf
from mmeframe.builtin.combiners import MeanConf, MedianConf, VoteConf, WeightedConf
from mmeframe.builtin.datepart import DatepartConf
from mmeframe.builtin.folder import FolderConf
from mmeframe.builtin.gate import GateConf
from mmeframe.builtin.hashed import HashConf
from mmeframe.builtin.lightgbm_loader import LightgbmConf
from mmeframe.builtin.log_observer import LogConf
from mmeframe.builtin.logged_models import LoggedModelsConf
from mmeframe.builtin.lookup import LookupConf
from mmeframe.builtin.manifest import ManifestConf
from mmeframe.builtin.param import ParamConf
from mmeframe.builtin.pattern import PatternConf
from mmeframe.builtin.pyfunc_loader import PyfuncConf
from mmeframe.builtin.registry import RegistryConf
from mmeframe.builtin.rules import RulesConf
from mmeframe.builtin.sklearn_loader import SklearnConf
from mmeframe.builtin.statsmodels_loader import StatsmodelsConf
from mmeframe.builtin.template import TemplateConf
from mmeframe.builtin.xgboost_loader import XgboostConf
from mmeframe.plugin import (
    CombinerPlugin,
    ModelLoaderPlugin,
    ModelSourcePlugin,
    ObserverPlugin,
    RoutingStrategyPlugin,
    hookimpl,
)

__all__: list[str] = []

_ESTIMATORS = {
    ending: {"pickled_model": "{name}", "serialization_format": form}
    for ending, form in (
        (".pkl", "pickle"),
        (".pickle", "pickle"),
        (".cloudpickle", "cloudpickle"),
        (".joblib", "joblib"),
        (".skops", "skops"),
    )
}


@hookimpl
def mmeframe_routing_strategies() -> list[RoutingStrategyPlugin]:
    home = "mmeframe.builtin"
    return [
        RoutingStrategyPlugin("param", ParamConf, f"{home}.param:ParamStrategy", "a request parameter"),
        RoutingStrategyPlugin("column", ColumnConf, f"{home}.column:ColumnStrategy", "a column of the data"),
        RoutingStrategyPlugin(
            "datepart", DatepartConf, f"{home}.datepart:DatepartStrategy", "weekday, month, hour ... of a timestamp"
        ),
        RoutingStrategyPlugin(
            "lookup", LookupConf, f"{home}.lookup:LookupStrategy", "what a table says about another key part"
        ),
        RoutingStrategyPlugin("bins", BinsConf, f"{home}.bins:BinsStrategy", "the interval that a number lies in"),
        RoutingStrategyPlugin(
            "pattern", PatternConf, f"{home}.pattern:PatternStrategy", "a prefix, or what a regular expression finds"
        ),
        RoutingStrategyPlugin("rules", RulesConf, f"{home}.rules:RulesStrategy", "the first condition that holds"),
        RoutingStrategyPlugin("hash", HashConf, f"{home}.hashed:HashStrategy", "fixed shares by a stable hash"),
        RoutingStrategyPlugin("gate", GateConf, f"{home}.gate:GateStrategy", "what a sub-model predicts"),
    ]


@hookimpl
def mmeframe_model_loaders() -> list[ModelLoaderPlugin]:
    home = "mmeframe.builtin"
    return [
        ModelLoaderPlugin(
            "sklearn",
            SklearnConf,
            f"{home}.sklearn_loader:SklearnLoader",
            "scikit-learn estimators, from memory",
            flavors=("sklearn",),
            suffixes=_ESTIMATORS,
        ),
        ModelLoaderPlugin(
            "xgboost",
            XgboostConf,
            f"{home}.xgboost_loader:XgboostLoader",
            "XGBoost boosters and estimators, from memory",
            flavors=("xgboost",),
            suffixes={
                ".ubj": {"data": "{name}", "model_class": "xgboost.core.Booster", "model_format": "ubj"},
                ".json": {"data": "{name}", "model_class": "xgboost.core.Booster", "model_format": "json"},
            },
        ),
        ModelLoaderPlugin(
            "lightgbm",
            LightgbmConf,
            f"{home}.lightgbm_loader:LightgbmLoader",
            "LightGBM boosters and estimators, from memory",
            flavors=("lightgbm",),
            suffixes={".txt": {"data": "{name}", "model_class": "lightgbm.basic.Booster"}},
        ),
        ModelLoaderPlugin(
            "catboost",
            CatboostConf,
            f"{home}.catboost_loader:CatboostLoader",
            "CatBoost models, from memory",
            flavors=("catboost",),
            suffixes={".cbm": {"data": "{name}", "model_type": "CatBoost", "save_format": "cbm"}},
        ),
        ModelLoaderPlugin(
            "statsmodels",
            StatsmodelsConf,
            f"{home}.statsmodels_loader:StatsmodelsLoader",
            "statsmodels results, from memory",
            flavors=("statsmodels",),
        ),
        ModelLoaderPlugin(
            "pyfunc", PyfuncConf, f"{home}.pyfunc_loader:PyfuncLoader", "any MLflow model, through mlflow.pyfunc"
        ),
    ]


@hookimpl
def mmeframe_model_sources() -> list[ModelSourcePlugin]:
    home = "mmeframe.builtin"
    return [
        ModelSourcePlugin("template", TemplateConf, f"{home}.template:TemplateSource", "one URI pattern, listed keys"),
        ModelSourcePlugin(
            "registry", RegistryConf, f"{home}.registry:RegistrySource", "registered models by name pattern or tag"
        ),
        ModelSourcePlugin(
            "logged_models", LoggedModelsConf, f"{home}.logged_models:LoggedModelsSource", "logged models by a filter"
        ),
        ModelSourcePlugin(
            "manifest", ManifestConf, f"{home}.manifest:ManifestSource", "a table with one row per sub-model"
        ),
        ModelSourcePlugin("folder", FolderConf, f"{home}.folder:FolderSource", "models that lie in a directory"),
    ]


@hookimpl
def mmeframe_combiners() -> list[CombinerPlugin]:
    home = "mmeframe.builtin.combiners"
    return [
        CombinerPlugin("mean", MeanConf, f"{home}:MeanCombiner", "the mean of numbers"),
        CombinerPlugin("median", MedianConf, f"{home}:MedianCombiner", "the median of numbers"),
        CombinerPlugin("weighted", WeightedConf, f"{home}:WeightedCombiner", "the mean of numbers, with weights"),
        CombinerPlugin("vote", VoteConf, f"{home}:VoteCombiner", "what most sub-models answer"),
    ]


@hookimpl
def mmeframe_observers() -> list[ObserverPlugin]:
    home = "mmeframe.builtin.log_observer"
    return [ObserverPlugin("log", LogConf, f"{home}:LogObserver", "lines of JSON in the log")]
