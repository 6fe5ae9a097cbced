"""The learning rate of each step, as a share of the peak and in units of it. Pure."""

import math

from train.recipe import Optimizer

__all__ = ["learning_rate"]


def learning_rate(optimizer: Optimizer, *, step: int, num_steps: int) -> float:
    """The rate of update `step`: up linearly from 0 to the peak, then down as `decay` says.

    The falls, with x the share of the fall that is left (1 at the peak, 0 at `num_steps`), go from
    the peak to `final_rate` of it: linear x (Devlin et al. 2019), polynomial x ** `decay_power`,
    cosine (1 + cos(pi (1 - x))) / 2 (Loshchilov and Hutter 2017, without restarts).

    Args:
      optimizer: the peak, the length of the rise, the kind of fall and where it ends.
      step: 0 for the first update, whose rate is 0 where there is a rise.
      num_steps: updates of the whole run; the fall would reach its end at `step == num_steps`,
        one after the last update.
    """
    if step < optimizer.warmup_steps:
        return optimizer.learning_rate * step / optimizer.warmup_steps
    if optimizer.decay == "constant":
        return optimizer.learning_rate
    left = (num_steps - step) / (num_steps - optimizer.warmup_steps)
    share = _share(optimizer, left)
    return optimizer.learning_rate * (optimizer.final_rate + (1 - optimizer.final_rate) * share)


def _share(optimizer: Optimizer, left: float) -> float:
    """How much of the way down from the peak is still ahead, in [0, 1]."""
    if optimizer.decay == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
    if optimizer.decay == "polynomial":
        return left**optimizer.decay_power
    return left
