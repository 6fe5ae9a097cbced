"""Links -> what they show: `[[target|text]]`, `[http://site text]`; bare addresses, nothing."""

import re
from dataclasses import dataclass

from prep.wikitext.marks import HOLE

__all__ = ["LinkNames", "show_links"]

# Nearly all links have no bracket inside: one substitution shows them. What is left (captions of
# pictures with links in them, brackets in a text) goes through a stack.
_PLAIN = re.compile(r"\[\[([^\[\]|\n]*)(?:\|([^\[\]]*))?\]\](?!\])")
_BRACKETS = re.compile(r"\[\[|\]\]")
_NEAR = 100  # characters in which brackets that nest belong together
_MAX_DEPTH = 6  # links inside captions inside links: text is copied once a level

# A title ends with its line; the bound keeps a row of openings without an end linear.
_TITLED = re.compile(
    r"\[(?:(?:https?|ftps?|ircs?|gopher|telnet|nntp|svn|git|ssh)://|//|mailto:|news:|tel:|urn:)"
    r"[^\s\[\]<>\"]*(?:[^\S\n]+([^\]\n]{0,300})|\"[^\]\n]{0,300})?\]",
    re.IGNORECASE,
)
_BARE = re.compile(r"(?:https?|ftp)://[^\s<>\[\]|\"]*[^\s<>\[\]|\".,;:!?)'\ufdd0-\ufdef]")

_INTERLANGUAGE = re.compile(r"(?:[a-z]{2,3}|simple|[a-z]{2,3}-[a-z-]{1,14})\s*:\s*\S")
_IN_PARENTHESES = re.compile(r"\s*[(\uff08][^()\uff08\uff09]*[)\uff09]$")


@dataclass(frozen=True, kw_only=True)
class LinkNames:
    """Names on a wiki that decide what a link shows."""

    dropped: frozenset[str]
    """Lower-case prefixes of links to files, media and categories."""


def show_links(text: str, *, names: LinkNames) -> str:
    """Returns text in which every link is replaced by what it shows; takes linear time."""
    if "[[" in text:
        text = _PLAIN.sub(lambda m: _shown(m[1], m[2], names), text)
    if "[" in text:
        text = _TITLED.sub(_title, text)
    if "[[" in text or "]]" in text:
        text = _nested(text, names)
    if "://" in text:
        text = _BARE.sub(HOLE, text)
    return text


def _shown(target: str, label: str | None, names: LinkNames) -> str:
    """Returns what a link shows; nothing for pictures, categories and interlanguage links."""
    if ":" in target:
        prefix = target.partition(":")[0].replace("_", " ").strip().lower()
        if prefix in names.dropped:
            return ""
        target = target.strip()
        if label is None and _INTERLANGUAGE.match(target):
            return ""
    if label is None:
        # A leading colon makes a link to a file or category visible, and is not shown.
        return target.strip().removeprefix(":").replace("_", " ")
    return label if label.strip() else _without_qualifier(target)


def _without_qualifier(target: str) -> str:
    """What the pipe trick shows: `Dog (breed)` -> `Dog`, `Help:Dog` -> `Dog`."""
    name = target.strip().removeprefix(":")
    name = name.partition(":")[2] or name
    bare = _IN_PARENTHESES.sub("", name[-200:])
    return name[:-200] + bare if bare != name[-200:] else name.partition(", ")[0]


def _title(match: re.Match[str]) -> str:
    return match[1] or HOLE


def _nested(text: str, names: LinkNames) -> str:
    pieces: list[str] = []
    opened: list[int] = []  # number of pieces before each open link
    deeper = done = 0
    for token in _BRACKETS.finditer(text):
        start = token.start()
        if start < done:
            continue
        pieces.append(text[done:start])
        done = token.end()
        if token.group() == "[[":
            if len(opened) < _MAX_DEPTH:
                opened.append(len(pieces))
            else:
                deeper += 1
        elif deeper:
            deeper -= 1
        elif opened:
            content = "".join(pieces[opened[-1] :])
            if text[done : done + 1] == "]" and content.count("[") > content.count("]"):
                content, done = content + "]", done + 1  # [[target|text [more]]]
            del pieces[opened.pop() :]
            target, bar, label = content.partition("|")
            pieces.append(_shown(target, label if bar else None, names))
        elif pieces[-1][-_NEAR:].count("[") > pieces[-1][-_NEAR:].count("]") + 1:
            pieces.append("]]")  # a[b[0]]
    pieces.append(text[done:])
    for start in opened:
        pieces[start] = _unclosed(pieces[start], names)
    return "".join(pieces)


def _unclosed(text: str, names: LinkNames) -> str:
    """A link without an end: its text stays, the rest of a picture's line does not."""
    prefix = text[:100].partition(":")[0].replace("_", " ").strip().lower()
    if prefix in names.dropped:
        return "".join(text.partition("\n")[1:])
    target, bar, label = text.partition("|")
    return label if bar and "\n" not in target else text
