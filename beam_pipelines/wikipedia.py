"""A Wikipedia dump -> a documents dataset: `python -m beam_pipelines.wikipedia`."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import apache_beam as beam

from beam_pipelines.command import run_module, summarise
from beam_pipelines.documents import assemble_documents, documents_writer
from beam_pipelines.dumps import ReadDumps, find_dumps
from beam_pipelines.inputs import InputFile
from beam_pipelines.job import Finished, Work, dead_letters_path, run_job
from beam_pipelines.options import RunOptions, beam_flags
from beam_pipelines.outcomes import WriteReport
from beam_pipelines.pages import Cleaning, CleanPages, FilterPages, LatestOfEach
from beam_pipelines.sink import WriteShards
from beam_pipelines.storage import use_options
from limbeck.config.command import before_work, parse
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.manifest import Manifest
from prep.dumps.source import READER, Dump
from prep.guard import Limits
from prep.mediawiki import Site
from prep.sentences import SPLITTER
from prep.wikitext import CLEANER

__all__ = ["WikipediaSettings", "main", "wikipedia"]

PROG = "beam_pipelines.wikipedia"
DESCRIPTION = (
    "Make a documents dataset of a MediaWiki XML dump: one document an article, cut into "
    "sentences. Run it again after an interruption and it goes on; run it after its end and it "
    "does nothing."
)

_DO_NOT_SPLIT = ("DaskRunner",)  # runners without splittable sources

_MEDIA, _FILE, _CATEGORY = -2, 6, 14  # MediaWiki's fixed namespace numbers


@dataclasses.dataclass(frozen=True, kw_only=True)
class WikipediaSettings(RunOptions):
    """Options of the command."""

    dump: tuple[str, ...]
    """Files of one wiki's dump (pages-articles), paths and globs, remote ones too: XML, plain or
    packed with bz2, gz or xz. Their order does not matter."""
    out: str
    """Directory for the documents dataset; a remote one too."""
    corpus: str = ""
    """Corpus name, such as enwiki: part of each document's key. Empty: the dump's own dbname."""
    language: str = ""
    """Language of the sentence splitter, such as en. Empty: the dump's own."""
    keep_lists: bool = True
    """Keep the items of lists, each as a paragraph. BERT's own data had none."""
    duplicates: Literal["refuse", "latest"] = "refuse"
    """What to do when a page id occurs twice, as in parts that overlap: stop with an error, or keep
    the latest revision (the dump is then read twice) and count the others."""
    num_shards: int = 8
    """Number of shards."""
    page_seconds: float = 60.0
    """Wall-clock limit for one page; a page beyond it is a dead letter."""
    page_megabytes: int = 1024
    """Memory limit for one page; a page beyond it is a dead letter."""

    def __post_init__(self) -> None:
        """Takes a single path for a tuple of one."""
        if isinstance(self.dump, str):
            object.__setattr__(self, "dump", (self.dump,))


def wikipedia(settings: WikipediaSettings, *, bundle_repeat: int = 0) -> Manifest:
    """Makes the documents dataset of a dump and returns its manifest.

    Raises:
      UsageError: an option, the dump or the output directory cannot be used.
      LimbeckError: the dump turns out to be damaged.
    """
    return _run(settings, bundle_repeat=bundle_repeat).manifest


def _run(settings: WikipediaSettings, *, bundle_repeat: int = 0) -> Finished:
    with before_work():
        if settings.beam_options:
            use_options(beam_flags(settings.beam_options))
        files, dumps = find_dumps(settings.dump)
        cleaning = _cleaning(settings, dumps[0].site)
        writer = documents_writer(
            settings.out,
            num_shards=settings.num_shards,
            settings=_content_settings(settings, files, cleaning),
        )
    # The words of redirects are those of the language, also where only the user knows it.
    dumps = [
        dataclasses.replace(dump, site=dataclasses.replace(dump.site, language=cleaning.language))
        for dump in dumps
    ]
    try:
        [finished] = run_job(
            lambda pipeline, work: _build(
                pipeline, work, dumps=dumps, cleaning=cleaning, settings=settings
            ),
            writers=[writer],
            what="pages",
            dead_letters=dead_letters_path(settings.out),
            paths={f"dump {number}": file.path for number, file in enumerate(files)},
            total_bytes=sum(file.size for file in files),
            bundle_repeat=bundle_repeat,
            **settings.run_arguments(),
        )
    except LimbeckError as error:
        if "occur twice" in str(error):  # said by the sink, perhaps in another process
            raise LimbeckError(
                f"{error}. Do parts of the dump overlap? --duplicates latest keeps the latest "
                "revision of each page"
            ) from None
        raise
    return finished


def _cleaning(settings: WikipediaSettings, site: Site) -> Cleaning:
    corpus = settings.corpus or site.database
    if not corpus:
        raise UsageError(f"{settings.dump[0]}: does not name its wiki; give --corpus")
    language = settings.language or site.language
    if not language:
        raise UsageError(f"{settings.dump[0]}: does not name its language; give --language")
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


def _content_settings(
    settings: WikipediaSettings, files: Sequence[InputFile], cleaning: Cleaning
) -> dict[str, Any]:
    """Returns everything that decides the documents, but not where the files lie."""
    identities = sorted((file.identity() for file in files), key=lambda one: str(one["sha256"]))
    for one, other in zip(identities, identities[1:], strict=False):
        if one == other:
            raise UsageError(f"two of the dump's files are the same ({one}); give each once")
    return {
        # By SHA-256: neither the files' names nor their order decide anything.
        "source": {"format": "mediawiki-export", "files": identities},
        "reader": READER,
        "duplicates": settings.duplicates,
        "corpus": cleaning.corpus,
        "language": cleaning.language,
        "dropped_namespaces": list(cleaning.dropped_namespaces),
        "keep_lists": cleaning.keep_lists,
        "page_seconds": cleaning.limits.seconds,
        "page_megabytes": cleaning.limits.megabytes,
        "cleaner": CLEANER,
        "splitter": SPLITTER,
    }


def _build(
    pipeline: beam.Pipeline,
    work: Work,
    *,
    dumps: Sequence[Dump],
    cleaning: Cleaning,
    settings: WikipediaSettings,
) -> None:
    latest = []
    can_split = settings.runner not in _DO_NOT_SPLIT
    if settings.duplicates == "latest":
        survey = (
            pipeline
            | "Survey" >> ReadDumps(dumps, can_split=can_split)
            | "Latest" >> LatestOfEach()
        )
        latest.append(beam.pvalue.AsDict(survey))
    # No shuffle between reading and cleaning: each range's pages are cleaned where they are read,
    # and memory does not depend on the size of the dump.
    filtered = (
        pipeline
        | "Read" >> ReadDumps(dumps, progress=work.progress, can_split=can_split)
        | "Filter"
        >> beam.ParDo(FilterPages(work.progress), *latest).with_outputs("outcomes", main="articles")
    )
    cleaned = filtered.articles | "Clean" >> beam.ParDo(
        CleanPages(cleaning, work.progress)
    ).with_outputs("outcomes", main="documents")
    written = cleaned.documents | "Write" >> WriteShards(work.targets, assemble_documents)
    (filtered.outcomes, cleaned.outcomes, written) | "Report" >> WriteReport(
        work.scratch, max_dead_letters=work.max_dead_letters
    )


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(WikipediaSettings, argv, prog=PROG, description=DESCRIPTION)
    print(summarise([_run(settings)], what="pages", dead_letters=dead_letters_path(settings.out)))


if __name__ == "__main__":
    run_module(PROG)
