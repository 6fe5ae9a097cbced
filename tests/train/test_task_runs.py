"""Students of other heads as people run them: train, evaluate, predict, export."""

import json

import pytest

from tests.train.conftest import ARCHITECTURE, WORDS
from tests.train.kinds import write_kind
from tests.train.students.test_student_plan import DECODER

transformers = pytest.importorskip("transformers")

HEADS = {
    "masked_lm": {"kind": "masked_lm"},
    "topic": {"kind": "classification"},
    "words": {"kind": "tagging"},
}


def with_tokenizer(toy):
    """A tokenizer beside the examples, where `export` and `predict` look for it."""
    (toy.root / "tokenizer").mkdir()
    (toy.root / "tokenizer" / "vocab.txt").write_text("\n".join(WORDS) + "\n")


def several(toy):
    """A recipe of two tasks and a masked LM, each with a corpus and held-out rows of its own."""
    toy.examples("text")
    for kind in ("classification", "tagging"):
        write_kind(toy, kind)
    where = {name: str(toy.root / name) for name in ("text", "classification", "tagging")}
    training = {"steps": 4, "evaluate_every": 2, "checkpoint_every": 2}
    plain = toy.recipe(training={**training, "best_metric": "accuracy_topic"})
    plain["data"] = {
        "corpora": [{"name": name, "examples": path} for name, path in where.items()],
        "heldout": where["text"],
        "heldout_tasks": {
            "topic": {"examples": where["classification"]},
            "words": {"examples": where["tagging"]},
        },
    }
    plain["model"] = {"architecture": dict(ARCHITECTURE), "heads": HEADS}
    plain["objective"] = [{"loss": "mlm", "corpus": "text"}, {"loss": "class"}, {"loss": "tag"}]
    return plain


@pytest.mark.slow
def test_student_of_several_heads_trains_evaluates_predicts_and_exports(toy, inside):
    with_tokenizer(toy)
    recipe, run = toy.write(several(toy)), toy.root / "run"
    done = inside("run", recipe, "--run-dir", run)
    assert done.returncode == 0, done.stderr
    title = "masked LM, topic: classification (3), words: tagging (3)"
    assert title in done.stdout and "accuracy_topic" in done.stdout
    done = inside("evaluate", run, "--json", toy.root / "scores.json")
    assert done.returncode == 0, done.stderr
    whole = json.loads((toy.root / "scores.json").read_text())["metrics"]
    done = inside("predict", run, "a5 a6")
    assert done.returncode == 0 and "words: a5/" in done.stdout, done.stderr
    done = inside("export", run, "--out", toy.root / "none")
    assert done.returncode == 2 and "--head is missing" in done.stderr
    done = inside("export", run, "--out", toy.root / "words", "--head", "words")
    assert done.returncode == 0, done.stderr
    model, info = transformers.AutoModelForTokenClassification.from_pretrained(
        toy.root / "words", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model.config.id2label == {0: "no", 1: "yes", 2: "perhaps"}
    folder, examples = toy.root / "words", toy.root / "tagging"
    done = inside("evaluate", folder, "--examples", examples, "--json", toy.root / "alone.json")
    alone = json.loads((toy.root / "alone.json").read_text())["metrics"]
    assert alone["cross_entropy"] == pytest.approx(whole["cross_entropy_words"], rel=1e-6)


def test_causal_lm_trains_and_says_what_comes_next(toy, inside):
    with_tokenizer(toy)
    write_kind(toy, "clm")
    plain = toy.recipe(objective=[{"loss": "clm"}])
    plain["data"] = {"examples": str(toy.root / "clm"), "heldout": str(toy.root / "clm")}
    plain["model"] = {"decoder": DECODER, "head": "causal_lm"}
    done = inside("run", toy.write(plain), "--run-dir", toy.root / "run")
    assert done.returncode == 0 and "perplexity" in done.stdout, done.stderr
    done = inside("predict", toy.root / "run", "a5 a6", "--top", "3")
    assert done.returncode == 0 and len(done.stdout.splitlines()[1].split("  ")) == 4, done.stderr
