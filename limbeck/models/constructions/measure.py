"""Importance of a masked LM's units, measured on examples."""

# B rows, T tokens, P masked positions of a row

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.config.errors import UsageError
from limbeck.models.constructions.importance import Importance
from limbeck.models.constructions.model import measured_importance
from limbeck.records.dataset import Dataset
from limbeck.records.examples import attention_mask, check_examples, refuse_unmasked, segment_ids

__all__ = ["importance_on_examples", "masked_lm_losses"]


def importance_on_examples(
    model: Any, examples: Dataset, *, num_rows: int, batch: int, seed: int = 0
) -> Importance:
    """Scores by the gradients of the masked-LM loss on rows drawn from the examples.

    Args:
      model: a `MaskedLM` whose vocabulary is the examples'; dropout is off.
      examples: with masked positions.
      num_rows: rows drawn; all of them where there are no more.
      batch: rows whose gradients are added before their absolute value is taken.
      seed: draws the rows.

    Raises:
      UsageError: no rows, or examples without masked positions.
      LimbeckError: a row is damaged or holds an id that the model does not know.
    """
    where = str(examples.directory)
    if not examples.num_rows:
        raise UsageError(f"{where}: the examples have 0 rows")
    refuse_unmasked(examples.layout, examples=where, who="measuring importance")
    rng = np.random.default_rng(seed)
    rows = np.arange(examples.num_rows)
    if num_rows < examples.num_rows:
        rows = np.sort(rng.choice(examples.num_rows, num_rows, replace=False, shuffle=False))
    parts = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return measured_importance(model, masked_lm_losses(model, examples, parts))


def masked_lm_losses(
    model: Any, examples: Dataset, parts: list[np.ndarray]
) -> Iterator[Callable[[], tf.Tensor]]:
    """For every part of the rows, a function that computes the mean loss of its masked tokens."""
    for part in parts:
        fields = examples.read(part)
        check_examples(fields, vocab_size=model.architecture.vocab_size)
        if fields["num_masked"].any():
            yield functools.partial(_loss, model, fields)


def _loss(model: Any, fields: dict[str, np.ndarray]) -> tf.Tensor:
    length = int(fields["num_tokens"].max())
    tokens = fields["num_tokens"].astype(np.int64)
    masked = np.arange(fields["mask_ids"].shape[1]) < fields["num_masked"][:, None]
    encoded = model.encode(
        *(
            tf.constant(array.astype(np.int32))
            for array in (
                fields["ids"][:, :length],
                segment_ids(tokens, fields["segment_split"], length),
                attention_mask(tokens, length),
            )
        )
    )
    logits = model.logits_at(encoded.last, tf.constant(fields["mask_positions"].astype(np.int32)))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        fields["mask_ids"].astype(np.int32), tf.cast(logits, tf.float32)
    )
    return tf.reduce_mean(tf.boolean_mask(losses, masked))
