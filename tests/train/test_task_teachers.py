"""Whole runs that learn heads of tasks from stored logits of a teacher's task head."""

import numpy as np
import pytest

from limbeck.config import UsageError, yaml_file
from limbeck.labels import codecs
from limbeck.labels.family import codec_settings
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import LabelDims, TaskSignal
from limbeck.records.dataset import open_dataset
from limbeck.records.keys import input_digest
from tests.train.conftest import S, V, num_positions, write_dataset
from tests.train.kinds import write_kind
from train.inputs import open_inputs
from train.loop import train
from train.recipe import Recipe

KINDS = {"classification": ("first", 3), "tagging": ("all", 3), "reading": ("all", 2)}


def write_task(toy, name, *, of, positions, num_labels, seed=0):
    """A task family of random logits beside the examples `of`."""
    dataset = open_dataset(toy.root / of)
    rows = dataset.read(np.arange(dataset.num_rows))
    fitted = Fitted(signal=TaskSignal(positions=positions))
    counts = num_positions(positions, rows)
    raw = np.random.default_rng(seed).normal(size=(counts.sum(), num_labels)).astype(np.float32)
    dims = LabelDims(seq_length=S, max_predictions=None, vocab_size=V, num_labels=num_labels)
    layout = fitted.signal.layout(dims)
    arrays = codecs.encode(fitted, {"logits": raw}, true_ids=None, draws=None)
    digest = input_digest(rows["ids"], rows["num_tokens"], rows["segment_split"])
    fields = codecs.to_records(fitted, arrays, counts, layout=layout)
    write_dataset(
        toy.root / name,
        {"key": rows["key"], "digest": digest, **fields},
        kind="labels",
        layout=layout,
        num_shards=len(dataset.shards),
        settings=codec_settings(fitted),
        parents={"examples": dataset.id},
        teacher={"fingerprint": "1" * 64, "vocab_size": V},
    )


@pytest.fixture(scope="module")
def toy(shared_toy):
    """Examples of three kinds, each with task families `a` and `b` of its own."""
    for kind, (positions, num_labels) in KINDS.items():
        write_kind(shared_toy, kind)
        for seed, name in enumerate("ab"):
            write_task(
                shared_toy,
                f"{kind}-{name}",
                of=kind,
                positions=positions,
                num_labels=num_labels,
                seed=seed,
            )
    return shared_toy


def recipe_of(toy, kind, head, objective, **model):
    names = {n for t in objective for n in [t.get("signal"), *t.get("signals", ())] if n}
    labels = {name: str(toy.root / f"{kind}-{name}") for name in sorted(names)}
    plain = toy.recipe(
        objective=objective,
        data={"examples": str(toy.root / kind), "labels": labels},
        model={"head": head, **model},
    )
    return yaml_file.from_plain(Recipe, plain, "recipe")


FLSW = {"schedule": "flsw", "temperature": 4, "beta": 2}
RUNS = [
    (
        "classification",
        "classification",
        [
            {"loss": "kl", "signals": ["a", "b"], "temperature": 8, "probability_shift": True},
            {"loss": "sigmoid_ce", "signal": "a"},
            {"loss": "class", "weight": 0.5},
        ],
    ),
    (
        "tagging",
        "tagging",
        [
            {"loss": "soft_ce", "signal": "a", "temperature": FLSW, "probability_shift": True},
            {"loss": "logit_mse", "signal": "b"},
        ],
    ),
    ("reading", "span", [{"loss": "span_kl", "signal": "a", "temperature": 2}]),
]


@pytest.mark.parametrize(("kind", "head", "objective"), RUNS)
def test_objective_trains(toy, kind, head, objective, tmp_path, deterministic):
    result = train(recipe_of(toy, kind, head, objective), tmp_path / "run", say=lambda line: None)
    assert result.finished and np.isfinite(result.loss) and result.loss > 0


@pytest.mark.parametrize(
    ("kind", "head", "block", "message"),
    [
        ("tagging", "classification", {"loss": "kl"}, "needs a .*tagging or span"),
        ("tagging", "masked_lm", {"loss": "kl"}, "needs a student with a tagging or span head"),
        ("reading", "span", {"loss": "kl"}, "take span_kl"),
    ],
)
def test_head_that_does_not_fit_is_refused_when_the_inputs_are_opened(
    toy, kind, head, block, message
):
    model = {"num_labels": 3} if head == "classification" else {}
    with pytest.raises(UsageError, match=rf"objective\[0\].*{message}"):
        open_inputs(recipe_of(toy, kind, head, [{**block, "signal": "a"}], **model))


def test_shift_beside_examples_without_such_labels_is_refused(toy):
    write_task(toy, "classification-t", of="classification", positions="all", num_labels=3)
    block = {"loss": "kl", "signal": "t", "probability_shift": True}
    with pytest.raises(UsageError, match=r"objective\[0\]: loss kl needs the field tags"):
        open_inputs(recipe_of(toy, "classification", "tagging", [block], num_labels=3))
