"""HTML tags, entities, behaviour switches, quotes and language variants inside text."""

import functools
import html
import re

from prep.wikitext.marks import HOLE, ITEM

__all__ = ["drop_quotes", "drop_switches", "pick_variants", "show_entities", "show_tags", "tidy"]

# Tags that are markup; anything else between angle brackets is text.
_KNOWN_TAGS = frozenset(
    "abbr b bdi bdo big blockquote br caption center cite code col colgroup data dd del dfn div dl "
    "dt em font h1 h2 h3 h4 h5 h6 hr i img ins kbd li link mark meta nobr noinclude ol onlyinclude "
    "p poem q rb rbc rp rt rtc ruby s samp section small span strike strong sub sup table tbody td "
    "tfoot th thead time tr translate tt tvar u ul var wbr "
    "ref references math chem ce gallery timeline score syntaxhighlight source pre hiero imagemap "
    "graph mapframe maplink templatedata templatestyles includeonly style script categorytree "
    "inputbox indicator charinsert nowiki".split()
)
_BLOCKS = frozenset(
    "blockquote caption center div dl hr ol p poem table tbody td tfoot th thead tr ul".split()
)
_ITEMS = frozenset({"li", "dd", "dt"})
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)(?:[\s/][^<>]*)?>")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_SWITCH = re.compile(r"(?:__|\uff3f\uff3f)([^\W_](?:\w{0,60}[^\W_])?)(?:__|\uff3f\uff3f)")
_VARIANTS = re.compile(r"-\{([^{}]{0,2000})\}-")
_QUOTES = re.compile(r"'{2,}")
_VARIANT_LANGUAGES = frozenset("ban crh gan iu kk ku sh shi sr tg tly uz wuu zgh zh".split())
_LONG_LINE = 200_000  # beyond it marks are not balanced, which needs a list of them


def show_tags(text: str) -> str:
    """Takes out HTML tags; those of blocks part paragraphs, those of items begin a line."""
    return _TAG.sub(_shown_tag, text) if "<" in text else text


def _shown_tag(match: re.Match[str]) -> str:
    name = match[2].lower()
    if name not in _KNOWN_TAGS:
        return match[0]
    if name == "br":
        return " "
    if name in _ITEMS:
        return "\n\n" if match[1] else f"\n\n{ITEM}"
    if name in _BLOCKS:
        return "\n\n"
    if name[0] == "h" and name[1:].isdigit():
        sign = "=" * int(name[1:])
        return f" {sign}\n\n" if match[1] else f"\n\n{sign} "
    return ""


def show_entities(text: str) -> str:
    """Decodes named and numbered characters; a number that is no character shows nothing."""
    return _ENTITY.sub(lambda match: _character(match[0]), text) if "&" in text else text


@functools.lru_cache(maxsize=4096)
def _character(entity: str) -> str:
    text = html.unescape(entity)
    return "" if text in ("\ufffd", "\u00ad") else text


def drop_switches(text: str, *, names: frozenset[str]) -> str:
    """Takes out `__NOTOC__` and its like: known words, and words in capitals."""

    def shown(match: re.Match[str]) -> str:
        word = match[1]
        is_loud = len(word) > 2 and word.isascii() and word.isupper()  # of an extension
        return "" if is_loud or word.lower() in names else match[0]

    return _SWITCH.sub(shown, text) if "__" in text or "\uff3f\uff3f" in text else text


def pick_variants(text: str, *, language: str) -> str:
    """Shows one variant of `-{zh-hans:...; zh-hant:...}-`: the first; flags that hide, nothing.

    Only the wikis of languages with several scripts or spellings have such marks.
    """
    if "-{" not in text or language.partition("-")[0].lower() not in _VARIANT_LANGUAGES:
        return text
    return _VARIANTS.sub(_variant, text)


def _variant(match: re.Match[str]) -> str:
    flags, bar, rest = match[1].partition("|")
    if bar and set(flags.upper()) & set("HT-"):
        return ""
    content = rest if bar else match[1]
    first = content.partition(";")[0]
    code, colon, shown = first.partition(":")
    return (shown if colon and code.strip().isascii() else content).strip()


def drop_quotes(line: str) -> str:
    """Takes out the quotes that mean italic (2), bold (3) or both (5); the others are text.

    Where a line has odd numbers of both, one bold mark is an apostrophe before an italic one:
    MediaWiki prefers the one after a single letter, then after a longer word, then after a space.
    """
    if len(line) > _LONG_LINE:
        return _QUOTES.sub(lambda mark: "'" * (len(mark[0]) - _marked(len(mark[0]))), line)
    marks = list(_QUOTES.finditer(line))
    sizes = [_marked(len(mark.group())) for mark in marks]
    spare = -1
    if sum(s in (2, 5) for s in sizes) % 2 and sum(s in (3, 5) for s in sizes) % 2:
        spare = _apostrophe(line, [m.end() - s for m, s in zip(marks, sizes, strict=True)], sizes)
    pieces, done = [], 0
    for number, (mark, size) in enumerate(zip(marks, sizes, strict=True)):
        pieces.append(line[done : mark.end() - size + (number == spare)])
        done = mark.end()
    return "".join(pieces) + line[done:]


def _marked(length: int) -> int:
    """Returns how many quotes of a run are markup: the last 2, 3 or 5."""
    return 5 if length >= 5 else min(length, 3)


def _apostrophe(line: str, starts: list[int], sizes: list[int]) -> int:
    """Returns which bold mark is an apostrophe and an italic mark."""
    after_word = after_space = -1
    for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        if size != 3:
            continue
        before = line[max(0, start - 2) : start]
        if before.endswith(" "):
            after_space = number if after_space < 0 else after_space
        elif before[:-1] in ("", " "):
            return number
        else:
            after_word = number if after_word < 0 else after_word
    return after_word if after_word >= 0 else after_space


_IN_PARENTHESES = re.compile(r"[(\uff08][^()\uff08\uff09]*[)\uff09]")
_HOLES = re.compile(f" ?(?:{HOLE} ?)+")
_AROUND = f"{HOLE} ,;:\uff0c\uff1b\u3001"
_DOUBLE = re.compile(f"([,;:]) ?(?:(?:{HOLE} ?)+[,;:] ?)+")
# A space before a comma or full stop, but not in ". . .".
_LOOSE = re.compile(r"(?<=[\w)\]\"']) (?=[,.](?: (?![.,])|$))")


def tidy(text: str) -> str:
    """Takes out the marks of what was dropped, the punctuation that it left alone, loose spaces.

    Args:
      text: one line, no two spaces side by side.
    """
    if HOLE in text:
        text = _IN_PARENTHESES.sub(_without_holes, text)
        text = _DOUBLE.sub(r"\1 ", text)
        text = _HOLES.sub(functools.partial(_closed_hole, text), text)
    if " ," in text or " ." in text:
        text = _LOOSE.sub("", text)
    return text.strip()


def _without_holes(match: re.Match[str]) -> str:
    """`(HOLE; 1815, HOLE)` -> `(1815)`."""
    group = match[0]
    if HOLE not in group:
        return group
    inside = group[1:-1]
    if HOLE in inside[: len(inside) - len(inside.lstrip(_AROUND))]:
        inside = inside.lstrip(_AROUND)
    if HOLE in inside[len(inside.rstrip(_AROUND)) :]:
        inside = inside.rstrip(_AROUND)
    return group[0] + inside + group[-1] if inside.strip() else HOLE


def _closed_hole(text: str, match: re.Match[str]) -> str:
    found = match[0]
    after = text[match.end() : match.end() + 1]
    return " " if found.strip(HOLE) and after not in (",", ".", ")", "\uff0c", "\u3002", "") else ""
