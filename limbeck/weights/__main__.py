"""`python -m limbeck.weights {show,convert,compare}`: look at model folders."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from tyro.conf import Positional

from limbeck.config.command import dispatch, parse
from limbeck.config.errors import UsageError
from limbeck.weights.bert_names import canonical_names, why_unused
from limbeck.weights.fingerprint import fingerprint
from limbeck.weights.hf_folder import read_hf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show:
    """Prints a folder's architecture, its fingerprint and every tensor."""

    directory: Positional[str]
    """Model folder: config.json beside model.safetensors."""


def run_show(argv: Sequence[str]) -> None:
    """Prints what a folder holds."""
    options = parse(Show, argv, prog="limbeck.weights show", description=str(Show.__doc__))
    architecture, tensors = read_hf(options.directory)
    for name, value in dataclasses.asdict(architecture).items():
        print(f"{name:20} {value}")
    print(f"{'parameters':20} {architecture.num_parameters():,} (with a masked-LM head)")
    print(f"{'fingerprint':20} {fingerprint(options.directory)}")
    for name, (original, tensor) in canonical_names(tensors, where=options.directory).items():
        print(f"{original}  {tensor.dtype} {list(tensor.shape)}  {_describe(name, tensor)}")


def run_convert(argv: Sequence[str]) -> None:
    """Says that this is not there yet."""
    raise UsageError("not there yet: it comes with the readers of TensorFlow and ONNX checkpoints")


def run_compare(argv: Sequence[str]) -> None:
    """Says that this is not there yet."""
    raise UsageError("not there yet: it comes with the readers of TensorFlow and ONNX checkpoints")


def _describe(name: str, tensor: np.ndarray) -> str:
    if why := why_unused(name):
        return f"unused: {why}"
    values = tensor.astype(np.float64)
    return f"mean {values.mean():+.4f}  deviation {values.std():.4f}"


if __name__ == "__main__":
    dispatch(
        "limbeck.weights",
        {
            "show": (run_show, "print a folder's architecture, fingerprint and tensors"),
            "convert": (run_convert, "(later) between checkpoint formats"),
            "compare": (run_compare, "(later) two checkpoints, tensor by tensor"),
        },
        description="Look at model folders.",
    )
