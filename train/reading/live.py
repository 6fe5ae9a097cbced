"""A teacher that answers beside the student, behind the interface of stored labels.

The rows of a slice, as the student gets them, go through the teacher in the thread that read them.
Its answers pass the same codec as those of an extraction and the same decoding as stored ones, so
lists, objective and losses do not know where labels come from; with a signal that loses nothing
(`final` in float32) they are those of distillation beside a live teacher as it is usually written.

The teacher is described when a run is checked, and loaded when its first answer is wanted: with it
comes its framework. What a codec leaves open is settled from the first rows of the examples, as
extraction does.
"""

# n rows of a slice, M positions of a family in them, E entries of a position

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import codecs
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import AttentionSignal, FinalSignal, LabelDims, Signal
from limbeck.records.dataset import Dataset
from limbeck.records.examples import check_examples
from limbeck.records.keys import split_key
from limbeck.teachers import LoadOptions, Teacher, TeacherFacts, TeacherSource, find_teacher
from limbeck.teachers.batching import plan_batches
from limbeck.teachers.protocol import TeacherBatch, TeacherOutOfMemory
from limbeck.teachers.questions import make_batch, position_counts, question_of
from limbeck.tokens import refuse_other_tokenizer
from train.reading.batch import FamilyArrays
from train.reading.families import decoded
from train.reading.live_family import LiveFamily
from train.reading.masking import Masker
from train.reading.mixture import Corpora
from train.recipe import LiveTeacher

__all__ = ["LiveFamily", "LiveLabels", "open_live"]

NUM_LENGTHS = 8  # padded lengths that batches may have: each is compiled once
SAMPLED_ROWS = 256  # read at a time while codecs are settled

Rows = Mapping[str, np.ndarray]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Loaded:
    teacher: Teacher
    fitted: Mapping[str, Fitted]


class LiveLabels:
    """Answers of a teacher for slices of rows; see `train.stream.LiveAnswers`.

    Threads may share it: one forward pass is made at a time.

    Args:
      settings: of the recipe.
      source: the teacher.
      corpora: of the run; codecs are settled on their first rows.
      masker: masks those rows, where they are stored without.
      seed: of what is drawn.
      threads: CPU threads of the teacher; 0 takes TensorFlow's number in this process.
    """

    def __init__(
        self,
        settings: LiveTeacher,
        source: TeacherSource,
        *,
        corpora: Corpora,
        masker: Masker | None,
        seed: int,
        threads: int = 0,
    ) -> None:
        self._settings = settings
        self._source = source
        self._corpora = corpora
        self._masker = masker
        self._seed = seed
        self._threads = threads
        self._lock = threading.RLock()
        self._loaded: _Loaded | None = None

    @property
    def facts(self) -> TeacherFacts:
        """What is known of the teacher."""
        return self._source.facts

    @property
    def families(self) -> dict[str, LiveFamily]:
        """By the recipe's names."""
        return {
            name: LiveFamily(name=name, signal=signal, labels=self)
            for name, signal in self._settings.signals.items()
        }

    @property
    def ids(self) -> tuple[str, ...]:
        """What a checkpoint's state names beside the datasets."""
        return (self.facts.fingerprint,)

    def fitted(self, name: str) -> Fitted:
        """The codec of a family; loads the teacher."""
        with self._lock:
            return self._ready().fitted[name]

    def arrays(self, examples: Rows) -> dict[str, FamilyArrays]:
        """What each family holds for n rows of examples, as they are fed to the student.

        Raises:
          LimbeckError: an answer that no sound teacher gives, naming the record; a batch that does
            not fit the memory.
        """
        with self._lock:
            loaded = self._ready()
            try:
                parts = [
                    (rows, loaded.teacher.signals(batch, loaded.fitted))
                    for rows, batch in self._batches(examples, self._settings.signals)
                ]
            except TeacherOutOfMemory as error:
                raise self._too_large(error) from error
        order = np.concatenate([rows for rows, _ in parts])
        return {
            name: self._family_arrays(
                name, fitted, examples, order, self._together(fitted, [a[name] for _, a in parts])
            )
            for name, fitted in loaded.fitted.items()
        }

    def _ready(self) -> _Loaded:
        """The teacher and its codecs; the lock is held."""
        if self._loaded is None:
            precision = self._settings.precision
            threads = self._threads or _threads()
            teacher = self._source.load(LoadOptions(threads=threads, precision=precision))
            fitted = {
                name: self._fit(name, signal, teacher)
                for name, signal in self._settings.signals.items()
            }
            self._loaded = _Loaded(teacher=teacher, fitted=fitted)
        return self._loaded

    def _batches(
        self, examples: Rows, signals: Mapping[str, Signal]
    ) -> Iterator[tuple[np.ndarray, TeacherBatch]]:
        """Yields the rows of each batch and what the teacher gets; longest rows first."""
        question = question_of(signals.values(), predicts=self.facts.predicts, seed=self._seed)
        longest = min(self._corpora.seq_length, self.facts.max_positions)
        plans = plan_batches(
            examples["num_tokens"],
            batch_tokens=self._settings.batch_tokens,
            length_multiple=max(8, -(-longest // NUM_LENGTHS)),
            max_length=longest,
        )
        for plan in plans:
            picked = {name: values[plan.rows] for name, values in examples.items()}
            yield plan.rows, make_batch(picked, question, length=plan.length)

    def _family_arrays(
        self, name: str, fitted: Fitted, examples: Rows, order: np.ndarray, arrays: Arrays
    ) -> FamilyArrays:
        """One family's answers to the rows in the order of the batches, checked and decoded."""
        counts = position_counts(fitted.signal.positions, examples)
        starts = np.zeros_like(counts)
        starts[order] = np.cumsum(counts[order]) - counts[order]
        fault = codecs.find_fault(fitted, arrays, dims=self._dims(examples))
        if fault is not None:
            place = np.searchsorted(np.cumsum(counts[order]), fault.position, side="right")
            key = examples["key"][order[place]]
            raise LimbeckError(
                f"{self.facts.where}: signal {name!r}, record {key.tobytes().hex()} "
                f"({split_key(key)}): {fault.reason}; the teacher or its weights are broken"
            )
        return FamilyArrays(
            group=fitted.signal.positions,
            counts=counts,
            starts=starts,
            fields=decoded(fitted, arrays),
        )

    def _together(self, fitted: Fitted, parts: Sequence[Arrays]) -> Arrays:
        """The answers of all batches; attention as wide as a stored one's, zeros behind."""
        if isinstance(fitted.signal, AttentionSignal):
            width = self._corpora.seq_length
            parts = [{name: _widened(x, width) for name, x in part.items()} for part in parts]
        return _joined(parts)

    def _too_large(self, error: TeacherOutOfMemory) -> LimbeckError:
        said = str(error).partition(";")[0]
        budget = self._settings.batch_tokens
        return LimbeckError(f"{said}; data.teacher.batch_tokens is {budget}, set a smaller one")

    def _dims(self, examples: Rows) -> LabelDims:
        masked = examples.get("mask_positions")
        return self.facts.dims(
            seq_length=self._corpora.seq_length,
            max_predictions=None if masked is None else masked.shape[1],
        )

    def _fit(self, name: str, signal: Signal, teacher: Teacher) -> Fitted:
        """Settles a codec on the first positions of the examples."""
        sample = self._sample(name, signal, teacher)
        try:
            fitted, _ = codecs.fit(signal, sample, side=teacher.side(signal))
        except UsageError as error:
            raise UsageError(f"data.teacher.signals.{name}: {error}") from error
        return fitted

    def _sample(self, name: str, signal: Signal, teacher: Teacher) -> Arrays:
        """Raw arrays at the first positions, as many as the codec wants to see."""
        wanted = codecs.sample_positions(signal)
        if isinstance(signal, FinalSignal) and signal.codec == "float32":
            return {"states": np.zeros((0, self.facts.final_dim), np.float32)}  # loses nothing
        parts: list[Arrays] = []
        have = 0
        for rows in self._first_rows() if wanted else ():
            for _, batch in self._batches(rows, {name: signal}):
                parts.append(teacher.raw(batch, {name: signal})[name])
                have += len(next(iter(parts[-1].values())))
            if have >= wanted:
                break
        return {n: x[:wanted] for n, x in _joined(parts).items()} if parts else {}

    def _first_rows(self) -> Iterator[Rows]:
        """Examples in the order of the files, as they are fed in the first epoch."""
        num_rows = self._corpora.num_rows
        for start in range(0, num_rows, SAMPLED_ROWS):
            rows = np.arange(start, min(start + SAMPLED_ROWS, num_rows), dtype=np.int64)
            fields = self._corpora.read(rows).examples
            check_examples(fields, vocab_size=self.facts.vocab_size)
            masked = self._masker
            yield fields if masked is None else masked(fields, np.zeros(len(rows), np.int64))


def open_live(
    settings: LiveTeacher,
    *,
    corpora: Corpora,
    masker: Masker | None,
    seed: int,
    vocab_size: int,
) -> LiveLabels:
    """Describes the teacher of a recipe and checks that it can answer for its examples.

    Loads no TensorFlow; a PyTorch teacher is loaded for that.

    Args:
      settings: of the recipe.
      corpora: what it answers for.
      masker: masks them, where they are stored without.
      seed: of what is drawn.
      vocab_size: of the student.

    Raises:
      UsageError: no teacher there, one of another vocabulary or tokenizer, rows longer than its
        positions, positions or signals that it cannot give.
    """
    where = "data.teacher"
    try:
        source = find_teacher(settings.path, backend=settings.backend)
        facts = source.facts
        facts.check(settings.signals)
    except UsageError as error:
        of_signal = str(error).removeprefix("families.")
        between = ": " if of_signal == str(error) else ".signals."
        raise UsageError(f"{where}{between}{of_signal}") from error
    if facts.vocab_size != vocab_size:
        raise UsageError(
            f"{where}: the vocabulary of {settings.path} has {facts.vocab_size} ids and the "
            f"student's {vocab_size}"
        )
    for part in corpora.parts:
        examples = part.examples
        refuse_other_tokenizer(
            examples.content.tokenizer,
            examples=str(examples.directory),
            model=facts.folder,
            vocab_size=facts.vocab_size,
        )
        if (longest := _longest(examples)) > facts.max_positions:
            raise UsageError(
                f"{where}: {examples.directory} has sequences of up to {longest} tokens and "
                f"{settings.path} {facts.max_positions} positions; prepare shorter examples"
            )
    return LiveLabels(settings, source, corpora=corpora, masker=masker, seed=seed)


def _longest(examples: Dataset) -> int:
    """Tokens of the longest row, or the slots of every row where the index does not say."""
    slots = examples.layout.field("ids").shape[0] or 0
    columns = [shard.index.lengths for shard in examples.shards]
    return max((slots if c is None else int(c.max(initial=0)) for c in columns), default=0)


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> Arrays:
    """The arrays of several batches, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _widened(probabilities: np.ndarray, width: int) -> np.ndarray:
    """(M, H, T) -> (M, H, S); no key beyond S is real."""
    wide = np.zeros((*probabilities.shape[:-1], width), probabilities.dtype)
    used = min(width, probabilities.shape[-1])
    wide[..., :used] = probabilities[..., :used]
    return wide


def _threads() -> int:
    """TensorFlow's threads in this process: what `limbeck.ranks.init` has set."""
    import tensorflow as tf

    number: int = tf.config.threading.get_intra_op_parallelism_threads()
    return number
