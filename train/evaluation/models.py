"""What `evaluate`, `predict` and `export` take: a model folder or a run's directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from limbeck.config.errors import UsageError
from limbeck.models.build import HeadName
from limbeck.tokens import Tokenizer, load_tokenizer
from limbeck.weights.heads import HEAD_TITLES, likely_head, num_labels_of
from limbeck.weights.hf_folder import read_config
from limbeck.weights.load import model_of
from limbeck.weights.read import read_checkpoint
from limbeck.weights.run_folder import HEADS
from train.checkpoints.restore import load_run, plan_of
from train.evaluation.given import check_model, is_run
from train.students.student_plan import ModelKind, StudentPlan, single_head

__all__ = ["LoadedModel", "open_model", "tokenizer_of_examples"]


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model and what is known of it."""

    model: Any
    """Built: of `limbeck.models.build` or `limbeck.models.multi_task`."""

    plan: StudentPlan
    """What it is."""

    title: str
    """Where it comes from, in a few words."""

    tokenizer_path: Path
    """Where its tokenizer should be."""

    @property
    def vocab_size(self) -> int:
        """V."""
        return int(self.model.architecture.vocab_size)

    def tokenizer(self, path: str | None = None) -> Tokenizer:
        """Its tokenizer, from `path` where that is given.

        Raises:
          LimbeckError: there is none, or it has another vocabulary.
        """
        where = Path(path) if path is not None else self.tokenizer_path
        if not where.exists():
            raise UsageError(f"{where}: no tokenizer there; give one with --tokenizer")
        return load_tokenizer(where, expected_size=self.vocab_size)


def open_model(path: str, *, best: bool = False) -> LoadedModel:
    """Loads a model folder, or what a run has made.

    Args:
      path: of either.
      best: takes the checkpoint of the run's best evaluation on held-out data instead.

    Raises:
      UsageError: neither, the best of what has none, or a model that answers nothing.
      LimbeckError: damaged.
    """
    check_model(path)
    where = Path(path)
    if is_run(where):
        recipe, loaded, model = load_run(where, which="best" if best else "result")
        return LoadedModel(
            model=model,
            plan=plan_of(loaded, where=path),
            title=f"{path} after step {loaded.progressed.step}",
            tokenizer_path=tokenizer_of_examples(recipe.data.parts[0].examples),
        )
    if best:
        raise UsageError(f"{path}: a model folder has no best checkpoint; give a run's directory")
    return _open_folder(path)


def tokenizer_of_examples(examples: str) -> Path:
    """Where `beam_pipelines.examples` leaves the tokenizer of the examples it writes."""
    return Path(examples).parent / "tokenizer"


def _open_folder(path: str) -> LoadedModel:
    """A model folder with the head that its configuration or its tensors tell."""
    checkpoint = read_checkpoint(path)
    head = likely_head(checkpoint)
    kinds = {ours: kind for kind, ours in HEADS.items() if kind != "none"}
    if head == "encoder":
        head = "masked_lm"  # whose absence is then told
    if head not in kinds:
        raise UsageError(f"{path}: a {HEAD_TITLES[head]}, which has nothing to be asked")
    model, _ = model_of(checkpoint, head=cast(HeadName, head))
    kind = kinds[head]
    plan = StudentPlan(
        architecture=model.architecture,
        kind=cast(ModelKind, kind),
        heads=single_head(kind, num_labels_of(model) or 2, _label_names(path)),
    )
    return LoadedModel(model=model, plan=plan, title=path, tokenizer_path=Path(path))


def _label_names(path: str) -> tuple[str, ...]:
    """Names of the labels in `config.json`; none where they are transformers' placeholders."""
    labels = read_config(path).get("id2label")
    if not isinstance(labels, dict):
        return ()
    names = tuple(str(labels.get(str(number), "")) for number in range(len(labels)))
    return () if names == tuple(f"LABEL_{n}" for n in range(len(names))) else names
