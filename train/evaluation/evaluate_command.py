"""`python -m train evaluate`: opens what is named and prints its scores."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck import ranks
from limbeck.config.command import before_work
from limbeck.config.errors import UsageError
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal, TaskSignal
from limbeck.records.dataset import Dataset
from limbeck.records.examples import refuse_unmasked
from train.checkpoints.restore import load_run, plan_of
from train.evaluate import Evaluation, Evaluator, ModelPredictor, Predictor, Scores
from train.evaluation.asked import Asked
from train.evaluation.given import is_run
from train.evaluation.heldout import Comparison, compared_layers, layer_name
from train.evaluation.models import open_model
from train.evaluation.unigram import Unigram
from train.formula import Projection
from train.json_file import write_json
from train.reading.families import Family, open_examples, open_family
from train.recipe import HiddenTerm, Term
from train.students.run_projections import RunProjections
from train.students.student_plan import StudentPlan

__all__ = ["evaluate_model"]


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
    run: RunProjections | None = None
    """The recipe and the maps of a run."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The objective of a run."""
        return () if self.run is None else self.run.recipe.objective


def evaluate_model(asked: Asked, *, json_file: str | None = None) -> list[str]:
    """Scores a model folder, a run, or `unigram`; returns the lines to print.

    Raises:
      LimbeckError: something named is missing, damaged, or does not fit the rest.
    """
    ranks.init()
    with before_work():
        evaluation, title = _open(asked)
    scores = evaluation.scores()
    if json_file is not None:
        write_json(json_file, _plain(title, scores))
    return _lines(title, scores)


def _open(asked: Asked) -> tuple[Evaluation, str]:
    subject = _subject(asked)
    if asked.examples is not None:
        part = _evaluator(subject, asked.examples, asked.families, asked=asked, only=None)
        return Evaluation([part]), subject.title
    assert subject.run is not None  # `check_evaluation` sees to it
    data = subject.run.recipe.data
    if not data.has_heldout:
        raise UsageError(f"{asked.model}: its recipe has no data.heldout; give --examples")
    sets: list[tuple[str | None, str, Mapping[str, str]]] = [
        (name, task.examples, task.labels) for name, task in data.heldout_tasks.items()
    ]
    if data.heldout is not None:
        sets.insert(0, (None, data.heldout, data.heldout_labels))
    parts = [
        _evaluator(subject, directory, labels, asked=asked, only=only)
        for only, directory, labels in sets
    ]
    return Evaluation(parts), subject.title


def _evaluator(
    subject: _Subject,
    directory: str,
    named: Mapping[str, str],
    *,
    asked: Asked,
    only: str | None,
) -> Evaluator:
    """The evaluator of one set of examples and the families of these names."""
    examples = open_examples(directory)
    vocab_size = _vocab_size(examples, subject)
    families = {
        name: open_family(name, path, examples, vocab_size=vocab_size)
        for name, path in named.items()
    }
    if asked.examples is None:
        compared = _compared(families, subject)
    else:
        _check_labels(families, asked)
        compared = {
            comparison: projection
            for name, layer in asked.layers.items()
            for comparison, projection in [_comparison(families[name], layer, subject)]
        }
    return Evaluator(
        subject.predictor,
        examples,
        vocab_size=vocab_size,
        families=families,
        comparisons=tuple(compared),
        projections={c.name: made for c, made in compared.items() if made is not None},
        terms=subject.terms,
        only=only,
        batch_rows=asked.batch_rows,
    )


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
        return _of_model(loaded.model, loaded.plan, loaded.title)
    recipe, state, model = load_run(asked.model, which="best" if asked.best else "result")
    plan = plan_of(state, where=asked.model)
    return _of_model(
        model,
        plan,
        f"{asked.model} after step {state.progressed.step}",
        run=RunProjections(
            recipe=recipe, student=plan.facts, tensors=state.tensors, where=asked.model
        ),
    )


def _of_model(
    model: Any, plan: StudentPlan, title: str, *, run: RunProjections | None = None
) -> _Subject:
    shape = plan.architecture
    return _Subject(
        predictor=ModelPredictor(model, plan),
        title=title,
        vocab_size=int(shape.vocab_size),
        hidden_dim=shape.hidden_dim,
        num_layers=shape.num_layers,
        max_positions=shape.max_positions,
        run=run,
    )


def _vocab_size(examples: Dataset, subject: _Subject) -> int:
    """V; refuses examples that the model cannot read."""
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
        wanted: Any = (SparseSignal, FinalSignal, TaskSignal)
        if name in asked.layers:
            wanted = HiddenSignal
        if not isinstance(family.signal, wanted):
            kinds = "hidden" if wanted is HiddenSignal else "sparse, final or task"
            raise UsageError(
                f"{option}{asked.families[name]} holds a {family.signal.kind} signal; expected a "
                f"{kinds} one"
            )


def _compared(
    families: Mapping[str, Family], subject: _Subject
) -> dict[Comparison, Projection | None]:
    """The layers that the run itself compares, each with its map."""
    assert subject.run is not None
    maps = {
        (index, name): subject.run.of_term(index, families[name])
        for index, term in enumerate(subject.terms)
        for name in term.signals
        if isinstance(term, HiddenTerm) and name in families
    }
    widths = {i: families[name].hidden_dim for (i, name), made in maps.items() if made is not None}
    comparisons = compared_layers(
        subject.terms, families, hidden_dim=subject.hidden_dim, widths=widths
    )
    return {c: None if c.term is None else maps[c.term, c.family] for c in comparisons}


def _comparison(
    family: Family, layer: int, subject: _Subject
) -> tuple[Comparison, Projection | None]:
    """A layer of the model against a family, through the run's projection of it where one fits."""
    option = f"--hidden {layer}={family.dataset.directory}"
    if layer > subject.num_layers:
        raise UsageError(f"{option}: the model has {subject.num_layers} layers")
    fitting = {} if subject.run is None else subject.run.fitting(layer, family)
    if len({made.name for made in fitting.values()}) > 1:
        raise UsageError(
            f"{option}: several terms of the run project layer {layer} to {family.hidden_dim}; "
            "leave --examples out to see what the run itself compares"
        )
    if not fitting and family.hidden_dim != subject.hidden_dim:
        raise UsageError(
            f"{option}: it is {family.hidden_dim} wide and the model {subject.hidden_dim}, and no "
            "projection from this layer was trained"
        )
    index, made = next(iter(fitting.items()), (None, None))
    name = layer_name(family.name, layer)
    return Comparison(name=name, family=family.name, layer=layer, term=index), made


def _plain(title: str, scores: Scores) -> dict[str, Any]:
    return {
        "model": title,
        "positions": scores.positions,
        "accuracy": _known(scores.accuracy),
        "cross_entropy": _known(scores.cross_entropy),
        "kl_to_teacher": _known(scores.kl),
        "cosines": {name: _known(value) for name, value in scores.cosines.items()},
        "metrics": {name: _known(value) for name, value in scores.values.items()},
        "counts": dict(scores.counts),
    }


def _known(value: float | None) -> float | None:
    """A number that JSON has, or None."""
    return value if value is not None and math.isfinite(value) else None


def _lines(title: str, scores: Scores) -> list[str]:
    lines = [f"{'model':<14} {title}", f"{scores.unit:<14} {scores.positions:,}"]
    for name, value in scores.values.items():
        if name.startswith("cosine_"):
            part = name.removeprefix("cosine_")
            lines.append(f"cosine         {value:.4f} {part}, {scores.counts[part]:,} positions")
            continue
        words = name.replace("cross_entropy", "cross-entropy").replace("_", " ")
        base = name.split("_")[0]
        line = (
            f"{words.replace('kl', 'KL to teacher', 1) if base == 'kl' else words:<14} {value:.4f}"
        )
        if base in ("kl", "cross"):
            line += " nats"
        if base == "kl":
            line += _part(scores.counts[name], scores.positions)
        lines.append(line)
    return lines


def _part(count: int, whole: int) -> str:
    return "" if count == whole else f", over the {count:,} that the family labels"
