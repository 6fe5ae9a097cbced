"""Records as other systems write and read them, by TensorFlow's own hands."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.interop import ImportSettings

S, P, K, V = 16, 4, 3, 90  # sequence, slots, kept ids, vocabulary

Record = dict[str, np.ndarray]


def make_record(rng: np.random.Generator, *, labelled: bool) -> Record:
    """One record as the first seed writes it: sorted masks, teacher rows also for padding slots."""
    tokens, masked = int(rng.integers(3, S + 1)), int(rng.integers(0, P))
    split = int(rng.integers(1, tokens + 1))
    slot = np.arange(S)
    positions = np.sort(rng.choice(tokens, size=min(masked, tokens), replace=False))
    real = (np.arange(P) < len(positions)).astype(np.float32)
    padded = np.zeros(P, np.int64)
    padded[: len(positions)] = positions
    record = {
        "input_ids": np.where(slot < tokens, rng.integers(1, V, S), 0),
        "input_mask": (slot < tokens).astype(np.int64),
        "segment_ids": ((slot >= split) & (slot < tokens)).astype(np.int64),
        "masked_lm_positions": padded,
        "masked_lm_ids": np.where(real > 0, rng.integers(1, V, P), 0),
        "masked_lm_weights": real,
        "next_sentence_labels": rng.integers(0, 2, 1),
    }
    if labelled:
        logits = rng.normal(size=(P, V)) * 3
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        top = np.argsort(-p, axis=1)[:, :K]
        top = rng.permuted(top, axis=1)  # `sorted=False`
        record["top_k_indices"] = top.reshape(-1)
        record["truncated_masked_lm_probs"] = (
            np.take_along_axis(p, top, axis=1).reshape(-1).astype(np.float32)
        )
    return record


def make_records(count: int, *, labelled: bool, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    return [make_record(rng, labelled=labelled) for _ in range(count)]


def write_with_tensorflow(path: Path, records: Iterable[Record]) -> Path:
    import tensorflow as tf

    def feature(values: np.ndarray) -> Any:
        if values.dtype == np.float32:
            return tf.train.Feature(float_list=tf.train.FloatList(value=values.tolist()))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values.tolist()))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = tf.train.Features(feature={n: feature(v) for n, v in record.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return path


def read_with_tensorflow(path: Path, *, labelled: bool) -> list[Record]:
    """As the systems that the records are for read them: fixed lengths, nothing optional."""
    import tensorflow as tf

    spec = {
        "input_ids": tf.io.FixedLenFeature([S], tf.int64),
        "input_mask": tf.io.FixedLenFeature([S], tf.int64),
        "segment_ids": tf.io.FixedLenFeature([S], tf.int64),
        "masked_lm_positions": tf.io.FixedLenFeature([P], tf.int64),
        "masked_lm_ids": tf.io.FixedLenFeature([P], tf.int64),
        "masked_lm_weights": tf.io.FixedLenFeature([P], tf.float32),
        "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
    }
    if labelled:
        spec["truncated_masked_lm_probs"] = tf.io.FixedLenFeature([P * K], tf.float32)
        spec["top_k_indices"] = tf.io.FixedLenFeature([P * K], tf.int64)
    return [
        {n: v.numpy() for n, v in tf.io.parse_single_example(raw, spec).items()}
        for raw in tf.data.TFRecordDataset(str(path))
    ]


def import_settings(files: list[Path], out: Path, schema: str, **options: Any) -> ImportSettings:
    return ImportSettings(
        files=tuple(map(str, files)),
        schema=schema,  # type: ignore[arg-type]
        out=str(out),
        **{"vocab_size": V, **options},
    )


def mutated(records: list[Record], index: int, **changes: Any) -> list[Record]:
    out = [dict(record) for record in records]
    for name, value in changes.items():
        if value is None:
            del out[index][name]
        else:
            out[index][name] = np.asarray(value)
    return out
