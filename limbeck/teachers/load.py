"""A teacher from a directory."""

import os
from dataclasses import dataclass

from limbeck.architectures.bert import BertArchitecture
from limbeck.teachers.protocol import Teacher, TeacherFacts
from limbeck.weights import fingerprint
from limbeck.weights.hf_folder import read_architecture

__all__ = ["load_teacher", "read_facts"]


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """See `limbeck.teachers.protocol.TeacherFacts`."""

    architecture: BertArchitecture
    fingerprint: str

    @property
    def vocab_size(self) -> int:
        return self.architecture.vocab_size

    @property
    def max_positions(self) -> int:
        return self.architecture.max_positions


def read_facts(directory: str | os.PathLike[str]) -> TeacherFacts:
    """Reads shape and fingerprint of the model in a folder, without TensorFlow.

    Raises:
      UsageError: not a model folder.
      LimbeckError: a file is damaged.
    """
    return _Facts(architecture=read_architecture(directory), fingerprint=fingerprint(directory))


def load_teacher(directory: str | os.PathLike[str]) -> Teacher:
    """Loads the model of a folder: downloaded, or exported from a run.

    Raises:
      UsageError: not such a folder, or a model without a masked-LM head.
      LimbeckError: a file is damaged.
    """
    # Loads TensorFlow, which who only describes teachers has no use for.
    from limbeck.teachers.keras_teacher import KerasTeacher
    from limbeck.weights.hf import load_masked_lm

    model, _ = load_masked_lm(directory)
    return KerasTeacher(model, fingerprint=fingerprint(directory))
