"""Reads a finished dataset: rows by number, in any order, every byte of them checked.

Rows are numbered through the shards in order. Several threads may read at once; `close` is for when
they are done.
"""

# N rows of the dataset, n rows asked for

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.directory import check_files, read_finished
from limbeck.records.errors import FIX, FIX_JSON
from limbeck.records.files import allow_open_files
from limbeck.records.keys import KEY_BYTES
from limbeck.records.layout import Layout
from limbeck.records.manifest import Content, Manifest
from limbeck.records.packed_rows import PackedRows
from limbeck.records.rows import FixedRows
from limbeck.records.shard_reader import ShardReader

__all__ = ["Dataset", "check_rows_match", "open_dataset"]

Int64 = npt.NDArray[np.int64]

SPAN_BYTES = 1 << 22  # read at a time by `iterate`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a row lies."""

    path: str
    """Data file of its shard."""
    row: int
    """Number inside the shard."""
    offset: int
    """First byte."""
    size: int
    """Framed length in bytes."""


class Dataset:
    """A finished dataset, opened by `open_dataset`."""

    def __init__(self, directory: str, manifest: Manifest) -> None:
        """Opens every shard's index; use `open_dataset`, which checks the directory first."""
        self.directory = directory
        self.manifest = manifest
        records = [shard.records for shard in manifest.content.shards]
        self.shard_starts: npt.NDArray[np.int64] = np.concatenate(([0], np.cumsum(records)))
        """(shards + 1,): first row of each shard, and the number of rows."""
        # A mapped index and a data file a shard.
        allow_open_files(2 * len(records), directory)
        self.codec = FixedRows(self.layout) if self.layout.stride_is_fixed else None
        """Of fixed layouts: stride, columns, encoding and decoding."""
        self.shards = [
            ShardReader(directory, shard, self.layout, codec=self.codec, first_row=int(start))
            for shard, start in zip(manifest.content.shards, self.shard_starts[:-1], strict=True)
        ]
        self._packed = (
            PackedRows(self.layout) if not self.codec and PackedRows.fits(self.layout) else None
        )
        selections = [shard.index.selection for shard in self.shards]
        self.is_partial = any(selection is not None for selection in selections)
        """Whether the rows are some of the parent's rows, not all; `find` says which."""
        if self.is_partial and any(selection is None for selection in selections):
            raise LimbeckError(f"{directory}: some indexes say which rows they have and others not")
        self.parent_starts: Int64 = self.shard_starts
        """(shards + 1,): first row of the parent's shards, and the number of its rows."""
        if self.is_partial:
            parent = [selection.records for selection in selections if selection is not None]
            self.parent_starts = np.concatenate(([0], np.cumsum(parent)))

    @property
    def content(self) -> Content:
        """The manifest's content block."""
        return self.manifest.content

    @property
    def id(self) -> str:
        """The dataset's id."""
        return self.content.id

    @property
    def layout(self) -> Layout:
        """The feature table."""
        return self.content.layout

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.content.name

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.shard_starts[-1])

    def read(self, rows: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
        """Returns rows in the order asked for; a row may be asked for twice.

        Args:
          rows: (n,) integers in [0, N).

        Returns:
          field name -> array (n, *shape) of native byte order; of a `bytes` field an object array
          (n,) of bytes.

        Raises:
          CorruptRecord: a row is not the one that was written; names file, row and offset.
          UsageError: the layout has texts or lists; use `record` or `iterate`.
        """
        codec, packed = self.codec, self._packed
        if codec is None and packed is None:
            raise UsageError(
                f"{self.directory}: {self.content.kind} have fields of variable length; read them "
                "one by one"
            )
        # Each row once, in the order of the files: so neighbours are read by one call.
        distinct, places = np.unique(self._checked_rows(rows), return_inverse=True)
        if packed is not None:
            return {k: values[places] for k, values in self._read_packed(packed, distinct).items()}
        assert codec is not None
        data = np.empty((len(distinct), codec.stride), np.uint8)
        crcs, keys = _expectations(len(distinct))
        for shard, part, local in self._by_shard(distinct):
            shard.read_into(local, data[part].reshape(-1))
            crcs[part], keys[part] = shard.index.crcs[local], shard.index.keys[local]
        if codec.wrong_rows(data, crcs=crcs, keys=keys).any():
            self._raise_first(distinct, data)
        return codec.decode(data, places)

    def _read_packed(self, packed: PackedRows, rows: Int64) -> dict[str, npt.NDArray[Any]]:
        """As `read`, of ascending rows (n,)."""
        bounds = np.zeros(len(rows) + 1, np.int64)  # of each record in `data`
        crcs, keys = _expectations(len(rows))
        parts = list(self._by_shard(rows))
        for shard, part, local in parts:
            bounds[1:][part] = shard.extents(local)[1]
            crcs[part], keys[part] = shard.index.crcs[local], shard.index.keys[local]
        np.cumsum(bounds, out=bounds)
        data = np.empty(int(bounds[-1]), np.uint8)
        for shard, part, local in parts:
            shard.read_into(local, data[bounds[part.start] : bounds[part.stop]])
        values = packed.decode(data, sizes=np.diff(bounds), crcs=crcs, keys=keys)
        if values is None:
            for shard, part, local in parts:
                for at, row in enumerate(local.tolist(), start=part.start):
                    shard.decode(row, data[bounds[at] : bounds[at + 1]].tobytes())
            raise LimbeckError(f"{self.directory}: records are not those of its layout; {FIX}")
        return {field.name: values[field.name] for field in self.layout.fields}

    def find(self, parent_rows: npt.ArrayLike) -> Int64:
        """Returns our row of each of the parent's rows (n,); -1 where it is not there.

        Of a family that has all rows they are the same numbers. No data is read.

        Raises:
          IndexError: the parent has no such row.
        """
        wanted = _checked(parent_rows, int(self.parent_starts[-1]), self.directory)
        if not self.is_partial:
            return wanted
        numbers = np.searchsorted(self.parent_starts, wanted, side="right") - 1
        found = np.empty(len(wanted), np.int64)
        for number in np.unique(numbers).tolist():
            shard, here = self.shards[number], numbers == number
            assert shard.index.selection is not None
            own = shard.index.selection.find(wanted[here] - self.parent_starts[number])
            found[here] = np.where(own < 0, -1, own + shard.first_row)
        return found

    def parent_rows(self) -> Int64:
        """Returns the parent's row of each of our rows, (N,), ascending."""
        if not self.is_partial:
            return np.arange(self.num_rows)
        parts = [
            shard.index.selection.rows() + start
            for shard, start in zip(self.shards, self.parent_starts[:-1], strict=True)
            if shard.index.selection is not None
        ]
        return np.concatenate(parts)

    def attachment(self, name: str) -> bytes:
        """Returns the content of a file that lies beside the shards, checked.

        Raises:
          UsageError: the dataset has none of that name.
          LimbeckError: it is not the one that was written.
        """
        described = self.content.attachments.get(name)
        if described is None:
            there = ", ".join(sorted(self.content.attachments)) or "none"
            raise UsageError(f"{self.directory}: no attachment {name!r}; it has {there}")
        path = os.path.join(self.directory, name)
        with open(path, "rb") as file:
            data = file.read()
        found = hashlib.sha256(data).hexdigest()
        if found != described["sha256"]:
            raise LimbeckError(
                f"{path}: expected SHA-256 {described['sha256']}, found {found}; {FIX_JSON}"
            )
        return data

    def record(self, row: int) -> dict[str, Any]:
        """Returns one record of any layout.

        Returns:
          field name -> array (or NumPy scalar) of native byte order, bytes, str, or a list of them.

        Raises:
          CorruptRecord: the row is not the one that was written.
        """
        number = int(self._checked_rows([row])[0])
        shard = self.shards[int(self._shard_numbers(np.array([number]))[0])]
        return shard.read_record(number - shard.first_row)

    def iterate(self) -> Iterator[dict[str, Any]]:
        """Yields all records in order, as `record` returns them."""
        for shard in self.shards:
            row = 0
            while row < shard.summary.records:
                end = shard.span_end(row, SPAN_BYTES)
                yield from shard.decode_span(row, end, shard.read_span(row, end))
                row = end

    def keys(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Returns the keys uint8 (n, 16) of rows (n,), from the index: no data is read."""
        wanted = self._checked_rows(rows)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        keys = np.empty((len(wanted), KEY_BYTES), np.uint8)
        for shard, part, local in self._by_shard(ascending):
            keys[order[part]] = shard.index.keys[local]
        return keys

    def lengths(self) -> npt.NDArray[np.uint32]:
        """Returns the tokens of each row, uint32 (N,), from the index.

        Raises:
          UsageError: the dataset was written without.
        """
        columns = [shard.index.lengths for shard in self.shards]
        present = [column for column in columns if column is not None]
        if len(present) < len(columns):
            raise UsageError(f"{self.directory}: was written without token counts")
        return np.concatenate(present).astype(np.uint32, copy=False)

    def close(self) -> None:
        """Closes all files; no read may be under way."""
        for shard in self.shards:
            shard.close()

    def __enter__(self) -> "Dataset":
        """Returns itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Closes all files."""
        self.close()

    def __len__(self) -> int:
        """Returns N."""
        return self.num_rows

    def place(self, row: int) -> Place:
        """Returns where a row lies."""
        number = int(self._checked_rows([row])[0])
        shard = self.shards[int(self._shard_numbers(np.array([number]))[0])]
        local = number - shard.first_row
        offset, size = shard.extent(local)
        return Place(path=shard.path, row=local, offset=offset, size=size)

    def _raise_first(self, rows: Int64, data: npt.NDArray[np.uint8]) -> None:
        """Raises the error of the first bad one of ascending rows (n,), framed (n, stride)."""
        for shard, part, local in self._by_shard(rows):
            shard.check(local, data[part])

    def _by_shard(self, rows: Int64) -> Iterator[tuple[ShardReader, slice, Int64]]:
        """Yields the shards that ascending rows (n,) lie in, with the slice of rows in each.

        The third are the numbers of those rows inside the shard.
        """
        numbers = self._shard_numbers(rows)
        cuts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        bounds = [0, *cuts.tolist(), len(rows)] if len(rows) else []
        for start, stop in itertools.pairwise(bounds):
            shard = self.shards[int(numbers[start])]
            yield shard, slice(start, stop), rows[start:stop] - shard.first_row

    def _shard_numbers(self, rows: Int64) -> Int64:
        # side="right" steps over empty shards, which start where the next one does.
        return np.searchsorted(self.shard_starts, rows, side="right") - 1

    def _checked_rows(self, rows: npt.ArrayLike) -> Int64:
        return _checked(rows, self.num_rows, self.directory)


def _expectations(num_rows: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """Room for the payload CRCs (n,) and the keys (n, 16) that the index has of rows."""
    return np.empty(num_rows, np.uint32), np.empty((num_rows, KEY_BYTES), np.uint8)


def _checked(rows: npt.ArrayLike, num_rows: int, directory: str) -> Int64:
    wanted = np.asarray(rows)
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise ValueError(f"rows: expected integers (n,), got {wanted.dtype} {wanted.shape}")
    if wanted.size and not 0 <= int(wanted.min()) <= int(wanted.max()) < num_rows:
        raise IndexError(
            f"{directory}: rows {wanted.min()} to {wanted.max()} were asked for; it has {num_rows}"
        )
    return wanted.astype(np.int64, copy=False)


def open_dataset(directory: str | os.PathLike[str], *, kind: str | None = None) -> Dataset:
    """Opens a finished dataset after quick checks.

    Checked: the manifest's hash and id; that every listed file is there, with its size, and no
    other is; `job.json` and every shard's JSON; every index, its CRC and that it is of these data.
    Records are checked when they are read; `limbeck.records verify` checks them all.

    Args:
      directory: of the dataset.
      kind: 'documents', 'examples' or 'labels' where the caller needs one of them.

    Raises:
      UsageError: there is no such directory, or it holds another kind.
      LimbeckError: not a dataset, not finished, or damaged; names the file and the reason.
    """
    path = os.fspath(directory)
    manifest = read_finished(path)
    content = manifest.content
    if kind is not None and content.kind != kind:
        raise UsageError(f"{path}: holds {content.kind}; expected {kind}")
    check_files(path, content)
    return Dataset(path, manifest)


def check_rows_match(examples: Dataset, family: Dataset) -> None:
    """Checks that row r of `family` belongs to row r of `examples`, for every r.

    Of a partial family: that each row it has belongs to the row of `examples` that it says.

    Raises:
      UsageError: naming both directories and the first thing that differs.
    """
    where = f"{family.directory} does not go with {examples.directory}"
    parents = family.content.parents
    if examples.id not in parents.values():
        made_from = ", ".join(f"{role} {value}" for role, value in sorted(parents.items()))
        raise UsageError(
            f"{where}: it was made from {made_from or 'nothing'}; the id there is {examples.id}"
        )
    ours, theirs = family.content.shards, examples.content.shards
    if len(ours) != len(theirs):
        raise UsageError(f"{where}: {len(ours)} shards against {len(theirs)}")
    if family.is_partial:
        _check_partial(examples, family, where)
        return
    for label, example in zip(ours, theirs, strict=True):
        for name in ("records", "first_key", "last_key", "key_xor"):
            mine, other = getattr(label, name), getattr(example, name)
            if mine != other:
                raise UsageError(
                    f"{where}: {name} of {label.name} is {mine} and of {example.name} {other}"
                )


def _check_partial(examples: Dataset, family: Dataset, where: str) -> None:
    for number, shard in enumerate(family.shards):
        selection, example = shard.index.selection, examples.shards[number]
        assert selection is not None
        if selection.records != example.summary.records:
            raise UsageError(
                f"{where}: {shard.summary.name} labels some of {selection.records} rows and "
                f"{example.summary.name} has {example.summary.records}"
            )
        rows = selection.rows()
        wrong = np.flatnonzero((example.index.keys[rows] != shard.index.keys).any(1))
        if wrong.size:
            at = int(wrong[0])
            raise UsageError(
                f"{where}: row {at} of {shard.summary.name} has key "
                f"{shard.index.keys[at].tobytes().hex()} and row {rows[at]} of "
                f"{example.summary.name} {example.index.keys[rows[at]].tobytes().hex()}"
            )
