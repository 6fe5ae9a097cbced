"""An export and what is known of it before its pages are read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from limbeck.config.errors import LimbeckError
from prep.compressed import HEAD_BYTES, Packing, packing_of, read_blocks, unpacked
from prep.dumps.bzip2 import bzip2_units, check_end
from prep.dumps.encoding import ToUtf8, encoding_of
from prep.mediawiki import HeadParser, Refused, Site

__all__ = ["READER", "Dump", "look_at"]

READER = "mediawiki export 2"
"""Name and version of the way that exports are cut into pages; raise it with any change."""

_MAX_HEAD_BYTES = 16 << 20  # the head of the largest wiki has 10 kB
_TAIL_BYTES = 1 << 12
_END = re.compile(rb"</([\w.-]+:)?mediawiki\s*>")


@dataclass(frozen=True, kw_only=True)
class Dump:
    """One file of an export."""

    path: str
    """Where it lies; for messages and to open it."""
    size: int
    """Bytes as it lies there."""
    packing: Packing
    """How it is packed."""
    encoding: str
    """Codec of its characters."""
    page_tag: str
    """Name of its page elements: `page`, or with an XML prefix."""
    site: Site
    """Its wiki."""

    @property
    def is_splittable(self) -> bool:
        """Whether reading may begin anywhere in it."""
        # A block of bzip2 may begin in the middle of a character; in UTF-16 nobody would notice.
        return self.packing == "plain" or (self.packing == "bz2" and "16" not in self.encoding)


def look_at(file: BinaryIO, *, path: str, size: int) -> Dump:
    """Reads the head of an export and looks at its end, and so checks that it is one.

    Raises:
      LimbeckError: the file is not a readable MediaWiki export, or is cut off.
    """
    file.seek(0)
    packing = packing_of(file.read(HEAD_BYTES), path=path)
    blocks = _blocks(file, packing, size=size, path=path)
    block = next(blocks, b"")
    if not block:
        raise LimbeckError(f"{path}: the file is empty")
    encoding = encoding_of(block, path=path)
    to_utf8, head, num_bytes = ToUtf8(encoding), HeadParser(), 0
    try:
        while not head.feed(to_utf8(block, final=not block), final=not block):
            num_bytes += len(block)
            if not block or num_bytes > _MAX_HEAD_BYTES:
                raise LimbeckError(f"{path}: a MediaWiki export without a single page")
            block = next(blocks, b"")
    except Refused as error:
        raise LimbeckError(f"{path}: {error}") from None
    dump = Dump(
        path=path,
        size=size,
        packing=packing,
        encoding=encoding,
        page_tag=head.page_tag,
        site=head.site,
    )
    _check_end(file, dump)
    return dump


def _blocks(file: BinaryIO, packing: Packing, *, size: int, path: str) -> Iterator[bytes]:
    """Yields the unpacked bytes, and looks no further than it must."""
    if packing != "bz2":
        file.seek(0)
        yield from read_blocks(unpacked(file, packing), path=path)
        return
    for unit in bzip2_units(file, size=size, begin=0, path=path):
        if unit.damage:
            raise LimbeckError(f"{path}: damaged before its first page; fetch it again")
        yield unit.data


def _check_end(file: BinaryIO, dump: Dump) -> None:
    """Refuses a file that is cut off, as far as that is seen without reading it."""
    if dump.packing == "bz2":
        check_end(file, size=dump.size, path=dump.path)
    elif dump.packing == "plain":
        begin = max(0, dump.size - _TAIL_BYTES) & ~1  # whole characters of UTF-16
        file.seek(begin)
        if not _END.search(ToUtf8(dump.encoding)(file.read(), final=True)):
            raise LimbeckError(
                f"{dump.path}: cut off: its end tag </mediawiki> is missing; fetch it again"
            )
