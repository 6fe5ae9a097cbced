"""Foreign tf.train.Example records as arrays, checked against a schema."""

# n records of a chunk

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.example import Feature, decode_example
from limbeck.records.tfrecord import read_frames

__all__ = ["Chunk", "Schema", "check_rows", "read_chunks", "stack"]

Array = npt.NDArray[Any]
Columns = dict[str, Array]
DTYPES = {"int64": np.dtype(np.int64), "float32": np.dtype(np.float32)}


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Which features a record has, of which type, and which have the same length."""

    name: str
    """What `--schema` calls it."""

    features: Mapping[str, tuple[Literal["int64", "float32"], str]]
    """Feature -> (type, name of its length)."""

    hints: Mapping[str, str]
    """Features of related schemas -> what to do about a record that has one."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some records of one file."""

    path: str
    """The file."""

    numbers: npt.NDArray[np.int64]
    """(n,) each record's number in the file, from 0."""

    payloads: tuple[bytes, ...]
    """(n,) serialised records, CRC checked."""

    def where(self, row: int) -> str:
        """Returns `FILE: record 12`, for messages."""
        return f"{self.path}: record {self.numbers[row]}"


def read_chunks(
    path: str, *, wanted: npt.NDArray[np.bool_] | None = None, chunk_records: int = 1024
) -> Iterator[Chunk]:
    """Yields the wanted records of a TFRecord file in order; all of them are CRC checked.

    Args:
      path: the file.
      wanted: (records of the file,) which to yield; all when None.
      chunk_records: most records of a chunk.

    Raises:
      LimbeckError: a damaged or truncated file, naming record and byte.
    """
    payloads: list[bytes] = []
    numbers: list[int] = []
    number = -1
    for number, payload in enumerate(read_frames(path)):
        if wanted is not None:
            if number >= len(wanted):
                raise LimbeckError(f"{path}: has grown while it was read; import it once more")
            if not wanted[number]:
                continue
        payloads.append(payload)
        numbers.append(number)
        if len(payloads) == chunk_records:
            yield Chunk(path=path, numbers=np.array(numbers), payloads=tuple(payloads))
            payloads, numbers = [], []
    if payloads:
        yield Chunk(path=path, numbers=np.array(numbers), payloads=tuple(payloads))
    if wanted is not None and number + 1 < len(wanted):
        raise LimbeckError(f"{path}: has shrunk while it was read; import it once more")


def stack(chunk: Chunk, schema: Schema, lengths: Mapping[str, int] | None = None) -> Columns:
    """Decodes a chunk to one array a feature.

    Args:
      chunk: the records.
      schema: what they must look like.
      lengths: name of a length -> its value; those of the chunk's first record when None.

    Returns:
      feature -> int64 or float32 (n, length).

    Raises:
      LimbeckError: a feature is missing, unknown, of another type or length.
    """
    rows: dict[str, list[Any]] = {name: [] for name in schema.features}
    for row, payload in enumerate(chunk.payloads):
        try:
            record = decode_example(payload)
        except LimbeckError as error:
            raise LimbeckError(f"{chunk.where(row)}: {error}") from error
        _check_names(record, schema, chunk.where(row))
        if lengths is None:
            lengths = _lengths(record, schema)
        for name, (kind, length) in schema.features.items():
            rows[name].append(_checked(record[name], name, kind, lengths[length], chunk.where(row)))
    return {name: np.stack(values) for name, values in rows.items()}


def check_rows(where: Callable[[int], str], *rules: tuple[Array, str]) -> None:
    """Refuses the first row that breaks a rule.

    Args:
      where: row -> its place, for the message.
      *rules: (n, ...) true where broken, and what is wrong then.

    Raises:
      LimbeckError: names the place and the rule.
    """
    for broken, what in rules:
        rows = np.flatnonzero(broken.any(axis=tuple(range(1, broken.ndim))))
        if rows.size:
            raise LimbeckError(f"{where(int(rows[0]))}: {what}")


def _check_names(record: Mapping[str, Feature], schema: Schema, where: str) -> None:
    for name in schema.features:
        if name not in record:
            found = ", ".join(sorted(record)) or "nothing"
            raise LimbeckError(
                f"{where}: lacks the feature {name!r}, so it is not of schema {schema.name}; "
                f"it has {found}"
            )
    for name in record:
        if name not in schema.features:
            hint = schema.hints.get(name, "take it out, or import another schema")
            raise LimbeckError(
                f"{where}: has the feature {name!r}, which schema {schema.name} does not; {hint}"
            )


def _lengths(record: Mapping[str, Feature], schema: Schema) -> dict[str, int]:
    """The lengths that the first record shows; where two features differ, the first one counts."""
    lengths: dict[str, int] = {}
    for name, (_, length) in schema.features.items():
        lengths.setdefault(length, len(record[name]))
    return lengths


def _checked(values: Feature, name: str, kind: str, length: int, where: str) -> Array:
    if len(values) and (not isinstance(values, np.ndarray) or values.dtype != DTYPES[kind]):
        found = values.dtype if isinstance(values, np.ndarray) else "bytes"
        raise LimbeckError(f"{where}: {name} is a list of {found}; expected {kind}")
    if len(values) != length or not length:
        expected = f"expected {length}, as in the first record" if length else "it is empty"
        raise LimbeckError(f"{where}: {name} has {len(values)} values; {expected}")
    return np.asarray(values)
