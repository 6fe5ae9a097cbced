"""What cleaning left over: patterns of markup in text, counted by the pages that have them.

A clean corpus has next to none. Some hits are no mistakes (a page about brackets shows brackets),
so this ranks what to look at; it is no verdict.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["RESIDUE", "Audit", "Finding", "audit_pages", "residue_of"]

# Every pattern is linear: no repeat inside a repeat, runs that end at their own next beginning.
RESIDUE: Mapping[str, re.Pattern[str]] = {
    "braces": re.compile(r"\{\{|\}\}"),
    "brackets": re.compile(r"\[\[|\]\]"),
    "table": re.compile(r"\{\||\|\}|\|-"),
    "pipe": re.compile(r"\|"),
    "tag": re.compile(r"</?[a-zA-Z][a-zA-Z0-9]{0,20}(?:[\s/][^<>]{0,200})?>"),
    "comment": re.compile(r"<!--|-->"),
    "entity": re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,31});"),
    "switch": re.compile(r"__[^\W_]{3,60}__"),
    "address": re.compile(r"(?:https?|ftp)://|\bwww\."),
    "quotes": re.compile(r"''"),
    "heading": re.compile(r"^==|==$", re.MULTILINE),
    "hole": re.compile(r"\([ ,;:]*\)| ,|\( ?[,;:]|[,;:] ?\)"),
    "file name": re.compile(r"\.(?:jpe?g|png|gif|svg|ogg|webm)\b", re.IGNORECASE),
    "attribute": re.compile(r"\b(?:style|class|align|rowspan|colspan|width) ?= ?[\"'\d]"),
    "control": re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff\ufffd]"),
}
"""Name -> pattern of markup or junk that no reader should meet."""

_CONTEXT = 40  # characters beside an example
_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of residue."""

    name: str
    """Of its pattern in `RESIDUE`."""
    pages: int
    """Pages with at least one."""
    places: int
    """Matches in all of them."""
    examples: tuple[tuple[str, str], ...]
    """(page, the first match and what stands around it), from the first pages."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The residue of a corpus."""

    pages: int
    """Pages looked at."""
    affected: int
    """Pages with any residue."""
    findings: tuple[Finding, ...]
    """By number of pages, most first; without the kinds that never occur."""


def residue_of(text: str) -> dict[str, int]:
    """Returns how often each kind of residue occurs in a text; kinds that do not are left out."""
    counts = {name: sum(1 for _ in pattern.finditer(text)) for name, pattern in RESIDUE.items()}
    return {name: count for name, count in counts.items() if count}


def audit_pages(pages: Iterable[tuple[str, Iterable[str]]]) -> Audit:
    """Counts residue over pages.

    Args:
      pages: (name, texts) each; a text is a sentence or paragraph.
    """
    num_pages = num_affected = 0
    with_it: dict[str, int] = dict.fromkeys(RESIDUE, 0)
    places: dict[str, int] = dict.fromkeys(RESIDUE, 0)
    examples: dict[str, list[tuple[str, str]]] = {name: [] for name in RESIDUE}
    for page, texts in pages:
        text = "\n".join(texts)
        found = residue_of(text)
        num_pages += 1
        num_affected += bool(found)
        for name, count in found.items():
            with_it[name] += 1
            places[name] += count
            if len(examples[name]) < _EXAMPLES:
                examples[name].append((page, _example(text, RESIDUE[name])))
    findings = [
        Finding(name=name, pages=with_it[name], places=places[name], examples=tuple(examples[name]))
        for name in RESIDUE
        if with_it[name]
    ]
    findings.sort(key=lambda finding: (-finding.pages, -finding.places, finding.name))
    return Audit(pages=num_pages, affected=num_affected, findings=tuple(findings))


def _example(text: str, pattern: re.Pattern[str]) -> str:
    match = pattern.search(text)
    assert match is not None
    start, end = max(0, match.start() - _CONTEXT), match.end() + _CONTEXT
    return " ".join(text[start:end].split())
