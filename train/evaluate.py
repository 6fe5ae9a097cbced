"""How good a model is on held-out examples: accuracy, cross-entropy, KL to a teacher, cosines.

Every position counts once, however rows are cut into batches and spread over ranks: masked
positions for accuracy and cross-entropy, those that a family labels for KL and cosines. A `unigram`
predictor (`train.unigram`) is the floor that any trained model must leave behind.
"""

# m rows of a batch, T tokens, Q entries of a padded list, V vocabulary, D hidden

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from limbeck import ranks
from limbeck.labels.signals import SparseSignal
from limbeck.labels.sparse import temperature_column
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from limbeck.records.examples import check_examples
from train.batch import MicroBatch, base_group, bucket_length, cut
from train.families import Family
from train.heldout import (
    KL_TEMPERATURE,
    Comparison,
    check_distribution,
    compared_layers,
    distribution_of,
)
from train.inputs import Inputs
from train.losses import full_kl_values, hidden_cosine_values, kl_values, masked_lm_values
from train.mixture import Corpora, CorpusInputs
from train.objective import Objective, Outputs, clean_head
from train.step import batch_spec, to_tensors
from train.student import Student, masked_logits

__all__ = ["Evaluator", "ModelPredictor", "Predictor", "Scores", "make_evaluator"]

Projection = Callable[[tf.Tensor], tf.Tensor]
MASKED, KL = "masked", "kl"


class Predictor(Protocol):
    """What can be evaluated."""

    def outputs(self, batch: MicroBatch, layers: Sequence[int]) -> Outputs:
        """Logits (Q, V) float32 at the masked positions and states (m * T, D) of the layers.

        Args:
          batch: tensors of a micro-batch.
          layers: rising.
        """


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over the positions of all rows; nan where there are none."""

    accuracy: float
    """Share of masked positions whose true id is the likeliest; ties go to the lower id."""

    cross_entropy: float
    """To the true ids, nats."""

    kl: float | None = None
    """KL(teacher || student) at T = 1, nats; None without a teacher's distributions."""

    cosines: Mapping[str, float] = field(default_factory=dict)
    """Comparison -> cosine of the student's states and the teacher's, 1 for the same direction."""

    counts: Mapping[str, int]
    """How many positions: `masked`, `kl` and each comparison."""

    @property
    def positions(self) -> int:
        """Masked positions."""
        return self.counts[MASKED]

    def metrics(self) -> dict[str, float]:
        """By the names of `limbeck.runs.names`."""
        values = {"eval/accuracy": self.accuracy, "eval/cross_entropy": self.cross_entropy}
        if self.kl is not None:
            values["eval/kl"] = self.kl
        values |= {f"eval/cosine_{name}": value for name, value in self.cosines.items()}
        return values | {f"eval/count_{name}": count for name, count in self.counts.items()}

    def text(self) -> str:
        """In one line."""
        parts = [f"accuracy {self.accuracy:.4f} ce {self.cross_entropy:.4f}"]
        if self.kl is not None:
            parts.append(f"kl {self.kl:.4f}")
        parts += [f"cosine {name} {value:.4f}" for name, value in self.cosines.items()]
        return f"{' '.join(parts)} over {self.positions} masked tokens"


@dataclass(frozen=True)
class ModelPredictor:
    """A masked-LM model without dropout."""

    model: Any
    """A built `limbeck.models.masked_lm.MaskedLM`."""

    def outputs(self, batch: MicroBatch, layers: Sequence[int]) -> Outputs:
        """One pass; the vocabulary projection at the masked positions only."""
        encoded = self.model.encode(
            batch["ids"],
            batch["segment_ids"],
            batch["attention_mask"],
            dropout=None,
            hidden_layers=tuple(layers),
        )
        states = {
            layer: tf.reshape(tf.cast(state, tf.float32), (-1, state.shape[-1]))
            for layer, state in encoded.hidden.items()
        }
        return Outputs(logits=masked_logits(self.model, encoded.last, batch), states=states)


class Evaluator:
    """Scores one predictor on one set of examples, as often as wanted.

    Args:
      predictor: what is scored.
      examples: held-out examples.
      vocab_size: V.
      families: of these examples; a sparse or final one gives the KL.
      comparisons: layers against the hidden ones.
      projections: comparison's name -> map of its states to the teacher's width.
      world: ranks share the rows; each gets the scores of all.
      batch_rows: rows computed at once.

    Raises:
      UsageError: families that do not give what they are for.
    """

    def __init__(
        self,
        predictor: Predictor,
        examples: Dataset,
        *,
        vocab_size: int,
        families: Mapping[str, Family] | None = None,
        comparisons: Sequence[Comparison] = (),
        projections: Mapping[str, Projection] | None = None,
        world: World | None = None,
        batch_rows: int = 32,
    ) -> None:
        self._predictor = predictor
        families = dict(families or {})
        self._corpora = Corpora((CorpusInputs(name="", examples=examples, families=families),))
        self._vocab_size = vocab_size
        self._teacher = distribution_of(families)
        if self._teacher is not None:
            check_distribution(self._teacher, vocab_size=vocab_size)
        self._comparisons = tuple(comparisons)
        self._projections = dict(projections or {})
        lists = [family.list_name for family in families.values()]
        self._lists = tuple(dict.fromkeys([MASKED, *lists]))
        self._names = [MASKED, *([KL] if self._teacher else []), *(c.name for c in comparisons)]
        self._world = world or World()
        self._batch_rows = min(batch_rows, examples.num_rows)
        self._decoder = _decoder(self._teacher)
        self._compiled: Any = None

    def scores(self) -> Scores:
        """Goes through all rows; a collective when there are several ranks."""
        sums = np.zeros(1 + 2 * len(self._names), np.float64)
        for batch in self._batches():
            if self._compiled is None:
                self._compiled = tf.function(self._sums, input_signature=(batch_spec(batch),))
            sums += self._compiled(to_tensors(batch)).numpy()
        correct, *rest = ranks.sum_vector(sums, name="evaluate").tolist()
        counts = dict(zip(self._names, (int(n) for n in rest[::2]), strict=True))
        means = {
            name: total / counts[name] if counts[name] else float("nan")
            for name, total in zip(self._names, rest[1::2], strict=True)
        }
        return Scores(
            accuracy=correct / counts[MASKED] if counts[MASKED] else float("nan"),
            cross_entropy=means[MASKED],
            kl=means.get(KL),
            cosines={c.name: means[c.name] for c in self._comparisons},
            counts=counts,
        )

    def _batches(self) -> Iterator[MicroBatch]:
        """This rank's rows, long beside long so that little is padding; read one batch ahead."""
        lengths = self._corpora.lengths(np.arange(self._corpora.num_rows))
        mine = np.argsort(lengths, kind="stable")[self._world.rank :: self._world.size]
        parts = [
            np.sort(mine[i : i + self._batch_rows]) for i in range(0, len(mine), self._batch_rows)
        ]
        with ThreadPoolExecutor(1, thread_name_prefix="evaluate") as pool:
            reading = [pool.submit(self._read, rows) for rows in parts[:1]]
            for rows in [*parts[1:], None]:
                if not reading:
                    return
                batch = reading.pop().result()
                if rows is not None:
                    reading.append(pool.submit(self._read, rows))
                yield batch

    def _read(self, rows: np.ndarray) -> MicroBatch:
        found = self._corpora.read(rows)
        check_examples(found.examples, vocab_size=self._vocab_size)
        longest = int(found.examples["num_tokens"].max())
        (batch,) = cut(
            found.examples,
            found.families,
            num_real=len(rows),
            micro_batch=self._batch_rows,
            num_micro=1,
            length=bucket_length(longest, seq_length=self._corpora.seq_length),
            groups=self._lists,
        )
        return batch

    def _sums(self, batch: MicroBatch) -> tf.Tensor:
        """(1 + 2 n,) float64: right guesses; then count and sum of each of the n names."""
        layers = sorted({c.layer for c in self._comparisons})
        outputs = self._predictor.outputs(batch, layers)
        valid = batch["items"][MASKED]["valid"]
        guesses = tf.argmax(outputs.logits, axis=-1, output_type=tf.int32)
        right = tf.cast(guesses == batch["true_ids"], tf.float32)
        pairs = [(valid, masked_lm_values(outputs.logits, batch["true_ids"]))]
        if self._teacher is not None:
            items = batch["items"][self._teacher.list_name]
            pairs.append((items["valid"], self._kl(self._teacher, outputs.logits, items, batch)))
        pairs += [self._cosines(c, outputs, batch) for c in self._comparisons]
        sums = [_sum(valid, right)]
        for there, values in pairs:
            sums += [_sum(there, tf.ones_like(values)), _sum(there, values)]
        return tf.stack(sums)

    def _kl(
        self, family: Family, logits: tf.Tensor, items: Mapping[str, tf.Tensor], batch: MicroBatch
    ) -> tf.Tensor:
        """(Q,) at the positions that the family labels."""
        teacher, valid = batch["teacher"][family.name], items["valid"]
        if family.list_name != base_group(family.list_name):
            logits = tf.gather(logits, items["entry"])
        if self._decoder is not None:
            kernel, bias = self._decoder
            states = tf.where(valid[:, None], tf.cast(teacher["states"], tf.float32), 0.0)
            full = tf.matmul(states, kernel, transpose_b=True) + bias
            return full_kl_values(logits, full, temperature=KL_TEMPERATURE)
        assert isinstance(family.signal, SparseSignal)
        column = temperature_column(family.signal.temperatures, KL_TEMPERATURE)
        return kl_values(logits, *clean_head(teacher, valid, column), temperature=KL_TEMPERATURE)

    def _cosines(
        self, comparison: Comparison, outputs: Outputs, batch: MicroBatch
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(Q,) which entries count, and their cosines."""
        family = self._corpora.parts[0].families[comparison.family]
        items = batch["items"][family.list_name]
        states = tf.gather(outputs.states[comparison.layer], items["index"])
        if comparison.name in self._projections:
            states = self._projections[comparison.name](states)
        target = batch["teacher"][comparison.family]["states"]
        return items["valid"], 1.0 - hidden_cosine_values(states, target)


def make_evaluator(
    inputs: Inputs, objective: Objective, student: Student, world: World
) -> Evaluator | None:
    """The evaluator of a run on its held-out examples; None where it has none."""
    if inputs.heldout is None:
        return None
    terms = [bound.term for bound in objective.terms]
    widths = {index: int(p.kernel.shape[1]) for index, p in student.projections.items()}
    comparisons = compared_layers(
        terms,
        inputs.heldout_families,
        hidden_dim=inputs.architecture.hidden_dim,
        widths=widths,
    )
    return Evaluator(
        ModelPredictor(student.model),
        inputs.heldout,
        vocab_size=inputs.architecture.vocab_size,
        families=inputs.heldout_families,
        comparisons=comparisons,
        projections={
            c.name: student.projections[c.term] for c in comparisons if c.term is not None
        },
        world=world,
    )


def _sum(valid: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """float64; entries that only fill the list leave by `where`, whatever stands there."""
    return tf.reduce_sum(tf.where(valid, tf.cast(values, tf.float64), 0.0))


def _decoder(family: Family | None) -> tuple[tf.Tensor, tf.Tensor] | None:
    """Matrix (V, D) and bias (V,) of a final family, once in memory and not in any graph."""
    if family is None or isinstance(family.signal, SparseSignal):
        return None
    tensors = family.fitted.tensors
    return tf.constant(tensors["decoder/kernel"]), tf.constant(tensors["decoder/bias"])
