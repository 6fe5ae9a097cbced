"""What a recipe file may say: its source, what it shrinks, its steps and its comparison."""

import re
from dataclasses import dataclass, field
from typing import Literal

from launch.recipes.names import BASE, names_in
from limbeck.labels.signals import Signal
from limbeck.runs.names import METRICS, metric

__all__ = [
    "Baseline",
    "Compare",
    "Evaluate",
    "Export",
    "Extract",
    "Method",
    "Option",
    "Prepare",
    "Step",
    "Train",
]

Option = str | int | float | bool | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
"""A value of a command's option, or of a setting."""

STEP_NAME = re.compile(r"[a-z][a-z0-9_]*")
NOT_EVALUATED = ("loss", "seconds", "count")  # of a run's own evaluations, not of `train evaluate`


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Text or labelled files -> documents, a vocabulary, or examples."""

    step: Literal["prepare"] = "prepare"
    """What tells the steps apart."""
    name: str
    """Of what it makes; later steps say $name."""
    command: Literal["examples", "newsgroups", "tasks", "text", "token_counts", "vocabulary"]
    """Of `python -m beam_pipelines`; newsgroups: 20newsgroups as train, dev and test.tsv."""
    options: dict[str, Option] = field(default_factory=dict)
    """Options of the command, without the dashes in front; --out is given by the runner."""


@dataclass(frozen=True, kw_only=True)
class Extract:
    """A teacher answers over examples; $name/SPLIT/FAMILY is what it leaves."""

    step: Literal["extract"] = "extract"
    """What tells the steps apart."""
    name: str
    """Of what it makes; later steps say $name."""
    teacher: str
    """Model folder."""
    examples: str
    """Directory with the splits."""
    splits: tuple[str, ...] = ("train",)
    """Which of them."""
    families: dict[str, Signal] = field(default_factory=dict)
    """Family name -> signal, as in an extraction recipe."""
    recipe: str | None = None
    """An extraction recipe in a file of its own, beside the recipe, in place of `families`."""
    set: dict[str, Option] = field(default_factory=dict)
    """Settings of the extraction recipe that are replaced, such as batch_tokens."""

    def __post_init__(self) -> None:
        """Refuses none or two answers to one question."""
        if bool(self.families) == (self.recipe is not None):
            raise ValueError("give families or recipe, one of the two")
        if not self.splits:
            raise ValueError("splits is empty; name at least one")


@dataclass(frozen=True, kw_only=True)
class Train:
    """A training recipe -> a run."""

    step: Literal["train"] = "train"
    """What tells the steps apart."""
    name: str
    """Of the run; later steps say $name."""
    recipe: str
    """Training recipe, beside this file in the folder of its name."""
    ranks: int = 1
    """Processes that train together."""
    set: dict[str, Option] = field(default_factory=dict)
    """Settings of the training recipe that are replaced: paths above all."""

    def __post_init__(self) -> None:
        """Refuses a number of ranks that is none."""
        _check_ranks(self.ranks)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The run of an earlier step without its teacher: same student, start and batches.

    Its training recipe is that of the earlier step with another objective and without labels of a
    teacher. Recipes that come to the same one share one run.
    """

    step: Literal["baseline"] = "baseline"
    """What tells the steps apart."""
    name: str
    """Of the run; later steps say $name."""
    of: str
    """Name of the train step that it is the baseline of."""
    objective: tuple[dict[str, Option], ...]
    """Terms on true labels alone, in place of those of the training recipe."""
    set: dict[str, Option] = field(default_factory=dict)
    """Settings replaced beside those that the other step replaces."""
    drop: tuple[str, ...] = ()
    """Settings of the training recipe that are left out, such as model.freeze."""

    def __post_init__(self) -> None:
        """Refuses an empty objective."""
        if not self.objective:
            raise ValueError("objective is empty; give the terms on true labels")


@dataclass(frozen=True, kw_only=True)
class Export:
    """A run -> a model folder."""

    step: Literal["export"] = "export"
    """What tells the steps apart."""
    name: str
    """Of the folder; later steps say $name."""
    run: str
    """Directory of the run."""
    tokenizer: str | None = None
    """Tokenizer folder; the one beside the run's examples when left out."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Models on held-out examples; $name/MODEL.json are their scores."""

    step: Literal["evaluate"] = "evaluate"
    """What tells the steps apart."""
    name: str
    """Of the scores."""
    models: dict[str, str]
    """What the table calls it -> run or model folder; `student` and `baseline` are compared."""
    examples: str
    """Held-out examples."""
    labels: str | None = None
    """A sparse or final family of them, for the KL to the teacher."""


Step = Prepare | Extract | Train | Baseline | Export | Evaluate


@dataclass(frozen=True, kw_only=True)
class Compare:
    """What is said of the student at the end."""

    scores: str
    """Name of the evaluate step."""
    metric: str = "cross_entropy"
    """What decides whether the student beat the baseline."""
    better: Literal["lower", "higher"] = "lower"
    """Which end of the metric is the good one."""
    shown: tuple[str, ...] = ("accuracy", "cross_entropy", "kl_to_teacher")
    """Metrics of the table."""
    note: str = ""
    """What the reader of the table must know, such as: mechanics, not quality."""

    def __post_init__(self) -> None:
        """Refuses metrics that no evaluation has."""
        _check_metric("metric", self.metric)
        for index, name in enumerate(self.shown):
            _check_metric(f"shown[{index}]", name)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A recipe file."""

    title: str
    """The method in one line."""
    paper: str
    """Where it was published."""
    paper_settings: str
    """The published hyper-parameters, in words."""
    shrinks: str
    """What is smaller here, and why."""
    steps: tuple[Step, ...]
    """What is done, in order."""
    compare: Compare
    """What is said at the end."""

    def __post_init__(self) -> None:
        """Refuses names that are taken or not known, and a comparison of what is not there."""
        known = set(BASE)
        for step in self.steps:
            self._check_name(step, known)
            for name in names_in(vars(step)):
                if name not in known:
                    raise ValueError(
                        f"steps: {step.name!r} refers to ${name}, which is neither an earlier "
                        f"step nor one of {', '.join(BASE)}"
                    )
            known.add(step.name)
            if isinstance(step, Baseline):
                self._train_step(step)
        self._check_comparison()

    def step(self, name: str) -> Step:
        """The step of a name."""
        return next(step for step in self.steps if step.name == name)

    def _check_name(self, step: Step, taken: set[str]) -> None:
        if not STEP_NAME.fullmatch(step.name):
            raise ValueError(f"steps: name {step.name!r}: use small letters, digits and _")
        if step.name in taken:
            raise ValueError(f"steps: the name {step.name!r} is taken; give each step its own")

    def _train_step(self, step: Baseline) -> None:
        earlier = self.steps[: self.steps.index(step)]
        if not any(isinstance(other, Train) and other.name == step.of for other in earlier):
            raise ValueError(f"steps: {step.name!r} is of {step.of!r}, no earlier train step")

    def _check_comparison(self) -> None:
        found = [s for s in self.steps if s.name == self.compare.scores]
        if not found or not isinstance(found[0], Evaluate):
            raise ValueError(f"compare: scores is {self.compare.scores!r}, no evaluate step")
        if missing := {"student", "baseline"} - set(found[0].models):
            raise ValueError(f"compare: {self.compare.scores!r} does not score {missing.pop()!r}")
        if self.compare.metric not in self.compare.shown:
            raise ValueError(f"compare: metric {self.compare.metric!r} must be among shown")


def _check_ranks(ranks: int) -> None:
    if ranks < 1:
        raise ValueError(f"ranks is {ranks}; it must be at least 1")


def _check_metric(setting: str, name: str) -> None:
    """Refuses what `train evaluate` never gives; whether it does depends on the model's heads."""
    names = [entry.name.removeprefix("eval/") for entry in METRICS if "eval/" in entry.name]
    known = [n for n in names if not n.startswith(NOT_EVALUATED)]
    try:
        found = metric(f"eval/{name}").name.removeprefix("eval/")
    except ValueError:
        found = ""
    if found not in known:
        exact = ", ".join(n for n in known if not n.endswith("*"))
        raise ValueError(
            f"{setting} is {name!r}, which no evaluation gives; it gives {exact}, kl_to_teacher, "
            "and these with _NAME of a head"
        )
