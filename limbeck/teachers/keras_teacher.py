"""A teacher that is one of our own models."""

# B rows, T tokens, M chosen positions, D hidden

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels.device.encode import encode
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import Group, Signal, Source
from limbeck.models.basic import made_with
from limbeck.teachers.asked import Asked, asked_of
from limbeck.teachers.keras_inside import encode_body, source_arrays, vocabulary_arrays
from limbeck.teachers.memory import available_bytes, out_of_memory, refuse_without_memory
from limbeck.teachers.our_models import side_of, teacher_head
from limbeck.teachers.parts import filled, parts_of_items, with_draws
from limbeck.teachers.protocol import Answers, Items, LoadOptions, TeacherBatch, TeacherFacts
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.load import model_of

__all__ = ["KerasTeacher", "load_keras_teacher"]

Tensors = dict[str, dict[str, Any]]
# (raw arrays, true ids (M,), draws (M, 2)) -> arrays to fetch
Codec = Callable[[dict[str, Any], Any, Any], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class _Family:
    """A family that is wanted: where its arrays come from and what is made of them."""

    signal: Signal
    codec: Codec

    @property
    def source(self) -> Source:
        return self.signal.source

    @property
    def group(self) -> Group:
        return self.signal.positions


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Encoded positions on the device, of which the first `count` were asked for."""

    arrays: dict[str, Any]
    count: int


def load_keras_teacher(
    checkpoint: Checkpoint, facts: TeacherFacts, *, options: LoadOptions
) -> "KerasTeacher":
    """Makes the model of a checkpoint; turns on TensorFlow's op determinism for the whole process.

    Args:
      checkpoint: what was read.
      facts: what is known of it.
      options: how it computes.

    Raises:
      UsageError: threads cannot be set any more, or weights do not fit the folder's config.
      LimbeckError: a file is damaged.
    """
    _configure(options.threads)
    head = teacher_head(checkpoint)
    with made_with(options.precision):
        model, _ = model_of(
            checkpoint,
            head=head,
            strict=head not in ("encoder", "decoder"),
        )
    return KerasTeacher(
        model, facts, side=lambda signal: side_of(checkpoint, signal), jit=options.jit
    )


class KerasTeacher:
    """Runs a model of ours; see `limbeck.teachers.protocol.Teacher`.

    Only what is stored leaves the accelerator, and the vocabulary projection runs at the chosen
    positions only, `HEAD_ROWS` at a time. Each T is traced once a set of families: give the same
    `Fitted` objects in every call. Under XLA each B is compiled too.

    Args:
      model: with its weights.
      facts: what is known of it.
      side: what a signal's family keeps of it.
      jit: whether XLA compiles it.
    """

    def __init__(
        self,
        model: Any,
        facts: TeacherFacts,
        *,
        side: Callable[[Signal], Side],
        jit: bool = False,
    ) -> None:
        self._model = model
        self._facts = facts
        self._side = side
        self._jit = jit
        architecture = model.architecture
        segments = isinstance(architecture, EncoderArchitecture) and architecture.type_vocab_size
        self._has_segments = segments > 1
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._largest_seen = 0

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

    def side(self, signal: Signal) -> Side:
        """What a family of this signal keeps of the teacher."""
        return self._side(signal)

    def raw(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        """Computes the tensors themselves; see the protocol."""
        families = {n: _Family(signal=signal, codec=_as_it_is) for n, signal in wanted.items()}
        return self._answers(batch, families, key=("raw", *wanted.items()))

    def bare(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> None:
        """Computes the tensors and fetches a number of each; see the protocol."""
        families = {n: _Family(signal=signal, codec=self._a_number) for n, signal in wanted.items()}
        self._answers(batch, families, key=("bare", *wanted.items()))

    def signals(self, batch: TeacherBatch, wanted: Mapping[str, Fitted]) -> Answers:
        """Computes every wanted signal in one forward pass; see the protocol."""
        families = {
            name: _Family(signal=fitted.signal, codec=_codec(fitted))
            for name, fitted in wanted.items()
        }
        return self._answers(batch, families, key=("signals", *wanted.items()))

    def _answers(self, batch: TeacherBatch, families: dict[str, _Family], *, key: Any) -> Answers:
        with refuse_without_memory(
            batch, where=self._facts.where, device=self.device, is_one=_is_out_of_memory
        ):
            tensors = self._run(batch, families, key=key)
            return {name: _numpy(tensors[name]) for name in families}

    def _run(
        self, batch: TeacherBatch, families: dict[str, _Family], *, key: Any
    ) -> dict[str, list[_Part]]:
        """Family -> its arrays, in one part or as many as the head ran in."""
        self._refuse_impossible(batch)
        asked = asked_of(family.signal for family in families.values())
        items = {group: with_draws(batch.items[group]) for group in asked.groups}
        body = self._body_function(batch.ids.shape[1], families, asked, key=key)
        last, found = body(
            batch.ids,
            batch.segment_ids if self._has_segments else np.zeros_like(batch.segment_ids),
            batch.attention_mask,
            *(array for group in asked.groups for array in self._arrays(items[group])),
        )
        answers = {
            name: [_Part(arrays=arrays, count=len(items[families[name].signal.positions].index))]
            for name, arrays in found.items()
        }
        for group in asked.head_groups():
            head = self._head_function(families, asked, group, key=key)
            for part in parts_of_items(items[group]):
                for name, arrays in head(last, *self._arrays(part)).items():
                    done = _Part(arrays=arrays, count=len(part.index))
                    answers.setdefault(name, []).append(done)
        return answers

    def _refuse_impossible(self, batch: TeacherBatch) -> None:
        """On a processor: TensorFlow's own products may end the process where memory ends."""
        if batch.ids.size <= self._largest_seen or tf.config.list_physical_devices("GPU"):
            return
        shape, (rows, tokens) = self._model.architecture, batch.ids.shape
        widest = max(shape.intermediate_dim, shape.num_heads * tokens)
        there = available_bytes()
        # Two tensors at the least: what goes into an activation or a softmax, and what comes out.
        if there is not None and 2 * 4 * rows * tokens * widest > there:
            raise out_of_memory(batch, where=self._facts.where, device=self.device)
        self._largest_seen = batch.ids.size

    def _body_function(
        self, num_tokens: int, families: dict[str, _Family], asked: Asked, *, key: Any
    ) -> Callable[..., Any]:
        """(ids, segment ids, mask, items of every group) -> last states, arrays of the body."""
        chosen = {n: f for n, f in families.items() if (f.source, f.group) in asked.body}

        def compute(
            ids: tf.Tensor, segment_ids: tf.Tensor, mask: tf.Tensor, *flat: tf.Tensor
        ) -> tuple[tf.Tensor, Tensors]:
            encoded = encode_body(self._model, asked, ids, segment_ids, mask)
            items = {group: flat[3 * i : 3 * i + 3] for i, group in enumerate(asked.groups)}
            raw = {
                (source, group): source_arrays(self._model, encoded, source, items[group][0])
                for source, group in asked.body
            }
            found = {
                name: family.codec(raw[family.source, family.group], *items[family.group][1:])
                for name, family in chosen.items()
            }
            last = encoded.last if asked.vocabulary else tf.zeros([0, 0, self._facts.hidden_dim])
            return tf.reshape(last, [-1, self._facts.hidden_dim]), found

        rows = tf.TensorSpec([None, num_tokens], tf.int32)
        signature = [rows, rows, rows, *(len(asked.groups) * _ITEM_SPECS)]
        return self._function(("body", num_tokens, key), compute, signature)

    def _head_function(
        self, families: dict[str, _Family], asked: Asked, group: Group, *, key: Any
    ) -> Callable[..., Any]:
        """(last states, items) -> arrays of the families that the vocabulary's head gives."""
        kinds = {source.kind for source, where in asked.vocabulary if where == group}
        chosen = {
            name: family
            for name, family in families.items()
            if (family.source, family.group) in asked.vocabulary and family.group == group
        }

        def compute(
            last: tf.Tensor, index: tf.Tensor, true_ids: tf.Tensor, draws: tf.Tensor
        ) -> Tensors:
            raw = vocabulary_arrays(self._model, kinds, tf.gather(last, index))
            return {
                name: family.codec(raw[family.source.kind], true_ids, draws)
                for name, family in chosen.items()
            }

        states = tf.TensorSpec([None, self._facts.hidden_dim], self._compute_dtype)
        return self._function(("head", group, key), compute, [states, *_ITEM_SPECS])

    def _function(
        self, key: Any, compute: Callable[..., Any], signature: list[Any]
    ) -> Callable[..., Any]:
        if key not in self._compiled:
            # XLA compiles every number of positions as it comes, of which `filled` leaves few.
            function = tf.function(
                compute,
                input_signature=None if self._jit else signature,
                autograph=False,
                jit_compile=self._jit,
            )
            # One trace a key: TensorFlow, which counts traces by the code, would warn of many.
            self._compiled[key] = function if self._jit else function.get_concrete_function()
        return self._compiled[key]

    def _a_number(self, raw: dict[str, Any], _true_ids: Any, _draws: Any) -> dict[str, Any]:
        """The first of every array; under XLA, which would compute no other, the largest."""
        if self._jit:
            return {name: tf.reduce_max(x)[tf.newaxis] for name, x in raw.items()}
        return {name: tf.reshape(x, [-1])[:1] for name, x in raw.items()}

    @property
    def _compute_dtype(self) -> str:
        body = getattr(self._model, "encoder", None) or self._model.decoder
        return str(body.compute_dtype)

    def _arrays(self, items: Items) -> tuple[Any, Any, Any]:
        given = filled(items) if self._jit else items
        return given.index, given.true_ids, given.draws


_ITEM_SPECS = (
    tf.TensorSpec([None], tf.int32),
    tf.TensorSpec([None], tf.int32),
    tf.TensorSpec([None, 2], tf.int32),
)


def _codec(fitted: Fitted) -> Codec:
    def codec(raw: dict[str, Any], true_ids: Any, draws: Any) -> dict[str, Any]:
        arrays: dict[str, Any] = encode(fitted, raw, true_ids=true_ids, draws=draws)
        return arrays

    return codec


def _as_it_is(raw: dict[str, Any], _true_ids: Any, _draws: Any) -> dict[str, Any]:
    return dict(raw)


def _numpy(parts: list[_Part]) -> dict[str, np.ndarray]:
    arrays = {
        name: [part.arrays[name].numpy()[: part.count] for part in parts]
        for name in parts[0].arrays
    }
    return {name: x[0] if len(x) == 1 else np.concatenate(x) for name, x in arrays.items()}


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return True
    return isinstance(error, tf.errors.OpError) and "RESOURCE_EXHAUSTED" in str(error)


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
