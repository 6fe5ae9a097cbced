"""Formula of the term between spans (`train.recipe.terms.span`)."""

# Q entries

import tensorflow as tf

from train.formula import Given, formula
from train.losses.spans import span_distribution_values
from train.recipe.terms.span import SpanDistributionTerm

__all__ = ["span_distribution"]


@formula(SpanDistributionTerm)
def span_distribution(given: Given) -> tf.Tensor:
    """(Q,) the value of each entry's row."""
    term = given.term
    teacher = given.on_grid(given.teacher()["logits"])
    values = span_distribution_values(
        given.outputs.heads[str(term.head)],
        teacher,
        given.on_grid(tf.ones_like(given.rows, tf.float32)) > 0.0,
        temperature=float(term.temperature),
        with_entropy=term.loss == "span_kl",
    )
    return tf.gather(values, given.rows)
