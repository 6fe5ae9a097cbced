"""Reading and writing safetensors files: whole or not there, and never executing anything."""

import os
from collections.abc import Mapping

import ml_dtypes  # noqa: F401  gives NumPy the bfloat16 that safetensors returns
import numpy as np
import safetensors
import safetensors.numpy

from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_write

__all__ = ["read_tensors", "write_tensors"]


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

    `metadata` should hold one entry at most: the order of several is not fixed.
    """
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    data = safetensors.numpy.save(contiguous, metadata=dict(metadata) if metadata else None)
    atomic_write(path, data)
