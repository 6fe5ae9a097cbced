"""How far a step from the store is from the step beside the live teacher, codec by codec.

    python -m bench.live_codecs [--demo DIR] [--rows N] [--batch B]

On what `make demo` leaves: its tuned teacher, its held-out examples, a student of the demo's shape
with fresh weights (new) and the one that it trained (late). Every codec's answers come from the
teacher through a run's own batches and compiled step, dropout included; compared are the loss and
the gradient of all of the student's parameters, summed over the rows, with those of the full signal
in float32. Cells: change of the loss in %, angle between the gradients in degrees, ratio of their
norms. A sample's loss is a cross-entropy, compared with that of the full signal. Prints a table.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tyro

from limbeck import ranks
from limbeck.labels.signals import FinalSignal, HiddenSignal, Signal, SparseSignal
from limbeck.weights.hf_folder import read_architecture
from train.inputs import Inputs, open_inputs
from train.objective import BoundTerm, Objective, bind
from train.recipe import Data, LiveTeacher, ModelInit, Optimizer, Recipe, Term, Training, make_term
from train.step import TrainStep
from train.stream import RankBatch
from train.students.student import Student, build_student
from train.updates.advance import prepare_batch

GRID = (1.0, 2.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the table."""

    demo: str = "runs/demo"
    """What `make demo` left."""
    rows: int = 128
    """Held-out rows to learn from; each has up to ten masked positions."""
    batch: int = 32
    """Rows of a micro-batch."""


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """What a step learns from the rows."""

    loss: float
    """Mean over the positions."""
    flat: np.ndarray
    """Of all parameters, one after the other."""


def signals(num_layers: int) -> dict[str, Signal]:
    """What is compared: of each kind the exact signal first."""

    def lean(one_in: int) -> SparseSignal:
        return SparseSignal(threshold=1 / one_in, sample=True, form="lean", temperatures=(1.0,))

    return {
        "final float32": FinalSignal(codec="float32"),
        "final auto": FinalSignal(codec="auto"),
        "final bfloat16": FinalSignal(codec="bfloat16"),
        "sparse 1/120, sample, lean": lean(120),
        "sparse 1/32, sample, lean": lean(32),
        "sparse 1/120, bucket": SparseSignal(threshold=1 / 120, temperatures=GRID),
        "sparse top 64, bucket": SparseSignal(k=64, temperatures=GRID),
        "sparse top 16, bucket": SparseSignal(k=16, temperatures=GRID),
        "hidden float32": HiddenSignal(layer=num_layers, positions="masked", codec="float32"),
        "hidden float16": HiddenSignal(layer=num_layers, positions="masked", codec="float16"),
        "hidden bfloat16": HiddenSignal(layer=num_layers, positions="masked", codec="bfloat16"),
        "hidden int8": HiddenSignal(layer=num_layers, positions="masked", codec="int8"),
    }


def terms(wanted: dict[str, Signal], *, student_layer: int) -> Iterator[Term]:
    """Every comparison that a signal allows."""
    for name, signal in wanted.items():
        if isinstance(signal, HiddenSignal):
            yield make_term(loss="hidden_mse", signal=name, student_layer=student_layer)
        elif isinstance(signal, SparseSignal) and signal.sample:
            yield make_term(loss="soft_ce", signal=name)
        else:
            for temperature in (1.0, 2.0):
                yield make_term(loss="kl", signal=name, temperature=temperature)
    yield make_term(loss="soft_ce", signal="final float32")


def make_inputs(options: Options, *, checkpoint: str | None) -> Inputs:
    """A run beside the demo's teacher."""
    demo = Path(options.demo)
    shape = read_architecture(demo / "student")
    wanted = signals(read_architecture(demo / "teacher").num_layers)
    model = ModelInit(architecture=shape)
    if checkpoint is not None:
        model = ModelInit(start="checkpoint", checkpoint=checkpoint)
    return open_inputs(
        Recipe(
            name="codecs",
            seed=1,
            data=Data(
                examples=str(demo / "examples/heldout"),
                teacher=LiveTeacher(path=str(demo / "teacher"), signals=wanted),
            ),
            model=model,
            objective=tuple(terms(wanted, student_layer=shape.num_layers)),
            optimizer=Optimizer(learning_rate=1e-4),
            training=Training(global_batch=options.batch, steps=1),
        )
    )


def gradient(student: Student, bound: BoundTerm, batches: Sequence[RankBatch]) -> Gradient:
    """The gradient of one term over all batches, by the trainer's own step."""
    objective = Objective((bound,))
    step = TrainStep(
        student,
        objective,
        Optimizer(learning_rate=1e-4),
        seed=1,
        example=batches[0].micro[0],
    )
    counts = np.sum([objective.counts(batch.items) for batch in batches], axis=0)
    micro = [part for batch in batches for part in batch.micro]
    found = step.gradients(micro, objective.factors(counts), step=0)
    return Gradient(
        loss=float(found.sums.numpy()[0] / counts[0]),
        flat=np.concatenate([grad.numpy().reshape(-1) for grad in found.grads]).astype(np.float64),
    )


def cells(got: Gradient, exact: Gradient, *, exact_loss: float) -> str:
    """Loss, angle and norms, for the table."""
    norms = np.linalg.norm(got.flat), np.linalg.norm(exact.flat)
    half = float(np.linalg.norm(got.flat / norms[0] - exact.flat / norms[1])) / 2  # no acos near 1
    degrees = float(np.degrees(2 * np.arcsin(min(1.0, half))))
    change = 100 * (got.loss / exact_loss - 1)
    return f"{change:+.3g} % | {degrees:.2g} | {norms[0] / norms[1]:.4f}"


def table(inputs: Inputs, batches: Sequence[RankBatch]) -> dict[tuple[str, float], str]:
    """(signal, temperature) -> cells."""
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    student = build_student(inputs)
    exact: dict[tuple[str, float], Gradient] = {}
    # The entropies differ but the gradients are equal: only the loss needs this one.
    full_ce = gradient(student, objective.terms[-1], batches).loss
    rows = {}
    for bound in objective.terms[:-1]:
        term = bound.term
        kind, temperature = "hidden" if term.student_layers else "logits", _temperature(term)
        got = gradient(student, bound, batches)
        base = exact.setdefault((kind, temperature), got)
        loss = full_ce if term.loss == "soft_ce" else base.loss
        rows[term.signals[0], temperature] = cells(got, base, exact_loss=loss)
    return rows


def _temperature(term: Term) -> float:
    """1 for terms without one."""
    return float(getattr(term, "temperature", 1.0))


def main() -> int:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    demo = Path(options.demo)
    if not (demo / "teacher").is_dir():
        print(f"{demo}: no demo there; run `make demo` first, or name one with --demo")
        return 2
    world = ranks.init()
    late = make_inputs(options, checkpoint=str(demo / "student"))
    objective = bind(late.recipe.objective, late.families, late.student)
    source = late.source(world, objective.lists)
    starts = range(0, options.rows, options.batch)
    batches = [prepare_batch(source.read(source.global_rows(start))) for start in starts]
    positions = sum(batch.items["masked"] for batch in batches)
    new_rows, late_rows = (
        table(inputs, batches) for inputs in (make_inputs(options, checkpoint=None), late)
    )
    print(f"{options.rows} held-out rows, {positions:,} masked positions")
    print("| signal | T | new: loss | angle | norms | late: loss | angle | norms |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, temperature), found in new_rows.items():
        print(f"| {name} | {temperature:g} | {found} | {late_rows[name, temperature]} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
