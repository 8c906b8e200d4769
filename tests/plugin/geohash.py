"""A distribution with one component of every kind, each with options of several types, and a preset."""

from __future__ import annotations

from tests.plugin.projects import Project

_SOURCE = '''\
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from mmeframe.plugin import (
    MISSING, Combiner, CombinerConf, CombinerPlugin, LoaderConf, ModelLoaderPlugin, ModelSource, ModelSourcePlugin,
    Observer, ObserverConf, ObserverPlugin, RoutingInputs, RoutingStrategy, RoutingStrategyPlugin, SourceConf,
    StrategyConf, hookimpl,
)


@dataclass
class Box:
    # Degrees north of the equator.
    north: Annotated[float, Field(le=90)] = 90.0


@dataclass
class GeohashConf(StrategyConf):
    """Options of ``kind: geohash``."""

    # A column of geohashes.
    column: str = MISSING
    # How many letters count;
    # those after them are left out.
    precision: Annotated[int, Field(ge=1, le=12)] = 6
    letters: Literal["lower", "upper"] = "lower"
    strict: Annotated[bool, Field(description="Refuse what is no geohash.")] = False
    # auto, or so many cells.
    cells: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    table_path: str | None = None
    box: Box = field(default_factory=Box)


class Geohash(RoutingStrategy):
    def inputs(self):
        return RoutingInputs({self.conf.column: "string"})

    def route_keys(self, batch, params):
        return [value[: self.conf.precision] for value in batch.column(self.conf.column)]


@dataclass
class OnnxConf(LoaderConf):
    # Threads of one sub-model.
    threads: Annotated[int, Field(ge=0, le=256)] = 1


@dataclass
class BucketConf(SourceConf):
    # Requests at a time.
    requests: Annotated[int, Field(ge=1, le=64)] = 8


@dataclass
class TrimmedConf(CombinerConf):
    # What is cut off at each end.
    share: Annotated[float, Field(ge=0, lt=0.5)] = 0.1


@dataclass
class StatsdConf(ObserverConf):
    # The UDP port.
    port: Annotated[int, Field(ge=1, le=65535)] = 8125


@hookimpl
def mmeframe_routing_strategies():
    return [RoutingStrategyPlugin("geohash", GeohashConf, __name__ + ":Geohash", "the beginning of a geohash")]


@hookimpl
def mmeframe_model_loaders():
    return [ModelLoaderPlugin("mleap", OnnxConf, __name__ + ":Onnx", "ONNX Runtime sessions", flavors=("mleap",))]


@hookimpl
def mmeframe_model_sources():
    return [ModelSourcePlugin("bucket", BucketConf, __name__ + ":Bucket", "models in a bucket")]


@hookimpl
def mmeframe_combiners():
    return [CombinerPlugin("clipped", TrimmedConf, __name__ + ":Trimmed", "the mean without the extremes")]


@hookimpl
def mmeframe_observers():
    return [ObserverPlugin("statsd", StatsdConf, __name__ + ":Statsd", "counters over UDP")]


@hookimpl
def mmeframe_config_paths():
    return ["pkg://geohash_presets"]
'''

# A file of the group: in place, and by the defaults of another file.
_CITY = "kind: geohash\ncolumn: cell\nprecision: 4\n"
_TOWN = "defaults: [geohash, _self_]\ncolumn: cell\nprecision: 5\n"

GEOHASH = Project(
    "mmeframe-geohash",
    "1.2.0",
    (("geohash", _SOURCE),),
    files=(("geohash_presets/routing/city.yaml", _CITY), ("geohash_presets/routing/town.yaml", _TOWN)),
)
