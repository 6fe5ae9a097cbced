import json
import shutil

import numpy as np
import pytest

from launch.data import data_dir
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


def counted(directory):
    """A BERT whose weights are 0, 1/64, 2/64, ... in the order of their names."""
    width, inner = 4, 6
    shapes = {
        "embeddings.word_embeddings.weight": (11, width),
        "embeddings.position_embeddings.weight": (5, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        "cls.predictions.bias": (11,),
    }
    layer = "encoder.layer.0"
    for name, outputs, inputs in (
        (f"{layer}.attention.self.query", width, width),
        (f"{layer}.attention.self.key", width, width),
        (f"{layer}.attention.self.value", width, width),
        (f"{layer}.attention.output.dense", width, width),
        (f"{layer}.intermediate.dense", inner, width),
        (f"{layer}.output.dense", width, inner),
        ("cls.predictions.transform.dense", width, width),
        ("pooler.dense", width, width),
    ):
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    for name in (
        "embeddings",
        f"{layer}.attention.output",
        f"{layer}.output",
        "cls.predictions.transform",
    ):
        shapes |= {f"{name}.LayerNorm.{leaf}": (width,) for leaf in ("weight", "bias")}
    tensors, start = {}, 0
    for name in sorted(shapes):
        size = int(np.prod(shapes[name]))
        values = np.arange(start, start + size, dtype=np.float32) / 64
        tensors[name] = values.reshape(shapes[name])
        start += size
    config = {
        "model_type": "bert",
        "vocab_size": 11,
        "hidden_size": width,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": inner,
        "max_position_embeddings": 5,
    }
    (directory / "config.json").write_text(json.dumps(config))
    write_tensors(directory / "model.safetensors", tensors)


def test_fingerprints_in_manifests_stay_what_they_are(tmp_path):
    """Of 0.1.0: label families of that version name their teachers so."""
    counted(tmp_path)
    assert fingerprint(tmp_path) == (
        "affc2f90648c831bf852acfe9f57f74d68ade29d5b200add7fc2fdaf04de6696"
    )


def test_fingerprint_of_the_pretrained_encoder_stays_what_it_is():
    directory = data_dir() / "all-minilm-l6-v2"
    if not directory.is_dir():
        pytest.skip("the pretrained encoder is not there; run `make setup`")
    assert fingerprint(directory) == (
        "223d1d506fcb17052e07fdcea537233fb144a553568b8b97755bb1061203965d"
    )


def test_pooler_has_a_part_where_a_classifier_reads_it(write_folder, tmp_path):
    directory = write_folder("BertForSequenceClassification")
    before = fingerprint(directory)
    change_tensors(directory, lambda t: {**t, "bert.pooler.dense.bias": np.ones(16, np.float32)})
    assert fingerprint(directory) != before
