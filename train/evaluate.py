"""How good a model is on held-out examples: what it answers, and how near it is to a teacher.

Every entry counts once, however rows are cut into batches and spread over ranks: those that carry a
label of the examples, those that a family labels. Logits are never kept beyond a batch. A `unigram`
predictor (`train.evaluation.unigram`) is the floor that any trained masked LM must leave behind.
"""

# m rows of a batch, T tokens, Q entries of a padded list, V vocabulary

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from limbeck import ranks
from limbeck.config.errors import UsageError
from limbeck.labels.signals import TaskSignal
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from limbeck.records.examples import check_examples
from limbeck.runs import still_working
from train.evaluation.heldout import (
    WHERE,
    Comparison,
    answers_of,
    check_distribution,
    compared_layers,
    distribution_of,
)
from train.formula import Outputs
from train.inputs import Inputs
from train.metrics.measures import CosineMeasure, KLMeasure, LabelMeasure, Measure, Projection
from train.metrics.questions import head_of_family, label_questions, suffix_of
from train.metrics.scores import Scores, joined
from train.objective import Asked, Objective
from train.reading.batch import MicroBatch, base_list, bucket_length, cut
from train.reading.families import Family
from train.reading.mixture import Corpora, CorpusInputs
from train.recipe import HiddenTerm, StudentFacts, Term
from train.step import batch_spec, to_tensors
from train.students.forward import model_outputs
from train.students.student import Student
from train.students.student_plan import StudentPlan

__all__ = ["Evaluation", "Evaluator", "ModelPredictor", "Predictor", "Scores", "make_evaluator"]

# Vocabulary logits of a batch: 256 MiB of them. `all` and `next` have an entry for every token.
MAX_LOGITS = 1 << 26


class Predictor(Protocol):
    """What can be evaluated."""

    @property
    def facts(self) -> StudentFacts | None:
        """What it can be asked; None for masked tokens alone."""

    def outputs(self, batch: MicroBatch, asked: Asked) -> Outputs:
        """What is asked for of a micro-batch of tensors."""


@dataclass(frozen=True)
class ModelPredictor:
    """A model without dropout."""

    model: Any
    """Built."""

    plan: StudentPlan | None = None
    """What it is; None for a masked LM."""

    @property
    def facts(self) -> StudentFacts:
        """Of its plan."""
        return self._plan.facts

    @property
    def _plan(self) -> StudentPlan:
        return self.plan or StudentPlan(architecture=self.model.architecture)

    def outputs(self, batch: MicroBatch, asked: Asked) -> Outputs:
        """One pass; the vocabulary projection at the entries that are asked for only."""
        return model_outputs(self.model, batch, batch["ids"], asked, plan=self._plan, dropout=None)


class Evaluator:
    """Scores one predictor on one set of examples, as often as wanted.

    Args:
      predictor: what is scored.
      examples: held-out examples.
      vocab_size: V.
      families: of these examples; sparse, final and task ones give KLs.
      comparisons: layers against the hidden ones.
      projections: comparison's name -> map of its states to the teacher's width.
      terms: of the objective: they say which head a task family is of.
      only: the one head that these examples are for; None for all that they have labels for.
      world: ranks share the rows; each gets the scores of all.
      batch_rows: rows computed at once, at most.

    Raises:
      UsageError: families that do not give what they are for, or nothing to evaluate.
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
        terms: Sequence[Term] = (),
        only: str | None = None,
        world: World | None = None,
        batch_rows: int = 32,
    ) -> None:
        self._predictor = predictor
        families = dict(families or {})
        self._corpora = Corpora((CorpusInputs(name="", examples=examples, families=families),))
        self._vocab_size = vocab_size
        student = predictor.facts or StudentFacts(architecture=_Sized(vocab_size))
        questions = label_questions(student, examples, only=only)
        self._measures: list[Measure] = [LabelMeasure(question) for question in questions]
        kls = _kl_measures(families, student, terms)
        self._measures += [measure for _, measure in kls]
        self._measures += [
            CosineMeasure(c, families[c.family], (projections or {}).get(c.name))
            for c in comparisons
        ]
        if not self._measures:
            raise UsageError(
                f"{examples.directory}: nothing in these examples can be evaluated: the model "
                f"answers {answers_of(student)}, and they have none of these labels"
            )
        groups = [q.list for q in questions if q.head is None]
        groups += [base_list(family.list_name) for family, m in kls if m.head is None]
        heads = [q.head for q in questions if q.head is not None]
        heads += [measure.head for _, measure in kls if measure.head is not None]
        self._asked = Asked(
            groups=tuple(dict.fromkeys(groups)),
            heads=tuple(dict.fromkeys(heads)),
            hidden=tuple(sorted({c.layer for c in comparisons})),
        )
        lists = [*(q.list for q in questions), *groups, *(f.list_name for f in families.values())]
        self._lists = tuple(dict.fromkeys([*lists, *(f.group for f in families.values())]))
        self._world = world or World()
        self._batch_rows = min(batch_rows, examples.num_rows, self._most_rows())
        self._compiled: Any = None

    def scores(self) -> Scores:
        """Goes through all rows; a collective when there are several ranks."""
        sums = np.zeros(sum(measure.num_sums for measure in self._measures), np.float64)
        for batch in self._batches():
            if self._compiled is None:
                self._compiled = tf.function(self._sums, input_signature=(batch_spec(batch),))
            sums += self._compiled(to_tensors(batch)).numpy()
            still_working()  # a long evaluation is no standstill
        total = ranks.sum_vector(sums, name="evaluate")
        values: dict[str, float] = {}
        counts: dict[str, int] = {}
        start = 0
        for measure in self._measures:
            own = np.asarray(total[start : start + measure.num_sums])
            start += measure.num_sums
            values |= measure.values(own)
            counts[measure.name] = int(own[0])
        return Scores(values=values, counts=counts)

    def _most_rows(self) -> int:
        """Rows whose vocabulary logits fit what a batch may have."""
        if not {"all", "next"} & set(self._asked.groups):
            return 1 << 30
        return max(1, MAX_LOGITS // (self._vocab_size * self._corpora.seq_length))

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
        """All measures' vectors, one after the other."""
        outputs = self._predictor.outputs(batch, self._asked)
        return tf.concat([measure.sums(outputs, batch) for measure in self._measures], 0)


@dataclass(frozen=True)
class Evaluation:
    """The evaluators of a run: one a set of held-out rows."""

    parts: Sequence[Evaluator]
    """At least one."""

    def scores(self) -> Scores:
        """Those of all; a collective when there are several ranks."""
        return joined([part.scores() for part in self.parts])


def make_evaluator(
    inputs: Inputs, objective: Objective, student: Student, world: World
) -> Evaluation | None:
    """The evaluation of a run on its held-out data; None where it has none."""
    terms = [bound.term for bound in objective.terms]
    own = {
        index: student.projections[bound.projections[0]]
        for index, bound in enumerate(objective.terms)
        if isinstance(bound.term, HiddenTerm) and bound.projections
    }
    widths = {index: inputs.families[terms[index].signals[0]].hidden_dim for index in own}
    parts = []
    for only, (examples, families) in inputs.heldout_sets.items():
        comparisons = compared_layers(
            terms, families, hidden_dim=inputs.architecture.hidden_dim, widths=widths
        )
        parts.append(
            Evaluator(
                ModelPredictor(student.model, inputs.plan),
                examples,
                vocab_size=inputs.architecture.vocab_size,
                families=families,
                comparisons=comparisons,
                projections={c.name: own[c.term] for c in comparisons if c.term is not None},
                terms=terms,
                only=only,
                world=world,
            )
        )
    return Evaluation(parts) if parts else None


@dataclass(frozen=True)
class _Sized:
    """A shape of which only the vocabulary is known."""

    vocab_size: int
    """V."""


def _kl_measures(
    families: Mapping[str, Family], student: StudentFacts, terms: Sequence[Term]
) -> list[tuple[Family, KLMeasure]]:
    """What compares distributions: at most one family over the vocabulary, and those of tasks."""
    measures = []
    vocabulary = distribution_of(families)
    if vocabulary is not None:
        check_distribution(vocabulary, student=student)
        measures.append((vocabulary, KLMeasure(vocabulary)))
    for family in families.values():
        if isinstance(family.signal, TaskSignal):
            head = head_of_family(student, family, terms, where=WHERE)
            suffix = suffix_of(student, head)
            measures.append((family, KLMeasure(family, head=head, suffix=suffix)))
    return measures
