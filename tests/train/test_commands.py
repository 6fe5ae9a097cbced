"""`python -m train ...`: help, mistakes and their one line, a whole tour in processes."""

import json
import os

import numpy as np
import pytest

from limbeck.runs import read_metrics

KL = {"loss": "kl", "signal": "top"}


def refused(done):
    """The message of a command that ended with exit code 2 and exactly one line."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_help_and_version(command, inside):
    listing = command("--help")
    assert listing.returncode == 0
    for verb in ("run", "evaluate", "predict", "export", "report"):
        assert verb in listing.stdout
        details = inside(verb, "--help")
        assert details.returncode == 0 and f"python -m train {verb}" in details.stdout
    assert "limbeck" in inside("--version").stdout
    assert inside().returncode == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"steps"', '"stesp"', "unknown key 'stesp' in training; did you mean 'steps'?"),
        ('"seed": 3,', '"seed": 3,\n "seed": 4,', "'seed'"),
    ],
)
def test_unknown_or_double_key_is_named_with_its_line(shared_toy, inside, old, new, message):
    text = json.dumps(shared_toy.recipe(), indent=1)
    assert old in text
    path = shared_toy.root / "bad.yaml"
    path.write_text(text.replace(old, new))
    line = refused(inside("run", path, "--run-dir", shared_toy.root / "bad"))
    where = path.read_text()[: path.read_text().index(new)].count("\n") + 1
    where += new.count("\n")
    assert line.startswith(f"train run: error: {path}:{where}: ") and message in line


def test_recipe_is_checked_before_its_data_are_there(shared_toy, inside):
    plain = shared_toy.distil(data={"examples": "nowhere", "labels": {"top": "a", "states": "b"}})
    path = shared_toy.write(plain, "early.yaml")
    done = inside("check", path)
    assert done.returncode == 0 and done.stdout == f"{path}: sound by itself: 6 steps\n"
    line = refused(inside("check", path, "--set", "training.stepz=3"))
    assert "unknown key 'stepz' in training; did you mean 'steps'?" in line


def test_mistakes_are_one_line_and_exit_code_2(shared_toy, inside):
    root = shared_toy.root
    lost = str(root / "lost")
    recipe = shared_toy.distil()
    recipe["data"]["labels"]["top"] = lost
    line = refused(inside("run", shared_toy.write(recipe), "--run-dir", root / "a"))
    assert f"{lost}: no such directory" in line
    line = refused(inside("run", lost, "--run-dir", root / "a"))
    assert f"{lost}: No such file" in line
    plain = shared_toy.write(shared_toy.recipe())
    line = refused(inside("run", plain, "--run-dir", root / "a", "--set", "training.steps=0"))
    assert "steps is 0" in line
    line = refused(inside("run", plain, "--run-dir", root / "examples"))
    assert "choose another" in line
    line = refused(inside("run", plain, "--run-dir", plain))
    assert str(plain) in line
    for arguments, message in (
        (["evaluate", "unigram", "--examples", lost], "go together"),
        (["evaluate", lost, "--examples", lost, "--batch-rows", "0"], "at least 1"),
        (["evaluate", lost, "--examples", lost], f"{lost}: no such directory"),
        (["evaluate", lost, "--examples", root / "examples"], f"{lost}: no such directory"),
        (["report", lost], f"{lost}: no such directory"),
        (["predict", lost, "a [MASK]"], f"{lost}: no such directory"),
        (["predict", root, "a [MASK]"], "not a model folder"),
        (["predict", root, "a [MASK]", "--json", root], "is a directory"),
        (["export", lost, "--out", root / "student"], f"{lost}: no such directory"),
    ):
        assert message in refused(inside(*arguments))
    assert not (root / "a").exists()


def test_other_recipe_for_the_same_directory_is_refused_with_the_differences(toy, inside):
    toy.examples()
    (toy.root / "run").mkdir()
    from limbeck.config import yaml_file
    from limbeck.runs import RunDirectory
    from train.recipe import Recipe

    recipe = yaml_file.from_plain(Recipe, toy.recipe(), "recipe")
    RunDirectory(toy.root / "run").take(yaml_file.to_plain(recipe))
    done = inside(
        *("run", toy.write(toy.recipe()), "--run-dir", toy.root / "run"),
        *("--set", "optimizer.learning_rate=0.5", "--set", "training.steps=7"),
    )
    line = refused(done)
    assert "optimizer.learning_rate is 0.01 there and 0.5 here" in line
    assert "training.steps is 6 there and 7 here" in line


@pytest.fixture
def tour(toy):
    """Examples with their tokenizer beside them."""
    root = toy.root
    toy.all_families()
    os.makedirs(root / "tokenizer")
    (root / "tokenizer" / "vocab.txt").write_text("\n".join(toy.words) + "\n")
    plain = toy.distil(training={"steps": 4, "evaluate_every": 2})
    plain["data"] |= {"heldout": str(root / "examples"), "heldout_labels": plain["data"]["labels"]}
    return toy, toy.write(plain)


def check_numbers(root, command, inside, said):
    """What a run of four steps printed is in metrics.jsonl, TensorBoard and the report."""
    lines = list(read_metrics(root / "run" / "metrics.jsonl"))
    losses = [line for line in lines if "train/loss" in line]
    for line in losses:  # each term before its weight and tau^2
        terms = [line[f"train/loss_{name}"] for name in ("kl", "mlm", "hidden_mse")]
        assert line["train/loss"] == pytest.approx(np.dot(terms, [0.5 * 4, 0.3, 0.1]), rel=1e-6)
    last = lines[-1]
    assert f"cosine states_layer1 {last['eval/cosine_states_layer1']:.4f} over" in said
    done = command("evaluate", root / "run", "--json", root / "scores.json")
    assert done.returncode == 0, done.stderr
    scores = json.loads((root / "scores.json").read_text())
    assert scores["kl_to_teacher"] == pytest.approx(last["eval/kl"], rel=1e-5)
    cosine = scores["cosines"]["states_layer1"]
    assert cosine == pytest.approx(last["eval/cosine_states_layer1"], abs=1e-6)
    assert scores["counts"]["states_layer1"] == last["eval/count_states_layer1"]

    done = inside("report", root / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("run    4/4  complete")
    page = (root / "run" / "report.html").read_text()
    assert all(f"train/loss_{name}" in page for name in ("kl", "mlm", "hidden_mse"))


def test_run_evaluate_predict_export(tour, command, inside):
    """Each verb that computes is a process once; what is asked of it again is not."""
    toy, recipe = tour
    root = toy.root
    done = command("run", recipe, "--run-dir", root / "run")
    assert done.returncode == 0, done.stderr
    assert "eval 2/4 accuracy" in done.stdout and "complete  all 4 steps" in done.stdout
    again = command("run", recipe, "--run-dir", root / "run")
    assert again.returncode == 0 and "complete, all 4 steps are done" in again.stdout

    check_numbers(root, command, inside, done.stdout)
    exported = command("export", root / "run", "--out", root / "student")
    assert exported.returncode == 0, exported.stderr
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        assert (root / "student" / name).is_file()

    scores = [
        inside("evaluate", model, "--examples", root / "examples", "--labels", root / "top")
        for model in (root / "run", root / "student")
    ]
    tables = [s.stdout.splitlines()[1:] for s in scores]
    assert tables[0] == tables[1] and "KL to teacher" in scores[0].stdout, scores[0].stderr

    settings = root / "student" / "tokenizer_config.json"
    cased = {**json.loads(settings.read_text()), "do_lower_case": False}
    cased.pop("limbeck", None)
    (root / "cased").mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (root / "cased" / name).symlink_to(root / "student" / name)
    (root / "cased" / settings.name).write_text(json.dumps(cased))
    line = refused(inside("evaluate", root / "cased", "--examples", root / "examples"))
    assert "equal ids would mean other words" in line

    predicted = command("predict", root / "student", "a7 a8 [MASK] a10", "--top", "3")
    assert predicted.returncode == 0, predicted.stderr
    text, guesses = predicted.stdout.splitlines()
    assert text == "a7 a8 [MASK] a10" and len(guesses.split()) == 6


def test_unigram_is_evaluated_without_a_model(tour, inside):
    toy, _ = tour
    examples = toy.root / "examples"
    done = inside("evaluate", "unigram", "--fit", examples, "--examples", examples)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("model          unigram of")
