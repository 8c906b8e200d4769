"""``kind: nearest``: the key is the name of the nearest site by latitude and longitude.

All that serving imports; it must not import ``plugin``, because no plugin is discovered there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mmeframe.plugin import (
    MISSING,
    BadInputError,
    Batch,
    ComponentContext,
    MissingError,
    RoutingInputs,
    RoutingStrategy,
    StrategyConf,
)
from pydantic import Field

from mmeframe_nearest.degrees import LATITUDE, LONGITUDE, count, read_degrees
from mmeframe_nearest.sites import Sites, read_sites

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EARTH_KM", "NearestConf", "NearestStrategy"]

# The mean radius of the Earth (IUGG). A sphere is within 0.6 % of the ellipsoid's distances.
EARTH_KM = 6371.0088

_FILE = "sites.npz"


@dataclass
class NearestConf(StrategyConf):
    """Options of ``kind: nearest``."""

    # The column of the data with the latitude, in degrees.
    latitude: str = "latitude"
    # The column of the data with the longitude, in degrees.
    longitude: str = "longitude"
    # A table (CSV, Parquet, ...) with one row per site; read when the router is built, and carried inside it.
    table: str = MISSING
    # The column of the table with the site's key. CSV keys are text as written: "02108" stays itself.
    site: str = "site"
    # The column of the table with the site's latitude, in degrees.
    site_latitude: str = "latitude"
    # The column of the table with the site's longitude, in degrees.
    site_longitude: str = "longitude"
    # Kilometres along the ground; a row farther than this from every site has no key. null: no limit.
    max_km: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class NearestStrategy(RoutingStrategy[NearestConf]):
    """Route each row to the site with the least great-circle distance.

    Immutable after ``bind``: queries only read the tree, and may run in any number of threads.
    """

    def inputs(self) -> RoutingInputs:
        return RoutingInputs({self.conf.latitude: "double", self.conf.longitude: "double"})

    def prepare(self) -> Mapping[str, bytes]:
        conf = self.conf
        sites = read_sites(Path(conf.table), conf.site, conf.site_latitude, conf.site_longitude)
        return {_FILE: sites.to_bytes()}

    def bind(self, context: ComponentContext) -> None:
        import numpy as np
        from sklearn.neighbors import BallTree

        if _FILE not in context.files:
            raise MissingError("the bundle has no site table.", hint="Build the router again.")
        sites = Sites.from_bytes(context.files[_FILE])
        self._keys = np.array(sites.keys, object)
        self._tree = BallTree(np.radians(sites.places), metric="haversine")

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
        del params
        import numpy as np

        latitude = self._degrees(batch, self.conf.latitude, LATITUDE)
        longitude = self._degrees(batch, self.conf.longitude, LONGITUDE)
        keys = np.full(len(batch), None, object)
        rows = np.flatnonzero(~(np.isnan(latitude) | np.isnan(longitude)))
        # The tree refuses to be asked about no rows.
        if len(rows):
            angle, site = self._tree.query(np.radians(np.column_stack([latitude[rows], longitude[rows]])))
            near = self._near(angle[:, 0])
            keys[rows[near]] = self._keys[site[near, 0]]
        return keys

    def _degrees(self, batch: Batch, name: str, bound: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        found = read_degrees(batch.column(name), bound)
        if found.alien:
            raise BadInputError(
                f"column {name!r} holds something else than numbers in {count(found.alien)}.",
                hint="Send degrees as numbers, such as 40.64; leave out what is unknown.",
            )
        if found.outside:
            raise BadInputError(
                f"column {name!r} has {count(found.outside)} outside -{bound} to {bound} degrees.",
                hint="Are latitude and longitude swapped, or longitudes counted from 0 to 360?",
            )
        return found.values

    def _near(self, angle: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows are near enough to their site. angle: radians."""
        import numpy as np

        if self.conf.max_km is None:
            return np.ones(len(angle), bool)
        # Written so that NaN, which some haversines give for antipodes, is too far.
        return angle * EARTH_KM <= self.conf.max_km
