"""Documents -> examples of any kind: `python -m beam_pipelines.examples`."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from beam_pipelines.command import run_module, summarise
from beam_pipelines.example_rows import Interval, MakeExamples, Making, assemble_examples
from beam_pipelines.job import Finished, Work, run_job
from beam_pipelines.options import LOWER_CASE, LowerCase, RunOptions
from beam_pipelines.outcomes import WriteReport
from beam_pipelines.sink import WriteShards
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.directory import JOB
from limbeck.records.manifest import Manifest
from limbeck.records.writer import DatasetWriter
from limbeck.tokens import load_tokenizer, save_tokenizer
from limbeck.tokens.counts import read_counts
from limbeck.tokens.tokenizer import Tokenizer
from prep.kinds.maker import chances_of, make_maker
from prep.kinds.settings import DocumentKind, ExampleSettings, MaskingName, SecondSegment
from prep.split import Split, SplitMap, heldout_mask

__all__ = ["ExamplesSettings", "examples", "main"]

PROG = "beam_pipelines.examples"
DESCRIPTION = (
    "Make examples of a documents dataset: OUT/train, OUT/heldout (by a hash of seed, corpus and "
    "page) and OUT/tokenizer. An option without effect on the kind asked for is refused. Run it "
    "again after an interruption and it goes on; run it after its end and it does nothing."
)

# Documents that one element carries: enough to keep Beam's cost an element small.
_EXTENT = 16
_CHAIN_EXTENT = 256  # where chains of documents go together: some begin in most extents
_COARSE = 1 << 14  # documents of an element that the driver makes
_KEYS_AT_ONCE = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExamplesSettings(RunOptions):
    """Options of the command."""

    documents: str
    """Directory of a documents dataset."""
    vocab: str
    """Tokenizer folder, or a WordPiece vocabulary file."""
    out: str
    """Directory for train/, heldout/ and tokenizer/."""
    kind: DocumentKind = "pairs"
    """pairs: masked sentence pairs with the next-sentence question (BERT); mlm: masked full
    sentences (RoBERTa); unmasked-pairs: without masks (MiniLM); clm: blocks of running text; lines:
    a row for each sentence of a document."""
    lower_case: LowerCase = "auto"
    """WordPiece: lower-case the text and strip accents. auto: as the folder says, yes for a lone
    vocab.txt."""
    max_seq_length: int = 128
    """Tokens of an example, special ones included."""
    max_predictions_per_seq: int = 20
    """Masked positions of an example, at most."""
    short_seq_prob: float = 0.1
    """Pairs: probability that a document gets a shorter target length."""
    masked_lm_prob: float = 0.15
    """Share of the tokens to mask."""
    dupe_factor: int = 10
    """Passes over each document, each with masks (and pairs) of its own."""
    masking: MaskingName = "token"
    """What is masked together: token, whole-word, ngram or span; weighted: tokens, rare ones more
    often; none: leaves lines unmasked."""
    interleaved: bool = False
    """Deal the tokens of a row out to the passes, so that each is masked in exactly one."""
    token_counts: str = ""
    """Weighted masking: token_counts.json of `beam_pipelines.token_counts`."""
    rare_exponent: float = 0.7
    """Weighted masking: a token weighs its count to the power of minus this."""
    within_documents: bool = False
    """mlm, clm, single sequences: never put two documents into one row."""
    second_segment: SecondSegment = "random"
    """unmasked-pairs: random: of another document in half of the rows; next: what follows; none:
    single sequences of full sentences."""
    drop_tails: bool = False
    """clm: leave out blocks shorter than max-seq-length, so that no row is padded."""
    seed: int = 12345
    """Seed of every random choice."""
    heldout_fraction: float = 0.01
    """Share of the documents to hold out; 0 holds none out and writes no OUT/heldout."""
    num_shards: int = 8
    """Number of shards of each split."""


def examples(settings: ExamplesSettings, *, bundle_repeat: int = 0) -> dict[Split, Manifest]:
    """Makes the examples of a documents dataset and returns the manifests by split.

    Raises:
      UsageError: an option, an input or the output directory cannot be used.
      LimbeckError: the documents turn out to be damaged.
    """
    finished = _run(settings, bundle_repeat=bundle_repeat)
    return {split: dataset.manifest for split, dataset in finished.items()}


def _run(settings: ExamplesSettings, *, bundle_repeat: int = 0) -> dict[Split, Finished]:
    with before_work():
        how = _example_settings(settings)
        tokenizer = load_tokenizer(settings.vocab, lower_case=LOWER_CASE[settings.lower_case])
        make_maker(how, tokenizer, partner=lambda row, value: [])  # refuses what it cannot make
        weights = _weights(settings, how, tokenizer)
        with open_dataset(settings.documents, kind="documents") as documents:
            split_map = _split_map(settings, documents)
            splits = _splits(settings, how, split_map)
            extra = {"token_counts": weights.counts_sha256} if weights else {}
            writers = [
                _writer(settings, split, documents, tokenizer, how, extra) for split in splits
            ]
        if os.path.exists(os.path.join(settings.out, JOB)):
            raise UsageError(f"{settings.out}: is a dataset itself; choose another --out")
        folder = os.path.join(settings.out, "tokenizer")
        save_tokenizer(tokenizer, folder)
    making = Making(
        documents=settings.documents,
        tokenizer=folder,
        vocab_size=tokenizer.vocab_size,
        splits=splits,
        split_map=split_map,
        num_shards=settings.num_shards,
        settings=how,
        chances=weights.chances if weights else None,
    )
    finished = run_job(
        lambda pipeline, work: _build(pipeline, work, making),
        writers=writers,
        what="documents",
        paths={"documents": settings.documents, "vocab": settings.vocab},
        total=split_map.num_documents,
        bundle_repeat=bundle_repeat,
        **settings.run_arguments(),
    )
    return dict(zip(splits, finished, strict=True))


def _example_settings(settings: ExamplesSettings) -> ExampleSettings:
    names = (field.name for field in dataclasses.fields(ExampleSettings))
    return ExampleSettings(**{name: getattr(settings, name) for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Weights:
    """For weighted masking."""

    chances: npt.NDArray[np.float64]
    """(V,) probability that each token is masked."""
    counts_sha256: str
    """Of the counts, for the manifest."""


def _weights(
    settings: ExamplesSettings, how: ExampleSettings, tokenizer: Tokenizer
) -> _Weights | None:
    """Reads the token counts, where the masks depend on them."""
    weighted = how.is_masked and how.masking == "weighted"
    if weighted and not settings.token_counts:
        raise UsageError(
            "--masking weighted needs --token-counts FILE; make it with beam_pipelines.token_counts"
        )
    if settings.token_counts and not weighted:
        raise UsageError(
            f"--token-counts has no effect with --kind {how.kind} --masking {how.masking}"
        )
    if not weighted:
        return None
    counts = read_counts(settings.token_counts, fingerprint=tokenizer.fingerprint())
    return _Weights(
        chances=chances_of(how, tokenizer, counts),
        counts_sha256=hashlib.sha256(counts.astype("<i8").tobytes()).hexdigest(),
    )


def _split_map(settings: ExamplesSettings, documents: Dataset) -> SplitMap:
    """Returns which documents are held out. Hashed once, here, and sent to the workers."""
    fraction = settings.heldout_fraction
    if not 0 <= fraction < 1:
        raise UsageError(f"heldout_fraction is {fraction}; it must be from 0 to below 1")
    heldout = np.zeros(documents.num_rows, bool)
    for begin in range(0, documents.num_rows if fraction else 0, _KEYS_AT_ONCE):
        rows = np.arange(begin, min(begin + _KEYS_AT_ONCE, documents.num_rows))
        heldout[rows] = heldout_mask(
            documents.keys(rows), seed=settings.seed, heldout_fraction=fraction
        )
    return SplitMap.of(heldout)


def _splits(
    settings: ExamplesSettings, how: ExampleSettings, split_map: SplitMap
) -> tuple[Split, ...]:
    """Returns the splits to write, after checking that each has the documents it needs."""
    fraction = settings.heldout_fraction
    splits: tuple[Split, ...] = ("train", "heldout") if fraction else ("train",)
    needed = 2 if how.needs_partners else 1
    why = "a random next sentence needs 2" if how.needs_partners else "it needs 1"
    for split in splits:
        found = len(split_map.rows(split))
        if found < needed:
            raise UsageError(
                f"{settings.documents}: {found} of {split_map.num_documents} documents fall into "
                f"the {split} split and {why}; change --heldout-fraction (now {fraction}; 0 holds "
                "none out) or take more documents"
            )
    return splits


def _writer(
    settings: ExamplesSettings,
    split: Split,
    documents: Dataset,
    tokenizer: Tokenizer,
    how: ExampleSettings,
    extra: dict[str, Any],
) -> DatasetWriter:
    if settings.num_shards < 1:
        raise UsageError(f"num_shards is {settings.num_shards}; it must be at least 1")
    return DatasetWriter(
        os.path.join(settings.out, split),
        name=split,
        kind="examples",
        layout=how.layout(tokenizer.vocab_size),
        num_shards=settings.num_shards,
        settings={
            **how.content(),
            **extra,
            "heldout_fraction": settings.heldout_fraction,
            "split": split,
        },
        parents={"documents": documents.id},
        tokenizer=tokenizer.info(),
        seed=how.seed,
    )


def _build(pipeline: beam.Pipeline, work: Work, making: Making) -> None:
    extent = _CHAIN_EXTENT if making.settings.crosses_documents else _EXTENT
    made = (
        pipeline
        | "Splits" >> beam.Create(list(_intervals(making)))
        | "Cut" >> beam.FlatMap(_cut, size=extent)
        | beam.Reshuffle()
        | "Make"
        >> beam.ParDo(MakeExamples(making, work.progress)).with_outputs("outcomes", main="examples")
    )
    assemble = functools.partial(
        assemble_examples, dtype=making.row_dtype, vocab_size=making.vocab_size
    )
    written = made.examples | "Write" >> WriteShards(work.targets, assemble)
    (made.outcomes, written) | "Report" >> WriteReport(
        work.scratch, max_dead_letters=work.max_dead_letters
    )


def _intervals(making: Making) -> Iterator[Interval]:
    """Yields coarse intervals: the graph of a pipeline cannot hold an element for every 16."""
    for number, split in enumerate(making.splits):
        yield from _cut((number, 0, len(making.split_map.rows(split))), size=_COARSE)


def _cut(interval: Interval, *, size: int) -> Iterator[Interval]:
    number, begin, end = interval
    for first in range(begin, end, size):
        yield number, first, min(first + size, end)


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(ExamplesSettings, argv, prog=PROG, description=DESCRIPTION)
    finished = _run(settings)
    print(summarise(list(finished.values()), what="documents"))


if __name__ == "__main__":
    run_module(PROG)
