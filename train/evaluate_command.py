"""`python -m train evaluate`: opens what is named and prints its scores."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck import ranks
from limbeck.config.command import before_work
from limbeck.config.errors import UsageError
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal
from limbeck.records.dataset import Dataset
from limbeck.records.examples import refuse_unmasked
from train.asked import Asked
from train.evaluate import Evaluator, ModelPredictor, Predictor, Scores
from train.families import Family, open_examples, open_family
from train.given import is_run
from train.heldout import Comparison, compared_layers, layer_name
from train.json_file import write_json
from train.models import open_model
from train.recipe import Recipe
from train.restore import load_run
from train.unigram import Unigram

__all__ = ["evaluate_model"]

Projection = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is scored."""

    predictor: Predictor
    """Its answers."""
    title: str
    """Where it comes from, in a few words."""
    vocab_size: int
    """V."""
    hidden_dim: int = 0
    """Of its layers; 0 for a unigram."""
    num_layers: int = 0
    """Above the embeddings."""
    max_positions: int | None = None
    """Longest row; None for any."""
    recipe: Recipe | None = None
    """Of a run."""
    projections: Mapping[int, Projection] = field(default_factory=dict)
    """Term of a run -> map of its student states to the teacher's width."""
    widths: Mapping[int, int] = field(default_factory=dict)
    """Term -> width that its projection leads to."""


def evaluate_model(asked: Asked, *, json_file: str | None = None) -> list[str]:
    """Scores a model folder, a run, or `unigram`; returns the lines to print.

    Raises:
      LimbeckError: something named is missing, damaged, or does not fit the rest.
    """
    ranks.init()
    with before_work():
        evaluator, title = _open(asked)
    scores = evaluator.scores()
    if json_file is not None:
        write_json(json_file, _plain(title, scores))
    return _lines(title, scores)


def _open(asked: Asked) -> tuple[Evaluator, str]:
    subject = _subject(asked)
    directory, named = asked.examples, asked.families
    if directory is None:
        assert subject.recipe is not None  # `check_evaluation` sees to it
        directory, named = subject.recipe.data.heldout, subject.recipe.data.heldout_labels
    if directory is None:
        raise UsageError(f"{asked.model}: its recipe has no data.heldout; give --examples")
    examples = open_examples(directory)
    vocab_size = _vocab_size(examples, subject)
    families = {
        name: open_family(name, path, examples, vocab_size=vocab_size)
        for name, path in named.items()
    }
    if asked.examples is None:
        assert subject.recipe is not None
        comparisons = compared_layers(
            subject.recipe.objective,
            families,
            hidden_dim=subject.hidden_dim,
            widths=subject.widths,
        )
    else:
        _check_labels(families, asked)
        comparisons = tuple(
            _comparison(families[name], layer, subject) for name, layer in asked.layers.items()
        )
    maps = subject.projections
    evaluator = Evaluator(
        subject.predictor,
        examples,
        vocab_size=vocab_size,
        families=families,
        comparisons=comparisons,
        projections={c.name: maps[c.term] for c in comparisons if c.term is not None},
        batch_rows=asked.batch_rows,
    )
    return evaluator, subject.title


def _subject(asked: Asked) -> _Subject:
    if asked.fit is not None:
        fit = open_examples(asked.fit)
        size = (fit.content.tokenizer or {}).get("vocab_size")
        if size is None:
            raise UsageError(f"{asked.fit}: the manifest does not say the vocabulary's size")
        refuse_unmasked(fit.layout, examples=asked.fit, who="unigram")
        predictor = Unigram.fit(fit, vocab_size=int(size))
        return _Subject(predictor=predictor, title=f"unigram of {asked.fit}", vocab_size=int(size))
    if not is_run(asked.model):
        loaded = open_model(asked.model, best=asked.best)
        return _of_model(loaded.model, loaded.title)
    recipe, state, model = load_run(asked.model, which="best" if asked.best else "newest")
    kernels = {
        int(name.split("/")[1].partition("_")[0]): (name, tensor)
        for name, tensor in state.tensors.items()
        if name.startswith("projection/") and name.endswith("/kernel")
    }
    return _of_model(
        model,
        f"{asked.model} after step {state.progressed.step}",
        recipe=recipe,
        projections={
            index: _projection(kernel, state.tensors[name.removesuffix("kernel") + "bias"])
            for index, (name, kernel) in kernels.items()
        },
        widths={index: kernel.shape[1] for index, (_, kernel) in kernels.items()},
    )


def _of_model(model: Any, title: str, **run: Any) -> _Subject:
    shape = model.architecture
    return _Subject(
        predictor=ModelPredictor(model),
        title=title,
        vocab_size=int(shape.vocab_size),
        hidden_dim=shape.hidden_dim,
        num_layers=shape.num_layers,
        max_positions=shape.max_positions,
        **run,
    )


def _projection(kernel: np.ndarray, bias: np.ndarray) -> Projection:
    """(N, student's width) -> (N, teacher's width), as `train.student.Projection`."""
    return lambda states: tf.matmul(states, tf.constant(kernel)) + tf.constant(bias)


def _vocab_size(examples: Dataset, subject: _Subject) -> int:
    """V; refuses examples that the model cannot read."""
    refuse_unmasked(examples.layout, examples=str(examples.directory), who="evaluation")
    longest = int(examples.lengths().max(initial=0))
    if subject.max_positions is not None and longest > subject.max_positions:
        raise UsageError(
            f"{examples.directory}: rows have up to {longest} tokens and the model "
            f"{subject.max_positions} positions"
        )
    recorded = (examples.content.tokenizer or {}).get("vocab_size")
    if recorded not in (None, subject.vocab_size):
        raise UsageError(
            f"{examples.directory}: the tokenizer's vocabulary has {recorded} ids and the model's "
            f"{subject.vocab_size}"
        )
    return subject.vocab_size


def _check_labels(families: Mapping[str, Family], asked: Asked) -> None:
    for name, family in families.items():
        option = f"--hidden {asked.layers[name]}=" if name in asked.layers else "--labels "
        wanted: Any = HiddenSignal if name in asked.layers else (SparseSignal, FinalSignal)
        if not isinstance(family.signal, wanted):
            kinds = "hidden" if wanted is HiddenSignal else "sparse or final"
            raise UsageError(
                f"{option}{asked.families[name]} holds a {family.signal.kind} signal; expected a "
                f"{kinds} one"
            )


def _comparison(family: Family, layer: int, subject: _Subject) -> Comparison:
    """A layer of the model against a family, through the run's projection of it where one fits."""
    option = f"--hidden {layer}={family.dataset.directory}"
    if layer > subject.num_layers:
        raise UsageError(f"{option}: the model has {subject.num_layers} layers")
    terms = () if subject.recipe is None else subject.recipe.objective
    fitting = [
        index
        for index, width in subject.widths.items()
        if terms[index].student_layer == layer and width == family.hidden_dim
    ]
    if len(fitting) > 1:
        raise UsageError(
            f"{option}: several terms of the run project layer {layer} to {family.hidden_dim}; "
            "leave --examples out to see what the run itself compares"
        )
    if not fitting and family.hidden_dim != subject.hidden_dim:
        raise UsageError(
            f"{option}: it is {family.hidden_dim} wide and the model {subject.hidden_dim}, and no "
            "projection from this layer was trained"
        )
    return Comparison(
        name=layer_name(family.name, layer),
        family=family.name,
        layer=layer,
        term=fitting[0] if fitting else None,
    )


def _plain(title: str, scores: Scores) -> dict[str, Any]:
    return {
        "model": title,
        "positions": scores.positions,
        "accuracy": _known(scores.accuracy),
        "cross_entropy": _known(scores.cross_entropy),
        "kl_to_teacher": _known(scores.kl),
        "cosines": {name: _known(value) for name, value in scores.cosines.items()},
        "counts": dict(scores.counts),
    }


def _known(value: float | None) -> float | None:
    """A number that JSON has, or None."""
    return value if value is not None and math.isfinite(value) else None


def _lines(title: str, scores: Scores) -> list[str]:
    lines = [
        f"model          {title}",
        f"masked tokens  {scores.positions:,}",
        f"accuracy       {scores.accuracy:.4f}",
        f"cross-entropy  {scores.cross_entropy:.4f} nats",
    ]
    if scores.kl is not None:
        part = _part(scores.counts["kl"], scores.positions)
        lines.append(f"KL to teacher  {scores.kl:.4f} nats{part}")
    for name, value in scores.cosines.items():
        lines.append(f"cosine         {value:.4f} {name}, {scores.counts[name]:,} positions")
    return lines


def _part(count: int, whole: int) -> str:
    return "" if count == whole else f", over the {count:,} that the family labels"
