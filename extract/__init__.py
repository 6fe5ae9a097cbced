"""Extraction: a teacher runs once over examples and leaves its signals as label families.

Doors: `extract.settings` (recipes and settings), `extract.run.extract` (the job) and
`limbeck.teachers.batching` (the plan of batches). This module stays free of TensorFlow; importing
`extract.run` loads it.
"""

from extract.settings import ExtractSettings, Recipe

__all__ = ["ExtractSettings", "Recipe"]
