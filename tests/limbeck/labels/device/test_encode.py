import numpy as np
import pytest
import tensorflow as tf

from limbeck.labels import (
    AttentionSignal,
    FinalSignal,
    Fitted,
    HiddenSignal,
    QkvSignal,
    RelationsSignal,
    TaskSignal,
    codecs,
)
from limbeck.labels.device import encode

RNG = np.random.default_rng(0)
RAW = {
    "states": RNG.normal(size=(5, 8)),
    "queries": RNG.normal(size=(5, 8)),
    "keys": RNG.normal(size=(5, 4)),
    "values": RNG.normal(size=(5, 4)),
    "probabilities": RNG.random(size=(5, 2, 6)),
    "logits": RNG.normal(size=(5, 3)),
}
RAW = {name: values.astype(np.float32) for name, values in RAW.items()}


@pytest.mark.parametrize(
    "fitted",
    [
        Fitted(signal=HiddenSignal(layer=0)),
        Fitted(signal=HiddenSignal(layer=2, codec="bfloat16")),
        Fitted(signal=FinalSignal(), chosen={"codec": "int8", "outliers": [1]}),
        Fitted(signal=RelationsSignal(layer=1)),
        Fitted(signal=QkvSignal(layer=1)),
        Fitted(signal=QkvSignal(layer=1, codec="float16")),
        Fitted(signal=AttentionSignal(layer=1)),
        Fitted(signal=TaskSignal()),
    ],
    ids=lambda fitted: fitted.signal.kind,
)
def test_every_family_is_encoded_as_by_numpy(fitted):
    raw = {name: RAW[name] for name in fitted.signal.source.arrays}
    expected = codecs.encode(fitted, raw, true_ids=None, draws=None)
    traced = tf.function(lambda given: encode(fitted, given, true_ids=None, draws=None))
    actual = traced({name: tf.constant(values) for name, values in raw.items()})
    assert set(actual) == set(expected)
    for name, values in expected.items():
        assert actual[name].numpy().dtype == values.dtype
        np.testing.assert_array_equal(actual[name].numpy(), values)
