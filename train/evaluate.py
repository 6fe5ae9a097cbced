"""How good a model is on held-out examples: masked accuracy, cross-entropy, KL to a teacher.

Every masked position counts once, however rows are cut into batches and spread over ranks. A
`unigram` predictor, the frequencies of true tokens in the training examples, is the floor that any
trained model must leave behind.
"""

# m rows of a batch, Q entries of its padded list of masked positions, V vocabulary

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from limbeck import ranks
from limbeck.config.errors import UsageError
from limbeck.labels.sparse import temperature_column
from limbeck.order import rank_slice
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from limbeck.records.examples import check_examples
from train.batch import FamilyArrays, MicroBatch, bucket_length, cut
from train.families import Family, check_rows
from train.losses import kl_values, masked_lm_values
from train.objective import clean_head
from train.step import batch_spec, to_tensors
from train.student import masked_logits

__all__ = ["Evaluator", "ModelPredictor", "Predictor", "Scores", "Unigram"]

KL_TEMPERATURE = 1.0
COUNTED_ROWS = 4096  # rows read at once where nothing is computed from them


class Predictor(Protocol):
    """What can be evaluated."""

    def logits(self, batch: MicroBatch) -> tf.Tensor:
        """(Q, V) float32 at the batch's masked positions, from tensors of a micro-batch."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over all masked positions."""

    positions: int
    """How many there were."""

    accuracy: float
    """Share whose true id is the likeliest; ties go to the lower id."""

    cross_entropy: float
    """To the true ids, nats."""

    kl: float | None
    """KL(teacher || student) at T = 1, nats; None without a teacher's labels."""


@dataclass(frozen=True)
class ModelPredictor:
    """A masked-LM model without dropout."""

    model: Any
    """A built `limbeck.models.masked_lm.MaskedLM`."""

    def logits(self, batch: MicroBatch) -> tf.Tensor:
        """(Q, V) at the masked positions."""
        encoded = self.model.encode(
            batch["ids"], batch["segment_ids"], batch["attention_mask"], dropout=None
        )
        return masked_logits(self.model, encoded.last, batch)


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

    def logits(self, batch: MicroBatch) -> tf.Tensor:
        """(Q, V): one row, repeated."""
        size = tf.shape(batch["true_ids"])[0]
        return tf.tile(tf.constant(self.log_probs)[None], [size, 1])


class Evaluator:
    """Scores one predictor on one set of examples, as often as wanted.

    Args:
      predictor: what is scored.
      examples: held-out examples.
      vocab_size: V.
      family: a sparse family of these examples, for the KL.
      world: ranks share the rows; each gets the scores of all.
      batch_rows: rows computed at once.

    Raises:
      UsageError: the family's grid lacks T = 1.
    """

    def __init__(
        self,
        predictor: Predictor,
        examples: Dataset,
        *,
        vocab_size: int,
        family: Family | None = None,
        world: World | None = None,
        batch_rows: int = 32,
    ) -> None:
        self._predictor = predictor
        self._examples = examples
        self._vocab_size = vocab_size
        self._families = {} if family is None else {"teacher": family}
        self._column = 0
        if family is not None:
            grid = getattr(family.signal, "temperatures", None)
            if grid is None:
                raise UsageError(f"{family.dataset.directory} is no sparse family; KL needs one")
            self._column = temperature_column(grid, KL_TEMPERATURE)
        self._world = world or World()
        self._batch_rows = min(batch_rows, examples.num_rows)
        self._compiled: Any = None

    def scores(self) -> Scores:
        """Goes through all rows; a collective when there are several ranks."""
        sums = np.zeros(4, np.float64)
        for batch in self._batches():
            if self._compiled is None:
                self._compiled = tf.function(self._sums, input_signature=(batch_spec(batch),))
            sums += self._compiled(to_tensors(batch)).numpy()
        positions, correct, cross_entropy, kl = ranks.sum_vector(sums, name="evaluate").tolist()
        count = max(positions, 1.0)
        return Scores(
            positions=int(positions),
            accuracy=correct / count,
            cross_entropy=cross_entropy / count,
            kl=kl / count if self._families else None,
        )

    def _batches(self) -> Iterator[MicroBatch]:
        part = rank_slice(self._examples.num_rows, self._world.rank, self._world.size)
        for start in range(part.start, part.stop, self._batch_rows):
            rows = np.arange(start, min(start + self._batch_rows, part.stop), dtype=np.int64)
            examples = self._examples.read(rows)
            labels = {name: f.dataset.read(rows) for name, f in self._families.items()}
            check_examples(examples, vocab_size=self._vocab_size)
            check_rows(examples, labels, self._families, rows)
            families: dict[str, FamilyArrays] = {
                name: self._families[name].arrays(fields) for name, fields in labels.items()
            }
            (batch,) = cut(
                examples,
                families,
                num_real=len(rows),
                micro_batch=self._batch_rows,
                num_micro=1,
                length=bucket_length(
                    int(examples["num_tokens"].max()), seq_length=examples["ids"].shape[1]
                ),
                groups=("masked",),
            )
            yield batch

    def _sums(self, batch: MicroBatch) -> tf.Tensor:
        """(4,) float64: positions, right ones, cross-entropy, KL."""
        valid = batch["items"]["masked"]["valid"]
        logits = self._predictor.logits(batch)
        right = tf.argmax(logits, axis=-1, output_type=tf.int32) == batch["true_ids"]
        kl = tf.zeros_like(valid, tf.float32)
        if "teacher" in batch["teacher"]:
            head = clean_head(batch["teacher"]["teacher"], valid, self._column)
            kl = kl_values(logits, *head, temperature=KL_TEMPERATURE)
        values = (
            tf.ones_like(kl),
            tf.cast(right, tf.float32),
            masked_lm_values(logits, batch["true_ids"]),
            kl,
        )
        return tf.stack(
            [tf.reduce_sum(tf.where(valid, tf.cast(v, tf.float64), 0.0)) for v in values]
        )
