"""Several corpora of toy examples, with families or tasks of their own, and recipes on them."""

from limbeck.config import yaml_file
from tests.train.kinds import write_kind
from train.inputs import open_inputs
from train.recipe import Recipe

MLM = {"loss": "mlm"}
KL = {"loss": "kl", "signal": "top"}
STATES = {"loss": "hidden_mse", "signal": "states", "student_layer": 1}
TASKS = {"classification": "class", "tagging": "tag", "regression": "regression"}


def opened(toy, **changes):
    return open_inputs(yaml_file.from_plain(Recipe, toy.recipe(**changes), "recipe"))


def mixture(**corpora):
    parts = [{"name": name, **part} for name, part in corpora.items()]
    return {"examples": None, "corpora": parts}


def write_corpora(toy):
    """40 rows with two families; 25 with one of them; three tasks of 20 rows."""
    toy.examples("more", num_rows=25, seed=4, page=1000)
    toy.hidden(toy.root / "examples", "narrow", dim=8)
    toy.hidden(toy.root / "more", "more-narrow", dim=8)
    for kind in TASKS:
        write_kind(toy, kind)
    write_kind(toy, "classification", "other-classes", num_labels=3, seed=9)
    return toy


def two(toy):
    return {
        "data": mixture(
            a={
                "examples": str(toy.root / "examples"),
                "labels": {"top": str(toy.root / "top"), "states": str(toy.root / "narrow")},
            },
            b={
                "examples": str(toy.root / "more"),
                "labels": {"states": str(toy.root / "more-narrow")},
            },
        ),
        "objective": [KL, MLM, STATES],
    }


def tasks(toy, *kinds, **more):
    """One corpus and one term and head a kind."""
    corpora = {kind: {"examples": str(toy.root / kind)} for kind in kinds}
    heads = {kind: {"kind": "tagging" if kind == "tagging" else "classification"} for kind in kinds}
    terms = [{"loss": TASKS[kind], "head": kind} for kind in kinds]
    return {
        "data": mixture(**corpora),
        "objective": terms,
        "model": {"heads": heads},
        **more,
    }
