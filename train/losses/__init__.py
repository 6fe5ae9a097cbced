"""Distillation losses: one loss a file, student tensors and teacher arrays in, values out.

Every function returns one value per item (position, token or row); nothing is averaged here. The
objective divides the sum of a term by its own global count, so what an item is and how it counts
is decided once. All losses here are additive: the sum over a batch is the sum over its parts, and
micro-batches and ranks may be added up.
"""

from collections.abc import Mapping
from typing import Literal

from train.losses.full import full_kl_values, full_soft_cross_entropy_values
from train.losses.hidden import hidden_cosine_values, hidden_mse_values
from train.losses.kl import MissingMass, kl_values, soft_cross_entropy_values
from train.losses.masked_lm import masked_lm_values
from train.losses.sampled import sampled_cross_entropy_values

__all__ = [
    "REDUCTIONS",
    "MissingMass",
    "full_kl_values",
    "full_soft_cross_entropy_values",
    "hidden_cosine_values",
    "hidden_mse_values",
    "kl_values",
    "masked_lm_values",
    "sampled_cross_entropy_values",
    "soft_cross_entropy_values",
]

REDUCTIONS: Mapping[str, Literal["additive", "batch"]] = {
    "kl": "additive",
    "soft_ce": "additive",
    "mlm": "additive",
    "hidden_mse": "additive",
    "hidden_cosine": "additive",
}
