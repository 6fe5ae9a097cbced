"""A recipe -> the exact commands of each step, and what each makes of what. Nothing is run here."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.recipes.method import (
    Baseline,
    Evaluate,
    Export,
    Extract,
    Method,
    Option,
    Prepare,
    Step,
    Train,
)
from launch.recipes.names import fill, names_in
from launch.recipes.place import BASELINES, Place
from launch.recipes.training_recipes import option_text
from launch.recipes.trainings import baseline_recipe, check_equal_steps, trained
from limbeck import __version__
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError

__all__ = ["Command", "Planned", "plan"]

MODULES = {"newsgroups": "launch.recipes.newsgroups"}


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a step."""

    name: str
    """For its heading and its log."""
    title: str
    """What it does, in a few words."""
    arguments: tuple[str, ...]
    """After `python -m`."""
    ranks: int = 1
    """Processes."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A step, ready to run."""

    step: Step
    """As the recipe has it."""
    output: Path
    """What it makes: a directory."""
    commands: tuple[Command, ...]
    """In order."""
    writes: Mapping[str, str] = field(default_factory=dict)
    """Files that the runner writes before: path -> text."""
    reads: tuple[str, ...] = ()
    """Files of the recipe that it depends on."""
    parents: tuple[str, ...] = ()
    """Names of earlier steps, or of the base, whose outputs it reads."""
    shared: bool = False
    """Whether other recipes may use the same output."""
    check: tuple[str, ...] = ()
    """Arguments after `python -m` that look at the step and run nothing; see `checks`."""

    @property
    def directory(self) -> Path:
        """That must be there before the first command: for an evaluation, its output."""
        return self.output if isinstance(self.step, Evaluate) else self.output.parent

    @property
    def name(self) -> str:
        """Of the step."""
        return self.step.name


def plan(method: Method, place: Place) -> tuple[Planned, ...]:
    """The steps with their commands, checked as far as that goes without running them.

    Raises:
      UsageError: a training recipe that is not there, or a baseline of unequal steps.
    """
    paths = dict(place.base)
    planned: list[Planned] = []
    for step in method.steps:
        parents = tuple(dict.fromkeys(names_in(vars(step))))
        try:
            found = _planned(step, method, place, paths)
        except UsageError as error:
            if str(error).startswith("--set "):  # which names the step
                raise
            raise UsageError(f"step {step.name!r}: {error}") from error
        planned.append(dataclasses.replace(found, parents=found.parents or parents))
        paths[step.name] = str(found.output)
    check_equal_steps(method, place)
    return tuple(planned)


def _planned(step: Step, method: Method, place: Place, paths: Mapping[str, str]) -> Planned:
    output = place.directory / step.name
    match step:
        case Prepare():
            command = _prepare(step, output, paths)
            check = (command.arguments[0], "--help")
            return Planned(step=step, output=output, commands=(command,), check=check)
        case Extract():
            return _extract(step, output, place, paths)
        case Train():
            recipe = str(place.file(step.recipe))
            settings = _settings(_filled(step.set, paths))
            return Planned(
                step=step,
                output=output,
                commands=(_train(step.name, recipe, output, step.ranks, settings),),
                reads=(recipe,),
                check=("train", "check", recipe, *settings),
            )
        case Baseline():
            return _baseline(step, method, place, paths)
        case Export():
            return Planned(step=step, output=output, commands=(_export(step, output, paths),))
        case Evaluate():
            return Planned(step=step, output=output, commands=tuple(_scores(step, output, paths)))


def _prepare(step: Prepare, output: Path, paths: Mapping[str, str]) -> Command:
    module = MODULES.get(step.command, f"beam_pipelines.{step.command}")
    arguments = [module]
    for name, value in step.options.items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no-{name}")
        else:
            texts = value if isinstance(value, tuple) else (str(value),)
            arguments += [f"--{name}", *(fill(str(text), paths) for text in texts)]
    arguments += ["--out", str(output)]
    return Command(name=step.name, title=f"prepare {step.name}", arguments=tuple(arguments))


def _extract(step: Extract, output: Path, place: Place, paths: Mapping[str, str]) -> Planned:
    if step.recipe is not None:
        recipe = str(place.file(step.recipe))
        writes: dict[str, str] = {}
        reads: tuple[str, ...] = (recipe,)
    else:
        recipe = f"{output}.yaml"
        families = {"families": yaml_file.to_plain(step.families)}
        writes, reads = {recipe: yaml_file.dump(families)}, ()
    commands = [
        Command(
            name=f"{step.name}-{split}",
            title=f"{step.name}: the teacher answers over {split}",
            arguments=(
                *("extract", "run", recipe, "--teacher", fill(step.teacher, paths)),
                *("--examples", f"{fill(step.examples, paths)}/{split}"),
                *("--out", f"{output}/{split}", *_settings(_filled(step.set, paths))),
            ),
        )
        for split in step.splits
    ]
    return Planned(step=step, output=output, commands=tuple(commands), writes=writes, reads=reads)


def _train(
    name: str, recipe: str, output: Path, ranks: int, settings: Sequence[str] = ()
) -> Command:
    return Command(
        name=name,
        title=f"train {name}" + (f", {ranks} ranks" if ranks > 1 else ""),
        arguments=("train", "run", recipe, "--run-dir", str(output), *settings),
        ranks=ranks,
    )


def _baseline(step: Baseline, method: Method, place: Place, paths: Mapping[str, str]) -> Planned:
    plain, ranks = baseline_recipe(step, method, place), trained(method, step).ranks
    # Sorted, so that recipes which say the same in another order share one run.
    text = yaml_file.dump(_sorted(_filled(plain, paths)))
    key = hashlib.sha256(f"{__version__}\n{ranks}\n{text}".encode()).hexdigest()[:16]
    recipe, output = (place.out / BASELINES / key / name for name in ("recipe.yaml", "run"))
    return Planned(
        step=step,
        output=output,
        commands=(_train(step.name, str(recipe), output, ranks),),
        writes={str(recipe): text},
        check=("train", "check", str(recipe)),
        parents=tuple(dict.fromkeys(names_in(plain))),
        shared=True,
    )


def _export(step: Export, output: Path, paths: Mapping[str, str]) -> Command:
    tokenizer = () if step.tokenizer is None else ("--tokenizer", fill(step.tokenizer, paths))
    arguments = ("train", "export", fill(step.run, paths), "--out", str(output), *tokenizer)
    return Command(name=step.name, title=f"export {step.name}", arguments=arguments)


def _scores(step: Evaluate, output: Path, paths: Mapping[str, str]) -> Iterator[Command]:
    labels = () if step.labels is None else ("--labels", fill(step.labels, paths))
    for name, model in step.models.items():
        yield Command(
            name=f"{step.name}-{name}",
            title=f"evaluate the {name}",
            arguments=(
                *("train", "evaluate", fill(model, paths)),
                *("--examples", fill(step.examples, paths), *labels),
                *("--json", str(output / f"{name}.json")),
            ),
        )


def _filled(value: Any, paths: Mapping[str, str]) -> Any:
    """A tree of settings with paths in the place of names."""
    if isinstance(value, str):
        return fill(value, paths)
    if isinstance(value, Mapping):
        return {key: _filled(part, paths) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(part, paths) for part in value)
    return value


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(part) for part in value] if isinstance(value, list) else value


def _settings(values: Mapping[str, Option]) -> list[str]:
    return [part for n, v in values.items() for part in ("--set", f"{n}={option_text(v)}")]
