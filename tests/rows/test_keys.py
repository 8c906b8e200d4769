"""Keys: one canonical text per value, and one code for it whether it comes alone or in an array."""

from __future__ import annotations

import datetime as dt
import enum
import io
import uuid
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.errors import BadInputError
from mmeframe.rows.distinct import factorized
from mmeframe.rows.key_columns import normalised
from mmeframe.rows.key_index import NO_KEY, UNKNOWN, KeyIndex
from mmeframe.rows.keys import canonical, csv_hazard, is_whole

UTC = dt.UTC
EAST = dt.timezone(dt.timedelta(hours=5))
NOON = dt.datetime(2020, 1, 2, 12, 0)  # noqa: DTZ001 - naive on purpose: it has no offset to show
DAY = dt.date(2020, 1, 2)


class Text(enum.StrEnum):
    A = "7"


class Number(enum.IntEnum):
    A = 7


class Other(enum.Enum):
    A = Decimal("7.0")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(7, "7", id="int"),
        pytest.param(-3, "-3", id="negative-int"),
        pytest.param(np.int8(7), "7", id="int8"),
        pytest.param(np.int64(7), "7", id="int64"),
        pytest.param(np.uint64(2**64 - 1), "18446744073709551615", id="uint64-max"),
        pytest.param(10**30, "1" + "0" * 30, id="huge-int"),
        pytest.param(7.0, "7", id="integral-float"),
        pytest.param(float(2**53 - 1), "9007199254740991", id="largest-exact-float"),
        pytest.param(-0.0, "0", id="minus-zero"),
        *(pytest.param(member, "7", id=f"member-{type(member).__name__}") for member in (Text.A, Number.A, Other.A)),
        pytest.param(2.5, "2.5", id="fraction"),
        pytest.param(np.float16(7), "7", id="float16"),
        pytest.param(np.float32(2.5), "2.5", id="float32"),
        pytest.param(np.float32(0.1), "0.10000000149011612", id="float32-shows-what-it-holds"),
        pytest.param(np.longdouble(7), "7", id="longdouble"),
        pytest.param(float("inf"), "inf", id="inf"),
        pytest.param(float("-inf"), "-inf", id="minus-inf"),
        pytest.param(True, "True", id="bool"),
        pytest.param(np.bool_(False), "False", id="numpy-bool"),
        pytest.param("7", "7", id="text"),
        pytest.param("07", "07", id="text-with-zero"),
        pytest.param("7.0", "7.0", id="text-of-a-float"),
        pytest.param("", "", id="empty-text"),
        pytest.param("nan", "nan", id="text-nan"),
        pytest.param(np.str_("a b"), "a b", id="numpy-text"),
        pytest.param(NOON, "2020-01-02T12:00:00", id="datetime"),
        pytest.param(NOON.replace(tzinfo=EAST), "2020-01-02T12:00:00+05:00", id="aware-datetime"),
        pytest.param(DAY, "2020-01-02", id="date"),
        pytest.param(pd.Timestamp(NOON), "2020-01-02T12:00:00", id="timestamp"),
        pytest.param(pd.Timestamp("2020-01-02T12:00Z"), "2020-01-02T12:00:00+00:00", id="aware-timestamp"),
        pytest.param(np.datetime64("2020-01-02"), "2020-01-02T00:00:00", id="datetime64-day"),
        pytest.param(np.datetime64("2020-01-02T12:00", "ns"), "2020-01-02T12:00:00", id="datetime64-ns"),
        pytest.param(np.timedelta64(1, "D"), "P1DT0H0M0S", id="timedelta64"),
        pytest.param(pd.Timedelta(1, "D"), "P1DT0H0M0S", id="pandas-timedelta"),
        pytest.param(dt.timedelta(1), "P1DT0H0M0S", id="timedelta"),
        pytest.param(np.array(7), "7", id="0d-int"),
        pytest.param(np.array(7.0), "7", id="0d-float"),
        pytest.param(np.array("07"), "07", id="0d-text"),
        pytest.param(np.array("a", object), "a", id="0d-object"),
        pytest.param(np.array("2020-01-02T12:00", "M8[ns]"), "2020-01-02T12:00:00", id="0d-datetime64-ns"),
        pytest.param(Decimal(7), "7", id="decimal"),
        pytest.param(Decimal("7.00"), "7", id="decimal-with-zeros"),
        pytest.param(Decimal("-0.0"), "0", id="decimal-minus-zero"),
        pytest.param(Decimal(2**63 + 1), str(2**63 + 1), id="large-decimal"),
        pytest.param(Decimal("2.50"), "2.5", id="decimal-fraction"),
        pytest.param(Decimal("0.00001"), "1e-05", id="decimal-as-the-float"),
        pytest.param(Decimal("Infinity"), "inf", id="decimal-inf"),
        pytest.param(Decimal("1E+999999999"), "1E+999999999", id="decimal-of-a-billion-digits"),
        pytest.param(uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", id="uuid"),
    ],
)
def test_canonical_text(value, text):
    """Equal keys have one text: whole numbers as integers, text as it is, bools by name, times in ISO."""
    assert canonical(value) == text


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="None"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(np.float32("nan"), id="float32-nan"),
        pytest.param(pd.NaT, id="NaT"),
        pytest.param(np.datetime64("NaT"), id="datetime64-NaT"),
        pytest.param(np.timedelta64("NaT"), id="timedelta64-NaT"),
        pytest.param(pd.NA, id="NA"),
        pytest.param(Decimal("NaN"), id="decimal-nan"),
        pytest.param(Decimal("sNaN"), id="decimal-signaling-nan"),
        pytest.param(np.array(np.nan), id="0d-nan"),
        pytest.param(np.array(None), id="0d-None"),
        pytest.param(np.array("NaT", "M8[ns]"), id="0d-NaT"),
    ],
)
def test_canonical_missing(value):
    """None, NaN, NaT and NA are no key."""
    assert canonical(value) is None


@pytest.mark.parametrize("value", [[1], (1,), {"a": 1}, {1}, np.array([1, 2])], ids=lambda value: type(value).__name__)
def test_what_is_no_scalar_is_no_key(value):
    """The text of a list would be a key that nobody declared."""
    with pytest.raises(BadInputError, match="a routing key must be one value"):
        canonical(value)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        pytest.param("7", True, id="digit"),
        pytest.param("0", True, id="zero"),
        pytest.param("-3", True, id="negative"),
        pytest.param(str(2**63 - 1), True, id="largest"),
        pytest.param(str(-(2**63)), True, id="smallest"),
        pytest.param(str(2**63), False, id="beyond-int64"),
        pytest.param("9" * 5000, False, id="longer-than-python-reads"),
        pytest.param("07", False, id="leading-zero"),
        pytest.param("-0", False, id="minus-zero"),
        pytest.param("+7", False, id="plus"),
        pytest.param("7.0", False, id="float"),
        pytest.param(" 7", False, id="space"),
        pytest.param("7\n", False, id="newline"),
        pytest.param("1_000", False, id="underscore"),
        pytest.param("\u0667", False, id="arabic-digit"),
        pytest.param("", False, id="empty"),
    ],
)
def test_is_whole(text, whole):
    """Whole is what ``str`` writes for an int64, and nothing else."""
    assert is_whole(text) is whole


@pytest.mark.parametrize(
    ("text", "hazard"),
    [
        pytest.param("7", None, id="whole"),
        pytest.param("berlin", None, id="word"),
        pytest.param("2020-01-02", None, id="date"),
        pytest.param("01", "the number 1", id="leading-zero"),
        pytest.param("1e3", "the number 1000", id="exponent"),
        pytest.param("7.0", "the number 7", id="float"),
        pytest.param("NA", "a missing value", id="NA"),
        pytest.param("null", "a missing value", id="null"),
        pytest.param("", "a missing value", id="empty"),
    ],
)
def test_csv_hazard(text, hazard):
    """The hazard names what a CSV reader would make of the key instead."""
    assert csv_hazard(text) == hazard


NUMERIC = ["7", "-3", "07", "+7", "7.0", "1.5", "1.50", ".5", "1e3", "-0", "inf", "Infinity", "0x10", "1_000", "1,5"]
WORDS = ["a b", "True", "true", "FALSE", "yes", "NA", "nan", "None", "null", "N/A", "", "2020-01-02"]


@pytest.mark.parametrize("text", [*NUMERIC, *WORDS])
def test_csv_hazard_agrees_with_pandas(text):
    """A key is a hazard exactly if a column of it does not come back from ``pandas.read_csv`` as the same key."""
    file = io.StringIO()
    pd.DataFrame({"key": [text, text], "x": [1, 2]}).to_csv(file, index=False)
    read = pd.read_csv(io.StringIO(file.getvalue()))["key"]

    assert (csv_hazard(text) is None) == (canonical(read[0]) == text)


def expected(index: KeyIndex, keys: list[str | int]) -> list[int]:
    """Codes of declared values; ``NO_KEY`` and ``UNKNOWN`` as they are."""
    return [[*index].index(key) if isinstance(key, str) else key for key in keys]


MIXED = KeyIndex.of(["7", "07", "-3", "1.5", "1", "True", "a", "2020-01-02", "2020-01-02T00:00:00", "inf"])
WHOLE = KeyIndex.of(["0", "7", "-3"])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_codes_of_integers(dtype):
    """Integers of every width find the declared whole numbers."""
    codes = WHOLE.codes(np.array([7, -3, 5, 0], dtype), 4)

    assert codes.tolist() == expected(WHOLE, ["7", "-3", UNKNOWN, "0"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_codes_of_unsigned_integers(dtype):
    """Unsigned integers too; the largest one of its type is not taken for -1."""
    index = KeyIndex.of(["7", "-1", "0"])

    codes = index.codes(np.array([7, np.iinfo(dtype).max, 0], dtype), 3)

    assert codes.tolist() == expected(index, ["7", UNKNOWN, "0"])


def test_codes_of_integers_beyond_int64():
    """A key above the largest int64 is found by its text."""
    index = KeyIndex.of(["18446744073709551615", "7"])

    codes = index.codes(np.array([7, 2**64 - 1, 2**63], "uint64"), 3)

    assert codes.tolist() == expected(index, ["7", "18446744073709551615", UNKNOWN])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_codes_of_floats(dtype):
    """Whole floats are whole numbers, NaN is missing, fractions are keys of their own."""
    codes = MIXED.codes(np.array([7.0, np.nan, 1.5, 2.5, -3.0, np.inf], dtype), 6)

    assert codes.tolist() == expected(MIXED, ["7", NO_KEY, "1.5", UNKNOWN, "-3", "inf"])


def test_codes_of_floats_where_all_keys_are_whole():
    """Fractions and infinities are unknown; minus zero is zero; the largest exact ones are found."""
    most = 2**53 - 1
    index = KeyIndex.of(["0", "7", str(most), str(-most)])

    codes = index.codes(np.array([7.0, 7.5, -0.0, np.inf, float(most), float(-most), np.nan]), 7)

    assert codes.tolist() == expected(index, ["7", UNKNOWN, "0", UNKNOWN, str(most), str(-most), NO_KEY])


def test_codes_of_float16_are_silent():
    """A narrow float column is looked up without a warning about overflow."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codes = WHOLE.codes(np.array([7, 2047, np.nan], "float16"), 3)

    assert codes.tolist() == expected(WHOLE, ["7", UNKNOWN, NO_KEY])


@pytest.mark.parametrize(
    ("raw", "keys"),
    [
        pytest.param(np.array([True, False]), ["True", UNKNOWN], id="bool"),
        pytest.param(np.array([7, 7.0, "7", "07", 7.5], object), ["7", "7", "7", "07", UNKNOWN], id="object-mixed"),
        pytest.param(np.array([1, 1.0, True, "1", "True"], object), ["1", "1", "True", "1", "True"], id="object-ones"),
        pytest.param(np.array(["a", None, np.nan, pd.NaT], object), ["a", *[NO_KEY] * 3], id="object-text"),
        pytest.param(np.array([7, "a", pd.NA], object), ["7", "a", NO_KEY], id="object-NA"),
        pytest.param(np.array([None, None], object), [NO_KEY, NO_KEY], id="object-all-missing"),
        pytest.param(np.array([7, None, 10**30], object), ["7", NO_KEY, UNKNOWN], id="object-integers"),
        pytest.param(np.array([DAY, None], object), ["2020-01-02", NO_KEY], id="object-dates"),
        pytest.param(np.array(["7", "07", "x"]), ["7", "07", UNKNOWN], id="numpy-text"),
        pytest.param(np.array(["2020-01-02", "NaT"], "M8[s]"), ["2020-01-02T00:00:00", NO_KEY], id="datetime64-s"),
        pytest.param(np.array(["2020-01-02", "NaT"], "M8[ns]"), ["2020-01-02T00:00:00", NO_KEY], id="datetime64-ns"),
        pytest.param(pd.array(["a", None, "07"], dtype="str"), ["a", NO_KEY, "07"], id="str"),
        pytest.param(pd.array(["a", None, "07"], dtype="string"), ["a", NO_KEY, "07"], id="string"),
        pytest.param(pd.array([7, None, 5], dtype="Int64"), ["7", NO_KEY, UNKNOWN], id="Int64"),
        pytest.param(pd.array([7.0, None, 1.5], dtype="Float64"), ["7", NO_KEY, "1.5"], id="Float64"),
        pytest.param(pd.array([True, None, False], dtype="boolean"), ["True", NO_KEY, UNKNOWN], id="boolean"),
        pytest.param(pd.array([7, None], dtype="int64[pyarrow]"), ["7", NO_KEY], id="arrow-integers"),
        pytest.param(pd.Categorical(["a", None, "zz", "07"]), ["a", NO_KEY, UNKNOWN, "07"], id="category-text"),
        pytest.param(pd.Categorical([7, None, 5]), ["7", NO_KEY, UNKNOWN], id="category-integers"),
        pytest.param(pd.Categorical([7.0, 1.5]), ["7", "1.5"], id="category-floats"),
        pytest.param(pd.Categorical([True, False]), ["True", UNKNOWN], id="category-bools"),
        pytest.param([7, "07", None, True], ["7", "07", NO_KEY, "True"], id="list"),
        pytest.param((7.0, float("nan")), ["7", NO_KEY], id="tuple"),
    ],
)
def test_codes_of_other_arrays(raw, keys):
    """Every kind of array gives the codes of its values' canonical texts; values of several kinds stay apart."""
    codes = MIXED.codes(raw, len(raw))

    assert codes.tolist() == expected(MIXED, keys)


def test_codes_keep_the_offset_of_each_time():
    """Equal instants on different clocks are different keys, as their texts are."""
    index = KeyIndex.of(["2020-01-02T12:00:00+00:00", "2020-01-02T17:00:00+05:00"])
    noon = NOON.replace(tzinfo=UTC)

    codes = index.codes(np.array([noon, noon.astimezone(EAST)], object), 2)

    assert codes.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        pytest.param(np.array([7]), "7", id="integer"),
        pytest.param(np.array([7.0]), "7", id="float"),
        pytest.param(np.array([np.nan]), NO_KEY, id="nan"),
        pytest.param(pd.Categorical(["a"]), "a", id="category"),
        pytest.param(pd.Categorical([None], ["a"]), NO_KEY, id="category-missing"),
        pytest.param(pd.array([7], dtype="Int64"), "7", id="Int64"),
        pytest.param(pd.array([None], dtype="Int64"), NO_KEY, id="Int64-missing"),
        pytest.param(pd.array([None], dtype="boolean"), NO_KEY, id="boolean-missing"),
        pytest.param(pd.array([None], dtype="string"), NO_KEY, id="string-missing"),
        pytest.param(pd.array([pd.NaT], dtype="M8[ns, UTC]"), NO_KEY, id="time-missing"),
        pytest.param(["zz"], UNKNOWN, id="list"),
    ],
)
def test_codes_of_one_row(raw, key):
    """One row has its own path, with the same answer."""
    codes = MIXED.codes(raw, 1)

    assert codes.tolist() == expected(MIXED, [key])


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([], id="list"),
        pytest.param(pd.Categorical([]), id="category"),
        pytest.param(np.empty(0, object), id="object"),
        *(pytest.param(np.empty(0, dtype), id=dtype) for dtype in ("int64", "uint64", "float64", "bool", "M8[ns]")),
        *(pytest.param(pd.array([], dtype=dtype), id=dtype) for dtype in ("str", "string", "Int64", "boolean")),
    ],
)
def test_codes_of_no_rows(raw):
    """No rows have no codes, of the one type that the route table takes."""
    codes = MIXED.codes(raw, 0)

    assert (codes.shape, codes.dtype) == ((0,), np.int32)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        pytest.param(7, "7", id="int"),
        pytest.param("07", "07", id="text"),
        pytest.param(np.array(7.0), "7", id="0d-array"),
        pytest.param(None, NO_KEY, id="None"),
        pytest.param(pd.NA, NO_KEY, id="NA"),
        pytest.param("zz", UNKNOWN, id="unknown"),
    ],
)
def test_codes_of_a_scalar(raw, key):
    """One value for the whole request gives one int, however many rows there are."""
    code = MIXED.codes(raw, 1000)

    assert (type(code), [code]) == (int, expected(MIXED, [key]))


@pytest.mark.parametrize(
    "raw", [np.arange(3), [1, 2, 3], pd.Categorical(["a", "b", "a"])], ids=["array", "list", "cat"]
)
def test_codes_of_another_length(raw):
    """A strategy that gives too few or too many values is an error, not a wrong answer."""
    with pytest.raises(ValueError, match=r"^3 key values for 4 rows$"):
        MIXED.codes(raw, 4)


@pytest.mark.parametrize(
    ("values", "integer"),
    [
        pytest.param(["7", "-3"], True, id="whole"),
        pytest.param(["7", "07"], False, id="leading-zero"),
        pytest.param(["7", "a"], False, id="text"),
        pytest.param([], False, id="none-declared"),
    ],
)
def test_index_is_integer(values, integer):
    """A part is one of whole numbers only if every declared value is."""
    assert KeyIndex.of(values).integer is integer


def test_no_declared_values():
    """A part without declared values knows no key, and still tells missing from unknown."""
    codes = KeyIndex.of([]).codes(np.array([1.0, np.nan]), 2)

    assert codes.tolist() == [UNKNOWN, NO_KEY]


DECLARED = ["7", "07", "7.0", "-3", "0", "1", "True", "False", "a", "é", "", "nan", "1.5", "inf", "127", "65504"]
DECLARED += [str(2**53), str(2**63 - 1), str(2**63), str(-(2**63)), str(10**22), "2020-01-02T00:00:00", "2020-01-02"]
NUMBERS = [0, 1, 7, -3, 127, 65504, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 5]
FLOATS = [*map(float, NUMBERS), -0.0, 1.5, 2.5, 1e22, float("inf"), float("-inf"), float("nan")]
TEXTS = ["7", "07", "7.0", "a", "é", "", "nan", "True", "zz"]
TIMES = ["2020-01-02", "2020-01-02T00:00:01", "NaT"]
ANYTHING = [*NUMBERS, *FLOATS, *TEXTS, True, False, None, pd.NA, pd.NaT, NOON, DAY, np.int8(7), np.float32(1.5)]
ANYTHING += [NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=UTC).astimezone(EAST), np.datetime64("2020-01-02")]


def lists(values: list) -> st.SearchStrategy[list]:
    return st.lists(st.sampled_from(values), max_size=12)


def integers(dtype: str) -> st.SearchStrategy[np.ndarray]:
    bounds = np.iinfo(dtype)
    fitting = [number for number in NUMBERS if bounds.min <= number <= bounds.max]
    return lists([*fitting, bounds.min, bounds.max]).map(lambda values: np.array(values, dtype))


def objects(values: list) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def floats(values: list, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array(values, dtype)


ARRAYS = {
    **{f"{sign}int{bits}": integers(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": lists(FLOATS).map(lambda values: floats(values, "float16")),
    "float32": lists(FLOATS).map(lambda values: floats(values, "float32")),
    "float64": lists(FLOATS).map(lambda values: floats(values, "float64")),
    "bool": lists([True, False]).map(lambda values: np.array(values, bool)),
    "object": lists(ANYTHING).map(objects),
    "object-text": lists([*TEXTS, None]).map(objects),
    "object-integers": lists([*NUMBERS, None]).map(objects),
    "numpy-text": lists(TEXTS).map(lambda values: np.array(values, "U8")),
    "datetime64": lists(TIMES).map(lambda values: np.array(values, "M8[ns]")),
    "datetime64-tz": lists(TIMES).map(
        lambda values: pd.to_datetime(pd.Index(values), format="ISO8601", utc=True).array
    ),
    "str": lists([*TEXTS, None]).map(lambda values: pd.array(values, dtype="str")),
    "string": lists([*TEXTS, None]).map(lambda values: pd.array(values, dtype="string")),
    "Int64": lists([0, 7, -3, 5, 2**53, None]).map(lambda values: pd.array(values, dtype="Int64")),
    "Float64": lists([0.0, 7.0, 1.5, None]).map(lambda values: pd.array(values, dtype="Float64")),
    "decimal": lists([Decimal("7.00"), Decimal("1.50"), Decimal("-3.00"), Decimal("0.25"), None]).map(
        lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.decimal128(12, 2)))
    ),
    "boolean": lists([True, False, None]).map(lambda values: pd.array(values, dtype="boolean")),
    "category-text": lists([*TEXTS, None]).map(pd.Categorical),
    "category-integers": lists([0, 7, -3, 5, None]).map(pd.Categorical),
    "category-times": lists(TIMES).map(
        lambda values: pd.Categorical(pd.to_datetime(pd.Index(values), format="ISO8601"))
    ),
    "list": lists(ANYTHING),
}


def alone(found, raw) -> list | None:
    """What each value gets alone, None if one of them is refused."""
    try:
        return [found(value) for value in raw]
    except BadInputError:
        return None


@pytest.mark.parametrize("kind", ARRAYS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_array_has_the_codes_of_its_values(kind, data):
    """However keys are packed, each row's code is that of its value alone; one that is refused refuses the array."""
    raw = data.draw(ARRAYS[kind])
    index = KeyIndex.of(data.draw(st.lists(st.sampled_from(DECLARED), unique=True)))

    codes = alone(index.code, raw)

    if codes is None:
        with pytest.raises(BadInputError):
            index.codes(raw, len(raw))
    else:
        assert index.codes(raw, len(raw)).tolist() == codes


@settings(max_examples=100, deadline=None)
@given(number=st.integers(-(2**70), 2**70))
def test_integers_and_their_text_are_one_key(number):
    """An integer, its text and (below 2**53) its float have one canonical text."""
    same = {canonical(number), canonical(str(number))}
    if abs(number) < 2**53:
        same.add(canonical(float(number)))

    assert same == {str(number)}


# -- categories of canonical texts -----------------------------------------------------------------------------------


def texts(raw, n_rows: int) -> list[str | None]:
    keys = normalised(raw, n_rows)
    assert list(keys.categories) == list(dict.fromkeys(keys.categories))
    return [None if code == -1 else keys.categories[code] for code in keys.codes]


@pytest.mark.parametrize("kind", ARRAYS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_normalised_array_has_the_texts_of_its_values(kind, data):
    """However values are packed, each row has the canonical text of its value alone, and no text is there twice."""
    raw = data.draw(ARRAYS[kind])

    found = alone(canonical, raw)

    if found is None:
        with pytest.raises(BadInputError):
            normalised(raw, len(raw))
    else:
        assert texts(raw, len(raw)) == found


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(7, "7", id="int"),
        pytest.param(-0.0, "0", id="minus-zero"),
        pytest.param(True, "True", id="bool"),
        pytest.param("", "", id="empty-text"),
        pytest.param(None, None, id="None"),
        pytest.param(pd.NaT, None, id="NaT"),
        pytest.param(np.array("07"), "07", id="0d-array"),
    ],
)
@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_a_normalised_scalar(raw, text, n_rows):
    """One value for the whole request is the text of every row."""
    assert texts(raw, n_rows) == [text] * n_rows


def test_normalised_values_of_another_length():
    """Too few or too many values are an error."""
    with pytest.raises(ValueError, match=r"^3 key values for 4 rows$"):
        normalised(np.arange(3), 4)


@pytest.mark.parametrize("raw", [[[1], [2]], np.array([{}, None], object)], ids=["lists", "maps"])
def test_normalised_values_that_are_no_scalars(raw):
    """A list or a map among the values is bad input."""
    with pytest.raises(BadInputError, match="a routing key must be one value"):
        normalised(raw, 2)


# -- ends, and sizes -------------------------------------------------------------------------------------------------

LEAST, MOST = -(2**63), 2**63 - 1


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param([MOST, MOST - 1, MOST - 70], id="at-the-upper-end"),
        pytest.param([LEAST, LEAST + 1, LEAST + 70], id="at-the-lower-end"),
        pytest.param([LEAST, MOST, 0], id="at-both"),
        pytest.param([-1, 0, 70_000], id="far-apart"),
        pytest.param([-5, 3], id="around-zero"),
    ],
)
def test_integers_near_the_ends(declared):
    """No integer is taken for another one that is 2 ** 64 away, nor for one beside it."""
    index = KeyIndex.of([str(number) for number in declared])
    around = {number + step for number in [*declared, LEAST, MOST, 0] for step in (-2, -1, 0, 1, 2)}
    sent = sorted(number for number in around if LEAST <= number <= MOST)

    codes = index.codes(np.array(sent, np.int64), len(sent))

    values = [*index]
    assert codes.tolist() == [values.index(str(number)) if number in declared else UNKNOWN for number in sent]


@pytest.mark.parametrize("n_rows", [1, 2])
def test_long_texts(n_rows):
    """Texts of a million letters are told apart by their last one, and are never cut."""
    long = "7" * 1_000_000
    index = KeyIndex.of([long + "a", "7"])
    rows = [np.array([text] * n_rows, object) for text in (long + "a", long + "b", long, long[:1])]

    found = [index.codes(raw, n_rows).tolist() for raw in rows]

    assert found == [[1] * n_rows, [UNKNOWN] * n_rows, [UNKNOWN] * n_rows, [0] * n_rows]


def test_many_distinct_values():
    """A hundred thousand values of several kinds: each is found, or is not, by its own text."""
    numbers = np.arange(100_000)
    raw = np.array([number if number % 2 else f"{number}" for number in numbers.tolist()], object)
    index = KeyIndex.of([str(number) for number in range(0, 100_000, 5)])

    codes = index.codes(raw, len(raw))

    assert np.array_equal(codes >= 0, numbers % 5 == 0)
    assert [index[code] for code in codes[::5].tolist()] == [str(number) for number in range(0, 100_000, 5)]


@given(
    declared=st.sets(st.text(min_size=1, max_size=4), min_size=40, max_size=200),
    others=st.lists(st.text(min_size=1, max_size=4), max_size=60),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_one_value_after_another(declared, others, order):
    """The first ones are searched for, the later ones are in a dictionary: it makes no difference."""
    index = KeyIndex.of(declared)
    asked = [*declared, *others]
    order.shuffle(asked)

    codes = [index.code(text) for text in asked]

    values = sorted(declared)
    assert [*index] == values
    assert codes == [values.index(text) if text in declared else UNKNOWN for text in asked]
    assert [index.code(text) for text in asked] == codes


def test_a_value_that_another_thread_asks_for_at_the_same_time():
    """Known values stay known while others make the dictionary of all of them."""

    class Slow(dict):
        """While a value is looked for here in vain, another thread asks for all."""

        def get(self, *args):
            found = super().get(*args)
            index.declared(DECLARED)
            return found

    index = KeyIndex.of(DECLARED)
    index._codes = Slow()

    assert index.code("07") == sorted(DECLARED).index("07")


# -- distinct values -------------------------------------------------------------------------------------------------

TEXTS = ["", "a", "a\0", "aé", "b" * 40, "c" * 64, "c" * 65, "007"]
CELLS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1)).map(lambda cells: np.array(cells, np.int64)),
    st.lists(st.integers(0, 2**64 - 1)).map(lambda cells: np.array(cells, np.uint64)),
    st.lists(st.integers(-100, 100)).map(lambda cells: np.array(cells, np.int8)),
    st.lists(st.floats(width=64)).map(lambda cells: np.array(cells, np.float64)),
    st.lists(st.floats(width=32)).map(lambda cells: np.array(cells, np.float32)),
    st.lists(st.booleans()).map(lambda cells: np.array(cells, bool)),
    *(
        st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62))).map(lambda cells, kind=kind: pd.array(cells, kind))
        for kind in ("Int64", pd.ArrowDtype(pa.int64()))
    ),
    *(
        st.lists(
            st.one_of(
                st.none(),
                st.sampled_from(TEXTS),
                st.text(max_size=3),
            )
        ).map(lambda cells, kind=kind: pd.array(cells, kind))
        for kind in ("str", "string[python]", "string[pyarrow]", pd.ArrowDtype(pa.string()))
    ),
    *(
        st.lists(st.one_of(st.none(), st.integers(-(2**33), 2**33))).map(
            lambda cells, zone=zone: (
                pd.Series(pd.to_datetime(cells, unit="s")).dt.tz_localize("UTC").dt.tz_convert(zone).array
            )
        )
        for zone in (None, "UTC", "Europe/Berlin")
    ),
)


@settings(max_examples=300, deadline=None)
@given(cells=CELLS, times=st.integers(1, 3))
def test_distinct_values_are_those_of_pandas(cells, times):
    """In its order and with its positions, whatever the type, and beyond one piece of text."""
    values = type(cells)._concat_same_type([cells] * times) if hasattr(cells, "_concat_same_type") else cells
    positions, distinct = factorized(values)
    wanted, known = pd.factorize(values)

    assert positions.tolist() == wanted.tolist()
    assert [*map(canonical_or_none, distinct)] == [*map(canonical_or_none, known)]


def canonical_or_none(value):
    return canonical(value, exact=False)


def test_texts_of_many_pieces():
    """Those of one piece are known in the next."""
    cells = pd.array([f"{number % 5000:080}" if number % 7 else None for number in range(12_000)], "str")
    positions, distinct = factorized(cells)
    assert [None if at < 0 else distinct[at] for at in positions] == [None if pd.isna(it) else it for it in cells]
    assert len(set(distinct)) == len(distinct)


def test_integers_that_collide_are_keys_like_others():
    """Python's hash of these is zero for all: they are looked at one by one."""
    wide = [number * (2**61 - 1) for number in range(8, 60)]
    index = KeyIndex.of([str(wide[0]), str(wide[9]), "7"])
    cells = np.array([*wide, 7, None], object)

    found = index.codes(cells, len(cells)).tolist()
    assert [index[code] for code in found if code >= 0] == [str(wide[0]), str(wide[9]), "7"]
    assert normalised(cells, len(cells)).tolist()[:52] == [str(value) for value in wide]


@settings(max_examples=200, deadline=None)
@given(
    declared=st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=30, unique=True),
    cells=st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=60),
    kind=st.sampled_from(["str", "string[pyarrow]", "string[python]", pd.ArrowDtype(pa.string()), object]),
)
def test_texts_in_any_type_have_one_code(declared, cells, kind):
    """Looked up alone, in an array of Arrow's and in one of Python's."""
    index = KeyIndex.of(declared)
    values = [*cells, *declared, declared[0]]
    column = np.array(values, object) if kind is object else pd.array(values, kind)

    assert index.codes(column, len(values)).tolist() == [index.code(value) for value in values]
