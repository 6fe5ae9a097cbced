"""The options of `python -m train VERB`, and what each verb does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.ranks import World
from train.given import check_evaluation, check_model, check_output
from train.json_file import write_json
from train.preflight import is_complete, preflight
from train.recipe import Recipe
from train.stopping import EXIT_STOPPED

__all__ = ["VERBS"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `run`."""

    recipe: Annotated[str, tyro.conf.Positional]
    """Recipe, a YAML file."""

    run_dir: str
    """Directory of the run; an interrupted run goes on from its newest checkpoint."""

    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A setting of the recipe replaced, such as training.steps=100; may be repeated."""


def run(argv: Sequence[str]) -> int:
    """Trains, alone or as one of the ranks that a launcher started."""
    prog = "train run"
    options = parse(RunOptions, argv, prog=f"python -m {prog}", description=run.__doc__ or "")
    # Under a launcher all ranks read the recipe and must agree before one of them may leave;
    # a single process need not load TensorFlow to find a mistake.
    world = ranks.init() if ranks.launched_under_mpi() else None
    place = world or World()
    recipe = ranks.agree(place, lambda: _recipe(options), prog=prog)
    inputs = ranks.agree(place, lambda: preflight(recipe, options.run_dir, place), prog=prog)
    if world is None and is_complete(recipe, options.run_dir):
        print(f"{options.run_dir}: complete, all {recipe.training.steps} steps are done")
        return 0
    world = world or ranks.init()
    from train.loop import train

    result = train(recipe, options.run_dir, world, inputs=inputs, say=_say)
    return 0 if result.finished else EXIT_STOPPED


def _recipe(options: RunOptions) -> Recipe:
    return yaml_file.load(options.recipe, Recipe, overrides=options.set)


def _say(line: str) -> None:
    print(line, flush=True)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `evaluate`."""

    model: Annotated[str, tyro.conf.Positional]
    """A model folder, a run's directory, or the word `unigram`."""

    examples: str
    """Examples to evaluate on."""

    labels: str | None = None
    """A sparse family of these examples: adds KL(teacher || model)."""

    fit: str | None = None
    """Training examples that `unigram` counts."""

    json: str | None = None
    """File that the scores are written to as JSON as well."""

    batch_rows: int = 32
    """Rows computed at once."""


def evaluate(argv: Sequence[str]) -> int:
    """Scores a model on held-out examples: masked accuracy, cross-entropy, KL to a teacher."""
    options = parse(
        EvaluateOptions, argv, prog="python -m train evaluate", description=evaluate.__doc__ or ""
    )
    if (options.model == "unigram") != (options.fit is not None):
        raise UsageError("--fit and the model `unigram` go together")
    if options.batch_rows < 1:
        raise UsageError(f"--batch-rows is {options.batch_rows}; it must be at least 1")
    with before_work():
        check_output(options.json, option="--json")
        check_evaluation(
            options.model, examples=options.examples, labels=options.labels, fit=options.fit
        )
    from train.evaluate_command import evaluate_model

    lines = evaluate_model(
        options.model,
        examples=options.examples,
        labels=options.labels,
        fit=options.fit,
        batch_rows=options.batch_rows,
        json_file=options.json,
    )
    print("\n".join(lines))
    return 0


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of `predict`."""

    model: Annotated[str, tyro.conf.Positional]
    """A model folder or a run's directory."""

    text: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Sentences with [MASK] in them."""

    tokenizer: str | None = None
    """Tokenizer folder or vocabulary file; the model's own when left out."""

    top: int = 5
    """Tokens shown a mask."""

    json: str | None = None
    """File that the guesses are written to as JSON as well."""


def predict(argv: Sequence[str]) -> int:
    """Fills the masks of sentences."""
    options = parse(
        PredictOptions, argv, prog="python -m train predict", description=predict.__doc__ or ""
    )
    if not options.text or options.top < 1:
        raise UsageError("give at least one sentence, and --top of at least 1")
    with before_work():
        check_output(options.json, option="--json")
        check_model(options.model)
    ranks.init()
    from train.models import open_model
    from train.predict import as_plain, fill_masks

    with before_work():
        loaded = open_model(options.model)
        tokenizer = loaded.tokenizer(options.tokenizer)
    answers = fill_masks(loaded.model, tokenizer, options.text, top=options.top)
    if options.json is not None:
        write_json(options.json, as_plain(options.text, answers))
    for text, fillings in zip(options.text, answers, strict=True):
        print(text)
        for filling in fillings:
            guesses = zip(filling.tokens, filling.probabilities, strict=True)
            print("  " + "  ".join(f"{token} {p:.3f}" for token, p in guesses))
    return 0


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `export`."""

    run_dir: Annotated[str, tyro.conf.Positional]
    """Directory of a run."""

    out: str
    """Folder to write."""

    tokenizer: str | None = None
    """Tokenizer folder or vocabulary file; the one beside the run's examples when left out."""


def export(argv: Sequence[str]) -> int:
    """Writes a run's student as a folder that transformers loads."""
    options = parse(
        ExportOptions, argv, prog="python -m train export", description=export.__doc__ or ""
    )
    with before_work():
        check_model(options.run_dir)
    ranks.init()
    from train.export import export as write

    print(f"wrote {write(options.run_dir, options.out, tokenizer=options.tokenizer)}")
    return 0


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `report`."""

    run_dirs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Directories of runs."""


def report(argv: Sequence[str]) -> int:
    """Not there yet: comes with the evaluation work (task metrics and plots)."""
    parse(ReportOptions, argv, prog="python -m train report", description=report.__doc__ or "")
    raise UsageError(
        "`train report` is not there yet: it comes with the evaluation work (task metrics and "
        "plots); metrics.jsonl and TensorBoard of a run hold its numbers"
    )


VERBS = {
    "run": (run, "train a student by a recipe, or go on with a run"),
    "evaluate": (evaluate, "score a model on held-out examples"),
    "predict": (predict, "fill the masks of sentences"),
    "export": (export, "write a run's student as a model folder"),
    "report": (report, "compare runs (comes with the evaluation work)"),
}
