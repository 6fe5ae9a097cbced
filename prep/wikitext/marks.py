"""Characters of our own inside a page while it is worked on.

All are Unicode noncharacters (U+FDD0 to U+FDEF): they mean nothing in any text and are taken out of
a page before. `HOLE` stands where something visible was dropped, so that only the punctuation
around it is tidied; `ITEM` begins an item of an HTML list; the others stand for the characters of
`<nowiki>` that would be markup elsewhere.
"""

import re

__all__ = ["HOLE", "ITEM", "protect", "strip_marks", "unprotect"]

ITEM, HOLE = "\ufdd0", "\ufdd1"

_MARKUP = "[]{}|'=*#:;<>_-"
_STAND_INS = {ord(c): chr(0xFDD2 + n) for n, c in enumerate(_MARKUP)}
_MARKUP_OF = {ord(mark): chr(c) for c, mark in _STAND_INS.items()}
_ANY = re.compile("[\ufdd0-\ufdef]")


def strip_marks(wikitext: str) -> str:
    """Takes out whatever looks like a mark of ours."""
    return _ANY.sub("", wikitext)


def protect(text: str) -> str:
    """Hides markup characters from every later step."""
    return text.translate(_STAND_INS)


def unprotect(text: str) -> str:
    """Brings hidden characters back."""
    return text.translate(_MARKUP_OF) if _ANY.search(text) else text
