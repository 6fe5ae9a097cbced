"""ONNX graphs as teachers: threads, parts of a batch, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import HiddenSignal, SparseSignal
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import AttentionSignal, QkvSignal, TaskSignal
from limbeck.teachers import TeacherBatch, find_teacher, load_teacher, onnx_graph
from limbeck.teachers.protocol import LoadOptions

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

WANTED = {
    "sparse": SparseSignal(k=4, temperatures=(1.0,)),
    "hidden": HiddenSignal(layer=2, codec="float32"),
}
FITTED = {name: Fitted(signal=signal) for name, signal in WANTED.items()}


@pytest.fixture(scope="module")
def graph_folder(write_folder, write_onnx):
    return write_onnx(write_folder("BertForMaskedLM"))


@pytest.fixture
def changed(graph_folder, tmp_path):
    """A copy of the graph, and a function that changes it: `changed(edit, **config)`."""

    def change(edit=None, **config):
        folder = tmp_path / "changed"
        shutil.copytree(graph_folder, folder)
        model = onnx.load(folder / "model.onnx")
        if edit is not None:
            edit(model.graph)
        onnx.save(model, folder / "model.onnx")
        there = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**there, **config}))
        return folder

    return change


def keep_outputs(*names):
    def edit(graph):
        kept = [output for output in graph.output if output.name in names]
        del graph.output[:]
        graph.output.extend(kept)

    return edit


def test_facts_need_no_runtime(graph_folder):
    facts = find_teacher(graph_folder).facts
    assert (facts.vocab_size, facts.num_layers, facts.hidden_dim) == (97, 3, 16)
    assert facts.hidden_layers == {0, 1, 2, 3} and facts.why_no_logits is None


def test_graph_may_stand_in_a_folder_below_its_config(graph_folder, tmp_path, batch):
    (tmp_path / "onnx").mkdir()
    shutil.copy(graph_folder / "config.json", tmp_path)
    shutil.copy(graph_folder / "model.onnx", tmp_path / "onnx")
    facts = find_teacher(tmp_path).facts
    assert facts.fingerprint == find_teacher(graph_folder / "model.onnx").facts.fingerprint


def test_batch_in_parts_gives_the_same_answers(graph_folder, batch, monkeypatch):
    from limbeck.teachers import onnx_teacher

    teacher = load_teacher(graph_folder, threads=1)
    wanted = {**FITTED, "all": Fitted(signal=SparseSignal(k=4, positions="all"))}
    whole = teacher.signals(batch, wanted)
    monkeypatch.setattr(onnx_teacher, "_LOGITS_BYTES", 1)  # a row at a time
    parts = teacher.signals(batch, wanted)
    for name, arrays in whole.items():
        for field, values in arrays.items():
            np.testing.assert_allclose(
                parts[name][field].astype(np.float32), values.astype(np.float32), atol=1e-5
            )
    assert teacher.bare(batch, WANTED) is None


def with_task(graph):
    """The graph of a classifier: the sum of the first token's state, twice."""
    keep_outputs("hidden_states.3")(graph)
    tensor, types = onnx.helper.make_tensor, onnx.TensorProto
    graph.initializer.append(tensor("which", types.INT64, [], [0]))
    graph.initializer.append(tensor("axes", types.INT64, [1], [1]))
    graph.initializer.append(tensor("twice", types.INT64, [2], [1, 2]))
    for op, inputs, output in (
        ("Gather", ["hidden_states.3", "which"], "state"),
        ("ReduceSum", ["state", "axes"], "sum"),
        ("Tile", ["sum", "twice"], "task"),
    ):
        more = {"axis": 1} if op == "Gather" else {}
        graph.node.append(onnx.helper.make_node(op, inputs, [output], **more))
    for node in graph.node:  # what was called so is of the vocabulary
        node.output[:] = ["old_logits" if name == "logits" else name for name in node.output]
        node.output[:] = ["logits" if name == "task" else name for name in node.output]
    value = onnx.helper.make_tensor_value_info("logits", types.FLOAT, ["batch", 2])
    graph.output.append(value)


def test_classifier_gives_its_logits_a_row(changed, batch):
    folder = changed(with_task, architectures=["BertForSequenceClassification"])
    teacher = load_teacher(folder)
    assert (teacher.facts.task_positions, teacher.facts.num_labels) == ("first", 2)
    assert teacher.facts.why_no_logits is not None
    wanted = {"task": TaskSignal(), "hidden": HiddenSignal(layer=3, positions="first")}
    teacher.facts.check(wanted)
    found = teacher.raw(batch, wanted)
    sums = found["hidden"]["states"].sum(axis=-1, keepdims=True).repeat(2, axis=-1)
    np.testing.assert_allclose(found["task"]["logits"], sums, rtol=1e-5, atol=1e-5)


def with_attention(graph):
    """An output that is called as attention probabilities are: here, states of two heads."""
    tensor, types = onnx.helper.make_tensor, onnx.TensorProto
    graph.initializer.append(tensor("one", types.INT64, [1], [1]))
    graph.initializer.append(tensor("two", types.FLOAT, [1, 2, 1, 1], [1.0, 2.0]))
    graph.node.append(onnx.helper.make_node("Cast", ["attention_mask"], ["mask_f"], to=types.FLOAT))
    graph.node.append(onnx.helper.make_node("Unsqueeze", ["mask_f", "one"], ["mask_1"]))
    graph.node.append(onnx.helper.make_node("Unsqueeze", ["mask_1", "one"], ["mask_2"]))
    graph.node.append(onnx.helper.make_node("Transpose", ["mask_2"], ["mask_3"], perm=[0, 1, 3, 2]))
    graph.node.append(onnx.helper.make_node("Mul", ["mask_2", "mask_3"], ["pairs"]))
    graph.node.append(onnx.helper.make_node("Mul", ["pairs", "two"], ["attentions.1"]))
    dims = ["batch", 2, "length", "length"]
    graph.output.append(onnx.helper.make_tensor_value_info("attentions.1", types.FLOAT, dims))


def test_attention_of_a_layer_is_given_where_the_graph_has_it(changed, batch):
    teacher = load_teacher(changed(with_attention))
    wanted = {"attention": AttentionSignal(layer=2)}  # the tuple begins at layer 1
    teacher.facts.check(wanted)
    with pytest.raises(UsageError, match="gives the attention of these layers only: 2"):
        teacher.facts.check({"attention": AttentionSignal(layer=1)})
    found = teacher.raw(batch, wanted)["attention"]["probabilities"]
    mask = batch.attention_mask[:2]
    pairs = (mask[:, None, :] * mask[:, :, None])[:, :, None, :] * np.array([[1.0], [2.0]])
    np.testing.assert_array_equal(found, pairs.reshape(-1, 2, 20)[batch.items["all"].index])


def test_what_a_graph_does_not_show_is_refused(graph_folder):
    with pytest.raises(UsageError, match="needs queries, keys and values, but .* is a graph"):
        find_teacher(graph_folder).facts.check({"qkv": QkvSignal(layer=1)})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"jit": True}, "jit is on"), ({"precision": "mixed_float16"}, "precision is mixed_float16")],
)
def test_choices_that_graphs_do_not_have_are_refused(graph_folder, options, message):
    with pytest.raises(UsageError, match=f"{message}, but .* is a graph"):
        load_teacher(graph_folder, **options)


def test_threads_are_those_that_were_asked_for(graph_folder):
    session = load_teacher(graph_folder, threads=1)._session
    assert session.get_session_options().intra_op_num_threads == 1


def test_graph_without_logits_gives_states_only(changed, batch):
    source = find_teacher(changed(keep_outputs("hidden_states.2")))
    with pytest.raises(UsageError, match="families.sparse: .* has no output `logits`"):
        source.facts.check(WANTED)
    with pytest.raises(UsageError, match="gives the states of these layers only: 2"):
        source.facts.check({"hidden": HiddenSignal(layer=3)})
    wanted = {"hidden": WANTED["hidden"]}
    found = source.load(LoadOptions(threads=1)).raw(batch, wanted)
    assert found["hidden"]["states"].shape == (33, 16)


def test_graph_of_a_decoder_gives_logits_of_what_comes_next(changed):
    facts = find_teacher(changed(architectures=["GPT2LMHeadModel"], model_type="gpt2")).facts
    assert facts.predicts == "next"
    with pytest.raises(UsageError, match="predicts what comes next; take positions: all"):
        facts.check(WANTED)
    facts.check({"sparse": SparseSignal(k=4, positions="all")})


def with_places(graph):
    """A graph that adds to its logits the position of the token, as an input says it."""
    types = onnx.TensorProto
    value = onnx.helper.make_tensor_value_info("position_ids", types.INT64, ["b", "t"])
    graph.input.append(value)
    for node in graph.node:
        node.output[:] = ["old_logits" if name == "logits" else name for name in node.output]
    graph.initializer.append(onnx.helper.make_tensor("last", types.INT64, [1], [2]))
    graph.node.append(onnx.helper.make_node("Cast", ["position_ids"], ["places"], to=types.FLOAT))
    graph.node.append(onnx.helper.make_node("Unsqueeze", ["places", "last"], ["column"]))
    graph.node.append(onnx.helper.make_node("Add", ["old_logits", "column"], ["logits"]))


def test_graph_that_asks_for_positions_is_given_them(changed, graph_folder, batch):
    wanted = {"sparse": SparseSignal(k=4, positions="all")}
    found = load_teacher(changed(with_places)).raw(batch, wanted)["sparse"]["logits"]
    expected = load_teacher(graph_folder).raw(batch, wanted)["sparse"]["logits"]
    places = (batch.items["all"].index % 20)[:, None]
    np.testing.assert_allclose(found - places, expected, atol=1e-4)


def test_last_hidden_state_is_the_last_layer(changed, graph_folder, batch):
    def edit(graph):
        keep_outputs("hidden_states.3")(graph)
        graph.node.add(op_type="Identity", input=["hidden_states.3"], output=["last_hidden_state"])
        graph.output[0].name = "last_hidden_state"

    wanted = {"hidden": HiddenSignal(layer=3)}
    found = load_teacher(changed(edit)).raw(batch, wanted)["hidden"]["states"]
    expected = load_teacher(graph_folder).raw(batch, wanted)["hidden"]["states"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def without_segments(graph):
    """The graph as an exporter leaves it that was told of ids and mask only."""
    (segments,) = (value for value in graph.input if value.name == "token_type_ids")
    graph.input.remove(segments)
    zero = onnx.helper.make_tensor("zero", onnx.TensorProto.INT64, [], [0])
    graph.initializer.append(zero)
    node = onnx.helper.make_node("Mul", ["input_ids", "zero"], ["token_type_ids"])
    graph.node.insert(0, node)


def test_second_segment_that_a_graph_cannot_read_is_refused(changed, batch):
    teacher = load_teacher(changed(without_segments))
    with pytest.raises(LimbeckError, match="no input token_type_ids"):
        teacher.raw(batch, WANTED)
    fields = {name: getattr(batch, name) for name in TeacherBatch.__dataclass_fields__}
    teacher.raw(TeacherBatch(**{**fields, "segment_ids": 0 * batch.ids}), WANTED)


def fixed_length(graph):
    for value in graph.input:
        value.type.tensor_type.shape.dim[1].dim_value = 7


def unknown_input(graph):
    graph.input[0].name = "pixel_values"


def extra_input(graph):
    value = onnx.helper.make_tensor_value_info("past", onnx.TensorProto.FLOAT, ["b", "t"])
    graph.input.append(value)


def float_input(graph):
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def other_outputs(graph):
    keep_outputs("logits")(graph)
    graph.output[0].name = "scores"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (fixed_length, r"input_ids has the fixed shape \[None, 7\]; export it with an open batch"),
        (unknown_input, "no input input_ids"),
        (extra_input, "wants an input past, which is not known"),
        (float_input, "input input_ids is float32; integers are expected"),
        (other_outputs, r"none of its outputs \(scores\) is known"),
    ],
)
def test_graphs_of_other_kinds_are_refused(changed, edit, message):
    with pytest.raises(UsageError, match=message):
        find_teacher(changed(edit))


def test_graph_without_a_config_is_refused(graph_folder, tmp_path):
    shutil.copy(graph_folder / "model.onnx", tmp_path)
    with pytest.raises(UsageError, match="no config.json beside it"):
        find_teacher(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 2}, "output hidden_states.3, but config.json says"),
        ({"hidden_size": 8}, "hidden_states.* is config.json says that it is 8 wide"),
        ({"vocab_size": 60}, ""),  # a padded vocabulary: the first 60 are taken
    ],
)
def test_config_that_contradicts_the_graph(changed, config, message, batch):
    folder = changed(**config)
    if message:
        with pytest.raises(UsageError):
            load_teacher(folder)
    else:
        found = load_teacher(folder).raw(batch, {"sparse": WANTED["sparse"]})
        assert found["sparse"]["logits"].shape == (4, 60)


def test_graph_that_does_not_load_gives_one_line(changed):
    def edit(graph):
        graph.node[0].op_type = "NoSuchOperator"

    with pytest.raises(LimbeckError, match="ONNX Runtime cannot load it") as caught:
        load_teacher(changed(edit))
    assert "\n" not in str(caught.value)


def test_weights_beside_the_graph_are_part_of_it(graph_folder, tmp_path, batch):
    shutil.copy(graph_folder / "config.json", tmp_path)
    model = onnx.load(graph_folder / "model.onnx")
    onnx.save(
        model,
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.data",
        size_threshold=0,
    )
    plan = onnx_graph.read_plan(tmp_path)
    expected = load_teacher(graph_folder).raw(batch, WANTED)
    found = load_teacher(tmp_path).raw(batch, WANTED)
    np.testing.assert_array_equal(found["sparse"]["logits"], expected["sparse"]["logits"])
    with open(tmp_path / "weights.data", "r+b") as file:
        file.seek(100)
        file.write(b"\x01")
    assert onnx_graph.read_plan(tmp_path).facts.fingerprint != plan.facts.fingerprint
    (tmp_path / "weights.data").unlink()
    with pytest.raises(LimbeckError, match="its weights are said to be in 'weights.data'"):
        find_teacher(tmp_path)
