"""Counts of every token id in a documents dataset: `python -m beam_pipelines.token_counts`."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from beam_pipelines.command import run_module
from beam_pipelines.options import LOWER_CASE, LowerCase, RunOptions
from beam_pipelines.progress import Progress
from beam_pipelines.reading import ReadSentences, groups_of_rows
from beam_pipelines.runner import check_runner, run_pipeline
from beam_pipelines.scratch import open_scratch
from beam_pipelines.storage import is_remote, join, read_bytes, write_bytes
from limbeck.config.command import before_work, parse
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.dataset import open_dataset
from limbeck.records.directory import JOB
from limbeck.records.files import remove_leftovers
from limbeck.tokens import Tokenizer, load_tokenizer
from limbeck.tokens.counts import read_counts_file
from prep.counts import COUNTS_NAME, count_tokens, write_counts

__all__ = ["TokenCountsSettings", "main", "token_counts"]

PROG = "beam_pipelines.token_counts"
DESCRIPTION = (
    "Count how often each token id occurs in a documents dataset; writes OUT/token_counts.json, "
    "for masking that favours rare tokens. Run it after its end and it does nothing."
)

_SUM = "sum.bin"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenCountsSettings(RunOptions):
    """Options of the command."""

    documents: str
    """Directory of a documents dataset."""
    vocab: str
    """Tokenizer folder, or a lone vocabulary file: the one that the examples are made with."""
    out: str
    """Directory for token_counts.json."""
    lower_case: LowerCase = "auto"
    """WordPiece: lower-case the text and strip accents. auto: as the folder says, yes for a lone
    vocab.txt."""


def token_counts(settings: TokenCountsSettings) -> str:
    """Counts the tokens and returns the path of the file.

    Raises:
      UsageError: an option, an input or the output directory cannot be used.
      LimbeckError: the documents turn out to be damaged.
    """
    with before_work():
        check_runner(settings.runner, workers=settings.workers, beam_options=settings.beam_options)
        if is_remote(settings.out):
            raise UsageError(f"{settings.out}: the counts are written to a local directory")
        tokenizer = load_tokenizer(settings.vocab, lower_case=LOWER_CASE[settings.lower_case])
        with open_dataset(settings.documents, kind="documents") as documents:
            num_documents = documents.num_rows
            source = {"documents": documents.id, "rows": num_documents}
        path = os.path.join(settings.out, COUNTS_NAME)
        if os.path.exists(path):
            _check_same(path, tokenizer, source)
            return path
        os.makedirs(settings.out, exist_ok=True)
        remove_leftovers(settings.out, {JOB, COUNTS_NAME})
    counts = _count(settings, tokenizer, num_documents=num_documents)
    write_counts(path, counts, tokenizer=tokenizer.info(), source=source)
    return path


def _check_same(path: str, tokenizer: Tokenizer, source: dict[str, Any]) -> None:
    there = read_counts_file(path)
    for name, other, ours in (
        ("tokenizer", there["tokenizer"]["fingerprint"], tokenizer.fingerprint()),
        ("documents dataset", there["source"].get("documents"), source["documents"]),
    ):
        if other != ours:
            raise UsageError(
                f"{path}: counts of another {name} ({str(other)[:12]}, not {ours[:12]}); choose "
                "another --out or delete it"
            )


def _count(
    settings: TokenCountsSettings, tokenizer: Tokenizer, *, num_documents: int
) -> npt.NDArray[np.int64]:
    with open_scratch(settings.out, runner=settings.runner) as scratch:

        def build(pipeline: beam.Pipeline) -> None:
            (
                pipeline
                | beam.Create(groups_of_rows(np.arange(num_documents)))
                | beam.Reshuffle()
                | beam.ParDo(ReadSentences(settings.documents, scratch.watched))
                | beam.ParDo(_Encode(settings.vocab, LOWER_CASE[settings.lower_case]))
                | beam.CombineGlobally(_Sum(tokenizer.vocab_size))
                | beam.Map(_write, directory=scratch.report)
            )

        with Progress(scratch.watched, what="documents", total=num_documents):
            run_pipeline(
                build,
                workers=settings.workers,
                runner=settings.runner,
                beam_options=settings.beam_options,
            )
        counts = np.frombuffer(read_bytes(join(scratch.report, _SUM)), "<i8").astype(np.int64)
    if len(counts) != tokenizer.vocab_size:
        raise LimbeckError(f"{settings.out}: the counts came back broken; run it again")
    return counts


class _Encode(beam.DoFn):
    """Sentences of a document -> ids."""

    def __init__(self, vocab: str, lower_case: bool | None) -> None:
        super().__init__()
        self._vocab = vocab
        self._lower_case = lower_case

    def setup(self) -> None:
        self._tokenizer = load_tokenizer(self._vocab, lower_case=self._lower_case)

    def process(self, sentences: Sequence[str]) -> Iterator[list[list[int]]]:
        yield self._tokenizer.encode(sentences)


class _Sum(beam.CombineFn):
    """Adds counts up; an input is the ids of one document."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self._vocab_size = vocab_size

    def create_accumulator(self) -> npt.NDArray[np.int64]:
        return np.zeros(self._vocab_size, np.int64)

    def add_input(
        self, accumulator: npt.NDArray[np.int64], element: Sequence[Sequence[int]]
    ) -> npt.NDArray[np.int64]:
        found = count_tokens(element)
        accumulator[: len(found)] += found
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[npt.NDArray[np.int64]]
    ) -> npt.NDArray[np.int64]:
        total = self.create_accumulator()
        for counts in accumulators:
            total += counts
        return total

    def extract_output(self, accumulator: npt.NDArray[np.int64]) -> bytes:
        return accumulator.astype("<i8").tobytes()


def _write(data: bytes, *, directory: str) -> None:
    write_bytes(join(directory, _SUM), data)


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(TokenCountsSettings, argv, prog=PROG, description=DESCRIPTION)
    path = token_counts(settings)
    value = read_counts_file(path)
    used = sum(count > 0 for count in value["counts"])
    print(
        f"{path}: {value['total']:,} tokens of {value['source']['rows']:,} documents; "
        f"{used:,} of {len(value['counts']):,} ids occur"
    )


if __name__ == "__main__":
    run_module(PROG)
