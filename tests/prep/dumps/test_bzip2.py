import bz2
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from prep.dumps import bzip2
from prep.dumps.bzip2 import Mark, bzip2_units, check_end, find_marks
from prep.dumps.units import Window

BLOCK, END = 0x314159265359, 0x177245385090


def units(data, begin=0):
    return list(bzip2_units(io.BytesIO(data), size=len(data), begin=begin, path="f"))


def marks(data, begin=0, end=None):
    window = Window(io.BytesIO(data), size=len(data), path="f")
    return list(find_marks(window, begin=begin, end=len(data) if end is None else end))


@given(st.binary(max_size=40), st.integers(0, 7), st.booleans(), st.binary(min_size=1, max_size=20))
def test_mark_is_found_at_every_bit(before, shift, is_end, after):
    value = int.from_bytes(before, "big") << 48 | (END if is_end else BLOCK)
    value = (value << 8 * len(after) | int.from_bytes(after, "big")) << (8 - shift)
    data = value.to_bytes(len(before) + 6 + len(after) + 1, "big")
    # Shifted by 8 - shift bits to the left of a whole byte more.
    bit = 8 * len(before) + shift
    assert Mark(bit=bit, is_end=is_end) in marks(data)
    assert [m for m in marks(data, end=bit // 8) if m.bit >= bit] == []
    assert Mark(bit=bit, is_end=is_end) in marks(data, begin=bit // 8, end=bit // 8 + 1)


@pytest.mark.parametrize("size", [1, 5, 64, 1 << 20])
def test_marks_do_not_depend_on_the_step_of_the_search(packed, monkeypatch, size):
    data = packed.one_stream([b"some text", b"and more", b"x" * 100])
    expected = marks(data)
    assert [mark.is_end for mark in expected] == [False, False, False, True]
    monkeypatch.setattr(bzip2, "_SEARCH_BYTES", size)
    monkeypatch.setattr("prep.dumps.units._CHUNK_BYTES", size)
    assert marks(data) == expected


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.booleans())
def test_every_block_is_unpacked(packed, pieces, streams):
    data = (packed.many_streams if streams else packed.one_stream)(pieces)
    assert bz2.decompress(data) == b"".join(pieces)  # what this test packs is bzip2
    found = units(data)
    assert [unit.data for unit in found] == [piece for piece in pieces if piece]
    assert not any(unit.damage for unit in found)


@given(
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 2000),
)
def test_units_from_any_byte_are_those_that_begin_there_or_later(packed, pieces, streams, begin):
    data = (packed.many_streams if streams else packed.one_stream)(pieces)
    assert units(data, begin) == [unit for unit in units(data) if unit.begin >= begin]


@given(
    st.lists(st.binary(min_size=50, max_size=300), min_size=2, max_size=5),
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=6),
    st.booleans(),
    st.integers(0, 2000),
)
def test_marks_by_accident_do_no_harm(packed, pieces, accidents, streams, begin):
    data = (packed.many_streams if streams else packed.one_stream)(pieces)
    expected = [unit for unit in units(data) if unit.begin >= begin]
    true = marks(data)
    false = {Mark(bit=int(at * len(data) * 8), is_end=is_end) for at, is_end in accidents}
    # An accident lies inside a block: 80 bits behind its mark and 48 before the next one.
    inside = [
        mark
        for mark in false
        for start, end in zip(true, true[1:], strict=False)
        if not start.is_end and start.bit + 80 < mark.bit < end.bit - 48
    ]

    def with_accidents(window, *, begin, end):
        extra = [mark for mark in inside if begin <= mark.byte < end]
        return iter(sorted({*real(window, begin=begin, end=end), *extra}))

    real = bzip2.find_marks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bzip2, "find_marks", with_accidents)
        assert units(data, begin) == expected


def test_real_blocks_of_the_library_are_found():
    import random

    rng = random.Random(3)
    content = rng.randbytes(350_000)  # four blocks of at most 100 kB
    data = bz2.compress(content, 1)
    found = units(data)
    assert len(found) == 4 and b"".join(unit.data for unit in found) == content
    assert [unit.begin for unit in found[1:]] != [unit.end for unit in found[:-1]]  # shared bytes


def test_rest_behind_the_last_stream_is_ignored(packed):
    data = packed.many_streams([b"abc"])
    assert units(data + bytes(100)) == units(data)
    check_end(io.BytesIO(data + bytes(100)), size=len(data) + 100, path="f")


@pytest.mark.parametrize("cut", [1, 9, 12, 20])
def test_cut_off_file_is_an_error(packed, cut):
    data = packed.one_stream([b"some text", b"and more of it, and more"])
    cut_off = data[: len(data) - cut] if cut > 9 else data[: len(data) - 10]
    with pytest.raises(LimbeckError, match="f: cut off"):
        units(cut_off)
    with pytest.raises(LimbeckError, match="f: cut off"):
        check_end(io.BytesIO(cut_off), size=len(cut_off), path="f")
