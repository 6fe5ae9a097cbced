"""A forward pass of the student over a micro-batch: what the terms of an objective look at."""

# m rows, T tokens, Q entries of a group, D hidden width of the student

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from train.formula import Outputs
from train.objective import Asked, Objective, View
from train.reading.batch import MicroBatch
from train.students.student import Student
from train.students.student_model import reads_pooled_output, task_logits
from train.students.student_plan import StudentPlan

__all__ = ["forward", "logits_at", "model_outputs"]


def forward(
    student: Student, batch: MicroBatch, objective: Objective, *, dropout: Any
) -> dict[View, Outputs]:
    """One pass over a micro-batch; a second one over the unmasked input where labels belong to it.

    Args:
      student: the model.
      batch: the micro-batch as tensors.
      objective: says what is needed.
      dropout: `limbeck.models.dropout.DropoutKeys`, or None for none.
    """
    split = "unmasked_ids" in batch
    inputs: dict[View, str] = (
        {"fed": "ids", "unmasked": "unmasked_ids"} if split else {"fed": "ids"}
    )
    outputs: dict[View, Outputs] = {}
    for view, name in inputs.items():
        asked = objective.asked(view, split=split)
        if view == "fed" or not asked.nothing:
            outputs[view] = model_outputs(
                student.model, batch, batch[name], asked, plan=student.plan, dropout=dropout
            )
    return outputs


def model_outputs(
    model: Any,
    batch: MicroBatch,
    ids: tf.Tensor,
    asked: Asked,
    *,
    plan: StudentPlan,
    dropout: Any,
) -> Outputs:
    """One pass over token ids (m, T) of a micro-batch."""
    pooled = asked.pooled or any(reads_pooled_output(plan, name) for name in asked.heads)
    encoded = model.encode(
        ids,
        batch["segment_ids"],
        batch["attention_mask"],
        dropout=dropout,
        hidden_layers=asked.hidden,
        attention_layers=asked.attentions,
        score_layers=asked.scores,
        qkv_layers=asked.qkv,
        **({"pooled": True} if pooled else {}),
    )
    heads = {
        name: task_logits(model, name, plan.heads[name].kind, encoded, dropout=dropout)
        for name in asked.heads
    }
    return Outputs(
        logits=_logits(model, encoded.last, batch, asked.groups),
        hidden={layer: tf.cast(state, tf.float32) for layer, state in encoded.hidden.items()},
        attentions=encoded.attentions,
        scores=encoded.scores,
        qkv={
            layer: tuple(tf.cast(x, tf.float32) for x in parts)
            for layer, parts in encoded.qkv.items()
        },
        pooled=None if encoded.pooled is None else tf.cast(encoded.pooled, tf.float32),
        heads=heads,
    )


def _logits(
    model: Any, last: tf.Tensor, batch: MicroBatch, groups: Sequence[str]
) -> dict[str, tf.Tensor]:
    """Vocabulary logits by group; those of `next` are among those of `all` where both are asked."""
    among = "all" in groups and "next" in groups
    logits = {
        group: logits_at(model, last, batch, group)
        for group in groups
        if group != "next" or not among
    }
    if among:
        logits["next"] = tf.gather(logits["all"], batch["items"]["next"]["entry"])
    return logits


def logits_at(model: Any, last: tf.Tensor, batch: MicroBatch, group: str) -> tf.Tensor:
    """(Q, V) float32 at the entries of a group: the vocabulary projection runs nowhere else."""
    index = batch["items"][group]["index"]
    # The head takes (B, T, D) and positions (B, P): here one long row.
    flat = tf.reshape(last, (1, -1, last.shape[-1]))
    return tf.cast(model.logits_at(flat, index[None])[0], tf.float32)
