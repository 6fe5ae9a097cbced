"""Formulas of the terms between several layers (`train.recipe.terms.layers`)."""

# Q entries, m rows, T tokens, N layers of the student, M of the teacher

import numpy as np
import tensorflow as tf

from train.formula import BoundTerm, Given, formula
from train.losses.gram import Pair, fsp_values, mmd_values
from train.losses.hidden import hidden_mse_values
from train.losses.transport import transport_plan
from train.recipe.terms.layers import EMDTerm, FSPTerm, MMDTerm

__all__ = ["EarthMover", "fsp", "mmd"]


@formula(MMDTerm)
def mmd(given: Given) -> tf.Tensor:
    """(Q,) squared differences of each token's products, summed over the tokens of its row."""
    return given.at_entries(mmd_values(*_pairs(given)))


@formula(FSPTerm)
def fsp(given: Given) -> tf.Tensor:
    """(Q,) at every entry the value of its row."""
    num_tokens = tf.reduce_sum(given.on_grid(tf.ones_like(given.valid, tf.float32)), axis=1)
    return tf.gather(fsp_values(*_pairs(given), num_tokens), given.rows)


class EarthMover:
    """sum_ij F_ij c_ij, with c_ij the mean squared difference of two layers (BERT-EMD).

    Li et al. 2020, for hidden states and uniform weights of layers. F is the cheapest plan for the
    mean costs over all entries of the global batch, and a constant of the gradient. Where two
    plans cost the same, F may jump from step to step.
    """

    def __call__(self, given: Given) -> tf.Tensor:
        """(Q,) costs weighted by the plan."""
        return tf.tensordot(_costs(given), given.settled, axes=[[1, 2], [0, 1]])

    def statistics(self, given: Given) -> tf.Tensor:
        """(N, M) float32 costs, summed over entries."""
        return tf.reduce_sum(tf.where(given.valid[:, None, None], _costs(given), 0.0), axis=0)

    def settle(self, total: np.ndarray, *, count: int, bound: BoundTerm) -> np.ndarray:
        """(N, M) float32 F."""
        return transport_plan(total / max(count, 1)).astype(np.float32)


formula(EMDTerm)(EarthMover())


def _pairs(given: Given) -> tuple[Pair, Pair]:
    """Two layers of each model at the tokens of their rows, (m, T, D) each."""
    first, second = (
        given.on_grid(given.student_states(layer, projection=number))
        for number, layer in enumerate(given.term.student_layers)
    )
    return (first, second), (
        given.on_grid(given.teacher_states(0)),
        given.on_grid(given.teacher_states(1)),
    )


def _costs(given: Given) -> tf.Tensor:
    """(Q, N, M) mean squared difference of each two layers, at each entry."""
    students = [
        given.student_states(layer, projection=number)
        for number, layer in enumerate(given.term.student_layers)
    ]
    teachers = [given.teacher_states(number) for number in range(len(given.term.signals))]
    rows = [tf.stack([hidden_mse_values(s, t) for t in teachers], axis=-1) for s in students]
    return tf.stack(rows, axis=1)
