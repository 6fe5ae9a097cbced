"""What makes a decoder GPT-2's or Llama's, whatever its sizes."""

from typing import Any

GPT2: dict[str, Any] = {
    "family": "gpt2",
    "norm": "layer",
    "norm_epsilon": 1e-5,
    "positions": "learned",
    "activation": "gelu_tanh",
    "gated": False,
    "has_bias": True,
    "tied": True,
}
LLAMA: dict[str, Any] = {
    "family": "llama",
    "norm": "rms",
    "norm_epsilon": 1e-5,
    "positions": "rotary",
    "activation": "silu",
    "gated": True,
    "has_bias": False,
    "tied": False,
}
