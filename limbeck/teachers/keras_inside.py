"""Every source of a signal, in a model of ours: raw tensors at flat positions of B * T tokens."""

# B rows, T tokens, M positions, D hidden, H heads, A width of a head, C outputs of a task head

from collections.abc import Collection
from typing import Any

import tensorflow as tf

from limbeck.labels.signals import Source
from limbeck.models.masked_lm import MaskedLM
from limbeck.models.output import EncoderOutput
from limbeck.models.shapes import sizes
from limbeck.teachers.asked import Asked
from limbeck.weights.heads import head_of

__all__ = ["at", "encode_body", "source_arrays", "task_logits", "vocabulary_arrays"]


def encode_body(
    model: Any, asked: Asked, ids: tf.Tensor, segment_ids: tf.Tensor, attention_mask: tf.Tensor
) -> EncoderOutput:
    """Runs the encoder or decoder with the taps that are asked for."""
    more = {"pooled": True} if asked.task and getattr(model, "pooler", None) is not None else {}
    output: EncoderOutput = model.encode(
        ids,
        segment_ids,
        attention_mask,
        hidden_layers=asked.layers("hidden"),
        attention_layers=asked.layers("attention"),
        qkv_layers=asked.layers("qkv"),
        input_layers=asked.layers("relations"),
        **more,
    )
    return output


def source_arrays(
    model: Any, encoded: EncoderOutput, source: Source, index: tf.Tensor
) -> dict[str, tf.Tensor]:
    """The raw arrays of a source of the body at flat positions (M,), float32."""
    layer = source.layer or 0
    match source.kind:
        case "hidden":
            arrays = {"states": at(encoded.hidden[layer], index)}
        case "relations":
            arrays = {"states": at(encoded.inputs[layer], index)}
        case "qkv":
            names = ("queries", "keys", "values")
            arrays = {
                name: at(_side_by_side(x), index)
                for name, x in zip(names, encoded.qkv[layer], strict=True)
            }
        case "attention":
            by_token = tf.transpose(encoded.attentions[layer], (0, 2, 1, 3))
            arrays = {"probabilities": at(by_token, index)}
        case _:
            logits = task_logits(model, encoded)
            if logits.shape.rank == 2:  # one answer a row: that of the position's row
                rows = tf.gather(logits, index // sizes(encoded.last)[1])
                arrays = {"logits": rows}
            else:
                arrays = {"logits": at(logits, index)}
    return {name: tf.cast(x, tf.float32) for name, x in arrays.items()}


def vocabulary_arrays(
    model: Any, kinds: Collection[str], states: tf.Tensor
) -> dict[str, dict[str, tf.Tensor]]:
    """Kind (logits, final) -> the raw arrays, for last states (M, D)."""
    arrays: dict[str, dict[str, tf.Tensor]] = {}
    if "final" in kinds:
        # A causal LM has no more than the matrix.
        final = model.head(states) if isinstance(model, MaskedLM) else states
        arrays["final"] = {"states": tf.cast(final, tf.float32)}
    if "logits" in kinds:
        arrays["logits"] = {"logits": tf.cast(model.logits(states), tf.float32)}
    return arrays


def task_logits(model: Any, encoded: EncoderOutput) -> tf.Tensor:
    """Logits of the model's task head: (B, C) of rows or (B, T, C) of tokens."""
    match head_of(model):
        case "classifier":
            pooled = model.pooler is not None
            return model.classifier(encoded.pooled if pooled else encoded.last[:, 0])
        case "next_sentence" | "pretraining":
            return model.next_sentence(encoded.pooled)
        case "token_classifier":
            return model.classifier(encoded.last)
        case "question_answering":
            return model.span(encoded.last)
        case "replaced_token":
            return model.replaced(encoded.last)[..., tf.newaxis]
    raise ValueError(f"a {head_of(model)} has no task head")


def at(x: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """(B, T, ...) at flat positions (M,) -> (M, ...)."""
    batch, num_tokens, *rest = sizes(x)
    return tf.gather(tf.reshape(x, [batch * num_tokens, *rest]), index)


def _side_by_side(x: tf.Tensor) -> tf.Tensor:
    """(B, heads, T, A) -> (B, T, heads A)."""
    batch, heads, tokens, width = sizes(x)
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), [batch, tokens, heads * width])
