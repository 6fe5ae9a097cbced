"""Loading model folders: what is taken from where, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models import named_variables
from limbeck.weights import read_hf, read_tensors, write_tensors
from limbeck.weights.hf import load_masked_lm

SHAPE = EncoderArchitecture(
    vocab_size=97,
    num_layers=3,
    hidden_dim=16,
    num_heads=2,
    intermediate_dim=24,
    max_positions=40,
)


def values(model):
    return {name: np.asarray(v) for name, v in named_variables(model).items()}


def rewrite(folder, tmp_path, change, *, config=None):
    """A copy of a folder with `change(tensors) -> tensors` and other entries of its config."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tensors = change(read_tensors(copy / "model.safetensors"))
    write_tensors(copy / "model.safetensors", tensors, metadata={"format": "pt"})
    plain = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**plain, **(config or {})}))
    return copy


def assert_equal_models(first, second):
    for (name, value), other in zip(values(first).items(), values(second).values(), strict=True):
        np.testing.assert_array_equal(value, other, err_msg=name)


def test_folder_is_read_with_its_own_names(folder):
    architecture, tensors = read_hf(folder)
    assert architecture == SHAPE
    assert tensors["bert.encoder.layer.0.intermediate.dense.weight"].shape == (24, 16)


def test_report_lists_every_variable_and_every_tensor_once(bare_folder):
    model, report = load_masked_lm(bare_folder, missing_head="initialise")
    _, tensors = read_hf(bare_folder)
    assert [n for n, _ in report.taken + report.initialised] == list(named_variables(model))
    listed = [tensor for _, tensor in report.taken] + [tensor for tensor, _ in report.unused]
    assert sorted(listed) == sorted(tensors)
    assert dict(report.unused) == {
        "pooler.dense.weight": "the pooler; a masked LM has none",
        "pooler.dense.bias": "the pooler; a masked LM has none",
    }
    text = str(report)
    assert len(text.splitlines()) == 1 + len(values(model)) + 2
    assert "initialised  head/transform/kernel  identity" in text
    assert text.startswith(f"{bare_folder}: 53 taken, 5 initialised, 2 unused")


def test_missing_head_is_refused_by_default(bare_folder):
    with pytest.raises(UsageError, match="without a masked-LM head.*set missing_head"):
        load_masked_lm(bare_folder)


@pytest.mark.parametrize("kind", ["identity", "random"])
def test_missing_head_is_initialised(bare_folder, kind):
    model, report = load_masked_lm(
        bare_folder, missing_head="initialise", head_initialisation=kind, seed=4
    )
    named = values(model)
    kernel = named["head/transform/kernel"]
    if kind == "identity":
        np.testing.assert_array_equal(kernel, np.eye(16))
    else:
        assert 0 < np.abs(kernel).max() <= 0.04
        other, _ = load_masked_lm(
            bare_folder, missing_head="initialise", head_initialisation=kind, seed=5
        )
        assert (values(other)["head/transform/kernel"] != kernel).any()
    assert not named["head/output_bias"].any() and not named["head/transform/bias"].any()
    assert (named["head/norm/gamma"] == 1).all()
    assert {name for name, _ in report.initialised} == {n for n in named if n.startswith("head/")}


def test_names_of_every_generation_give_the_same_model(folder, tmp_path):
    def old(tensors):
        renamed = {}
        for name, tensor in tensors.items():
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            renamed[name.replace("LayerNorm.bias", "LayerNorm.beta").removeprefix("bert.")] = tensor
        renamed["cls.predictions.decoder.bias"] = renamed.pop("cls.predictions.bias")
        renamed["cls.predictions.decoder.weight"] = renamed["embeddings.word_embeddings.weight"]
        renamed["cls.seq_relationship.weight"] = np.ones((2, 16), np.float32)
        renamed["embeddings.position_ids"] = np.arange(40)[None]
        return renamed

    model, report = load_masked_lm(rewrite(folder, tmp_path, old))
    assert_equal_models(model, load_masked_lm(folder)[0])
    assert len(report.unused) == 3


def test_pretraining_checkpoint_with_a_next_sentence_head_is_read(write_folder):
    _, report = load_masked_lm(write_folder("BertForPreTraining"))
    assert {name.rsplit(".", 2)[-2] for name, _ in report.unused} == {"dense", "seq_relationship"}


def test_half_precision_weights_become_float32(folder, tmp_path):
    half = rewrite(folder, tmp_path, lambda t: {n: x.astype(np.float16) for n, x in t.items()})
    model, _ = load_masked_lm(half)
    expected = values(load_masked_lm(folder)[0])
    for name, value in values(model).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name].astype(np.float16), err_msg=name)


def test_weights_split_over_files_are_read(folder, tmp_path):
    copy = tmp_path / "split"
    shutil.copytree(folder, copy)
    tensors = read_tensors(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {
        "model-00001-of-00002.safetensors": names[:9],
        "model-00002-of-00002.safetensors": names[9:],
    }
    for file, part in parts.items():
        write_tensors(copy / file, {n: tensors[n] for n in part})
    index = {"weight_map": {n: file for file, part in parts.items() for n in part}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_equal_models(load_masked_lm(copy)[0], load_masked_lm(folder)[0])
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(LimbeckError, match="model-00002-of-00002.safetensors is missing"):
        load_masked_lm(copy)


def test_chosen_layers_make_a_shallower_student(folder):
    student, report = load_masked_lm(folder, layers=(1, 3))
    teacher = values(load_masked_lm(folder)[0])
    assert student.architecture == dataclasses.replace(SHAPE, num_layers=2)
    for name, value in values(student).items():
        source = name.replace("layer_1", "layer_2")  # ours from 0, the second is the third there
        np.testing.assert_array_equal(value, teacher[source], err_msg=name)
    assert {why for _, why in report.unused} == {"layer 2 was not chosen"}
    assert len(report.unused) == 16


def test_layers_may_change_order_and_occur_twice(folder):
    student, _ = load_masked_lm(folder, layers=(3, 1, 1))
    teacher = values(load_masked_lm(folder)[0])
    for ours, theirs in ((0, 2), (1, 0), (2, 0)):
        np.testing.assert_array_equal(
            values(student)[f"encoder/layer_{ours}/feed_forward/inner/kernel"],
            teacher[f"encoder/layer_{theirs}/feed_forward/inner/kernel"],
        )


@pytest.mark.parametrize(
    ("layers", "message"),
    [((), "layers is empty"), ((0, 2), "layer 0 was chosen; there are 1 to 3"), ((4,), "layer 4")],
)
def test_layer_that_is_not_there_is_refused(folder, layers, message):
    with pytest.raises(UsageError, match=message):
        load_masked_lm(folder, layers=layers)


def test_wanted_architecture_brings_its_dropout_rates(folder):
    wanted = dataclasses.replace(SHAPE, hidden_dropout=0.0, num_layers=2)
    model, _ = load_masked_lm(folder, layers=(1, 2), architecture=wanted)
    assert model.architecture == wanted


def test_other_architecture_is_refused_with_both_values(folder):
    wanted = dataclasses.replace(SHAPE, hidden_dim=32, num_layers=4)
    with pytest.raises(UsageError, match="num_layers is 3 and not 4; hidden_dim is 16 and not 32"):
        load_masked_lm(folder, architecture=wanted)


def without(name):
    return lambda tensors: {n: t for n, t in tensors.items() if name not in n}


def replaced(name, function):
    return lambda tensors: {n: function(t) if name in n else t for n, t in tensors.items()}


QUERY = "encoder.layer.1.attention.self.query.weight"
DAMAGES = [
    (without(QUERY), {}, f"tensor {QUERY} is missing"),
    (without("cls.predictions.bias"), {}, "tensor cls.predictions.bias is missing"),
    (replaced(QUERY, lambda t: t[:4]), {}, r"shape \(4, 16\); \(16, 16\) is expected"),
    (replaced(QUERY, lambda t: t * np.nan), {}, "holds NaN or infinity"),
    (replaced(QUERY, lambda t: t.astype(np.int32)), {}, "is int32; floating point"),
    (lambda t: t, {"vocab_size": 98}, r"word_embeddings.weight has shape \(97, 16\)"),
    (lambda t: {**t, "adapter.up": t["cls.predictions.bias"]}, {}, "no place for adapter.up"),
    (
        lambda t: {**t, "encoder.layer.0.output.dense.bias": np.ones(16, np.float32)},
        {},
        "are both encoder.layer.0.output.dense.bias",
    ),
    (lambda t: t, {"num_hidden_layers": 2}, "no place for bert.encoder.layer.2.+ and 13 more"),
    (
        lambda t: {**t, "cls.predictions.decoder.weight": np.ones((97, 16), np.float32)},
        {},
        "only tied decoders are read",
    ),
]


@pytest.mark.parametrize(("change", "config", "message"), DAMAGES)
def test_tensors_that_do_not_fit_are_refused_by_name(folder, tmp_path, change, config, message):
    copy = rewrite(folder, tmp_path, change, config=config)
    with pytest.raises(LimbeckError, match=message) as error:
        load_masked_lm(copy)
    assert str(error.value).startswith(f"{copy}: ") and "\n" not in str(error.value)


def test_unknown_tensors_are_listed_when_not_strict(folder, tmp_path):
    copy = rewrite(folder, tmp_path, lambda t: {**t, "adapter.up": np.ones(3, np.float32)})
    _, report = load_masked_lm(copy, strict=False)
    assert ("adapter.up", "unknown to a BERT masked LM") in report.unused


def test_folder_that_is_no_model_is_refused(tmp_path, folder):
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        load_masked_lm(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="not a model folder"):
        load_masked_lm(tmp_path)
    config = tmp_path / "config.json"
    config.write_text("{")
    with pytest.raises(LimbeckError, match="config.json: not JSON"):
        load_masked_lm(tmp_path)
    config.write_text("[]")
    with pytest.raises(LimbeckError, match="a JSON object is expected, found list"):
        load_masked_lm(tmp_path)
    config.write_text('{"model_type": "t5"}')
    with pytest.raises(UsageError, match="config.json: model_type is 't5'; known families are"):
        load_masked_lm(tmp_path)
    shutil.copy(folder / "config.json", config)
    with pytest.raises(UsageError, match="no model.safetensors and no pytorch_model.bin in it"):
        load_masked_lm(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(LimbeckError, match="pytorch_model.bin: damaged, or not a PyTorch"):
        load_masked_lm(tmp_path)


@pytest.mark.faults
def test_cut_weights_are_refused_by_name(folder, tmp_path):
    copy = tmp_path / "cut"
    shutil.copytree(folder, copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(LimbeckError, match="model.safetensors: not a sound safetensors file"):
        load_masked_lm(copy)
