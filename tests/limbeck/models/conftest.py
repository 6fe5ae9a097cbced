"""What tests of layers share."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

CheckLayer = Callable[..., np.ndarray]


@pytest.fixture
def check_layer() -> CheckLayer:
    """Runs what every layer must do, and returns its output.

    Call as `check_layer(layer, *inputs, output_shape=..., variables=..., **keywords)`:
    built once it has the named variables; eager, compiled, compiled with unknown sizes and XLA
    give the same; every variable gets a finite gradient; two builds have equal names.
    """

    def check(
        layer: keras.layers.Layer,
        *inputs: Any,
        output_shape: tuple[int, ...],
        variables: dict[str, tuple[int, ...]],
        **keywords: Any,
    ) -> np.ndarray:
        if not layer.built:
            layer.build()
        prefix = f"{layer.name}/"
        named = {v.path.removeprefix(prefix): tuple(v.shape) for v in layer.variables}
        assert named == variables
        rng = np.random.default_rng(0)
        for variable in layer.trainable_variables:
            variable.assign(rng.normal(0, 0.5, variable.shape))
        inputs = tuple(tf.convert_to_tensor(x) for x in inputs)
        eager = layer(*inputs, **keywords).numpy()
        assert eager.shape == output_shape and np.isfinite(eager).all()
        for compiled in _compilations(layer, inputs, keywords):
            np.testing.assert_allclose(compiled(*inputs).numpy(), eager, rtol=1e-4, atol=1e-5)
        _check_gradients(layer, inputs, keywords)
        return eager

    return check


def _compilations(layer, inputs, keywords):
    def call(*arguments):
        return layer(*arguments, **keywords)

    unknown = [tf.TensorSpec([None] * (x.shape.rank - 1) + [x.shape[-1]], x.dtype) for x in inputs]
    yield tf.function(call, autograph=False)
    yield tf.function(call, autograph=False, input_signature=unknown)
    yield tf.function(call, autograph=False, jit_compile=True)


def _check_gradients(layer, inputs, keywords):
    with tf.GradientTape() as tape:
        output = layer(*inputs, **keywords)
        total = tf.reduce_sum(output * tf.cos(tf.range(tf.size(output), dtype=tf.float32))[0])
    values = [variable.value for variable in layer.trainable_variables]
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(total, values), strict=True
    ):
        assert gradient is not None, variable.path
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all(), variable.path
