"""Imports foreign records: OUT/examples, and OUT/labels/sparse where they carry labels.

A record's key is (SHA-256 of its file, its number in it), so a file gets the same keys wherever it
lies.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tyro

from limbeck.config.command import before_work
from limbeck.interop.bert import bert_schema, to_examples
from limbeck.interop.features import Chunk, stack
from limbeck.interop.filling import Columns, Convert, fill
from limbeck.interop.first_seed import FIRST_SEED, to_labels
from limbeck.interop.plan import Plan, make_plan
from limbeck.labels.signals import SparseSignal, to_dict
from limbeck.records.canonical import sha256_of
from limbeck.records.manifest import Manifest
from limbeck.records.writer import DatasetWriter
from limbeck.tokens import Tokenizer, load_tokenizer, save_tokenizer

__all__ = ["ImportSettings", "import_records"]

FAMILY = "sparse"


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What to import, as what, and where to."""

    files: tyro.conf.Positional[tuple[str, ...]]
    """TFRecord files, uncompressed."""

    schema: Literal["bert", "first-seed"]
    """bert: pre-training records. first-seed: those, with a teacher's top probabilities."""

    out: str
    """Directory for examples/ and, with labels, labels/sparse/."""

    vocab: str | None = None
    """Vocabulary file or tokenizer folder that made the ids; its fingerprint goes on record."""

    cased: bool = False
    """The tokenizer keeps capitals; only with a vocabulary."""

    vocab_size: int | None = None
    """Number of ids, where there is no vocabulary to name."""

    teacher: str = "unknown"
    """Who labelled the records, in words; first-seed only."""

    next_sentence: bool = True
    """Whether the records carry next_sentence_labels."""

    shards: int = 0
    """Number of shards; 0 chooses by size."""

    def __post_init__(self) -> None:
        """Refuses options that contradict each other or would be ignored."""
        if not self.out:
            raise ValueError("--out is empty; name a directory")
        if (self.vocab is None) == (self.vocab_size is None):
            raise ValueError("give one of --vocab and --vocab-size")
        if self.cased and self.vocab is None:
            raise ValueError("--cased has no effect without --vocab")
        if self.vocab_size is not None and not 1 <= self.vocab_size <= 1 << 32:
            raise ValueError(f"--vocab-size is {self.vocab_size}; it must be in [1, 2^32]")
        if self.shards < 0:
            raise ValueError(f"--shards is {self.shards}; it must be at least 0")
        if self.schema == "bert" and self.teacher != "unknown":
            raise ValueError("--teacher has no effect on schema bert, which has no labels")
        if self.schema == "first-seed" and not self.next_sentence:
            raise ValueError("records of schema first-seed always have next_sentence_labels")


def import_records(settings: ImportSettings) -> dict[str, Manifest]:
    """Imports the files; what is finished already is left alone.

    Returns:
      `examples`, and `labels` with the first seed's schema, each with its manifest.

    Raises:
      UsageError: nothing was written: unreadable files, another schema, an --out in other use.
      LimbeckError: a record is damaged or impossible; finished shards stay.
    """
    with before_work():
        tokenizer = _tokenizer(settings)
        labelled = settings.schema == "first-seed"
        plan = make_plan(
            settings.files,
            schema=FIRST_SEED if labelled else bert_schema(next_sentence=settings.next_sentence),
            vocab_size=tokenizer.vocab_size if tokenizer else settings.vocab_size or 0,
            shards=settings.shards,
        )
        writer = _examples_writer(settings, plan, tokenizer)
        writer.open()
        if tokenizer is not None:
            save_tokenizer(tokenizer, Path(settings.out) / "tokenizer")
    examples = fill(writer, plan, _to_examples(plan), labelled_field="num_masked")
    if (signal := plan.signal) is None:
        return {"examples": examples}
    writer = _labels_writer(settings, plan, signal, examples)
    writer.open()
    labels = fill(writer, plan, _to_labels(plan), labelled_field="num_positions")
    return {"examples": examples, "labels": labels}


def _tokenizer(settings: ImportSettings) -> Tokenizer | None:
    if settings.vocab is None:
        return None
    # None leaves the choice to a tokenizer folder's own setting.
    return load_tokenizer(settings.vocab, lower_case=False if settings.cased else None)


def _examples_writer(
    settings: ImportSettings, plan: Plan, tokenizer: Tokenizer | None
) -> DatasetWriter:
    return DatasetWriter(
        str(Path(settings.out) / "examples"),
        name="examples",
        kind="examples",
        layout=plan.examples_layout,
        num_shards=plan.num_shards,
        settings=plan.settings,
        tokenizer=tokenizer.info() if tokenizer else None,
    )


def _labels_writer(
    settings: ImportSettings, plan: Plan, signal: SparseSignal, examples: Manifest
) -> DatasetWriter:
    return DatasetWriter(
        str(Path(settings.out) / "labels" / FAMILY),
        name=FAMILY,
        kind="labels",
        layout=plan.labels_layout(signal),
        num_shards=plan.num_shards,
        settings={**plan.settings, "signal": to_dict(signal)},
        parents={"examples": examples.id},
        tokenizer=examples.content.tokenizer,
        teacher={
            "kind": "imported",
            "name": settings.teacher,
            # Of a teacher that is not at hand, all there is to know it by are its answers.
            "fingerprint": sha256_of({"imported": [s.sha256 for s in plan.sources]}),
            "vocab_size": plan.vocab_size,
        },
    )


def _to_examples(plan: Plan) -> Convert:
    def convert(chunk: Chunk, keys: npt.NDArray[np.uint8]) -> tuple[Columns, npt.NDArray[Any]]:
        record = stack(chunk, plan.schema, plan.lengths)
        rows = to_examples(record, keys=keys, vocab_size=plan.vocab_size, where=chunk.where)
        return rows.columns, rows.columns["num_tokens"]

    return convert


def _to_labels(plan: Plan) -> Convert:
    def convert(chunk: Chunk, keys: npt.NDArray[np.uint8]) -> tuple[Columns, npt.NDArray[Any]]:
        record = stack(chunk, plan.schema, plan.lengths)
        rows = to_examples(record, keys=keys, vocab_size=plan.vocab_size, where=chunk.where)
        labels = to_labels(record, rows, vocab_size=plan.vocab_size, where=chunk.where)
        return labels, rows.columns["num_tokens"]

    return convert
