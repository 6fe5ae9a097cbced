"""A Wikipedia dump -> a documents dataset: `python -m beam_pipelines.wikipedia`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from beam_pipelines.command import run_module, summarise
from beam_pipelines.documents import assemble_documents, documents_writer, file_identity
from beam_pipelines.job import Finished, Work, dead_letters_path, run_job
from beam_pipelines.outcomes import WriteReport
from beam_pipelines.pages import Cleaning, CleanPages, ReadPages
from beam_pipelines.sink import WriteShards
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.records.manifest import Manifest
from prep.dump import Site, read_site
from prep.guard import Limits
from prep.sentences import SPLITTER
from prep.wikitext import CLEANER

__all__ = ["WikipediaSettings", "main", "wikipedia"]

PROG = "beam_pipelines.wikipedia"
DESCRIPTION = (
    "Make a documents dataset of a MediaWiki XML dump: one document an article, cut into "
    "sentences. Run it again after an interruption and it goes on; run it after its end and it "
    "does nothing."
)

_MEDIA, _FILE, _CATEGORY = -2, 6, 14  # MediaWiki's fixed namespace numbers


@dataclasses.dataclass(frozen=True, kw_only=True)
class WikipediaSettings:
    """Options of the command."""

    dump: str
    """Dump file (pages-articles): XML, plain or packed with bz2, gz or xz."""
    out: str
    """Directory for the documents dataset."""
    corpus: str = ""
    """Corpus name, such as enwiki: part of each document's key. Empty: the dump's own dbname."""
    language: str = ""
    """Language of the sentence splitter, such as en. Empty: the dump's own."""
    keep_lists: bool = True
    """Keep the items of lists, each as a paragraph. BERT's own data had none."""
    num_shards: int = 8
    """Number of shards. A shard is sorted in memory: take one for each 200 MB of text or so."""
    page_seconds: float = 60.0
    """Wall-clock limit for one page; a page beyond it is a dead letter."""
    page_megabytes: int = 1024
    """Memory limit for one page; a page beyond it is a dead letter."""
    workers: int = 1
    """Worker processes. The output does not depend on it."""


def wikipedia(settings: WikipediaSettings, *, bundle_repeat: int = 0) -> Manifest:
    """Makes the documents dataset of a dump and returns its manifest.

    Raises:
      UsageError: an option, the dump or the output directory cannot be used.
      LimbeckError: the dump turns out to be damaged.
    """
    return _run(settings, bundle_repeat=bundle_repeat).manifest


def _run(settings: WikipediaSettings, *, bundle_repeat: int = 0) -> Finished:
    with before_work():
        site = read_site(settings.dump)
        cleaning = _cleaning(settings, site)
        writer = documents_writer(
            settings.out,
            num_shards=settings.num_shards,
            settings=_content_settings(settings, cleaning),
        )
    [finished] = run_job(
        lambda pipeline, work: _build(pipeline, work, dump=settings.dump, cleaning=cleaning),
        writers=[writer],
        what="pages",
        dead_letters=dead_letters_path(settings.out),
        paths={"dump": settings.dump},
        workers=settings.workers,
        bundle_repeat=bundle_repeat,
    )
    return finished


def _cleaning(settings: WikipediaSettings, site: Site) -> Cleaning:
    corpus = settings.corpus or site.database
    if not corpus:
        raise UsageError(f"{settings.dump}: does not name its wiki; give --corpus")
    language = settings.language or site.language
    if not language:
        raise UsageError(f"{settings.dump}: does not name its language; give --language")
    try:
        limits = Limits(seconds=settings.page_seconds, megabytes=settings.page_megabytes)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Cleaning(
        corpus=corpus,
        language=language,
        dropped_namespaces=tuple(sorted(site.link_prefixes(_MEDIA, _FILE, _CATEGORY))),
        keep_lists=settings.keep_lists,
        limits=limits,
        num_shards=settings.num_shards,
    )


def _content_settings(settings: WikipediaSettings, cleaning: Cleaning) -> dict[str, Any]:
    """Returns everything that decides the documents, but not where the files lie."""
    return {
        "source": {"format": "mediawiki-export", **file_identity(settings.dump)},
        "corpus": cleaning.corpus,
        "language": cleaning.language,
        "dropped_namespaces": list(cleaning.dropped_namespaces),
        "keep_lists": cleaning.keep_lists,
        "page_seconds": cleaning.limits.seconds,
        "page_megabytes": cleaning.limits.megabytes,
        "cleaner": CLEANER,
        "splitter": SPLITTER,
    }


def _build(pipeline: beam.Pipeline, work: Work, *, dump: str, cleaning: Cleaning) -> None:
    read = (
        pipeline
        | "Dump" >> beam.Create([dump])
        | "Read" >> beam.ParDo(ReadPages(work.progress)).with_outputs("outcomes", main="batches")
    )
    cleaned = (
        read.batches
        | beam.Reshuffle()
        | "Clean"
        >> beam.ParDo(CleanPages(cleaning, work.progress)).with_outputs(
            "outcomes", main="documents"
        )
    )
    written = cleaned.documents | "Write" >> WriteShards(work.targets, assemble_documents)
    (read.outcomes, cleaned.outcomes, written) | "Report" >> WriteReport(work.scratch)


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(WikipediaSettings, argv, prog=PROG, description=DESCRIPTION)
    print(summarise([_run(settings)], what="pages", dead_letters=dead_letters_path(settings.out)))


if __name__ == "__main__":
    run_module(PROG)
