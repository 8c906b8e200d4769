"""The strategy ``nearest``: through its own methods, as the host calls them, and from config."""

from __future__ import annotations

import io
import math
import re
import shlex
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmeframe.api import compose
from mmeframe.errors import ProblemsError
from mmeframe.plugin import BadInputError, ComponentContext, ConfigError, MissingError
from mmeframe.plugin.manager import load_plugins
from mmeframe.rows.batch import as_batch
from mmeframe.rows.key_index import NO_KEY, KeyIndex
from mmeframe.testing import RoutingStrategyConformance, StrategyCase
from mmeframe.testing import bound as as_served

from mmeframe_nearest.sites import Sites
from mmeframe_nearest.strategy import NearestConf, NearestStrategy

README = Path(__file__).parents[1] / "README.md"

HEADER = "site,latitude,longitude"
AIRPORTS = ["EWR,40.6925,-74.168667", "JFK,40.639751,-73.778925", "LGA,40.777245,-73.872608"]

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)
places = st.tuples(latitudes, longitudes)
# No example database: the tests write nothing beside the code.
quick = settings(max_examples=100, deadline=None, database=None)


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    """A function that writes lines to a CSV file and returns its path."""

    def write(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "sites.csv"
        path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
        return path

    return write


@pytest.fixture
def airports(csv: Any) -> Path:
    return csv(*AIRPORTS)


def bound(table: Path, **options: Any) -> NearestStrategy:
    """A strategy as a router has it."""
    return as_served(NearestStrategy(NearestConf(table=str(table), **options)))


def bound_to(sites: Sequence[tuple[float, float]], max_km: float | None = None) -> NearestStrategy:
    """A strategy over unnamed places, whose keys are their positions, without a table."""
    strategy = NearestStrategy(NearestConf(table="unused", max_km=max_km))
    data = Sites(tuple(map(str, range(len(sites)))), np.array(sites, float)).to_bytes()
    strategy.bind(ComponentContext({"sites.npz": data}))
    return strategy


def route(strategy: NearestStrategy, latitude: Any, longitude: Any) -> list[Any]:
    frame = pd.DataFrame({"latitude": latitude, "longitude": longitude})
    found = strategy.route_keys(as_batch(frame), {})
    assert found.dtype == object
    return found.tolist()


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The haversine formula, slowly and in plain Python."""
    (lat1, lon1), (lat2, lon2) = (tuple(map(math.radians, place)) for place in (one, other))
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0088 * math.asin(min(1.0, math.sqrt(half)))


# -- what every strategy promises ----------------------------------------------


ROWS = pd.DataFrame(
    {
        # Jersey City, Boston, Long Beach, Flushing, somewhere without a longitude, nowhere.
        "latitude": [40.7178, 42.3601, 40.5884, 40.7675, 41.0, np.nan] * 6,
        "longitude": [-74.0431, -71.0589, -73.6579, -73.8331, np.nan, np.nan] * 6,
    }
)
WHOLE = pd.DataFrame({"latitude": [41, 40, -33] * 8, "longitude": [-75, -73, 151] * 8})
TABLE = {"airports.csv": "\n".join([HEADER, *AIRPORTS, ""])}


@pytest.mark.process
@pytest.mark.smoke
class TestConformance(RoutingStrategyConformance):
    """With and without a limit, on fractions of degrees and on whole ones."""

    cases = (
        StrategyCase("nearest", ROWS, options={"table": "airports.csv"}, files=TABLE),
        StrategyCase("nearest", ROWS, options={"table": "airports.csv", "max_km": 50}, files=TABLE),
        StrategyCase("nearest", WHOLE, options={"table": "airports.csv"}, files=TABLE, id="whole-degrees"),
    )


# -- which site ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("latitude", "longitude", "airport"),
    [
        pytest.param(40.7178, -74.0431, "EWR", id="jersey-city"),
        pytest.param(39.9526, -75.1652, "EWR", id="philadelphia"),
        pytest.param(40.5884, -73.6579, "JFK", id="long-beach"),
        pytest.param(40.7891, -73.1350, "JFK", id="islip"),
        pytest.param(40.7580, -73.9855, "LGA", id="times-square"),
        pytest.param(40.7675, -73.8331, "LGA", id="flushing"),
        pytest.param(42.3601, -71.0589, "LGA", id="boston"),
    ],
)
def test_a_place_goes_to_its_nearest_airport(airports, latitude, longitude, airport):
    """One row gets the key of the site with the least great-circle distance."""
    assert route(bound(airports), [latitude], [longitude]) == [airport]


@pytest.mark.parametrize(
    ("site", "row", "km"),
    [
        pytest.param((40.639751, -73.778925), (40.777245, -73.872608), 17.21, id="kennedy-laguardia"),
        pytest.param((40.6925, -74.168667), (40.639751, -73.778925), 33.39, id="newark-kennedy"),
        pytest.param((51.5074, -0.1278), (48.8566, 2.3522), 343.56, id="london-paris"),
        pytest.param((36.12, -86.67), (33.94, -118.40), 2886.45, id="nashville-los-angeles"),
        pytest.param((0, 0), (0, 1), 111.195, id="one-degree"),
        pytest.param((0, 25), (90, 0), 10007.557, id="equator-pole"),
        pytest.param((-20.94, -108.84), (20.94, 71.16), 20015.11, id="antipodes"),
    ],
)
def test_max_km_is_the_distance_along_the_ground(site, row, km):
    """A point just inside the limit has a key, the same point just outside has none."""
    latitude, longitude = row

    assert route(bound_to([site], max_km=km + 0.01), [latitude], [longitude]) == ["0"]
    assert route(bound_to([site], max_km=km - 0.01), [latitude], [longitude]) == [None]


def test_max_km_leaves_out_only_the_far_rows(airports):
    """With 50 km around New York's airports, Boston has no key; the rows beside it keep theirs."""
    found = route(bound(airports, max_km=50), [40.7178, 42.3601, 40.7675], [-74.0431, -71.0589, -73.8331])

    assert found == ["EWR", None, "LGA"]


def test_a_row_at_a_site_is_within_any_limit(airports):
    """The distance of a place to itself is zero."""
    assert route(bound(airports, max_km=1e-9), [40.639751], [-73.778925]) == ["JFK"]


@pytest.mark.parametrize(
    ("sites", "row", "key"),
    [
        pytest.param([(0, 179.9), (0, -170)], (0, -179.9), "0", id="across-the-date-line"),
        pytest.param([(0, -179.9), (0, 170)], (0, 179.9), "0", id="across-it-westward"),
        pytest.param([(10, 180), (10, 179)], (10, -180), "0", id="two-names-of-one-meridian"),
        pytest.param([(89.9, 0), (80, 180)], (89.9, 180), "0", id="across-the-north-pole"),
        pytest.param([(-89.9, 90), (-80, -90)], (-89.9, -90), "0", id="across-the-south-pole"),
        pytest.param([(90, 120), (89, -60)], (90, -60), "0", id="every-longitude-is-the-pole"),
        # In degrees the first is 5 away and the second 10; on the ground 556 and 97 km.
        pytest.param([(80, 0), (85, 10)], (85, 0), "1", id="degrees-are-not-distances"),
    ],
)
def test_poles_and_the_date_line_are_ordinary_places(sites, row, key):
    """Distance is along the ground, not a difference of coordinates."""
    assert route(bound_to(sites), [row[0]], [row[1]]) == [key]


@quick
@given(
    st.lists(places, min_size=1, max_size=120, unique=True),
    st.lists(places, min_size=1, max_size=20),
    st.none() | st.floats(1, 20_000),
)
def test_the_key_is_what_a_slow_search_finds(sites, rows, max_km):
    """No site is nearer than the chosen one, by a haversine in plain Python; a metre is a tie."""
    nearest = [min(kilometres(row, site) for site in sites) for row in rows]
    assume(max_km is None or all(abs(km - max_km) > 1e-3 for km in nearest))

    found = route(bound_to(sites, max_km), *zip(*rows, strict=True))

    for row, km, key in zip(rows, nearest, found, strict=True):
        if max_km is not None and km > max_km:
            assert key is None
        else:
            assert kilometres(row, sites[int(key)]) == pytest.approx(km, abs=1e-3)


def test_a_large_table_gives_what_a_slow_search_finds():
    """With thousands of sites, where the tree is deep, the nearest is still the nearest."""
    random = np.random.default_rng(0)
    sites = list(
        zip(random.uniform(-90, 90, 3000).tolist(), random.uniform(-180, 180, 3000).tolist(), strict=True)
    )
    rows = list(
        zip(random.uniform(-90, 90, 50).tolist(), random.uniform(-180, 180, 50).tolist(), strict=True)
    )

    found = route(bound_to(sites), *zip(*rows, strict=True))

    assert found == [str(min(range(3000), key=lambda number: kilometres(row, sites[number]))) for row in rows]


# -- the columns of a request --------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(np.array([math.nan, math.nan]), id="nan"),
        pytest.param(np.array([None, None], object), id="none"),
        pytest.param(pd.array([pd.NA, pd.NA], "Int64"), id="nullable"),
        pytest.param(pd.array([None, None], "string"), id="text-without-text"),
    ],
)
def test_a_batch_may_lack_all_coordinates(airports, column):
    """A column without any value has no wrong type: every key is missing."""
    assert route(bound(airports), column, [-74.0431, -74.0431]) == [None, None]


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        pytest.param(np.array([41, 40], np.int64), np.array([-75, -73], np.int8), id="whole-numbers"),
        pytest.param(np.array([41, 40], np.float32), np.array([-75, -73], np.float16), id="narrow-floats"),
        pytest.param(pd.array([41, 40], "Int64"), pd.array([-75, -73], "Float64"), id="nullable"),
        pytest.param(np.array([41, 40.0], object), np.array([-75.0, -73], object), id="objects"),
        pytest.param(np.array([Decimal(41), Decimal(40)], object), np.array([-75, -73]), id="decimals"),
        pytest.param(pd.Categorical([41, 40]), pd.Categorical([-75.0, -73.0]), id="categories"),
        pytest.param(
            pd.array([41, 40], "int64[pyarrow]"), pd.array([-75, -73], "double[pyarrow]"), id="arrow"
        ),
    ],
)
def test_every_kind_of_number_is_a_number(airports, latitude, longitude):
    """Keys do not depend on what holds the numbers: the host gives columns as they were sent."""
    assert route(bound(airports), latitude, longitude) == ["EWR", "JFK"]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        pytest.param(["40.7", "north"], "holds something else than numbers in 2 rows.", id="text"),
        pytest.param(["40.7", None], "holds something else than numbers in 1 row.", id="text-and-missing"),
        pytest.param([40.7, "north"], "holds something else than numbers in 1 row.", id="mixed"),
        pytest.param([True, False], "holds something else than numbers in 2 rows.", id="bool"),
        pytest.param([1j, 2j], "holds something else than numbers in 2 rows.", id="complex"),
        pytest.param(
            np.array(["2013-01-01", "NaT"], "datetime64[ns]"),
            "holds something else than numbers in 1 row.",
            id="date",
        ),
        pytest.param(
            pd.Categorical(["40.7", "north"]),
            "holds something else than numbers in 2 rows.",
            id="category",
        ),
        pytest.param([40.7, 90.001], "has 1 row outside -90 to 90 degrees.", id="too-far-north"),
        pytest.param([-91, -1000], "has 2 rows outside -90 to 90 degrees.", id="too-far-south"),
        pytest.param([math.inf, 0], "has 1 row outside -90 to 90 degrees.", id="infinite"),
        pytest.param([10**400, 0], "has 1 row outside -90 to 90 degrees.", id="beyond-floats"),
    ],
)
def test_a_column_that_is_no_latitude_is_refused(airports, column, text):
    """The message names the column and counts its rows; it never shows what they hold."""
    with pytest.raises(BadInputError) as caught:
        route(bound(airports), column, [-74.0, -74.0])

    assert caught.value.what == f"column 'latitude' {text}"
    assert caught.value.code == "bad_input"
    assert not re.search(r"north|40\.7|90\.001|1000|2013|inf|91", str(caught.value))


@pytest.mark.parametrize(
    ("column", "text"),
    [
        pytest.param([180.5, 359], "has 2 rows outside -180 to 180 degrees.", id="counted-to-360"),
        pytest.param([-180.5, 0], "has 1 row outside -180 to 180 degrees.", id="too-far-west"),
        pytest.param(["west", "east"], "holds something else than numbers in 2 rows.", id="text"),
    ],
)
def test_a_column_that_is_no_longitude_is_refused(airports, column, text):
    """Longitudes reach twice as far as latitudes."""
    with pytest.raises(BadInputError) as caught:
        route(bound(airports), [40.7, 40.7], column)

    assert caught.value.what == f"column 'longitude' {text}"


def test_a_wrong_row_is_refused_even_without_its_other_half(airports):
    """A latitude of 91 is wrong, whether or not there is a longitude beside it."""
    with pytest.raises(BadInputError, match="column 'latitude' has 1 row outside"):
        route(bound(airports), [91.0], [math.nan])


def test_the_ends_of_the_ranges_are_inside(airports):
    """Latitudes -90 and 90 and longitudes -180 and 180 are places."""
    found = route(bound(airports), [-90, 90, 0, 0], [0, 0, -180, 180])

    assert None not in found


def test_a_column_that_was_not_sent_is_named(airports):
    """A request without the column is the host's error, with the nearest name."""
    batch = as_batch(pd.DataFrame({"latitude": [40.7], "longitud": [-74.0]}))

    with pytest.raises(BadInputError, match=r"column 'longitude' is missing\.\n  Did you mean 'longitud'"):
        bound(airports).route_keys(batch, {})


def test_columns_of_the_data_are_chosen_by_config(airports):
    """``latitude`` and ``longitude`` name the columns that are read, and are declared as double."""
    strategy = bound(airports, latitude="pickup_lat", longitude="pickup_lon")
    batch = as_batch(pd.DataFrame({"pickup_lat": [40.7178], "pickup_lon": [-74.0431], "latitude": [0.0]}))

    assert strategy.route_keys(batch, {}).tolist() == ["EWR"]
    assert dict(strategy.inputs().columns) == {"pickup_lat": "double", "pickup_lon": "double"}
    assert strategy.inputs().params == ()


# -- the site table ------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("02108", id="leading-zero"),
        pytest.param("7", id="whole-number"),
        pytest.param("7.0", id="written-as-a-float"),
        pytest.param("1e3", id="written-as-a-power"),
        pytest.param("NA", id="namibia"),
        pytest.param("null", id="null"),
        pytest.param("True", id="bool"),
        pytest.param("Zürich Flughafen", id="unicode"),
        pytest.param('"Newark, NJ"', id="quoted"),
    ],
)
def test_keys_of_csv_are_text_as_written(csv, key):
    """No reader may make a number, a missing value or a bool of a key."""
    assert route(bound(csv(f"{key},40,-74", "far,-40,106")), [40.0], [-74.0]) == [key.strip('"')]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        pytest.param(["02108", "10001"], "02108", id="text"),
        pytest.param(np.array([7, 8]), "7", id="whole-numbers"),
        pytest.param([7.0, 8.0], "7", id="integral-floats"),
        pytest.param(pd.Categorical(["02108", "10001"]), "02108", id="categories"),
    ],
)
def test_keys_of_parquet_are_the_canonical_text(tmp_path, values, key):
    """A Parquet column keeps its type, and its values become keys by the host's one rule."""
    path = tmp_path / "sites.parquet"
    pd.DataFrame({"site": values, "latitude": [42.36, 40.75], "longitude": [-71.06, -74.0]}).to_parquet(path)

    assert route(bound(path), [42.36], [-71.06]) == [key]


def test_the_host_finds_the_keys_it_declared(csv):
    """Keys with leading zeros reach their sub-models, and rows without a key are missing, not unknown."""
    strategy = bound(csv("02108,42.36,-71.06", "10001,40.75,-74"), max_km=100)
    frame = pd.DataFrame({"latitude": [40.75, 42.36, 0.0], "longitude": [-74.0, -71.06, 0.0]})

    codes = KeyIndex.of(["02108", "10001"]).codes(strategy.route_keys(as_batch(frame), {}), 3)

    assert np.asarray(codes).tolist() == [1, 0, NO_KEY]


def test_columns_of_the_table_are_chosen_by_config(csv):
    """``site``, ``site_latitude`` and ``site_longitude`` name the table's columns; others are ignored."""
    table = csv("Boston,MA,-71.06,02108,42.36", "New York,NY,-74,10001,40.75", header="city,state,x,zip,y")

    strategy = bound(table, site="zip", site_latitude="y", site_longitude="x")

    assert route(strategy, [42.36, 40.75], [-71.06, -74.0]) == ["02108", "10001"]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([line + "," for line in AIRPORTS], id="comma-at-the-end"),
        pytest.param(["Newark, NJ,40.6925,-74.168667"], id="comma-in-a-key"),
    ],
)
def test_rows_longer_than_the_header_are_refused(csv, lines):
    """Columns never shift silently: the table has to say which cell is which."""
    with pytest.raises(ConfigError) as caught:
        bound(csv(*lines))

    assert "sites.csv cannot be read: a row has more values than the header has names, in line 2" in str(
        caught.value
    )
    assert caught.value.hint.startswith("Quote cells that hold a separator")


@pytest.mark.parametrize(
    ("lines", "header", "what", "hint"),
    [
        pytest.param(
            AIRPORTS,
            "sites,latitude,longitude",
            "{path} has no column 'site'.",
            "Did you mean 'sites'? Its columns: latitude, longitude, sites. Choose one with site.",
            id="no-key-column",
        ),
        pytest.param(
            AIRPORTS,
            "site,latitude,lon",
            "{path} has no column 'longitude'.",
            "Did you mean 'latitude'? Its columns: latitude, lon, site. Choose one with site_longitude.",
            id="no-longitude-column",
        ),
        pytest.param([], HEADER, "{path} has no rows.", "Write one row per site.", id="no-rows"),
        pytest.param(
            [*AIRPORTS, "JFK,1,2", "JFK,3,4", "EWR,5,6"],
            HEADER,
            "column 'site' of {path} has keys more than once: 'EWR', 'JFK'.",
            "Keep one row per site.",
            id="duplicate-keys",
        ),
        pytest.param(
            [",1,2", *AIRPORTS, ",3,4"],
            HEADER,
            "column 'site' of {path} is empty in 2 rows.",
            "Every site needs a key.",
            id="empty-key",
        ),
        pytest.param(
            ["a,,2", *AIRPORTS],
            HEADER,
            "column 'latitude' of {path} is empty in 1 row.",
            "Every site needs a place: fill or remove it.",
            id="empty-latitude",
        ),
        pytest.param(
            ["a,1,nan", "b,1"],
            HEADER,
            "column 'longitude' of {path} is empty in 2 rows.",
            "Every site needs a place: fill or remove it.",
            id="empty-longitude",
        ),
        pytest.param(
            ["a,40° 41' N,2", *AIRPORTS],
            HEADER,
            "column 'latitude' of {path} holds something else than numbers in 1 row.",
            "Write degrees with a decimal point, such as 40.64.",
            id="text-latitude",
        ),
        pytest.param(
            ["a,-74.16,40.69", "b,-118.4,33.94"],
            HEADER,
            "column 'latitude' of {path} has 1 row outside -90 to 90 degrees.",
            "Are site_latitude and site_longitude swapped, or longitudes counted from 0 to 360?",
            id="swapped",
        ),
        pytest.param(
            ["a,1,285.8", "b,1,inf"],
            HEADER,
            "column 'longitude' of {path} has 2 rows outside -180 to 180 degrees.",
            "Are site_latitude and site_longitude swapped, or longitudes counted from 0 to 360?",
            id="counted-to-360",
        ),
        pytest.param(
            [*AIRPORTS, "Kennedy,40.639751,-73.778925", "a,0,180", "b,0,-180"],
            HEADER,
            "{path} has different sites at the same place: 'JFK' and 'Kennedy', 'a' and 'b'.",
            "Keep one of them: a row can only go to one.",
            id="one-place-twice",
        ),
    ],
)
def test_a_table_that_cannot_route_is_refused(csv, lines, header, what, hint):
    """The build stops with what is wrong, where, and what to do; the host adds the config path."""
    path = csv(*lines, header=header)

    with pytest.raises(ConfigError) as caught:
        NearestStrategy(NearestConf(table=str(path))).prepare()

    assert caught.value.what == what.format(path=path)
    assert caught.value.hint == hint
    assert caught.value.where == ""


@pytest.mark.parametrize(
    ("keys", "latitude", "what"),
    [
        pytest.param(["a", None], [1.0, 2.0], "column 'site' of {path} is empty in 1 row.", id="null-key"),
        pytest.param([7.0, math.nan], [1.0, 2.0], "column 'site' of {path} is empty in 1 row.", id="nan-key"),
        pytest.param(["a", "b"], [1.0, None], "column 'latitude' of {path} is empty in 1 row.", id="null"),
        pytest.param(
            ["a", "b"],
            [True, False],
            "column 'latitude' of {path} holds something else than numbers in 2 rows.",
            id="bool",
        ),
    ],
)
def test_a_parquet_table_is_checked_alike(tmp_path, keys, latitude, what):
    """Nulls and types of Parquet are answered as those of CSV."""
    path = tmp_path / "sites.parquet"
    pd.DataFrame({"site": keys, "latitude": latitude, "longitude": [3.0, 4.0]}).to_parquet(path)

    with pytest.raises(ConfigError) as caught:
        NearestStrategy(NearestConf(table=str(path))).prepare()

    assert caught.value.what == what.format(path=path)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        pytest.param("sites.xlsx", b"PK", "{path} is none of .csv, ", id="another-format"),
        pytest.param(
            "sites.parquet", b"site,latitude,longitude", "{path} cannot be read: ", id="not-parquet"
        ),
        pytest.param("sites.csv", b"", "{path} cannot be read: ", id="empty-file"),
        pytest.param("sites.csv", b"a,b\n1,2\n3,4,5", "{path} cannot be read: ", id="one-longer-row"),
        pytest.param("sites.csv", b"site\n\xff\xfe", "{path} cannot be read: ", id="not-utf-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content, what):
    """A file that pandas cannot read is a problem of the config, not of the program."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        NearestStrategy(NearestConf(table=str(path))).prepare()

    assert caught.value.what.startswith(what.format(path=path))


def test_a_missing_table_is_named_with_its_whole_path(tmp_path, monkeypatch):
    """Relative paths are from the working directory, and the message shows what that made of them."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(MissingError) as caught:
        NearestStrategy(NearestConf(table="shops.csv")).prepare()

    assert caught.value.what == f"there is no file {tmp_path / 'shops.csv'}."


# -- the bundle ----------------------------------------------------------------


def test_a_bundle_without_the_table_is_an_error():
    """Bind says what is not there, instead of failing at the first row."""
    with pytest.raises(MissingError, match="the bundle has no site table"):
        NearestStrategy(NearestConf(table="unused")).bind(ComponentContext())


def test_the_stored_table_holds_no_pickle(airports):
    """The bundle's file is plain arrays: reading it runs nothing."""
    (data,) = NearestStrategy(NearestConf(table=str(airports))).prepare().values()

    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        kinds = {name: arrays[name].dtype.kind for name in arrays}

    assert kinds == {"keys": "u", "places": "f"}


@quick
@given(st.dictionaries(st.text(min_size=1), places, min_size=1, max_size=20))
def test_the_bundle_gives_back_what_it_was_given(sites):
    """Any text is a key, and every bit of a coordinate survives."""
    before = Sites(tuple(sites), np.array(list(sites.values()), float))

    after = Sites.from_bytes(memoryview(before.to_bytes()))

    assert after.keys == before.keys
    assert after.places.tobytes() == before.places.tobytes()


# -- as a plugin ---------------------------------------------------------------


def test_the_installed_plugin_is_found():
    """The entry point is loaded without a fault, and offers one routing strategy."""
    (info,) = [plugin for plugin in load_plugins().plugins if plugin.distribution == "mmeframe-nearest"]

    assert (info.name, info.module, info.version) == ("nearest", "mmeframe_nearest.plugin", "0.1.0")
    assert (info.status, info.reason) == ("ok", "")
    assert info.provides == {"routing strategy": ["nearest"]}


def test_config_may_name_the_part():
    """Beside other parts the strategy has a name of its own."""
    spec = compose(
        "name=x",
        "+routing@routing.keys.dow=column",
        "routing.keys.dow.column=dow",
        "+routing@routing.keys.airport=nearest",
        "routing.keys.airport.table=airports.csv",
    )

    assert [(part.name, part.strategy.kind) for part in spec.routing.parts] == [
        ("dow", "column"),
        ("airport", "nearest"),
    ]


@pytest.mark.mmeframe(
    "name=x", "routing=nearest", "routing.table=airports.csv", "+models.sea={uri:a,key:{nearest:SEA}}"
)
def test_the_short_form_names_the_part(mmeframe_cfg):
    """``nearest`` is the part, which keys of sub-models name."""
    assert [part.name for part in mmeframe_cfg.routing.parts] == ["nearest"]


@pytest.mark.mmeframe(
    "name=x",
    "routing=nearest",
    "routing.max_km=50",
    "routing.on_unknown=skip",
    "+models={newark:{uri:a,key:{nearest:EWR}},kennedy:{uri:b,key:{nearest:JFK}}}",
)
class TestRouting:
    """Rows reach the sub-models of their airports."""

    @pytest.fixture
    def mmeframe_overrides(self, mmeframe_overrides, airports):
        return [*mmeframe_overrides, f"routing.table={airports}"]

    def test_each_row_goes_to_its_site(self, mmeframe_router):
        """A site without a sub-model, and a row without a site, are skipped."""
        found = mmeframe_router.route(ROWS.iloc[:6])

        assert found == ["newark", None, "kennedy", None, None, None]


@pytest.mark.parametrize(
    ("override", "where", "text"),
    [
        pytest.param(
            "routing.max_km=abc", "routing.max_km", "input should be a valid number", id="not-a-number"
        ),
        pytest.param("routing.max_km=0", "routing.max_km", "input should be greater than 0", id="zero"),
        pytest.param("routing.max_km=-1", "routing.max_km", "input should be greater than 0", id="negative"),
        pytest.param(
            "routing.max_km=inf", "routing.max_km", "input should be a finite number", id="infinite"
        ),
        pytest.param(
            "routing.site=7", "routing.site", "input should be a valid string", id="column-as-number"
        ),
        pytest.param("routing.table=???", "routing.table", "this option is required", id="no-table"),
        pytest.param("+routing.max_m=5", "routing.max_m", "there is no option 'max_m'", id="unknown-added"),
        pytest.param("routing.max_m=5", "routing.max_m=5", "there is no option 'max_m'", id="unknown-set"),
    ],
)
def test_options_are_checked_with_the_config(override, where, text):
    """A wrong option is a problem of the config that names it, before anything is read."""
    with pytest.raises(ProblemsError) as caught:
        compose("name=x", "routing=nearest", "routing.table=airports.csv", override)

    (problem,) = caught.value.problems
    assert problem.where == where
    assert text in problem.what


def test_an_unknown_option_is_answered_with_the_nearest():
    """``max_kms`` is a typo of ``max_km``, and the answer says so."""
    with pytest.raises(ProblemsError, match="Did you mean 'max_km'"):
        compose("name=x", "routing=nearest", "routing.table=airports.csv", "+routing.max_kms=5")


# -- the README ----------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_the_example_of_the_readme_works(tmp_path, monkeypatch):
    """The README's config and its overrides are one router, and its table is a table."""
    monkeypatch.chdir(tmp_path)
    (table,), (config,), (command,) = blocks("csv"), blocks("yaml"), blocks("sh")
    Path("airports.csv").write_text(table, encoding="utf-8")
    experiment = Path("conf/experiment/airports.yaml")
    experiment.parent.mkdir(parents=True)
    experiment.write_text(config, encoding="utf-8")
    program, verb, *overrides = shlex.split(command)

    from_file = compose("experiment=airports", config_dirs=["conf"])
    from_overrides = compose(*overrides)

    assert (program, verb) == ("mmeframe", "build")
    assert yaml.safe_load(config)["routing"]["max_km"] == 50
    assert from_file == from_overrides
    assert route(bound(Path("airports.csv")), [40.7178], [-74.0431]) == ["EWR"]


def test_the_readme_lists_every_option():
    """No option is without a row in the README's table."""
    table = README.read_text(encoding="utf-8").split("## Options")[1].split("##")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]

    assert re.findall(r"`(\w+)`", "".join(first)) == [
        "latitude",
        "longitude",
        "table",
        "site",
        "site_latitude",
        "site_longitude",
        "max_km",
    ]
    assert list(vars(NearestConf())) == re.findall(r"`(\w+)`", "".join(first))
