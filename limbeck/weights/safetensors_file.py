"""Reading and writing safetensors files: whole or not there, and never executing anything."""

import json
import os
import struct
from collections.abc import Mapping

import ml_dtypes  # noqa: F401  gives NumPy the bfloat16 that safetensors returns
import numpy as np
import safetensors

from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_file

__all__ = ["read_tensors", "write_tensors"]

# NumPy's names of dtypes and the format's, in the order in which the library writes them.
DTYPES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
PLACES = {name: place for place, name in enumerate(DTYPES)}


def read_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads every tensor of a file, in the file's dtypes.

    Raises:
      LimbeckError: the file is damaged, or holds a dtype that NumPy has not.
      OSError: the file cannot be read.
    """
    try:
        with safetensors.safe_open(os.fspath(path), framework="np") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (safetensors.SafetensorError, TypeError, KeyError, AttributeError) as error:
        raise LimbeckError(
            f"{path}: not a sound safetensors file ({error}); fetch or export it again"
        ) from error


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a file that appears whole or not at all; equal content gives equal bytes.

    The tensors are not copied, so a file may be as large as memory, and little of the time is
    spent holding back other threads: it may be called from one while others compute.

    Args:
      path: of the file.
      tensors: by name; of any dtype in `DTYPES`, little-endian.
      metadata: texts by name, for readers.

    Raises:
      TypeError: a dtype that the format has not, or metadata that are not texts.
    """
    for name, tensor in tensors.items():
        if np.asarray(tensor).dtype.name not in DTYPES:
            raise TypeError(f"{path}: {name!r} has dtype {tensor.dtype}, which no file can hold")
    if not all(isinstance(text, str) for text in (metadata or {}).values()):
        raise TypeError(f"{path}: metadata must be texts: {metadata}")
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    # Wide dtypes first, so that all are aligned.
    names = sorted(contiguous, key=lambda name: (PLACES[contiguous[name].dtype.name], name))
    with atomic_file(path) as file:
        file.write(_header(names, contiguous, metadata))
        for name in names:
            # The tensor's own bytes: no copy, and other threads run while they are written.
            file.write(contiguous[name].reshape(-1).view(np.uint8).data)


def _header(
    names: list[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None
) -> bytes:
    """Length and JSON text, padded so that the first tensor is aligned."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        tensor, start = tensors[name], end
        end += tensor.nbytes
        entries[name] = {
            "dtype": DTYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
