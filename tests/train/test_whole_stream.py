"""Runs that use everything the stream can do, from the recipe to the last checkpoint."""

import numpy as np
import pytest

from limbeck.config import yaml_file
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from limbeck.runs import read_metrics
from tests.train.kinds import write_kind
from train.checkpoints import checkpoint
from train.inputs import open_inputs
from train.ledger import audit
from train.loop import train
from train.recipe import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("deterministic")]


def run(toy, plain, name):
    recipe = yaml_file.from_plain(Recipe, plain, "recipe")
    return recipe, train(recipe, toy.root / name, say=lambda line: None)


def losses(toy, name):
    lines = read_metrics(toy.root / name / "metrics.jsonl")
    return [line["train/loss"] for line in lines if "train/loss" in line]


def test_mixture_with_a_partial_family_in_two_levels_and_a_damaged_row(toy):
    toy.sparse(toy.examples())
    toy.examples("more", num_rows=25, seed=4, page=1000)
    toy.sparse(toy.root / "more", "more-top", records=0.5)
    corpora = [
        {"name": "a", "examples": "examples", "labels": {"top": "top"}},
        {"name": "b", "examples": "more", "labels": {"top": "more-top"}},
    ]
    for corpus in corpora:
        corpus["examples"] = str(toy.root / corpus["examples"])
        corpus["labels"] = {"top": str(toy.root / corpus["labels"]["top"])}
    plain = toy.recipe(
        data={
            "examples": None,
            "corpora": corpora,
            "on_bad_record": "quarantine",
            "max_quarantined": 0.5,
            "reading": "mapped",
        },
        objective=[{"loss": "kl", "signal": "top"}, {"loss": "mlm"}],
        training={
            "order": "two_level",
            "order_block": 8,
            "order_window": 3,
            "reader_threads": 3,
            "prefetch": 5,
        },
    )
    recipe, result = run(toy, plain, "sound")
    assert result.finished
    source = open_inputs(recipe).source(World(), ("masked",))
    assert audit(toy.root / "sound" / "ledger.jsonl", source) == 6

    dataset = open_dataset(toy.root / "examples")
    rows = [row for row in source.global_rows(14).rows.tolist() if row < 40]
    row = next(r for r in rows if dataset.read(np.array([r]))["num_masked"][0])
    place = dataset.place(row)
    with open(place.path, "r+b") as file:
        file.seek(place.offset + 40)
        file.write(b"\xff\xff")
    run(toy, plain, "damaged")
    sound, damaged = losses(toy, "sound"), losses(toy, "damaged")
    assert damaged[:2] == sound[:2] and damaged[2] != sound[2]  # the third step had the row
    ledger = (toy.root / "damaged" / "ledger.jsonl").read_bytes()
    assert ledger == (toy.root / "sound" / "ledger.jsonl").read_bytes()  # no other batch moved
    notes = (toy.root / "damaged" / "quarantine.jsonl").read_bytes()
    assert len(notes.splitlines()) == 1

    # Resumed from step 3: the same files, the same weights.
    newest = checkpoint.list_checkpoints(toy.root / "damaged" / "checkpoints")[0]
    bytes_of_newest = newest.read_bytes()
    newest.unlink()
    run(toy, plain, "damaged")
    assert newest.read_bytes() == bytes_of_newest
    assert (toy.root / "damaged" / "quarantine.jsonl").read_bytes() == notes


def test_dynamic_masking_trains(toy):
    toy.examples("plain", masked=False)
    data = {
        "examples": str(toy.root / "plain"),
        "masking": {"tokenizer": str(toy.tokenizer()), "rate": 0.3},
    }
    _, result = run(toy, toy.recipe(data=data, training={"steps": 12}), "run")
    assert result.finished
    values = losses(toy, "run")
    assert np.isfinite(values).all() and len(values) == 12


def test_text_and_tasks_of_their_own_corpora_train_together_and_resume_to_the_same_bytes(toy):
    toy.sparse(toy.examples())
    for kind in ("classification", "tagging"):
        write_kind(toy, kind)
    write_kind(toy, "classification", "heldout", seed=8)
    corpora = [
        {
            "name": "text",
            "examples": str(toy.root / "examples"),
            "labels": {"top": str(toy.root / "top")},
        },
        {"name": "topics", "examples": str(toy.root / "classification")},
        {"name": "tags", "examples": str(toy.root / "tagging")},
    ]
    plain = toy.recipe(
        data={
            "examples": None,
            "corpora": corpora,
            "sampling_exponent": 0.5,
            "heldout_tasks": {"topic": {"examples": str(toy.root / "heldout")}},
        },
        model={
            "heads": {
                "masked_lm": {"kind": "masked_lm"},
                "topic": {"kind": "classification"},
                "tag": {"kind": "tagging"},
            }
        },
        objective=[
            {"loss": "kl", "signal": "top"},
            {"loss": "mlm"},
            {"loss": "class"},
            {"loss": "tag"},
        ],
        training={
            "global_batch": 12,
            "evaluate_every": 3,
            "best_metric": "cross_entropy_topic",
        },
    )
    recipe, result = run(toy, plain, "mixed")
    assert result.finished and np.isfinite(losses(toy, "mixed")).all()
    source = open_inputs(recipe).source(World(), ("masked",))
    assert audit(toy.root / "mixed" / "ledger.jsonl", source) == 6
    lines = read_metrics(toy.root / "mixed" / "metrics.jsonl")
    assert sum(any(name.startswith("eval/") for name in line) for line in lines) == 2
    newest = checkpoint.list_checkpoints(toy.root / "mixed" / "checkpoints")[0]
    bytes_of_newest = newest.read_bytes()
    newest.unlink()
    run(toy, plain, "mixed")
    assert newest.read_bytes() == bytes_of_newest
