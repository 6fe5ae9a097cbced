"""Transformer families as Keras layers, their heads, and row-keyed dropout."""

from limbeck.models.bert import BertEncoder, EncoderOutput
from limbeck.models.dropout import DropoutKeys, KeyedDropout
from limbeck.models.masked_lm import MaskedLM, build_masked_lm, named_variables

__all__ = [
    "BertEncoder",
    "DropoutKeys",
    "EncoderOutput",
    "KeyedDropout",
    "MaskedLM",
    "build_masked_lm",
    "named_variables",
]
