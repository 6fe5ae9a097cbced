"""Formulas of the terms on labels of the examples (`train.recipe.terms.labels`)."""

# Q entries, T tokens of a padded row

import tensorflow as tf

from train.formula import Given, formula
from train.losses.labels import binary_values, class_values, span_values, squared_values
from train.losses.masked_lm import masked_lm_values
from train.recipe.terms.labels import (
    CausalLMTerm,
    ClassTerm,
    MaskedLMTerm,
    MultiLabelTerm,
    NextSentenceTerm,
    RegressionTerm,
    SpanTerm,
    TagTerm,
)

__all__ = ["classes", "flags", "language_model", "span", "target"]


@formula(CausalLMTerm)
@formula(MaskedLMTerm)
def language_model(given: Given) -> tf.Tensor:
    """(Q,) cross-entropy to the true ids, or to the next ones."""
    return masked_lm_values(given.logits(), given.labels)


@formula(NextSentenceTerm)
@formula(ClassTerm)
@formula(TagTerm)
def classes(given: Given) -> tf.Tensor:
    """(Q,) cross-entropy to the class of a row or token."""
    return class_values(given.head_logits(), given.labels)


@formula(MultiLabelTerm)
def flags(given: Given) -> tf.Tensor:
    """(Q,) binary cross-entropy of a row's labels."""
    return binary_values(given.head_logits(), given.labels)


@formula(RegressionTerm)
def target(given: Given) -> tf.Tensor:
    """(Q,) squared difference to a row's number."""
    return squared_values(given.head_logits(), given.labels)


@formula(SpanTerm)
def span(given: Given) -> tf.Tensor:
    """(Q,) cross-entropy to both ends of a row's answer."""
    head = given.bound.wants.head
    assert head is not None  # `settled` names it
    logits = tf.gather(given.outputs.heads[head], given.rows)
    real = tf.gather(given.batch["attention_mask"], given.rows)
    return span_values(logits, given.labels, real)
