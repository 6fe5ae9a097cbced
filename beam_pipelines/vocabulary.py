"""Trains a vocabulary on a sample of a documents dataset: `python -m beam_pipelines.vocabulary`."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from beam_pipelines.command import run_module
from beam_pipelines.progress import Progress
from beam_pipelines.reading import ReadSentences, groups_of_rows
from beam_pipelines.runner import check_runner, run_pipeline
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.files import (
    atomic_write,
    final_name,
    fsync_directory,
    is_temporary,
    temporary_name,
)
from limbeck.tokens import load_tokenizer, save_tokenizer
from limbeck.tokens.configuration import read_json
from prep.seeds import hashes_below, keyed_hashes
from prep.vocabulary import (
    VocabularyKind,
    VocabularySettings,
    train_vocabulary,
    training_lines,
)

__all__ = ["MADE_NAME", "VocabularyCommand", "main", "vocabulary"]

PROG = "beam_pipelines.vocabulary"
DESCRIPTION = (
    "Train a vocabulary on a hash sample of a documents dataset; OUT becomes a tokenizer folder "
    "for --vocab of the other commands. The same documents and options give the same bytes. Run "
    "it after its end and it does nothing."
)

MADE_NAME = "vocabulary.json"
"""The file of a trained folder that says how it was made."""

_RECIPE = "hash-sample-1"  # name of the way lines are chosen and sorted; raise it with any change
_NUM_BUCKETS = 64
_KEYS_AT_ONCE = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyCommand:
    """Options of the command."""

    documents: str
    """Directory of a documents dataset."""
    out: str
    """Tokenizer folder to make."""
    kind: VocabularyKind = "wordpiece"
    """wordpiece, unigram or bpe (SentencePiece), or byte-bpe."""
    vocab_size: int = 30522
    """Number of tokens, special ones included."""
    lower_case: bool = True
    """Lower-case the text; byte-bpe never does."""
    character_coverage: float = 0.9995
    """Share of the text's characters that get a token of their own; not for byte-bpe."""
    min_frequency: int = 2
    """A pair is merged only if it occurs this often; not for unigram and bpe."""
    sample_megabytes: float = 100.0
    """Train on about this much text: whole documents, chosen by a hash of seed and key."""
    seed: int = 12345
    """Seed of the choice."""
    workers: int = 1
    """Worker processes that read the sample. The output does not depend on it."""


def vocabulary(settings: VocabularyCommand) -> dict[str, Any]:
    """Trains a vocabulary and returns what `vocabulary.json` says.

    Raises:
      UsageError: an option, an input or the output folder cannot be used.
      LimbeckError: the documents are damaged, or too few for so large a vocabulary.
    """
    with before_work():
        check_runner("local", workers=settings.workers, beam_options=())
        if settings.sample_megabytes <= 0:
            raise UsageError(f"sample_megabytes is {settings.sample_megabytes}; it must be above 0")
        what = VocabularySettings(
            kind=settings.kind,
            vocab_size=settings.vocab_size,
            lower_case=settings.lower_case,
            character_coverage=settings.character_coverage,
            min_frequency=settings.min_frequency,
        )
        with open_dataset(settings.documents, kind="documents") as documents:
            rows = _sample(documents, settings)
            asked = _asked(settings, documents.id)
        if (made := _made_before(settings.out, asked)) is not None:
            return made
        _remove_leftovers(settings.out)
        staging = _staging(settings.out)
    try:
        made = _train(settings, what, rows, staging, asked)
        _publish(staging, settings.out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return made


def _asked(settings: VocabularyCommand, documents: str) -> dict[str, Any]:
    """Returns what the result depends on."""
    options = dataclasses.asdict(settings)
    for name in ("documents", "out", "workers"):
        del options[name]
    trainer = "tokenizers" if settings.kind in ("wordpiece", "byte-bpe") else "sentencepiece"
    return {
        "documents": documents,
        "recipe": _RECIPE,
        "settings": options,
        "trainer": f"{trainer} {importlib.metadata.version(trainer)}",
    }


def _sample(documents: Dataset, settings: VocabularyCommand) -> npt.NDArray[np.int64]:
    """Returns the rows of the sample, ascending: each document by a hash of its own."""
    share = settings.sample_megabytes * 1e6 / max(documents.content.totals["bytes"], 1)
    chosen = [np.zeros(0, bool)]
    for begin in range(0, documents.num_rows, _KEYS_AT_ONCE):
        keys = documents.keys(np.arange(begin, min(begin + _KEYS_AT_ONCE, documents.num_rows)))
        hashes = keyed_hashes(seed=settings.seed, keys=keys, stage="vocabulary")
        chosen.append(hashes_below(hashes, share))
    return np.flatnonzero(np.concatenate(chosen))


def _made_before(out: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Returns what a finished folder says; None where there is nothing yet."""
    path = os.path.join(out, MADE_NAME)
    if not os.path.exists(path):
        if os.path.isdir(out) and (there := sorted(os.listdir(out))):
            raise UsageError(f"{out}: holds {there[0]}, which is not of this command")
        return None
    made = read_json(path)
    before = {name: made.get(name) for name in asked}
    if before != asked:
        differing = ", ".join(_differences(before, asked))
        raise UsageError(f"{out}: made of other input: {differing}; choose another --out")
    load_tokenizer(out)  # its own checks say whether a file was changed since
    return made


def _differences(before: dict[str, Any], asked: dict[str, Any]) -> Iterator[str]:
    for name, value in asked.items():
        there = before[name]
        if isinstance(value, dict) and isinstance(there, dict):
            yield from _differences({key: there.get(key) for key in value}, value)
        elif there != value:
            yield f"{name} {there!r} there, {value!r} asked for"


def _staging(out: str) -> str:
    parent, name = os.path.split(os.path.abspath(out))
    os.makedirs(parent, exist_ok=True)
    staging = os.path.join(parent, temporary_name(name))
    os.mkdir(staging)
    return staging


def _remove_leftovers(out: str) -> None:
    """Removes what a killed run for the same folder has left beside it."""
    parent, name = os.path.split(os.path.abspath(out))
    for entry in os.listdir(parent) if os.path.isdir(parent) else []:
        if is_temporary(entry) and final_name(entry) == name:
            shutil.rmtree(os.path.join(parent, entry))


def _train(
    settings: VocabularyCommand,
    what: VocabularySettings,
    rows: npt.NDArray[np.int64],
    staging: str,
    asked: dict[str, Any],
) -> dict[str, Any]:
    """Trains in the staging folder; leaves there what the folder shall hold."""
    work = os.path.join(staging, "work")
    os.mkdir(work)
    _collect(settings, rows, work)
    lines = list(_lines(work))
    tokenizer = train_vocabulary(lines, settings=what, directory=work)
    save_tokenizer(tokenizer, staging)
    made = {
        **asked,
        "sample": {
            "documents": len(rows),
            "lines": len(lines),
            "bytes": sum(len(line.encode()) for line in lines),
        },
        "tokenizer": tokenizer.info(),
    }
    text = json.dumps(made, indent=2, sort_keys=True) + "\n"
    atomic_write(os.path.join(staging, MADE_NAME), text.encode())
    shutil.rmtree(work)
    return made


def _collect(settings: VocabularyCommand, rows: npt.NDArray[np.int64], work: str) -> None:
    """Writes the lines of the sample into files of the work directory, sorted."""
    with Progress(work, what="documents", total=len(rows)):

        def build(pipeline: beam.Pipeline) -> None:
            (
                pipeline
                | beam.Create(groups_of_rows(rows))
                | beam.Reshuffle()
                | beam.ParDo(ReadSentences(settings.documents, work))
                | beam.FlatMap(_by_bucket)
                | beam.GroupByKey()
                | beam.Map(_write_bucket, directory=work)
            )

        run_pipeline(build, workers=settings.workers)


def _line_hash(line: str) -> bytes:
    return hashlib.blake2b(line.encode(), digest_size=8).digest()


def _by_bucket(sentences: Iterable[str]) -> list[tuple[int, list[str]]]:
    """Returns the lines of a document by bucket: equal lines meet in one."""
    buckets: dict[int, list[str]] = {}
    for sentence in sentences:
        for line in training_lines(sentence):
            buckets.setdefault(_line_hash(line)[0] % _NUM_BUCKETS, []).append(line)
    return list(buckets.items())


def _write_bucket(group: tuple[int, Iterable[list[str]]], *, directory: str) -> None:
    bucket, parts = group
    lines = sorted((line for part in parts for line in part), key=lambda x: (_line_hash(x), x))
    data = "".join(f"{line}\n" for line in lines).encode()
    atomic_write(os.path.join(directory, _bucket_name(bucket)), data)


def _bucket_name(bucket: int) -> str:
    return f"lines-{bucket:03}.txt"


def _lines(work: str) -> Iterator[str]:
    """Yields the lines of the sample in the order of their hashes, bucket by bucket."""
    for bucket in range(_NUM_BUCKETS):
        path = os.path.join(work, _bucket_name(bucket))
        if os.path.exists(path):
            with open(path, "rb") as file:
                yield from file.read().decode().split("\n")[:-1]


def _publish(staging: str, out: str) -> None:
    fsync_directory(staging)
    os.replace(staging, out)  # an empty folder of that name gives way
    fsync_directory(os.path.dirname(os.path.abspath(out)))


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(VocabularyCommand, argv, prog=PROG, description=DESCRIPTION)
    made = vocabulary(settings)
    sample, tokenizer = made["sample"], made["tokenizer"]
    print(
        f"{settings.out}: {tokenizer['vocab_size']:,} tokens ({settings.kind}) from "
        f"{sample['bytes'] / 1e6:.1f} MB, {sample['lines']:,} lines of {sample['documents']:,} "
        f"documents; fingerprint {tokenizer['fingerprint'][:12]}"
    )


if __name__ == "__main__":
    run_module(PROG)
