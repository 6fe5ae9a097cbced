"""How gradients become updates."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Optimizer"]

WEIGHT_DECAY = 0.01  # of adamw and lamb, where the recipe gives none


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Adam's family: one algorithm, one schedule, groups of variables with rates of their own."""

    algorithm: Literal["adamw", "adam", "lamb"] = "adamw"
    """adamw: Loshchilov and Hutter 2019, decoupled decay. adam: Kingma and Ba 2015, no decay.
    lamb: You et al. 2020, AdamW's update with a trust ratio a variable."""

    learning_rate: float
    """Peak, for the recipe's global batch; the number of ranks does not change it."""

    bias_correction: bool = True
    """False leaves it out, as BERT's own optimiser does."""

    warmup_steps: int = 0
    """Steps over which the rate rises linearly from 0."""

    decay: Literal["linear", "cosine", "polynomial", "constant"] = "linear"
    """How the rate falls from the peak after the warm-up, down to `final_rate` one step after the
    last."""

    decay_power: float = 1.0
    """Of polynomial: (steps left / steps of the fall) ** power."""

    final_rate: float = 0.0
    """What the fall ends at, as a share of the peak."""

    layer_decay: float = 1.0
    """Multiplies the rate once for each layer below the last one; the embeddings lie below all,
    heads and projections above."""

    projection_rate: float = 1.0
    """Multiplies the rate of the projections that terms train."""

    no_decay: tuple[str, ...] = ()
    """Variables that weight decay spares beside biases and norms: names such as
    encoder/embeddings/token, or what such names begin with up to a slash."""

    weight_decay: float | None = None
    """Decoupled, times the learning rate; biases and layer normalisation are spared. Null for 0.01,
    or none where the algorithm is adam, which has no decay."""

    beta_1: float = 0.9
    """Decay of the mean of gradients."""

    beta_2: float = 0.999
    """Decay of the mean of squared gradients."""

    epsilon: float = 1e-6
    """Added to the root of the mean square."""

    clip_norm: float | None = 1.0
    """Bound on the global norm of the summed gradients; null for none."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range and settings that nothing would read."""
        for name in ("learning_rate", "epsilon", "decay_power", "layer_decay", "projection_rate"):
            _check_positive(name, getattr(self, name))
        if self.clip_norm is not None:
            _check_positive("clip_norm", self.clip_norm)
        if not 0 <= self.final_rate <= 1:
            raise ValueError(f"final_rate is {self.final_rate}; it must be in [0, 1]")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}; it must be at least 0")
        if not 0 <= self.decoupled_decay < 1:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be in [0, 1)")
        if not (0 <= self.beta_1 < 1 and 0 <= self.beta_2 < 1):
            raise ValueError(f"beta_1 {self.beta_1} and beta_2 {self.beta_2} must be in [0, 1)")
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        """A setting without effect is a mistake of whoever wrote it."""
        if self.decay != "polynomial" and self.decay_power != 1.0:
            raise ValueError(f"decay_power has no effect: decay is {self.decay}")
        if self.decay == "constant" and self.final_rate != 0.0:
            raise ValueError("final_rate has no effect: decay is constant")
        if self.algorithm == "adam" and self.weight_decay:
            raise ValueError("algorithm adam has no weight_decay; choose adamw, or leave it out")
        if self.no_decay and not self.decoupled_decay:
            raise ValueError("no_decay has no effect: there is no weight decay")

    @property
    def decoupled_decay(self) -> float:
        """`weight_decay`, or what stands for null."""
        if self.weight_decay is None:
            return 0.0 if self.algorithm == "adam" else WEIGHT_DECAY
        return self.weight_decay


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a positive number")
