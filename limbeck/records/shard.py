"""The files of one shard: their names, and the summary that the manifest and its JSON carry.

Shard 12 of 64 of the dataset `train` is three files:

    train-00012-of-00064.tfrecord    the records
    train-00012-of-00064.index       key, CRC, length (and offset) of each record
    train-00012-of-00064.json        the summary below, written last: the shard is done
"""

import dataclasses
import os
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.keys import KEY_BYTES

__all__ = [
    "DATASET_NAME",
    "MAX_SHARDS",
    "SHARD_FILE",
    "ShardSummary",
    "key_xor",
    "shard_files",
    "shard_stem",
]

DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")
SHARD_FILE = re.compile(
    r"(?P<name>.+)-(?P<index>[0-9]{5})-of-(?P<total>[0-9]{5})\.(?P<part>tfrecord|index|json)"
)
PARTS = ("tfrecord", "index", "json")
MAX_SHARDS = 99_999  # five digits
NO_KEY = ""  # first and last key of a shard without records
SHA256_HEX = re.compile(r"[0-9a-f]{64}")
KEY_HEX = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")


def shard_stem(name: str, index: int, num_shards: int) -> str:
    """Returns `NAME-00012-of-00064`."""
    return f"{name}-{index:05d}-of-{num_shards:05d}"


def shard_files(name: str, index: int, num_shards: int) -> tuple[str, str, str]:
    """Returns the names of a shard's data, index and JSON file."""
    stem = shard_stem(name, index, num_shards)
    return f"{stem}.tfrecord", f"{stem}.index", f"{stem}.json"


def key_xor(keys: npt.NDArray[np.uint8]) -> str:
    """Returns the hex of the xor of all keys (N, 16)."""
    xor: npt.NDArray[np.uint8] = np.bitwise_xor.reduce(keys, axis=0, initial=0)
    return xor.astype(np.uint8).tobytes().hex()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardSummary:
    """What a shard holds and how to recognise its bytes."""

    name: str
    """File name of the data."""
    records: int
    """Number of records."""
    bytes: int
    """Size of the data file."""
    sha256: str
    """SHA-256 of the data file, hex."""
    first_key: str
    """Key of the first record, hex; empty without records."""
    last_key: str
    """Key of the last record, hex; empty without records."""
    key_xor: str
    """Xor of all keys, hex."""
    tokens: int
    """Sum of the records' token counts; 0 where they were not given."""
    labelled_positions: int
    """Positions that carry a label, over all records."""
    index_bytes: int
    """Size of the index file."""
    index_sha256: str
    """SHA-256 of the index file, hex."""

    def to_json(self) -> dict[str, Any]:
        """Returns the shard's line of the manifest."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, value: Any, where: str) -> "ShardSummary":
        """Reads what `to_json` returned; `where` names the place in an error.

        Raises:
          LimbeckError: a field is missing, unknown or impossible.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(value, dict) or value.keys() != names:
            found = sorted(value) if isinstance(value, dict) else value
            raise LimbeckError(f"{where}: expected the fields {sorted(names)}, found {found!r}")
        for field in dataclasses.fields(cls):
            _check_value(field.name, value[field.name], field.type is int, where)
        summary = cls(**value)
        if {summary.first_key == NO_KEY, summary.last_key == NO_KEY} != {summary.records == 0}:
            raise LimbeckError(f"{where}: {summary.records} records and keys do not go together")
        return summary

    @property
    def index_name(self) -> str:
        """File name of the index."""
        return os.path.splitext(self.name)[0] + ".index"

    @property
    def json_name(self) -> str:
        """File name of the summary."""
        return os.path.splitext(self.name)[0] + ".json"


def _check_value(name: str, value: Any, is_count: bool, where: str) -> None:
    if is_count:
        good = type(value) is int and value >= 0
    elif name.endswith("sha256"):
        good = isinstance(value, str) and SHA256_HEX.fullmatch(value) is not None
    elif name in ("first_key", "last_key", "key_xor"):
        no_key = name != "key_xor" and value == NO_KEY
        good = no_key or (isinstance(value, str) and KEY_HEX.fullmatch(value) is not None)
    else:
        good = isinstance(value, str)
    if not good:
        raise LimbeckError(f"{where}: {name} cannot be {value!r}")
