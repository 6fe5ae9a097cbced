"""A teacher from a directory."""

import os

from limbeck.teachers.protocol import Teacher

__all__ = ["load_teacher"]


def load_teacher(directory: str | os.PathLike[str]) -> Teacher:
    """Loads the model of a folder: downloaded, or exported from a run.

    Raises:
      UsageError: not such a folder, or a model without a masked-LM head.
      LimbeckError: a file is damaged.
    """
    # Loads TensorFlow, which who only describes teachers has no use for.
    from limbeck.teachers.keras_teacher import KerasTeacher
    from limbeck.weights.fingerprint import fingerprint
    from limbeck.weights.hf import load_masked_lm

    model, _ = load_masked_lm(directory)
    return KerasTeacher(model, fingerprint=fingerprint(directory))
