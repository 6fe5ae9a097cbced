"""What all terms of an objective have in common. No TensorFlow.

A term is declared by a frozen dataclass with the name of its loss in a Literal; `register` makes
recipes know it. What it computes is a formula that `train.losses.formula` ties to the class, so a
recipe can be read and checked without TensorFlow.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_type_hints

from train.recipe.schedules import WeightSchedule

__all__ = [
    "ProjectionPlan",
    "Reach",
    "StudentFacts",
    "Term",
    "Unit",
    "Wants",
    "make_term",
    "register",
    "term_names",
]

Reach = Literal["additive", "batch"]
"""additive: a sum over entries. batch: entries are compared with statistics of the global batch."""

Unit = Literal["entries", "pairs", "rows"]
"""What a term's count adds up: the entries of its list, or for each of them the tokens of its row
(pairs of tokens, where the list is `all`), or the rows that have any."""

T = TypeVar("T", bound="Term")

_registered: dict[str, type["Term"]] = {}


@dataclass(frozen=True, kw_only=True)
class Wants:
    """What a term looks at in a forward pass of the student; layer 0 is the embeddings."""

    logits: bool = False
    """Vocabulary logits at the entries of its list."""
    hidden: tuple[int, ...] = ()
    """Layers whose states it compares."""
    attentions: tuple[int, ...] = ()
    """Layers whose attention probabilities."""
    scores: tuple[int, ...] = ()
    """Layers whose scaled attention scores before masks and softmax."""
    qkv: tuple[int, ...] = ()
    """Layers whose queries, keys and values."""
    pooled: bool = False
    """The pooler's output."""
    head: str | None = None
    """Name of a task head whose logits it looks at."""


@dataclass(frozen=True, kw_only=True)
class StudentFacts:
    """What is known of a student before it is made."""

    architecture: Any
    """`EncoderArchitecture` or `DecoderArchitecture`."""
    heads: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Name of a task head -> its settings."""
    predicts: bool = True
    """Whether it has a language-model head."""
    language: Literal["masked", "next"] | None = "masked"
    """What that head predicts: masked tokens, or the one after each; None without one."""
    pooler: bool = False
    """Whether it has a pooler."""


@dataclass(frozen=True, kw_only=True)
class ProjectionPlan:
    """A trained map between a student's states and a formula."""

    name: str
    """Of its variables in checkpoints; terms that name the same share it."""
    kind: str
    """Name of a registered projection; see `train.projections`."""
    source_dim: int
    """Width that it takes."""
    target_dim: int
    """Width that it gives."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One loss of an objective: weight * (sum over its entries) / (their global count)."""

    unit: ClassVar[Unit] = "entries"

    loss: str
    """Name of the loss; each has settings of its own."""

    weight: float | WeightSchedule = 1.0
    """Multiplies the term; a number, or a schedule over the steps of the run."""

    def __post_init__(self) -> None:
        """Refuses a weight that is none; subclasses check what they add."""
        if isinstance(self.weight, int | float) and not (
            math.isfinite(self.weight) and self.weight > 0
        ):
            raise ValueError(f"weight is {self.weight}; it must be a positive number")

    @classmethod
    def variants(cls) -> tuple[str, Mapping[str, type]]:
        """For `limbeck.config.typed`: the field and the classes that a block may mean."""
        return "loss", {n: c for n, c in _registered.items() if issubclass(c, cls)}

    @property
    def reach(self) -> Reach:
        """Whether it is a sum over entries, or needs statistics of the global batch."""
        return "additive"

    @property
    def counted(self) -> Unit:
        """What its count adds up: its `unit`, unless a setting says otherwise."""
        return self.unit

    @property
    def signals(self) -> tuple[str, ...]:
        """Families of `data.labels` that it learns from, in the order of its formula."""
        return ()

    @property
    def student_layers(self) -> tuple[int, ...]:
        """Layers of the student that it compares."""
        return ()

    def list_name(self, families: Sequence[Any]) -> str:
        """The list of a batch that it sums over; see `train.reading.batch`.

        Args:
          families: opened, in the order of `signals`.
        """
        return str(families[0].list_name)

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses families and students that it cannot work with, before anything is loaded.

        Args:
          families: `train.reading.families.Family` or `train.reading.live.LiveFamily`, in the
            order of `signals`.
          student: facts.

        Raises:
          UsageError: what is wrong and what would be needed; begins with the name of the setting.
        """

    def wants(self, families: Sequence[Any]) -> Wants:
        """What its formula looks at."""
        return Wants()

    def projections(
        self, families: Sequence[Any], student: StudentFacts, *, name: str
    ) -> tuple[ProjectionPlan, ...]:
        """The trained maps that its formula gets, in order.

        Args:
          families: in the order of `signals`.
          student: facts.
          name: of the term with its index, for maps that it shares with nobody.
        """
        return ()

    def settled(self: T, student: StudentFacts) -> T:
        """The term with what its settings leave to the student, such as its only head."""
        return self

    def weight_at(self, x: float) -> float:
        """Its weight when a share x of the run is done."""
        return self.weight if isinstance(self.weight, int | float) else self.weight.at(x)

    def scale_at(self, x: float) -> float:
        """What multiplies its mean: the weight, and factors of its own such as tau^2."""
        return self.weight_at(x)


def register(cls: type[T]) -> type[T]:
    """Makes recipes know a term: a frozen dataclass with the name of its loss in a Literal.

    Raises:
      ValueError: it names no loss, or one that another class has.
    """
    names = get_args(get_type_hints(cls)["loss"])
    if not names:
        raise ValueError(f'{cls.__name__}.loss must be a Literal, such as Literal["huber"]')
    for name in names:
        if _registered.get(name, cls).__qualname__ != cls.__qualname__:
            raise ValueError(f"loss {name!r} is that of {_registered[name].__name__} already")
        _registered[name] = cls
    return cls


def make_term(loss: str, **settings: Any) -> Term:
    """The term of a registered loss; for Python code, where a recipe would name it.

    Raises:
      ValueError: no such loss, or settings that it refuses.
    """
    if loss not in _registered:
        raise ValueError(f"loss {loss!r} is none of {', '.join(_registered)}")
    cls = _registered[loss]
    known = [field.name for field in dataclasses.fields(cls)]
    if unknown := [name for name in settings if name not in known]:
        raise ValueError(f"loss {loss} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    return cls(loss=loss, **settings)


def term_names(terms: Sequence[Term]) -> tuple[str, ...]:
    """Names of the terms of an objective: the loss, numbered from its second term on."""
    names: list[str] = []
    for index, term in enumerate(terms):
        seen = sum(other.loss == term.loss for other in terms[:index])
        names.append(f"{term.loss}_{seen + 1}" if seen else term.loss)
    return tuple(names)
