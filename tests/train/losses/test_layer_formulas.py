"""Terms on several layers through an objective: values and gradients against PyTorch's autograd."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import HiddenSignal
from train.objective import Outputs, bind
from train.recipe import make_term

torch = pytest.importorskip("torch")

# m rows, T tokens, D width of both models
LENGTHS = (4, 2, 3)
M, T, D = len(LENGTHS), 5, 6
LAYERS = (0, 1, 2)
NAMES = ("low", "mid", "high")
WHERE = [(row, token) for row in range(M) for token in range(LENGTHS[row])]


class FakeFamily:
    """All that `bind` looks at."""

    signal = HiddenSignal(layer=1)
    fitted = Fitted(signal=signal)
    list_name = "all"
    hidden_dim = D


def drawn(seed, shape, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.fixture(scope="module")
def states():
    """The student's layers, and the teacher's at real tokens as stored: float16, NaN behind."""
    student = {layer: drawn(layer, (M, T, D)) for layer in LAYERS}
    padding = np.full((3, D), np.nan, np.float16)
    teacher = {
        name: np.concatenate([drawn(10 + i, (len(WHERE), D), np.float16), padding])
        for i, name in enumerate(NAMES)
    }
    return student, teacher


def ours(states, term, count):
    """The term's mean and its gradients, of a batch in one piece."""
    student, teacher = states
    objective = bind([term], dict.fromkeys(NAMES, FakeFamily()), global_batch=M)
    index = [row * T + token for row, token in WHERE]
    batch = {
        "ids": tf.zeros((M, T), tf.int32),
        "places": tf.range(M),
        "items": {
            "all": {
                "index": tf.constant([*index, 0, 0, 0], tf.int32),
                "valid": tf.constant([True] * len(index) + [False] * 3),
            }
        },
        "teacher": {name: {"states": tf.constant(t)} for name, t in teacher.items()},
    }
    layers = {layer: tf.constant(s) for layer, s in student.items()}
    with tf.GradientTape() as tape:
        tape.watch(layers)
        outputs = {"fed": Outputs(hidden=layers)}
        totals = [t.numpy() for t in objective.statistics(outputs, batch, {})]
        settled = [tf.constant(s) for s in objective.settle(totals, np.array([count]))]
        mean = objective.sums(outputs, batch, {}, settled)[0] / count
    gradients = tape.gradient(mean, layers, unconnected_gradients="zero")
    return float(mean), {k: tf.convert_to_tensor(g).numpy() for k, g in gradients.items()}


def theirs(states, scalar):
    """The same by autograd in float64; `scalar` gets the layers and the teacher's rows."""
    student, teacher = states
    layers = {
        k: torch.tensor(s, dtype=torch.float64, requires_grad=True) for k, s in student.items()
    }
    rows = {}
    for name, stored in teacher.items():
        split = np.split(stored[: len(WHERE)].astype(np.float64), np.cumsum(LENGTHS)[:-1])
        rows[name] = [torch.tensor(row) for row in split]
    value = scalar(layers, rows)
    value.backward()
    return value.item(), {
        k: np.zeros((M, T, D)) if x.grad is None else x.grad.numpy() for k, x in layers.items()
    }


# Float32 sums of some hundred products against float64.
def agree(got, expected):
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    scale = max(np.abs(g).max() for g in expected[1].values())
    for layer in LAYERS:
        np.testing.assert_allclose(got[1][layer], expected[1][layer], atol=1e-5 * scale)
    assert all(not got[1][layer][1, 2:].any() for layer in LAYERS)  # padding


def test_emd_is_the_cheapest_of_all_plans_and_its_gradient_takes_it_as_constant(states):
    def scalar(layers, rows):
        costs = [
            [
                sum(((layers[i][b, :n] - rows[name][b]) ** 2).sum() for b, n in enumerate(LENGTHS))
                / (len(WHERE) * D)
                for name in NAMES
            ]
            for i in LAYERS
        ]
        plans = [
            sum(costs[i][j] for i, j in enumerate(order)) / 3
            for order in itertools.permutations(range(3))
        ]
        return min(plans, key=lambda cost: cost.item())

    term = make_term("emd", signals=NAMES, student_layers=LAYERS)
    agree(ours(states, term, len(WHERE)), theirs(states, scalar))


def test_mmd_is_the_mean_over_pairs_of_tokens(states):
    pairs = sum(n * n for n in LENGTHS)

    def scalar(layers, rows):
        total = 0.0
        for b, n in enumerate(LENGTHS):
            student = layers[0][b, :n] @ layers[2][b, :n].T
            total += (((student - rows["low"][b] @ rows["high"][b].T) / D) ** 2).sum()
        return total / pairs

    term = make_term("mmd", signals=("low", "high"), student_layers=(0, 2))
    agree(ours(states, term, pairs), theirs(states, scalar))


def test_fsp_of_a_layer_with_itself_is_the_mean_over_rows(states):
    def scalar(layers, rows):
        total = 0.0
        for b, n in enumerate(LENGTHS):
            s, t = layers[1][b, :n], rows["mid"][b]
            total += (((s.T @ s - t.T @ t) / n) ** 2).mean()
        return total / M

    term = make_term("fsp", signals=("mid", "mid"), student_layers=(1, 1))
    agree(ours(states, term, M), theirs(states, scalar))


def test_contrastive_is_the_cross_entropy_of_the_own_row(states):
    def scalar(layers, rows):
        normalize = torch.nn.functional.normalize
        keys = normalize(torch.stack([row[0] for row in rows["high"]]), dim=-1)
        logits = normalize(layers[2][:, 0], dim=-1) @ keys.T / 0.07
        return torch.nn.functional.cross_entropy(logits, torch.arange(M))

    term = make_term("contrastive", signal="high", student_layer=2)
    agree(ours(states, term, M), theirs(states, scalar))


def test_first_positions_of_one_layer_are_the_mean_over_rows(states):
    def scalar(layers, rows):
        normalize = torch.nn.functional.normalize
        keys = normalize(torch.stack([row[0] for row in rows["low"]]), dim=-1)
        return ((normalize(layers[1][:, 0], dim=-1) - keys) ** 2).sum(-1).mean()

    term = make_term("pkd", signal="low", student_layer=1, positions="first")
    agree(ours(states, term, M), theirs(states, scalar))
