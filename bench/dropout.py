"""Row-keyed dropout against the stock Keras layer, in one process.

    python -m bench.dropout [--rows B] [--tokens T] [--repeats R] [--deterministic]

For states (B, T, D) and attention probabilities (B, H, T, T): forward and backward through the
layer, compiled, keyed and stock in turn. What a pass costs without any dropout is subtracted. The
ratio is keyed / stock, as a median over pairs; goal: <= 1. `cpu_ratio` is the same of CPU seconds
of all threads, which a busy machine disturbs less. Prints one JSON line last.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
import tyro

from limbeck.models.dropout import DropoutKeys, KeyedDropout


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    rows: int = 32
    """B."""
    tokens: int = 64
    """T."""
    dim: int = 384
    """D."""
    heads: int = 12
    """H."""
    rate: float = 0.1
    """Share dropped."""
    threads: int = 2
    """CPU threads."""
    repeats: int = 40
    """Rounds measured, each of every variant."""
    deterministic: bool = False
    """With TensorFlow's op determinism on, as in training."""


Step = Callable[[], Any]


def make_step(x: tf.Tensor, layer: Callable[[tf.Tensor], tf.Tensor]) -> Step:
    """Forward and backward through `layer` and one product."""

    @tf.function(autograph=False)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x) * x)
        return tape.gradient(total, x)

    return lambda: step(x).numpy()[..., :1]


def measure(steps: dict[str, Step], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of every repeat, the steps taking turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for repeat in range(repeats + 2):
        for name, step in steps.items():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            step()
            spent = (time.perf_counter() - wall_s, time.process_time() - cpu_s)
            if repeat >= 2:  # the first ones compile
                times[name].append(spent)
    return times


def compare(shape: tuple[int, ...], options: Options) -> dict[str, float]:
    """Measures one shape."""
    x = tf.random.stateless_uniform(shape, (1, 2))
    words = np.random.default_rng(0).integers(-(2**31), 2**31, (shape[0], 4))
    keys = DropoutKeys(seed=1, step=2, row_keys=tf.constant(words, tf.int32))
    keyed = KeyedDropout(options.rate, layer_id=1)
    stock = keras.layers.Dropout(options.rate, seed=3)
    times = measure(
        {
            "none": make_step(x, lambda x: x),
            "keyed": make_step(x, lambda x: keyed(x, keys=keys)),
            "stock": make_step(x, lambda x: stock(x, training=True)),
        },
        options.repeats,
    )
    median = {
        (name, kind): statistics.median(pair[kind] for pair in pairs)
        for name, pairs in times.items()
        for kind in (0, 1)
    }
    net = {key: value - median["none", key[1]] for key, value in median.items()}
    return {
        "keyed_ms": round(1e3 * net["keyed", 0], 3),
        "stock_ms": round(1e3 * net["stock", 0], 3),
        "ratio": round(net["keyed", 0] / net["stock", 0], 3),
        "cpu_ratio": round(net["keyed", 1] / net["stock", 1], 3),
    }


def main() -> None:
    """Runs the benchmark."""
    options = tyro.cli(Options, prog="bench.dropout", description=__doc__)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if options.deterministic:
        keras.utils.set_random_seed(1)
        tf.config.experimental.enable_op_determinism()
    shapes = {
        "states": (options.rows, options.tokens, options.dim),
        "probabilities": (options.rows, options.heads, options.tokens, options.tokens),
    }
    results: dict[str, Any] = {}
    for name, shape in shapes.items():
        results[name] = compare(shape, options)
        print(f"{name:14} {shape}: {results[name]}")
    results["met"] = all(results[name]["ratio"] <= 1.0 for name in shapes)
    print(json.dumps({"bench": "dropout", "goal": 1.0, **results}))


if __name__ == "__main__":
    main()
