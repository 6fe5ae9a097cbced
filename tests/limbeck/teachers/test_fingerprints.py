import numpy as np
import pytest

from limbeck.teachers.fingerprints import folder_fingerprint, onnx_fingerprint

CONFIG = {"model_type": "deberta-v2", "hidden_size": 4, "attention": [1, "p2c"]}
TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}


def test_it_is_stable():
    assert folder_fingerprint(CONFIG, TENSORS) == (
        "fa5d67c118a8e669504c32c3906f9aa48617929b189018db621651d722380a01"
    )


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        ({"torch_dtype": "float16", "transformers_version": "4.1"}, {}),
        ({"_name_or_path": "somewhere", "architectures": ["X"]}, {}),
        ({}, {"b": np.ones(2, np.float16)}),  # equal values, other encoding
    ],
)
def test_bookkeeping_and_encodings_have_no_part(config, tensors):
    found = folder_fingerprint({**CONFIG, **config}, {**TENSORS, **tensors})
    assert found == folder_fingerprint(CONFIG, TENSORS)


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        ({"hidden_size": 5}, {}),
        ({"layer_norm_eps": 1e-7}, {}),
        ({}, {"b": np.array([1, 1.0000001], np.float32)}),
        ({}, {"a.weight": TENSORS["a.weight"].T.copy()}),
        ({}, {"c": np.ones(1, np.float32)}),
    ],
)
def test_whatever_decides_the_answers_has_a_part(config, tensors):
    found = folder_fingerprint({**CONFIG, **config}, {**TENSORS, **tensors})
    assert found != folder_fingerprint(CONFIG, TENSORS)


def test_onnx_fingerprint_is_of_the_bytes_of_all_files(tmp_path):
    for name, data in (("a.onnx", b"graph"), ("b.onnx", b"graph"), ("w.data", b"weights")):
        (tmp_path / name).write_bytes(data)
    alone = onnx_fingerprint(tmp_path / "a.onnx", ())
    assert alone == onnx_fingerprint(tmp_path / "b.onnx", ())  # its own name has no part
    both = onnx_fingerprint(tmp_path / "a.onnx", ("w.data",))
    assert both != alone
    (tmp_path / "w.data").write_bytes(b"WEIGHTS")
    assert onnx_fingerprint(tmp_path / "a.onnx", ("w.data",)) != both
