"""What an extraction will do, settled and checked before it does anything."""

# S token slots of an example, P prediction slots

import os
from dataclasses import dataclass, field, replace
from typing import Any

from extract.fitting import fit_families
from extract.inputs import Checked, batch_settings
from extract.settings import ExtractSettings
from extract.window_labels import Encoding
from extract.windows import Windows
from extract.worker import Worker
from limbeck.labels.family import attachments, codec_settings
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import LabelDims, Signal
from limbeck.records.dataset import Dataset
from limbeck.records.manifest import Manifest
from limbeck.records.writer import DatasetWriter
from limbeck.teachers import Teacher, TeacherFacts
from limbeck.teachers.questions import question_of

__all__ = [
    "Family",
    "Job",
    "finished_before",
    "open_families",
    "prepare",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """One label family of the run."""

    encoding: Encoding
    """What it holds and how."""
    writer: DatasetWriter
    """Writes its directory."""
    done: frozenset[int] = frozenset()
    """Shards that were finished when the directory was opened."""
    manifest: Manifest | None = None
    """Set when the family is complete: nothing is left to do."""

    @property
    def name(self) -> str:
        """As the recipe calls it; its directory below OUT."""
        return self.encoding.name

    @property
    def signal(self) -> Signal:
        """What it holds."""
        return self.encoding.fitted.signal


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """Checked inputs and outputs of an extraction."""

    settings: ExtractSettings
    """As given."""
    worker: Worker
    """Which of how many this process is."""
    examples: Dataset
    """What is labelled."""
    teacher: Teacher
    """What labels."""
    families: dict[str, Family]
    """By name, in the recipe's order."""
    windows: Windows
    """How examples are cut into batches; asks for what the families that are not complete need."""
    notes: tuple[str, ...] = field(default_factory=tuple)
    """What the codecs said when they were settled."""

    @property
    def active(self) -> dict[str, Family]:
        """Families that are not complete.

        All of them are computed for every shard that one of them lacks, so that the graph a result
        comes from does not depend on when an earlier run was killed.
        """
        return {name: f for name, f in self.families.items() if f.manifest is None}

    @property
    def pending(self) -> list[int]:
        """Shards that some active family lacked when it was opened."""
        shards = range(len(self.examples.content.shards))
        return [i for i in shards if any(i not in f.done for f in self.active.values())]


def prepare(checked: Checked) -> Job:
    """Loads the teacher and settles the codecs; writes nothing.

    Raises:
      LimbeckError: a codec does not pass its gate, or an output directory holds something else.
    """
    settings, examples = checked.settings, checked.examples
    teacher = checked.source.load(settings.load_options)
    windows = _windows(settings, examples, teacher.facts)
    unsettled = {n: settings.families[n] for n, f in checked.settled.items() if f is None}
    fitted, notes = fit_families(unsettled, teacher=teacher, windows=windows)
    families = {
        name: _looked_at(_family(checked, name, before or fitted[name], teacher.facts))
        for name, before in checked.settled.items()
    }
    job = Job(
        settings=settings,
        worker=checked.worker,
        examples=examples,
        teacher=teacher,
        families=families,
        windows=windows,
        notes=tuple(notes),
    )
    return _asking(job)


def finished_before(checked: Checked) -> dict[str, Manifest] | None:
    """The manifests, if every family is complete: then no teacher is needed; else None.

    Raises:
      LimbeckError: a directory holds something else, or is damaged.
    """
    manifests = {}
    for name, fitted in checked.settled.items():
        if fitted is None:
            return None
        family = _looked_at(_family(checked, name, fitted, checked.source.facts))
        if family.manifest is None:
            return None
        manifests[name] = family.manifest
    return manifests


def open_families(job: Job) -> Job:
    """Takes the output directories and looks what is there already; call it inside the claims.

    Raises:
      LimbeckError: a directory holds something else, or is damaged.
    """
    families = {}
    for name, family in job.families.items():
        family.writer.open()
        manifest = family.writer.finished()
        share = (job.worker.index, job.worker.count)
        done = frozenset(family.writer.done_shards(share)) if manifest is None else frozenset[int]()
        families[name] = replace(family, done=done, manifest=manifest)
    return _asking(replace(job, families=families))


def _looked_at(family: Family) -> Family:
    """With its manifest, if it is complete; writes nothing."""
    family.writer.check()
    there = os.path.isdir(family.writer.directory)
    return replace(family, manifest=family.writer.finished() if there else None)


def _asking(job: Job) -> Job:
    """The job, whose batches ask for what its families still need."""
    question = question_of(
        (family.signal for family in job.active.values()),
        predicts=job.windows.question.predicts,
        seed=job.settings.seed,
    )
    return replace(job, windows=replace(job.windows, question=question))


def _windows(settings: ExtractSettings, examples: Dataset, facts: TeacherFacts) -> Windows:
    return Windows(
        examples=examples,
        question=question_of(
            settings.families.values(), predicts=facts.predicts, seed=settings.seed
        ),
        fraction=settings.largest_fraction,
        vocab_size=facts.vocab_size,
        max_length=min(examples.layout.field("ids").shape[0] or 0, facts.max_positions),
        batch_tokens=settings.batch_tokens,
        length_multiple=settings.length_multiple,
        window_rows=settings.window_rows,
        fill=settings.jit,
    )


def _family(checked: Checked, name: str, fitted: Fitted, facts: TeacherFacts) -> Family:
    settings, examples = checked.settings, checked.examples
    dims = _dims(examples, facts)
    layout = fitted.signal.layout(dims, fitted.chosen)
    writer = DatasetWriter(
        os.path.join(settings.out, name),
        name=name,
        kind="labels",
        layout=layout,
        num_shards=len(examples.content.shards),
        settings={
            **codec_settings(fitted),
            **batch_settings(settings, name, fitted.signal, facts),
        },
        parents={"examples": examples.id},
        tokenizer=examples.content.tokenizer,
        teacher=_describe_teacher(facts),
        seed=settings.seed,
        attachments=attachments(fitted),
        shared=not checked.worker.is_alone,
    )
    encoding = Encoding(name=name, fitted=fitted, layout=layout, dims=dims, seed=settings.seed)
    return Family(encoding=encoding, writer=writer)


def _dims(examples: Dataset, facts: TeacherFacts) -> LabelDims:
    masked = "mask_positions" in examples.layout.names
    return facts.dims(
        seq_length=examples.layout.field("ids").shape[0] or 0,
        max_predictions=examples.layout.field("mask_positions").shape[0] if masked else None,
    )


def _describe_teacher(teacher: TeacherFacts) -> dict[str, Any]:
    return {
        "fingerprint": teacher.fingerprint,
        "vocab_size": teacher.vocab_size,
        "hidden_dim": teacher.hidden_dim,
        "num_layers": teacher.num_layers,
    }
