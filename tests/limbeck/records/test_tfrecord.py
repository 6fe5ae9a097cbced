"""TFRecord framing against TensorFlow's reader and writer."""

import struct

import pytest

from limbeck.config.errors import LimbeckError
from limbeck.records.tfrecord import frame, header, masked_crc, read_frames

PAYLOADS = [b"", b"a", bytes(range(256)) * 5]


def write(path, data):
    path.write_bytes(data)
    return path


def test_file_equals_tensorflows_and_both_read_it(tmp_path):
    tf = pytest.importorskip("tensorflow")
    theirs = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    ours = write(tmp_path / "ours", b"".join(map(frame, PAYLOADS)))
    assert ours.read_bytes() == theirs.read_bytes()
    assert list(read_frames(theirs)) == PAYLOADS
    found = list(tf.data.TFRecordDataset(str(ours)).as_numpy_iterator())
    assert found == PAYLOADS


def test_crc_is_the_published_one():
    # CRC32C of "123456789" is e3069283 (RFC 3720, appendix B.4, has the polynomial).
    crc = 0xE3069283
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    assert masked_crc(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF


def test_every_flipped_byte_and_every_cut_is_found_with_its_record(tmp_path):
    records = [frame(b"first"), frame(b"second")]
    data = b"".join(records)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        number = int(at >= len(records[0]))
        with pytest.raises(LimbeckError, match=f"record {number}, byte {number * len(records[0])}"):
            list(read_frames(write(tmp_path / "x", bytes(damaged))))
    for cut in range(1, len(data)):
        path = write(tmp_path / "x", data[:cut])
        if cut == len(records[0]):
            assert list(read_frames(path)) == [b"first"]  # which is why counts are kept
            continue
        with pytest.raises(LimbeckError, match="is the copy complete"):
            list(read_frames(path))


def test_length_of_a_terabyte_is_refused_without_allocating(tmp_path):
    path = write(tmp_path / "x", header(1 << 40) + b"some bytes")
    with pytest.raises(LimbeckError, match="has 1099511627776 bytes and the file only 22 more"):
        list(read_frames(path))
    path = write(tmp_path / "x", struct.pack("<Q", 1 << 40) + bytes(20))
    with pytest.raises(LimbeckError, match="length CRC wrong"):
        list(read_frames(path))
