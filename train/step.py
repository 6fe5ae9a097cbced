"""One update: gradients of micro-batches, their sum over ranks, clipping, AdamW.

The three parts are separate functions, so that the sum over ranks is outside of what is compiled
and its time can be told from the rest. Gradients travel as one named group in a fixed order and
are never divided: each term of the objective already is, by its global count.
"""

# m rows, T tokens, J terms

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from limbeck import ranks
from limbeck.models.basic import Precision
from limbeck.models.dropout import DropoutKeys
from train.batch import MicroBatch
from train.loss_scale import LossScale
from train.objective import Objective
from train.recipe import Optimizer
from train.student import Student, forward

__all__ = ["Gradients", "TrainStep", "Update", "batch_spec", "build_optimizer", "to_tensors"]


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
    """Their global norm, before clipping."""

    skipped: bool
    """Whether the weights were left alone, since at the loss scale the norm is not finite."""


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
        self.optimizer = build_optimizer(settings, student.trained)
        self._clip_norm = settings.clip_norm
        self._seed = seed
        # Shapes that vary are open from the first call on: a graph that depended on which shapes
        # came first would differ after a resume.
        signature = (
            batch_spec(example),
            tf.TensorSpec((len(objective.terms),), tf.float32),
            tf.TensorSpec((), tf.int32),
        )
        self._micro = tf.function(self._micro_gradients, input_signature=signature)
        self._reduce = tf.function(_sum_over_ranks)
        self._add = tf.function(_add)
        self._update = tf.function(self._apply)

    def gradients(self, batches: Sequence[MicroBatch], factors: Any, *, step: int) -> Gradients:
        """Adds up the gradients of this rank's micro-batches, in their order.

        Args:
          batches: micro-batches as tensors, all of the same m.
          factors: (J,) float32 from `Objective.factors` of the global counts.
          step: updates made before this one; keys the dropout masks.
        """
        at = tf.constant(step, tf.int32)
        total = self._micro(batches[0], factors, at)
        for batch in batches[1:]:
            total = self._add(total, self._micro(batch, factors, at))
        return Gradients(grads=list(total[:-1]), sums=total[-1])

    def reduce(self, local: Gradients) -> Gradients:
        """Sums over all ranks, as one named group."""
        *grads, sums = self._reduce([*local.grads, local.sums])
        return Gradients(grads=grads, sums=sums)

    def update(self, total: Gradients, *, learning_rate: float) -> Update:
        """Clips by the global norm and applies.

        Gradients that are not finite are applied as they are, for the caller to refuse; under a
        loss scale they are skipped, until halving it does not help.
        """
        norm = float(self._update(total.grads, tf.constant(learning_rate, tf.float32)))
        scale = self.loss_scale
        skipped = scale is not None and not math.isfinite(norm) and not scale.is_exhausted
        return Update(norm=norm, skipped=skipped)

    def _micro_gradients(
        self, batch: MicroBatch, factors: tf.Tensor, step: tf.Tensor
    ) -> list[tf.Tensor]:
        dropout = DropoutKeys(
            seed=tf.constant(self._seed, tf.int32), step=step, row_keys=batch["row_keys"]
        )
        variables = [v.value for v in self.student.trained]
        with tf.GradientTape() as tape:
            outputs = forward(self.student, batch, self.objective, dropout=dropout)
            sums = self.objective.sums(outputs, batch, self.student.projections)
            scalar = tf.reduce_sum(sums * factors)
            if self.loss_scale is not None:
                scalar *= self.loss_scale.scale.value
        grads = tape.gradient(scalar, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Horovod's groups mishandle sparse gradients; with tied embeddings they are dense anyway.
        return [*[tf.convert_to_tensor(g) for g in grads], sums]

    def _apply(self, grads: list[tf.Tensor], learning_rate: tf.Tensor) -> tf.Tensor:
        if self.loss_scale is None:
            return self._apply_unscaled(grads, learning_rate)
        grads = [gradient / self.loss_scale.scale.value for gradient in grads]
        norm = tf.linalg.global_norm(grads)
        finite = tf.math.is_finite(norm)
        tf.cond(finite, lambda: self._apply_unscaled(grads, learning_rate), lambda: norm)
        self.loss_scale.settle(finite)
        return norm

    def _apply_unscaled(self, grads: list[tf.Tensor], learning_rate: tf.Tensor) -> tf.Tensor:
        norm = tf.linalg.global_norm(grads)
        if self._clip_norm is not None:
            grads, _ = tf.clip_by_global_norm(grads, self._clip_norm, use_norm=norm)
        self.optimizer.learning_rate.assign(learning_rate)
        self.optimizer.apply(grads)
        return norm


def build_optimizer(settings: Optimizer, variables: Sequence[Any]) -> keras.optimizers.AdamW:
    """AdamW with its slots made, so that a checkpoint can be loaded before the first step.

    Matrices decay; biases and layer normalisation, which are vectors, do not.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        epsilon=settings.epsilon,
    )
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    optimizer.build(list(variables))
    return optimizer


def to_tensors(batch: MicroBatch) -> MicroBatch:
    """A micro-batch's arrays as tensors."""
    return tf.nest.map_structure(tf.convert_to_tensor, batch)


def batch_spec(batch: MicroBatch) -> dict[str, Any]:
    """Its tensor specs with T and the lengths of all lists left open."""
    rows = batch["ids"].shape[0]
    tokens = {
        name: tf.TensorSpec((rows, None), tf.int32)
        for name in ("ids", "segment_ids", "attention_mask")
    }
    keys = {"row_keys": tf.TensorSpec((rows, 4), tf.int32)}
    lists = {name: batch[name] for name in ("items", "teacher", "true_ids") if name in batch}
    return {**tokens, **keys, **tf.nest.map_structure(_open_list, lists)}


def _open_list(array: Any) -> tf.TensorSpec:
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)


def _sum_over_ranks(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    return ranks.sum_group(tensors, name="step")


def _add(left: list[tf.Tensor], right: list[tf.Tensor]) -> list[tf.Tensor]:
    return [a + b for a, b in zip(left, right, strict=True)]
