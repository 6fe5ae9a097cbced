"""Transformer families as Keras layers, their heads, and row-keyed dropout.

The names here are loaded when they are asked for, so that `limbeck.models.constructions`, which is
pure NumPy, can be imported without TensorFlow. `limbeck.models.build` is the module of `build`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck.models.build import empty
    from limbeck.models.causal_lm import CausalLM, DecoderModel
    from limbeck.models.decoder import Decoder
    from limbeck.models.dropout import DropoutKeys, KeyedDropout
    from limbeck.models.encoder import Encoder
    from limbeck.models.encoder_model import EncoderModel
    from limbeck.models.masked_lm import MaskedLM, build_masked_lm
    from limbeck.models.names import named_variables
    from limbeck.models.output import EncoderOutput

__all__ = [
    "CausalLM",
    "Decoder",
    "DecoderModel",
    "DropoutKeys",
    "Encoder",
    "EncoderModel",
    "EncoderOutput",
    "KeyedDropout",
    "MaskedLM",
    "build_masked_lm",
    "empty",
    "named_variables",
]

_MODULES = {
    "CausalLM": "causal_lm",
    "Decoder": "decoder",
    "DecoderModel": "causal_lm",
    "DropoutKeys": "dropout",
    "Encoder": "encoder",
    "EncoderModel": "encoder_model",
    "EncoderOutput": "output",
    "KeyedDropout": "dropout",
    "MaskedLM": "masked_lm",
    "build_masked_lm": "masked_lm",
    "empty": "build",
    "named_variables": "names",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
