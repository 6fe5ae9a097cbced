"""A signal with what was settled for one teacher and one set of examples, before the first shard.

Some codecs look at the teacher's answers first: `codec: auto` chooses, int8 may keep outlier
channels, a basis is fitted. Others need tensors of the teacher for good: the decoder matrix, the
Q, K, V projections. Both are settled once, stand in the family's manifest or beside it, and are
the same for every worker and every restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limbeck.labels.signals import Signal

__all__ = ["Fitted"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """All that encoding and decoding of one family needs."""

    signal: Signal
    """As it was declared."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """What was settled, JSON-able, such as {"codec": "int8", "outliers": [3, 77]}; the manifest's
    settings hold it beside the signal."""
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Named float32 tensors, kept in `tensors.safetensors` beside the family; none for most."""
