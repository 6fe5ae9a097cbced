import json
import shutil

import numpy as np
import pytest

from limbeck.weights import fingerprint, read_tensors, write_tensors


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def change_tensors(directory, change):
    path = directory / "model.safetensors"
    write_tensors(path, change(read_tensors(path)))


def change_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def one_bit(tensors):
    name = "bert.encoder.layer.1.output.dense.weight"
    tensors[name].view(np.uint32)[3, 4] ^= 1
    return tensors


SAME = [
    lambda d: None,
    lambda d: change_config(d, hidden_dropout_prob=0.5, transformers_version="9"),
    lambda d: change_tensors(d, lambda t: {n.removeprefix("bert."): x for n, x in t.items()}),
    lambda d: change_tensors(d, lambda t: {**t, "bert.pooler.dense.bias": np.ones(16, np.float32)}),
]
OTHER = [
    lambda d: change_config(d, num_attention_heads=4),
    lambda d: change_config(d, hidden_act="relu"),
    lambda d: change_config(d, layer_norm_eps=1e-6),
    lambda d: change_tensors(d, one_bit),
]


@pytest.mark.parametrize("change", SAME)
def test_fingerprint_is_that_of_the_function_not_the_files(folder, copy, change):
    change(copy)
    assert fingerprint(copy) == fingerprint(folder)


@pytest.mark.parametrize("change", OTHER)
def test_any_weight_or_shape_changes_the_fingerprint(folder, copy, change):
    change(copy)
    assert fingerprint(copy) != fingerprint(folder)


def test_fingerprint_is_hexadecimal(folder):
    assert len(bytes.fromhex(fingerprint(folder))) == 32
