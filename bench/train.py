"""Training from the store against the same step without a store, and against live teachers.

    python -m bench.train [--ratios 4 8] [--rounds N] [--steps N] [--sizes.batch B] [--no-torch]

store         everything that `train run` does in a step: wait for the batch that reading threads
              read, check and decode; counts, gradients, sum over ranks, optimiser
memory        the same step on the first batch, again and again
live R        the same student and objective beside a live teacher of R times its FLOPs, through
              the same codec as the store's labels
full R        the same without a codec: KL against all logits of the teacher
torch whole R a PyTorch loop in the style of Distil*, heads at every token
torch masked R  the same with heads at the masked positions only

Blocks of all kinds alternate; a ratio is the median over rounds, each block against the store's of
its own round, and `cpu` the same of CPU seconds of all threads, which a busy machine disturbs less.
`bound` is 1 + F_T / (3 F_S): the teacher's forward pass on top of three of the student's.
Goals: store / memory <= 1.03, waiting <= 1 % of the time, and each live kind / store >= 0.9 of the
bound. Prints one JSON line last.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import tyro

from bench._train_torch import KINDS, TorchLoop
from bench._train_work import Sizes, flops, live_steps, make_job, store_and_memory, write_all
from limbeck import ranks
from train.stream import Stream
from train.updates.advance import prepare_batch


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    sizes: Sizes = field(default_factory=Sizes)
    """Of examples and models."""
    ratios: tuple[float, ...] = (4.0, 8.0)
    """FLOPs of a teacher's forward pass over the student's."""
    steps: int = 4
    """Steps of a block."""
    rounds: int = 5
    """Blocks of each kind that are measured, after one that is not."""
    prefetch: int = 3
    """Batches that a live teacher may be ahead; 0: teacher and student take turns."""
    torch: bool = True
    """Whether to measure PyTorch too."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """What one block took."""

    wall_s: float
    """Seconds."""
    cpu_s: float
    """Seconds of all threads."""
    waited_s: float = 0.0
    """Seconds of waiting for data."""


Work = Callable[[int], Block]


def timed(steps: Callable[[int], float]) -> Work:
    """Times steps of this process."""

    def work(times: int) -> Block:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        waited_s = steps(times)
        return Block(
            wall_s=time.perf_counter() - wall_s,
            cpu_s=time.process_time() - cpu_s,
            waited_s=waited_s,
        )

    return work


def of_torch(loop: TorchLoop, kind: str, ratio: float) -> Work:
    """Has the other process time its steps."""

    def work(times: int) -> Block:
        wall_s, cpu_s = loop.steps(kind, ratio, times)
        return Block(wall_s=wall_s, cpu_s=cpu_s)

    return work


def measure(works: dict[str, Work], options: Options) -> dict[str, list[Block]]:
    """A block of each kind a round; the first round, which compiles, is left out."""
    blocks: dict[str, list[Block]] = {name: [] for name in works}
    for turn in range(options.rounds + 1):
        for name, work in works.items():
            blocks[name].append(work(options.steps))
        took = ", ".join(f"{n} {b[-1].wall_s / options.steps:.3f}" for n, b in blocks.items())
        print(f"round {turn} of {options.rounds}, s/step: {took}", flush=True)
    return {name: found[1:] for name, found in blocks.items()}


def report(blocks: dict[str, list[Block]], options: Options) -> dict[str, Any]:
    """The figures of the JSON line."""
    store, sizes = blocks["store"], options.sizes

    def over_store(name: str, what: str) -> float:
        pairs = zip(blocks[name], store, strict=True)
        return statistics.median(getattr(b, what) / getattr(s, what) for b, s in pairs)

    share = sum(b.waited_s for b in store) / sum(b.wall_s for b in store)
    ratio = 1 / over_store("memory", "wall_s")
    result: dict[str, Any] = {
        "step_s": {
            name: round(statistics.median(b.wall_s for b in found) / options.steps, 4)
            for name, found in blocks.items()
        },
        "store_over_memory": round(ratio, 4),
        "store_over_memory_cpu": round(1 / over_store("memory", "cpu_s"), 4),
        "data_share": round(share, 5),
        "live": {},
    }
    met = {"memory": ratio <= 1.03, "data_share": share <= 0.01}
    for wanted in options.ratios:
        actual = flops(sizes, sizes.teacher(wanted)) / flops(sizes, sizes.student)
        bound = 1 + actual / 3
        kinds = [name for name in blocks if name.endswith(f" {wanted:g}")]
        result["live"][f"{wanted:g}"] = {
            "teacher_layers": sizes.teacher(wanted).num_layers,
            "flops_ratio": round(actual, 3),
            "bound": round(bound, 3),
            "over_store": {name: round(over_store(name, "wall_s"), 3) for name in kinds},
            "over_store_cpu": {name: round(over_store(name, "cpu_s"), 3) for name in kinds},
        }
        met |= {name: over_store(name, "wall_s") >= 0.9 * bound for name in kinds}
    return {**result, "met": met}


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    world, sizes = ranks.init(), options.sizes
    tf.get_logger().setLevel("ERROR")  # every kind traces the same functions
    threads = ranks.core_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_all(root, sizes, options.ratios)
        loop = TorchLoop(sizes, options.ratios, threads=threads) if options.torch else None
        job = make_job(root, sizes, world, name="store")
        total = (options.rounds + 1) * options.steps + 1
        with Stream(job.source, position=0, num_batches=total, prepare=prepare_batch) as stream:
            works = {n: timed(steps) for n, steps in store_and_memory(job, stream).items()}
            for ratio in options.ratios:
                for name in ("live", "full"):
                    live = make_job(root, sizes, world, name=name, ratio=ratio)
                    steps = live_steps(live, prefetch=options.prefetch)
                    works[f"{name} {ratio:g}"] = timed(steps)
                for kind in KINDS if loop is not None else ():
                    assert loop is not None
                    works[f"torch {kind} {ratio:g}"] = of_torch(loop, kind, ratio)
            blocks = measure(works, options)
        if loop is not None:
            loop.close()
    line = {
        "bench": "train",
        "sizes": vars(sizes),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        **report(blocks, options),
        "goals": {"store_over_memory": 1.03, "data_share": 0.01, "of_bound": 0.9},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
