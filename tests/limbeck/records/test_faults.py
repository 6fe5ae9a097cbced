"""Every fault of the fault model on a finished dataset, each noticed and named.

What an ordinary read finds, `verify` finds too; the opposite is not asked.
"""

import os
import shutil
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.records import CorruptRecord, open_dataset
from limbeck.records.tfrecord import HEADER_BYTES, frame, header, masked_crc
from limbeck.records.verify import verify

pytestmark = pytest.mark.faults

DATA, INDEX, JSON = (f"train-00000-of-00002.{part}" for part in ("tfrecord", "index", "json"))


def read_all(directory: Path) -> None:
    with open_dataset(directory) as dataset:
        if dataset.layout.stride_is_fixed:
            dataset.read(np.arange(dataset.num_rows))
        else:
            list(dataset.iterate())


def stride_of(directory: Path) -> int:
    with open_dataset(directory) as dataset:
        return dataset.place(0).size


def patch(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def expect(directory: Path, *parts: str) -> LimbeckError:
    """Asserts that reading everything, and verify, fail with a line that has all the parts."""
    with pytest.raises(LimbeckError) as found:
        read_all(directory)
    problems = []
    try:
        problems += verify(str(directory))
    except LimbeckError as error:
        problems.append(str(error))
    for message in (str(found.value), problems[0]):
        assert "\n" not in message
        for part in parts:
            assert part in message, message
    return found.value


def expect_row(directory: Path, row: int, *parts: str) -> None:
    """As `expect`, for one record: the error also says which it is."""
    offset = row * stride_of(directory)
    where = f"{directory / DATA}: row {row} of the shard ({row} of the dataset), byte {offset}: "
    error = expect(directory, where, "restore the file from a copy", *parts)
    assert isinstance(error, CorruptRecord)
    assert (error.path, error.row, error.offset) == (str(directory / DATA), row, offset)


@pytest.fixture
def data(copies):
    """The first shard's data of a private copy."""
    return copies / "examples" / DATA


def test_undamaged_data_are_good(copies):
    for name in ("examples", "labels", "documents"):
        read_all(copies / name)
        assert verify(str(copies / name)) == ()
        assert verify(str(copies / name), quick=True) == ()


def test_flipped_byte_in_a_payload(data):
    at = stride_of(data.parent) * 2 + 40
    patch(data, at, bytes([data.read_bytes()[at] ^ 1]))
    expect_row(data.parent, 2, "expected payload CRC", "found", "damaged")


def test_flipped_byte_in_a_length(data):
    patch(data, stride_of(data.parent) + 1, b"\x07")
    expect_row(data.parent, 1, "expected length 209, found 2001")


def test_flipped_byte_in_a_length_crc(data):
    at = stride_of(data.parent) + 9
    patch(data, at, bytes([data.read_bytes()[at] ^ 1]))
    expect_row(data.parent, 1, "expected length CRC")


def test_flipped_byte_in_a_payload_crc(data):
    at = stride_of(data.parent) * 2 - 1
    patch(data, at, bytes([data.read_bytes()[at] ^ 0x80]))
    expect_row(data.parent, 1, "expected payload CRC")


def test_flipped_byte_with_its_crc_put_right(data):
    stride = stride_of(data.parent)
    payload = bytearray(data.read_bytes()[HEADER_BYTES : stride - 4])
    payload[60] ^= 1
    patch(data, 0, frame(bytes(payload)))
    expect_row(data.parent, 0, "of a whole record: not the one written here")


def test_flipped_byte_with_data_and_index_crc_put_right(data):
    # Somebody rewrote record and index so that all CRCs fit: only SHA-256 can tell.
    stride, index = stride_of(data.parent), data.parent / INDEX
    old = data.read_bytes()[HEADER_BYTES : stride - 4]
    payload = bytearray(old)
    payload[old.index(b"ids") + 9] ^= 1
    patch(data, 0, frame(bytes(payload)))
    table = index.read_bytes()[:-4].replace(
        struct.pack("<I", masked_crc(old)), struct.pack("<I", masked_crc(bytes(payload)))
    )
    index.write_bytes(table + struct.pack("<I", google_crc32c.value(table)))
    read_all(data.parent)
    (problem,) = verify(str(data.parent))
    assert f"{index}: expected SHA-256" in problem


def test_length_of_2_to_the_40_allocates_nothing(data):
    patch(data, stride_of(data.parent), header(1 << 40))
    expect_row(data.parent, 1, "expected length 209, found 1099511627776")


def test_two_records_swapped(data):
    stride, whole = stride_of(data.parent), data.read_bytes()
    patch(data, 0, whole[stride : 2 * stride] + whole[:stride])
    expect_row(data.parent, 0, "not the one written here (swapped, repeated")


def test_record_duplicated_over_another(data):
    stride, whole = stride_of(data.parent), data.read_bytes()
    patch(data, stride, whole[:stride])
    expect_row(data.parent, 1, "not the one written here (swapped, repeated")


def test_record_appended(data):
    stride, whole = stride_of(data.parent), data.read_bytes()
    data.write_bytes(whole + whole[:stride])
    size = len(whole)
    expect(data.parent, f"{data}: too long: expected {size} bytes, found {size + stride}")


def test_record_removed_and_another_added(data):
    stride, whole = stride_of(data.parent), data.read_bytes()
    data.write_bytes(whole[stride:] + whole[:stride])
    expect_row(data.parent, 0, "not the one written here")


def test_record_of_the_same_length_from_another_shard(data):
    other = (data.parent / "train-00001-of-00002.tfrecord").read_bytes()
    patch(data, 0, other[: stride_of(data.parent)])
    expect_row(data.parent, 0, "not the one written here")


def test_garbage_appended(data):
    size = data.stat().st_size
    data.write_bytes(data.read_bytes() + b"x")
    expect(data.parent, f"{data}: too long: expected {size} bytes, found {size + 1}")


def test_zero_filled_hole(data):
    stride, size = stride_of(data.parent), data.stat().st_size
    os.truncate(data, stride)
    os.truncate(data, size)
    expect_row(data.parent, 1, "expected length 209, found 0")


@pytest.mark.parametrize("cut", [0, 1, 100, -1, "one record", "all but one record"])
def test_truncated_shard(data, cut):
    stride, size = stride_of(data.parent), data.stat().st_size
    # The last two end exactly between two records, which TFRecord itself cannot see.
    left = {"one record": stride, "all but one record": size - stride}.get(cut, cut)
    os.truncate(data, left if left >= 0 else size + left)
    found = data.stat().st_size
    expect(data.parent, f"{data}: cut short: expected {size} bytes, found {found}")


def test_shard_truncated_after_opening(data):
    stride = stride_of(data.parent)
    last = data.stat().st_size // stride - 1
    with open_dataset(data.parent) as dataset:
        os.truncate(data, 2 * stride + 5)
        assert len(dataset.read([0, 1])["ids"]) == 2
        for rows in ([2], [0, 1, 2], [last]):
            with pytest.raises(CorruptRecord, match=f"found its end at {2 * stride + 5}; "):
                dataset.read(rows)
        with pytest.raises(CorruptRecord, match="found its end at"):
            dataset.record(2)
        with pytest.raises(CorruptRecord, match="found its end at"):
            list(dataset.iterate())


@pytest.mark.parametrize("name", [DATA, INDEX, JSON, "job.json"])
def test_missing_file(copies, name):
    path = copies / "examples" / name
    path.unlink()
    expect(copies / "examples", f"{path}: missing; the manifest lists it", "restore")


def test_missing_manifest(copies):
    (copies / "examples" / "manifest.json").unlink()
    expect(copies / "examples", "examples: no manifest.json", "run its command again")


@pytest.mark.parametrize("name", [INDEX, JSON, "job.json", "manifest.json"])
def test_flipped_byte_in_every_other_file(copies, name):
    path = copies / "examples" / name
    middle = path.stat().st_size // 2
    patch(path, middle, bytes([path.read_bytes()[middle] ^ 2]))
    expect(copies / "examples", f"{path}: ")


@pytest.mark.parametrize("name", [DATA, INDEX, JSON])
def test_directory_in_place_of_a_file(copies, name):
    path = copies / "examples" / name
    path.unlink()
    path.mkdir()
    expect(copies / "examples", f"{path}: not a file")


def test_symlink_loop_in_place_of_a_file(copies):
    path = copies / "examples" / DATA
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(OSError, match="Too many levels of symbolic links") as found:
        read_all(copies / "examples")
    assert found.value.filename == str(path)


def test_stale_data_of_another_run_with_the_same_name_and_size(copies):
    # `other` has the same keys and layout, so the same names and sizes.
    shutil.copy(copies / "other" / DATA, copies / "examples" / DATA)
    expect_row(copies / "examples", 0, "not the one written here", "the shard of another run")


def test_stale_data_and_index_of_another_run(copies):
    for name in (DATA, INDEX):
        shutil.copy(copies / "other" / name, copies / "examples" / name)
    expect(copies / "examples", INDEX, "the index of other data, as of an older run")


def test_stale_shard_of_another_run_with_all_its_files(copies):
    for name in (DATA, INDEX, JSON):
        shutil.copy(copies / "other" / name, copies / "examples" / name)
    expect(copies / "examples", JSON, "it does not fit the manifest")


def test_two_shards_swapped(copies):
    for part in ("tfrecord", "index"):
        paths = [copies / "examples" / f"train-0000{i}-of-00002.{part}" for i in (0, 1)]
        first, second = (path.read_bytes() for path in paths)
        paths[0].write_bytes(second)
        paths[1].write_bytes(first)
    expect(copies / "examples", "train-0000")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("train-00003-of-00008.tfrecord", "of another run, with 8 shards; ours has 2"),
        ("heldout-00000-of-00002.tfrecord", "of another dataset, 'heldout'"),
        ("train-00000-of-00002.tfrecord.tmp-12-0123abcd", "left by a killed process"),
        ("notes.txt", "notes.txt"),
        ("TRAIN-00000-of-00002.tfrecord", "of another dataset, 'TRAIN'"),
        ("train-00002-of-00002.tfrecord", "train-00002-of-00002.tfrecord"),
        (".hidden", ".hidden"),
    ],
)
def test_file_that_the_manifest_does_not_list(copies, name, what):
    (copies / "examples" / name).write_bytes(b"")
    expect(copies / "examples", "holds files that its manifest does not list", name, what)


def test_directory_inside(copies):
    (copies / "examples" / "sub").mkdir()
    expect(copies / "examples", "does not list: sub")


def test_many_foreign_files_are_counted(copies):
    for number in range(6):
        (copies / "examples" / f"x{number}").touch()
    expect(copies / "examples", "x0, x1, x2 and 3 more; move or delete them")


def test_damaged_document_is_named(copies):
    directory = copies / "documents"
    with open_dataset(directory) as dataset:
        place = dataset.place(2)
    patch(Path(place.path), place.offset + 50, b"\xff")
    error = expect(directory, f"{place.path}: row 2 of the shard", f"byte {place.offset}: ")
    assert isinstance(error, CorruptRecord) and error.row == 2


def test_error_of_a_record_can_be_pickled(data):
    import pickle

    patch(data, 20, b"\xff\xff")
    with pytest.raises(CorruptRecord) as found:
        read_all(data.parent)
    copy = pickle.loads(pickle.dumps(found.value))
    assert str(copy) == str(found.value)
    assert (copy.path, copy.row, copy.offset) == (str(data), 0, 0)
