"""Distillation losses: student tensors and teacher arrays in, values out.

A loss is a pure function that returns one value per entry (position, token or row); nothing is
averaged here. The objective divides the sum of a term by its own global count, so what an entry is
and how it counts is decided once. The modules `..._formulas` tie losses to the terms of recipes;
importing this package ties all that come with Limbeck.
"""

from train.losses import (
    attention_formulas,
    contrastive_formulas,
    hidden_formulas,
    label_formulas,
    layer_formulas,
    logit_formulas,
    relations_formulas,
    span_formulas,
)
from train.losses.attention import (
    attention_cross_entropy_values,
    attention_kl_values,
    attention_mse_values,
)
from train.losses.contrastive import contrastive_values
from train.losses.full import full_kl_values, full_soft_cross_entropy_values
from train.losses.gram import fsp_values, mmd_values
from train.losses.hidden import hidden_cosine_values, hidden_mse_values, pkd_values
from train.losses.kl import kl_values, soft_cross_entropy_values
from train.losses.logit_values import logit_mse_values, sigmoid_cross_entropy_values
from train.losses.masked_lm import masked_lm_values
from train.losses.sampled import sampled_cross_entropy_values
from train.losses.spans import span_distribution_values
from train.losses.transport import transport_plan

__all__ = [
    "attention_cross_entropy_values",
    "attention_formulas",
    "attention_kl_values",
    "attention_mse_values",
    "contrastive_formulas",
    "contrastive_values",
    "fsp_values",
    "full_kl_values",
    "full_soft_cross_entropy_values",
    "hidden_cosine_values",
    "hidden_formulas",
    "hidden_mse_values",
    "kl_values",
    "label_formulas",
    "layer_formulas",
    "logit_formulas",
    "logit_mse_values",
    "masked_lm_values",
    "mmd_values",
    "pkd_values",
    "relations_formulas",
    "sampled_cross_entropy_values",
    "sigmoid_cross_entropy_values",
    "soft_cross_entropy_values",
    "span_distribution_values",
    "span_formulas",
    "transport_plan",
]
