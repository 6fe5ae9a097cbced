"""What a student loses by each way of keeping the teacher's answers, at equal steps.

    python -m bench.quality --data runs/demo [--steps N] [--seeds 1 2 3] [--arms NAME ...]
    python -m bench.quality --table [--steps N]

On what `make demo` left: its examples, its tuned teacher, and its student (three of six layers, the
head new; recipes/demo/student.yaml). The objective is one term on the teacher at T = 1 and nothing
else, so the arms differ by the labels alone; hidden arms add a cosine between last layers, --mlm a
term on the true ids. For one seed all arms start from the same weights and see the same batches and
dropout. The live teacher runs for the first seed only: the store of full logits is equal to it.

Labels are extracted once below --work; sparse ones follow from the full family without the teacher.
Every training appends a line to --out when it is evaluated: accuracy and cross-entropy on the true
ids of held-out masked tokens, and KL from the whole distribution of the teacher. A second call goes
on with what is not there. Prints the table last; --table prints it and does nothing else.
"""

import gc
import json
import os
import resource
import statistics
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tyro

from bench._quality_arms import ARMS, Arm
from bench._quality_table import Line, markdown, read_lines
from bench._quality_work import Options, prepare, train_one
from limbeck import ranks
from limbeck.config.errors import LimbeckError, UsageError

ROUGHLY_S = 0.8, 45.0  # a step, and what a training takes beside its steps; on two cores


def missing(options: Options, lines: Sequence[Line]) -> list[tuple[str, int]]:
    """(arm, seed) that are still to be done, seed by seed; live ones for the first seed only."""
    done = {(line["arm"], line["seed"]) for line in lines if line["steps"] == options.steps}
    return [
        (name, seed)
        for seed in options.seeds
        for name in options.arms
        if (name, seed) not in done and not (ARMS[name].live and seed != options.seeds[0])
    ]


def estimate_s(options: Options, lines: Sequence[Line], trainings: int) -> float:
    """Seconds of so many trainings: as those took that are there, else roughly."""
    took = [line["seconds"] for line in lines if line["steps"] == options.steps]
    step_s, beside_s = ROUGHLY_S
    return trainings * (statistics.median(took) if took else options.steps * step_s + beside_s)


def run(options: Options) -> list[Line]:
    """Does what is missing; returns all lines."""
    from bench._quality_labels import make_labels

    work, out = prepare(options), Path(options.out)
    lines = read_lines(out)
    if other := [line for line in lines if line["setup"] != work.setup]:
        raise UsageError(
            f"{out}: its {other[0]['arm']} of seed {other[0]['seed']} was trained on other data or "
            "with other settings; choose another --out"
        )
    todo = missing(options, lines)
    print(
        f"{len(todo)} trainings of {options.steps} steps, {len(lines)} lines are there: about "
        f"{estimate_s(options, lines, len(todo)) / 60:.0f} min, and a few more for labels that are "
        "not there yet",
        flush=True,
    )
    if not todo:
        return lines
    ranks.init()
    refused = make_labels(
        Path(options.data),
        work.labels,
        num_layers=work.teacher_layers,
        wanted={family for name, _ in todo for family in ARMS[name].families},
        say=_say,
    )
    todo = [(name, seed) for name, seed in todo if not _is_refused(ARMS[name], refused)]
    out.parent.mkdir(parents=True, exist_ok=True)
    for number, (name, seed) in enumerate(todo, start=1):
        line = train_one(work, name, seed=seed)
        lines = append(out, lines, line)
        left_s = estimate_s(options, lines, len(todo) - number)
        print(
            f"{number}/{len(todo)} {name} seed {seed}: cross-entropy {line['cross_entropy']:.4f} "
            f"accuracy {line['accuracy']:.4f} kl {line['kl']:.5f}, {line['seconds']:.0f} s, "
            f"{_peak_gb():.1f} GB; about {left_s / 60:.0f} min left",
            flush=True,
        )
        _forget()
    for family, why in refused.items():
        print(f"not measured: {family}: {why}")
    return lines


def append(out: Path, lines: Sequence[Line], line: Line) -> list[Line]:
    """Writes the file anew with a line more: a kill leaves the old file or the new one."""
    found = [*lines, line]
    beside = out.with_suffix(".tmp")
    beside.write_text("".join(json.dumps(each) + "\n" for each in found))
    os.replace(beside, out)
    return found


def _is_refused(arm: Arm, refused: dict[str, str]) -> bool:
    return any(family in refused for family in arm.families)


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _forget() -> None:
    """Lets go of a training's graphs; each holds the constants of its terms."""
    import keras

    keras.utils.clear_session()
    gc.collect()


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def main() -> int:
    """Trains what is missing and prints the table."""
    options = tyro.cli(Options, description=__doc__)
    try:
        lines = read_lines(Path(options.out)) if options.table else run(options)
    except (LimbeckError, ValueError) as error:
        print(error)
        return 2
    if not lines:
        print(f"{options.out}: no results there")
        return 2
    print(markdown(lines, steps=options.steps))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
