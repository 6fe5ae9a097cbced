"""Several ranks against one, and a step with its sums over ranks against one without.

    python -m launch run -np 2 -- python -m bench.scaling [--rows-per-rank B] [--micro-batches N]

Every rank has one thread, so two ranks on two cores are compared with one rank on one core, with
the same rows a rank (weak scaling). The same processes alternate blocks of steps:

alone    rank 0 computes, without sums; the others wait
local    every rank computes, without sums
group    as training does: counts, then gradients as one named group
flat     the same with the gradients joined to one buffer before the sum
float16  the same as `group` with the wire float16

A block takes as long as its slowest rank. Ratios are medians over rounds, each against the block of
its own round, so what slows the machine for longer than a round leaves them alone. Goals:
efficiency alone / group >= 0.90, group / local <= 1.10. Rank 0 prints one JSON line last.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import numpy as np
import tensorflow as tf
import tyro

from limbeck import ranks
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.masked_lm import build_masked_lm
from limbeck.ranks import World
from train.objective import Objective, bind
from train.reading.batch import MicroBatch, cut
from train.recipe import Optimizer, make_term
from train.step import Gradients, TrainStep, to_tensors
from train.students.student import Student
from train.students.student_plan import StudentPlan


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    rows_per_rank: int = 16
    """Rows that a rank computes in a step."""
    micro_batches: int = 1
    """Parts in which it computes them; the sum over ranks is made once."""
    length: int = 64
    """Tokens of each row."""
    masked: int = 10
    """Masked positions of each row."""
    vocab_size: int = 30522
    """Of the student."""
    num_layers: int = 3
    """Of the student."""
    hidden_dim: int = 192
    """Of the student."""
    steps_per_block: int = 4
    """Steps between changes."""
    rounds: int = 10
    """Blocks of each kind that are measured, after one that is not."""


def micro_batches(options: Options, *, rank: int) -> list[MicroBatch]:
    """Random full rows: their contents decide no time."""
    rng = np.random.default_rng(rank)
    n, s, p = options.rows_per_rank, options.length, options.masked
    positions = np.sort(np.argsort(rng.random((n, s - 2)), axis=1)[:, :p] + 1, axis=1)
    examples: dict[str, np.ndarray] = {
        "key": rng.integers(0, 256, (n, 16)).astype(np.uint8),
        "ids": rng.integers(1, options.vocab_size, (n, s)),
        "num_tokens": np.full(n, s),
        "segment_split": np.full(n, s // 2),
        "mask_positions": positions,
        "mask_ids": rng.integers(1, options.vocab_size, (n, p)),
        "num_masked": np.full(n, p),
    }
    return cut(
        examples,
        {},
        num_real=n,
        micro_batch=-(-n // options.micro_batches),
        num_micro=options.micro_batches,
        length=s,
        groups=("masked",),
    )


class Bench:
    """One rank's step in its variants; each call of one is a whole update.

    Args:
      options: sizes.
      world: this rank's place.
    """

    def __init__(self, options: Options, world: World) -> None:
        shape = EncoderArchitecture(
            vocab_size=options.vocab_size,
            num_layers=options.num_layers,
            hidden_dim=options.hidden_dim,
            num_heads=options.hidden_dim // 32,
            intermediate_dim=4 * options.hidden_dim,
            max_positions=options.length,
        )
        batches = micro_batches(options, rank=world.rank)
        self._objective: Objective = bind((make_term(loss="mlm"),), {})
        plan = StudentPlan(architecture=shape)
        student = Student(model=build_masked_lm(shape, seed=0), plan=plan)
        self._step = TrainStep(
            student, self._objective, Optimizer(learning_rate=1e-4), seed=0, example=batches[0]
        )
        self.num_parameters = sum(int(np.prod(v.shape)) for v in student.variables)
        self._batches = [to_tensors(batch) for batch in batches]
        self._mine = np.array([options.rows_per_rank * options.masked], np.int64)
        self._sizes = [int(np.prod(v.shape)) for v in student.trained]
        self._sum_flat = tf.function(self._flat)
        self._num_steps = 0

    def local(self) -> None:
        """No sums over ranks; what `alone` does, too."""
        self._finish(self._gradients(self._mine))

    def group(self) -> None:
        """What training does."""
        self._finish(self._step.reduce(self._gradients(self._counts())))

    def float16(self) -> None:
        """Through the float16 wire."""
        self._finish(self._step.reduce(self._gradients(self._counts()), wire="float16"))

    def flat(self) -> None:
        """One buffer."""
        local = self._gradients(self._counts())
        *grads, sums = self._sum_flat([*local.grads, local.sums])
        self._finish(Gradients(grads=grads, sums=sums))

    def _counts(self) -> np.ndarray:
        return ranks.sum_vector(self._mine, name="counts")

    def _gradients(self, counts: np.ndarray) -> Gradients:
        factors = self._objective.factors(counts)
        return self._step.gradients(self._batches, factors, step=self._num_steps)

    def _finish(self, total: Gradients) -> None:
        self._step.update(total, learning_rate=1e-4)
        self._num_steps += 1

    def _flat(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        joined = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
        (total,) = ranks.sum_group([joined], name="flat")
        parts = tf.split(total, [*self._sizes, len(self._objective.terms)])
        return [tf.reshape(p, t.shape) for p, t in zip(parts, tensors, strict=True)]


def time_block(work: Callable[[], None], *, steps: int, takes_part: bool) -> float:
    """Seconds of the slowest rank for a block of steps; the ranks start together."""
    ranks.barrier()
    started = time.perf_counter()
    if takes_part:
        for _ in range(steps):
            work()
    seconds = time.perf_counter() - started
    return max(float(text) for text in ranks.gather_bytes(repr(seconds).encode()))


def measure(bench: Bench, options: Options, world: World) -> dict[str, list[float]]:
    """Seconds of a step of each kind, by round; the kinds' order turns from round to round."""
    kinds: dict[str, Callable[[], None]] = {
        "alone": bench.local,
        "local": bench.local,
        "group": bench.group,
        "flat": bench.flat,
        "float16": bench.float16,
    }
    names, found = list(kinds), {name: list[float]() for name in kinds}
    for number in range(options.rounds + 1):
        turned = names[number % len(names) :] + names[: number % len(names)]
        for name in turned:
            takes_part = name != "alone" or world.is_leader
            seconds = time_block(kinds[name], steps=options.steps_per_block, takes_part=takes_part)
            found[name].append(seconds / options.steps_per_block)
    return {name: values[1:] for name, values in found.items()}


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    """Median over rounds of one kind's time over another's."""
    pairs = zip(times[over], times[under], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 4)


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    world = ranks.init()
    if world.size == 1:
        sys.exit("bench.scaling: needs several ranks: python -m launch run -np 2 -- python ...")
    load = os.getloadavg()[0]
    bench = Bench(options, world)
    times = measure(bench, options, world)
    efficiency, with_sums = ratio(times, "alone", "group"), ratio(times, "group", "local")
    result = {
        "bench": "scaling",
        "ranks": world.size,
        "rows_per_rank": options.rows_per_rank,
        "micro_batches": options.micro_batches,
        "parameters": bench.num_parameters,
        "step_s": {name: round(statistics.median(values), 4) for name, values in times.items()},
        "efficiency": efficiency,
        "with_sums": with_sums,
        "flat_over_group": ratio(times, "flat", "group"),
        "float16_over_group": ratio(times, "float16", "group"),
        "local_over_alone": ratio(times, "local", "alone"),
        "load_before": round(load, 2),
        "cores": len(os.sched_getaffinity(0)),
        "goals": {"efficiency": 0.90, "with_sums": 1.10},
        "met": efficiency >= 0.90 and with_sums <= 1.10,
    }
    if world.is_leader:
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
