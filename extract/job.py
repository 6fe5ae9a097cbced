"""What an extraction will do, settled and checked before it does anything."""

# S token slots of an example, P prediction slots

import os
import shutil
from dataclasses import dataclass
from typing import Any

from extract.settings import ExtractSettings
from limbeck.config.errors import UsageError
from limbeck.labels import Signal, to_dict
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.directory import JOB
from limbeck.records.examples import refuse_unmasked
from limbeck.records.job import unseal
from limbeck.records.manifest import Manifest
from limbeck.records.rows import FixedRows
from limbeck.records.shard import ShardSummary
from limbeck.records.writer import DatasetWriter
from limbeck.teachers import Backend, Teacher, TeacherFacts, TeacherSource, find_teacher
from limbeck.tokens import refuse_other_tokenizer

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

    What can be checked without TensorFlow is checked before it is loaded.

    Args:
      settings: recipe and directories.
      teacher: already loaded from `settings.teacher`; None loads it.

    Raises:
      LimbeckError: damaged inputs, inputs that do not fit each other, or an output directory that
        holds something else.
    """
    examples = open_dataset(settings.examples, kind="examples")
    refuse_unmasked(examples.layout, examples=settings.examples, who="extraction")
    source = _source(settings, teacher)
    facts = source.facts
    refuse_other_tokenizer(
        examples.content.tokenizer,
        examples=settings.examples,
        model=facts.folder,
        vocab_size=facts.vocab_size,
    )
    longest = int(examples.lengths().max(initial=0))
    if longest > facts.max_positions:
        raise UsageError(
            f"{settings.examples} has sequences of up to {longest} tokens, but the teacher "
            f"{settings.teacher} has {facts.max_positions} positions; prepare shorter examples"
        )
    facts.check(settings.families)
    described = _describe_teacher(facts)
    _check_siblings(settings.out, teacher=described, examples_id=examples.id)
    writers = {
        name: _writer(settings, name, signal, examples, described, facts.backend)
        for name, signal in settings.families.items()
    }
    for writer in writers.values():
        writer.check()
    _check_space(settings.out, examples, writers)
    return Job(
        examples=examples,
        teacher=source.load(settings.threads),
        families={
            name: _open(name, settings.families[name], writer) for name, writer in writers.items()
        },
        max_length=min(examples.layout.field("ids").shape[0] or 0, facts.max_positions),
    )


def _source(settings: ExtractSettings, teacher: Teacher | None) -> TeacherSource:
    if teacher is None:
        return find_teacher(settings.teacher, backend=settings.backend)
    return TeacherSource(facts=teacher.facts, load=lambda _threads: teacher)


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
    backend: Backend,
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
        settings={"signal": to_dict(signal), **settings.content_settings(backend)},
        parents={"examples": examples.id},
        tokenizer=examples.content.tokenizer,
        teacher=teacher,
    )


def _describe_teacher(teacher: TeacherFacts) -> dict[str, Any]:
    return {
        "fingerprint": teacher.fingerprint,
        "vocab_size": teacher.vocab_size,
        "hidden_dim": teacher.hidden_dim,
        "num_layers": teacher.num_layers,
    }


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
