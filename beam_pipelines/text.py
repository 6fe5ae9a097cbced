"""One's own text -> a documents dataset: `python -m beam_pipelines.text`."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam

from beam_pipelines.command import run_module, summarise
from beam_pipelines.documents import (
    NAME,
    assemble_documents,
    document_block,
    documents_writer,
)
from beam_pipelines.inputs import InputFile, input_files
from beam_pipelines.job import Finished, Work, dead_letters_path, run_job
from beam_pipelines.options import RunOptions, beam_flags
from beam_pipelines.outcomes import WriteReport, dead_letter
from beam_pipelines.progress import found, tick
from beam_pipelines.sink import WriteShards
from beam_pipelines.storage import open_file, use_options
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.records.manifest import Manifest
from prep.accounting import DEAD, IN
from prep.plain_text import READER, Format, TextDocument, read_documents
from prep.sentences import SPLITTER

__all__ = ["ReadTexts", "TextSettings", "main", "text"]

PROG = "beam_pipelines.text"
DESCRIPTION = (
    "Make a documents dataset of text files (plain, bz2, gz or xz). Run it again after an "
    "interruption and it goes on; run it after its end and it does nothing."
)

_FILE_BITS = 32  # a document's page number is its file's number, then its number in the file
_MAX_FILES = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings(RunOptions):
    """Options of the command."""

    input: tuple[str, ...]
    """Text files and globs, in the order that numbers their documents; remote ones too."""
    out: str
    """Directory for the documents dataset; a remote one too."""
    corpus: str
    """Corpus name: part of each document's key."""
    format: Format = "plain"
    """plain: a file is a document; blocks: a sentence a line, a blank line between documents;
    lines: a line is a document of one sequence; jsonl: a JSON object a line."""
    language: str = "en"
    """Language of the sentence splitter (plain and jsonl)."""
    text_field: str = "text"
    """Member of a JSON object that holds the text."""
    title_field: str = "title"
    """Member of a JSON object that may hold a title."""
    num_shards: int = 8
    """Number of shards."""


def text(settings: TextSettings, *, bundle_repeat: int = 0) -> Manifest:
    """Makes the documents dataset of text files and returns its manifest.

    Raises:
      UsageError: an option, a file or the output directory cannot be used.
      LimbeckError: a file turns out to be damaged.
    """
    return _run(settings, bundle_repeat=bundle_repeat).manifest


def _run(settings: TextSettings, *, bundle_repeat: int = 0) -> Finished:
    with before_work():
        if settings.beam_options:
            use_options(beam_flags(settings.beam_options))
        files = input_files(settings.input)
        if not 1 <= len(files) <= _MAX_FILES:
            raise UsageError(f"{len(files)} input files; give 1 to {_MAX_FILES}")
        if not settings.corpus:
            raise UsageError("corpus is empty; it names the documents")
        fields = (settings.text_field, settings.title_field)
        if settings.format != "jsonl" and fields != ("text", "title"):
            raise UsageError(
                f"--text-field and --title-field have no effect on --format {settings.format}"
            )
        writer = documents_writer(
            settings.out,
            num_shards=settings.num_shards,
            settings=_content_settings(settings, files),
        )
    [finished] = run_job(
        lambda pipeline, work: _build(pipeline, work, settings=settings, files=files),
        writers=[writer],
        what="documents",
        dead_letters=dead_letters_path(settings.out),
        paths={f"input {number}": file.path for number, file in enumerate(files)},
        total_bytes=sum(file.size for file in files),
        bundle_repeat=bundle_repeat,
        **settings.run_arguments(),
    )
    return finished


def _content_settings(settings: TextSettings, files: Sequence[InputFile]) -> dict[str, Any]:
    """Returns everything that decides the documents, but not where the files lie."""
    content: dict[str, Any] = {
        "source": {
            "format": settings.format,
            "files": [file.identity() for file in files],
        },
        "corpus": settings.corpus,
        "reader": READER,
    }
    if settings.format in ("plain", "jsonl"):
        content |= {"language": settings.language, "splitter": SPLITTER}
    if settings.format == "jsonl":
        content |= {"text_field": settings.text_field, "title_field": settings.title_field}
    return content


class ReadTexts(beam.DoFn):
    """(number, path) of a file -> documents for the sink; outcomes of all."""

    def __init__(self, settings: TextSettings, progress: str) -> None:
        super().__init__()
        self._settings = settings
        self._progress = progress

    def process(self, file: tuple[int, str]) -> Iterator[Any]:
        """Reads one file."""
        file_number, path = file
        settings = self._settings
        with open_file(path) as source:
            place = 0
            for document in read_documents(
                source,
                path=path,
                format=settings.format,
                language=settings.language,
                text_field=settings.text_field,
                title_field=settings.title_field,
            ):
                found(self._progress, read=source.tell() - place)
                place = source.tell()
                yield beam.pvalue.TaggedOutput("outcomes", (f"{NAME}/{IN}", 1, ""))
                yield from self._emit(document, path=path, file_number=file_number)
                tick(self._progress)

    def _emit(self, document: TextDocument, *, path: str, file_number: int) -> Iterator[Any]:
        if document.problem:
            letter = dead_letter(
                f"{NAME}/{DEAD}{document.problem}",
                reason=document.problem,
                file=path,
                number=document.number,
                detail=document.detail,
            )
            yield beam.pvalue.TaggedOutput("outcomes", letter)
        elif not document.text.sentences:
            yield beam.pvalue.TaggedOutput("outcomes", (f"{NAME}/empty", 1, ""))
        else:
            block, outcomes = document_block(
                corpus=self._settings.corpus,
                page=file_number << _FILE_BITS | document.number,
                title=document.title,
                document=document.text,
                num_shards=self._settings.num_shards,
            )
            yield block
            for outcome in outcomes:
                yield beam.pvalue.TaggedOutput("outcomes", outcome)


def _build(
    pipeline: beam.Pipeline, work: Work, *, settings: TextSettings, files: Sequence[InputFile]
) -> None:
    paths = [file.path for file in files]
    read = (
        pipeline
        | "Files" >> beam.Create(list(enumerate(paths)))
        | beam.Reshuffle()
        | "Read"
        >> beam.ParDo(ReadTexts(settings, work.progress)).with_outputs("outcomes", main="documents")
    )
    written = read.documents | "Write" >> WriteShards(work.targets, assemble_documents)
    (read.outcomes, written) | "Report" >> WriteReport(
        work.scratch, max_dead_letters=work.max_dead_letters
    )


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(TextSettings, argv, prog=PROG, description=DESCRIPTION)
    finished = _run(settings)
    print(summarise([finished], what="documents", dead_letters=dead_letters_path(settings.out)))


if __name__ == "__main__":
    run_module(PROG)
