"""Cleaning: text lost, junk left over and speed, ours against others, in one run.

    python -m bench.cleaning [--repeats R] [--peers NAME ...]

ours           prep.wikitext
tfds rules     the rules of TensorFlow Datasets' `wikipedia` (4.9.10), on mwparserfromhell: media
               links, reference and table tags and reference-list templates are removed, then
               every section's strip_code
strip_code     mwparserfromhell's strip_code of the page
wikiextractor  WikiExtractor 3.1.0 (`pip install --no-deps wikiextractor==3.1.0`; AGPL, a peer for
               this measurement only), without template expansion, its other defaults
wikiextractor, lists  the same; list marks are taken out beforehand, since by default it drops lists

Quality is over the 50 passages of bench/_gold.py: words of the truth that are missing (lost), words
that are not in the truth (junk), the same for runs of three words (a hole or a leftover breaks
runs around it), and matches of the residue patterns of prep.audit. Passages are cleaned alone,
without their headings. Speed is wikitext bytes (UTF-8) per CPU second over all articles of the
sample dump; the cleaners take turns, the median of the repeats counts. Prints one JSON line last.
"""

import contextlib
import io
import json
import logging
import os
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import tyro

from bench._gold import Passage, Score, read_articles, read_passages, score
from prep.audit import residue_of
from prep.wikitext import parse_sections

DUMP = os.path.expanduser("~/.cache/limbeck/data/enwiki-sample.xml.bz2")
Cleaner = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    dump: str = DUMP
    """The sample dump that `make setup` puts there."""
    repeats: int = 3
    """Rounds over all articles."""
    peers: tuple[str, ...] = ("tfds rules", "strip_code", "wikiextractor", "wikiextractor, lists")
    """Which to compare with; one that is not installed is left out with a note."""


def ours(wikitext: str) -> str:
    """Returns the paragraphs and headings of a page."""
    lines = []
    for section in parse_sections(wikitext):
        lines += [section.heading, *section.paragraphs]
    return "\n".join(lines)


def _strip_code() -> Cleaner:
    import mwparserfromhell

    return lambda wikitext: str(mwparserfromhell.parse(wikitext).strip_code())


def _tfds_rules() -> Cleaner:
    import mwparserfromhell

    media = re.compile(r"^(?:File|Image|Media):", re.IGNORECASE)
    lists = ("reflist", *(f"notelist{suffix}" for suffix in ("", "-ua", "-lr", "-ur", "-lg")))

    def clean(wikitext: str) -> str:
        texts = []
        page = mwparserfromhell.parse(wikitext)
        for section in page.get_sections(flat=True, include_lead=True, include_headings=True):
            unwanted = [
                *section.ifilter_wikilinks(matches=lambda n: bool(media.match(str(n.title)))),
                *section.ifilter_templates(matches=lambda n: n.name.lower() in lists),
                *section.ifilter_tags(matches=lambda n: str(n.tag) in ("ref", "table")),
            ]
            for node in unwanted:
                with contextlib.suppress(ValueError):  # it went with another one
                    section.remove(node)
            texts.append(str(section.strip_code()).strip())
        return "\n\n".join(texts)

    return clean


def _wikiextractor() -> Cleaner:
    from wikiextractor.extract import Extractor  # type: ignore[import-not-found]

    logging.disable(logging.WARNING)

    def clean(wikitext: str) -> str:
        extractor = Extractor(1, "", "", "Page", [])
        with contextlib.redirect_stdout(io.StringIO()):
            lines = extractor.clean_text(wikitext, expand_templates=False, html_safe=False)
        return "\n".join(lines)

    return clean


def _wikiextractor_lists() -> Cleaner:
    clean = _wikiextractor()
    marks = re.compile(r"(?m)^[*#:;]+[ \t]*")
    return lambda wikitext: clean(marks.sub("\n", wikitext))


PEERS: dict[str, Callable[[], Cleaner]] = {
    "tfds rules": _tfds_rules,
    "strip_code": _strip_code,
    "wikiextractor": _wikiextractor,
    "wikiextractor, lists": _wikiextractor_lists,
}


def quality(clean: Cleaner, passages: list[Passage]) -> dict[str, float]:
    """Returns shares of words and runs lost and of junk, and places with residue."""
    outputs = [clean(passage.wikitext) for passage in passages]
    found = {}
    for name, run in (("words", 1), ("runs", 3)):
        nothing = Score(seen=0, lost=0, given=0, junk=0)
        pairs = zip(outputs, passages, strict=True)
        total = sum((score(out, passage, run=run) for out, passage in pairs), nothing)
        found[f"{name} lost"] = total.lost / total.seen
        found[f"{name} junk"] = total.junk / max(1, total.given)
    found["residue"] = sum(sum(residue_of(output).values()) for output in outputs)
    return found


def speeds(cleaners: dict[str, Cleaner], articles: list[str], *, repeats: int) -> dict[str, float]:
    """Returns MB of wikitext a CPU second: the median of rounds, the cleaners taking turns."""
    megabytes = sum(len(text.encode()) for text in articles) / 1e6
    rounds: dict[str, list[float]] = {name: [] for name in cleaners}
    for _ in range(repeats):
        for name, clean in cleaners.items():
            started = time.process_time()
            for text in articles:
                clean(text)
            rounds[name].append(megabytes / (time.process_time() - started))
    return {name: statistics.median(values) for name, values in rounds.items()}


def main(options: Options) -> None:
    """Measures and prints the table."""
    articles = dict(read_articles(options.dump))
    passages = read_passages(articles)
    cleaners: dict[str, Cleaner] = {"ours": ours}
    for name in options.peers:
        try:
            cleaners[name] = PEERS[name]()
        except ImportError as error:
            print(f"{name}: left out, {error}")
    rates = speeds(cleaners, list(articles.values()), repeats=options.repeats)
    table = {name: quality(c, passages) | {"MB/s": rates[name]} for name, c in cleaners.items()}
    print(f"{len(passages)} passages, {sum(p.words.total() for p in passages)} words of truth")
    print("| | words lost | words junk | runs lost | runs junk | residue | MB/s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in table.items():
        shares = " | ".join(
            f"{100 * row[key]:.2f} %"
            for key in ("words lost", "words junk", "runs lost", "runs junk")
        )
        ratio = rates["ours"] / rates[name]
        print(f"| {name} | {shares} | {row['residue']} | {row['MB/s']:.2f} | {ratio:.1f} |")
    print(json.dumps(table))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
