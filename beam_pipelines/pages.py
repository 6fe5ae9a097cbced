"""The steps of the wikipedia pipeline: read the dump, filter pages, clean the rest under guard.

Filters, in this order, so that a page counts once: `namespace` (not an article's, redirects there
included), `redirect`, `model` (not wikitext), `missing_text` (deleted or never there), and after
cleaning `empty` (no prose). What cannot be used is a dead letter: `too_large`, `bad_characters`,
`bad_id`, and from the guard `timeout`, `memory`, `crashed` and `failed`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_pipelines.documents import NAME, document_block
from beam_pipelines.outcomes import Outcome, dead_letter
from beam_pipelines.progress import tick
from prep.accounting import DEAD, IN
from prep.article import FUNCTION
from prep.dump import Page, read_pages
from prep.guard import Guard, Limits, Verdict

__all__ = ["CleanPages", "Cleaning", "RawPage", "ReadPages", "filter_of"]

RawPage = tuple[int, str, str]
"""Page id, title, wikitext."""

_ARTICLE_NAMESPACE = 0
# Large enough to make an element's overhead small, small enough to spread over many workers.
_BATCH_CHARACTERS = 256 << 10


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


class ReadPages(beam.DoFn):
    """Path of a dump -> batches of articles to clean; outcomes of all others."""

    def __init__(self, progress: str) -> None:
        super().__init__()
        self._progress = progress

    def process(self, path: str) -> Iterator[Any]:
        """Reads one dump."""
        batch: list[RawPage] = []
        size = 0
        for page in read_pages(path):
            yield _outcome(f"{NAME}/{IN}")
            reason = filter_of(page)
            if reason:
                yield _outcome(f"{NAME}/{reason}")
                tick(self._progress)
            elif page.problem:
                yield _outcome(*_dead(page.problem, page.page_id, page.title, ""))
                tick(self._progress)
            else:
                text = page.text or ""
                batch.append((page.page_id, page.title, text))
                size += len(text)
            if size >= _BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


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
            for _, _, text in batch
        )
        for (page_id, title, _), verdict in zip(batch, self._guard.map(items), strict=True):
            yield from self._emit(page_id, title, verdict)
            tick(self._progress)

    def _emit(self, page_id: int, title: str, verdict: Verdict) -> Iterator[Any]:
        if verdict.reason:
            yield _outcome(*_dead(verdict.reason, page_id, title, verdict.detail))
        elif not verdict.value:
            yield _outcome(f"{NAME}/empty")
        else:
            block, outcomes = document_block(
                corpus=self._cleaning.corpus,
                page=page_id,
                title=title,
                sentences=verdict.value,
                num_shards=self._cleaning.num_shards,
            )
            yield block
            for outcome in outcomes:
                yield _outcome(*outcome)


def _dead(reason: str, page_id: int, title: str, detail: str) -> Outcome:
    return dead_letter(
        f"{NAME}/{DEAD}{reason}", reason=reason, page=page_id, title=title, detail=detail
    )


def _outcome(name: str, count: int = 1, letter: str = "") -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput("outcomes", (name, count, letter))
