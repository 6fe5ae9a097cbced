"""The steps of the wikipedia pipeline: filter pages, clean the rest under guard.

Filters, in this order, so that a page counts once: `namespace` (not an article's, redirects there
included), `redirect`, `model` (not wikitext), `missing_text` (deleted or never there), `duplicate`
(the same page id again, where that is allowed), and after cleaning `empty` (no prose). What cannot
be used is a dead letter: `too_large`, `bad_characters`, `bad_id`, `bad_xml`, `bad_block` and
`not_a_page` from reading, and from the guard `timeout`, `memory`, `crashed` and `failed`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_pipelines.documents import NAME, document_block
from beam_pipelines.dumps import Batch
from beam_pipelines.outcomes import Outcome, dead_letter
from beam_pipelines.progress import tick
from prep.accounting import DEAD, IN
from prep.article import FUNCTION
from prep.document import Document
from prep.dumps.cutter import Lost
from prep.guard import Guard, Limits, Verdict
from prep.mediawiki import Page

__all__ = ["CleanPages", "Cleaning", "FilterPages", "LatestOfEach", "RawPage", "filter_of"]

RawPage = tuple[str, int, str, str]
"""Path of the file, page id, title, wikitext."""

_ARTICLE_NAMESPACE = 0

_Where = tuple[int, int, int]  # number of the file, first byte of the unit, index in it
_Stamp = tuple[str, int, bytes, _Where]  # timestamp, revision, digest of the text


def filter_of(page: Page) -> str:
    """Returns the name of the filter that takes a page out; empty for one that stays."""
    if page.namespace != _ARTICLE_NAMESPACE:
        return "namespace"
    if page.is_redirect:
        return "redirect"
    if page.model != "wikitext":
        return "model"
    if page.text is None and not page.problem:
        return "missing_text"
    return ""


class LatestOfEach(beam.PTransform):
    """Batches of pages -> (page id, where its latest revision is), for ids that occur again.

    The latest by timestamp, then by revision id. Copies of one text are all the same.
    """

    def expand(self, batches: Any) -> Any:
        """Adds the steps."""
        return batches | beam.FlatMap(_stamps) | beam.GroupByKey() | beam.FlatMap(_latest)


def _stamps(batch: Batch) -> Iterator[tuple[int, _Stamp]]:
    for item in batch.items:
        if isinstance(item, Page) and not item.problem and not filter_of(item):
            text = f"{item.title}\n{item.text}".encode()
            digest = hashlib.blake2b(text, digest_size=16).digest()
            where = (batch.number, item.begin, item.index)
            yield item.page_id, (item.timestamp, item.revision_id, digest, where)


def _latest(group: tuple[int, Iterable[_Stamp]]) -> Iterator[tuple[int, _Where]]:
    page_id, stamps = group
    first, *others = sorted(stamps, reverse=True)
    if others:
        yield page_id, first[-1]


class FilterPages(beam.DoFn):
    """Batches of pages -> batches of articles to clean; outcomes of all others."""

    def __init__(self, progress: str) -> None:
        super().__init__()
        self._progress = progress

    def process(self, batch: Batch, latest: Mapping[int, _Where] | None = None) -> Iterator[Any]:
        """Sorts one batch; `latest` is what `LatestOfEach` says, if it is asked."""
        articles: list[RawPage] = []
        for item in batch.items:
            yield _outcome(f"{NAME}/{IN}")
            where = (batch.number, item.begin, getattr(item, "index", 0))
            outcome = (
                _lost(item, batch.path) if isinstance(item, Lost) else _taken(item, batch.path)
            )
            if outcome is None:
                assert isinstance(item, Page)
                if latest and latest.get(item.page_id, where) != where:
                    outcome = (f"{NAME}/duplicate", 1, "")
                else:
                    articles.append((batch.path, item.page_id, item.title, item.text or ""))
            if outcome is not None:
                yield _outcome(*outcome)
                tick(self._progress)
        if articles:
            yield articles


def _taken(page: Page, path: str) -> Outcome | None:
    """Returns the outcome of a page that is taken out; None for an article to clean."""
    if reason := filter_of(page):
        return f"{NAME}/{reason}", 1, ""
    if not page.problem:
        return None
    return dead_letter(
        f"{NAME}/{DEAD}{page.problem}",
        reason=page.problem,
        file=path,
        byte=page.begin,
        page=page.page_id,
        title=page.title,
        detail=page.detail,
    )


def _lost(lost: Lost, path: str) -> Outcome:
    return dead_letter(
        f"{NAME}/{DEAD}{lost.reason}",
        reason=lost.reason,
        file=path,
        byte=lost.begin,
        end=lost.end,
        detail=lost.detail,
    )


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """How pages become documents."""

    corpus: str
    """Name in the documents' keys."""
    language: str
    """Of the sentence splitter."""
    dropped_namespaces: tuple[str, ...]
    """The wiki's own names of the namespaces whose links are dropped."""
    keep_lists: bool
    """Whether the items of lists are text."""
    limits: Limits
    """For one page."""
    num_shards: int
    """Of the documents dataset."""


class CleanPages(beam.DoFn):
    """Batches of articles -> documents for the sink; outcomes of all."""

    def __init__(self, cleaning: Cleaning, progress: str) -> None:
        super().__init__()
        self._cleaning = cleaning
        self._progress = progress
        self._guard: Guard | None = None

    def setup(self) -> None:
        """Makes the guard; its worker starts with the first page."""
        self._guard = Guard(FUNCTION, limits=self._cleaning.limits)

    def teardown(self) -> None:
        """Ends the guard's worker."""
        if self._guard is not None:
            self._guard.close()

    def process(self, batch: list[RawPage]) -> Iterator[Any]:
        """Cleans one batch."""
        assert self._guard is not None
        cleaning = self._cleaning
        items = (
            {
                "text": text,
                "language": cleaning.language,
                "dropped_namespaces": cleaning.dropped_namespaces,
                "keep_lists": cleaning.keep_lists,
            }
            for *_, text in batch
        )
        for page, verdict in zip(batch, self._guard.map(items), strict=True):
            yield from self._emit(page, verdict)
            tick(self._progress)

    def _emit(self, page: RawPage, verdict: Verdict) -> Iterator[Any]:
        path, page_id, title, _ = page
        if verdict.reason:
            yield _outcome(
                *dead_letter(
                    f"{NAME}/{DEAD}{verdict.reason}",
                    reason=verdict.reason,
                    file=path,
                    page=page_id,
                    title=title,
                    detail=verdict.detail,
                )
            )
            return
        document = Document.from_json(verdict.value)
        if not document.sentences:
            yield _outcome(f"{NAME}/empty")
            return
        block, outcomes = document_block(
            corpus=self._cleaning.corpus,
            page=page_id,
            title=title,
            document=document,
            num_shards=self._cleaning.num_shards,
        )
        yield block
        for outcome in outcomes:
            yield _outcome(*outcome)


def _outcome(name: str, count: int = 1, letter: str = "") -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput("outcomes", (name, count, letter))
