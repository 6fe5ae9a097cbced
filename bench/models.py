"""Our encoder against PyTorch transformers: same weights, same batch, same threads.

    python -m bench.models [--shape demo|base] [--jit] [--threads N] [--rounds R]

forward  encoder, and the masked-LM head at the masked positions
step     the same with dropout, cross-entropy, gradients and AdamW, in float32

Ours is compiled by tf.function (with --jit by XLA), theirs runs as transformers does, with its
default attention, and with the head cut to the masked positions too; `whole_head` is their forward
as it stands, with logits at every token. Each side has a process of its own and the two take turns,
so neither's idle threads disturb the other. `ratio` is ours / theirs, paired and as a median;
`cpu_ratio` is the same of CPU seconds, which a busy machine disturbs less. `bound_ratio` is ours
over the time of the matrix products alone: the model's FLOPs (a step's are three forwards) at the
speed of one product of a layer's size, the fastest that either side showed in the same rounds.
Goals: both ratios <= 1.0. Prints one JSON line last.
"""

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tyro

from bench._model_work import SHAPES, VOCAB_SIZE, Shape, make_batch, our_work, torch_work
from limbeck.architectures import EncoderArchitecture

ROWS = {"demo": (32, 64), "base": (4, 128)}  # rows and tokens of the batch


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    shape: Shape = "demo"
    """The demo's encoder (6 layers x 384, 32 rows of 64) or BERT-base (4 rows of 128)."""
    rows: int = 0
    """Rows of the batch; 0 for the shape's."""
    length: int = 0
    """Tokens of a row; 0 for the shape's."""
    threads: int = 2
    """CPU threads of each side."""
    jit: bool = False
    """Compile ours with XLA."""
    seconds: float = 1.0
    """About how long one measurement repeats its work."""
    rounds: int = 5
    """Turns of each side, after one that is not counted."""

    @property
    def batch_shape(self) -> tuple[int, int]:
        """Rows and tokens of the batch."""
        rows, length = ROWS[self.shape]
        return self.rows or rows, self.length or length


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one piece of work took."""

    wall_s: float
    """Elapsed seconds."""
    cpu_s: float
    """CPU seconds of all threads of its process."""


def serve(side: str, directory: str, options: Options, pipe: Connection) -> None:
    """A side's process: does what it is told, so many times, and says what that took."""
    batch = make_batch(*options.batch_shape)
    if side == "torch":
        work = torch_work(directory, batch, shape=options.shape, threads=options.threads)
    else:
        work = our_work(
            directory, batch, shape=options.shape, threads=options.threads, jit=options.jit
        )
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        name, times = order
        if times == 0:  # the answer itself, for comparison
            pipe.send(work[name]())
            continue
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(times):
            work[name]()
        pipe.send(
            Cost(
                wall_s=(time.perf_counter() - wall_s) / times,
                cpu_s=(time.process_time() - cpu_s) / times,
            )
        )


class Side:
    """One of the two processes."""

    def __init__(self, side: str, directory: str, options: Options) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(side, directory, options, theirs), daemon=True
        )
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def do(self, name: str, times: int) -> Any:
        """Has a piece of work done so many times; 0 for its answer."""
        self._pipe.send((name, times))
        return self._pipe.recv()

    def end(self) -> None:
        """Lets the process go."""
        self._pipe.send(None)
        self._process.join()


def measure(sides: dict[str, Side], options: Options) -> dict[tuple[str, str], list[Cost]]:
    """(side, work) -> a cost a round; the sides take turns at being first."""
    times: dict[tuple[str, str], int] = {}
    costs: dict[tuple[str, str], list[Cost]] = {}
    for turn in range(options.rounds + 1):
        order = ("ours", "torch") if turn % 2 else ("torch", "ours")
        for name in ("forward", "step", "product", "whole_head"):
            for side in order:
                if name == "whole_head" and side == "ours":
                    continue
                if turn == 0:  # traces, warms caches, and finds how often to repeat
                    sides[side].do(name, 2)
                    once = sides[side].do(name, 1).wall_s
                    times[side, name] = max(1, round(options.seconds / once))
                else:
                    cost = sides[side].do(name, times[side, name])
                    costs.setdefault((side, name), []).append(cost)
    return costs


def report(costs: dict[tuple[str, str], list[Cost]], options: Options) -> dict[str, Any]:
    """The figures of the JSON line."""
    shape = SHAPES[options.shape]
    batch = make_batch(*options.batch_shape)
    flops = EncoderArchitecture(vocab_size=VOCAB_SIZE, **shape).forward_flops(
        num_tokens=batch["ids"].size,
        seq_length=batch["ids"].shape[1],
        num_logit_positions=len(batch["flat"]),
    )
    product = 2 * batch["ids"].size * shape["hidden_dim"] * shape["intermediate_dim"]
    fastest = min(cost.wall_s for side in ("ours", "torch") for cost in costs[side, "product"])
    speed = product / fastest
    result: dict[str, Any] = {"gflops": round(speed / 1e9, 1), "load": round(os.getloadavg()[0], 2)}
    for name, work in (("forward", flops), ("step", 3 * flops)):
        ours, theirs = costs["ours", name], costs["torch", name]
        pairs = list(zip(ours, theirs, strict=True))
        result[name] = {
            "ours_s": round(_wall(ours), 4),
            "torch_s": round(_wall(theirs), 4),
            "ratio": round(statistics.median(o.wall_s / t.wall_s for o, t in pairs), 4),
            "ratios": [round(o.wall_s / t.wall_s, 3) for o, t in pairs],
            "cpu_ratio": round(statistics.median(o.cpu_s / t.cpu_s for o, t in pairs), 4),
            "bound_ratio": round(_wall(ours) * speed / work, 3),
            "torch_bound_ratio": round(_wall(theirs) * speed / work, 3),
        }
    whole = _wall(costs["torch", "whole_head"])
    result["forward"]["ratio_to_whole_head"] = round(_wall(costs["ours", "forward"]) / whole, 4)
    return result


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description="Our encoder against PyTorch transformers.")
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        # One after the other: the first writes the weights that both read.
        sides = {side: Side(side, f"{scratch}/bert", options) for side in ("torch", "ours")}
        ours, theirs = (sides[side].do("forward", 0) for side in ("ours", "torch"))
        difference = float(np.abs(ours - theirs).max())
        costs = measure(sides, options)
        for side in sides.values():
            side.end()
    result = {
        "bench": "models",
        "shape": options.shape,
        "batch": list(options.batch_shape),
        "threads": options.threads,
        "jit": options.jit,
        "largest_difference": difference,
        **report(costs, options),
        "goals": {"forward": 1.0, "step": 1.0},
    }
    result["met"] = all(result[name]["ratio"] <= 1.0 for name in ("forward", "step"))
    print(json.dumps(result))


def _wall(costs: list[Cost]) -> float:
    return statistics.median(cost.wall_s for cost in costs)


if __name__ == "__main__":
    main()
