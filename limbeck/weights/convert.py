"""A checkpoint of any format as one of another."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.tokens.folder import holds_tokenizer, load_tokenizer
from limbeck.tokens.tokenizer import Tokenizer
from limbeck.weights.fit import MissingHead, fresh_parts
from limbeck.weights.heads import likely_head
from limbeck.weights.read import read_checkpoint
from limbeck.weights.report import LoadReport
from limbeck.weights.run_folder import holds_run

__all__ = ["Format", "check_target", "convert", "find_tokenizer"]

Format = Literal["hf", "tf", "keras", "onnx"]

_NO_TOKENIZER = "none"


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: Format,
    head: str | None = None,
    missing_head: MissingHead = "error",
    tokenizer: str | None = None,
    strict: bool = True,
) -> LoadReport:
    """Reads a checkpoint and writes it in another format, whole or not at all.

    Args:
      source: whatever `read_checkpoint` takes.
      target: the folder to make; for keras, the `.keras` file.
      to: the format.
      head: of the model; None takes the one that the source names.
      missing_head: what to do where the source has no such head.
      tokenizer: folder or file; None takes the source's own, if it has one; "none" leaves it out.
      strict: whether a tensor without a place is an error.

    Returns:
      Where everything came from.

    Raises:
      UsageError: the source or target does not fit.
      LimbeckError: a file is damaged.
    """
    check_target(target, to=to)
    checkpoint = read_checkpoint(source)
    words = None if to == "keras" else find_tokenizer(source, tokenizer)
    wanted: Any = head or likely_head(checkpoint)
    fresh_parts(checkpoint, wanted, checkpoint.architecture, missing_head)
    from limbeck.weights.load import model_of  # TensorFlow, and only now

    model, report = model_of(checkpoint, head=wanted, missing_head=missing_head, strict=strict)
    _writer(to)(model, target, words)
    return report


def check_target(target: str | os.PathLike[str], *, to: Format) -> None:
    """Refuses a target of another kind than the format's, before any work.

    Raises:
      UsageError: says what is expected.
    """
    path = Path(target)
    if to not in get_args(Format):
        raise UsageError(f"--to is {to!r}; there are {', '.join(get_args(Format))}")
    if not os.fspath(target):
        raise UsageError("the target is empty; name a folder or, for keras, a file")
    if to == "keras":
        if path.suffix != ".keras":
            raise UsageError(f"{path}: a name that ends with .keras is expected")
        if path.exists():
            raise UsageError(f"{path}: is there already; delete it or choose another name")
    elif path.is_file():
        raise UsageError(f"{path}: is a file; name a folder")
    elif path.is_dir() and path.suffix == ".keras":
        raise UsageError(f"{path}: is a folder; name a file")


def find_tokenizer(source: str | os.PathLike[str], wanted: str | None) -> Tokenizer | None:
    """The tokenizer asked for, or the source's own.

    Raises:
      LimbeckError: it is damaged, or not there although asked for.
    """
    if wanted == _NO_TOKENIZER:
        return None
    if wanted is not None:
        return load_tokenizer(wanted)
    if holds_run(source):
        return _of_run(Path(source))
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    return load_tokenizer(folder) if holds_tokenizer(folder) else None


def _of_run(directory: Path) -> Tokenizer | None:
    """The tokenizer beside the examples that a run's settings name."""
    path = directory / "config.json"
    try:
        examples = json.loads(path.read_bytes())["data"]["examples"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LimbeckError(f"{path}: names no examples ({error!r}); give --tokenizer") from error
    folder = Path(examples).parent / "tokenizer"
    return load_tokenizer(folder) if folder.is_dir() else None


def _writer(to: Format) -> Callable[[Any, Any, Tokenizer | None], object]:
    """What writes a format; its packages are loaded only then."""
    if to == "hf":
        from limbeck.weights.export import export_hf

        return lambda model, target, words: export_hf(model, target, tokenizer=words)
    if to == "tf":
        from limbeck.weights.tensorflow_export import export_tensorflow

        return lambda model, target, words: export_tensorflow(model, target, tokenizer=words)
    if to == "keras":
        from limbeck.weights.keras_model import save_keras

        return lambda model, target, _: save_keras(model, target)
    from limbeck.weights.onnx_export import export_onnx

    return lambda model, target, words: export_onnx(model, target, tokenizer=words)
