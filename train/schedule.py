"""The learning rate of each step."""

from train.recipe import Optimizer

__all__ = ["learning_rate"]


def learning_rate(optimizer: Optimizer, *, step: int, num_steps: int) -> float:
    """The rate of update `step`: up linearly from 0, then down linearly to 0, as BERT was trained.

    Args:
      optimizer: the peak, the length of the rise, and whether there is a fall.
      step: 0 for the first update, whose rate is 0 where there is a rise.
      num_steps: updates of the whole run; the fall would reach 0 at `step == num_steps`.
    """
    if step < optimizer.warmup_steps:
        return optimizer.learning_rate * step / optimizer.warmup_steps
    if optimizer.decay == "constant":
        return optimizer.learning_rate
    left = (num_steps - step) / (num_steps - optimizer.warmup_steps)
    return optimizer.learning_rate * left
