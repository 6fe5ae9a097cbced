"""Google's TensorFlow checkpoints, with the names that they were published under."""

import json

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models.build import build
from limbeck.models.names import named_variables
from limbeck.weights import fingerprint
from limbeck.weights.hf import export_hf, load_model
from limbeck.weights.tensorflow_export import export_tensorflow

SIZES = {
    "vocab_size": 23,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}


def dense(name, inputs, outputs):
    return {f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)}


def norm(name, width):
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def embeddings(body, width):
    return {
        f"{body}/embeddings/word_embeddings": (23, width),
        f"{body}/embeddings/position_embeddings": (10, width),
        f"{body}/embeddings/token_type_embeddings": (2, width),
        **norm(f"{body}/embeddings/LayerNorm", width),
    }


def layer(path, width, inner):
    shapes = {}
    for part in ("query", "key", "value"):
        shapes |= dense(f"{path}/attention/self/{part}", width, width)
    return {
        **shapes,
        **dense(f"{path}/attention/output/dense", width, width),
        **norm(f"{path}/attention/output/LayerNorm", width),
        **dense(f"{path}/intermediate/dense", width, inner),
        **dense(f"{path}/output/dense", inner, width),
        **norm(f"{path}/output/LayerNorm", width),
    }


BERT = {
    **embeddings("bert", 8),
    **layer("bert/encoder/layer_0", 8, 12),
    **layer("bert/encoder/layer_1", 8, 12),
    **dense("bert/pooler/dense", 8, 8),
    **dense("cls/predictions/transform/dense", 8, 8),
    **norm("cls/predictions/transform/LayerNorm", 8),
    "cls/predictions/output_bias": (23,),
    "cls/seq_relationship/output_weights": (2, 8),
    "cls/seq_relationship/output_bias": (2,),
}
OPTIMISER = {"global_step": (), "bert/pooler/dense/kernel/adam_m": (8, 8)}

_GROUP = "bert/encoder/transformer/group_0/inner_group_0"
ALBERT = {
    **embeddings("bert", 6),
    **dense("bert/encoder/embedding_hidden_mapping_in", 6, 8),
    **dense(f"{_GROUP}/attention_1/self/query", 8, 8),
    **dense(f"{_GROUP}/attention_1/self/key", 8, 8),
    **dense(f"{_GROUP}/attention_1/self/value", 8, 8),
    **dense(f"{_GROUP}/attention_1/output/dense", 8, 8),
    **norm(f"{_GROUP}/LayerNorm", 8),
    **dense(f"{_GROUP}/ffn_1/intermediate/dense", 8, 12),
    **dense(f"{_GROUP}/ffn_1/intermediate/output/dense", 12, 8),
    **norm(f"{_GROUP}/LayerNorm_1", 8),
    **dense("bert/pooler/dense", 8, 8),
    **dense("cls/predictions/transform/dense", 8, 6),
    **norm("cls/predictions/transform/LayerNorm", 6),
    "cls/predictions/output_bias": (23,),
    "cls/seq_relationship/output_weights": (2, 8),
    "cls/seq_relationship/output_bias": (2,),
}

ELECTRA = {
    **embeddings("electra", 6),
    **dense("electra/embeddings_project", 6, 8),
    **layer("electra/encoder/layer_0", 8, 12),
    **layer("electra/encoder/layer_1", 8, 12),
    **dense("discriminator_predictions/dense", 8, 8),
    **dense("discriminator_predictions/dense_1", 8, 1),
    **dense("generator/embeddings_project", 6, 4),
    **layer("generator/encoder/layer_0", 4, 5),
    **layer("generator/encoder/layer_1", 4, 5),
    **dense("generator_predictions/dense", 4, 6),
    **norm("generator_predictions/LayerNorm", 6),
    "generator_predictions/output_bias": (23,),
}


def values(shapes, *, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def write(directory, tensors, config, *, name="bert_model.ckpt"):
    directory.mkdir(exist_ok=True)
    (directory / "bert_config.json").write_text(json.dumps(config))
    (directory / "vocab.txt").write_text("".join(f"t{i}\n" for i in range(23)))
    tf.raw_ops.SaveV2(
        prefix=str(directory / name),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    return directory


def test_bert_is_read_with_every_tensor_in_its_place(tmp_path):
    tensors = {**values(BERT), **values(OPTIMISER)}
    model, report = load_model(write(tmp_path, tensors, SIZES), head="pretraining")
    assert not report.initialised and len(report.taken) == len(BERT)
    assert dict(report.unused) == dict.fromkeys(OPTIMISER, "the optimiser's")
    named = named_variables(model)
    for ours, theirs in dict(report.taken).items():
        expected = tensors[theirs]
        expected = expected.T if theirs.endswith("output_weights") else expected
        np.testing.assert_array_equal(np.asarray(named[ours]), expected, err_msg=ours)
    ours = dict(report.taken)
    assert ours["encoder/layer_1/feed_forward/outer/kernel"] == (
        "bert/encoder/layer_1/output/dense/kernel"
    )
    assert ours["next_sentence/kernel"] == "cls/seq_relationship/output_weights"


def test_bert_equals_the_same_weights_as_transformers_computes_them(torch, transformers, tmp_path):
    model, _ = load_model(write(tmp_path / "tf", values(BERT), SIZES), head="pretraining")
    export_hf(model, tmp_path / "hf", tokenizer=None)
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path / "hf").eval()
    ids = np.arange(6)[None] + 5
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor(ids)).prediction_logits.numpy()
    logits = model.logits(model.encode(ids, np.zeros_like(ids), np.ones_like(ids)).last).numpy()
    assert np.abs(logits - expected).max() <= 1e-4
    assert fingerprint(tmp_path / "tf") == fingerprint(tmp_path / "hf")


def test_albert_is_read_whole(tmp_path):
    config = {**SIZES, "embedding_size": 6, "num_hidden_groups": 1, "inner_group_num": 1}
    model, report = load_model(write(tmp_path, values(ALBERT), config), head="pretraining")
    assert len(report.taken) == len(ALBERT) and not report.unused
    assert model.architecture.shared_layers and model.architecture.embedding_dim == 6
    export_hf(model, tmp_path / "hf", tokenizer=None)
    assert fingerprint(tmp_path / "hf") == fingerprint(tmp_path)


def test_electra_discriminator_and_generator_are_told_apart_by_the_config(tmp_path):
    tensors = values(ELECTRA)
    config = {**SIZES, "embedding_size": 6}
    model, report = load_model(write(tmp_path / "d", tensors, config), head="replaced_token")
    others = dict(report.unused)
    assert set(others.values()) == {"of ELECTRA's other model"}
    assert all(name.startswith("generator") for name in others)
    assert (
        dict(report.taken)["replaced/output/kernel"] == "discriminator_predictions/dense_1/kernel"
    )
    generator = {**config, "hidden_size": 4, "intermediate_size": 5}
    model, report = load_model(write(tmp_path / "g", tensors, generator), head="masked_lm")
    np.testing.assert_array_equal(
        np.asarray(named_variables(model)["encoder/layer_1/attention/query/kernel"]),
        tensors["generator/encoder/layer_1/attention/self/query/kernel"],
    )


@pytest.mark.parametrize("family", ["bert", "electra", "albert"])
def test_what_we_write_has_the_published_names_and_is_read_back(tmp_path, family):
    narrow = None if family == "bert" else 6
    architecture = EncoderArchitecture(
        family=family,
        vocab_size=23,
        num_layers=2,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=12,
        max_positions=10,
        embedding_dim=narrow,
        shared_layers=family == "albert",
    )
    head = "replaced_token" if family == "electra" else "pretraining"
    model = build(architecture, head=head, seed=1)
    export_tensorflow(model, tmp_path / "tf", tokenizer=None)
    export_hf(model, tmp_path / "hf", tokenizer=None)
    prefix = next((tmp_path / "tf").glob("*.index")).with_suffix("")
    published = {"bert": BERT, "electra": ELECTRA, "albert": ALBERT}[family]
    written = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    expected = {n: list(s) for n, s in published.items() if not n.startswith("generator")}
    assert written == expected
    again, report = load_model(tmp_path / "tf", head=head)
    assert again.architecture == architecture and not report.unused
    for name, variable in named_variables(model).items():
        np.testing.assert_array_equal(
            np.asarray(variable), np.asarray(named_variables(again)[name])
        )
    assert fingerprint(tmp_path / "tf") == fingerprint(tmp_path / "hf")


def test_family_without_such_checkpoints_is_refused(tmp_path):
    architecture = EncoderArchitecture(
        family="distilbert",
        vocab_size=23,
        num_layers=1,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=12,
        type_vocab_size=0,
    )
    with pytest.raises(UsageError, match="no TensorFlow checkpoints of distilbert are known"):
        export_tensorflow(build(architecture, seed=1), tmp_path / "x", tokenizer=None)
    assert not (tmp_path / "x").exists()


def test_wrong_folders_are_refused_by_name(tmp_path):
    write(tmp_path, values(BERT), SIZES)
    (tmp_path / "bert_config.json").unlink()
    with pytest.raises(UsageError, match="a TensorFlow checkpoint, but no bert_config.json"):
        load_model(tmp_path)
    write(tmp_path, values(BERT), {**SIZES, "num_attention_heads": 3})
    with pytest.raises(UsageError, match="hidden_dim 8 is not a multiple of num_heads 3"):
        load_model(tmp_path)
    write(tmp_path, values(BERT), {**SIZES, "hidden_size": 6})
    with pytest.raises(LimbeckError, match=r"word_embeddings has shape \(23, 8\); \(23, 6\)"):
        load_model(tmp_path)
    write(tmp_path, values(BERT), SIZES, name="other.ckpt")
    with pytest.raises(UsageError, match="several checkpoints"):
        load_model(tmp_path)


@pytest.mark.faults
def test_damaged_checkpoint_is_refused_in_one_line(tmp_path):
    write(tmp_path, values(BERT), SIZES)
    for name in ("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"):
        whole = (tmp_path / name).read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 16
        for damage in (whole[:-1], whole[: len(whole) // 2], bytes(flipped), b""):
            (tmp_path / name).write_bytes(damage)
            with pytest.raises(LimbeckError, match="not a sound TensorFlow checkpoint") as error:
                load_model(tmp_path)
            assert "\n" not in str(error.value)
        (tmp_path / name).write_bytes(whole)
    load_model(tmp_path)
