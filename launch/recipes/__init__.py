"""Recipes of several steps: published distillation methods, each beside a baseline without teacher.

A recipe is a YAML file (`launch.recipes.method`). Each of its steps is one of the public commands,
started as anybody would start it; the runner adds order, names for what earlier steps made, a
lineage, and the comparison at the end.
"""
