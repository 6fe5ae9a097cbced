"""How much the units of a model matter: heads, neurons, hidden units.

By the weights alone ("l2"), where |.| is the L2 norm:

* neuron j of a layer: |inner column j with its bias| * |outer row j|;
* head h of a layer: |value columns of h with their biases| * |output rows of h|;
* hidden unit d, one score for all layers: the root of the sum over all variables with an axis of
  hidden units of |their slices at d|^2 / |them|^2, so that no variable counts for its size.

By gradients (Michel et al., 2019, arXiv 1905.10650, equation 2): a unit's score is the mean over
batches of |dL / dm|, where m = 1 is a factor on the unit: on a head's context, on an activated
neuron, and on a hidden unit behind every block and every norm. No factor has to be put in: for
y = m h W it is dL / dm = sum(W * dL / dW) over the unit's slice of W (and of the bias, for what is
behind it).

Norms are a weak guide and cost nothing; on the demo's teacher cutting by them is no better than
cutting at random, and cutting by gradients is (`docs/models.md` has the figures).
"""

# L layers (1 where they share weights), D hidden, H heads, A width of a head, F neurons

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.models.constructions.axes import axes_of
from limbeck.models.constructions.construction import Construction

__all__ = ["Importance", "importance_of_gradients", "importance_of_weights"]

# What writes hidden units: outputs of blocks, of norms, and of a projection of embeddings.
_WRITES_HIDDEN = re.compile(
    r"encoder/(embeddings/(norm|projection)|final_norm"
    r"|layer_\d+/(attention/output|feed_forward/outer|attention_norm|feed_forward_norm))/\w+"
)


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Scores, not negative; only their order counts."""

    hidden: np.ndarray
    """(D,)."""

    heads: np.ndarray
    """(L, H)."""

    neurons: np.ndarray
    """(L, F)."""

    def tensors(self) -> dict[str, np.ndarray]:
        """What `from_tensors` reads, float32: the contents of a file of scores."""
        scores = {"hidden": self.hidden, "heads": self.heads, "neurons": self.neurons}
        return {name: values.astype(np.float32) for name, values in scores.items()}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], architecture: EncoderArchitecture, *, where: str
    ) -> "Importance":
        """Checks scores that were measured, such as |dL/dmask| over a corpus.

        Args:
          tensors: hidden, heads and neurons.
          architecture: of the model that they are about.
          where: their file, for messages.

        Raises:
          UsageError: one is missing, of another shape, or holds a number that is no score.
        """
        layers = architecture.num_stored_layers
        shapes = {
            "hidden": (architecture.hidden_dim,),
            "heads": (layers, architecture.num_heads),
            "neurons": (layers, architecture.intermediate_dim),
        }
        for name, shape in shapes.items():
            if name not in tensors:
                raise UsageError(f"{where}: no tensor {name}; hidden, heads and neurons are needed")
            if tensors[name].shape != shape:
                raise UsageError(
                    f"{where}: {name} has shape {tensors[name].shape}; {shape} is expected"
                )
            if not (np.isfinite(tensors[name]).all() and (tensors[name] >= 0).all()):
                raise UsageError(f"{where}: {name} holds a number that is NaN, infinite or below 0")
        return cls(**{name: np.asarray(tensors[name], np.float64) for name in shapes})


def importance_of_weights(teacher: Construction) -> Importance:
    """The scores that this module defines, from the weights alone."""
    shape, tensors = teacher.architecture, teacher.tensors
    heads, neurons = [], []
    for layer in range(shape.num_stored_layers):
        stem = f"encoder/layer_{layer}/"
        value = _squares(tensors, f"{stem}attention/value")
        output = np.square(tensors[f"{stem}attention/output/kernel"].astype(np.float64)).sum(1)
        per_head = (s.reshape(shape.num_heads, -1).sum(axis=1) for s in (value, output))
        heads.append(np.sqrt(np.prod(list(per_head), axis=0)))
        inner = _squares(tensors, f"{stem}feed_forward/inner")
        outer = np.square(tensors[f"{stem}feed_forward/outer/kernel"].astype(np.float64)).sum(1)
        neurons.append(np.sqrt(inner * outer))
    return Importance(
        hidden=_hidden_scores(teacher),
        heads=np.reshape(heads, (-1, shape.num_heads)),
        neurons=np.reshape(neurons, (-1, shape.intermediate_dim)),
    )


def importance_of_gradients(
    architecture: EncoderArchitecture,
    tensors: Mapping[str, np.ndarray],
    gradients: Iterable[Mapping[str, np.ndarray]],
) -> Importance:
    """The scores that this module defines, from the gradients of a loss.

    Args:
      architecture: of the model.
      tensors: its variables by name.
      gradients: for every batch, the gradient of the batch's loss in every variable, by name.

    Raises:
      ValueError: no batch.
    """
    sums: list[np.ndarray] | None = None
    count = 0
    for batch in gradients:
        parts = [np.abs(part) for part in _unit_derivatives(architecture, tensors, batch)]
        sums = parts if sums is None else [a + b for a, b in zip(sums, parts, strict=True)]
        count += 1
    if sums is None:
        raise ValueError("no gradients: at least one batch is needed to measure importance")
    hidden, heads, neurons = (part / count for part in sums)
    return Importance(hidden=hidden, heads=heads, neurons=neurons)


def _unit_derivatives(
    shape: EncoderArchitecture, tensors: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dL / dm of hidden units (D,), heads (L, H) and neurons (L, F)."""

    def product(name: str) -> np.ndarray:
        return tensors[name].astype(np.float64) * grads[name]

    hidden = np.zeros(shape.hidden_dim)
    for name in tensors:
        if _WRITES_HIDDEN.fullmatch(name) and axes_of(name, shape)[-1] == "hidden":
            hidden += product(name).reshape(-1, shape.hidden_dim).sum(axis=0)
    stems = [f"encoder/layer_{i}/" for i in range(shape.num_stored_layers)]
    heads = [product(f"{s}attention/output/kernel").sum(axis=1) for s in stems]
    neurons = [product(f"{s}feed_forward/outer/kernel").sum(axis=1) for s in stems]
    per_head = np.reshape(heads, (-1, shape.num_heads, shape.head_dim)).sum(axis=2)
    return hidden, per_head, np.reshape(neurons, (-1, shape.intermediate_dim))


def _hidden_scores(teacher: Construction) -> np.ndarray:
    """(D,)."""
    total = np.zeros(teacher.architecture.hidden_dim)
    for name, tensor in teacher.tensors.items():
        squares = np.square(tensor.astype(np.float64))
        for axis, counted in enumerate(axes_of(name, teacher.architecture)):
            if counted == "hidden" and squares.any():
                others = tuple(i for i in range(tensor.ndim) if i != axis)
                total += squares.sum(axis=others) / squares.sum()
    return np.sqrt(total)


def _squares(tensors: Mapping[str, np.ndarray], stem: str) -> np.ndarray:
    """Sum of squares of every output of a dense layer, bias included."""
    kernel, bias = (tensors[f"{stem}/{leaf}"].astype(np.float64) for leaf in ("kernel", "bias"))
    return np.square(kernel).sum(axis=0) + np.square(bias)
