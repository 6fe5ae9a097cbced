"""Training: a student learns from examples and stored labels, on any number of ranks.

Doors: `train.recipe` (what a run is), `train.loop.train` (a run, also from a notebook),
`train.evaluate`, `train.predict`, `train.export`. This module stays free of TensorFlow, so that a
mistake in a recipe is reported at once; `train.loop` loads it.
"""

from train.recipe import Recipe

__all__ = ["Recipe"]
