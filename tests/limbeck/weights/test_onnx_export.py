"""Our graphs, run by ONNX Runtime, against our models."""

import json
import sys

import numpy as np
import pytest

from limbeck.architectures import DecoderArchitecture, EncoderArchitecture
from limbeck.architectures.hf_config import architecture_from_hf
from limbeck.config.errors import UsageError
from limbeck.models.build import build
from limbeck.models.names import named_variables
from limbeck.weights.onnx_export import export_onnx

from .families import CASES, CONFIGS, NUM_LABELS, batch, greatest_difference, ours

ATOL = 1e-4  # float32; other kernels sum in another order


@pytest.fixture(scope="module")
def runtime():
    pytest.importorskip("onnx")
    return pytest.importorskip("onnxruntime")


def random_model(family, head):
    """With weights that no symmetry hides."""
    model = build(
        architecture_from_hf({"model_type": family, **CONFIGS[family]}),
        head=head,
        seed=1,
        num_labels=NUM_LABELS,
    )
    rng = np.random.default_rng(2)
    for name, variable in named_variables(model).items():
        centre = 1.0 if name.endswith("gamma") else 0.0
        variable.assign(rng.normal(centre, 0.2, variable.shape))
    return model


def session(runtime, directory):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(
        str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


def run(running, arrays):
    names = {
        "input_ids": arrays["ids"],
        "attention_mask": arrays["attention_mask"],
        "token_type_ids": arrays["segment_ids"],
    }
    wanted = {value.name for value in running.get_inputs()}
    return running.run(None, {n: a.astype(np.int64) for n, a in names.items() if n in wanted})


@pytest.mark.parametrize(("family", "head"), [*CASES, ("albert", "next_sentence")])
def test_graph_answers_as_the_model_at_every_batch_and_length(runtime, tmp_path, family, head):
    if (family, head) == ("albert", "next_sentence"):
        with pytest.raises(UsageError, match="transformers has no albert with the head"):
            export_onnx(random_model(family, head), tmp_path / "x", tokenizer=None)
        return
    model = random_model(family, head)
    export_onnx(model, tmp_path / "x", tokenizer=None)
    running = session(runtime, tmp_path / "x")
    for tokens in (9, 6, 40):
        arrays = batch(family, tokens=tokens, seed=tokens)
        answers = run(running, arrays)[: 1 if head == "encoder" else None]
        expected = ours(model, head, arrays)
        assert greatest_difference(answers, expected, arrays["attention_mask"]) <= ATOL
    single = {name: array[:1, :1] for name, array in arrays.items()}
    answers = run(running, single)[: 1 if head == "encoder" else None]
    assert greatest_difference(answers, ours(model, head, single), single["attention_mask"]) <= ATOL


def test_states_that_were_asked_for_come_too(runtime, tmp_path):
    model = random_model("electra", "masked_lm")
    export_onnx(model, tmp_path / "x", tokenizer=None, hidden_layers=(0, 2))
    running = session(runtime, tmp_path / "x")
    assert [o.name for o in running.get_outputs()] == [
        "logits",
        "hidden_states.0",
        "hidden_states.2",
    ]
    arrays = batch("electra")
    encoded = model.encode(*arrays.values(), hidden_layers=(0, 2))
    for answer, layer in zip(run(running, arrays)[1:], (0, 2), strict=True):
        difference = np.abs(answer - encoded.hidden[layer].numpy())
        assert difference[arrays["attention_mask"] == 1].max() <= ATOL
    with pytest.raises(UsageError, match=r"hidden layer 3: there are 0 \(embeddings\) to 2"):
        export_onnx(model, tmp_path / "y", tokenizer=None, hidden_layers=(3,))


def test_large_weights_get_a_file_of_their_own(runtime, tmp_path):
    model = random_model("bert", "masked_lm")
    export_onnx(model, tmp_path / "x", tokenizer=None, one_file_bytes=1000)
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert names == ["config.json", "model.onnx", "model.onnx.data"]
    arrays = batch("bert")
    answers = run(session(runtime, tmp_path / "x"), arrays)
    assert (
        greatest_difference(answers, ours(model, "masked_lm", arrays), arrays["attention_mask"])
        <= ATOL
    )


def test_config_stands_beside_the_graph(runtime, tmp_path):
    model = random_model("bert", "classifier")
    export_onnx(model, tmp_path / "x", tokenizer=None)
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    assert config["model_type"] == "bert" and len(config["id2label"]) == NUM_LABELS


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
def test_every_activation_is_said_right(runtime, tmp_path, activation):
    shape = {"vocab_size": 97, "num_layers": 1, "hidden_dim": 16, "num_heads": 2}
    for architecture in (
        EncoderArchitecture(**shape, intermediate_dim=24, max_positions=40, activation=activation),
        DecoderArchitecture(
            **shape,
            family="llama",
            num_kv_heads=1,
            intermediate_dim=24,
            max_positions=40,
            norm="rms",
            norm_epsilon=1e-6,
            positions="rotary",
            activation=activation,
            gated=True,
            has_bias=False,
            tied=True,
        ),
    ):
        head = "causal_lm" if architecture.family == "llama" else "masked_lm"
        model = build(architecture, head=head, seed=3)
        for variable in model.trainable_variables:
            variable.assign(variable * 20)
        directory = tmp_path / architecture.family
        export_onnx(model, directory, tokenizer=None)
        arrays = batch(architecture.family)
        answers = run(session(runtime, directory), arrays)
        expected = ours(model, head, arrays)
        scale = max(1.0, float(np.abs(expected[0]).max()))
        assert greatest_difference(answers, expected, arrays["attention_mask"]) <= ATOL * scale


def test_missing_package_gives_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'limbeck\[onnx\]'"):
        export_onnx(random_model("bert", "masked_lm"), tmp_path / "x", tokenizer=None)
    assert not (tmp_path / "x").exists()
