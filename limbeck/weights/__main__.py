"""`python -m limbeck.weights {show,convert,export,compare}`: look at checkpoints, convert them."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Literal

from tyro.conf import Positional

from limbeck.config.command import dispatch, parse
from limbeck.config.errors import LimbeckError, UsageError

# TensorFlow is loaded by the verbs that need it, and not before their arguments are sound.

Head = Literal[
    "encoder",
    "masked_lm",
    "classifier",
    "token_classifier",
    "question_answering",
    "next_sentence",
    "pretraining",
    "replaced_token",
    "decoder",
    "causal_lm",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show:
    """Prints a checkpoint's configuration, FLOPs, fingerprint and parameters as a tree."""

    path: Positional[str]
    """Model folder (safetensors, pytorch_model.bin, or a TensorFlow checkpoint of Google's), a
    run's directory, or a .keras or .weights.h5 file."""
    depth: int = 3
    """Levels of the tree: 2 sums up a layer, 9 prints every variable and its tensor."""

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth must be at least 0, got {self.depth}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convert:
    """Writes a checkpoint in another format, whole or not at all."""

    source: Positional[str]
    """What `show` takes."""
    target: Positional[str]
    """Folder to make; for keras a file that ends with .keras."""
    to: Literal["hf", "tf", "keras", "onnx"]
    """hf: config.json and model.safetensors, which transformers loads; tf: Google's names (BERT,
    ELECTRA, ALBERT); keras: one file; onnx: model.onnx with open batch and length."""
    head: Head | None = None
    """Head of the model; by default the one that the source names."""
    missing_head: Literal["error", "initialise"] = "error"
    """What to do where the source has no such head."""
    tokenizer: str | None = None
    """Folder or file of the tokenizer; by default the source's own; `none` leaves it out."""
    strict: bool = True
    """Whether a tensor without a place in the model is an error; else it is left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Writes a checkpoint as a folder that transformers loads; short for `convert --to hf`."""

    source: Positional[str]
    """What `show` takes: a run's directory, for one."""
    target: Positional[str]
    """Folder to make."""
    tokenizer: str | None = None
    """Folder or file of the tokenizer; by default the source's own; `none` leaves it out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare:
    """Prints how two checkpoints differ, tensor by tensor and in what they answer."""

    a: Positional[str]
    """What `show` takes."""
    b: Positional[str]
    """What `show` takes."""
    rows: int = 4
    """Rows of the random sample inputs."""
    tokens: int = 32
    """Tokens of the longest sample row."""
    seed: int = 0
    """Of the sample inputs."""
    tolerance: float | None = None
    """Exit with 1 where an output differs by more, or none could be compared."""


def run_show(argv: Sequence[str]) -> None:
    """Prints what a checkpoint holds."""
    options = parse(Show, argv, prog="limbeck.weights show", description=str(Show.__doc__))
    from limbeck.weights.read import read_checkpoint
    from limbeck.weights.show import describe

    for line in describe(read_checkpoint(options.path), depth=options.depth):
        print(line)


def run_convert(argv: Sequence[str]) -> None:
    """Writes a checkpoint in another format."""
    _convert(parse(Convert, argv, prog="limbeck.weights convert", description=str(Convert.__doc__)))


def run_export(argv: Sequence[str]) -> None:
    """Writes a checkpoint as a folder that transformers loads."""
    options = parse(Export, argv, prog="limbeck.weights export", description=str(Export.__doc__))
    _convert(Convert(**dataclasses.asdict(options), to="hf"))


def _convert(options: Convert) -> None:
    if not os.path.exists(options.source):
        raise UsageError(f"{options.source}: no such folder or file")
    from limbeck.weights.convert import convert

    report = convert(
        options.source,
        options.target,
        to=options.to,
        head=options.head,
        missing_head=options.missing_head,
        tokenizer=options.tokenizer,
        strict=options.strict,
    )
    print(report)
    print(f"{options.target}: written")


def run_compare(argv: Sequence[str]) -> None:
    """Compares two checkpoints."""
    options = parse(Compare, argv, prog="limbeck.weights compare", description=str(Compare.__doc__))
    from limbeck.weights.compare import check_sample, compare
    from limbeck.weights.read import read_checkpoint

    check_sample(options.rows, options.tokens)
    result = compare(
        read_checkpoint(options.a),
        read_checkpoint(options.b),
        rows=options.rows,
        tokens=options.tokens,
        seed=options.seed,
    )
    for line in result.lines():
        print(line)
    limit = options.tolerance
    if limit is None:
        return
    if not result.outputs:
        raise LimbeckError(f"{options.a} and {options.b}: no output of both could be compared")
    name, worst = max(result.outputs, key=lambda item: item[1])
    if not worst <= limit:
        raise LimbeckError(
            f"{options.a} and {options.b}: {name} differ by {worst:g}, over {limit:g}"
        )


if __name__ == "__main__":
    dispatch(
        "limbeck.weights",
        {
            "show": (run_show, "print a checkpoint's configuration, FLOPs and parameters"),
            "convert": (run_convert, "write a checkpoint in another format"),
            "export": (run_export, "write a checkpoint as a folder that transformers loads"),
            "compare": (run_compare, "two checkpoints, tensor by tensor and by their answers"),
        },
        description="Look at checkpoints, convert and compare them.",
    )
