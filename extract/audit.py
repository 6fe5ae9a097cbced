"""What a family's codec loses: stored labels against the teacher's full answer on a sample."""

# n records of the sample, N labelled positions of them, V vocabulary, K kept ids, D hidden width

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from extract.inspection import open_family
from limbeck.config.command import before_work
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import Signal, SparseSignal, positions, sparse
from limbeck.models.masked_lm import MaskedLM
from limbeck.records.dataset import Dataset, check_rows_match, open_dataset
from limbeck.records.examples import attention_mask, segment_ids
from limbeck.records.keys import input_digest
from limbeck.weights.fingerprint import fingerprint
from limbeck.weights.hf import load_masked_lm

__all__ = ["codec_error", "measure"]

Rows = Mapping[str, np.ndarray]
ROWS_AT_A_TIME = 16


def measure(family_dir: str, *, examples_dir: str, teacher_dir: str, sample: int) -> list[str]:
    """Compares evenly spaced records with the teacher, computed again in float32.

    Args:
      family_dir: a finished label family.
      examples_dir: the examples it was made from.
      teacher_dir: the teacher it was made with.
      sample: how many records.

    Raises:
      UsageError: the three do not belong together.
      LimbeckError: a label belongs to another input.
    """
    with before_work():
        if sample < 1:
            raise UsageError(f"--sample must be at least 1, got {sample}")
        family, signal = open_family(family_dir)
        examples = open_dataset(examples_dir, kind="examples")
        check_rows_match(examples, family)
        made_with = str((family.content.teacher or {}).get("fingerprint"))
        if fingerprint(teacher_dir) != made_with:
            raise UsageError(
                f"{family_dir} was made with teacher {made_with[:12]}, not with {teacher_dir}"
            )
        model, _ = load_masked_lm(teacher_dir)
    with family, examples:
        spaced = np.linspace(0, examples.num_rows - 1, min(sample, examples.num_rows))
        chosen = np.unique(spaced.astype(np.int64)) if examples.num_rows else np.zeros(0, np.int64)
        errors: list[Mapping[str, np.ndarray]] = [
            _errors(examples, family, signal, model, part)
            for part in np.array_split(chosen, -(-len(chosen) // ROWS_AT_A_TIME) or 1)
        ]
    merged = {name: np.concatenate([e[name] for e in errors]) for name in errors[0]}
    lines = [f"codec error on {len(chosen)} records:"]
    for name, values in merged.items():
        if len(values):
            lines.append(f"  {name}: mean {values.mean():.3e}, largest {values.max():.3e}")
    return lines


def codec_error(stored: Rows, logits: np.ndarray, signal: SparseSignal) -> dict[str, np.ndarray]:
    """KL(exact || stored) over the K kept ids and the bucket, at each grid temperature.

    Args:
      stored: arrays of the sparse codec at N positions.
      logits: (N, V) the teacher's full logits there.
      signal: how they were stored.

    Returns:
      `KL at T 1, nats` and so on -> (N,) float64.
    """
    decoded = sparse.decode(stored, temperatures=signal.temperatures)
    errors = {}
    for temperature in signal.temperatures:
        log_q = sparse.target(decoded, temperature=temperature).astype(np.float64)
        z = logits.astype(np.float64) / temperature
        log_p = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
        head = np.take_along_axis(log_p, decoded.ids, axis=-1)
        np.put_along_axis(log_p, decoded.ids, -np.inf, axis=-1)
        tail = np.logaddexp.reduce(log_p, axis=-1, keepdims=True)
        exact = np.concatenate([head, tail], axis=-1)
        p = np.exp(exact)
        difference = np.where(p > 0, exact, 0.0) - np.where(p > 0, log_q, 0.0)
        errors[f"KL at T {temperature:g}, nats"] = (p * difference).sum(axis=-1)
    return errors


def _errors(
    examples: Dataset, family: Dataset, signal: Signal, model: MaskedLM, chosen: np.ndarray
) -> dict[str, np.ndarray]:
    rows, stored = examples.read(chosen), family.read(chosen)
    _check_digests(rows, stored, signal, where=family.directory)
    length = int(rows["num_tokens"].max(initial=1))
    tokens, split = rows["num_tokens"], rows["segment_split"]
    encoded = model.encode(
        tf.constant(rows["ids"][:, :length].astype(np.int32)),
        tf.constant(segment_ids(tokens, split, length).astype(np.int32)),
        tf.constant(attention_mask(tokens, length).astype(np.int32)),
        hidden_layers=() if isinstance(signal, SparseSignal) else (signal.layer,),
    )
    num_slots = stored["zmax" if isinstance(signal, SparseSignal) else "states"].shape[1]
    flat = positions.flatten(stored["num_positions"], num_slots)
    places = flat.slots
    if signal.positions == "masked":
        places = rows["mask_positions"].astype(np.int64)[flat.rows, flat.slots]
    where = np.stack([flat.rows, places], axis=-1)
    if isinstance(signal, SparseSignal):
        logits = model.logits(tf.gather_nd(encoded.last, where)).numpy()
        fields = ("ids", "logits", "log_tail")
        return codec_error(
            {name: stored[name][flat.rows, flat.slots] for name in fields}, logits, signal
        )
    exact = tf.gather_nd(encoded.hidden[signal.layer], where).numpy().astype(np.float64)
    kept = stored["states"][flat.rows, flat.slots].astype(np.float64)
    return {
        "relative error of a state": _lengths(kept - exact) / np.maximum(_lengths(exact), 1e-30)
    }


def _check_digests(rows: Rows, stored: Rows, signal: Signal, *, where: str) -> None:
    selected = (rows["mask_positions"], rows["num_masked"])
    expected = input_digest(
        rows["ids"],
        rows["num_tokens"],
        rows["segment_split"],
        *(selected if signal.digest_covers_positions else ()),
    )
    wrong = (stored["key"] != rows["key"]).any(-1) | (stored["digest"] != expected).any(-1)
    if wrong.any():
        key = rows["key"][int(np.argmax(wrong))].tobytes().hex()
        raise LimbeckError(f"{where}: the label of record {key} belongs to another input")


def _lengths(states: np.ndarray) -> np.ndarray:
    return np.sqrt((states**2).sum(axis=-1))
