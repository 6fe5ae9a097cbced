"""The gold set of the cleaner: passages of real pages and what a reader sees of them, as hashes.

`gold_passages.json` holds no text of Wikipedia. A passage is a page id and a range of characters of
its wikitext in the pinned sample dump; its truth, written by hand from the wikitext as the page
renders, is kept as 4-byte hashes of its words and of its runs of three words, in no order.

What counts as text: running prose, list items, block quotes, link texts, what formatting templates
show. What does not: tables, infoboxes, navigation, pictures with their captions, references and
their marks, hatnotes, formulas in TeX, bare addresses. Headings are taken out of the passages
beforehand, since the tools disagree on whether they are text.
"""

import base64
import bz2
import collections
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["Passage", "Score", "read_articles", "read_passages", "score", "words_of"]

GOLD = Path(__file__).parent / "gold_passages.json"
HASH_BYTES = 4
RUN = 3
_WORD = re.compile(r"\w+")
_HEADING = re.compile(r"(?m)^=+[^\n]*=+[ \t]*$\n?")

Hashes = collections.Counter[bytes]


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One passage and its truth."""

    page: int
    """Page id."""
    kind: str
    """What it was chosen for."""
    wikitext: str
    """As it is given to a cleaner."""
    words: Hashes
    """Hashes of the words a reader sees, with their numbers."""
    runs: Hashes
    """The same of runs of three words."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one output has in common with the truth; sums of passages add up."""

    seen: int
    """Words of the truth."""
    lost: int
    """Of those, missing in the output."""
    given: int
    """Words of the output."""
    junk: int
    """Of those, not in the truth."""

    def __add__(self, other: "Score") -> "Score":
        return Score(
            seen=self.seen + other.seen,
            lost=self.lost + other.lost,
            given=self.given + other.given,
            junk=self.junk + other.junk,
        )


def words_of(text: str) -> list[str]:
    """Returns the lower-case words of a text, in order."""
    return _WORD.findall(text.lower())


def hashes_of(text: str, *, run: int) -> Hashes:
    """Returns the hashes of all runs of `run` words, with a mark at both ends."""
    words = words_of(text)
    if run > 1 and words:
        words = ["", *words, ""]
    grams = (" ".join(words[i : i + run]) for i in range(len(words) - run + 1))
    return collections.Counter(
        hashlib.sha256(gram.encode()).digest()[:HASH_BYTES] for gram in grams
    )


def pack(hashes: Hashes) -> str:
    """Returns hashes as text, sorted: their order says nothing."""
    return base64.b64encode(b"".join(sorted(hashes.elements()))).decode()


def unpack(text: str) -> Hashes:
    """Reads what `pack` returned."""
    data = base64.b64decode(text)
    return collections.Counter(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES))


def score(output: str, passage: Passage, *, run: int) -> Score:
    """Compares an output with a passage's truth by words (`run` 1) or runs of three."""
    truth = passage.words if run == 1 else passage.runs
    given = hashes_of(output, run=run)
    return Score(
        seen=truth.total(),
        lost=(truth - given).total(),
        given=given.total(),
        junk=(given - truth).total(),
    )


def without_headings(wikitext: str) -> str:
    """Takes out heading lines."""
    return _HEADING.sub("", wikitext)


def read_articles(dump: str) -> Iterator[tuple[int, str]]:
    """Yields page id and wikitext of every article of a bz2 dump that is no redirect."""
    with bz2.open(dump) as file:
        for _, page in ElementTree.iterparse(file):
            if page.tag.rpartition("}")[2] != "page":
                continue
            fields = {child.tag.rpartition("}")[2]: child for child in page}
            texts = [e.text for e in page.iter() if e.tag.rpartition("}")[2] == "text"]
            if fields["ns"].text == "0" and "redirect" not in fields and texts and texts[-1]:
                yield int(fields["id"].text or 0), texts[-1]
            page.clear()


def read_passages(articles: dict[int, str]) -> list[Passage]:
    """Reads the gold set against the articles (page id -> wikitext) it was made from.

    Raises:
      ValueError: a passage's wikitext is not what it was: another dump.
    """
    passages = []
    for entry in json.loads(GOLD.read_bytes())["passages"]:
        wikitext = articles[entry["page"]][entry["start"] : entry["end"]]
        if hashlib.sha256(wikitext.encode()).hexdigest()[:16] != entry["sha256"]:
            raise ValueError(f"page {entry['page']} is not the one the gold set was made from")
        passages.append(
            Passage(
                page=entry["page"],
                kind=entry["kind"],
                wikitext=without_headings(wikitext),
                words=unpack(entry["words"]),
                runs=unpack(entry["runs"]),
            )
        )
    return passages
