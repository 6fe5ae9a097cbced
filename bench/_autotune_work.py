"""What every rank of `bench.autotune` does: sums gradients of a student's sizes, again and again.

    python -m launch run -np 2 -- python -m bench._autotune_work --steps 200

Between sums a rank computes, as in training. Rank 0 prints `MS <median milliseconds of a step>`.
"""

import os
import statistics
import time
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tyro

from limbeck import ranks


@dataclass(frozen=True, kw_only=True)
class Work:
    """Sizes of the work."""

    steps: int = 200
    """Sums to make."""
    vocab_size: int = 30522
    """Of the student."""
    num_layers: int = 3
    """Of the student."""
    hidden_dim: int = 192
    """Of the student."""
    compute_ms: float = 20.0
    """Milliseconds of arithmetic before each sum."""


def gradient_shapes(work: Work) -> list[tuple[int, ...]]:
    """Shapes of a masked-language-model encoder's gradients, tied embeddings once."""
    dim = work.hidden_dim
    layer = [(dim, dim), (dim,)] * 4  # queries, keys, values, output
    layer += [(dim, 4 * dim), (4 * dim,), (4 * dim, dim), (dim,)]
    layer += [(dim,)] * 4  # two norms
    around = [(work.vocab_size, dim), (128, dim), (2, dim), (dim,), (dim,)]
    head = [(dim, dim), (dim,), (dim,), (dim,), (work.vocab_size,)]
    return [*around, *layer * work.num_layers, *head]


def compute(milliseconds: float, matrix: np.ndarray) -> None:
    """Keeps this rank's core busy for so long."""
    end = time.perf_counter() + milliseconds / 1000
    while time.perf_counter() < end:
        matrix @ matrix


def main() -> None:
    """Sums, and prints how long a step took."""
    work = tyro.cli(Work, description=__doc__)
    world = ranks.init()
    gradients = [tf.ones(shape) for shape in gradient_shapes(work)]
    total = tf.function(lambda tensors: ranks.sum_group(tensors, name="step"))
    matrix, times = np.ones((128, 128), np.float32), []
    for _ in range(work.steps):
        start = time.perf_counter()
        compute(work.compute_ms, matrix)
        total(gradients)[0].numpy()
        times.append(1000 * (time.perf_counter() - start))
    if world.is_leader:
        print(f"MS {statistics.median(times[work.steps // 4 :]):.3f}", flush=True)


if __name__ == "__main__":
    main()
