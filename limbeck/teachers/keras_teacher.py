"""A teacher that is one of our own models."""

# B rows, T tokens, P slots for masked positions, M used slots of all rows together
# V vocabulary, D hidden

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.architectures.bert import BertArchitecture
from limbeck.labels import HiddenSignal, Signal, SparseSignal
from limbeck.labels.device.hidden import encode_states
from limbeck.labels.device.sparse import top_k_with_tail
from limbeck.labels.positions import FlatPositions, unflatten
from limbeck.models.bert import EncoderOutput
from limbeck.models.masked_lm import MaskedLM
from limbeck.teachers.protocol import TeacherBatch

__all__ = ["KerasTeacher"]

Answers = dict[str, dict[str, Any]]


class KerasTeacher:
    """Runs a masked LM; see `limbeck.teachers.protocol.Teacher`.

    Only what is stored leaves the accelerator, and the vocabulary projection runs at the masked
    positions only. Each (B, T) is compiled once.

    Args:
      model: with its weights.
      fingerprint: of the folder they came from.
    """

    def __init__(self, model: MaskedLM, *, fingerprint: str) -> None:
        self._model = model
        self._fingerprint = fingerprint
        self._compiled: dict[Any, Callable[..., Answers]] = {}

    @property
    def architecture(self) -> BertArchitecture:
        """The model's shape."""
        return self._model.architecture

    @property
    def fingerprint(self) -> str:
        """Hex digits that name its shape and weights."""
        return self._fingerprint

    @property
    def vocab_size(self) -> int:
        """Number of ids it reads and predicts."""
        return self.architecture.vocab_size

    @property
    def max_positions(self) -> int:
        """Longest input, in tokens."""
        return self.architecture.max_positions

    def signals(
        self, batch: TeacherBatch, wanted: Mapping[str, Signal]
    ) -> dict[str, dict[str, np.ndarray]]:
        """Computes every wanted signal in one forward pass; see the protocol."""
        num_rows, num_tokens = batch.ids.shape
        num_slots = batch.positions.shape[1]
        flat = _used(batch)
        answers = self._function(batch.ids.shape, wanted)(
            batch.ids,
            batch.segment_ids,
            batch.attention_mask,
            (flat.rows * num_tokens + batch.positions[flat.rows, flat.slots]).astype(np.int32),
            batch.true_ids[flat.rows, flat.slots],
        )
        out: dict[str, dict[str, np.ndarray]] = {}
        for name, signal in wanted.items():
            arrays = {field: values.numpy() for field, values in answers[name].items()}
            if signal.positions == "masked":
                arrays = {
                    field: unflatten(values, flat, num_rows=num_rows, num_slots=num_slots)
                    for field, values in arrays.items()
                }
            out[name] = arrays
        return out

    def _function(
        self, shape: tuple[int, ...], wanted: Mapping[str, Signal]
    ) -> Callable[..., Answers]:
        key = (shape, tuple(wanted.items()))
        if key not in self._compiled:
            rows, flat = tf.TensorSpec(shape, tf.int32), tf.TensorSpec([None], tf.int32)
            signature = [rows, rows, rows, flat, flat]
            self._compiled[key] = tf.function(
                lambda *arrays: self._answers(dict(wanted), *arrays),
                input_signature=signature,
                autograph=False,
            )
        return self._compiled[key]

    def _answers(
        self,
        wanted: Mapping[str, Signal],
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        positions: tf.Tensor,
        true_ids: tf.Tensor,
    ) -> Answers:
        """Answers at flat positions (M,) of B * T tokens."""
        layers = {s.layer for s in wanted.values() if isinstance(s, HiddenSignal)}
        encoded = self._model.encode(
            ids, segment_ids, attention_mask, hidden_layers=tuple(sorted(layers))
        )
        logits = None
        answers: Answers = {}
        for name, signal in wanted.items():
            if isinstance(signal, SparseSignal):
                if logits is None:
                    logits = self._model.logits(_at(encoded.last, positions))
                answers[name] = top_k_with_tail(
                    logits, true_ids, k=signal.k, temperatures=signal.temperatures
                )
            else:
                answers[name] = {"states": _states(signal, encoded, positions)}
        return answers


def _used(batch: TeacherBatch) -> FlatPositions:
    rows, slots = np.nonzero(batch.used_slots)
    return FlatPositions(rows=rows, slots=slots)


def _states(signal: HiddenSignal, encoded: EncoderOutput, positions: tf.Tensor) -> tf.Tensor:
    states = encoded.hidden[signal.layer]
    if signal.positions == "masked":
        states = _at(states, positions)
    elif signal.positions == "first":
        states = states[:, :1]
    return encode_states(states, dtype=signal.dtype)


def _at(states: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """(B, T, D) at flat positions (M,) -> (M, D)."""
    batch, num_tokens, dim = states.shape
    return tf.gather(tf.reshape(states, [batch * num_tokens, dim]), positions)
