"""PyTorch's checkpoint files (`pytorch_model.bin`) of both layouts, without executing anything.

Since 1.6 a checkpoint is a zip archive: `NAME/data.pkl` is a program that makes the table of
tensors (see `limbeck.weights.torch_program`), `NAME/data/KEY` are the numbers. Before, it was one
stream: a magic number, a version, facts about the machine, the program, the storages' keys, and
then for each key its number of elements and the elements.
"""

import io
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.weights.torch_program import Storage, TensorView, read_program

__all__ = ["read_torch"]

# What Python's reader of archives says to damaged ones.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)
_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_DTYPES = {
    "Float": np.dtype("<f4"),
    "Double": np.dtype("<f8"),
    "Half": np.dtype("<f2"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
}


def read_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads every tensor of a file that holds a state dict, in the file's dtypes.

    Raises:
      UsageError: the file asks for code to be run, or holds something else than tensors.
      LimbeckError: the file is damaged, or of PyTorch before 0.2.
      OSError: the file cannot be read.
    """
    where = os.fspath(path)
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04":
            return _read_zip(file, where=where)
        return _read_stream(_Bounded(file, size), where=where)


def _read_zip(file: BinaryIO, *, where: str) -> dict[str, np.ndarray]:
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise LimbeckError(f"{where}: cut off or damaged ({error}); fetch it again") from error
    with archive:
        programs = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise LimbeckError(f"{where}: a zip archive, but not a PyTorch checkpoint")
        root = programs[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist():
            _check_little(_member(archive, f"{root}byteorder", where=where) == b"little", where)
        program = _member(archive, programs[0], where=where)
        table = read_program(_Bounded(io.BytesIO(program), len(program)), where=where)
        views = _state_dict(table, where=where)
        return _tensors(
            views, lambda key: _member(archive, f"{root}data/{key}", where=where), where
        )


def _member(archive: zipfile.ZipFile, name: str, *, where: str) -> bytes:
    if name not in archive.NameToInfo:
        raise LimbeckError(f"{where}: {name} is missing in it; fetch it again")
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise LimbeckError(f"{where}: {name} is compressed, which PyTorch never does")
    try:
        return archive.read(name)  # checks the CRC
    except _ZIP_ERRORS as error:
        raise LimbeckError(f"{where}: {name} is damaged ({error}); fetch it again") from error


def _read_stream(stream: "_Bounded", *, where: str) -> dict[str, np.ndarray]:
    if read_program(stream, where=where) != _MAGIC:
        raise LimbeckError(f"{where}: not a PyTorch checkpoint, or one of PyTorch before 0.2")
    version = read_program(stream, where=where)
    if version != _LEGACY_VERSION:
        raise LimbeckError(f"{where}: its format is {version!r}; {_LEGACY_VERSION} is known")
    machine = read_program(stream, where=where)
    _check_little(isinstance(machine, dict) and machine.get("little_endian") is True, where)
    views = _state_dict(read_program(stream, where=where), where=where)
    keys = read_program(stream, where=where)
    if not isinstance(keys, list):
        raise LimbeckError(f"{where}: the list of its storages is damaged; fetch it again")
    kinds = {view.storage.key: view.storage.kind for view in views.values()}
    runs: dict[str, bytes] = {}
    for key in map(str, keys):
        count = int.from_bytes(stream.exactly(8, where=where), "little")
        width = _dtype(kinds[key], where).itemsize if key in kinds else None
        if width is None:
            raise LimbeckError(f"{where}: storage {key!r} belongs to no tensor; fetch it again")
        runs[key] = stream.exactly(count * width, where=where)
    return _tensors(views, runs.__getitem__, where)


def _state_dict(table: Any, *, where: str) -> dict[str, TensorView]:
    if not isinstance(table, dict):
        raise UsageError(
            f"{where}: holds {_kind(table)}; a state dict (name -> tensor) is expected"
        )
    for name, value in table.items():
        if not isinstance(name, str) or not isinstance(value, TensorView):
            raise UsageError(
                f"{where}: {str(name)[:100]!r} is {_kind(value)}, not a tensor; save the model's "
                "state_dict() alone"
            )
    return table


def _tensors(
    views: Mapping[str, TensorView], run: Callable[[str], bytes], where: str
) -> dict[str, np.ndarray]:
    runs: dict[str, bytes] = {}
    tensors: dict[str, np.ndarray] = {}
    for name, view in views.items():
        key = view.storage.key
        if key not in runs:
            try:
                runs[key] = run(key)
            except KeyError:
                raise LimbeckError(
                    f"{where}: the numbers of {name} are missing; fetch it again"
                ) from None
        tensors[name] = _view(view, runs[key], what=f"{where}: {name}", where=where)
    return tensors


def _view(view: TensorView, run: bytes, *, what: str, where: str) -> np.ndarray:
    """The tensor, which must lie within its storage and share no element with itself."""
    dtype = _dtype(view.storage.kind, where)
    storage: Storage = view.storage
    if (storage.offset + storage.size) * dtype.itemsize > len(run):
        raise LimbeckError(
            f"{what}: {len(run)} bytes of {(storage.offset + storage.size) * dtype.itemsize} are "
            "there; fetch it again"
        )
    size, last = 1, view.offset
    for dim, stride in zip(view.shape, view.strides, strict=True):
        size *= dim
        last += max(dim - 1, 0) * stride
    if size and (last >= storage.size or size > storage.size):
        raise LimbeckError(f"{what}: shape {view.shape} is more than its storage of {storage.size}")
    values = np.frombuffer(run, dtype, count=storage.size, offset=storage.offset * dtype.itemsize)
    steps = tuple(stride * dtype.itemsize for stride in view.strides)
    if not size:
        return np.zeros(view.shape, dtype)
    return np.lib.stride_tricks.as_strided(
        values[view.offset :], view.shape, steps, writeable=False
    ).copy()


def _dtype(kind: str, where: str) -> np.dtype[Any]:
    if kind not in _DTYPES:
        raise UsageError(f"{where}: holds torch.{kind}Storage; known are {', '.join(_DTYPES)}")
    return _DTYPES[kind]


def _check_little(little: bool, where: str) -> None:
    if not little:
        raise UsageError(f"{where}: of a big-endian machine; save it again on another one")


def _kind(value: Any) -> str:
    return "a tensor" if isinstance(value, TensorView) else f"a {type(value).__name__}"


class _Bounded:
    """A stream whose reads never ask for more than is there: a length in a file may be any."""

    def __init__(self, stream: Any, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return bytes(data)

    def readline(self) -> bytes:
        """Up to and with the next line feed."""
        data = self._stream.readline(self._left)
        self._left -= len(data)
        return bytes(data)

    def tell(self) -> int:
        """Position, for the messages of the format's reader."""
        return int(self._stream.tell())

    def exactly(self, size: int, *, where: str) -> bytes:
        """`size` bytes.

        Raises:
          LimbeckError: the file is too short.
        """
        data = self.read(size)
        if len(data) < size:
            raise LimbeckError(f"{where}: cut off: {len(data)} bytes of {size} are left")
        return data
