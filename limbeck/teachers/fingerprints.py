"""Names for what a teacher computes, where it is no model of our own.

Our families, in whatever backend:  `limbeck.weights.fingerprint`: shape and weights
other folders of transformers:      SHA-256 of config and weights, see `folder_fingerprint`
ONNX:                               SHA-256 of the bytes of its files, see `onnx_fingerprint`
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.records.canonical import canonical

__all__ = ["folder_fingerprint", "onnx_fingerprint"]

# Keys of config.json that say how it was written or trained, and not what it computes.
_BOOKKEEPING = frozenset(
    "_name_or_path architectures dtype torch_dtype transformers_version use_cache".split()
)
_BLOCK = 1 << 20


def folder_fingerprint(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """Returns 64 hex digits over a model's config and every tensor, by the files' own names.

    The split into files and the encoding of a weight (float16, float32) have no part. Unlike a
    fingerprint of our families it is of spellings too: who renames a tensor renames the model.
    """
    digest = hashlib.sha256(b"limbeck-folder-1\n")
    kept = {name: value for name, value in config.items() if name not in _BOOKKEEPING}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name].astype("<f4"))
        digest.update(canonical([name, list(values.shape)]))
        digest.update(values.data)
    return digest.hexdigest()


def onnx_fingerprint(path: str | os.PathLike[str], external_files: Sequence[str]) -> str:
    """Returns 64 hex digits over the bytes of a graph and of the files that hold its weights.

    Two exports of one model differ in it: graphs of equal weights may compute differently.

    Raises:
      OSError: a file cannot be read.
    """
    digest = hashlib.sha256(b"limbeck-onnx-1\n")
    folder, name = Path(path).parent, Path(path).name
    for file in (name, *external_files):
        size = (folder / file).stat().st_size
        # The graph's own name is not part of it; its side files' names stand in it.
        digest.update(canonical([None if file == name else file, size]))
        with open(folder / file, "rb") as data:
            while block := data.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
