"""`python -m limbeck.models.constructions {make,importance}`: students without training."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from limbeck.config import yaml_file
from limbeck.config.command import before_work, dispatch, parse
from limbeck.models.constructions.build import student_shape
from limbeck.models.constructions.steps import Step
from limbeck.records.dataset import open_dataset
from limbeck.tokens import refuse_other_tokenizer
from limbeck.weights.fingerprint import fingerprint
from limbeck.weights.hf_folder import read_architecture
from limbeck.weights.safetensors_file import write_tensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Make:
    """Makes a student from a teacher's folder, without training, and says what came from where."""

    teacher: Annotated[str, tyro.conf.Positional]
    """Model folder with its tokenizer."""

    out: Annotated[str, tyro.conf.Positional]
    """Folder to make."""

    step: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A construction as recipes write it, such as "layers: every-other"; may be given again."""

    missing_head: Literal["error", "initialise"] = "error"
    """What to do where the teacher has no masked-LM head."""

    seed: int = 0
    """Draws what the steps leave to chance."""

    variables: bool = False
    """Also print where every variable comes from; the folder says it in any case."""

    def __post_init__(self) -> None:
        """Refuses to copy."""
        if not self.step:
            raise ValueError('no --step given; for example --step "layers: every-other"')


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureImportance:
    """Scores the heads, neurons and hidden units of a model, for the construction `width`."""

    model: Annotated[str, tyro.conf.Positional]
    """Model folder with a masked-LM head."""

    examples: Annotated[str, tyro.conf.Positional]
    """Masked examples of its tokenizer."""

    out: Annotated[str, tyro.conf.Positional]
    """File to write, safetensors."""

    rows: int = 2048
    """Rows to measure on."""

    batch: int = 16
    """Rows whose gradients are added up before their absolute value is taken."""

    seed: int = 0
    """Draws the rows."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        if self.rows < 1 or self.batch < 1:
            raise ValueError(f"rows is {self.rows} and batch {self.batch}; both start at 1")


def make(argv: Sequence[str]) -> None:
    """Writes the folder and prints the steps' reports."""
    options = parse(
        Make, argv, prog="limbeck.models.constructions make", description=str(Make.__doc__)
    )
    steps = [yaml_file.loads(text, Step, f"--step {text}") for text in options.step]
    with before_work():  # what can be told without TensorFlow
        student_shape(read_architecture(options.teacher), steps, teacher=options.teacher)
    from limbeck.models.constructions.folder import make_student_folder

    made = make_student_folder(
        options.teacher, options.out, steps, seed=options.seed, missing_head=options.missing_head
    )
    print(made.report() if options.variables else "\n".join(made.lines))
    shape = made.architecture
    print(
        f"{options.out}: {shape.num_layers} layers x {shape.hidden_dim}, vocabulary "
        f"{shape.vocab_size:,}, {shape.num_parameters():,} parameters"
    )


def measure(argv: Sequence[str]) -> None:
    """Writes the file of scores."""
    prog = "limbeck.models.constructions importance"
    options = parse(MeasureImportance, argv, prog=prog, description=str(MeasureImportance.__doc__))
    with before_work():
        examples = open_dataset(options.examples, kind="examples")
        refuse_other_tokenizer(
            examples.content.tokenizer,
            examples=options.examples,
            model=options.model,
            vocab_size=read_architecture(options.model).vocab_size,
        )
    from limbeck.models.constructions.measure import importance_on_examples
    from limbeck.weights.hf import load_masked_lm

    model, _ = load_masked_lm(options.model)
    scores = importance_on_examples(
        model, examples, num_rows=options.rows, batch=options.batch, seed=options.seed
    ).tensors()
    write_tensors(options.out, scores, metadata={"model": fingerprint(options.model)})
    shapes = ", ".join(f"{name} {' x '.join(map(str, s.shape))}" for name, s in scores.items())
    rows = min(options.rows, examples.num_rows)
    print(f"{options.out}: {shapes}, measured on {rows:,} rows of {options.examples}")


if __name__ == "__main__":
    dispatch(
        "limbeck.models.constructions",
        {
            "make": (make, "make a student's folder from a teacher's, without training"),
            "importance": (measure, "score a model's units on examples, for narrower students"),
        },
        description="Students made from teachers.",
    )
