"""What a run reads; relative paths count from the working directory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from limbeck.config.errors import UsageError
from limbeck.labels.signals import Signal
from limbeck.order import size_weights, whole_weights

__all__ = ["Corpus", "Data", "DynamicMasking", "HeldoutTask", "LiveTeacher"]

MAX_QUARANTINED = 1e-6


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One set of examples of a mixture, with its labels."""

    name: str
    """Short name for logs and metrics, and for terms that learn from this corpus alone."""

    examples: str
    """Directory of examples, of any kind."""

    labels: dict[str, str] = field(default_factory=dict)
    """Label families of those examples. Corpora may have different ones: a term learns from the
    rows that have its family. Two corpora whose families are of one meaning give them one name."""

    weight: float | None = None
    """Share of the positions, relative to the other corpora; null: by its number of rows, see
    `data.sampling_exponent`."""

    def __post_init__(self) -> None:
        """Refuses a name that lists of a batch cannot carry, and a weight that is none."""
        if self.name != self.name.strip() or " " in self.name:
            raise ValueError(f"name is {self.name!r}; leave blanks out")
        if self.weight is not None and not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight is {self.weight}; it must be a positive number")


@dataclass(frozen=True, kw_only=True)
class HeldoutTask:
    """What one task is evaluated on."""

    examples: str
    """Directory of examples with the task's labels."""

    labels: dict[str, str] = field(default_factory=dict)
    """Label families of those examples, as in `data.heldout_labels`."""


@dataclass(frozen=True, kw_only=True)
class DynamicMasking:
    """A new mask at every visit of a row; a function of seed, epoch and record key alone."""

    tokenizer: str
    """Folder or vocabulary file of the tokenizer that made the examples: its special tokens."""

    rate: float = 0.15
    """Share of the tokens that are predicted."""

    mask: float = 0.8
    """Share of those that become [MASK]."""

    random: float = 0.1
    """Share of those that become a random id; the others stay as they are."""

    max_predictions: int | None = None
    """Most predictions a row; null: the rate times the length of the examples, rounded up."""

    def __post_init__(self) -> None:
        """Refuses shares out of range."""
        if not 0 < self.rate < 1:
            raise ValueError(f"rate is {self.rate}; it must be in (0, 1)")
        if min(self.mask, self.random) < 0 or self.mask + self.random > 1:
            raise ValueError(
                f"mask is {self.mask} and random {self.random}; they must be shares that add up "
                "to at most 1"
            )
        if self.max_predictions is not None and self.max_predictions < 1:
            raise ValueError(f"max_predictions is {self.max_predictions}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class LiveTeacher:
    """A teacher that answers beside the student, in place of stored labels."""

    path: str
    """Model folder or ONNX graph, as `extract run --teacher` takes it."""

    signals: dict[str, Signal]
    """Name for the terms -> what it answers with, as in an extraction recipe."""

    backend: Literal["auto", "keras", "pytorch", "onnx"] = "auto"
    """What runs it."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of its matrix products."""

    batch_tokens: int = 4096
    """Token slots that it computes at a time, rows times padded length; one row at least."""

    def __post_init__(self) -> None:
        """Refuses a teacher without signals, and settings that make no sense for a live one."""
        if not self.path:
            raise ValueError("path is empty; name a model folder or an ONNX graph")
        if not self.signals:
            raise ValueError("signals is empty; name at least one")
        for name, signal in self.signals.items():
            if signal.records < 1.0:
                raise ValueError(
                    f"signals.{name}.records is {signal.records}, but a live teacher answers for "
                    "every row; leave records out"
                )
        if self.batch_tokens < 1:
            raise ValueError(f"batch_tokens is {self.batch_tokens}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Directories that a run reads."""

    examples: str | None = None
    """Examples to train on; or `corpora`."""

    labels: dict[str, str] = field(default_factory=dict)
    """Label families of those examples: a name for the terms -> the family's directory."""

    corpora: tuple[Corpus, ...] = ()
    """A mixture, in place of `examples` and `labels`."""

    sampling_exponent: float | None = None
    """Corpora without weights get shares of the positions in proportion to rows^exponent: 1 (null)
    by their rows, so that all end their epochs together; 0 equal shares; between the two, small
    corpora come round more often."""

    teacher: LiveTeacher | None = None
    """A live teacher in place of stored labels."""

    masking: DynamicMasking | None = None
    """Masks made while training, for examples that were stored without. Terms on stored labels,
    which belong to the unmasked input, then look at a second pass over that. In a mixture the rows
    of other kinds than plain text stay as they are."""

    heldout: str | None = None
    """Examples to evaluate on while training; see `training.evaluate_every`."""

    heldout_labels: dict[str, str] = field(default_factory=dict)
    """Label families of the held-out examples. A sparse or final one adds KL(teacher || student) to
    the evaluation; a hidden one, of the name that terms use, the cosine of the layers that they
    compare."""

    heldout_tasks: dict[str, HeldoutTask] = field(default_factory=dict)
    """Name of a head of the student -> examples to evaluate that head on, beside or in place of
    `heldout`."""

    reading: Literal["pread", "mapped"] = "pread"
    """pread: any storage. mapped: through memory maps, faster for small records that are in memory
    already; only for files on local disk that nobody else writes to."""

    on_bad_record: Literal["stop", "quarantine"] = "stop"
    """stop: end the run, naming file, row and reason. quarantine: the row stays in the order with
    weight 0, so that no other batch moves; counted and reported."""

    max_quarantined: float = MAX_QUARANTINED
    """Largest share of the rows fed so far that may be bad before the run stops all the same (one
    bad row always may)."""

    def __post_init__(self) -> None:
        """Refuses labels without examples, and two answers to one question."""
        if (self.examples is None) == (not self.corpora):
            raise ValueError("give examples or corpora, one of the two")
        if self.corpora and self.labels:
            raise ValueError("labels belong to each corpus of corpora")
        names = [corpus.name for corpus in self.corpora]
        if len(set(names)) != len(names):
            raise ValueError(f"two corpora have one name: {names}")
        self._check_sampling()
        if self.teacher is not None and self.label_names:
            raise ValueError("teacher answers live; leave labels out")
        if self.heldout_labels and self.heldout is None:
            raise ValueError("heldout_labels is set but heldout is not")
        if self.on_bad_record == "stop" and self.max_quarantined != MAX_QUARANTINED:
            raise ValueError("max_quarantined has no effect when on_bad_record is stop")
        if not 0 <= self.max_quarantined < 1:
            raise ValueError(f"max_quarantined is {self.max_quarantined}; it must be in [0, 1)")

    def _check_sampling(self) -> None:
        """Refuses weights of some corpora only, and two ways to share out the positions."""
        weighted = [corpus.weight is not None for corpus in self.corpora]
        if any(weighted) and not all(weighted):
            raise ValueError("give every corpus a weight, or none of them")
        exponent = self.sampling_exponent
        if exponent is None:
            return
        if len(self.corpora) < 2:
            raise ValueError("sampling_exponent has no effect without several corpora")
        if any(weighted):
            raise ValueError("give the corpora weights or sampling_exponent, one of the two")
        if not (math.isfinite(exponent) and exponent >= 0):
            raise ValueError(f"sampling_exponent is {exponent}; it must be a number >= 0")

    def shares(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """What each corpus feeds of the positions, as whole numbers in proportion.

        Args:
          sizes: rows of each corpus of `parts`.

        Raises:
          UsageError: a share vanishes beside the others.
        """
        weights = [part.weight for part in self.parts if part.weight is not None]
        exponent = 1.0 if self.sampling_exponent is None else self.sampling_exponent
        try:
            return whole_weights(weights) if weights else size_weights(sizes, exponent)
        except UsageError as error:
            setting = "corpora" if weights else "sampling_exponent"
            raise UsageError(f"data.{setting}: {error}") from error

    @property
    def parts(self) -> tuple[Corpus, ...]:
        """The corpora; one without a name where there is no mixture."""
        if self.examples is None:
            return self.corpora
        return (Corpus(name="", examples=self.examples, labels=self.labels),)

    @property
    def has_heldout(self) -> bool:
        """Whether there is anything to evaluate on."""
        return self.heldout is not None or bool(self.heldout_tasks)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names that terms may use for stored families."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.labels))

    @property
    def signal_names(self) -> tuple[str, ...]:
        """Names that terms may use, stored or live."""
        return self.label_names if self.teacher is None else tuple(self.teacher.signals)
