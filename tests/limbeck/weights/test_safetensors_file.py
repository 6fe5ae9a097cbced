import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from limbeck.config.errors import LimbeckError
from limbeck.weights.safetensors_file import DTYPES, read_tensors, write_tensors

TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
    "a": np.array(7, np.int64),
    "c/half": np.ones((2, 0), np.float16),
    "d": np.array([1.5, -2.0], ml_dtypes.bfloat16),
}


def test_tensors_come_back_with_dtype_and_shape(tmp_path):
    write_tensors(tmp_path / "x.safetensors", TENSORS)
    back = read_tensors(tmp_path / "x.safetensors")
    assert list(back) == sorted(TENSORS)
    for name, tensor in TENSORS.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        np.testing.assert_array_equal(back[name], tensor)


def test_equal_tensors_give_equal_bytes(tmp_path):
    write_tensors(tmp_path / "x", TENSORS, metadata={"format": "pt"})
    write_tensors(tmp_path / "y", dict(reversed(TENSORS.items())), metadata={"format": "pt"})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize("metadata", [None, {"limbeck": '{"a": "\\" \u00e9"}'}])
def test_bytes_are_those_of_the_library(tmp_path, metadata):
    every = {f"x{name}": np.ones((2, 3), name) for name in DTYPES if name != "bfloat16"}
    tensors = {**TENSORS, **every}
    write_tensors(tmp_path / "x", tensors, metadata=metadata)
    whole = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    theirs = safetensors.numpy.save(whole, metadata=metadata)
    assert (tmp_path / "x").read_bytes() == theirs


def test_dtype_that_no_file_holds_is_refused(tmp_path):
    with pytest.raises(TypeError, match="'a' has dtype complex128"):
        write_tensors(tmp_path / "x", {"a": np.ones(2, complex)})
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_writing_fails(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(TypeError):
        write_tensors(tmp_path / "x", {"a": np.ones(2, np.float32)}, metadata={"n": 1})
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.faults
@pytest.mark.parametrize("length", [0, 3, 8, 50, -1])
def test_cut_file_is_refused_by_name(tmp_path, length):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(LimbeckError, match="x.safetensors: not a sound safetensors file") as error:
        read_tensors(path)
    assert "\n" not in str(error.value)


@pytest.mark.faults
@pytest.mark.parametrize("offset", [0, 8, 12, 40])
def test_damaged_header_is_refused_by_name(tmp_path, offset):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS)
    data = bytearray(path.read_bytes())
    data[offset] = 0xFF
    path.write_bytes(data)
    with pytest.raises(LimbeckError, match="not a sound safetensors file"):
        read_tensors(path)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_tensors(tmp_path / "nothing")
