"""A recipe's steps, done: on a teacher's shape alone, or on its tensors too."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.models.constructions.choice import chosen_layers, layer_groups
from limbeck.models.constructions.construction import Construction, begin
from limbeck.models.constructions.embeddings import (
    TOKEN,
    compress_embeddings,
    compressed_shape,
    factorise_embeddings,
    factorised_shape,
)
from limbeck.models.constructions.importance import Importance
from limbeck.models.constructions.layers import average_layers, choose_layers, with_layers
from limbeck.models.constructions.steps import Step, TrimVocabulary, Width
from limbeck.models.constructions.vocabulary import (
    frequent_ids,
    trim_vocabulary,
    trimmed_shape,
)
from limbeck.models.constructions.width import narrow, narrowed_shape
from limbeck.tokens import holds_tokenizer, load_tokenizer
from limbeck.tokens.counts import read_counts
from limbeck.weights.safetensors_file import read_tensors

__all__ = ["construct", "frozen_by", "kept_ids", "student_shape"]

S = TypeVar("S")


def student_shape(
    architecture: EncoderArchitecture, steps: Sequence[Step], *, teacher: str | os.PathLike[str]
) -> EncoderArchitecture:
    """The shape that the steps give, from the teacher's shape alone.

    Args:
      architecture: the teacher's.
      steps: done in order.
      teacher: the teacher's folder; a trimmed vocabulary needs the tokenizer in it.

    Raises:
      UsageError: a step that does not fit, by its number.
    """
    return _in_turn(architecture, steps, lambda shape, step: _shape(shape, step, teacher))


def frozen_by(steps: Sequence[Step]) -> tuple[str, ...]:
    """The variables that the steps freeze (`Construction.frozen`), without doing them."""
    frozen: tuple[str, ...] = ()
    for step in steps:
        if step.embedding_pca is not None:  # all else of the student starts anew
            frozen = (TOKEN,) if step.embedding_pca.freeze else ()
        elif step.factorised_embedding is not None and step.factorised_embedding.freeze:
            frozen = (TOKEN,)
    return frozen


def construct(
    architecture: EncoderArchitecture,
    tensors: Mapping[str, np.ndarray],
    steps: Sequence[Step],
    *,
    teacher: str | os.PathLike[str],
) -> Construction:
    """Makes a student's tensors from a teacher's.

    Args:
      architecture: the teacher's.
      tensors: the teacher's, by the names of `limbeck.models.named_variables`.
      steps: done in order.
      teacher: the teacher's folder, as for `student_shape`.

    Raises:
      UsageError: a step that does not fit, by its number.
    """
    start = begin(architecture, tensors)
    return _in_turn(start, steps, lambda made, step: _apply(made, step, teacher))


def kept_ids(settings: TrimVocabulary, teacher: str | os.PathLike[str]) -> np.ndarray:
    """The ids that a trimmed vocabulary keeps, ascending.

    Raises:
      UsageError: no tokenizer beside the teacher, no such file, or counts of another tokenizer.
      LimbeckError: a damaged file.
    """
    if not holds_tokenizer(teacher):
        raise UsageError(f"{teacher}: no tokenizer in it, which says what ids must be kept")
    tokenizer = load_tokenizer(teacher)
    if not Path(settings.counts).is_file():
        raise UsageError(
            f"{settings.counts}: no such file; make it with beam_pipelines.token_counts"
        )
    return frequent_ids(
        read_counts(settings.counts, fingerprint=tokenizer.fingerprint()),
        special_ids=tokenizer.special.known().values(),
        min_count=settings.min_count,
        size=settings.size,
    )


def _shape(
    shape: EncoderArchitecture, step: Step, teacher: str | os.PathLike[str]
) -> EncoderArchitecture:
    if step.layers is not None:
        return with_layers(shape, len(chosen_layers(step.layers, shape.num_layers)))
    if step.average_layers is not None:
        return with_layers(shape, len(layer_groups(step.average_layers, shape.num_layers)))
    if step.embedding_pca is not None:
        pca = step.embedding_pca
        return compressed_shape(
            shape, pca.dim, num_heads=pca.num_heads, intermediate_dim=pca.intermediate_dim
        )
    if step.factorised_embedding is not None:
        return factorised_shape(shape, step.factorised_embedding.dim)
    if step.trim_vocabulary is not None:
        return trimmed_shape(shape, kept_ids(step.trim_vocabulary, teacher))
    assert step.width is not None  # Step sees to it
    _importance(step.width, shape)
    return narrowed_shape(
        shape, hidden_dim=step.width.hidden_dim, intermediate_dim=step.width.intermediate_dim
    )


def _apply(made: Construction, step: Step, teacher: str | os.PathLike[str]) -> Construction:
    if step.layers is not None:
        return choose_layers(made, step.layers)
    if step.average_layers is not None:
        return average_layers(made, step.average_layers)
    if step.embedding_pca is not None:
        pca = step.embedding_pca
        return compress_embeddings(
            made,
            pca.dim,
            centred=pca.centred,
            num_heads=pca.num_heads,
            intermediate_dim=pca.intermediate_dim,
            freeze=pca.freeze,
        )
    if step.factorised_embedding is not None:
        factorised = step.factorised_embedding
        return factorise_embeddings(made, factorised.dim, freeze=factorised.freeze)
    if step.trim_vocabulary is not None:
        return trim_vocabulary(made, kept_ids(step.trim_vocabulary, teacher))
    assert step.width is not None  # Step sees to it
    return narrow(
        made,
        hidden_dim=step.width.hidden_dim,
        intermediate_dim=step.width.intermediate_dim,
        importance=_importance(step.width, made.architecture),
    )


def _importance(settings: Width, shape: EncoderArchitecture) -> Importance | None:
    if settings.importance == "l2":
        return None
    path = settings.importance
    if not Path(path).is_file():
        raise UsageError(f"width: importance is {path!r}; expected l2 or a safetensors file")
    return Importance.from_tensors(read_tensors(path), shape, where=path)


def _in_turn(start: S, steps: Sequence[Step], do: Callable[[S, Step], S]) -> S:
    state = start
    for index, step in enumerate(steps):
        if step.trim_vocabulary is not None and any(s.trim_vocabulary for s in steps[:index]):
            raise UsageError(f"construct[{index}]: the vocabulary is trimmed already")
        try:
            state = do(state, step)
        except UsageError as error:
            raise UsageError(f"construct[{index}]: {error}") from error
    return state
