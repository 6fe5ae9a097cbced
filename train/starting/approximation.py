"""How far off the targets of terms with `approximate_temperature` may be, measured on the labels.

The first rows of the family tell: each temperature of its grid but the lowest is left out once and
interpolated from the others, and the masses are compared. With all of the grid in place the errors
at temperatures between its points are smaller.
"""

# M positions, K kept ids, G temperatures in the grid

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limbeck.labels.signals import SparseSignal
from train.losses.tail import left_out_errors
from train.reading.families import Family
from train.recipe import Term

__all__ = ["approximation_lines"]

MEASURED_ROWS = 64


def approximation_lines(
    terms: Sequence[Term], families: Mapping[str, Any], *, vocab_size: int
) -> list[str]:
    """A line for each family whose temperatures are interpolated; none for most runs.

    Args:
      terms: of the objective.
      families: stored ones (`train.reading.families.Family`), or of a live teacher.
      vocab_size: V.
    """
    names = dict.fromkeys(
        term.signals[0] for term in terms if getattr(term, "approximate_temperature", False)
    )
    return [f"between   {_line(name, families[name], vocab_size)}" for name in names]


def _line(name: str, family: Any, vocab_size: int) -> str:
    signal = family.signal
    assert isinstance(signal, SparseSignal)  # the term's `check` sees to it
    grid = ", ".join(f"{t:g}" for t in signal.temperatures)
    start = f"temperatures of {name} between {grid} are interpolated"
    if not isinstance(family, Family):
        return f"{start}; not measured: its labels are not stored"
    own = np.arange(min(MEASURED_ROWS, family.dataset.num_rows), dtype=np.int64)
    fields = family.arrays(family.dataset.read(own)).fields
    errors = left_out_errors(
        fields["logits"], fields["log_tail"], grid=signal.temperatures, vocab_size=vocab_size
    )
    found = "; ".join(
        f"{error.max():.1e} (mean {error.mean():.1e}) at {temperature:g}"
        for temperature, error in errors.items()
        if error.size
    )
    return f"{start}; largest error of the mass outside the head, each left out: {found}"
