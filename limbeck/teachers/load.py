"""A teacher from a folder or file, in whatever framework runs it."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.teachers.choose import BackendChoice, choose_backend
from limbeck.teachers.fingerprints import folder_fingerprint
from limbeck.teachers.protocol import Teacher, TeacherFacts
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.fingerprint import fingerprint, fingerprint_of
from limbeck.weights.hf_folder import read_config, read_folder_tensors
from limbeck.weights.read import read_checkpoint

__all__ = ["TeacherSource", "find_teacher", "load_teacher"]

Path = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class TeacherSource:
    """A teacher that is known, and loads when it is wanted."""

    facts: TeacherFacts
    """What is known of it."""
    load: Callable[[int], Teacher]
    """Loads it, given the CPU threads it may use (0: its framework's choice)."""


def find_teacher(path: Path, *, backend: BackendChoice = "auto") -> TeacherSource:
    """Says what a teacher can give, without TensorFlow.

    A PyTorch teacher is loaded for that: what transformers makes of a folder, only it knows.

    Args:
      path: a model folder, or an .onnx file.
      backend: what runs it; see `limbeck.teachers.choose.choose_backend` for `auto`.

    Raises:
      UsageError: no teacher there, one that the backend cannot read, or a missing extra.
      LimbeckError: a file is damaged.
    """
    find = {"keras": _find_keras, "pytorch": _find_pytorch, "onnx": _find_onnx}
    return find[choose_backend(path, backend)](path)


def load_teacher(path: Path, *, backend: BackendChoice = "auto", threads: int = 0) -> Teacher:
    """Loads a teacher: a folder that was downloaded or exported, or an ONNX graph.

    Raises:
      UsageError: as `find_teacher`.
      LimbeckError: a file is damaged.
    """
    return find_teacher(path, backend=backend).load(threads)


def _find_keras(path: Path) -> TeacherSource:
    checkpoint = read_checkpoint(path)
    architecture = checkpoint.architecture
    facts = TeacherFacts(
        backend="keras",
        where=os.fspath(path),
        folder=os.fspath(path),
        fingerprint=fingerprint_of(checkpoint),
        vocab_size=architecture.vocab_size,
        num_layers=architecture.num_layers,
        hidden_dim=architecture.hidden_dim,
        max_positions=architecture.max_positions,
        why_no_logits=_why_no_logits(checkpoint),
    )

    def load(threads: int) -> Teacher:
        # Loads TensorFlow, which who only describes teachers has no use for.
        from limbeck.teachers.keras_teacher import load_keras_teacher

        return load_keras_teacher(checkpoint, facts, threads=threads)

    return TeacherSource(facts=facts, load=load)


def _find_pytorch(path: Path) -> TeacherSource:
    from limbeck.teachers.torch_model import load_torch_model

    loaded = load_torch_model(path)
    facts = TeacherFacts(
        backend="pytorch",
        where=os.fspath(path),
        folder=os.fspath(path),
        fingerprint=_folder_fingerprint(path),
        vocab_size=loaded.config.vocab_size,
        num_layers=loaded.config.num_layers,
        hidden_dim=loaded.config.hidden_dim,
        max_positions=loaded.config.max_positions,
        why_no_logits=loaded.why_no_logits,
    )

    def load(threads: int) -> Teacher:
        from limbeck.teachers.torch_teacher import TorchTeacher

        return TorchTeacher(loaded, facts, threads=threads)

    return TeacherSource(facts=facts, load=load)


def _find_onnx(path: Path) -> TeacherSource:
    from limbeck.teachers.onnx_graph import read_plan

    plan = read_plan(path)

    def load(threads: int) -> Teacher:
        from limbeck.teachers.onnx_teacher import OnnxTeacher

        return OnnxTeacher(plan, threads=threads)

    return TeacherSource(facts=plan.facts, load=load)


def _why_no_logits(checkpoint: Checkpoint) -> str | None:
    if not isinstance(checkpoint.architecture, EncoderArchitecture):
        return f"predicts what comes next ({checkpoint.architecture.family})"
    return None if checkpoint.has_head({"head"}) else "is an encoder without one"


def _folder_fingerprint(path: Path) -> str:
    """That of our families where it is one: the backend has no part in what a model is."""
    try:
        return fingerprint(path)
    except UsageError:
        return folder_fingerprint(read_config(path), read_folder_tensors(path))
