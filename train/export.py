"""A run's student as a standard checkpoint folder."""

from pathlib import Path
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.weights.hf import export_hf
from train.evaluation.given import is_run
from train.evaluation.models import LoadedModel, open_model
from train.recipe.heads import Head
from train.students.student_model import standard_model
from train.students.student_plan import SEVERAL

__all__ = ["export"]


def export(
    run_dir: str,
    out: str,
    *,
    tokenizer: str | None = None,
    best: bool = False,
    head: str | None = None,
) -> Path:
    """Writes the student of a run, without projections and optimiser.

    Args:
      run_dir: of the run, finished or not.
      out: folder to write; `transformers` loads it as the model of its head, such as
        BertForMaskedLM or BertForTokenClassification, with the labels' names in its configuration.
      tokenizer: folder or vocabulary file; None for the one beside the run's examples.
      best: takes the checkpoint of the best evaluation in place of what the run has made.
      head: of a student with several, the one that the folder gets.

    Raises:
      UsageError: not a run, no tokenizer where it should be, or a head that is not there.
    """
    if not out:
        raise UsageError("--out is empty; name a folder")
    if not is_run(run_dir):
        raise UsageError(f"{run_dir}: not a run's directory")
    loaded = open_model(run_dir, best=best)
    model, own = _with_head(loaded, head)
    labels = own.labels if own is not None else ()
    export_hf(model, out, tokenizer=loaded.tokenizer(tokenizer), labels=labels)
    return Path(out)


def _with_head(loaded: LoadedModel, name: str | None) -> tuple[Any, Head | None]:
    """The model to write, and its task head."""
    plan = loaded.plan
    heads: dict[str, Head | None] = dict(plan.heads)
    if plan.kind != SEVERAL:
        if name is not None:
            raise UsageError(f"--head {name}: {loaded.title} has one head only; leave it out")
        return loaded.model, next((h for h in heads.values() if plan.language is None), None)
    if plan.beside_language:
        heads = {"masked_lm": None, **heads}
    if name is None:
        raise UsageError(f"--head is missing: {loaded.title} has {', '.join(heads)}; name one")
    if name not in heads:
        raise UsageError(f"--head {name}: {loaded.title} has {', '.join(heads)}")
    return standard_model(loaded.model, name, heads[name]), heads[name]
