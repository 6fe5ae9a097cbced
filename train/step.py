"""One update: gradients of micro-batches, their sum over ranks, clipping, the optimiser.

The parts are separate compiled functions: the sum over ranks stays outside of what XLA may compile
and its time can be told from the rest. Gradients travel as one named group in a fixed order and
are never divided: each term of the objective already is, by its global count. Clipping comes after
the sum, so every rank clips by the same norm. The update is one XLA program, unless the model is
small: it is bound by memory, and fused it passes over weights and slots once.
"""

# m rows, T tokens, J terms

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from limbeck import ranks
from limbeck.models.basic import Precision
from limbeck.models.dropout import DropoutKeys
from train.objective import Objective
from train.reading.batch import MicroBatch
from train.recipe import Optimizer
from train.students.forward import forward
from train.students.student import Student
from train.updates.loss_scale import LossScale
from train.updates.optimizers import AdamFamily

__all__ = ["Gradients", "Outcome", "TrainStep", "Update", "batch_spec", "to_tensors"]

Outcome = Literal["applied", "overflow", "not_finite"]
Wire = Literal["float32", "float16", "adasum"]

# Parameters from which the update is compiled by XLA. On one core, 17 M of them then take 38 ms
# where they took 75; compiling costs about 20 ms a variable, once.
COMPILED_FROM = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """What a batch leaves: local until summed over ranks."""

    grads: list[Any]
    """One dense tensor per trained variable of the student, in its order."""

    sums: Any
    """(J,) float32 S_j."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What became of a step's gradients."""

    norm: float
    """Their global norm, before clipping; nan or inf where they are not finite."""

    outcome: Outcome
    """applied; or the weights were left alone, since the gradient overflowed at its loss scale
    (overflow), or since loss or gradient are not finite (not_finite)."""


class TrainStep:
    """The compiled functions of a run, and its optimiser.

    Args:
      student: built model and projections.
      objective: the terms.
      settings: the optimiser's.
      seed: the recipe's; keys the dropout masks.
      example: any micro-batch of the run, for dtypes and ranks of its arrays.
      precision: of the student; float16 gets a loss scale.
    """

    def __init__(
        self,
        student: Student,
        objective: Objective,
        settings: Optimizer,
        *,
        seed: int,
        example: MicroBatch,
        precision: Precision = "float32",
    ) -> None:
        self.loss_scale = LossScale() if precision == "mixed_float16" else None
        self.student = student
        self.objective = objective
        named = student.named_variables
        trained = {name: v for name, v in named.items() if name not in student.frozen}
        self.optimizer = AdamFamily(settings, trained)
        self._clip_norm = settings.clip_norm
        self._seed = seed
        self._signature: Any = None
        self.renew(example)
        self._add = tf.function(_add)
        self._norm = tf.function(tf.linalg.global_norm)
        size = sum(math.prod(v.shape) for v in student.trained)
        self._update = tf.function(self._apply, jit_compile=size >= COMPILED_FROM or None)

    def renew(self, example: MicroBatch) -> None:
        """Forgets compiled functions that another number of ranks makes wrong.

        What sums over ranks has their number built in: with one rank it sums nothing. What computes
        on a micro-batch has the rows of one.

        Args:
          example: any micro-batch, as the source of the ranks that there are now cuts it.
        """
        # Shapes that vary are open from the first call on: a graph that depended on which shapes
        # came first would differ after a resume.
        batch, at = batch_spec(example), tf.TensorSpec((), tf.int32)
        factors = tf.TensorSpec((len(self.objective.terms),), tf.float32)
        if self._signature != (batch, factors, at):
            self._signature = (batch, factors, at)
            self._micro: Any = None  # compiled at the first call: what is settled has own shapes
            self._statistics = tf.function(self._batch_statistics, input_signature=(batch, at))
        self._reduce: Mapping[Wire, Any] = {
            "float32": tf.function(_sum_over_ranks),
            "float16": tf.function(_sum_in_float16),
            "adasum": tf.function(_adasum),
        }

    def gradients(
        self,
        batches: Sequence[MicroBatch],
        factors: Any,
        *,
        step: int,
        settled: Sequence[np.ndarray] = (),
    ) -> Gradients:
        """Adds up the gradients of this rank's micro-batches, in their order.

        Args:
          batches: micro-batches as tensors, all of the same m.
          factors: (J,) float32 from `Objective.factors` of the global counts.
          step: updates made before this one; keys the dropout masks.
          settled: of `settle`.
        """
        at = tf.constant(step, tf.int32)
        constants = [tf.constant(array, tf.float32) for array in settled]
        if self._micro is None:
            fixed = [tf.TensorSpec(array.shape, tf.float32) for array in constants]
            signature = (*self._signature, *fixed)
            self._micro = tf.function(self._micro_gradients, input_signature=signature)
        total = self._micro(batches[0], factors, at, *constants)
        for batch in batches[1:]:
            total = self._add(total, self._micro(batch, factors, at, *constants))
        return Gradients(grads=list(total[:-1]), sums=total[-1])

    def settle(
        self, batches: Sequence[MicroBatch], counts: np.ndarray, *, step: int
    ) -> list[np.ndarray]:
        """What terms of reach `batch` need of the global batch: a forward pass and a collective.

        Args:
          batches: as for `gradients`.
          counts: (J,) global.
          step: as for `gradients`: the dropout masks are the same.
        """
        if not self.objective.has_batch_terms:
            return []
        at = tf.constant(step, tf.int32)
        total = self._statistics(batches[0], at)
        for batch in batches[1:]:
            total = self._add(total, self._statistics(batch, at))
        totals = ranks.sum_group(total, name="statistics")
        return self.objective.settle([array.numpy() for array in totals], counts)

    def reduce(self, local: Gradients, *, wire: Wire = "float32") -> Gradients:
        """Sums over all ranks, as one named group; with several ranks `wire` says how."""
        *grads, sums = self._reduce[wire]([*local.grads, local.sums])
        return Gradients(grads=grads, sums=sums)

    def update(self, total: Gradients, *, learning_rate: float) -> Update:
        """Clips by the global norm and applies, or leaves the weights alone and counts it.

        The decision follows from the sums over ranks, so it is the same on all of them.
        """
        norm = self.norm(total)
        scale = self.loss_scale
        if not np.isfinite(total.sums).all():  # the loss is not scaled, so no scale is to blame
            outcome: Outcome = "not_finite"
        elif math.isfinite(norm):
            outcome = "applied"
            self._update(total.grads, *self._scalars(norm, learning_rate))
        else:
            explained = scale is not None and not scale.is_exhausted
            outcome = "overflow" if explained else "not_finite"
        if scale is not None and outcome != "not_finite":
            scale.settle(tf.constant(outcome == "applied"))
        if outcome != "applied":
            self.optimizer.skip(explained=outcome == "overflow")
        return Update(norm=norm, outcome=outcome)

    def norm(self, gradients: Gradients) -> float:
        """The global norm of all gradients, without the loss scale."""
        return float(self._norm(gradients.grads)) / self._scale

    @property
    def _scale(self) -> float:
        return 1.0 if self.loss_scale is None else float(self.loss_scale.scale.value)

    def _scalars(self, norm: float, learning_rate: float) -> tuple[tf.Tensor, tf.Tensor]:
        """The rate, and what multiplies the gradients: clipping, and division by the loss scale."""
        clip = 1.0 if self._clip_norm is None else min(1.0, self._clip_norm / max(norm, 1e-38))
        return tf.constant(learning_rate, tf.float32), tf.constant(clip / self._scale, tf.float32)

    def _micro_gradients(
        self, batch: MicroBatch, factors: tf.Tensor, step: tf.Tensor, *settled: tf.Tensor
    ) -> list[tf.Tensor]:
        dropout = self._dropout(batch, step)
        variables = [v.value for v in self.student.trained]
        with tf.GradientTape() as tape:
            outputs = forward(self.student, batch, self.objective, dropout=dropout)
            sums = self.objective.sums(outputs, batch, self.student.projections, settled)
            scalar = tf.reduce_sum(sums * factors)
            if self.loss_scale is not None:
                scalar *= self.loss_scale.scale.value
        grads = tape.gradient(scalar, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Horovod's groups mishandle sparse gradients; with tied embeddings they are dense anyway.
        return [*[tf.convert_to_tensor(g) for g in grads], sums]

    def _batch_statistics(self, batch: MicroBatch, step: tf.Tensor) -> list[tf.Tensor]:
        outputs = forward(self.student, batch, self.objective, dropout=self._dropout(batch, step))
        return self.objective.statistics(outputs, batch, self.student.projections)

    def _dropout(self, batch: MicroBatch, step: tf.Tensor) -> DropoutKeys:
        return DropoutKeys(
            seed=tf.constant(self._seed, tf.int32), step=step, row_keys=batch["row_keys"]
        )

    def _apply(self, grads: list[tf.Tensor], learning_rate: tf.Tensor, factor: tf.Tensor) -> None:
        self.optimizer.apply(grads, learning_rate, factor=factor)


def to_tensors(batch: MicroBatch) -> MicroBatch:
    """A micro-batch's arrays as tensors."""
    return tf.nest.map_structure(tf.convert_to_tensor, batch)


def batch_spec(batch: MicroBatch) -> dict[str, Any]:
    """Its tensor specs with T and the lengths of all lists left open."""
    rows = batch["ids"].shape[0]
    tokens = {
        name: tf.TensorSpec((rows, None), tf.int32)
        for name in ("ids", "unmasked_ids", "segment_ids", "attention_mask")
        if name in batch
    }
    keys = {
        "row_keys": tf.TensorSpec((rows, 4), tf.int32),
        "places": tf.TensorSpec((rows,), tf.int32),
    }
    lists = {name: batch[name] for name in ("items", "labels", "teacher")}
    return {**tokens, **keys, **tf.nest.map_structure(_open_list, lists)}


def _open_list(array: Any) -> tf.TensorSpec:
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)


def _sum_over_ranks(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    return ranks.sum_group(tensors, name="step")


def _sum_in_float16(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    *grads, sums = tensors
    # The sums are values, not directions: they travel as they are.
    return [*ranks.sum_group_float16(grads, name="step"), *ranks.sum_group([sums], name="sums")]


def _adasum(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    *grads, sums = tensors
    # Adasum wants what each rank would have alone; ours were divided by the counts of all ranks.
    size = float(ranks.num_ranks())
    means = [grad * size for grad in grads]
    return [*ranks.adasum_group(means, name="step"), *ranks.sum_group([sums], name="sums")]


def _add(left: list[tf.Tensor], right: list[tf.Tensor]) -> list[tf.Tensor]:
    return [a + b for a, b in zip(left, right, strict=True)]
