"""Our reader of an ONNX file's description against the onnx package, and on damaged files."""

import pytest

from limbeck.config.errors import LimbeckError
from limbeck.teachers.onnx_file import OnnxValue, read_graph

onnx = pytest.importorskip("onnx")


def graph(tmp_path, *, external="", listed=False):
    """y = x W with W in the file or beside it."""
    helper, types = onnx.helper, onnx.TensorProto
    weight = helper.make_tensor("W", types.FLOAT, [2, 3], [0.0] * 6)
    if external:
        weight.ClearField("float_data")
        weight.data_location = types.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", external
    inputs = [
        helper.make_tensor_value_info("x", types.INT64, ["batch", 2]),
        *([helper.make_tensor_value_info("W", types.FLOAT, [2, 3])] if listed else []),
    ]
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "g",
        inputs,
        [helper.make_tensor_value_info("y", types.FLOAT16, ["batch", 3])],
        [weight],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(made, producer_name="a test").SerializeToString())
    return path


@pytest.mark.parametrize("listed", [False, True])  # old files list weights among the inputs
def test_inputs_and_outputs_are_read_without_weights(tmp_path, listed):
    found = read_graph(graph(tmp_path, listed=listed))
    assert found.inputs == (OnnxValue(name="x", dtype="int64", shape=(None, 2)),)
    assert found.outputs == (OnnxValue(name="y", dtype="float16", shape=(None, 3)),)
    assert found.external_files == ()


def test_files_that_hold_weights_are_named(tmp_path):
    assert read_graph(graph(tmp_path, external="w.data")).external_files == ("w.data",)


def test_every_cut_is_read_or_refused_in_one_line(tmp_path):
    path = graph(tmp_path)
    data = path.read_bytes()
    whole, refused = read_graph(path), 0
    for size in range(len(data)):
        path.write_bytes(data[:size])
        try:
            assert read_graph(path) == whole  # what is behind the graph is not of interest here
        except LimbeckError as error:
            assert "not an ONNX file, or damaged" in str(error)
            refused += 1
    assert refused > len(data) // 2


@pytest.mark.parametrize("data", [b"hello world, this is text", b"\xff" * 64, b"PK\x03\x04" * 9])
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(LimbeckError, match="model.onnx: not an ONNX file"):
        read_graph(path)
