"""A teacher from a folder or file, in whatever framework runs it."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from limbeck.config.errors import UsageError
from limbeck.labels.side import Side
from limbeck.labels.signals import Signal
from limbeck.teachers.choose import BackendChoice, choose_backend
from limbeck.teachers.fingerprints import folder_fingerprint
from limbeck.teachers.our_models import facts_of, side_of
from limbeck.teachers.protocol import LoadOptions, Precision, Teacher, TeacherFacts
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.hf_folder import read_config, read_folder_tensors
from limbeck.weights.read import read_checkpoint

__all__ = ["TeacherSource", "find_teacher", "load_teacher"]

Path = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class TeacherSource:
    """A teacher that is known, and loads when it is wanted."""

    facts: TeacherFacts
    """What is known of it."""
    load: Callable[[LoadOptions], Teacher]
    """Loads it."""


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


def load_teacher(
    path: Path,
    *,
    backend: BackendChoice = "auto",
    threads: int = 0,
    precision: Precision = "float32",
    jit: bool = False,
) -> Teacher:
    """Loads a teacher: a folder that was downloaded or exported, or an ONNX graph.

    Args:
      path: as in `find_teacher`.
      backend: as in `find_teacher`.
      threads: as in `LoadOptions`, as are the others.
      precision: of matrix products.
      jit: whether to compile the forward pass.

    Raises:
      UsageError: as `find_teacher`.
      LimbeckError: a file is damaged.
    """
    options = LoadOptions(threads=threads, precision=precision, jit=jit)
    return find_teacher(path, backend=backend).load(options)


def _find_keras(path: Path) -> TeacherSource:
    checkpoint = read_checkpoint(path)
    facts = facts_of(checkpoint, backend="keras", where=os.fspath(path))

    def load(options: LoadOptions) -> Teacher:
        # Loads TensorFlow, which who only describes teachers has no use for.
        from limbeck.teachers.keras_teacher import load_keras_teacher

        return load_keras_teacher(checkpoint, facts, options=options)

    return TeacherSource(facts=facts, load=load)


def _find_pytorch(path: Path) -> TeacherSource:
    # Read when PyTorch is first imported: how long its threads spin at the end of each operation.
    # By default for milliseconds, which takes a core from whoever reads and writes beside them.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from limbeck.teachers.torch_facts import check_answers, facts_of_any, side_of_any
    from limbeck.teachers.torch_model import load_torch_model

    ours = _ours(path)
    loaded = load_torch_model(path, checkpoint=ours)
    if ours is not None:
        facts = facts_of(ours, backend="pytorch", where=os.fspath(path))
        check_answers(loaded, facts)
    else:
        named = folder_fingerprint(read_config(path), read_folder_tensors(path))
        facts = facts_of_any(loaded, where=path, fingerprint=named)

    def side(signal: Signal) -> Side:
        return side_of_any(loaded, signal) if ours is None else side_of(ours, signal)

    def load(options: LoadOptions) -> Teacher:
        from limbeck.teachers.torch_teacher import TorchTeacher

        return TorchTeacher(loaded, facts, side=side, options=options)

    return TeacherSource(facts=facts, load=load)


def _find_onnx(path: Path) -> TeacherSource:
    from limbeck.teachers.onnx_graph import read_plan

    plan = read_plan(path)

    def load(options: LoadOptions) -> Teacher:
        from limbeck.teachers.onnx_teacher import OnnxTeacher

        return OnnxTeacher(plan, options=options)

    return TeacherSource(facts=plan.facts, load=load)


def _ours(path: Path) -> Checkpoint | None:
    """The checkpoint of a folder of our families: the backend has no part in what a model is."""
    try:
        return read_checkpoint(path)
    except UsageError:
        return None
