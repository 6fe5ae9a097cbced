"""Lines of a text file, one at a time, whatever it is packed with."""

from collections.abc import Iterator

from prep.compressed import HEAD_BYTES, packing_of, read_blocks, unpacked
from prep.tasks.rows import Unusable

__all__ = ["MAX_LINE_BYTES", "check_characters", "decoded", "file_blocks", "read_lines"]

MAX_LINE_BYTES = 64 << 20
"""A longer line is not used."""


def file_blocks(path: str) -> Iterator[bytes]:
    """Yields the bytes of a file (plain, bz2, gz or xz), unpacked, in blocks."""
    with open(path, "rb") as file:
        packing = packing_of(file.read(HEAD_BYTES), path=path)
        file.seek(0)
        with unpacked(file, packing) as plain:
            yield from read_blocks(plain, path=path)


def read_lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Yields (number from 1, line without its line feed); a line over 64 MiB is cut there."""
    number, rest = 1, b""
    for block in file_blocks(path):
        *whole, tail = block.split(b"\n")
        for line in whole:
            yield number, rest + line
            number, rest = number + 1, b""
        if len(rest) <= MAX_LINE_BYTES:  # beyond it, the line is refused anyway
            rest += tail
    if rest:
        yield number, rest


def decoded(line: bytes, number: int) -> str:
    """Returns a line as text, without its carriage return.

    Raises:
      Unusable: it is not UTF-8, or too long.
    """
    if len(line) > MAX_LINE_BYTES:
        raise Unusable("too_large", f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise Unusable("bad_characters", f"not UTF-8 at byte {error.start}") from None


def check_characters(text: str) -> str:
    """Returns a text that UTF-8 can spell.

    Raises:
      Unusable: it holds half a surrogate pair, which JSON escapes can spell.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unusable("bad_characters", "holds characters that are not UTF-8") from None
    return text
