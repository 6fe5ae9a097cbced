"""A recipe of a few lines that reads like the shipped ones."""

from pathlib import Path

import pytest

from launch.recipes.names import BASE

METHOD = """\
title: A method
paper: Nobody 2020
paper_settings: large
shrinks: everything
steps:
  - step: extract
    name: labels
    teacher: $teacher
    examples: $examples
    families:
      sparse: {kind: sparse, k: 10, temperatures: [1.0]}
  - step: train
    name: student
    recipe: student.yaml
    ranks: 2
    set:
      data.examples: $examples/train
      data.labels.sparse: $labels/train/sparse
      model.checkpoint: $teacher
  - step: baseline
    name: baseline
    of: student
    objective: [{loss: mlm}]
  - step: export
    name: folder
    run: $student
  - step: evaluate
    name: scores
    models: {student: $folder, baseline: $baseline}
    examples: $examples/heldout
    labels: $heldout_labels/sparse
compare:
  scores: scores
"""

STUDENT = """\
name: toy
seed: 2
data:
  examples: examples
  labels:
    sparse: labels
model:
  start: checkpoint
  checkpoint: teacher
  layers: [1, 3]
objective:
  - loss: kl
    signal: sparse
optimizer:
  learning_rate: 5e-4
training:
  global_batch: 32
  steps: 10
"""


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    """A recipe `toy.yaml` with the folder of its training recipe."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "student.yaml").write_text(STUDENT)
    file = tmp_path / "toy.yaml"
    file.write_text(METHOD)
    return file


@pytest.fixture
def base() -> dict[str, str]:
    return {name: f"base/{name}" for name in BASE}
