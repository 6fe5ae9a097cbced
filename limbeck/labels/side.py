"""What a family needs of a teacher beside its answers: matrices and facts, taken once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Side"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """The part of a teacher that one signal keeps for good.

    final: `decoder/kernel` (V, D) and `decoder/bias` (V,). relations: `query/kernel`, `key/kernel`
    and `value/kernel` (D, width), `query/bias` and so on (width,) where the teacher has them, and
    the facts `num_heads`, `num_kv_heads`, `head_dim`, `mask` ("padding" or "causal") and `rotary`
    ({"theta": base} or None). qkv: these facts, or only `mask` of a teacher whose positions are not
    known. attention: `mask`. Nothing for the others.
    """

    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Named float32 tensors."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able values."""
