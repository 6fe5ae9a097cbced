"""What `bench.extract` works on: synthetic examples, a random teacher, and the loops it is held to.

The loops are written here, with nothing of `extract`: a forward pass with its inputs in memory, and
the way that a first script would take.
"""

# B rows, T tokens, M labelled positions of a batch, V vocabulary

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.labels import positions
from limbeck.records.examples import attention_mask, examples_layout, segment_ids
from limbeck.records.keys import key_rows, make_key, shards_of
from limbeck.records.writer import DatasetWriter
from limbeck.teachers.batching import plan_batches

__all__ = [
    "SHAPES",
    "Cost",
    "Forward",
    "Mix",
    "bare_loop",
    "export_teacher",
    "keras_forward",
    "measured",
    "naive_loop",
    "synthetic_rows",
    "torch_forward",
    "write_examples",
]

VOCAB_SIZE = 30522
SHAPES: dict[str, dict[str, Any]] = {
    "demo": {"num_layers": 6, "hidden_dim": 384, "num_heads": 12, "intermediate_dim": 1536},
    "base": {"num_layers": 12, "hidden_dim": 768, "num_heads": 12, "intermediate_dim": 3072},
}
NAIVE_ROWS = 32
Mix = Literal["full", "sentences"]
Rows = dict[str, np.ndarray]
# (ids, segments, mask) (B, T) and flat indices (M,) -> logits (M, V), still on the device
Forward = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Any]


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


def synthetic_rows(num_rows: int, *, length: int, mix: Mix) -> Rows:
    """Examples of random ids, 15 % of them masked.

    Args:
      num_rows: how many.
      length: token slots.
      mix: full: 80 % of full length, the others from 24 up. sentences: one sentence a row, of 26
        tokens in the mean (log-normal), as in running English text.
    """
    rng = np.random.default_rng(0)
    if mix == "full":
        short = rng.integers(min(24, length), length + 1, num_rows)
        tokens = np.where(rng.random(num_rows) < 0.8, length, short)
    else:
        tokens = np.clip(np.round(rng.lognormal(3.1, 0.55, num_rows)), 6, length).astype(int)
    counts = np.maximum(1, np.round(0.15 * tokens)).astype(int)
    slots = max(1, round(0.15 * length) + 1)
    rows: Rows = {
        "key": key_rows([make_key(corpus="bench", page=i) for i in range(num_rows)]),
        "ids": np.zeros((num_rows, length), np.uint16),
        "num_tokens": tokens.astype(np.uint16),
        "segment_split": tokens.astype(np.uint16),
        "mask_positions": np.zeros((num_rows, slots), np.uint16),
        "mask_ids": np.zeros((num_rows, slots), np.uint16),
        "num_masked": counts.astype(np.uint16),
        "is_random_next": np.full(num_rows, 255, np.uint8),
    }
    for row in range(num_rows):
        rows["ids"][row, : tokens[row]] = rng.integers(1000, VOCAB_SIZE, tokens[row])
        places = np.sort(rng.choice(np.arange(1, tokens[row]), counts[row], replace=False))
        rows["mask_positions"][row, : counts[row]] = places
        rows["mask_ids"][row, : counts[row]] = rng.integers(1000, VOCAB_SIZE, counts[row])
    return rows


def write_examples(directory: str, rows: Rows, *, num_shards: int) -> None:
    """Writes the rows as an examples dataset."""
    layout = examples_layout(
        seq_length=rows["ids"].shape[1],
        max_predictions=rows["mask_positions"].shape[1],
        vocab_size=VOCAB_SIZE,
    )
    writer = DatasetWriter(
        directory,
        name="bench",
        kind="examples",
        layout=layout,
        num_shards=num_shards,
        settings={},
    )
    writer.open()
    shards = shards_of(rows["key"], num_shards)
    for index in range(num_shards):
        mine = {name: values[shards == index] for name, values in rows.items()}
        writer.write_shard(
            index,
            mine,
            lengths=mine["num_tokens"].astype(np.uint32),
            labelled_positions=int(mine["num_masked"].sum()),
        )
    writer.finish()


def export_teacher(directory: str, shape: str) -> None:
    """Writes a teacher of random weights that Keras and PyTorch both read."""
    from limbeck.models.masked_lm import build_masked_lm
    from limbeck.tokens import WordPiece
    from limbeck.weights.hf import export_hf

    architecture = EncoderArchitecture(vocab_size=VOCAB_SIZE, **SHAPES[shape])
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(f"w{i}" for i in range(VOCAB_SIZE - len(special)))]
    vocab_file = f"{directory}-vocab.txt"
    with open(vocab_file, "w", encoding="ascii") as file:
        file.write("\n".join(words) + "\n")
    export_hf(build_masked_lm(architecture, seed=0), directory, tokenizer=WordPiece(vocab_file))


def keras_forward(directory: str) -> Forward:
    """The forward pass of our model, its head at the labelled positions only."""
    import tensorflow as tf

    from limbeck.weights.hf import load_masked_lm

    model, _ = load_masked_lm(directory)
    rows = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[rows, rows, rows, tf.TensorSpec([None], tf.int32)])
    def forward(ids: Any, segments: Any, mask: Any, flat: Any) -> Any:
        states = model.encode(ids, segments, mask).last
        return model.logits(tf.gather(tf.reshape(states, [-1, states.shape[-1]]), flat))

    compiled: Forward = forward
    return compiled


def torch_forward(directory: str) -> Forward:
    """The same of the model in transformers."""
    import torch
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(directory).eval()

    def forward(ids: Any, segments: Any, mask: Any, flat: Any) -> Any:
        with torch.inference_mode():
            states = model.base_model(
                input_ids=torch.from_numpy(ids.astype(np.int64)),
                token_type_ids=torch.from_numpy(segments.astype(np.int64)),
                attention_mask=torch.from_numpy(mask.astype(np.int64)),
            ).last_hidden_state
            chosen = torch.from_numpy(flat.astype(np.int64))
            return model.cls(states.reshape(-1, states.shape[-1])[chosen])

    return forward


def bare_loop(forward: Forward, rows: Rows, *, batch_tokens: int) -> Callable[[], Cost]:
    """A function that runs the forward pass over all rows: of the logits, a number is fetched."""
    plans = plan_batches(
        rows["num_tokens"],
        batch_tokens=batch_tokens,
        length_multiple=16,
        max_length=rows["ids"].shape[1],
    )
    batches = [_inputs(rows, plan.real_rows, plan.length) for plan in plans]

    def run() -> None:
        for batch in batches:
            float(forward(*batch)[0, 0])

    return lambda: measured(run)


def naive_loop(forward: Forward, rows: Rows, path: str) -> Callable[[], Cost]:
    """A function that takes 32 rows at a time, all padded to the longest there can be.

    Same positions, full float32 logits to a file. It too is spared the head at other positions.
    """
    length = rows["ids"].shape[1]

    def batches() -> Iterator[tuple[np.ndarray, ...]]:
        for start in range(0, len(rows["ids"]), NAIVE_ROWS):
            yield _inputs(rows, np.arange(start, min(start + NAIVE_ROWS, len(rows["ids"]))), length)

    def run() -> None:
        with open(path, "wb") as file:
            for batch in batches():
                logits = forward(*batch)
                file.write(np.ascontiguousarray(logits.numpy(), np.float32).data)
            file.flush()
            os.fsync(file.fileno())

    return lambda: measured(run)


def _inputs(rows: Rows, chosen: np.ndarray, length: int) -> tuple[np.ndarray, ...]:
    """ids, segments, mask (B, T) and flat indices (M,) of the labelled positions; int32."""
    picked = {name: values[chosen] for name, values in rows.items()}
    tokens = picked["num_tokens"]
    flat = positions.flatten(picked["num_masked"], picked["mask_positions"].shape[1])
    places = picked["mask_positions"].astype(np.int32)[flat.rows, flat.slots]
    return (
        picked["ids"][:, :length].astype(np.int32),
        segment_ids(tokens, tokens, length).astype(np.int32),
        attention_mask(tokens, length).astype(np.int32),
        (places + flat.rows * length).astype(np.int32),
    )
