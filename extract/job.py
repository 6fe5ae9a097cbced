"""What an extraction will do, settled and checked before it does anything."""

# S token slots of an example, P prediction slots

import os
import shutil
from dataclasses import dataclass
from typing import Any

from extract.settings import ExtractSettings
from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, Signal, SparseSignal, to_dict
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.directory import JOB
from limbeck.records.job import unseal
from limbeck.records.manifest import Manifest
from limbeck.records.rows import FixedRows
from limbeck.records.shard import ShardSummary
from limbeck.records.writer import DatasetWriter
from limbeck.teachers import Teacher, load_teacher
from limbeck.tokens import load_tokenizer

__all__ = ["Family", "Job", "prepare", "refuse_without_space"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One label family of the run."""

    name: str
    """As the recipe calls it; its directory below OUT."""
    signal: Signal
    """What it holds."""
    writer: DatasetWriter
    """Writes its directory."""
    done: dict[int, ShardSummary]
    """Shards that are finished already."""
    manifest: Manifest | None
    """Set when the family is complete: nothing is left to do."""

    @property
    def record_bytes(self) -> int:
        """Bytes of one record on disk."""
        return FixedRows(self.writer.layout).stride


@dataclass(frozen=True, kw_only=True)
class Job:
    """Checked inputs and outputs of an extraction."""

    examples: Dataset
    """What is labelled."""
    teacher: Teacher
    """What labels."""
    families: dict[str, Family]
    """By name, in the recipe's order."""
    max_length: int
    """Longest padded length the teacher is given."""

    @property
    def active(self) -> dict[str, Family]:
        """Families that are not complete.

        All of them are computed for every shard that one of them lacks, so that the graph a result
        comes from does not depend on when an earlier run was killed.
        """
        return {name: f for name, f in self.families.items() if f.manifest is None}

    @property
    def pending(self) -> list[int]:
        """Shards that some active family lacks."""
        shards = range(len(self.examples.content.shards))
        return [i for i in shards if any(i not in f.done for f in self.active.values())]


def prepare(settings: ExtractSettings, *, teacher: Teacher | None = None) -> Job:
    """Opens everything, refuses what cannot work, and takes the output directories.

    Args:
      settings: recipe and directories.
      teacher: already loaded from `settings.teacher`; None loads it.

    Raises:
      LimbeckError: damaged inputs, inputs that do not fit each other, or an output directory that
        holds something else.
    """
    examples = open_dataset(settings.examples, kind="examples")
    teacher = teacher or load_teacher(settings.teacher)
    _check_tokenizer(settings, examples, teacher)
    longest = int(examples.lengths().max(initial=0))
    if longest > teacher.max_positions:
        raise UsageError(
            f"{settings.examples} has sequences of up to {longest} tokens, but the teacher "
            f"{settings.teacher} has {teacher.max_positions} positions; prepare shorter examples"
        )
    for name, signal in settings.families.items():
        _check_signal(name, signal, teacher)
    described = _describe_teacher(teacher)
    _check_siblings(settings.out, teacher=described, examples_id=examples.id)
    writers = {
        name: _writer(settings, name, signal, examples, described)
        for name, signal in settings.families.items()
    }
    _check_space(settings.out, examples, writers)
    return Job(
        examples=examples,
        teacher=teacher,
        families={
            name: _open(name, settings.families[name], writer) for name, writer in writers.items()
        },
        max_length=min(examples.layout.field("ids").shape[0] or 0, teacher.max_positions),
    )


def _open(name: str, signal: Signal, writer: DatasetWriter) -> Family:
    writer.open()
    manifest = writer.finished()
    done = writer.done_shards() if manifest is None else {}
    return Family(name=name, signal=signal, writer=writer, done=done, manifest=manifest)


def _writer(
    settings: ExtractSettings,
    name: str,
    signal: Signal,
    examples: Dataset,
    teacher: dict[str, Any],
) -> DatasetWriter:
    layout = signal.layout(
        seq_length=examples.layout.field("ids").shape[0] or 0,
        max_predictions=examples.layout.field("mask_positions").shape[0] or 0,
        vocab_size=teacher["vocab_size"],
        hidden_dim=teacher["hidden_dim"],
    )
    return DatasetWriter(
        os.path.join(settings.out, name),
        name=name,
        kind="labels",
        layout=layout,
        num_shards=len(examples.content.shards),
        settings={"signal": to_dict(signal), **settings.content_settings},
        parents={"examples": examples.id},
        tokenizer=examples.content.tokenizer,
        teacher=teacher,
    )


def _describe_teacher(teacher: Teacher) -> dict[str, Any]:
    return {
        "fingerprint": teacher.fingerprint,
        "vocab_size": teacher.vocab_size,
        "hidden_dim": teacher.architecture.hidden_dim,
        "num_layers": teacher.architecture.num_layers,
    }


def _check_tokenizer(settings: ExtractSettings, examples: Dataset, teacher: Teacher) -> None:
    """The ids of the examples must mean to the teacher what they meant to the tokenizer."""
    tokenizer = examples.content.tokenizer
    if tokenizer is None:  # imported records: nothing is known but the ids, checked row by row
        return
    if tokenizer["vocab_size"] != teacher.vocab_size:
        raise UsageError(
            f"{settings.examples} was tokenized with {tokenizer['vocab_size']} ids, but the "
            f"vocabulary of the teacher {settings.teacher} has {teacher.vocab_size}; prepare the "
            "examples with the teacher's tokenizer"
        )
    if not os.path.exists(os.path.join(settings.teacher, "vocab.txt")):
        return
    theirs = load_tokenizer(settings.teacher).fingerprint()
    if tokenizer["fingerprint"] != theirs:
        raise UsageError(
            f"{settings.examples} is of tokenizer {tokenizer['fingerprint'][:12]}, but "
            f"the vocabulary in {settings.teacher} is {theirs[:12]}: equal ids would mean other "
            "words; prepare the examples with the teacher's tokenizer"
        )


def _check_signal(name: str, signal: Signal, teacher: Teacher) -> None:
    num_layers = teacher.architecture.num_layers
    if isinstance(signal, SparseSignal) and signal.k > teacher.vocab_size:
        raise UsageError(
            f"families.{name}: k is {signal.k}, but the teacher's vocabulary has "
            f"{teacher.vocab_size} ids"
        )
    if isinstance(signal, HiddenSignal) and signal.layer > num_layers:
        raise UsageError(
            f"families.{name}: layer is {signal.layer}, but the teacher has layers 0 (embeddings) "
            f"to {num_layers}"
        )


def _check_siblings(out: str, *, teacher: dict[str, Any], examples_id: str) -> None:
    """One OUT is one teacher's answers to one set of examples."""
    if not os.path.isdir(out):
        return
    for name in sorted(os.listdir(out)):
        path = os.path.join(out, name, JOB)
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            there = unseal(file.read(), path)
        other = (there.get("teacher") or {}).get("fingerprint")
        if other != teacher["fingerprint"]:
            raise UsageError(
                f"{out} holds labels of another teacher: {name} is of {str(other)[:12]} and this "
                f"is {teacher['fingerprint'][:12]}; choose another --out"
            )
        parent = (there.get("parents") or {}).get("examples")
        if parent != examples_id:
            raise UsageError(
                f"{out} holds labels of other examples: {name} is of {str(parent)[:12]} and these "
                f"are {examples_id[:12]}; choose another --out"
            )


def _check_space(out: str, examples: Dataset, writers: dict[str, DatasetWriter]) -> None:
    """Counts what the families need beyond what is there already."""
    there = 0
    for writer in writers.values():
        if os.path.isdir(writer.directory):
            there += sum(entry.stat().st_size for entry in os.scandir(writer.directory))
    strides = [FixedRows(writer.layout).stride for writer in writers.values()]
    parent = os.path.abspath(out)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    refuse_without_space(
        out,
        needed_bytes=sum(strides) * examples.num_rows - there,
        free_bytes=shutil.disk_usage(parent).free,
    )


def refuse_without_space(out: str, *, needed_bytes: int, free_bytes: int) -> None:
    """Refuses a job whose families cannot fit the disk.

    Raises:
      UsageError: when more is needed than is free.
    """
    if needed_bytes > free_bytes:
        raise UsageError(
            f"{out}: the families need {needed_bytes / 1e9:.1f} GB more and the disk has "
            f"{free_bytes / 1e9:.1f} GB free; free some space, or keep less (k, positions, layers)"
        )
