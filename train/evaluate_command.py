"""`python -m train evaluate`: opens what is named and prints its scores."""

from limbeck import ranks
from limbeck.config.command import before_work
from limbeck.config.errors import UsageError
from limbeck.labels import SparseSignal
from train.evaluate import Evaluator, ModelPredictor, Predictor, Scores, Unigram
from train.families import open_examples, open_family
from train.json_file import write_json
from train.models import open_model

__all__ = ["evaluate_model"]


def evaluate_model(
    model: str,
    *,
    examples: str,
    labels: str | None,
    fit: str | None,
    batch_rows: int,
    json_file: str | None = None,
) -> list[str]:
    """Scores a model folder, a run, or `unigram`; returns the lines to print.

    Raises:
      LimbeckError: something named is missing, damaged, or does not fit the rest.
    """
    ranks.init()
    with before_work():
        evaluator, title = _open(model, examples=examples, labels=labels, fit=fit, rows=batch_rows)
    scores = evaluator.scores()
    if json_file is not None:
        write_json(json_file, _plain(title, scores))
    return _lines(title, scores)


def _open(
    model: str, *, examples: str, labels: str | None, fit: str | None, rows: int
) -> tuple[Evaluator, str]:
    heldout = open_examples(examples)
    recorded = (heldout.content.tokenizer or {}).get("vocab_size")
    predictor: Predictor
    if fit is not None:
        if recorded is None:
            raise UsageError(f"{examples}: the manifest does not say the vocabulary's size")
        vocab_size, title = int(recorded), f"unigram of {fit}"
        predictor = Unigram.fit(open_examples(fit), vocab_size=vocab_size)
    else:
        loaded = open_model(model)
        longest = int(heldout.lengths().max(initial=0))
        limit = loaded.model.architecture.max_positions
        if longest > limit:
            raise UsageError(
                f"{examples}: rows have up to {longest} tokens and the model {limit} positions"
            )
        vocab_size, title = loaded.vocab_size, loaded.title
        predictor = ModelPredictor(loaded.model)
    if recorded not in (None, vocab_size):
        raise UsageError(
            f"{examples}: the tokenizer's vocabulary has {recorded} ids and the model's "
            f"{vocab_size}"
        )
    family = None
    if labels is not None:
        family = open_family("labels", labels, heldout, vocab_size=vocab_size)
        if not isinstance(family.signal, SparseSignal):
            raise UsageError(f"{labels} is no sparse family; KL needs one")
    evaluator = Evaluator(predictor, heldout, vocab_size=vocab_size, family=family, batch_rows=rows)
    return evaluator, title


def _plain(title: str, scores: Scores) -> dict[str, str | int | float | None]:
    return {
        "model": title,
        "positions": scores.positions,
        "accuracy": scores.accuracy,
        "cross_entropy": scores.cross_entropy,
        "kl_to_teacher": scores.kl,
    }


def _lines(title: str, scores: Scores) -> list[str]:
    lines = [
        f"model          {title}",
        f"masked tokens  {scores.positions:,}",
        f"accuracy       {scores.accuracy:.4f}",
        f"cross-entropy  {scores.cross_entropy:.4f} nats",
    ]
    if scores.kl is not None:
        lines.append(f"KL to teacher  {scores.kl:.4f} nats")
    return lines
