"""The built-in plugin: registered through the same manager as any other."""

from __future__ import annotations

from mmeframe.builtin.column import ColumnConf
from mmeframe.builtin.datepart import DatepartConf
from mmeframe.builtin.logged_models import LoggedModelsConf
from mmeframe.builtin.manifest import ManifestConf
from mmeframe.builtin.param import ParamConf
from mmeframe.builtin.pyfunc_loader import PyfuncConf
from mmeframe.builtin.registry import RegistryConf
from mmeframe.builtin.sklearn_loader import SklearnConf
from mmeframe.builtin.template import TemplateConf
from mmeframe.plugin import ModelLoaderPlugin, ModelSourcePlugin, RoutingStrategyPlugin, hookimpl

__all__: list[str] = []


@hookimpl
def mmeframe_routing_strategies() -> list[RoutingStrategyPlugin]:
    home = "mmeframe.builtin"
    return [
        RoutingStrategyPlugin("param", ParamConf, f"{home}.param:ParamStrategy", "a request parameter"),
        RoutingStrategyPlugin("column", ColumnConf, f"{home}.column:ColumnStrategy", "a column of the data"),
        RoutingStrategyPlugin(
            "datepart", DatepartConf, f"{home}.datepart:DatepartStrategy", "weekday, month, hour ... of a timestamp"
        ),
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
            "manifest", ManifestConf, f"{home}.manifest:ManifestSource", "a CSV or Parquet file, one row per sub-model"
        ),
    ]
