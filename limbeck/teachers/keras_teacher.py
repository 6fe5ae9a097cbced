"""A teacher that is one of our own models."""

# B rows, T tokens, P slots for masked positions, M used slots of all rows together
# V vocabulary, D hidden

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, Signal, SparseSignal
from limbeck.labels.device.hidden import encode_states
from limbeck.labels.device.sparse import top_k_with_tail
from limbeck.teachers.protocol import Answers, TeacherBatch, TeacherFacts
from limbeck.teachers.slots import UsedSlots
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.load import model_of

__all__ = ["KerasTeacher", "load_keras_teacher"]

Tensors = dict[str, dict[str, Any]]


def load_keras_teacher(
    checkpoint: Checkpoint, facts: TeacherFacts, *, threads: int = 0
) -> "KerasTeacher":
    """Makes the model of a checkpoint; turns on TensorFlow's op determinism for the whole process.

    Args:
      checkpoint: what was read.
      facts: what is known of it.
      threads: CPU threads; 0 leaves the choice to TensorFlow.

    Raises:
      UsageError: threads cannot be set any more, or weights do not fit the folder's config.
      LimbeckError: a file is damaged.
    """
    _configure(threads)
    # A head that is not there is drawn, and `facts.check` keeps everybody from asking for it.
    encoder = isinstance(checkpoint.architecture, EncoderArchitecture)
    model, _ = model_of(
        checkpoint,
        head="masked_lm" if encoder else "causal_lm",
        missing_head="initialise",
        strict=facts.why_no_logits is None,
    )
    return KerasTeacher(model, facts)


class KerasTeacher:
    """Runs a model of ours; see `limbeck.teachers.protocol.Teacher`.

    Only what is stored leaves the accelerator, and the vocabulary projection runs at the masked
    positions only. Each (B, T) is compiled once.

    Args:
      model: with its weights; `encode` gives its states and `logits` its head.
      facts: what is known of it.
    """

    def __init__(self, model: Any, facts: TeacherFacts) -> None:
        self._model = model
        self._facts = facts
        architecture = model.architecture
        segments = isinstance(architecture, EncoderArchitecture) and architecture.type_vocab_size
        self._has_segments = segments > 1
        self._compiled: dict[Any, Callable[..., Tensors]] = {}

    @property
    def facts(self) -> TeacherFacts:
        """What is known of it."""
        return self._facts

    @property
    def device(self) -> str:
        """The first accelerator, or the processor."""
        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return f"cpu ({os.cpu_count()} cores)"
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu"))

    def signals(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        """Computes every wanted signal in one forward pass; see the protocol."""
        slots = UsedSlots(batch)
        answers = self._function(batch.ids.shape, wanted)(
            batch.ids,
            batch.segment_ids if self._has_segments else np.zeros_like(batch.segment_ids),
            batch.attention_mask,
            slots.tokens,
            slots.true_ids,
        )
        arrays = {
            name: {field: values.numpy() for field, values in answers[name].items()}
            for name in wanted
        }
        return slots.fill(arrays, wanted)

    def _function(
        self, shape: tuple[int, ...], wanted: Mapping[str, Signal]
    ) -> Callable[..., Tensors]:
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
    ) -> Tensors:
        """Answers at flat positions (M,) of B * T tokens."""
        layers = {s.layer for s in wanted.values() if isinstance(s, HiddenSignal)}
        encoded = self._model.encode(
            ids, segment_ids, attention_mask, hidden_layers=tuple(sorted(layers))
        )
        logits = None
        answers: Tensors = {}
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


def _states(signal: HiddenSignal, encoded: Any, positions: tf.Tensor) -> tf.Tensor:
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


def _configure(threads: int) -> None:
    """Sets threads, where TensorFlow still lets us, and determinism."""
    tf.config.experimental.enable_op_determinism()
    if not threads or tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise UsageError(
            f"threads is {threads}, but TensorFlow is running already in this process; set "
            "threads to 0, or extract in a process of its own"
        ) from error
