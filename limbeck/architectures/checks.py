"""What encoders and decoders have in common: activations, and checks of their fields."""

from typing import Any, Literal, get_args

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "check_activation",
    "check_at_least",
    "check_multiple",
    "check_positive",
    "check_rate",
    "field_differences",
]

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
"""`gelu` is exact, x * Phi(x); `gelu_tanh` is its approximation (`gelu_new`, `gelu_fast` and
`gelu_pytorch_tanh` of transformers); `silu` is x * sigmoid(x)."""

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

# They decide how a model is trained or started, not what trained weights compute.
_TRAINING_ONLY = ("hidden_dropout", "attention_dropout", "initializer_range")


def check_at_least(name: str, value: object, least: int) -> None:
    """Raises ValueError unless the value is an integer from `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer from {least}, got {value!r}")


def check_activation(value: object) -> None:
    """Raises ValueError unless the value is an activation's name."""
    if value not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {value!r}")


def check_rate(name: str, value: float) -> None:
    """Raises ValueError unless the value can be a dropout rate."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless the value is above 0."""
    if not value > 0.0:
        raise ValueError(f"{name} must be positive, got {value!r}")


def check_multiple(name: str, value: int, of_name: str, of: int) -> None:
    """Raises ValueError unless one number divides the other."""
    if value % of:
        raise ValueError(f"{name} {value} is not a multiple of {of_name} {of}")


def field_differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Lines "NAME is A and not B" for the fields that decide what weights mean."""
    return [
        f"{name} is {value} and not {theirs[name]}"
        for name, value in mine.items()
        if name not in _TRAINING_ONLY and theirs[name] != value
    ]
