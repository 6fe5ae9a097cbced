"""PyTorch's own files, and files made to do harm."""

import io
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.weights.torch_file import read_torch
from limbeck.weights.torch_program import read_program


def tensors(torch):
    """Every dtype, a scalar, an empty one, a transpose, a slice, a parameter, and a shared one."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
    return OrderedDict(
        float=base,
        double=base.double(),
        half=base.half(),
        bfloat16=base.bfloat16(),
        long=torch.arange(5),
        int=torch.arange(5, dtype=torch.int32),
        bool=torch.tensor([True, False]),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        transposed=base.T,
        sliced=base[1:3, ::2],
        parameter=torch.nn.Parameter(base[0] + 1),
        shared=base,
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_every_dtype_and_view_is_read_as_pytorch_reads_it(torch, tmp_path, zipped):
    expected = tensors(torch)
    path = tmp_path / "pytorch_model.bin"
    torch.save(expected, path, _use_new_zipfile_serialization=zipped)
    found = read_torch(path)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert str(tensor.dtype) == f"torch.{found[name].dtype}", name
        assert found[name].shape == tuple(tensor.shape), name
        np.testing.assert_array_equal(
            found[name].astype(np.float64), tensor.detach().double().numpy(), err_msg=name
        )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_state_dict_of_a_module_is_read(torch, tmp_path, zipped, protocol):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    path = tmp_path / "pytorch_model.bin"
    torch.save(
        module.state_dict(),
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    found = read_torch(path)
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


# Programs written by hand, as the format's operations: none of them is ever run by anything.
HOSTILE = [
    (b"cos\nsystem\n(S'touch pwned'\ntR.", "names 'os.system'"),
    (b"\x80\x02cposix\nsystem\nX\x05\x00\x00\x00helloq\x00\x85R.", "names 'posix.system'"),
    (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "names 'builtins.eval'"),
    (b"(ios\nsystem\n.", "uses the operation INST"),
    (b"(cos\nsystem\no.", "names 'os.system'"),
    (b"\x80\x02ctorch\nload\n)R.", "names 'torch.load'"),
    (b"\x80\x02ctorch._utils\n_rebuild_qtensor\n)R.", "names 'torch._utils._rebuild_qtensor'"),
    (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage"),
    (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "uses the operation NEWOBJ"),
    (b"\x80\x02\x82\x01.", "uses the operation EXT1"),
    (b"\x80\x02ccollections\nOrderedDict\n}b.", "sets the state of an object"),
]


@pytest.mark.parametrize(("program", "message"), HOSTILE)
def test_code_in_a_file_is_refused_by_name_and_not_run(tmp_path, monkeypatch, program, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(program)
    with pytest.raises(UsageError, match=message) as error:
        read_torch(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["pytorch_model.bin"]


def test_code_inside_a_zip_is_refused_too(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", HOSTILE[0][0])
    with pytest.raises(UsageError, match="names 'os.system', which no table of tensors needs"):
        read_torch(path)


@pytest.mark.faults
@pytest.mark.parametrize("zipped", [True, False])
def test_file_cut_anywhere_is_refused_in_one_line(torch, tmp_path, zipped):
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors(torch), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in {*range(0, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(LimbeckError) as error:
            read_torch(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.faults
@pytest.mark.parametrize("zipped", [True, False])
def test_flipped_bits_never_crash_nor_run_anything(torch, tmp_path, zipped):
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors(torch), path, _use_new_zipfile_serialization=zipped)
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read_torch(path)  # a changed number cannot be told in the old layout
        except LimbeckError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "holds a list; a state dict"),
        ({"epoch": 3}, "'epoch' is a int, not a tensor; save the model's state_dict"),
    ],
)
def test_file_with_something_else_is_refused(torch, tmp_path, value, message):
    path = tmp_path / "x.bin"
    torch.save(value, path)
    with pytest.raises(UsageError, match=message):
        read_torch(path)


def test_shape_larger_than_its_storage_is_refused(torch, tmp_path):
    path = tmp_path / "x.bin"
    torch.save({"a": torch.zeros(1).expand(1 << 20)}, path)
    with pytest.raises(LimbeckError, match=r"a: shape \(1048576,\) is more than its storage of 1"):
        read_torch(path)


def test_missing_numbers_are_named(torch, tmp_path):
    path, copy = tmp_path / "x.bin", tmp_path / "y.bin"
    torch.save({"a": torch.zeros(3), "b": torch.ones(3)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as out:
        for name in archive.namelist():
            if not name.endswith("data/1"):
                out.writestr(name, archive.read(name))
    with pytest.raises(LimbeckError, match="data/1 is missing in it"):
        read_torch(copy)


def test_view_of_the_oldest_files_is_read():
    """Before 0.4 a storage could be a view of another one: (key, first element, elements)."""
    identity = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        b"K\x09(X\x01\x00\x00\x001K\x02K\x05ttQ"
    )
    storage = read_program(io.BytesIO(b"\x80\x02" + identity + b"."), where="x")
    assert storage == ("Float", "0", 2, 5)


def test_oldest_layout_of_all_is_named(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"\x80\x02K\x01.")
    with pytest.raises(LimbeckError, match="not a PyTorch checkpoint, or one of PyTorch before"):
        read_torch(path)


def test_text_of_a_boundless_length_needs_no_memory(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"abc")
    with pytest.raises(LimbeckError, match="damaged, or not a PyTorch checkpoint"):
        read_torch(path)
