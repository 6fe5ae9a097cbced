"""Constructions from and to Keras models."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.models.constructions.build import construct
from limbeck.models.constructions.construction import Construction
from limbeck.models.constructions.importance import Importance, importance_of_gradients
from limbeck.models.constructions.steps import Step
from limbeck.models.masked_lm import MaskedLM, build_masked_lm, named_variables
from limbeck.weights.hf import load_masked_lm
from limbeck.weights.report import LoadReport

__all__ = ["construct_from_folder", "measured_importance", "model_of", "named_arrays"]


def named_arrays(model: Any) -> dict[str, np.ndarray]:
    """The values of all variables of a model, float32, by name."""
    return {name: np.asarray(v.value, np.float32) for name, v in named_variables(model).items()}


def model_of(
    made: Construction, *, seed: int, architecture: EncoderArchitecture | None = None
) -> MaskedLM:
    """Makes the student's model.

    Args:
      made: what was constructed.
      seed: draws what a construction leaves to chance, as in `build_masked_lm`.
      architecture: with dropout rates of its own; None for the construction's.
    """
    model = build_masked_lm(architecture or made.architecture, seed=seed)
    variables = named_variables(model)
    assert set(made.tensors) <= set(variables), sorted(set(made.tensors) - set(variables))[:3]
    for name, tensor in made.tensors.items():
        variables[name].assign(tensor)
    return model


def measured_importance(model: Any, losses: Iterable[Callable[[], tf.Tensor]]) -> Importance:
    """Scores of a model's units by the gradients of a loss; `width` reads them from a file.

        write_tensors("importance.safetensors", measured_importance(model, losses).tensors())

    Args:
      model: whose units are scored.
      losses: for every batch, a function that computes its scalar loss with the model.
    """
    variables = named_variables(model)

    def gradients() -> Iterator[dict[str, np.ndarray]]:
        for loss in losses:
            with tf.GradientTape() as tape:
                value = loss()
            grads = tape.gradient(
                value,
                [v.value for v in variables.values()],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            dense = (tf.convert_to_tensor(grad).numpy() for grad in grads)
            yield dict(zip(variables, dense, strict=True))

    return importance_of_gradients(model.architecture, named_arrays(model), gradients())


def construct_from_folder(
    teacher: str | os.PathLike[str],
    steps: Sequence[Step],
    *,
    seed: int,
    missing_head: Literal["error", "initialise"] = "error",
    architecture: EncoderArchitecture | None = None,
) -> tuple[MaskedLM, Construction, LoadReport]:
    """Makes a student from a model folder.

    Args:
      teacher: the folder.
      steps: done in order.
      seed: draws what the steps leave to chance.
      missing_head: what to do where the folder has no masked-LM head.
      architecture: of the student, as `student_shape` gives it but for dropout rates; None for
        just that.

    Returns:
      The student, how it was made, and how the folder was read.

    Raises:
      UsageError: the folder or a step does not fit.
      LimbeckError: a file is damaged.
    """
    source, report = load_masked_lm(teacher, missing_head=missing_head, seed=seed)
    made = construct(source.architecture, named_arrays(source), steps, teacher=teacher)
    return model_of(made, seed=seed, architecture=architecture), made, report
