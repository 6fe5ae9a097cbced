"""The verbs of `python -m extract`: options to settings, and what is printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from extract.inspection import describe
from extract.settings import ExtractSettings, Recipe
from limbeck.config import yaml_file
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError

__all__ = ["derive", "inspect", "run"]

Directory = Annotated[str, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `extract run`."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE.yaml")]
    """YAML file: families (name -> signal), batch_tokens, length_multiple, threads, backend."""
    examples: Directory
    """Dataset directory of kind examples."""
    teacher: Directory
    """Checkpoint folder, exported run, or ONNX graph."""
    out: Directory
    """Output; each family goes to OUT/<name>/."""
    backend: Annotated[str, tyro.conf.arg(metavar="{auto,keras,pytorch,onnx}")] = ""
    """What runs the teacher, in place of the recipe's; auto chooses by what the folder holds."""
    set: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """Replaces a value of the recipe, as in families.sparse.k=32; may be repeated."""


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Options of `extract inspect`."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Directory of a finished label family."""
    examples: Directory = ""
    """The examples it was made from; with --teacher, the codec's error is measured."""
    teacher: Directory = ""
    """The teacher it was made with."""
    sample: int = 64
    """Records whose labels are compared with the teacher's full answer."""


def run(argv: Sequence[str]) -> None:
    """Labels examples with a teacher."""
    options = parse(
        RunOptions,
        argv,
        prog="extract run",
        description="Runs a teacher over examples once and keeps its signals as label families.",
    )
    chosen = (f"backend={options.backend}",) if options.backend else ()
    recipe = yaml_file.load(options.recipe, Recipe, overrides=(*options.set, *chosen))
    settings = ExtractSettings(
        examples=options.examples,
        teacher=options.teacher,
        out=options.out,
        families=recipe.families,
        batch_tokens=recipe.batch_tokens,
        length_multiple=recipe.length_multiple,
        threads=recipe.threads,
        backend=recipe.backend,
    )
    from extract.run import extract

    extract(settings)


def inspect(argv: Sequence[str]) -> None:
    """Prints what a family holds and what its codec loses."""
    options = parse(
        InspectOptions,
        argv,
        prog="extract inspect",
        description="Prints a label family's manifest and bytes per position; with --examples and "
        "--teacher also the error of its codec on a sample.",
    )
    if bool(options.examples) != bool(options.teacher):
        raise UsageError("--examples and --teacher go together: both or none")
    with before_work():
        lines = describe(options.family)
    print("\n".join(lines))
    if options.teacher:
        from extract.audit import measure  # loads TensorFlow

        lines = measure(
            options.family,
            examples_dir=options.examples,
            teacher_dir=options.teacher,
            sample=options.sample,
        )
        print("\n".join(lines))


def derive(argv: Sequence[str]) -> None:
    """Not there yet; says what it waits for."""
    raise UsageError(
        "derive needs the `final` signal (the head's last state and its decoder matrix), which "
        "comes with the quantised codecs; until then extract each sparse family with `run`"
    )
