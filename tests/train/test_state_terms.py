"""Terms between states in a whole step: against the definition, cut into parts, over two ranks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from limbeck.config import yaml_file
from limbeck.ranks import World
from limbeck.runs import read_metrics
from train.inputs import open_inputs
from train.loop import train
from train.losses import transport_plan
from train.objective import bind
from train.recipe import Recipe
from train.step import TrainStep, to_tensors
from train.students.forward import forward
from train.students.student import build_student

ROOT = Path(__file__).resolve().parents[2]
B = 7
TAU = 0.2
MAP = {"projection": "linear"}
PAIR = {"signals": ["low", "high"], "student_layers": [1, 2]}
OBJECTIVE = [
    {"loss": "hidden_mse", "signal": "low", "student_layer": 1, "positions": "first", **MAP},
    {"loss": "pkd", "signal": "cls", "student_layer": 2, "projection": "linear_tanh"},
    {"loss": "mmd", **PAIR},
    {"loss": "mmd", "signals": ["some", "some"], "student_layers": [2, 2]},
    {"loss": "fsp", **PAIR, **MAP, "projection_name": "shared"},
    {"loss": "emd", "signals": ["low", "high"], "student_layers": [0, 1, 2], **MAP},
    {
        "loss": "contrastive",
        "signal": "cls",
        "student_layer": 2,
        "temperature": TAU,
        **MAP,
        "projection_name": "shared",
    },
    {"loss": "contrastive", "signal": "some", "student_layer": 1, "temperature": TAU, **MAP},
]


@pytest.fixture(scope="module")
def plain(shared_toy):
    examples = shared_toy.root / "examples"
    labels = {
        "low": shared_toy.hidden(examples, "low", layer=1),
        "high": shared_toy.hidden(examples, "high", layer=2),
        "cls": shared_toy.hidden(examples, "cls", positions="first"),
        "some": shared_toy.hidden(examples, "some", records=0.6, dim=6),
    }
    recipe = shared_toy.recipe(
        data={"labels": {name: str(directory) for name, directory in labels.items()}},
        objective=OBJECTIVE,
    )
    recipe["model"]["architecture"]["num_layers"] = 2
    return recipe


class Setup:
    """The compiled functions of one size of micro-batches, at step 5 of a run."""

    def __init__(self, plain, *, micro_batch):
        training = {**plain["training"], "micro_batch": micro_batch, "global_batch": B}
        recipe = yaml_file.from_plain(Recipe, {**plain, "training": training}, "recipe")
        inputs = open_inputs(recipe)
        self.objective = bind(recipe.objective, inputs.families, inputs.student, global_batch=B)
        self.source = inputs.source(World(), self.objective.lists)
        self.student = build_student(inputs)
        self.read()
        self.step = TrainStep(
            self.student,
            self.objective,
            recipe.optimizer,
            seed=recipe.seed,
            example=self.micro[0],
        )

    def read(self, *, size=1):
        """The micro-batches of all ranks, one after the other."""
        self.micro, self.counts = [], 0
        for rank in range(size):
            part = dataclasses.replace(self.source, world=World(rank=rank, size=size))
            batch = part.read(part.global_rows(B))
            self.micro += batch.micro
            self.counts = self.counts + self.objective.counts(batch.items)

    def gradients(self):
        tensors = [to_tensors(m) for m in self.micro]
        settled = self.step.settle(tensors, self.counts, step=5)
        factors = self.objective.factors(self.counts)
        return self.step.gradients(tensors, factors, step=5, settled=settled)


def flat(gradients):
    return np.concatenate([g.numpy().ravel() for g in gradients.grads])


@pytest.fixture(scope="module")
def whole(plain):
    setup = Setup(plain, micro_batch=None)
    return setup, setup.gradients()


@pytest.fixture(scope="module")
def parts(plain):
    return Setup(plain, micro_batch=2)


def unit(states):
    return states / np.sqrt((states**2).sum(-1, keepdims=True))


def first_tokens(rows):
    return np.stack([row[0] for row in rows])


class Rows:
    """A batch row by row, in float64, as the definitions want it."""

    def __init__(self, setup):
        tensors, self.batch = to_tensors(setup.micro[0]), setup.micro[0]
        # Without dropout, so that what is compared can be computed here.
        outputs = forward(setup.student, tensors, setup.objective, dropout=None)
        self.hidden = {k: v.numpy().astype(np.float64) for k, v in outputs["fed"].hidden.items()}
        self.bound = {b.name: b for b in setup.objective.terms}
        settled = setup.objective.statistics(outputs, tensors, setup.student.projections)
        settled = setup.objective.settle([s.numpy() for s in settled], setup.counts)
        sums = setup.objective.sums(outputs, tensors, setup.student.projections, settled)
        means = sums.numpy() / setup.counts
        self.means = dict(zip(setup.objective.names, means, strict=True))
        self.maps = setup.student.projections

    def teacher(self, name, list_name):
        """(rows, [(tokens, D) of each])."""
        items = self.batch["items"][list_name]
        rows = items["index"][items["valid"]] // self.batch["ids"].shape[1]
        states = self.batch["teacher"][name]["states"][items["valid"]].astype(np.float64)
        return np.unique(rows), [states[rows == row] for row in np.unique(rows)]

    def student(self, term, rows, place=0, layer=None):
        """[(tokens, D) of each row] of a layer, through a map."""
        number = self.bound[term].term.student_layers[place] if layer is None else layer
        states = [self.hidden[number][r, : self.batch["attention_mask"][r].sum()] for r in rows]
        names = self.bound[term].projections
        if not names:
            return states
        projection = self.maps[names[place]]
        kernel, bias = (v.numpy().astype(np.float64) for v in projection.variables.values())
        mapped = [x @ kernel + bias for x in states]
        return [np.tanh(x) for x in mapped] if "Tanh" in type(projection).__name__ else mapped


# Float32 through projections and sums of at most 7 * 16 tokens, against float64.
def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=2e-5)


@pytest.fixture(scope="module")
def rows(whole):
    return Rows(whole[0])


def test_first_positions_are_the_mean_over_rows(rows):
    at, teacher = rows.teacher("low", "all")
    s, t = first_tokens(rows.student("hidden_mse", at)), first_tokens(teacher)
    close(rows.means["hidden_mse"], ((s - t) ** 2).mean(-1).mean())
    assert len(at) == B


def test_pkd_on_first_states_is_the_mean_over_rows(rows):
    at, teacher = rows.teacher("cls", "first")
    s, t = first_tokens(rows.student("pkd", at)), first_tokens(teacher)
    close(rows.means["pkd"], ((unit(s) - unit(t)) ** 2).sum(-1).mean())


@pytest.mark.parametrize(
    ("term", "families", "list_name"),
    [("mmd", ("low", "high"), "all"), ("mmd_2", ("some", "some"), "all of some")],
)
def test_mmd_is_the_mean_over_pairs_of_real_tokens(rows, term, families, list_name):
    at, first = rows.teacher(families[0], list_name)
    _, second = rows.teacher(families[1], list_name)
    total = pairs = 0.0
    for x, y, u, v in zip(
        rows.student(term, at), rows.student(term, at, 1), first, second, strict=True
    ):
        total += ((x @ y.T / x.shape[1] - u @ v.T / u.shape[1]) ** 2).sum()
        pairs += len(x) ** 2
    close(rows.means[term], total / pairs)
    assert term == "mmd" or 0 < len(at) < B  # a partial family


def test_fsp_is_the_mean_over_rows(rows):
    at, low = rows.teacher("low", "all")
    _, high = rows.teacher("high", "all")
    values = [
        ((x.T @ y / len(x) - u.T @ v / len(u)) ** 2).mean()
        for x, y, u, v in zip(
            rows.student("fsp", at), rows.student("fsp", at, 1), low, high, strict=True
        )
    ]
    close(rows.means["fsp"], np.mean(values))


def test_emd_is_the_cheapest_plan_of_the_mean_costs(rows):
    at, low = rows.teacher("low", "all")
    _, high = rows.teacher("high", "all")
    costs = np.zeros((3, 2))
    for i in range(3):
        student = np.concatenate(rows.student("emd", at, i))
        for j, teacher in enumerate((low, high)):
            costs[i, j] = ((student - np.concatenate(teacher)) ** 2).mean()
    # 1/3 of weight a layer of the student, 1/2 a layer of the teacher: one of them is split.
    plans = [transport_plan(costs), np.array([[2, 0], [1, 1], [0, 2]]) / 6]
    close(rows.means["emd"], (plans[0] * costs).sum())
    assert (plans[0] * costs).sum() <= (plans[1] * costs).sum()


@pytest.mark.parametrize(
    ("term", "family", "list_name"),
    [("contrastive", "cls", "first"), ("contrastive_2", "some", "all of some")],
)
def test_contrastive_tells_the_rows_of_the_batch_apart(rows, term, family, list_name):
    at, teacher = rows.teacher(family, list_name)
    s, t = first_tokens(rows.student(term, at)), first_tokens(teacher)
    logits = unit(s) @ unit(t).T / TAU
    expected = np.log(np.exp(logits).sum(1)) - logits.diagonal()
    close(rows.means[term], expected.mean())


# 7 rows in twos: one row of padding; on 3 ranks of 3, 2 and 2 rows, micro-batches of padding.
@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_cut_of_a_batch_gives_its_gradient(whole, parts, size):
    setup, expected = whole
    parts.read(size=size)
    np.testing.assert_array_equal(setup.counts, parts.counts)
    got = parts.gradients()
    np.testing.assert_allclose(got.sums, expected.sums, rtol=1e-5)
    a, b = flat(expected), flat(got)
    assert np.abs(a - b).max() <= 2e-6 * np.abs(a).max()


def test_nan_at_entries_that_do_not_count_reaches_nothing(parts):
    parts.read()
    expected = parts.gradients()
    lists = {"low": "all", "high": "all", "cls": "first", "some": "all of some"}
    for micro in parts.micro:
        for family, name in lists.items():
            padding = ~micro["items"][name]["valid"]
            micro["teacher"][family]["states"][padding] = np.nan
    got = parts.gradients()
    np.testing.assert_array_equal(flat(got), flat(expected))
    np.testing.assert_array_equal(got.sums, expected.sums)
    assert np.isfinite(flat(got)).all() and np.isfinite(got.sums).all()


def test_maps_are_shared_by_name_and_one_a_layer_otherwise(whole):
    assert list(whole[0].student.projections) == [
        "0_hidden_mse",
        "1_pkd",
        "shared",
        "5_emd_layer0",
        "5_emd_layer1",
        "5_emd_layer2",
        "7_contrastive_2",
    ]


@pytest.mark.ranks(2)
@pytest.mark.slow
def test_two_ranks_train_as_one(shared_toy, plain, mpirun, deterministic):
    terms = [OBJECTIVE[5], OBJECTIVE[7]]  # emd, and contrastive on a partial family
    labels = {name: plain["data"]["labels"][name] for name in ("low", "high", "some")}
    few = {**plain, "objective": terms, "data": {**plain["data"], "labels": labels}}
    few["training"] = {**plain["training"], "steps": 3}
    path, root = shared_toy.write(few, "states.yaml"), shared_toy.root
    line = ["-m", "train", "run", str(path), "--run-dir", str(root / "two")]
    mpirun(2, line, timeout_s=300, cwd=ROOT)
    train(yaml_file.load(path, Recipe), root / "one", say=lambda line: None)
    one, two = (
        [
            [value for key, value in sorted(line.items()) if key.startswith("train/loss")]
            for line in read_metrics(root / name / "metrics.jsonl")
            if "train/loss" in line
        ]
        for name in ("one", "two")
    )
    assert np.shape(one) == (3, 3)
    # Adam goes by the signs of gradients and lets rounding grow over the steps.
    np.testing.assert_allclose(two, one, rtol=1e-4)
