"""Sentences of a paragraph: `sentencex` (rules for some 300 languages) and a few rules over it.

`sentencex` proposes the borders. A border is taken back where the sentence goes on (an
abbreviation, an initial, an ordinal, a reporting clause after a quotation), and borders are added
where it sees none (after an ellipsis, or "etc." before a capital). Thai, which has no full stop,
is cut at its question marks and at spaces between clauses. No text is ever left out.
"""

import importlib.metadata
import re
from collections.abc import Iterable, Iterator

import sentencex

from prep.abbreviations import abbreviations_of

__all__ = ["SPLITTER", "split_sentences"]

SPLITTER = f"limbeck-1 over sentencex {importlib.metadata.version('sentencex')}"
"""Name and version of the splitter; its rules are part of what a dataset's content depends on."""

_OPENERS = "\"'([{\u00ab\u2018\u201c\u201e\u2039\u300a\u300c\u300e\uff08\u3010"
_CLOSERS = "\"')\\]}\u00bb\u2019\u201c\u201d\u203a\u300b\u300d\u300f\uff09\u3011"
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"

_CONTEXT = 48  # characters before a border that rules look at
_SHORT = 8  # characters of an abbreviation of several words

_ELIDED = re.compile(".*['\u2019]")  # "l'av." is an abbreviation of "avenue"
# A reporting clause after a quotation: "..." - he said.
_DASH_LOWER = re.compile(r"[-\u2010-\u2015] ?(\w)")
_ELLIPSIS = re.compile(rf"(?:\.\.\.|\u2026)[{_CLOSERS}]* (?=[{re.escape(_OPENERS)}]*[^\W\d_])")
_CJK_ELLIPSIS = re.compile(rf"\u2026[\u2026]*(?=[{_CJK}])")
_FULL_STOP = re.compile(r"(?<=\w)\. (?=[^\W\d_])")
_BRACKETED = re.compile(rf"\uff08[^\uff08\uff09]*[\u3002\uff01\uff1f]\uff09(?=[{_CJK}])")
_SAID = {
    "ja": re.compile("(?:\u3068|\u3063\u3066)"),
    "zh": re.compile(
        "[^\u3002\uff01\uff1f\uff0c\u201c\u201d\u300c\u300d]{0,6}"
        "[\u8bf4\u8aaa\u9053\u95ee\u554f\u7b54\u558a\u53eb\u60f3\u7b11]"
        "[\u3002\uff0c\uff1a\uff01\u9053\u7740]"
    ),
    "ko": re.compile(
        r"[^.?!]{0,20}(?:\ubb3c\uc5c8|\ub9d0\ud588|\ub2f5\ud588|\uc678\ucce4|\uc18c\ub9ac\ucce4)"
    ),
}
# "am 3. Oktober", but not "S. 17. Dann".
_ORDINAL = re.compile(r"(?<![.\d]) \d{1,2}\.$")
# A unit or "u." of one or two letters ends a sentence only behind a number, or "and".
_SHORT_END = re.compile("(?:\\d|\\b\u0438) ?[^\\W\\d_]{1,2}\\.$")
_SPACELESS = frozenset({"ja", "zh"})

# Thai: a space between clauses is a border once the part before has this many characters.
_THAI_CLAUSE = 80
_THAI_END = re.compile(
    rf"[?!\u0e5a\u0e5b]+[{_CLOSERS}]* |\.\.\.+ |(?<=[\u0e01-\u0e4e]) (?=[\u0e01-\u0e4e])"
)


def split_sentences(paragraph: str, *, language: str) -> list[str]:
    """Splits one paragraph; white space is normalised and empty sentences are left out.

    Args:
      paragraph: prose.
      language: ISO 639 code such as `en`; an unknown one falls back to English rules.
    """
    text = " ".join(paragraph.split())
    if not text:
        return []
    base = language.partition("-")[0]
    if base == "th":
        parts: Iterable[str] = _thai_clauses(text)
    else:
        proposed = _joined(sentencex.segment(language, text), base)
        parts = (piece for part in proposed for piece in _cut_further(part, base))
    return [stripped for part in parts if (stripped := part.strip())]


def _joined(parts: Iterable[str], language: str) -> Iterator[str]:
    """Yields the parts, those that belong together as one."""
    held: list[str] = []
    tail = ""
    for part in parts:
        if held and not _goes_on(tail, part, language):
            yield "".join(held)
            held, tail = [], ""
        held.append(part)
        tail = (tail + part)[-_CONTEXT:]
    yield "".join(held)


def _goes_on(before: str, after: str, language: str) -> bool:
    """Says whether a sentence goes on across a proposed border."""
    left, right = before.rstrip(), after.lstrip()
    if not left or not right:
        return True
    said = _SAID.get(language)
    if said is not None and left[-1] in _CLOSERS and said.match(right):
        return True
    if right[0].islower() or right[0] in ",;:%":
        return True
    if (dash := _DASH_LOWER.match(right)) and dash[1].islower():
        return True
    if left[-1] != ".":
        return False
    if left == before and right == after and language not in _SPACELESS:
        # "J.-P.", "3.5", "U.S.A.": no space, no sentence, unless one was forgotten ("end.Next").
        word = _last_word(left).rpartition(".")[2]
        return not (right[0].isupper() and len(word) >= 4 and word.isalpha())
    return _abbreviates(left, right, language)


def _abbreviates(left: str, right: str, language: str) -> bool:
    """Says whether the full stop at the end of `left` is that of an abbreviation."""
    spelled = _last_word(left)
    word = spelled.lower()
    last = word.rpartition(".")[2].lstrip("-")
    known = abbreviations_of(language)
    if word in known.before_more or last in known.before_more:
        return True
    if len(last) == 1 and spelled[-1].isupper():
        return True  # an initial
    if language == "de" and _ORDINAL.search(left):
        return True
    return right[0].isdigit() and (word in known.may_end or last in known.may_end)


def _last_word(left: str) -> str:
    """Returns the last word of a text that ends with a full stop, without that.

    Abbreviations of several short words are one: "z. B." is "z.B", "J.-P." is "J.-P".
    """
    *before, last = left[-_CONTEXT:-1].split(" ")[-4:]
    word = _ELIDED.sub("", last.lstrip(_OPENERS))
    if len(word) == len(last):
        while before and len(word) <= _SHORT and _is_short(before[-1]):
            word = before.pop() + word
    return word


def _is_short(word: str) -> bool:
    return word.endswith(".") and 2 <= len(word) <= 3 and word[:-1].isalpha()


def _cut_further(part: str, language: str) -> Iterator[str]:
    """Yields the sentences of a part in which `sentencex` sees no border."""
    begin = 0
    for border in sorted(set(_more_borders(part, language))):
        yield part[begin:border]
        begin = border
    yield part[begin:]


def _more_borders(part: str, language: str) -> Iterator[int]:
    if language in _SPACELESS:
        for pattern in (_CJK_ELLIPSIS, _BRACKETED):
            yield from (match.end() for match in pattern.finditer(part))
        return
    if "..." in part or "\u2026" in part:
        for match in _ELLIPSIS.finditer(part):
            if part[match.end() : match.end() + _SHORT].lstrip(_OPENERS)[:1].isupper():
                yield match.end()
    may_end = abbreviations_of(language).may_end
    if not may_end or not 0 <= part.find(". ") < len(part) - 2:
        return
    for match in _FULL_STOP.finditer(part):
        if part[match.end()].isupper() and _ends(
            part[max(0, match.start() - _CONTEXT) : match.start() + 1], may_end
        ):
            yield match.end()


# Of those that may end a sentence, names follow these as often as sentences do.
_BEFORE_NAMES = frozenset("inc ltd co corp jr bros u.s u.k d.c ph.d m.d b.a m.a g c".split())


def _ends(left: str, may_end: frozenset[str]) -> bool:
    word = _last_word(left).lower()
    if len(word) <= 2 and not _SHORT_END.search(left):
        return False
    return word in may_end - _BEFORE_NAMES


def _thai_clauses(text: str) -> Iterator[str]:
    """Yields the parts of a Thai text."""
    begin = 0
    for match in _THAI_END.finditer(text):
        is_space = match[0] == " "
        if is_space and match.start() - begin < _THAI_CLAUSE:
            continue
        yield text[begin : match.end()]
        begin = match.end()
    yield text[begin:]
