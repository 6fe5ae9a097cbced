"""A run's student as a standard checkpoint folder."""

from pathlib import Path

from limbeck.config.errors import UsageError
from limbeck.weights.hf import export_hf
from train.given import is_run
from train.models import open_model

__all__ = ["export"]


def export(run_dir: str, out: str, *, tokenizer: str | None = None, best: bool = False) -> Path:
    """Writes the student of a run's newest sound checkpoint, without projections and optimiser.

    Args:
      run_dir: of the run, finished or not.
      out: folder to write; `transformers` loads it as BertForMaskedLM.
      tokenizer: folder or vocabulary file; None for the one beside the run's examples.
      best: takes the checkpoint of the best evaluation in place of the newest.

    Raises:
      UsageError: not a run, or no tokenizer where it should be.
    """
    if not out:
        raise UsageError("--out is empty; name a folder")
    if not is_run(run_dir):
        raise UsageError(f"{run_dir}: not a run's directory")
    loaded = open_model(run_dir, best=best)
    export_hf(loaded.model, out, tokenizer=loaded.tokenizer(tokenizer))
    return Path(out)
