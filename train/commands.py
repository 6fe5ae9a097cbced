"""The options of `python -m train VERB`, and what each verb does."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.ranks import World
from limbeck.runs import stage_runs_of, student_run
from train.evaluation.asked import EvaluateOptions, asked_of
from train.evaluation.given import check_evaluation, check_model, check_output
from train.json_file import write_json
from train.recipe import Recipe
from train.staged import opened_by, prepare, stages_complete, train_stages
from train.starting.across import prepare_alike
from train.starting.check_command import check
from train.starting.plan_command import plan
from train.starting.preflight import how_complete, is_complete, preflight
from train.stopping import EXIT_STOPPED

__all__ = ["VERBS"]

Options = TypeVar("Options", bound=Any)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `run`."""

    recipe: Annotated[str, tyro.conf.Positional]
    """Recipe, a YAML file."""

    run_dir: str
    """Directory of the run; an interrupted run goes on from its newest checkpoint."""

    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A setting of the recipe replaced, such as training.steps=100; may be repeated."""

    commit_every: int | None = None
    """Of an elastic run (`launch elastic`), the updates that a lost rank may cost; 10 when left
    out. Hosts that come or go are noticed as often."""

    def __post_init__(self) -> None:
        """Refuses what can be no interval."""
        if self.commit_every is not None and self.commit_every < 1:
            raise ValueError(f"--commit-every is {self.commit_every}; expected at least 1")


def run(argv: Sequence[str]) -> int:
    """Trains, alone or as one of the ranks that a launcher started."""
    prog = "train run"
    options = parse(RunOptions, argv, prog=f"python -m {prog}", description=run.__doc__ or "")
    if ranks.is_elastic():
        return _run_elastically(options)
    if options.commit_every is not None:
        raise UsageError("--commit-every has an effect under `launch elastic` only; leave it out")
    # Under a launcher all ranks read the recipe and must agree before one of them may leave;
    # a single process need not load TensorFlow to find a mistake.
    world = ranks.init() if ranks.launched_under_mpi() else None
    place = world or World()
    recipe = ranks.agree(place, lambda: _recipe(options), prog=prog)
    run_it = _run_stages if recipe.stages else _run_whole
    return run_it(recipe, options.run_dir, world, prog=prog)


def _run_elastically(options: RunOptions) -> int:
    """A run whose ranks come and go: nothing is exchanged before all of them are there."""
    world = ranks.init()
    from train.elastic import COMMIT_EVERY, train_elastically

    result = train_elastically(
        lambda: _recipe(options),
        options.run_dir,
        world,
        commit_every=options.commit_every or COMMIT_EVERY,
        say=_say,
    )
    return 0 if result.finished else EXIT_STOPPED


def _run_whole(recipe: Recipe, run_dir: str, world: World | None, *, prog: str) -> int:
    """A run in one piece."""
    place = world or World()
    inputs = prepare_alike(
        place,
        recipe,
        run_dir,
        lambda: preflight(recipe, run_dir, place),
        opened=lambda inputs: [inputs],
        prog=prog,
    )
    if world is None and is_complete(recipe, run_dir):
        print(f"{run_dir}: complete, {how_complete(recipe, run_dir)}")
        return 0
    world = world or ranks.init()
    from train.loop import train

    result = train(recipe, run_dir, world, inputs=inputs, say=_say)
    return 0 if result.finished else EXIT_STOPPED


def _run_stages(recipe: Recipe, run_dir: str, world: World | None, *, prog: str) -> int:
    """A run in stages."""
    place = world or World()
    prepared = prepare_alike(
        place,
        recipe,
        run_dir,
        lambda: prepare(recipe, run_dir, place),
        opened=opened_by,
        prog=prog,
    )
    if world is None and stages_complete([stage for stage, _ in prepared]):
        print(f"{run_dir}: complete, all {len(prepared)} stages are done")
        return 0
    world = world or ranks.init()
    result = train_stages(recipe, run_dir, world, prepared=prepared, say=_say)
    return 0 if result.finished else EXIT_STOPPED


def _recipe(options: RunOptions) -> Recipe:
    return yaml_file.load(options.recipe, Recipe, overrides=options.set)


def _say(line: str) -> None:
    print(line, flush=True)


def _of_student(options: Options, name: str) -> Options:
    """The options with a run in stages replaced by the stage that holds its student."""
    path = getattr(options, name)
    return dataclasses.replace(options, **{name: str(student_run(path))}) if path else options


def evaluate(argv: Sequence[str]) -> int:
    """Scores a model on held-out examples: accuracy, cross-entropy, KL to a teacher, cosines."""
    options = parse(
        EvaluateOptions, argv, prog="python -m train evaluate", description=evaluate.__doc__ or ""
    )
    with before_work():
        asked = asked_of(_of_student(options, "model"))
        check_output(options.json, option="--json")
        check_evaluation(asked)
    from train.evaluation.evaluate_command import evaluate_model

    lines = evaluate_model(asked, json_file=options.json)
    print("\n".join(lines))
    return 0


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of `predict`."""

    model: Annotated[str, tyro.conf.Positional]
    """A model folder or a run's directory."""

    text: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Sentences: of a masked LM with [MASK] in them; of a causal LM, texts to go on from."""

    tokenizer: str | None = None
    """Tokenizer folder or vocabulary file; the model's own when left out."""

    top: int = 5
    """Tokens shown a mask, or classes a sentence."""

    best: bool = False
    """Of a run, the checkpoint of its best evaluation in place of the newest."""

    json: str | None = None
    """File that the guesses are written to as JSON as well."""


def predict(argv: Sequence[str]) -> int:
    """Fills the masks of sentences, goes on from them, or says their classes or tags."""
    options = parse(
        PredictOptions, argv, prog="python -m train predict", description=predict.__doc__ or ""
    )
    if not options.text or options.top < 1:
        raise UsageError("give at least one sentence, and --top of at least 1")
    options = _of_student(options, "model")
    with before_work():
        check_output(options.json, option="--json")
        check_model(options.model)
    ranks.init()
    from train.evaluation.models import open_model
    from train.predict import predict_lines

    with before_work():
        loaded = open_model(options.model, best=options.best)
        tokenizer = loaded.tokenizer(options.tokenizer)
    lines, plain = predict_lines(loaded, tokenizer, options.text, top=options.top)
    if options.json is not None:
        write_json(options.json, plain)
    print("\n".join(lines))
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

    best: bool = False
    """The checkpoint of the run's best evaluation in place of the newest."""

    head: str | None = None
    """Of a student with several heads, the one that the folder gets."""


def export(argv: Sequence[str]) -> int:
    """Writes a run's student as a folder that transformers loads."""
    options = parse(
        ExportOptions, argv, prog="python -m train export", description=export.__doc__ or ""
    )
    options = _of_student(options, "run_dir")
    with before_work():
        check_model(options.run_dir)
    ranks.init()
    from train.export import export as write

    out = write(
        options.run_dir,
        options.out,
        tokenizer=options.tokenizer,
        best=options.best,
        head=options.head,
    )
    print(f"wrote {out}")
    return 0


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `report`."""

    run_dirs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Directories of runs, finished or not; of a run in stages, its stages are compared."""

    html: str | None = None
    """The page; report.html in the run, or in the directory that holds all the runs, when left
    out."""

    json: str | None = None
    """File that the last and best values are written to as JSON."""


def report(argv: Sequence[str]) -> int:
    """Compares runs: their last values, and a page with plots and tables."""
    options = parse(
        ReportOptions, argv, prog="python -m train report", description=report.__doc__ or ""
    )
    with before_work():
        check_output(options.html, option="--html")
        check_output(options.json, option="--json")
    from train.report import report_runs

    runs = [
        str(stage) for path in options.run_dirs for stage in stage_runs_of(path) or [Path(path)]
    ]
    alone = options.run_dirs[0] if len(options.run_dirs) == 1 else None
    page = str(Path(alone) / "report.html") if alone and stage_runs_of(alone) else None
    lines = report_runs(runs, html=options.html or page, json_file=options.json)
    print("\n".join(lines))
    return 0


VERBS = {
    "run": (run, "train a student by a recipe, or go on with a run"),
    "check": (check, "read a recipe, before its data are there"),
    "plan": (plan, "say what a recipe will read, compute and exchange"),
    "evaluate": (evaluate, "score a model on held-out examples"),
    "predict": (predict, "answer sentences: masks, next tokens, classes, tags"),
    "export": (export, "write a run's student as a model folder"),
    "report": (report, "compare runs on one page"),
}
