"""What is known before the teacher is loaded: whether inputs and an output fit each other."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extract.fitting import settled_before
from extract.settings import ExtractSettings
from extract.worker import Worker, parse_worker
from limbeck.config.errors import UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import Signal, to_dict
from limbeck.records.canonical import differences, plain
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.resume import job_there
from limbeck.teachers import Teacher, TeacherFacts, TeacherSource, find_teacher
from limbeck.tokens import refuse_other_tokenizer

__all__ = ["Checked", "batch_settings", "check", "check_siblings"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """Inputs and an output that fit each other, as far as is known without the teacher."""

    settings: ExtractSettings
    """As given."""
    worker: Worker
    """Which of how many this process is."""
    examples: Dataset
    """What is labelled."""
    source: TeacherSource
    """What labels."""
    settled: Mapping[str, Fitted | None]
    """Family name -> what was settled for it before."""


def check(settings: ExtractSettings, *, teacher: Teacher | None = None) -> Checked:
    """Opens inputs and refuses what cannot work; writes nothing, and loads no framework.

    Args:
      settings: recipe and directories.
      teacher: already loaded from `settings.teacher`; None for one that is loaded later.

    Raises:
      LimbeckError: damaged inputs, inputs that do not fit each other, or an output directory that
        holds something else.
    """
    worker = parse_worker(settings.worker) if settings.worker else Worker()
    examples = open_dataset(settings.examples, kind="examples")
    source = _source(settings, teacher)
    facts = source.facts
    _check_inputs(settings, examples, facts)
    check_siblings(settings.out, teacher=facts.fingerprint, examples_id=examples.id)
    settled = {}
    for name, signal in settings.families.items():
        _check_settings(settings, name, signal, facts)
        settled[name] = settled_before(os.path.join(settings.out, name), signal)
    return Checked(
        settings=settings, worker=worker, examples=examples, source=source, settled=settled
    )


def batch_settings(
    settings: ExtractSettings, name: str, signal: Signal, facts: TeacherFacts
) -> dict[str, Any]:
    """What decides last bits beside the signal.

    A partial family's rows are batched with those of the largest fraction in the recipe; that of a
    family which stands there complete is what its manifest says, whatever is added beside it.
    """
    found = settings.batch_settings(facts.backend)
    if signal.records < 1.0:
        found["batched_records"] = settings.largest_fraction
        directory = os.path.join(settings.out, name)
        if os.path.exists(os.path.join(directory, "manifest.json")):
            there = (job_there(directory) or {}).get("settings") or {}
            found["batched_records"] = there.get("batched_records", settings.largest_fraction)
    return found


def check_siblings(out: str, *, teacher: str, examples_id: str) -> None:
    """One OUT is one teacher's answers to one set of examples."""
    if not os.path.isdir(out):
        return
    for name in sorted(os.listdir(out)):
        directory = os.path.join(out, name)
        there = job_there(directory) if os.path.isdir(directory) else None
        if there is None:
            continue
        other = (there.get("teacher") or {}).get("fingerprint")
        if other != teacher:
            raise UsageError(
                f"{out} holds labels of another teacher: {name} is of {str(other)[:12]} and this "
                f"is {teacher[:12]}; choose another --out"
            )
        parent = (there.get("parents") or {}).get("examples")
        if parent != examples_id:
            raise UsageError(
                f"{out} holds labels of other examples: {name} is of {str(parent)[:12]} and these "
                f"are {examples_id[:12]}; choose another --out"
            )


def _source(settings: ExtractSettings, teacher: Teacher | None) -> TeacherSource:
    if teacher is None:
        return find_teacher(settings.teacher, backend=settings.backend)
    return TeacherSource(facts=teacher.facts, load=lambda _options: teacher)


def _check_inputs(settings: ExtractSettings, examples: Dataset, facts: TeacherFacts) -> None:
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
    if "mask_positions" not in examples.layout.names:
        for name, signal in settings.families.items():
            if signal.positions == "masked":
                raise UsageError(
                    f"families.{name}: positions is masked, but {settings.examples} has no masked "
                    "positions; take positions: all, or prepare examples with --kind pairs or mlm"
                )
    facts.check(settings.families)


def _check_settings(
    settings: ExtractSettings, name: str, signal: Signal, facts: TeacherFacts
) -> None:
    """Refuses a directory of other settings early, before the teacher is loaded."""
    directory = os.path.join(settings.out, name)
    there = job_there(directory) if os.path.isdir(directory) else None
    if there is None:
        return
    before = {k: v for k, v in (there.get("settings") or {}).items() if k != "chosen"}
    mine = {"signal": to_dict(signal), **batch_settings(settings, name, signal, facts)}
    differs = differences(
        {"settings": before, "seed": there.get("seed")},
        {"settings": plain(mine, "settings"), "seed": settings.seed},
    )
    if differs:
        raise UsageError(
            f"{directory} holds another run's output: {'; '.join(differs)}; "
            "choose another --out or delete it"
        )
