"""The student of a run: the model, the projections that its terms train with it, one forward pass.

All variables stand in one fixed order with stable names. The order is that of the gradients on
the wire and of the optimiser's slots; the names are those in a checkpoint.
"""

# m rows, T tokens, Q entries of group "masked", D hidden width of the student

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.models.basic import made_with
from limbeck.models.constructions.model import construct_from_folder
from limbeck.models.masked_lm import build_masked_lm, named_variables
from limbeck.weights.hf import load_masked_lm
from train.batch import MicroBatch
from train.inputs import Inputs
from train.objective import Objective, Outputs
from train.recipe import ModelInit

__all__ = ["Projection", "Student", "build_student", "forward", "load_model", "masked_logits"]


class Projection:
    """x W + b from the student's width to the teacher's; part of the run, not of the student.

    Args:
      name: stands before the names of its two variables.
      source_dim: the student's width.
      target_dim: the teacher's width.
      seed: draws W from N(0, 1 / source_dim); b starts at 0.
    """

    def __init__(self, name: str, *, source_dim: int, target_dim: int, seed: int) -> None:
        rng = np.random.default_rng([seed, source_dim, target_dim, *name.encode()])
        kernel = rng.standard_normal((source_dim, target_dim)) / np.sqrt(source_dim)
        self.kernel = keras.Variable(kernel.astype(np.float32), name="kernel")
        self.bias = keras.Variable(np.zeros(target_dim, np.float32), name="bias")
        self.name = name

    def __call__(self, states: tf.Tensor) -> tf.Tensor:
        """(N, source_dim) -> (N, target_dim)."""
        return tf.matmul(states, self.kernel.value) + self.bias.value


@dataclass(frozen=True, kw_only=True)
class Student:
    """What is trained."""

    model: Any
    """A built `limbeck.models.masked_lm.MaskedLM`."""

    projections: Mapping[int, Projection] = field(default_factory=dict)
    """Index of a term in the objective -> its projection."""

    origin: str = "random"
    """Where its first weights came from, in a few words."""

    frozen: frozenset[str] = frozenset()
    """Names of `named_variables` that training leaves alone; they stand in checkpoints too."""

    @property
    def architecture(self) -> EncoderArchitecture:
        """The model's shape."""
        return self.model.architecture

    @property
    def named_variables(self) -> dict[str, Any]:
        """Every variable by its name in checkpoints, in the fixed order."""
        named = {f"model/{name}": v for name, v in named_variables(self.model).items()}
        for projection in self.projections.values():
            named[f"projection/{projection.name}/kernel"] = projection.kernel
            named[f"projection/{projection.name}/bias"] = projection.bias
        return named

    @property
    def variables(self) -> list[Any]:
        """The variables in the fixed order."""
        return list(self.named_variables.values())

    @property
    def trained(self) -> list[Any]:
        """Those of the variables that have gradients, in the same order."""
        return [v for name, v in self.named_variables.items() if name not in self.frozen]


def build_student(inputs: Inputs, objective: Objective) -> Student:
    """Makes the model and the projections; `inputs` has been checked against the recipe.

    Raises:
      UsageError: `model.freeze` names what the model has not, or all of it.
    """
    recipe = inputs.recipe
    with made_with(recipe.training.precision):
        model, origin, frozen = load_model(recipe.model, inputs.architecture, seed=recipe.seed)
    projections = {
        index: Projection(
            f"{index}_{bound.name}",
            source_dim=inputs.architecture.hidden_dim,
            target_dim=inputs.families[bound.term.signal].hidden_dim,
            seed=recipe.seed,
        )
        for index, bound in enumerate(objective.terms)
        if bound.term.projection == "linear" and bound.term.signal is not None
    }
    names = _frozen_names(list(named_variables(model)), (*frozen, *recipe.model.freeze))
    return Student(model=model, projections=projections, origin=origin, frozen=names)


def load_model(
    settings: ModelInit, architecture: EncoderArchitecture, *, seed: int
) -> tuple[Any, str, tuple[str, ...]]:
    """The student's model as the recipe wants it to start.

    Returns:
      The model, where it comes from in words, and the variables that its construction froze.
    """
    if settings.start == "random":
        return build_masked_lm(architecture, seed=seed), f"random, seed {seed}", ()
    assert settings.checkpoint is not None  # ModelInit sees to it
    if settings.construct:
        model, made, report = construct_from_folder(
            settings.checkpoint,
            settings.construct,
            seed=seed,
            missing_head=settings.missing_head,
            architecture=architecture,
        )
        return model, "; ".join([str(report).splitlines()[0], *made.lines]), made.frozen
    model, report = load_masked_lm(
        settings.checkpoint,
        missing_head=settings.missing_head,
        layers=settings.layers,
        architecture=architecture,
        seed=seed,
    )
    return model, str(report).splitlines()[0], ()


def _frozen_names(names: list[str], patterns: tuple[str, ...]) -> frozenset[str]:
    """The names of `Student.named_variables` that the patterns mean."""
    frozen: set[str] = set()
    for pattern in patterns:
        stem = pattern.removesuffix("/")
        found = {name for name in names if name == stem or name.startswith(f"{stem}/")}
        if not found:
            raise UsageError(
                f"model.freeze: no variable of the student is or begins with {pattern!r}; they "
                f"are named as {names[0]} and {names[-1]}"
            )
        frozen |= found
    if len(frozen) == len(names):
        raise UsageError("model.freeze: all variables of the student are frozen")
    return frozenset(f"model/{name}" for name in frozen)


def forward(student: Student, batch: MicroBatch, objective: Objective, *, dropout: Any) -> Outputs:
    """One pass over a micro-batch; a second one over the unmasked input where labels belong to it.

    Args:
      student: the model.
      batch: the micro-batch as tensors.
      objective: says what is needed.
      dropout: `limbeck.models.dropout.DropoutKeys`, or None for none.
    """
    hidden_layers = objective.hidden_layers
    encode = functools.partial(_encode, student.model, batch, dropout=dropout)
    if "unmasked_ids" in batch:
        encoded = encode(batch["ids"])
        hidden = encode(batch["unmasked_ids"], hidden_layers=hidden_layers).hidden
    else:
        encoded = encode(batch["ids"], hidden_layers=hidden_layers)
        hidden = encoded.hidden
    logits = None
    if objective.needs_logits:
        logits = masked_logits(student.model, encoded.last, batch)
    states = {
        layer: tf.reshape(tf.cast(state, tf.float32), (-1, student.architecture.hidden_dim))
        for layer, state in hidden.items()
    }
    return Outputs(logits=logits, states=states)


def _encode(
    model: Any,
    batch: MicroBatch,
    ids: tf.Tensor,
    *,
    hidden_layers: tuple[int, ...] = (),
    dropout: Any,
) -> Any:
    return model.encode(
        ids,
        batch["segment_ids"],
        batch["attention_mask"],
        dropout=dropout,
        hidden_layers=hidden_layers,
    )


def masked_logits(model: Any, last: tf.Tensor, batch: MicroBatch) -> tf.Tensor:
    """(Q, V) float32 at the masked positions: the vocabulary projection runs nowhere else."""
    index = batch["items"]["masked"]["index"]
    # The head takes (B, T, D) and positions (B, P): here one long row.
    flat = tf.reshape(last, (1, -1, last.shape[-1]))
    return tf.cast(model.logits_at(flat, index[None])[0], tf.float32)
