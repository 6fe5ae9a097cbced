"""The optimisers against PyTorch's and against the papers in float64, at the shapes of a model."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config.errors import UsageError
from train.recipe import Optimizer
from train.updates.optimizers import AdamFamily, variable_groups

STEPS = 40
SHAPES = {
    "model/encoder/embeddings/token": (11, 4),
    "model/encoder/layer_0/attention/query/kernel": (4, 4),
    "model/encoder/layer_0/attention/query/bias": (4,),
    "model/encoder/layer_1/feed_forward/inner/kernel": (4, 8),
    "model/head/norm/gamma": (4,),
    "projection/0_hidden_mse/kernel": (4, 6),
}
DIMENSIONS = {name: len(shape) for name, shape in SHAPES.items()}


def start():
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(shape) * 0.1 for name, shape in SHAPES.items()}


def gradients():
    """Of 40 steps; magnitudes from 1e-9 to 1, zeros among them, most signs equal."""
    rng = np.random.default_rng(2)
    for _ in range(STEPS):
        yield [
            rng.normal(0.5, 1.0, shape) * 10.0 ** rng.uniform(-9, 0) * (rng.random(shape) > 0.1)
            for shape in SHAPES.values()
        ]


def rate_at(step):
    return 0.01 * (1 + step % 7)


def ours(settings):
    import keras

    values = start()
    variables = {n: keras.Variable(v.astype(np.float32), name="v") for n, v in values.items()}
    optimizer = AdamFamily(settings, variables)
    update = tf.function(optimizer.apply, jit_compile=True)
    for step, grads in enumerate(gradients()):
        update([tf.constant(g, tf.float32) for g in grads], tf.constant(rate_at(step), tf.float32))
    assert optimizer.num_applied == STEPS
    return [v.numpy() for v in variables.values()]


def paper(settings, groups):
    """The formulas of the papers, in float64 and in their order."""
    weights = list(start().values())
    means, squares = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step, grads in enumerate(gradients()):
        t = step + 1
        for i, g in enumerate(grads):
            means[i] = settings.beta_1 * means[i] + (1 - settings.beta_1) * g
            squares[i] = settings.beta_2 * squares[i] + (1 - settings.beta_2) * g**2
            mean, square = means[i], squares[i]
            if settings.bias_correction:
                mean = mean / (1 - settings.beta_1**t)
                square = square / (1 - settings.beta_2**t)
            r = mean / (np.sqrt(square) + settings.epsilon)
            rate = rate_at(step) * groups[i].rate
            if groups[i].decays:
                r = r + settings.decoupled_decay * weights[i]
                if settings.algorithm == "lamb":
                    w_norm, r_norm = np.linalg.norm(weights[i]), np.linalg.norm(r)
                    rate *= w_norm / r_norm if w_norm > 0 and r_norm > 0 else 1.0
            weights[i] = weights[i] - rate * r
    return weights


# float32 against float64 over 40 updates of up to 0.07 each: a few times 40 * 2^-24 * 1.
TOLERANCE = {"rtol": 2e-5, "atol": 1e-5}


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("algorithm", ["adamw", "adam", "lamb"])
def test_updates_are_those_of_the_paper_in_float64(algorithm, bias_correction):
    settings = Optimizer(
        algorithm=algorithm,
        learning_rate=1.0,
        bias_correction=bias_correction,
        weight_decay=None if algorithm == "adam" else 0.1,
        layer_decay=0.5,
        projection_rate=3.0,
    )
    groups = list(variable_groups(settings, DIMENSIONS).values())
    for got, expected in zip(ours(settings), paper(settings, groups), strict=True):
        np.testing.assert_allclose(got, expected, **TOLERANCE)


@pytest.mark.parametrize(("algorithm", "decay"), [("adamw", 0.1), ("adam", 0.0)])
def test_updates_are_those_of_pytorch(algorithm, decay):
    torch = pytest.importorskip("torch")
    settings = Optimizer(algorithm=algorithm, learning_rate=1.0, weight_decay=decay, epsilon=1e-8)
    weights = [torch.nn.Parameter(torch.tensor(w, dtype=torch.float32)) for w in start().values()]
    matrices = [w for w in weights if w.ndim > 1]
    vectors = [w for w in weights if w.ndim == 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if algorithm == "adamw" else torch.optim.Adam
    theirs = kind(groups, lr=1.0, betas=(0.9, 0.999), eps=1e-8)
    for step, grads in enumerate(gradients()):
        for weight, gradient in zip(weights, grads, strict=True):
            weight.grad = torch.tensor(gradient, dtype=torch.float32)
        for group in theirs.param_groups:
            group["lr"] = rate_at(step)
        theirs.step()
    for got, expected in zip(ours(settings), weights, strict=True):
        np.testing.assert_allclose(got, expected.detach().numpy(), **TOLERANCE)


def test_first_update_can_be_computed_by_hand():
    """Corrected, u is sign(g); uncorrected, (1 - b1) g / (sqrt(1 - b2) |g|)."""
    import keras

    for corrected, size in ((True, 1.0), (False, 0.1 / 0.001**0.5)):
        kernel, bias = keras.Variable([[2.0, -2.0]]), keras.Variable([4.0])
        settings = Optimizer(
            learning_rate=0.1, weight_decay=0.5, epsilon=1e-12, bias_correction=corrected
        )
        optimizer = AdamFamily(settings, {"model/kernel": kernel, "model/bias": bias})
        optimizer.apply([tf.constant([[0.3, -7.0]]), tf.constant([1e-3])], 0.1)
        decayed = 2 - 0.1 * size - 0.1 * 0.5 * 2
        np.testing.assert_allclose(kernel, [[decayed, -decayed]], rtol=1e-5)
        np.testing.assert_allclose(bias, [4 - 0.1 * size], rtol=1e-5)


def test_lamb_of_a_weight_or_a_direction_of_zeros_is_adam():
    import keras

    kernel, other = (keras.Variable(np.full((2, 2), value, np.float32)) for value in (0, 1))
    settings = Optimizer(algorithm="lamb", learning_rate=0.1, weight_decay=0.0, epsilon=1e-12)
    optimizer = AdamFamily(settings, {"model/a": kernel, "model/b": other})
    optimizer.apply([tf.ones((2, 2)), tf.zeros((2, 2))], 0.1)
    np.testing.assert_allclose(kernel, np.full((2, 2), -0.1), rtol=1e-6)
    np.testing.assert_array_equal(other, np.ones((2, 2)))


def test_groups_follow_names():
    settings = Optimizer(
        learning_rate=1.0, layer_decay=0.5, projection_rate=3.0, no_decay=("encoder/embeddings/",)
    )
    groups = variable_groups(settings, DIMENSIONS)
    assert [(group.rate, group.decays) for group in groups.values()] == [
        (0.25, False),  # below both layers, and spared
        (0.5, True),
        (0.5, False),  # a bias
        (1.0, True),
        (1.0, False),  # a norm of the head, above all layers
        (3.0, True),
    ]


@pytest.mark.parametrize("pattern", ["encoder/embed", "encoder/layer_2", "token"])
def test_no_decay_of_what_is_not_there_is_refused(pattern):
    settings = Optimizer(learning_rate=1.0, no_decay=(pattern,))
    with pytest.raises(UsageError, match=f"optimizer.no_decay: no trained .*{pattern!r}"):
        variable_groups(settings, DIMENSIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "adam", "weight_decay": 0.1}, "adam has no weight_decay"),
        ({"algorithm": "adam", "no_decay": ("x",)}, "no_decay has no effect"),
        ({"weight_decay": 0.0, "no_decay": ("x",)}, "no_decay has no effect"),
        ({"decay_power": 2.0}, "decay_power has no effect: decay is linear"),
        ({"decay": "constant", "final_rate": 0.1}, "final_rate has no effect"),
        ({"final_rate": 1.5}, r"final_rate is 1.5; it must be in \[0, 1\]"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0; it must be a positive number"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Optimizer(learning_rate=0.1, **changes)


def test_left_out_updates_are_counted_apart():
    import keras

    optimizer = AdamFamily(Optimizer(learning_rate=1.0), {"model/a": keras.Variable([1.0])})

    def counts():
        return optimizer.num_applied, optimizer.num_skipped, optimizer.skipped_in_a_row

    optimizer.skip(explained=False)
    optimizer.skip(explained=True)
    optimizer.skip(explained=False)
    assert counts() == (0, 3, 2)
    optimizer.apply([tf.constant([1.0])], 0.1)
    assert counts() == (1, 3, 0)
