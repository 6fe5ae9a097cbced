"""The trainings of `bench.quality`: the demo's student, once for each arm and seed."""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench._quality_arms import ARMS, FULL, heldout
from bench._quality_table import Line
from limbeck.config import yaml_file
from limbeck.config.errors import LimbeckError, UsageError
from train.recipe import Data, LiveTeacher, Recipe

__all__ = ["Options", "Work", "prepare", "recipe_of", "train_one"]

STUDENT = Path(__file__).parents[1] / "recipes/demo/student.yaml"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the comparison."""

    data: str = "runs/demo"
    """What `make demo` left."""
    out: str = "runs/quality/results.jsonl"
    """A line for each training; other settings need another file."""
    work: str = "runs/quality"
    """Directory for labels, about 0.5 GB, and for the run under way."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which arms."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of the order of the data, dropout and new weights."""
    steps: int = 200
    """Updates of each training."""
    mlm: float = 0.0
    """Weight of a term on the true ids beside those on the teacher."""
    checkpoint: str = ""
    """Where the student's layers come from; by default what the demo's student run names."""
    table: bool = False
    """Print the table of what is there, and do nothing else."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What all trainings share."""

    options: Options
    """As given."""
    recipe: Recipe
    """The demo's student."""
    teacher_layers: int
    """Layers of the teacher."""
    setup: dict[str, Any]
    """What lines must have in common to be compared."""

    @property
    def labels(self) -> Path:
        """Where families lie."""
        return Path(self.options.work) / "labels"


def prepare(options: Options) -> Work:
    """Reads what the demo left.

    Raises:
      UsageError: something is missing, or an arm is none.
    """
    from limbeck.records.dataset import open_dataset
    from limbeck.weights.hf_folder import read_architecture

    if unknown := [name for name in options.arms if name not in ARMS]:
        raise UsageError(f"--arms {unknown[0]}: none of {', '.join(ARMS)}")
    if options.steps < 1:
        raise UsageError(f"--steps is {options.steps}; it must be at least 1")
    demo = Path(options.data)
    if not (demo / "teacher").is_dir():
        raise UsageError(f"{demo}: no demo there; run `make demo` first, or name one with --data")
    checkpoint = options.checkpoint or _checkpoint_of(demo)
    plain = yaml_file.load(STUDENT, Recipe)
    recipe = replace(plain, model=replace(plain.model, checkpoint=checkpoint))
    examples, held = (open_dataset(str(demo / "examples" / s)) for s in ("train", "heldout"))
    setup = {
        "examples": examples.id[:12],
        "heldout": held.id[:12],
        "teacher": _digest(demo / "teacher/model.safetensors"),
        "student": _digest(Path(checkpoint) / "model.safetensors"),
        "layers": list(recipe.model.layers or ()),
        "batch": recipe.training.global_batch,
        "optimizer": yaml_file.to_plain(recipe.optimizer),
        "mlm": options.mlm,
    }
    return Work(
        options=options,
        recipe=recipe,
        teacher_layers=read_architecture(demo / "teacher").num_layers,
        setup=json.loads(json.dumps(setup)),  # as it is read back
    )


def recipe_of(work: Work, name: str, *, seed: int) -> Recipe:
    """The recipe of one training."""
    options, arm = work.options, ARMS[name]
    demo, plain = Path(options.data), work.recipe
    labels = {family: str(work.labels / "train" / family) for family in arm.families}
    teacher = None
    if arm.live:
        signals = {family: signal for family, signal in heldout().items() if family in labels}
        teacher, labels = LiveTeacher(path=str(demo / "teacher"), signals=signals), {}
    student_layer = len(plain.model.layers or ())
    return replace(
        plain,
        name=f"quality-{name}",
        seed=seed,
        data=Data(
            examples=str(demo / "examples/train"),
            labels=labels,
            teacher=teacher,
            heldout=str(demo / "examples/heldout"),
            heldout_labels={FULL: str(work.labels / "heldout" / FULL)},
        ),
        objective=arm.objective(student_layer=student_layer, mlm=options.mlm),
        training=replace(
            plain.training,
            steps=options.steps,
            log_every=options.steps,
            checkpoint_every=options.steps,
            keep_checkpoints=1,
        ),
    )


def train_one(work: Work, name: str, *, seed: int) -> Line:
    """Trains, evaluates, and says how it was."""
    from bench._quality_labels import bytes_per_position
    from train.loop import train

    run, started_s = Path(work.options.work) / f"run-{name}-{seed}", time.perf_counter()
    shutil.rmtree(run, ignore_errors=True)  # of a call that was killed
    result = train(recipe_of(work, name, seed=seed), run, say=lambda line: None)
    shutil.rmtree(run)
    if result.scores is None:
        raise LimbeckError(f"{name}, seed {seed}: stopped after step {result.step}")
    arm, scores = ARMS[name], result.scores.metrics()
    sizes = [bytes_per_position(work.labels / "train" / family) for family in arm.families]
    return {
        "arm": name,
        "seed": seed,
        "steps": work.options.steps,
        "cross_entropy": scores["eval/cross_entropy"],
        "accuracy": scores["eval/accuracy"],
        "kl": scores["eval/kl"],
        "train_loss": result.loss,
        "bytes_per_position": sum(sizes) if sizes and not arm.live else None,
        "seconds": round(time.perf_counter() - started_s, 1),
        "setup": work.setup,
    }


def _checkpoint_of(demo: Path) -> str:
    """The folder that the demo's student came from."""
    config = demo / "runs/student/config.json"
    if config.exists():
        found = json.loads(config.read_text())["model"]["checkpoint"]
        if found and Path(found).is_dir():
            return str(found)
    raise UsageError(
        f"{config}: does not say where the student's layers came from, or that folder is gone; "
        "name it with --checkpoint"
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
