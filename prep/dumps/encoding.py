"""The characters of an export: which encoding it is in, and its text as UTF-8.

What is no character, or one that XML forbids, becomes `MARK`; so it is found in the page that it
came from, and the others are read.
"""

import codecs
import re

from limbeck.config.errors import LimbeckError
from prep.mediawiki import MARK

__all__ = ["HEAD_BYTES", "ToUtf8", "encoding_of"]

HEAD_BYTES = 200
"""So many first bytes tell the encoding."""

_SIGNATURES = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARED = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([\w.-]+)")
_READ = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1"})

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_FORBIDDEN_BYTES = bytes(set(range(0x20)) - set(b"\t\n\r"))
_FORBIDDEN_PREFIX = b"\xef\xbf"  # of U+FFFE and U+FFFF, and of a few harmless ones


def encoding_of(head: bytes, *, path: str) -> str:
    """Tells from its first `HEAD_BYTES` unpacked bytes in which encoding an export is.

    Returns:
      The name of a Python codec that knows nothing of byte order marks.

    Raises:
      LimbeckError: one that is not read here.
    """
    for signature, encoding in _SIGNATURES:
        if head.startswith(signature):
            return encoding
    declared = _DECLARED.match(head[:HEAD_BYTES])
    name = declared[1].decode("ascii").lower() if declared else "utf-8"
    if name not in _READ:
        raise LimbeckError(f"{path}: is in the encoding {name!r}; convert it to UTF-8")
    return name


class ToUtf8:
    """Turns pieces of a text into UTF-8; characters may be cut between pieces."""

    def __init__(self, encoding: str) -> None:
        """Takes the name of a codec, as `encoding_of` returns it."""
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="limbeck-mark")

    def __call__(self, data: bytes, *, final: bool = False) -> bytes:
        """Returns the next piece; `final` for the last one."""
        text = self._decoder.decode(data, final)
        encoded = text.encode()
        if _FORBIDDEN_PREFIX in encoded or len(encoded.translate(None, _FORBIDDEN_BYTES)) < len(
            encoded
        ):
            return _FORBIDDEN.sub(MARK, text).encode()
        return encoded


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return MARK, error.end


codecs.register_error("limbeck-mark", _mark)
