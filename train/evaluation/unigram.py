"""A predictor that knows frequencies only: the floor under every evaluation."""

# Q entries of the list of masked positions, V vocabulary

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from limbeck.records.dataset import Dataset
from limbeck.records.examples import check_examples
from train.formula import Outputs
from train.objective import Asked
from train.reading.batch import MicroBatch

__all__ = ["Unigram"]

COUNTED_ROWS = 4096  # rows read at once


@dataclass(frozen=True)
class Unigram:
    """The same distribution everywhere."""

    log_probs: np.ndarray
    """(V,) float32."""

    @classmethod
    def fit(cls, examples: Dataset, *, vocab_size: int) -> "Unigram":
        """Counts the true ids of all masked positions, plus one for each id (add-one smoothing).

        Args:
          examples: what to count, the training examples.
          vocab_size: V.
        """
        counts = np.ones(vocab_size, np.float64)
        for start in range(0, examples.num_rows, COUNTED_ROWS):
            rows = examples.read(np.arange(start, min(start + COUNTED_ROWS, examples.num_rows)))
            check_examples(rows, vocab_size=vocab_size)
            real = np.arange(rows["mask_ids"].shape[1]) < rows["num_masked"][:, None]
            counts += np.bincount(rows["mask_ids"][real].astype(np.int64), minlength=vocab_size)
        return cls(np.log(counts / counts.sum()).astype(np.float32))

    @property
    def facts(self) -> None:
        """It answers masked tokens alone."""

    def outputs(self, batch: MicroBatch, asked: Asked) -> Outputs:
        """Logits (Q, V), one row repeated; it has no layers."""
        if asked.hidden:
            raise ValueError(f"a unigram has no layer {asked.hidden[0]}")
        sizes = {group: tf.shape(batch["items"][group]["index"])[0] for group in asked.groups}
        row = tf.constant(self.log_probs)[None]
        return Outputs(logits={group: tf.tile(row, [size, 1]) for group, size in sizes.items()})
