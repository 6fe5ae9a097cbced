"""Which backend runs a teacher, from what lies in its folder. Loads no framework."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from limbeck.config.errors import UsageError
from limbeck.teachers.facts import Backend
from limbeck.weights.hf_folder import CONFIG_NAME, holds_hf, read_any_architecture

__all__ = ["BackendChoice", "choose_backend", "find_onnx", "require"]

BackendChoice = Literal["auto", "keras", "pytorch", "onnx"]

# Packages that a backend imports, and the optional extra that brings them.
_EXTRAS = {
    "pytorch": (("torch", "transformers"), "torch"),
    "onnx": (("onnxruntime",), "onnx"),
}
_FOLDERS = ("", "onnx")  # where exporters put their graphs
_NAME = "model.onnx"


def choose_backend(path: str | os.PathLike[str], backend: BackendChoice = "auto") -> Backend:
    """Settles what runs the teacher at a path.

    `auto` depends on the folder alone, not on what is installed: ONNX for a graph, Keras for our
    families in every format that `limbeck.weights` reads, PyTorch for other folders of
    transformers.

    Raises:
      UsageError: an unknown backend, nothing there that it could read, or a missing extra.
    """
    if backend not in get_args(BackendChoice):
        known = ", ".join(get_args(BackendChoice))
        raise UsageError(f"backend is {backend!r}; known are: {known}")
    if not Path(path).exists():
        raise UsageError(f"{path}: no such teacher; a model folder or an .onnx file is expected")
    if backend == "auto":
        chosen = _fitting(Path(path))
    else:
        chosen = backend
        _refuse_unreadable(Path(path), chosen)
    require(chosen, what=os.fspath(path))
    return chosen


def require(backend: Backend, *, what: str) -> None:
    """Refuses a backend whose packages are not installed.

    Raises:
      UsageError: with the line that installs them.
    """
    packages, extra = _EXTRAS.get(backend, ((), ""))
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{what}: the {backend} backend needs {' and '.join(missing)}, which is not installed; "
            f"run: pip install 'limbeck[{extra}]'"
        )


def find_onnx(path: str | os.PathLike[str]) -> Path:
    """The graph at a path: the file itself, or the one in a folder or its `onnx/`.

    Raises:
      UsageError: none there, or several and none called `model.onnx`.
    """
    path = Path(path)
    if path.is_file():
        return path
    for folder in _FOLDERS:
        found = sorted((path / folder).glob("*.onnx"))
        for file in found:
            if len(found) == 1 or file.name == _NAME:
                return file
        if found:
            names = ", ".join(file.name for file in found[:4])
            raise UsageError(f"{path / folder}: {len(found)} graphs ({names}); name one of them")
    raise UsageError(f"{path}: no .onnx file in it; the onnx backend reads exported graphs")


def _fitting(path: Path) -> Backend:
    if path.is_file():
        return "onnx" if path.suffix == ".onnx" else "keras"
    graphs = any(any((path / folder).glob("*.onnx")) for folder in _FOLDERS)
    if graphs and not holds_hf(path):
        return "onnx"
    if not (path / CONFIG_NAME).is_file():
        return "keras"  # a run of ours, or one of Google's checkpoints, or nothing: it will say
    try:
        read_any_architecture(path)
    except UsageError:
        return "pytorch"
    return "keras"


def _refuse_unreadable(path: Path, backend: Backend) -> None:
    if backend == "onnx":
        find_onnx(path)
    elif backend == "pytorch" and not (path / CONFIG_NAME).is_file():
        raise UsageError(f"{path}: no {CONFIG_NAME} in it; the pytorch backend reads model folders")
