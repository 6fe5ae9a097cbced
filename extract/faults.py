"""Answers that are finite and still no answers: the same for every input, or for every id.

A teacher whose weights were not read, or were zeroed, gives such; a sound one never does.
"""

# M positions of a window, K kept ids, D width of a state

from collections.abc import Mapping

import numpy as np

from limbeck.labels.fault import Fault
from limbeck.labels.signals import HiddenSignal, Signal

__all__ = ["find_constant"]

LEAST_POSITIONS = 32  # equal answers at fewer may be chance
LEAST_INPUTS = 4  # and must come from so many different inputs
LEAST_WIDTH = 8  # values that are all equal; fewer may be so by chance

Arrays = Mapping[str, np.ndarray]


def find_constant(signal: Signal, arrays: Arrays, *, inputs: np.ndarray) -> Fault | None:
    """Looks for answers that do not depend on the input.

    Args:
      signal: what the arrays hold.
      arrays: encoded, (M, ...), finite.
      inputs: (M,) which input each position is of; equal numbers for equal inputs.

    Returns:
      The first position whose answer says nothing, or the first one if all are the same.
    """
    flat = _first_flat(arrays)
    if flat is not None:
        return Fault(position=flat, reason="the answer is the same for every id or channel")
    if len(inputs) < LEAST_POSITIONS or len(np.unique(inputs)) < LEAST_INPUTS:
        return None
    if isinstance(signal, HiddenSignal) and signal.layer == 0 and signal.positions == "first":
        return None  # the embedding of [CLS] at position 0 is the same in all records
    if all(_is_constant(values) for values in _telling(arrays)):
        reason = f"the answer is the same at this and all {len(inputs) - 1} other positions"
        return Fault(position=0, reason=f"{reason} of {len(np.unique(inputs))} inputs")
    return None


def _first_flat(arrays: Arrays) -> int | None:
    """The first position whose values are all equal."""
    flat = None
    if "states" in arrays and arrays["states"].shape[1] >= LEAST_WIDTH:
        states = arrays["states"]
        flat = (states == states[:, :1]).all(axis=1)
        if "outliers" in arrays:
            flat &= (arrays["outliers"] == arrays["outliers"][:, :1]).all(axis=1)
    elif "logits" in arrays and "ids" in arrays and arrays["logits"].shape[1] >= LEAST_WIDTH:
        # Equal logits are kept in the order of their ids, from 0.
        in_order = arrays["ids"] == np.arange(arrays["ids"].shape[1])
        flat = (arrays["logits"] == 0).all(axis=1) & in_order.all(axis=1)
        if "num_head" in arrays:  # unused entries are zeros as well
            flat &= arrays["num_head"] == arrays["logits"].shape[1]
    return None if flat is None or not flat.any() else int(np.argmax(flat))


def _telling(arrays: Arrays) -> list[np.ndarray]:
    """The arrays that depend on the teacher's answer alone: not on the truth, nor on a draw."""
    if "num_sampled" in arrays:
        names = [n for n in ("zmax", "log_tail", "num_head") if n in arrays]
        if "zmax" not in arrays:
            first = [arrays[n][:, 0] for n in ("ids", "codes") if n in arrays]
            return [*(arrays[n] for n in names), *first]
    else:
        names = [name for name in arrays if name != "true_logit"]
    return [arrays[name] for name in names]


def _is_constant(values: np.ndarray) -> bool:
    return bool((values == values[:1]).all())
