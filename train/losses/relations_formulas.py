"""Formulas of the terms on self-attention relations (`train.recipe.terms.relations`).

A relation is softmax(X Y' / sqrt(d_r)) over the real tokens, X and Y of the queries, keys and
values of a layer, split into heads of d_r components; each model has a d_r of its own.
"""

# Q entries, m rows, T tokens, A relation heads, H attention heads, K heads of keys and values

import tensorflow as tf

from limbeck.labels.device.relations import relation_scores, sides
from limbeck.labels.relations import Heads, Projections, RelationKind
from train.formula import Given, formula
from train.losses.attention import attention_kl_values, log_probabilities
from train.losses.teacher_attention import (
    seen_keys,
    sharing_of,
    teacher_logs,
    teacher_projections,
)
from train.recipe.terms.relations import MiniLMTerm, RelationsTerm

__all__ = ["minilm", "relations"]


@formula(RelationsTerm)
def relations(given: Given) -> tf.Tensor:
    """(Q,) mean over the listed relations and their heads of KL(R_teacher || R_student).

    Wang et al., 2021 (arXiv 2012.15828), section 3.1. MiniMoE's code adds 1e-7 to both relations
    and drops entries of the student's; here neither is done.
    """
    term, fitted = given.term, given.bound.fitted[0]
    theirs, ours = teacher_projections(given), _student_projections(given)
    shared = sharing_of(fitted), _student_heads(given)
    heads = term.relation_heads or shared[0].num_heads
    values = [
        _relation_kl(given, kind, (theirs, ours), shared, num_heads=heads)
        for kind in term.relations
    ]
    return given.at_entries(tf.add_n(values) / float(len(values)))


@formula(MiniLMTerm)
def minilm(given: Given) -> tf.Tensor:
    """(Q,) KL of attention distributions plus KL of value relations, each a mean over heads.

    Wang et al., 2020 (arXiv 2002.10957), sections 3.1 and 3.2: both with the attention heads, so
    that d_r is the width of a head, and added with equal weights.
    """
    layer, seen = given.term.student_layer, seen_keys(given)
    logs = teacher_logs(given, len(given.term.signals) - 1)
    distributions = attention_kl_values(given.outputs.scores[layer], logs, seen=seen)
    ours = _student_projections(given)
    shared = _student_heads(given)  # equal in both: `MiniLMTerm.check` sees to it
    models = teacher_projections(given), ours
    values = _relation_kl(given, "vv", models, (shared, shared), num_heads=shared.num_kv_heads)
    return given.at_entries(distributions + values)


def _relation_kl(
    given: Given,
    kind: RelationKind,
    models: tuple[Projections, Projections],
    shared: tuple[Heads, Heads],
    *,
    num_heads: int,
) -> tf.Tensor:
    """(m, T) KL of one relation, mean over heads; teacher first, then student."""
    theirs, ours = (
        relation_scores(*sides(projections, kind, heads), num_heads=num_heads)
        for projections, heads in zip(models, shared, strict=True)
    )
    seen = seen_keys(given)
    return attention_kl_values(ours, log_probabilities(theirs, seen=seen), seen=seen)


def _student_projections(given: Given) -> Projections:
    """Queries, keys and values (m, T, width) of the student's layer, or of the auxiliary block."""
    layer = given.term.student_layer
    if given.projections:
        states = given.outputs.hidden[layer]
        queries, keys, values = (projection(states) for projection in given.projections)
    else:
        queries, keys, values = (_side_by_side(part) for part in given.outputs.qkv[layer])
    return Projections(queries=queries, keys=keys, values=values)


def _student_heads(given: Given) -> Heads:
    """How many heads share keys: of an auxiliary block, which has no attention heads, one for all.

    Masks and rotations are no part of relations before softmax.
    """
    num_heads, num_kv_heads, head_dim = 1, 1, 0
    if not given.projections:
        queries, keys, _ = given.outputs.qkv[given.term.student_layer]
        num_heads, num_kv_heads, head_dim = queries.shape[1], keys.shape[1], queries.shape[3]
    return Heads(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        causal=False,
        theta=None,
    )


def _side_by_side(x: tf.Tensor) -> tf.Tensor:
    """(m, H, T, A) -> (m, T, H A)."""
    rows, tokens = tf.shape(x)[0], tf.shape(x)[2]
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), [rows, tokens, x.shape[1] * x.shape[3]])
