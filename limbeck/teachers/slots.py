"""Where the masked positions of a batch are, and how answers get back into its slots."""

# B rows, T tokens, P slots for masked positions, M used slots of all rows together

from collections.abc import Mapping

import numpy as np

from limbeck.labels import Signal
from limbeck.labels.positions import FlatPositions, unflatten
from limbeck.teachers.protocol import Answers, TeacherBatch

__all__ = ["UsedSlots"]


class UsedSlots:
    """The M used slots of a batch, row by row.

    Args:
      batch: the rows.
    """

    def __init__(self, batch: TeacherBatch) -> None:
        rows, slots = np.nonzero(batch.used_slots)
        self._flat = FlatPositions(rows=rows, slots=slots)
        self._shape = batch.positions.shape
        num_tokens = batch.ids.shape[1]
        self.tokens = (rows * num_tokens + batch.positions[rows, slots]).astype(np.int32)
        """(M,) which of the batch's B * T tokens each is."""
        self.true_ids = batch.true_ids[rows, slots]
        """(M,) the ids that were masked there."""

    def fill(self, answers: Mapping[str, Mapping[str, np.ndarray]], wanted: Mapping[str, Signal]):
        """Answers with (M, ...) at masked positions -> (B, P, ...), zero in unused slots."""
        num_rows, num_slots = self._shape
        filled: Answers = {}
        for name, arrays in answers.items():
            filled[name] = dict(arrays)
            if wanted[name].positions == "masked":
                filled[name] = {
                    field: unflatten(values, self._flat, num_rows=num_rows, num_slots=num_slots)
                    for field, values in arrays.items()
                }
        return filled
