"""The pages that begin in a range of an export's bytes.

A range owns the units that begin in it (see `units.py`) and the pages that begin in those units; it
reads on behind its end to complete the last page. So any partition of [0, size) into ranges yields
each page once. Memory does not depend on the size of the export.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from prep.dumps.bzip2 import bzip2_units
from prep.dumps.cutter import Cutter, Lost, Place
from prep.dumps.encoding import ToUtf8
from prep.dumps.source import Dump, look_at
from prep.dumps.units import Unit, plain_units, stream_units
from prep.mediawiki import Page

__all__ = ["read_pages", "read_range"]

_PIECE_BYTES = 256 << 10


def read_pages(path: str) -> Iterator[Page | Lost]:
    """Yields every page of a local export in file order.

    Raises:
      LimbeckError: the file is not an export, is cut off, or is damaged beyond reading on.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        dump = look_at(file, path=path, size=size)
        yield from read_range(file, dump, begin=0, claim=lambda _: True)


def read_range(
    file: BinaryIO, dump: Dump, *, begin: int, claim: Callable[[int], bool]
) -> Iterator[Page | Lost]:
    """Yields the pages of a range in file order, and the places where pages are lost.

    Args:
      file: the export, open at any position.
      dump: what is known of it.
      begin: first byte of the range.
      claim: is asked for each unit's first byte, in strictly ascending order, whether it lies in
        the range; it is not asked again after it said no.

    Raises:
      LimbeckError: the file is cut off, or is damaged beyond reading on.
    """
    cutter = Cutter(path=dump.path, tag=dump.page_tag, site=dump.site)
    to_utf8 = ToUtf8(dump.encoding)
    claimed, is_ours = -1, True
    for unit in _units(file, dump, begin):
        if is_ours and unit.begin > claimed:
            is_ours, claimed = claim(unit.begin), unit.begin
        if not is_ours and cutter.is_idle:
            return
        place = Place(begin=unit.begin, end=unit.end, is_ours=is_ours)
        if unit.damage:
            yield from cutter.damage(place, unit.damage)
            to_utf8 = ToUtf8(dump.encoding)
        for at in range(0, len(unit.data), _PIECE_BYTES):
            yield from cutter.feed(to_utf8(unit.data[at : at + _PIECE_BYTES]), place)
            if cutter.is_done:
                return
        if cutter.is_done:
            return
    yield from cutter.finish()


def _units(file: BinaryIO, dump: Dump, begin: int) -> Iterator[Unit]:
    if not dump.is_splittable:
        return stream_units(file, packing=dump.packing, size=dump.size, begin=begin, path=dump.path)
    if dump.packing == "bz2":
        return bzip2_units(file, size=dump.size, begin=begin, path=dump.path)
    return plain_units(file, size=dump.size, begin=begin, path=dump.path)
