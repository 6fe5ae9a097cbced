"""Training from the store against the same step on one batch in memory, in one process.

    python -m bench.train_step [--rows-per-step B] [--blocks N] [--steps-per-block N]

store    everything that `train run` does in a step: wait for the batch that reading threads
         read, check and decode; counts, gradients, sum over ranks, optimiser
memory   the same step on the first batch, again and again

Blocks of the two alternate; the ratio is store / memory, as a median over pairs. `cpu_ratio` is
the same of CPU seconds of all threads, which a busy machine disturbs less. `data_share` is the
part of the store's time spent waiting for data. Every row is full, so every batch costs the same.
Goals: ratio <= 1.03, data_share <= 0.01. Prints one JSON line last.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tyro

from limbeck import ranks
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.labels import SparseSignal, to_dict
from limbeck.ranks import World
from limbeck.records.examples import examples_layout
from limbeck.records.keys import input_digest, key_rows, make_key, shards_of
from limbeck.records.layout import Layout
from limbeck.records.writer import DatasetWriter
from limbeck.runs import RunDirectory
from train.advance import advance, prepare_batch
from train.inputs import open_inputs
from train.job import Job, build_job
from train.meter import Meter
from train.recipe import Data, ModelInit, Optimizer, Recipe, Term, Training
from train.stopping import StopRequest
from train.stream import RankBatch, Stream

VOCAB_SIZE = 30522
KEPT = 16


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    rows: int = 4096
    """Examples in the store."""
    length: int = 64
    """Tokens of each example."""
    masked: int = 10
    """Masked positions of each example."""
    shards: int = 8
    """Shards of the store."""
    rows_per_step: int = 32
    """B."""
    num_layers: int = 3
    """Of the student."""
    hidden_dim: int = 192
    """Of the student."""
    steps_per_block: int = 6
    """Steps between changes."""
    blocks: int = 8
    """Blocks of each kind that are measured, after one that is not."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """What one block took."""

    wall_s: float
    """Seconds."""
    cpu_s: float
    """Seconds of all threads."""
    waited_s: float
    """Seconds of waiting for data."""


def write_store(root: Path, options: Options) -> None:
    """Random examples and a random sparse family: their contents decide no time."""
    rng = np.random.default_rng(0)
    n, s, p = options.rows, options.length, options.masked
    positions = np.sort(np.argsort(rng.random((n, s - 2)), axis=1)[:, :p] + 1, axis=1)
    examples = {
        "key": key_rows([make_key(corpus="bench", page=i) for i in range(n)]),
        "ids": rng.integers(1, VOCAB_SIZE, (n, s)).astype(np.uint16),
        "num_tokens": np.full(n, s, np.uint16),
        "segment_split": np.full(n, s // 2, np.uint16),
        "mask_positions": positions.astype(np.uint16),
        "mask_ids": rng.integers(1, VOCAB_SIZE, (n, p)).astype(np.uint16),
        "num_masked": np.full(n, p, np.uint16),
        "is_random_next": np.full(n, 255, np.uint8),
    }
    layout = examples_layout(seq_length=s, max_predictions=p, vocab_size=VOCAB_SIZE)
    parent = _write(root / "examples", "examples", layout, examples, options)
    signal = SparseSignal(k=KEPT, temperatures=(1.0, 2.0, 4.0))
    logits = -np.sort(rng.exponential(size=(n, p, KEPT)), axis=-1)
    start = rng.integers(0, VOCAB_SIZE - KEPT, (n, p, 1))
    labels = {
        "key": examples["key"],
        "digest": input_digest(
            *(examples[name] for name in ("ids", "num_tokens", "segment_split")),
            examples["mask_positions"],
            examples["num_masked"],
        ),
        "num_positions": examples["num_masked"],
        "zmax": np.zeros((n, p), np.float32),
        "ids": (start + np.arange(KEPT)).astype(np.uint16),
        "logits": (logits - logits[..., :1]).astype(np.float16),
        "log_tail": np.full((n, p, 3), -1.0, np.float32),
        "true_logit": np.full((n, p), -1.0, np.float32),
    }
    layout = signal.layout(seq_length=s, max_predictions=p, vocab_size=VOCAB_SIZE, hidden_dim=1)
    settings = {"signal": to_dict(signal)}
    _write(root / "top", "labels", layout, labels, options, settings, {"examples": parent})


def _write(
    directory: Path,
    kind: str,
    layout: Layout,
    rows: dict[str, np.ndarray],
    options: Options,
    settings: dict[str, object] | None = None,
    parents: dict[str, str] | None = None,
) -> str:
    writer = DatasetWriter(
        str(directory),
        name="bench",
        kind=kind,
        layout=layout,
        num_shards=options.shards,
        settings=settings or {},
        parents=parents or {},
    )
    writer.open()
    shards = shards_of(rows["key"], options.shards)
    for index in range(options.shards):
        part = {name: values[shards == index] for name, values in rows.items()}
        writer.write_shard(index, part, lengths=part.get("num_tokens"))
    return writer.finish().id


def make_job(root: Path, options: Options, world: World) -> Job:
    """A run as `train` would set it up."""
    recipe = Recipe(
        name="bench",
        seed=1,
        data=Data(examples=str(root / "examples"), labels={"top": str(root / "top")}),
        model=ModelInit(
            architecture=EncoderArchitecture(
                vocab_size=VOCAB_SIZE,
                num_layers=options.num_layers,
                hidden_dim=options.hidden_dim,
                num_heads=options.hidden_dim // 32,
                intermediate_dim=4 * options.hidden_dim,
                max_positions=options.length,
            )
        ),
        objective=(Term(loss="kl", signal="top", temperature=2.0), Term(loss="mlm", weight=0.5)),
        optimizer=Optimizer(learning_rate=1e-4),
        training=Training(global_batch=options.rows_per_step, steps=1_000_000),
    )
    run = RunDirectory(root / "run")
    run.take({})
    return build_job(open_inputs(recipe), run, world)


def measure(job: Job, options: Options) -> dict[str, list[Block]]:
    """Alternates the blocks; the first of each kind is left out."""
    blocks: dict[str, list[Block]] = {"store": [], "memory": []}
    total = (options.blocks + 1) * options.steps_per_block + 1
    meter = Meter(job.world, num_steps=total, log=None, say=print)
    stop = StopRequest()
    progressed = job.at_start()
    with Stream(job.source, position=0, num_batches=total, prepare=prepare_batch) as stream:
        batches: Iterator[RankBatch] = iter(stream)
        first = next(batches)
        for _ in range(options.blocks + 1):
            for kind, found in blocks.items():
                waited, wall, cpu = stream.wait_s, time.perf_counter(), time.process_time()
                for _ in range(options.steps_per_block):
                    batch = next(batches) if kind == "store" else first
                    progressed, _, _ = advance(job, progressed, batch, stop=stop, meter=meter)
                found.append(
                    Block(
                        wall_s=time.perf_counter() - wall,
                        cpu_s=time.process_time() - cpu,
                        waited_s=stream.wait_s - waited,
                    )
                )
    return {kind: found[1:] for kind, found in blocks.items()}


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    world = ranks.init()
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), options)
        blocks = measure(make_job(Path(folder), options, world), options)
    pairs = list(zip(blocks["store"], blocks["memory"], strict=True))
    ratio = statistics.median(s.wall_s / m.wall_s for s, m in pairs)
    share = sum(s.waited_s for s, _ in pairs) / sum(s.wall_s for s, _ in pairs)
    result = {
        "bench": "train_step",
        "step_s": round(statistics.median(m.wall_s for _, m in pairs) / options.steps_per_block, 4),
        "ratio": round(ratio, 4),
        "cpu_ratio": round(statistics.median(s.cpu_s / m.cpu_s for s, m in pairs), 4),
        "data_share": round(share, 5),
        "goals": {"ratio": 1.03, "data_share": 0.01},
        "met": ratio <= 1.03 and share <= 0.01,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
