"""The bundle: what is written is read, once each, and damage is found before it is used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.bundle import MANIFEST, MEMORY, PACK, RECORDS, Bundle, BundleWriter, FileRef, Manifest, SubModelRecord
from mmeframe.bundle.format import canonical_json
from mmeframe.bundle.manifest import PluginFacts
from mmeframe.errors import CorruptBundleError, MissingError, MmeframeError
from mmeframe.rows.outputs import Outputs
from mmeframe.sections import OutputSpec, ResidencySpec, RoutingSpec, TrafficSpec
from mmeframe.spec import Column, ComponentSpec, KeyPart

MODEL, CODE = b"model bytes " * 20, b"print()"


def key_parts(*names: str) -> tuple[KeyPart, ...]:
    return tuple(KeyPart(name, ComponentSpec("column", "m:Column", "m:Conf", {"column": name})) for name in names)


SHOPS = Manifest(
    name="shops",
    routing=RoutingSpec(key_parts("shop", "kind"), (("shop", "kind"), ("shop",), ())),
    schemas=((Column("x", "double"), Column("7", "long", False, 7)),),
    outputs=(Outputs((), 3), Outputs((Column("p", "string"),), labels=("a", "b"))),
    answer=Outputs((Column("p", "double"),), aligned=True, classes=(True, "a", 1.5)),
    requirements=(("numpy",), ()),
    loaders=(ComponentSpec("sklearn", "m:Loader", "m:Conf", {"threads": 2}),),
    observers=(("log", ComponentSpec("log", "m:Log", "m:Conf")),),
    traffic=TrafficSpec({"canary": 0.5}, ("x",), {"canary": ({"shop": "berlin"},)}),
    residency=ResidencySpec("lazy", max_bytes=9, pin=("berlin",)),
    output=OutputSpec(missing_note="none"),
    params={"alpha": ("double", None)},
    inputs={"shop": {"shop": "key"}},
    plugins={"geo": PluginFacts("mmeframe-geo", None)},
    code={"mmeframe": None},
    components={"routing.keys.shop": {"table.csv": "0" * 64}},
)
PLAIN = Manifest(name="shops")


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def record(model_id: str, key: dict[str, str], *files: FileRef) -> SubModelRecord:
    return SubModelRecord(
        id=model_id,
        uri=f"models:/{model_id}/1",
        name=model_id,
        version="1",
        model_id=None,
        arm="main",
        key=key,
        flavor="sklearn",
        flavor_options={"pickled_model": "model.pkl", "nested": {"b": [1, None], "a": True}},
        loader=0,
        inputs=1,
        outputs=2,
        requirements=3,
        bytes=len(MODEL),
        memory=3 * len(MODEL),
        files=files,
    )


RECORDS_OF_SHOPS = (
    record(
        "berlin", {"shop": "berlin", "kind": "food"}, FileRef("model.pkl", sha(MODEL)), FileRef("a/b.py", sha(CODE))
    ),
    record("everyone", {}, FileRef("model.pkl", sha(MODEL))),
    replace(record("straße", {"shop": "02108"}), name=None, version=None, model_id="m-1", arm="canary"),
)


def write(folder: Path, records: tuple[SubModelRecord, ...] = RECORDS_OF_SHOPS, **facts: Any) -> str:
    """A bundle with two blobs; returns its digest."""
    with BundleWriter(folder) as writer:
        for data in (MODEL, CODE):
            writer.add(data)
        return writer.finish(replace(SHOPS, **facts), records)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "bundle")
    return tmp_path / "bundle"


def flip(path: Path, position: int) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)


def edit(folder: Path, **changes: object) -> None:
    """Change the manifest's content, but not its digest."""
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


# -- what is written is read ---------------------------------------------------------------------------------------


def test_records_come_back_as_they_were(folder):
    """Every field of every record survives, text of any script and missing values included."""
    assert tuple(Bundle(folder)) == RECORDS_OF_SHOPS


def test_records_are_in_the_order_of_their_ids(tmp_path):
    """The order in which a build lists sub-models does not matter."""
    write(tmp_path, records=RECORDS_OF_SHOPS[::-1])

    assert [item.id for item in Bundle(tmp_path)] == ["berlin", "everyone", "straße"]


def test_facts_come_back_as_they_were(folder):
    """The manifest holds what the build gave, and its own counts: every field, as the value that it was."""
    manifest = Bundle(folder).manifest
    stored = {name: getattr(manifest, name) for name in ("routes", "records", "pack")}

    params = {"alpha": ["double", None]}
    assert manifest == replace(SHOPS, format=1, sub_models=3, bytes=3 * len(MODEL), params=params, **stored)
    assert all(stored.values())


@pytest.mark.parametrize("name", [*SHOPS.to_json(), "another"])
def test_a_manifest_with_other_fields(folder, name):
    """Whoever makes its digest anew has made no manifest, and is told which field is wrong and what wrote it."""
    data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    del data["digest"]
    data = {**data, name: 1} if name == "another" else {key: it for key, it in data.items() if key != name}
    digest = hashlib.sha256(canonical_json(data)).hexdigest()
    (folder / MANIFEST).write_text(json.dumps({**data, "digest": digest}), encoding="utf-8")

    with pytest.raises(MmeframeError) as caught:
        Bundle(folder)

    assert str(folder / MANIFEST) in str(caught.value)
    assert "not a manifest" in str(caught.value)
    assert name == "format" or f"missing or unknown: {name}" in str(caught.value)


@pytest.mark.parametrize("data", [MODEL, CODE], ids=["model", "code"])
def test_blobs_come_back_by_their_digest(folder, data):
    """The bytes behind a digest are those that were added."""
    assert bytes(Bundle(folder).blob(sha(data))) == data


def test_blobs_cannot_be_written_to(folder):
    """A loader that scribbles on what it was given fails, instead of changing another's model."""
    assert Bundle(folder).blob(sha(MODEL)).readonly


def test_an_address_is_the_digest_of_the_bytes(tmp_path):
    """What ``add`` returns can be computed by anyone."""
    with BundleWriter(tmp_path) as writer:
        assert writer.add(MODEL) == sha(MODEL)


def test_equal_blobs_are_stored_once(tmp_path):
    """A thousand sub-models with the same bytes cost as much as one."""
    with BundleWriter(tmp_path) as writer:
        addresses = {writer.add(bytes(MODEL)) for _ in range(1000)}
        writer.finish(PLAIN, ())

    manifest = Bundle(tmp_path).manifest
    assert (addresses, manifest.pack.blobs, (tmp_path / PACK).read_bytes().count(MODEL)) == ({sha(MODEL)}, 1, 1)


def test_an_empty_blob(tmp_path):
    """A file without content is a file."""
    with BundleWriter(tmp_path) as writer:
        address = writer.add(b"")
        writer.finish(PLAIN, ())

    assert bytes(Bundle(tmp_path).blob(address)) == b""


def test_an_empty_bundle(tmp_path):
    """No sub-models and no blobs are a bundle too."""
    with BundleWriter(tmp_path) as writer:
        writer.finish(PLAIN, ())

    bundle = Bundle(tmp_path)
    assert (len(bundle), list(bundle), bundle.position("x")) == (0, [], None)


def test_component_files(tmp_path):
    """What a component prepared is found by its config path; a component without files has none."""
    write(tmp_path, components={"routing.keys.kind": {"table.csv": sha(CODE).hex()}})

    bundle = Bundle(tmp_path)
    assert {name: bytes(data) for name, data in bundle.component_files("routing.keys.kind").items()} == {
        "table.csv": CODE
    }
    assert bundle.component_files("routing.keys.shop") == {}


# -- equal content, equal bytes ------------------------------------------------------------------------------------


def test_equal_content_gives_equal_bytes(tmp_path):
    """Two builds of the same fleet differ in nothing, in whatever order they list it."""
    digests = [write(tmp_path / "one"), write(tmp_path / "two", records=RECORDS_OF_SHOPS[::-1])]

    assert digests[0] == digests[1]
    assert [(tmp_path / "one" / name).read_bytes() for name in (MANIFEST, RECORDS, PACK)] == [
        (tmp_path / "two" / name).read_bytes() for name in (MANIFEST, RECORDS, PACK)
    ]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"name": "others"}, id="a-fact"),
        pytest.param({"records": RECORDS_OF_SHOPS[:2]}, id="a-record-less"),
        pytest.param({"records": (*RECORDS_OF_SHOPS[:2], record("straße", {"shop": "02109"}))}, id="a-key"),
    ],
)
def test_other_content_gives_another_digest(tmp_path, change):
    """The digest covers the facts and every record."""
    assert write(tmp_path / "one") != write(tmp_path / "two", **change)


def test_another_blob_gives_another_digest(tmp_path):
    """The digest covers the pack's bytes, through its index."""
    digests = []
    for data in (b"one", b"two"):
        with BundleWriter(tmp_path / data.decode()) as writer:
            writer.add(data)
            digests.append(writer.finish(PLAIN, ()))

    assert digests[0] != digests[1]


def test_the_digest_is_that_of_the_reader(tmp_path):
    """What a build reports is what a reader sees."""
    assert write(tmp_path) == Bundle(tmp_path).digest


# -- look-up by id -------------------------------------------------------------------------------------------------

IDS = ["", "a", "a b", "a/b", "aa", "B", "straße", "日本", "\U0001f600", "é", "e\u0301"]


@pytest.mark.parametrize("model_id", IDS)
def test_position_of_a_present_id(tmp_path, model_id):
    """Every id is found, whatever script it is written in; look-alikes are not the same."""
    write(tmp_path, records=tuple(record(item, {}) for item in IDS))

    bundle = Bundle(tmp_path)
    assert bundle.record(bundle.position(model_id)).id == model_id


@pytest.mark.parametrize("model_id", ["berli", "berlin ", "Berlin", "", "zzz", "strasse", "\ud800", "\U0010ffff"])
def test_position_of_an_absent_id(folder, model_id):
    """An id that the fleet does not have has no position, before, between or after the others."""
    assert Bundle(folder).position(model_id) is None


@settings(max_examples=20, deadline=None)
@given(
    present=st.dictionaries(st.text(max_size=6), st.text(max_size=4), max_size=12),
    absent=st.lists(st.text(max_size=6), max_size=6),
    blobs=st.lists(st.binary(max_size=100), max_size=6),
)
def test_anything_comes_back(present, absent, blobs):
    """Any ids, keys and bytes make a bundle from which they come back."""
    records = tuple(record(item, {"shop": present[item]}) for item in sorted(present))
    with tempfile.TemporaryDirectory() as folder:
        with BundleWriter(Path(folder)) as writer:
            addresses = [writer.add(blob) for blob in blobs]
            writer.finish(replace(PLAIN, routing=RoutingSpec(key_parts("shop"), (("shop",), ()))), records)
        bundle = Bundle(folder)

        assert tuple(bundle) == records
        assert [bytes(bundle.blob(address)) for address in addresses] == blobs
        assert [bundle.position(item) for item in sorted(present)] == list(range(len(present)))
        assert {bundle.position(item) for item in absent if item not in present} <= {None}


# -- damage --------------------------------------------------------------------------------------------------------


def test_damaged_manifest_value(folder):
    """A changed fact is found, with the digest that was written and the one that is there."""
    digest = Bundle(folder).digest
    edit(folder, name="others")

    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder)

    error = caught.value
    assert (error.file, error.expected, error.expected != error.actual) == (str(folder / MANIFEST), digest, True)
    assert all(text in str(error) for text in (error.file, error.expected, error.actual))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="half"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b"{}", id="no-format"),
        pytest.param(b'{"format": 1}', id="no-digest"),
        pytest.param(b'{"format": "one", "digest": "0"}', id="format-is-text"),
        pytest.param(b'{"format": null, "digest": "0"}', id="format-is-null"),
        pytest.param(b'{"format": 1, "digest": "0"}', id="nothing-else"),
        pytest.param(b'{"format": 1, "digest": "0", "x": NaN}', id="not-a-number"),
        pytest.param(b'{"format": 1, "digest": "0", "x": "\\ud800"}', id="half-a-character"),
        pytest.param(b"\xff\xfe{}", id="other-encoding"),
    ],
)
def test_something_else_in_place_of_the_manifest(folder, content):
    """A file that no build wrote is corrupt, and named, with its own digest or that of its content."""
    (folder / MANIFEST).write_bytes(content)

    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder)

    assert caught.value.file == str(folder / MANIFEST)


def test_any_damaged_byte_of_the_manifest(tmp_path):
    """Whichever byte of the manifest changes, the bundle is refused with one of our errors."""
    with BundleWriter(tmp_path) as writer:
        writer.finish(PLAIN, ())
    path = tmp_path / MANIFEST
    data = path.read_bytes()
    opened = []
    for position in range(len(data)):
        for mask in (0x01, 0x20, 0x80):
            path.write_bytes(data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :])
            try:
                Bundle(tmp_path)
            except MmeframeError:
                continue
            opened.append((position, mask))

    assert opened == []


@pytest.mark.parametrize("position", [0, 100, -1], ids=["first", "middle", "last"])
def test_damaged_records(folder, position):
    """A changed byte of the records is found before they are read."""
    digest = Bundle(folder).manifest.records
    flip(folder / RECORDS, position)

    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder)

    actual = hashlib.sha256((folder / RECORDS).read_bytes()).hexdigest()
    error = caught.value
    assert (error.file, error.expected, error.actual) == (str(folder / RECORDS), digest, actual)


@pytest.mark.parametrize("position", [0, 10, -1], ids=["first", "middle", "last"])
def test_damaged_measurements(folder, position):
    """What no digest of the bundle covers has one of its own."""
    flip(folder / MEMORY, position)

    with pytest.raises(CorruptBundleError, match=r"memory\.bin: its digest does not match"):
        Bundle(folder)


def test_what_is_measured_changes_no_digest(tmp_path):
    """Memory differs by a few bytes from build to build: all other bytes are the same, and so is the digest."""
    other = tuple(replace(it, memory=it.memory + 8) for it in RECORDS_OF_SHOPS)

    digests = [write(tmp_path / "one"), write(tmp_path / "two", records=other)]

    assert digests[0] == digests[1]
    assert tuple(Bundle(tmp_path / "two")) == other
    assert [name for name in (MANIFEST, RECORDS, PACK, MEMORY) if differ(tmp_path, name)] == [MEMORY]


def differ(folder: Path, name: str) -> bool:
    return (folder / "one" / name).read_bytes() != (folder / "two" / name).read_bytes()


def test_every_byte_of_a_pack_is_verified(folder):
    """What nobody has asked for yet may be damaged all the same."""
    Bundle(folder).verify()
    pack = folder / PACK
    flip(pack, pack.read_bytes().index(CODE) + 1)

    with pytest.raises(CorruptBundleError):
        Bundle(folder).verify()


def test_damaged_blob(folder):
    """A changed blob is found when it is asked for, before anything is made of it; the others are fine."""
    pack = folder / PACK
    flip(pack, pack.read_bytes().index(MODEL) + 5)
    bundle = Bundle(folder)

    with pytest.raises(CorruptBundleError) as caught:
        bundle.blob(sha(MODEL))

    error = caught.value
    assert (error.file, error.expected) == (str(pack), sha(MODEL).hex())
    assert error.actual not in ("", error.expected)
    assert bytes(bundle.blob(sha(CODE))) == CODE


def test_a_blob_that_is_not_there(folder):
    """A record that names bytes which the pack lacks is corrupt too."""
    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder).blob(sha(b"other"))

    assert (caught.value.file, caught.value.expected) == (str(folder / PACK), sha(b"other").hex())


@pytest.mark.parametrize("position", [-1, -17, -96], ids=["lengths", "offsets", "digests"])
def test_damaged_pack_index(folder, position):
    """A changed byte of the pack's index is found when the bundle is opened."""
    digest = Bundle(folder).manifest.pack.index_sha256
    flip(folder / PACK, position)

    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder)

    error = caught.value
    assert (error.file, error.expected, error.expected != error.actual) == (str(folder / PACK), digest, True)


@pytest.mark.parametrize("size", [0, 1, 64, 100, -1], ids=["empty", "one-byte", "header", "half", "a-byte-short"])
def test_truncated_pack(folder, size):
    """A pack that was cut off, as an interrupted download leaves it, is corrupt."""
    pack = folder / PACK
    os.truncate(pack, size if size >= 0 else pack.stat().st_size + size)

    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder)

    assert (caught.value.file, caught.value.expected != caught.value.actual) == (str(pack), True)


@pytest.mark.parametrize("name", [MANIFEST, RECORDS, MEMORY, PACK])
@pytest.mark.parametrize("size", [None, 0, 8, 4096], ids=["swapped", "emptied", "cut", "cut-later"])
def test_a_file_that_changes_while_it_is_served(tmp_path, name, size):
    """An open bundle is what was verified: it never tells of another, and no file that was cut ends the process."""
    large = [bytes([number]) * 100_000 for number in range(3)]
    with BundleWriter(tmp_path / "bundle") as writer:
        for data in large:
            writer.add(data)
        writer.finish(SHOPS, RECORDS_OF_SHOPS)
    bundle = Bundle(tmp_path / "bundle")
    held = bundle.blob(sha(large[0]))
    path = tmp_path / "bundle" / name
    changed = path.read_bytes().swapcase()[:size]
    with path.open("r+b") as file:
        file.write(changed)
        file.truncate()

    assert tuple(bundle) == RECORDS_OF_SHOPS
    assert [bundle.position(record.id) for record in RECORDS_OF_SHOPS] == [0, 1, 2]
    assert bundle.manifest.sub_models == 3
    assert held == large[0]
    for data in large:
        with contextlib.suppress(*[CorruptBundleError] if name == PACK else []):
            assert bundle.blob(sha(data)) == data


def test_longer_pack(folder):
    """Bytes behind the index do not belong to the bundle."""
    with (folder / PACK).open("ab") as file:
        file.write(b"x")

    with pytest.raises(CorruptBundleError):
        Bundle(folder)


def test_a_file_that_is_no_pack(folder):
    """A wrong header is found, and the two digests in the message differ."""
    flip(folder / PACK, 0)

    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder)

    assert (caught.value.file, caught.value.expected != caught.value.actual) == (str(folder / PACK), True)


@pytest.mark.parametrize("name", [MANIFEST, RECORDS, PACK, MEMORY])
def test_missing_file(folder, name):
    """A file that is not there is named with its path."""
    (folder / name).unlink()

    with pytest.raises(MissingError) as caught:
        Bundle(folder)

    assert str(caught.value) == (
        f"{folder / name}: the bundle has no {name}.\n  Download the model again, or rebuild it."
    )


def test_newer_format(folder):
    """A bundle of a later version is not read wrongly; the message says what to install."""
    edit(folder, format=2, mmeframe="7.8.9")

    with pytest.raises(MmeframeError) as caught:
        Bundle(folder)

    assert not isinstance(caught.value, CorruptBundleError)
    assert str(caught.value) == (
        f"{folder / MANIFEST}: bundle format 2 is newer than this mmeframe reads (1).\n"
        "  Install mmeframe 7.8.9 or newer."
    )


def test_the_expected_digest(folder):
    """A bundle that is the expected one opens."""
    digest = Bundle(folder).digest

    assert Bundle(folder, expect=digest).digest == digest


def test_another_digest_than_expected(folder):
    """A whole bundle with another content is refused, with the digest that was expected and the one it has."""
    digest = Bundle(folder).digest

    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder, expect="0" * 64)

    error = caught.value
    assert (error.file, error.expected, error.actual) == (str(folder / MANIFEST), "0" * 64, digest)
    assert str(error).startswith(
        f"{folder / MANIFEST}: it is not the expected bundle: expected sha256 {'0' * 64}, found {digest}."
    )


def test_a_forged_manifest_is_not_the_expected_one(folder):
    """Who changes a fact and the digest with it is caught by the digest from elsewhere."""
    digest = Bundle(folder).digest
    write(folder, name="others")

    with pytest.raises(CorruptBundleError) as caught:
        Bundle(folder, expect=digest)

    assert caught.value.expected == digest
