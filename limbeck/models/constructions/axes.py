"""What each axis of each variable counts, so that a unit can be moved or cut wherever it stands."""

import re
from collections.abc import Mapping

import numpy as np

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import LimbeckError

__all__ = ["Axis", "axes_of", "take_along"]

Axis = str
"""What an axis counts: vocabulary, hidden, embedding, heads (their components), neurons, other."""

_V, _D, _E, _A, _F = "vocabulary", "hidden", "embedding", "heads", "neurons"
_ANY = "other"

# Pattern of the name -> axes. Layers' patterns stand without `encoder/layer_i/`.
_AXES: tuple[tuple[str, tuple[Axis, ...]], ...] = (
    (r"encoder/embeddings/token", (_V, _E)),
    (r"encoder/embeddings/(position|segment)", (_ANY, _E)),
    (r"encoder/embeddings/norm/(gamma|beta)", (_E,)),
    (r"encoder/embeddings/projection/kernel", (_E, _D)),
    (r"encoder/embeddings/projection/bias", (_D,)),
    (r"attention/(query|key|value)/kernel", (_D, _A)),
    (r"attention/(query|key|value)/bias", (_A,)),
    (r"attention/output/kernel", (_A, _D)),
    (r"attention/output/bias", (_D,)),
    (r"(attention_norm|feed_forward_norm|encoder/final_norm)/(gamma|beta)", (_D,)),
    (r"feed_forward/inner/kernel", (_D, _F)),
    (r"feed_forward/inner/bias", (_F,)),
    (r"feed_forward/outer/kernel", (_F, _D)),
    (r"feed_forward/outer/bias", (_D,)),
    (r"head/transform/kernel", (_D, _E)),
    (r"head/(transform/bias|norm/gamma|norm/beta)", (_E,)),
    (r"head/output_bias", (_V,)),
    # A dense layer as wide as the states: its outputs are hidden units too, in the same order.
    (r"(pooler|classifier/dense|replaced/dense)/kernel", (_D, _D)),
    (r"(pooler|classifier/dense|replaced/dense)/bias", (_D,)),
    (r"(next_sentence|classifier|span|replaced/output)/kernel", (_D, _ANY)),
    (r"(next_sentence|classifier|span|replaced/output)/bias", (_ANY,)),
)
_LAYER = re.compile(r"encoder/layer_\d+/")


def axes_of(name: str, architecture: EncoderArchitecture) -> tuple[Axis, ...]:
    """What the axes of a variable count.

    Args:
      name: as in `limbeck.models.named_variables`.
      architecture: where the embeddings are not factorised their columns are hidden units.

    Raises:
      LimbeckError: no such variable is known.
    """
    stem = _LAYER.sub("", name)
    for pattern, axes in _AXES:
        if re.fullmatch(pattern, stem):
            same = architecture.embedding_dim is None
            return tuple(_D if same and axis == _E else axis for axis in axes)
    raise LimbeckError(f"variable {name} is not known to the constructions of students")


def take_along(
    tensors: Mapping[str, np.ndarray],
    axis: Axis,
    indices: np.ndarray,
    architecture: EncoderArchitecture,
    *,
    prefix: str = "",
) -> dict[str, np.ndarray]:
    """Takes units in a given order from every axis that counts them.

    Args:
      tensors: by name; what has no such axis stays as it is.
      axis: what is taken.
      indices: (n,) the units, in their new order.
      architecture: of the tensors.
      prefix: of the names that this is about, such as "encoder/layer_2/".
    """
    result = dict(tensors)
    for name in tensors:
        if not name.startswith(prefix):
            continue
        for number, counted in enumerate(axes_of(name, architecture)):
            if counted == axis:
                result[name] = np.take(result[name], indices, axis=number)
    return result
