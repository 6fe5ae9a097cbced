"""What a recipe may say about making a student from a teacher: a list of steps, done in order.

    construct:
      - layers: every-other
      - width: {hidden_dim: 384, intermediate_dim: 1536, importance: scores.safetensors}
      - trim_vocabulary: {counts: counts/token_counts.json, min_count: 5}

Each step names one construction. The loader reports a ValueError raised here with its file and
line; what depends on the teacher is checked by `limbeck.models.constructions.build`.
"""

import dataclasses
from dataclasses import dataclass

from limbeck.models.constructions.choice import check_choice

__all__ = ["EmbeddingPCA", "FactorisedEmbedding", "Step", "TrimVocabulary", "Width"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingPCA:
    """A narrow student with the teacher's token embedding compressed to its width."""

    dim: int
    """Width of the student; at most the teacher's. Its layers start at random."""

    num_heads: int | None = None
    """Attention heads; heads as wide as the teacher's when left out."""

    intermediate_dim: int | None = None
    """Width inside the feed-forward blocks; in the teacher's proportion when left out."""

    centred: bool = True
    """true: PCA, the mean embedding taken off, as XtremeDistil does. false: truncated SVD."""

    freeze: bool = False
    """Whether training leaves the compressed embedding alone, and the decoder tied to it."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        _check_positive(self, "dim", "num_heads", "intermediate_dim")


@dataclass(frozen=True, kw_only=True)
class FactorisedEmbedding:
    """Narrow embeddings and a projection behind them; the layers stay as they are."""

    dim: int
    """Width of the embeddings, from 2 to below the teacher's."""

    freeze: bool = False
    """Whether training leaves the token embedding alone, and the decoder tied to it."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        _check_positive(self, "dim")


@dataclass(frozen=True, kw_only=True)
class TrimVocabulary:
    """The vocabulary of a corpus, instead of all of the teacher's."""

    counts: str
    """File of token counts (`beam_pipelines.token_counts`), of the teacher's tokenizer."""

    min_count: int = 1
    """Tokens that occur so often are kept; special tokens always are."""

    size: int | None = None
    """At most so many tokens, the most frequent ones; no bound when left out."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        _check_positive(self, "min_count", "size")


@dataclass(frozen=True, kw_only=True)
class Width:
    """Fewer heads, neurons and hidden units, the least important ones cut."""

    importance: str
    """A safetensors file with measured scores, of `limbeck.models.constructions importance`:
    hidden (D,), heads (L, H) and neurons (L, F). Or l2, for the norms of the weights: a weak
    guide, which needs no data."""

    hidden_dim: int | None = None
    """Width of the states, a multiple of the head width; heads are cut with it. All when left
    out."""

    intermediate_dim: int | None = None
    """Neurons of every feed-forward block. All when left out."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        _check_positive(self, "hidden_dim", "intermediate_dim")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One construction: exactly one of the fields is given."""

    layers: str | tuple[int, ...] | None = None
    """Layers that the student takes: a list, from 1, or first-K, last-K, evenly-K (the last one
    included), every-other (1, 3, 5, ...), distilbert (1, 3, 5, 8, 10, 12 of twelve), pkd-skip-K,
    pkd-last-K."""

    average_layers: int | tuple[tuple[int, ...], ...] | None = None
    """Groups of layers that become one layer each, their mean: how many groups of neighbours, or
    the groups, of layers from 1."""

    embedding_pca: EmbeddingPCA | None = None
    """A narrow student with the teacher's token embedding compressed to its width."""

    factorised_embedding: FactorisedEmbedding | None = None
    """Narrow embeddings and a projection behind them."""

    trim_vocabulary: TrimVocabulary | None = None
    """The tokens of a corpus only."""

    width: Width | None = None
    """Fewer heads, neurons and hidden units."""

    def __post_init__(self) -> None:
        """Refuses a step that is none or several, and layers that no teacher has."""
        names = [field.name for field in dataclasses.fields(self)]
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a step of construct names one construction of {', '.join(names)}; "
                f"{' and '.join(given) or 'none'} given"
            )
        if self.layers is not None:
            check_choice(self.layers)

    @property
    def name(self) -> str:
        """The field that is given."""
        fields = dataclasses.fields(self)
        return next(field.name for field in fields if getattr(self, field.name) is not None)


def _check_positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
