"""`.keras` and `.weights.h5` files of our models."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

from limbeck.architectures.hf_config import architecture_from_hf
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models.build import build
from limbeck.models.names import named_variables
from limbeck.weights import fingerprint
from limbeck.weights.hf import export_hf, load_model
from limbeck.weights.keras_model import SavedTransformer, quiet_keras, save_keras

from .families import CASES, CONFIGS, NUM_LABELS, batch, ours


def make(family, head):
    architecture = architecture_from_hf({"model_type": family, **CONFIGS[family]})
    return build(architecture, head=head, seed=1, num_labels=NUM_LABELS)


def assert_equal(first, second):
    ours, theirs = named_variables(first), named_variables(second)
    assert list(ours) == list(theirs)
    for name, variable in ours.items():
        np.testing.assert_array_equal(np.asarray(variable), np.asarray(theirs[name]), err_msg=name)


@pytest.mark.parametrize(("family", "head"), CASES)
def test_file_is_read_back_by_us(tmp_path, family, head):
    model = make(family, head)
    path = save_keras(model, tmp_path / "a" / "x.keras")
    assert [p.name for p in path.parent.iterdir()] == ["x.keras"]
    again, report = load_model(path, head=head)
    assert again.architecture == model.architecture
    assert not report.initialised and not report.unused
    assert_equal(model, again)
    export_hf(model, tmp_path / "hf", tokenizer=None)
    assert fingerprint(path) == fingerprint(tmp_path / "hf")


def test_file_is_read_by_keras_alone(tmp_path):
    model = make("bert", "token_classifier")
    path = save_keras(model, tmp_path / "x.keras")
    with quiet_keras():
        again = keras.saving.load_model(path)
    assert isinstance(again, SavedTransformer)
    assert_equal(model, again.model)
    arrays = batch("bert")
    np.testing.assert_array_equal(
        ours(model, "token_classifier", arrays)[0], again(*arrays.values()).numpy()
    )


def test_leftovers_of_a_killed_export_are_removed(tmp_path):
    leftover, other = tmp_path / "x.keras.tmp-12-0123abcd", tmp_path / "y.keras.tmp-12-0123abcd"
    for directory in (leftover, other):
        directory.mkdir()
        (directory / "x.keras").write_bytes(b"half")
    save_keras(make("bert", "encoder"), tmp_path / "x.keras")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.keras", other.name]


def test_weights_alone_need_the_config_beside_them(tmp_path):
    model = make("roberta", "masked_lm")
    path = tmp_path / "x.weights.h5"
    with quiet_keras():
        model.save_weights(path)
    with pytest.raises(UsageError, match="weights alone; a config.json is expected beside them"):
        load_model(path)
    export_hf(model, tmp_path / "hf", tokenizer=None)
    shutil.copy(tmp_path / "hf" / "config.json", tmp_path)
    assert_equal(model, load_model(path)[0])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    with pytest.raises(LimbeckError, match="x.weights.h5"):
        load_model(path)


def test_keras_model_of_others_is_refused_without_making_it(tmp_path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    with quiet_keras():
        model.save(tmp_path / "x.keras")
    with pytest.raises(UsageError, match="x.keras: not a model of ours"):
        load_model(tmp_path / "x.keras")


@pytest.mark.faults
def test_damaged_file_is_refused_in_one_line(tmp_path):
    path = save_keras(make("bert", "masked_lm"), tmp_path / "x.keras")
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(LimbeckError, match="x.keras") as error:
            load_model(path)
        assert "\n" not in str(error.value)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 8
    path.write_bytes(flipped)
    with pytest.raises(LimbeckError, match="x.keras: model.weights.h5 is damaged"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "hidden_dim 16 is not a multiple of num_heads 3"),
        ({"num_layers": 1}, "not the weights of a bert with masked_lm .42 variables"),
        ({"num_layers": 3}, "not the weights of a bert with masked_lm"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_config_that_contradicts_the_weights_is_refused(tmp_path, change, message):
    path = save_keras(make("bert", "masked_lm"), tmp_path / "x.keras")
    copy = tmp_path / "y.keras"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as out:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["architecture"] |= change
                data = json.dumps(config).encode()
            out.writestr(name, data)
    with pytest.raises(LimbeckError, match=message) as error:
        load_model(copy)
    assert "\n" not in str(error.value)
