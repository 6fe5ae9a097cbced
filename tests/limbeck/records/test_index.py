"""The index file: its bytes, its CRC, and that it goes with the data."""

import dataclasses

import google_crc32c
import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.records.index import MAGIC, PREFIX, encode_index, read_index
from limbeck.records.shard import ShardSummary

KEYS = np.arange(48, dtype=np.uint8).reshape(3, 16)
STRIDE = 10


def summary(data: bytes, **changes) -> ShardSummary:
    base = ShardSummary(
        name="x-00000-of-00001.tfrecord",
        records=3,
        bytes=30,
        sha256="ab" * 32,
        first_key="00" * 16,
        last_key="00" * 16,
        key_xor="00" * 16,
        tokens=6,
        labelled_positions=0,
        index_bytes=len(data),
        index_sha256="cd" * 32,
    )
    return dataclasses.replace(base, **changes)


def columns(**more):
    crcs = np.array([7, 8, 2**32 - 1], np.uint32)
    return {"key": KEYS, "crc": crcs, **more}


def encode(table, **changes):
    place = {"name": "x-00000-of-00001.tfrecord", "size": 30, "sha256": "ab" * 32, **changes}
    return encode_index(table, **place)


def refit(data: bytes) -> bytes:
    """The same bytes with the CRC that fits them."""
    body = data[:-4]
    return body + google_crc32c.value(body).to_bytes(4, "little")


def read(tmp_path, data, *, is_variable=False, stride=STRIDE, **changes):
    path = tmp_path / "x.index"
    path.write_bytes(data)
    return read_index(str(path), summary(data, **changes), is_variable=is_variable, stride=stride)


def test_fixed_index_survives(tmp_path):
    index = read(tmp_path, encode(columns(length=np.array([1, 2, 3]))))
    assert (index.keys == KEYS).all()
    assert index.crcs.tolist() == [7, 8, 2**32 - 1]
    assert index.lengths is not None and index.lengths.tolist() == [1, 2, 3]
    assert index.offsets is None


def test_variable_index_survives_beyond_four_gigabytes(tmp_path):
    offsets = np.array([0, 5, 2**33, 2**40], np.uint64)
    data = encode(columns(offset=offsets), size=2**40)
    index = read(tmp_path, data, is_variable=True, bytes=2**40)
    assert index.offsets is not None and index.offsets.tolist() == offsets.tolist()
    assert index.lengths is None


def test_index_without_records(tmp_path):
    empty = {"key": np.zeros((0, 16), np.uint8), "crc": np.zeros(0), "offset": np.zeros(1)}
    data = encode(empty, size=0)
    index = read(tmp_path, data, is_variable=True, records=0, bytes=0)
    assert index.keys.shape == (0, 16)


def test_columns_start_at_multiples_of_64(tmp_path):
    data = encode(columns())
    at = data.index(KEYS.tobytes())
    assert at % 64 == 0
    assert data[at + 64 : at + 68] == (7).to_bytes(4, "little")


def test_every_flipped_byte_and_every_cut_is_refused(tmp_path):
    data = encode(columns(length=np.array([1, 2, 3])))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(LimbeckError, match=r"x.index: CRC is [0-9a-f]{8}, the file says"):
            read(tmp_path, bytes(damaged))
    for cut in (0, 10, len(data) - 1):
        path = tmp_path / "x.index"
        path.write_bytes(data[:cut])
        with pytest.raises(LimbeckError, match=f"expected {len(data)} bytes, found {cut}"):
            read_index(str(path), summary(data), is_variable=False, stride=STRIDE)


def test_file_too_small_to_be_an_index_is_refused(tmp_path):
    with pytest.raises(LimbeckError, match="3 bytes are too few for an index"):
        read(tmp_path, b"abc")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sha256": "ef" * 32}, "the index of an older run"),
        ({"bytes": 31}, "data of another size"),
        ({"records": 2}, "another number of records"),
        ({"name": "x-00001-of-00002.tfrecord"}, "another shard's index"),
    ],
)
def test_index_of_other_data_is_refused(tmp_path, changes, why):
    with pytest.raises(LimbeckError, match="the index of other data"):
        read(tmp_path, encode(columns()), **changes)
    assert why


def test_fixed_index_is_refused_for_a_variable_layout(tmp_path):
    with pytest.raises(LimbeckError, match="the index of other data"):
        read(tmp_path, encode(columns()), is_variable=True)


def test_wrong_magic_version_and_header_are_refused(tmp_path):
    data = encode(columns())
    with pytest.raises(LimbeckError, match="starts with b'XXXXXXXX'"):
        read(tmp_path, refit(b"X" * 8 + data[8:]))
    _, version, size = PREFIX.unpack_from(data)
    assert version == 1
    with pytest.raises(LimbeckError, match="index version 2; this program reads 1"):
        read(tmp_path, refit(PREFIX.pack(MAGIC, 2, size) + data[PREFIX.size :]))
    with pytest.raises(LimbeckError, match="damaged or not ours"):
        read(tmp_path, refit(PREFIX.pack(MAGIC, 1, 2**32 - 1) + data[PREFIX.size :]))
    with pytest.raises(LimbeckError, match="found 5"):
        read(tmp_path, refit(PREFIX.pack(MAGIC, 1, 1) + b"5" + bytes(200)))


def test_header_that_promises_more_than_the_file_has_is_refused(tmp_path):
    data = refit(encode(columns())[:-20])
    with pytest.raises(LimbeckError, match="expected [0-9]+ bytes, found"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 10, 20, 29], "offsets run from 0 to 29; expected 0 to 30"),
        ([1, 10, 20, 30], "offsets run from 1 to 30; expected 0 to 30"),
        ([0, 20, 10, 30], "row 1: offset 20 is followed by 10; offsets must ascend"),
        ([0, 10, 10, 30], "row 1: offset 10 is followed by 10"),
        ([0, 10, 2**64 - 5, 30], "row 2: offset 18446744073709551611 is followed by 30"),
    ],
)
def test_offsets_that_do_not_tile_the_file_are_refused(tmp_path, offsets, message):
    data = encode(columns(offset=np.array(offsets, np.uint64)))
    with pytest.raises(LimbeckError, match=message):
        read(tmp_path, data, is_variable=True)


def test_stride_that_does_not_tile_the_file_is_refused(tmp_path):
    with pytest.raises(LimbeckError, match="3 records of 11 bytes do not make the data's 30"):
        read(tmp_path, encode(columns()), stride=11)
