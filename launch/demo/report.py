"""The end of the demonstration: one table, one JSON file, and the checks on them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.records.files import atomic_write

# The teacher must know more than word frequencies; measured on the demo's held-out pages it leads
# by more than twice this. The student has only to be nearer to the teacher than the same student
# trained without it.
MIN_TEACHER_ACCURACY_LEAD = 0.10
MIN_TEACHER_CROSS_ENTROPY_LEAD = 1.0  # nats per masked token

MODELS = ("teacher", "student", "baseline", "unigram")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One statement that the demonstration makes about its own result."""

    statement: str
    """What must hold, with the numbers put in."""
    holds: bool
    """Whether it did."""


def checks(evaluation: Mapping[str, Mapping[str, float]]) -> list[Check]:
    """What must hold between the four models, on the held-out pages.

    Args:
      evaluation: by model name, `accuracy` (share of masked tokens guessed), `cross_entropy`
        (nats per masked token, against the true tokens) and `kl_to_teacher` (nats).
    """
    teacher, unigram = evaluation["teacher"], evaluation["unigram"]
    student, baseline = evaluation["student"], evaluation["baseline"]
    accuracy_lead = teacher["accuracy"] - unigram["accuracy"]
    entropy_lead = unigram["cross_entropy"] - teacher["cross_entropy"]
    return [
        Check(
            statement=f"the teacher guesses {accuracy_lead:.1%} more masked tokens than the "
            f"unigram predictor (at least {MIN_TEACHER_ACCURACY_LEAD:.0%})",
            holds=accuracy_lead >= MIN_TEACHER_ACCURACY_LEAD,
        ),
        Check(
            statement=f"the teacher's cross-entropy is {entropy_lead:.2f} nat below the unigram "
            f"predictor's (at least {MIN_TEACHER_CROSS_ENTROPY_LEAD})",
            holds=entropy_lead >= MIN_TEACHER_CROSS_ENTROPY_LEAD,
        ),
        Check(
            statement=f"the student is nearer to the teacher than the baseline: KL "
            f"{student['kl_to_teacher']:.3f} against {baseline['kl_to_teacher']:.3f} nat",
            holds=student["kl_to_teacher"] < baseline["kl_to_teacher"],
        ),
    ]


def table(report: Mapping[str, Any]) -> str:
    """The report as text for a terminal, at most 100 columns wide."""
    lines = ["", "=" * 92, f"Limbeck demo ({report['scale']})", "=" * 92]
    lines += _pages(report["pages"])
    lines += _data(report)
    lines += _models(report["evaluation"])
    lines += _speed(report["training"])
    lines += _sentences(report["predictions"])
    lines += ["", "checks"]
    lines += [f"  {'ok  ' if c['holds'] else 'FAIL'}  {c['statement']}" for c in report["checks"]]
    return "\n".join(lines)


def _pages(pages: Mapping[str, Any]) -> list[str]:
    filtered = ", ".join(f"{count} {reason}" for reason, count in sorted(pages["filtered"].items()))
    return [
        "pages",
        f"  {pages['in']} in = {pages['kept']} kept + {sum(pages['filtered'].values())} filtered "
        f"({filtered}) + {pages['dead_letters']} dead letters",
    ]


def _data(report: Mapping[str, Any]) -> list[str]:
    records = report["records"]
    lines = [f"records  {records['train']} to train, {records['heldout']} held out", "labels"]
    for name, family in report["labels"].items():
        lines.append(
            f"  {name:<10} {family['bytes_per_position']:8.1f} bytes a position, "
            f"{family['bytes'] / 1e6:8.1f} MB in all, {family['positions']} positions"
        )
    return lines


def _models(evaluation: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = [
        "held-out masked tokens",
        f"  {'model':<10}{'accuracy':>10}{'cross-entropy':>16}{'KL to teacher':>16}",
    ]
    for name in MODELS:
        row = evaluation[name]
        lines.append(
            f"  {name:<10}{row['accuracy']:>10.1%}{row['cross_entropy']:>12.3f} nat"
            f"{row['kl_to_teacher']:>12.4f} nat"
        )
    return lines


def _speed(training: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = ["training"]
    for name, row in training.items():
        lines.append(
            f"  {name:<10}{row['steps']:>6.0f} steps on {row['ranks']:.0f} rank(s), "
            f"{row['steps_per_s']:6.2f} steps/s, waiting for data {row['data_wait']:6.2%} "
            f"of the time"
        )
    return lines


def _sentences(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["masked sentences"]
    for sentence in predictions:
        lines.append(f"  {sentence['text']}")
        for model, guesses in sentence["guesses"].items():
            words = ", ".join(f"{g['token']} {g['probability']:.2f}" for g in guesses)
            lines.append(f"    {model:<9} {words}")
    return lines


def write(report: Mapping[str, Any], path: Path) -> None:
    """Writes the report as JSON, whole or not at all."""
    atomic_write(path, (json.dumps(report, indent=2, sort_keys=True) + "\n").encode())
