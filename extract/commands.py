"""The verbs of `python -m extract`: options to settings, and what is printed."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from extract.gpu import take_own_gpu
from extract.settings import ExtractSettings, Recipe
from limbeck.config import yaml_file
from limbeck.config.command import parse
from limbeck.config.place import placed

__all__ = ["derive", "inspect", "run"]

Directory = Annotated[str, tyro.conf.arg(metavar="DIR")]
RecipeFile = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE.yaml")]
WorkerNumber = Annotated[str, tyro.conf.arg(metavar="I/N")]
BackendName = Annotated[str, tyro.conf.arg(metavar="{auto,keras,pytorch,onnx}")]
Assignments = Annotated[
    tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE")
]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `extract run`."""

    recipe: RecipeFile
    """YAML file: families (name -> signal), seed, batch_tokens, length_multiple, window_rows,
    threads, backend, precision, jit, recheck_batches."""
    examples: Directory
    """Dataset directory of kind examples."""
    teacher: Directory
    """Checkpoint folder, exported run, or ONNX graph."""
    out: Directory
    """Output; each family goes to OUT/<name>/."""
    backend: BackendName = ""
    """What runs the teacher, in place of the recipe's; auto chooses by what the folder holds."""
    token_budget: int = 0
    """Token slots of a batch, in place of the recipe's batch_tokens; 0 for the recipe's."""
    worker: WorkerNumber = "auto"
    """This process is one of several that share the shards: i/n, or auto for the number that
    mpirun, Slurm or Kubernetes gave it; without them it is the only one."""
    dry_run: bool = False
    """Print records, tokens, bytes, free space and an estimate from a sample; write nothing."""
    set: Assignments = ()
    """Replaces a value of the recipe, as in families.sparse.k=32; may be repeated."""


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Options of `extract inspect`."""

    directory: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A finished label family, or a directory with several of one teacher."""
    examples: Directory = ""
    """The examples it was made from; found by what the manifest says where they still lie there."""
    tokenizer: Directory = ""
    """Where words come from; default: the teacher's folder, if it still lies where it was."""
    teacher: Directory = ""
    """The teacher: with it the codec's error is measured on a sample."""
    backend: BackendName = "auto"
    """What runs the teacher."""
    sample: int = 64
    """Records whose labels are compared with the teacher's full answer."""
    rows: int = 2048
    """Records, evenly spaced, that the plots look at."""
    html: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Where the page goes; default: inspect.html in a directory of several families,
    inspect-NAME.html beside a single one. `none` writes no page."""


@dataclass(frozen=True, kw_only=True)
class DeriveOptions:
    """Options of `extract derive`."""

    recipe: RecipeFile
    """YAML file as `extract run` reads it; its sparse families are derived, others left alone."""
    final: Directory
    """The finished `final` family to derive from."""
    examples: Directory
    """The examples it was made from."""
    out: Directory = ""
    """Output; each family goes to OUT/<name>/. Default: where the final family lies."""
    worker: WorkerNumber = "auto"
    """This process is one of several that share the shards, as for `extract run`."""
    set: Assignments = ()
    """Replaces a value of the recipe, as in families.sparse.k=32; may be repeated."""


def run(argv: Sequence[str]) -> None:
    """Labels examples with a teacher."""
    options = parse(
        RunOptions,
        argv,
        prog="extract run",
        description="Runs a teacher over examples once and keeps its signals as label families.",
    )
    chosen = [f"backend={options.backend}"] if options.backend else []
    if options.token_budget:
        chosen.append(f"batch_tokens={options.token_budget}")
    recipe = yaml_file.load(options.recipe, Recipe, overrides=(*options.set, *chosen))
    settings = ExtractSettings(
        **{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)},
        examples=options.examples,
        teacher=options.teacher,
        out=options.out,
        worker=options.worker,
    )
    take_own_gpu()
    from extract.run import dry_run, extract

    with placed(recipe):
        if options.dry_run:
            dry_run(settings)
        else:
            extract(settings)


def inspect(argv: Sequence[str]) -> None:
    """Prints what families hold and writes a page with plots; with a teacher, their error too."""
    options = parse(
        InspectOptions,
        argv,
        prog="extract inspect",
        description="Prints what label families hold and writes a page with plots; with --teacher "
        "also what their codecs lose.",
    )
    from extract.page import InspectSettings, inspect_labels

    inspect_labels(InspectSettings(**dataclasses.asdict(options)), say=_print)


def derive(argv: Sequence[str]) -> None:
    """Makes sparse families of a final family, without the teacher."""
    options = parse(
        DeriveOptions,
        argv,
        prog="extract derive",
        description="Makes sparse families of a stored final family; the teacher is not needed.",
    )
    recipe = yaml_file.load(options.recipe, Recipe, overrides=options.set)
    from extract.derive import DeriveSettings, derive_families

    settings = DeriveSettings(
        families=recipe.families,
        final=options.final,
        examples=options.examples,
        out=options.out,
        seed=recipe.seed,
        threads=recipe.threads,
        worker=options.worker,
    )
    with placed(recipe):
        derive_families(settings, say=_print)


def _print(line: str) -> None:
    print(line, flush=True)
