"""Extraction against the bare teacher on the same tokens, in one process.

    python -m bench.extract [--shape demo|base] [--rows N] [--repeats R]

bare     the teacher's forward pass with its head at the labelled positions: inputs in memory,
         batches planned over all rows at once, no padded slot in the head, nothing fetched
extract  everything that `extract run` does after its start: read and check the examples, plan
         shard by shard, forward, codec, fetch, check, digest, write with CRC and fsync

The two alternate; the ratio is bare time / extract time, paired and as a median. `cpu_ratio` is
the same of CPU seconds of all threads, which a busy machine disturbs less. Goals: >= 0.85 on
the demo teacher (6 layers x 384, length 64), >= 0.95 on a BERT-base shape. Weights are random.
Prints one JSON line last.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tyro

from extract.batching import plan_batches
from extract.job import prepare
from extract.run import run_shards
from extract.settings import ExtractSettings
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.labels import HiddenSignal, SparseSignal, positions
from limbeck.models.masked_lm import MaskedLM, build_masked_lm
from limbeck.records.examples import attention_mask, examples_layout, segment_ids
from limbeck.records.keys import key_rows, make_key, shards_of
from limbeck.records.writer import DatasetWriter
from limbeck.tokens import WordPiece
from limbeck.weights.hf import export_hf, load_masked_lm

VOCAB_SIZE = 30522
SHAPES = {
    "demo": {"num_layers": 6, "hidden_dim": 384, "num_heads": 12, "intermediate_dim": 1536},
    "base": {"num_layers": 12, "hidden_dim": 768, "num_heads": 12, "intermediate_dim": 3072},
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    shape: Literal["demo", "base"] = "demo"
    """Which teacher: the demo's (6 layers x 384) or BERT-base."""
    rows: int = 384
    """Examples, of 24 to `length` tokens, most of them full."""
    length: int = 64
    """Token slots of an example."""
    shards: int = 2
    """Shards of the examples."""
    k: int = 16
    """Kept ids of the sparse family."""
    hidden: bool = False
    """Also keep the last layer's states at all positions."""
    batch_tokens: int = 2048
    """Token budget of a batch, for both sides."""
    threads: int = 2
    """CPU threads."""
    repeats: int = 5
    """Pairs measured, after one of each that is not."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one pass over the tokens took."""

    wall_s: float
    """Elapsed seconds."""
    cpu_s: float
    """CPU seconds of all threads of the process."""


def measured(work: Callable[[], object]) -> Cost:
    """Runs `work` once."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return Cost(wall_s=time.perf_counter() - wall_s, cpu_s=time.process_time() - cpu_s)


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description="Extraction against the bare teacher forward.")
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    with tempfile.TemporaryDirectory() as scratch:
        rows = synthetic_rows(options)
        write_examples(f"{scratch}/examples", rows, options)
        export_teacher(f"{scratch}/teacher", options)
        bare = bare_forward(f"{scratch}/teacher", rows, options)
        labelled = extraction(scratch, options)
        bare(), labelled()  # traces graphs, warms caches
        pairs = [(bare(), labelled()) for _ in range(options.repeats)]
    ratios = [b.wall_s / e.wall_s for b, e in pairs]
    cpu_ratios = [b.cpu_s / e.cpu_s for b, e in pairs]
    tokens = int(rows["num_tokens"].sum())
    result = {
        "bench": "extract",
        "shape": options.shape,
        "rows": options.rows,
        "tokens": tokens,
        "positions": int(rows["num_masked"].sum()),
        "bare_tokens_per_s": round(tokens / statistics.median(b.wall_s for b, _ in pairs), 1),
        "extract_tokens_per_s": round(tokens / statistics.median(e.wall_s for _, e in pairs), 1),
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(r, 4) for r in ratios],
        "cpu_ratio": round(statistics.median(cpu_ratios), 4),
        "goal": 0.95 if options.shape == "base" else 0.85,
    }
    print(json.dumps(result))


def synthetic_rows(options: Options) -> dict[str, np.ndarray]:
    """Examples of random ids: 80 % of full length, the others from 24 up; 15 % masked."""
    rng = np.random.default_rng(0)
    n, length = options.rows, options.length
    slots = max(1, round(0.15 * length) + 1)
    short = rng.integers(min(24, length), length + 1, n)
    tokens = np.where(rng.random(n) < 0.8, length, short)
    counts = np.maximum(1, np.round(0.15 * tokens)).astype(int)
    rows = {
        "key": key_rows([make_key(corpus="bench", page=i) for i in range(n)]),
        "ids": np.zeros((n, length), np.uint16),
        "num_tokens": tokens.astype(np.uint16),
        "segment_split": tokens.astype(np.uint16),
        "mask_positions": np.zeros((n, slots), np.uint16),
        "mask_ids": np.zeros((n, slots), np.uint16),
        "num_masked": counts.astype(np.uint16),
        "is_random_next": np.full(n, 255, np.uint8),
    }
    for row in range(n):
        rows["ids"][row, : tokens[row]] = rng.integers(1000, VOCAB_SIZE, tokens[row])
        places = np.sort(rng.choice(np.arange(1, tokens[row]), counts[row], replace=False))
        rows["mask_positions"][row, : counts[row]] = places
        rows["mask_ids"][row, : counts[row]] = rng.integers(1000, VOCAB_SIZE, counts[row])
    return rows


def write_examples(directory: str, rows: dict[str, np.ndarray], options: Options) -> None:
    """Writes the rows as an examples dataset."""
    layout = examples_layout(
        seq_length=options.length,
        max_predictions=rows["mask_positions"].shape[1],
        vocab_size=VOCAB_SIZE,
    )
    writer = DatasetWriter(
        directory,
        name="bench",
        kind="examples",
        layout=layout,
        num_shards=options.shards,
        settings={},
    )
    writer.open()
    shards = shards_of(rows["key"], options.shards)
    for index in range(options.shards):
        mine = {name: values[shards == index] for name, values in rows.items()}
        writer.write_shard(
            index,
            mine,
            lengths=mine["num_tokens"].astype(np.uint32),
            labelled_positions=int(mine["num_masked"].sum()),
        )
    writer.finish()


def export_teacher(directory: str, options: Options) -> None:
    """Writes a teacher of random weights."""
    shape = EncoderArchitecture(vocab_size=VOCAB_SIZE, **SHAPES[options.shape])
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(f"w{i}" for i in range(VOCAB_SIZE - len(special)))]
    vocab_file = f"{directory}-vocab.txt"
    with open(vocab_file, "w", encoding="ascii") as file:
        file.write("\n".join(words) + "\n")
    model = build_masked_lm(shape, seed=0)
    export_hf(model, directory, tokenizer=WordPiece(vocab_file))


def bare_forward(
    directory: str, rows: dict[str, np.ndarray], options: Options
) -> Callable[[], Cost]:
    """A function that runs the teacher over all rows once."""
    model, _ = load_masked_lm(directory)
    batches = [bare_batch(rows, plan) for plan in plan_all(rows, options)]
    forward = bare_graph(model)

    def forward_all() -> None:
        for batch in batches:
            checksum = forward(*batch)
        checksum.numpy()

    return lambda: measured(forward_all)


def plan_all(rows: dict[str, np.ndarray], options: Options):
    """Batches over all rows at once: the ideal that no shard border disturbs."""
    return plan_batches(
        rows["num_tokens"],
        batch_tokens=options.batch_tokens,
        length_multiple=16,
        max_length=options.length,
    )


def bare_batch(rows: dict[str, np.ndarray], plan) -> tuple[tf.Tensor, ...]:
    """ids, segments, mask (B, T) and flat indices (M,) of the labelled positions."""
    real = plan.rows[: plan.num_real]
    picked = {name: values[real] for name, values in rows.items()}
    tokens = picked["num_tokens"]
    flat = positions.flatten(picked["num_masked"], picked["mask_positions"].shape[1])
    places = picked["mask_positions"].astype(np.int32)[flat.rows, flat.slots]
    return (
        tf.constant(picked["ids"][:, : plan.length].astype(np.int32)),
        tf.constant(segment_ids(tokens, tokens, plan.length).astype(np.int32)),
        tf.constant(attention_mask(tokens, plan.length).astype(np.int32)),
        tf.constant((places + flat.rows * plan.length).astype(np.int32)),
    )


def bare_graph(model: MaskedLM):
    """The forward pass; of its logits only one number a batch leaves it."""

    @tf.function(reduce_retracing=True)
    def forward(ids, segments, mask, flat):
        states = model.encode(ids, segments, mask).last
        rows = tf.gather(tf.reshape(states, [-1, states.shape[-1]]), flat)
        return model.logits(rows)[0, 0]

    return forward


def extraction(scratch: str, options: Options) -> Callable[[], Cost]:
    """A function that labels all shards into a fresh OUT."""
    families = {"sparse": SparseSignal(k=options.k)}
    if options.hidden:
        families["hidden"] = HiddenSignal(layer=SHAPES[options.shape]["num_layers"])
    count = 0
    teacher = None

    def run() -> Cost:
        nonlocal count, teacher
        count += 1
        settings = ExtractSettings(
            examples=f"{scratch}/examples",
            teacher=f"{scratch}/teacher",
            out=f"{scratch}/out-{count}",
            families=families,
            batch_tokens=options.batch_tokens,
        )
        job = prepare(settings, teacher=teacher)
        teacher = job.teacher  # its graphs are traced once, as in one long run
        return measured(lambda: run_shards(job, settings))

    return run


if __name__ == "__main__":
    main()
