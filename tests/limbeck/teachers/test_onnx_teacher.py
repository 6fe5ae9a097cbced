"""ONNX graphs as teachers: threads, parts of a batch, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import HiddenSignal, SparseSignal
from limbeck.teachers import TeacherBatch, find_teacher, load_teacher, onnx_graph

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

WANTED = {
    "sparse": SparseSignal(k=4, temperatures=(1.0,)),
    "hidden": HiddenSignal(layer=2, dtype="float32"),
}


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
    whole = teacher.signals(batch, WANTED)
    monkeypatch.setattr(onnx_teacher, "_LOGITS_BYTES", 1)  # a row at a time
    parts = teacher.signals(batch, WANTED)
    for name, arrays in whole.items():
        for field, values in arrays.items():
            np.testing.assert_allclose(
                parts[name][field].astype(np.float32), values.astype(np.float32), atol=1e-5
            )


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
    assert source.load(1).signals(batch, wanted)["hidden"]["states"].shape == (3, 20, 16)


def test_causal_model_gives_states_only(changed):
    facts = find_teacher(changed(architectures=["GPT2LMHeadModel"], model_type="gpt2")).facts
    with pytest.raises(UsageError, match=r"families.sparse: .* predicts what comes next \(gpt2\)"):
        facts.check(WANTED)
    facts.check({"hidden": WANTED["hidden"]})


def test_last_hidden_state_is_the_last_layer(changed, graph_folder, batch):
    def edit(graph):
        keep_outputs("hidden_states.3")(graph)
        graph.node.add(op_type="Identity", input=["hidden_states.3"], output=["last_hidden_state"])
        graph.output[0].name = "last_hidden_state"

    wanted = {"hidden": HiddenSignal(layer=3, dtype="float32")}
    found = load_teacher(changed(edit)).signals(batch, wanted)["hidden"]["states"]
    expected = load_teacher(graph_folder).signals(batch, wanted)["hidden"]["states"]
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
        teacher.signals(batch, WANTED)
    fields = {name: getattr(batch, name) for name in TeacherBatch.__dataclass_fields__}
    teacher.signals(TeacherBatch(**{**fields, "segment_ids": 0 * batch.ids}), WANTED)


def fixed_length(graph):
    for value in graph.input:
        value.type.tensor_type.shape.dim[1].dim_value = 7


def unknown_input(graph):
    graph.input[0].name = "pixel_values"


def extra_input(graph):
    value = onnx.helper.make_tensor_value_info("position_ids", onnx.TensorProto.INT64, ["b", "t"])
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
        (extra_input, "wants an input position_ids, which is not known"),
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
        found = load_teacher(folder).signals(batch, {"sparse": WANTED["sparse"]})
        assert found["sparse"]["ids"].max() < 60


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
    expected = load_teacher(graph_folder).signals(batch, WANTED)
    found = load_teacher(tmp_path).signals(batch, WANTED)
    np.testing.assert_array_equal(found["sparse"]["ids"], expected["sparse"]["ids"])
    with open(tmp_path / "weights.data", "r+b") as file:
        file.seek(100)
        file.write(b"\x01")
    assert onnx_graph.read_plan(tmp_path).facts.fingerprint != plan.facts.fingerprint
    (tmp_path / "weights.data").unlink()
    with pytest.raises(LimbeckError, match="its weights are said to be in 'weights.data'"):
        find_teacher(tmp_path)
