"""Documents -> masked sentence pairs: `python -m beam_pipelines.examples`."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from beam_pipelines.command import run_module, summarise
from beam_pipelines.job import Finished, Work, run_job
from beam_pipelines.outcomes import WriteReport
from beam_pipelines.pairing import PairDocuments, Pairing, assemble_examples, split_rows
from beam_pipelines.sink import WriteShards
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.directory import JOB
from limbeck.records.manifest import Manifest
from limbeck.records.writer import DatasetWriter
from limbeck.tokens import WordPiece, load_tokenizer, save_tokenizer
from prep.examples import ExampleSettings
from prep.split import Split

__all__ = ["ExamplesSettings", "examples", "main"]

PROG = "beam_pipelines.examples"
DESCRIPTION = (
    "Make masked sentence-pair examples of a documents dataset: OUT/train, OUT/heldout (by a hash "
    "of seed, corpus and page) and OUT/tokenizer. Run it again after an interruption and it goes "
    "on; run it after its end and it does nothing."
)

_RECIPE = "bert-pairs-1"  # name of the way pairs and masks are made; raise it with any change

# Rows of documents that one element carries: enough to keep Beam's cost an element small.
_EXTENT = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExamplesSettings:
    """Options of the command."""

    documents: str
    """Directory of a documents dataset."""
    vocab: str
    """WordPiece vocabulary file, or a folder that holds vocab.txt."""
    out: str
    """Directory for train/, heldout/ and tokenizer/."""
    lower_case: bool = True
    """Lower-case the text and strip accents, as uncased models want it."""
    max_seq_length: int = 128
    """Tokens of an example, [CLS] and both [SEP] included."""
    max_predictions_per_seq: int = 20
    """Masked positions of an example, at most."""
    short_seq_prob: float = 0.1
    """Probability that a document gets a shorter target length."""
    masked_lm_prob: float = 0.15
    """Share of the tokens to mask."""
    dupe_factor: int = 10
    """Passes over each document, each with pairs and masks of its own."""
    seed: int = 12345
    """Seed of every random choice."""
    heldout_fraction: float = 0.01
    """Share of the documents to hold out; 0 holds none out and writes no OUT/heldout."""
    num_shards: int = 8
    """Number of shards of each split. A shard is sorted in memory."""
    workers: int = 1
    """Worker processes. The output does not depend on it."""


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
        tokenizer = load_tokenizer(settings.vocab, lower_case=settings.lower_case)
        with open_dataset(settings.documents, kind="documents") as documents:
            splits = _splits(settings, documents)
            writers = [_writer(settings, split, documents, tokenizer, how) for split in splits]
            num_documents = documents.num_rows
        if os.path.exists(os.path.join(settings.out, JOB)):
            raise UsageError(f"{settings.out}: is a dataset itself; choose another --out")
        folder = os.path.join(settings.out, "tokenizer")
        save_tokenizer(tokenizer, folder)
    pairing = Pairing(
        documents=settings.documents,
        tokenizer=folder,
        vocab_size=tokenizer.vocab_size,
        heldout_fraction=settings.heldout_fraction,
        splits=splits,
        num_shards=settings.num_shards,
        settings=how,
    )
    finished = run_job(
        lambda pipeline, work: _build(pipeline, work, pairing, num_documents=num_documents),
        writers=writers,
        what="documents",
        paths={"documents": settings.documents, "vocab": settings.vocab},
        workers=settings.workers,
        total=num_documents,
        bundle_repeat=bundle_repeat,
    )
    return dict(zip(splits, finished, strict=True))


def _example_settings(settings: ExamplesSettings) -> ExampleSettings:
    names = (field.name for field in dataclasses.fields(ExampleSettings))
    return ExampleSettings(**{name: getattr(settings, name) for name in names})


def _splits(settings: ExamplesSettings, documents: Dataset) -> tuple[Split, ...]:
    """Returns the splits to write, after checking that each has partners for random nexts."""
    fraction = settings.heldout_fraction
    if not 0 <= fraction < 1:
        raise UsageError(f"heldout_fraction is {fraction}; it must be from 0 to below 1")
    rows = split_rows(documents, seed=settings.seed, heldout_fraction=fraction)
    splits: tuple[Split, ...] = ("train", "heldout") if fraction else ("train",)
    for split in splits:
        if len(rows[split]) < 2:
            raise UsageError(
                f"{settings.documents}: {len(rows[split])} of {documents.num_rows} documents fall "
                f"into the {split} split and a random next sentence needs 2; change "
                f"--heldout-fraction (now {fraction}; 0 holds none out) or take more documents"
            )
    return splits


def _writer(
    settings: ExamplesSettings,
    split: Split,
    documents: Dataset,
    tokenizer: WordPiece,
    how: ExampleSettings,
) -> DatasetWriter:
    if settings.num_shards < 1:
        raise UsageError(f"num_shards is {settings.num_shards}; it must be at least 1")
    content: dict[str, Any] = dataclasses.asdict(how)
    del content["seed"]  # stands beside the settings
    return DatasetWriter(
        os.path.join(settings.out, split),
        name=split,
        kind="examples",
        layout=how.layout(tokenizer.vocab_size),
        num_shards=settings.num_shards,
        settings={
            **content,
            "heldout_fraction": settings.heldout_fraction,
            "recipe": _RECIPE,
            "split": split,
        },
        parents={"documents": documents.id},
        tokenizer=tokenizer.info(),
        seed=how.seed,
    )


def _build(pipeline: beam.Pipeline, work: Work, pairing: Pairing, *, num_documents: int) -> None:
    extents = [
        (begin, min(begin + _EXTENT, num_documents)) for begin in range(0, num_documents, _EXTENT)
    ]
    paired = (
        pipeline
        | "Rows" >> beam.Create(extents)
        | beam.Reshuffle()
        | "Pair"
        >> beam.ParDo(PairDocuments(pairing, work.progress)).with_outputs(
            "outcomes", main="examples"
        )
    )
    assemble = functools.partial(
        assemble_examples, dtype=pairing.row_dtype, vocab_size=pairing.vocab_size
    )
    written = paired.examples | "Write" >> WriteShards(work.targets, assemble)
    (paired.outcomes, written) | "Report" >> WriteReport(work.scratch)


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(ExamplesSettings, argv, prog=PROG, description=DESCRIPTION)
    finished = _run(settings)
    print(summarise(list(finished.values()), what="documents"))


if __name__ == "__main__":
    run_module(PROG)
