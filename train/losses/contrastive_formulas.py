"""Formula of the terms that tell rows apart (`train.recipe.terms.contrastive`)."""

# Q entries, m rows, B rows of the global batch, D width of the teacher

import numpy as np
import tensorflow as tf

from train.formula import BoundTerm, Given, formula
from train.losses.contrastive import contrastive_values
from train.losses.hidden import direction
from train.recipe.terms.contrastive import ContrastiveTerm

__all__ = ["Contrastive"]


class Contrastive:
    """InfoNCE over the global batch.

    What is settled are the teacher's directions at the places of their rows, and whether a row is
    there: each row adds its own to zeros, so the sum over micro-batches and ranks gathers them.
    """

    def __call__(self, given: Given) -> tf.Tensor:
        """(Q,) at every entry the value of its row."""
        keys, present = given.settled[:, :-1], given.settled[:, -1] > 0.0
        per_row = contrastive_values(
            _student(given),
            keys,
            present,
            given.batch["places"],
            temperature=given.term.temperature,
        )
        return tf.gather(per_row, given.rows)

    def statistics(self, given: Given) -> tf.Tensor:
        """(B, D + 1): directions, and 1 for a row that is there; 0 at all other rows' places."""
        if not given.global_batch:
            raise ValueError("loss contrastive needs the size of the global batch; give it to bind")
        here = given.on_grid(tf.ones_like(given.valid, tf.float32))[:, 0]
        keys = direction(given.on_grid(given.teacher_states())[:, 0])
        rows = tf.concat([keys, here[:, None]], axis=1)
        shape = [given.global_batch, rows.shape[1]]
        # Rows that only fill the micro-batch are zero, wherever they point.
        return tf.scatter_nd(given.batch["places"][:, None], rows, shape)

    def settle(self, total: np.ndarray, *, count: int, bound: BoundTerm) -> np.ndarray:
        """(B, D + 1) as it was gathered."""
        return total


formula(ContrastiveTerm)(Contrastive())


def _student(given: Given) -> tf.Tensor:
    """(m, D) what the student has for each row, through the term's map where it has one."""
    term = given.term
    if term.student == "pooled":
        states = given.outputs.pooled
    else:
        states = given.outputs.hidden[term.student_layer][:, 0]
    return given.projections[0](states) if given.projections else states
