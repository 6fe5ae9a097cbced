"""Formulas of the terms on attention (`train.recipe.terms.attention`)."""

# Q entries, m rows, T tokens, H heads

import tensorflow as tf

from train.formula import Given, formula
from train.losses.attention import (
    attention_cross_entropy_values,
    attention_mse_values,
    log_probabilities,
    mean_scores,
    summed_heads,
)
from train.losses.teacher_attention import seen_keys, teacher_logs, teacher_scores
from train.recipe.terms.attention import AttentionTerm

__all__ = ["attention"]


@formula(AttentionTerm)
def attention(given: Given) -> tf.Tensor:
    """(Q,) what each token adds, or what its row does; mean over the pairs of layers."""
    pairs = range(len(given.term.signals))
    values = tf.add_n([_values(given, number) for number in pairs]) / float(len(pairs))
    if given.term.counted == "rows":
        return tf.gather(_row_means(values, given.batch["attention_mask"]), given.rows)
    return given.at_entries(values)


def _values(given: Given, number: int) -> tf.Tensor:
    """(m, T) of one pair of layers."""
    term, seen = given.term, seen_keys(given)
    if term.counted == "entries":
        return _cross_entropy(given, number, seen)
    layer = term.student_layers[number]
    if term.on == "probabilities":
        ours = given.outputs.attentions[layer]
        theirs = tf.where(seen, tf.exp(teacher_logs(given, number)), 0.0)
    else:
        ours, theirs = given.outputs.scores[layer], teacher_scores(given, number)
    if term.loss == "attention_mse_sum":
        ours, theirs = summed_heads(ours), summed_heads(theirs)
    return attention_mse_values(ours, theirs, seen=seen)


def _cross_entropy(given: Given, number: int, seen: tf.Tensor) -> tf.Tensor:
    scores = given.outputs.scores[given.term.student_layers[number]]
    if given.term.loss == "attention_ce":
        return attention_cross_entropy_values(scores, teacher_logs(given, number), seen=seen)
    logs = log_probabilities(mean_scores(teacher_scores(given, number)), seen=seen)
    return attention_cross_entropy_values(mean_scores(scores), logs, seen=seen)


def _row_means(values: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
    """(m, T) sums over keys -> (m,): means over the pairs of real tokens of each row."""
    real = tf.cast(attention_mask, tf.float32)
    sums = tf.reduce_sum(tf.where(real > 0, values, 0.0), axis=1)
    return sums / tf.square(tf.reduce_sum(real, axis=1))
