"""Every signal of every backend against transformers itself, and backends against each other."""

import numpy as np
import pytest

from limbeck.labels import HiddenSignal, SparseSignal
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import (
    AttentionSignal,
    FinalSignal,
    QkvSignal,
    RelationsSignal,
    TaskSignal,
)
from limbeck.teachers import load_teacher

HIDDEN = {
    "embeddings": HiddenSignal(layer=0),
    "masked": HiddenSignal(layer=2, positions="masked"),
    "last": HiddenSignal(layer=3, positions="first"),
}
INSIDE = {
    "inputs-1": RelationsSignal(layer=1),
    "inputs-3": RelationsSignal(layer=3),
    "qkv-1": QkvSignal(layer=1),
    "qkv-3": QkvSignal(layer=3),
    "attention": AttentionSignal(layer=2),
    "attention-3": AttentionSignal(layer=3),
}
MASKED = {
    "sparse": SparseSignal(k=5),
    "final": FinalSignal(),
    "everywhere": SparseSignal(k=5, positions="all"),
}
NEXT = {
    "sparse": SparseSignal(k=5, positions="all"),
    "final": FinalSignal(positions="all"),
    "first": SparseSignal(k=5, positions="first"),
}
# Values of size 10 at most, in float32, by other orders of summation: a few ulps of 10.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}

EXPORTED = ["BertForMaskedLM", "RobertaForMaskedLM", "DistilBertForMaskedLM"]
OURS = [
    *EXPORTED,
    "AlbertForMaskedLM",
    "ElectraForMaskedLM",
    "MegatronBertForMaskedLM",
    "XLMRobertaForMaskedLM",
    "GPT2LMHeadModel",
    "LlamaForCausalLM",
]
OTHERS = ["MPNetForMaskedLM", "DebertaV2ForMaskedLM", "Qwen2ForCausalLM"]
SPANS = ["BertForQuestionAnswering", "BertForNextSentencePrediction", "ElectraForPreTraining"]
TASKS = [  # class, positions, outputs, further settings
    ("BertForSequenceClassification", "first", 3, {"num_labels": 3}),
    ("RobertaForSequenceClassification", "first", 1, {"num_labels": 1}),
    ("DistilBertForSequenceClassification", "first", 2, {}),
    ("BertForTokenClassification", "all", 4, {"num_labels": 4}),
    ("ElectraForQuestionAnswering", "all", 2, {}),
    ("BertForNextSentencePrediction", "first", 2, {}),
    ("BertForPreTraining", "first", 2, {}),
    ("AlbertForPreTraining", "first", 2, {}),
    ("ElectraForPreTraining", "all", 1, {}),
]


def wanted_of(kind):
    language = NEXT if kind.endswith(("LMHeadModel", "ForCausalLM")) else MASKED
    return {**HIDDEN, **language}


@pytest.fixture(scope="module")
def run(torch, transformers):
    """Runs a folder in transformers, its plain attention: the reference of everything here."""

    def run_folder(folder, kind, batch):
        model = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager")
        pad_id = getattr(model.config, "pad_token_id", None) or 0
        ids = np.where(batch.attention_mask == 1, batch.ids, pad_id)
        inputs = {"input_ids": ids, "attention_mask": batch.attention_mask}
        if (getattr(model.config, "type_vocab_size", None) or 0) > 1:
            inputs["token_type_ids"] = batch.segment_ids
        tensors = {name: torch.from_numpy(x.astype(np.int64)) for name, x in inputs.items()}
        with torch.inference_mode():
            return model.eval()(**tensors, output_hidden_states=True, output_attentions=True)

    return run_folder


def at(tensor, batch, group):
    """(B, T, ...) of PyTorch at a group's positions."""
    array = tensor.numpy()
    return array.reshape(-1, *array.shape[2:])[batch.items[group].index]


def check_raw(found, output, batch, wanted):
    """Every raw array but those of projections, against transformers' own."""
    for name, signal in wanted.items():
        kind, group, layer = signal.source.kind, signal.positions, signal.source.layer
        if kind == "hidden":
            expected = at(output.hidden_states[layer], batch, group)
        elif kind == "attention":
            expected = at(output.attentions[layer - 1].transpose(1, 2), batch, group)
        elif kind == "logits":
            logits = output.get("prediction_logits")
            expected = at(output.logits if logits is None else logits, batch, group)
        else:
            continue
        (values,) = found[name].values()
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, **FLOAT32, err_msg=name)


@pytest.mark.parametrize("backend", ["keras", "pytorch"])
@pytest.mark.parametrize("kind", OURS)
def test_every_source_is_what_transformers_gives(kind, backend, write_folder, run, batch):
    folder = write_folder(kind)
    wanted = {**wanted_of(kind), **INSIDE}
    teacher = load_teacher(folder, backend=backend)
    teacher.facts.check(wanted)
    found = teacher.raw(batch, wanted)
    assert found.keys() == wanted.keys()
    check_raw(found, run(folder, kind, batch), batch, wanted)
    check_final(teacher, found, wanted)
    check_projections(teacher, found, batch)


def check_final(teacher, found, wanted):
    """The decoder's matrix times what it multiplies is the logits."""
    side = teacher.side(wanted["final"]).tensors
    kernel, bias = side["decoder/kernel"], side["decoder/bias"]
    assert kernel.shape == (teacher.facts.vocab_size, teacher.facts.final_dim)
    rebuilt = found["final"]["states"] @ kernel.T + bias
    np.testing.assert_allclose(rebuilt, found["sparse"]["logits"], **FLOAT32)


def check_projections(teacher, found, batch):
    """Q, K, V rebuilt from a layer's inputs are its own, and give its own attention."""
    facts = teacher.facts
    for layer in (1, 3):
        side = teacher.side(RelationsSignal(layer=layer))
        assert teacher.side(QkvSignal(layer=layer)).facts == side.facts
        assert (side.facts["mask"] == "causal") == facts.causal
        states, qkv = found[f"inputs-{layer}"]["states"], found[f"qkv-{layer}"]
        assert qkv["queries"].shape[1] == facts.query_dim
        assert qkv["keys"].shape[1] == qkv["values"].shape[1] == facts.key_dim
        for name, part in (("queries", "query"), ("keys", "key"), ("values", "value")):
            rebuilt = states @ side.tensors[f"{part}/kernel"]
            rebuilt += side.tensors.get(f"{part}/bias", 0.0)
            np.testing.assert_allclose(rebuilt, qkv[name], **FLOAT32, err_msg=f"{part} {layer}")
    expected = found["attention-3"]["probabilities"]
    assert expected.shape[1] == facts.num_heads
    for row, length in ((0, 20), (1, 13)):
        start = row * 20  # the items of row 1 follow the 20 tokens of row 0
        items = slice(start, start + length)
        rebuilt = attention(qkv["queries"][items], qkv["keys"][items], side.facts)
        np.testing.assert_allclose(
            rebuilt.transpose(1, 0, 2), expected[items, :, :length], rtol=1e-4, atol=1e-6
        )
        assert not expected[items, :, length:].any()


def attention(queries, keys, facts):
    """(T, width) of one row -> (H, T, T), by the facts that a relations family keeps."""
    width, repeats = facts["head_dim"], facts["num_heads"] // facts["num_kv_heads"]
    q, k = (x.reshape(len(x), -1, width).transpose(1, 0, 2) for x in (queries, keys))
    if facts["rotary"] is not None:
        q, k = (rotated(x, theta=facts["rotary"]["theta"]) for x in (q, k))
    scores = q @ np.repeat(k, repeats, axis=0).transpose(0, 2, 1) / np.sqrt(width)
    if facts["mask"] == "causal":
        scores = np.where(np.tril(np.ones(scores.shape[1:])), scores, -np.inf)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rotated(x, *, theta):
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] * theta ** (-np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


@pytest.mark.parametrize("backend", ["keras", "pytorch"])
@pytest.mark.parametrize(("kind", "positions", "outputs", "settings"), TASKS)
def test_logits_of_tasks(kind, positions, outputs, settings, backend, write_folder, run, batch):
    folder = write_folder(kind, **settings)
    teacher = load_teacher(folder, backend=backend)
    wanted = {"task": TaskSignal(positions=positions), "hidden": HiddenSignal(layer=3)}
    teacher.facts.check(wanted)
    assert teacher.facts.num_labels == outputs
    output = run(folder, kind, batch)
    found = teacher.raw(batch, wanted)
    check_raw(found, output, batch, wanted)
    np.testing.assert_allclose(
        found["task"]["logits"], task_of(output, batch, positions), **FLOAT32
    )


def task_of(output, batch, positions):
    for name in ("seq_relationship_logits", "sop_logits"):
        if output.get(name) is not None:
            return output[name].numpy()[:2]
    if positions == "first":
        return output.logits.numpy()[:2]
    if output.get("start_logits") is not None:
        both = [at(output[name], batch, "all") for name in ("start_logits", "end_logits")]
        return np.stack(both, axis=-1)
    return at(output.logits, batch, "all").reshape(len(batch.items["all"].index), -1)


@pytest.mark.parametrize("kind", OTHERS)
def test_families_that_we_do_not_have_are_served(kind, write_folder, run, batch):
    folder = write_folder(kind)
    teacher = load_teacher(folder)
    facts = teacher.facts
    assert facts.backend == "pytorch" and len(facts.fingerprint) == 64
    assert facts.predicts == ("next" if "Causal" in kind else "masked")
    inside = {
        name: signal
        for name, signal in INSIDE.items()
        if signal.kind != "relations" and getattr(facts, f"why_no_{signal.kind}") is None
    }
    assert any(signal.kind == "qkv" for signal in inside.values())
    wanted = {**wanted_of(kind), **inside}
    facts.check(wanted)
    found = teacher.raw(batch, wanted)
    check_raw(found, run(folder, kind, batch), batch, wanted)
    check_final(teacher, found, wanted)
    assert found["qkv-1"]["queries"].shape[1] == facts.query_dim


@pytest.mark.parametrize("kind", EXPORTED)
def test_a_graph_gives_its_outputs(kind, write_folder, write_onnx, run, batch):
    pytest.importorskip("onnxruntime")
    folder = write_folder(kind)
    teacher = load_teacher(write_onnx(folder))
    wanted = {n: s for n, s in wanted_of(kind).items() if s.kind != "final"}
    teacher.facts.check(wanted)
    assert (teacher.facts.backend, teacher.facts.max_positions) == (
        "onnx",
        load_teacher(folder, backend="pytorch").facts.max_positions,
    )
    check_raw(teacher.raw(batch, wanted), run(folder, kind, batch), batch, wanted)


@pytest.mark.parametrize(
    "kind", ["BertForSequenceClassification", "BertForTokenClassification", *SPANS]
)
def test_a_graph_of_ours_gives_logits_of_tasks(kind, write_folder, tmp_path, batch):
    pytest.importorskip("onnxruntime")
    from limbeck.weights.heads import likely_head
    from limbeck.weights.load import load_model
    from limbeck.weights.onnx_export import export_onnx
    from limbeck.weights.read import read_checkpoint

    folder = write_folder(kind)
    model, _ = load_model(folder, head=likely_head(read_checkpoint(folder)))
    graph = load_teacher(export_onnx(model, tmp_path / "graph", tokenizer=None))
    keras = load_teacher(folder, backend="keras")
    assert graph.facts.num_labels == keras.facts.num_labels
    wanted = {"task": TaskSignal(positions=keras.facts.task_positions)}
    graph.facts.check(wanted)
    expected = keras.raw(batch, wanted)["task"]["logits"]
    np.testing.assert_allclose(graph.raw(batch, wanted)["task"]["logits"], expected, **FLOAT32)


@pytest.mark.parametrize("kind", [*OURS, "BertForPreTraining"])
def test_backends_know_the_same(kind, write_folder):
    folder = write_folder(kind)
    keras, pytorch = (load_teacher(folder, backend=b).facts for b in ("keras", "pytorch"))
    values = {**vars(pytorch), "backend": "keras"}
    assert vars(keras) == values  # the fingerprint too: the backend has no part in it


CODED = {
    "hidden": HiddenSignal(layer=1),
    "int8": HiddenSignal(layer=2, codec="int8"),
    "qkv": QkvSignal(layer=2),
    "attention": AttentionSignal(layer=1),
    "masked": HiddenSignal(layer=3, positions="masked", codec="bfloat16"),
}


def coded(signals):
    return {name: Fitted(signal=signal) for name, signal in signals.items()}


def test_encoded_signals_are_those_of_the_numpy_codec(write_folder, write_onnx, batch):
    """Each backend's raw arrays through the NumPy codec, bit for bit what it encodes itself."""
    from limbeck.labels import codecs

    folder = write_folder("BertForMaskedLM")
    for teacher in (
        load_teacher(folder, backend="keras"),
        load_teacher(folder, backend="pytorch"),
        load_teacher(write_onnx(folder)),
    ):
        signals = CODED
        if teacher.facts.backend == "onnx":
            signals = {n: s for n, s in CODED.items() if s.kind == "hidden"}
        raw, found = teacher.raw(batch, signals), teacher.signals(batch, coded(signals))
        for name, fitted in coded(signals).items():
            expected = codecs.encode(fitted, raw[name], true_ids=None, draws=None)
            assert found[name].keys() == expected.keys()
            for field, values in expected.items():
                np.testing.assert_array_equal(found[name][field], values, err_msg=name)
