"""What `evaluate`, `predict` and `export` take: a model folder or a run's directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.tokens import Tokenizer, load_tokenizer
from limbeck.weights.hf import load_masked_lm
from train.given import check_model, is_run
from train.restore import load_run

__all__ = ["LoadedModel", "open_model", "tokenizer_of_examples"]


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model and what is known of it."""

    model: Any
    """A built `limbeck.models.masked_lm.MaskedLM`."""

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
    """Loads a model folder, or the newest checkpoint of a run.

    Args:
      path: of either.
      best: takes the checkpoint of the run's best evaluation on held-out data instead.

    Raises:
      UsageError: neither, or the best of what has none.
      LimbeckError: damaged.
    """
    check_model(path)
    where = Path(path)
    if is_run(where):
        recipe, loaded, model = load_run(where, which="best" if best else "newest")
        return LoadedModel(
            model=model,
            title=f"{path} after step {loaded.progressed.step}",
            tokenizer_path=tokenizer_of_examples(recipe.data.parts[0].examples),
        )
    if best:
        raise UsageError(f"{path}: a model folder has no best checkpoint; give a run's directory")
    model, _ = load_masked_lm(path, missing_head="error", layers=None, seed=0)
    return LoadedModel(model=model, title=path, tokenizer_path=where)


def tokenizer_of_examples(examples: str) -> Path:
    """Where `beam_pipelines.examples` leaves the tokenizer of the examples it writes."""
    return Path(examples).parent / "tokenizer"
