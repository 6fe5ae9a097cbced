"""Formulas of the terms between one layer and another (`train.recipe.terms.hidden`)."""

# Q entries

import tensorflow as tf

from train.formula import Given, formula
from train.losses.hidden import hidden_cosine_values, hidden_mse_values, pkd_values
from train.recipe.terms.hidden import HiddenTerm

__all__ = ["hidden"]

VALUES = {
    "hidden_mse": hidden_mse_values,
    "hidden_cosine": hidden_cosine_values,
    "pkd": pkd_values,
}


@formula(HiddenTerm)
def hidden(given: Given) -> tf.Tensor:
    """(Q,) values of the loss that the term names."""
    return VALUES[given.term.loss](given.student_states(), given.teacher_states())
