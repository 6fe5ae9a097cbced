"""The feature table of a dataset: which fields a record has, of which dtype and shape.

Numbers are little-endian on disk, whatever the machine. A layout of numbers only has a fixed
stride: every record has the same length, and a row's offset is arithmetic. `bytes` and `utf8`
fields are of variable length (one value, shape (), or a list of values, shape (None,)) and need
offsets in the index.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.records.keys import DIGEST_BYTES, KEY_BYTES

__all__ = ["DIGEST", "DTYPES", "KEY", "Field", "Layout"]

NUMBERS = {
    "uint8": "u1",
    "int8": "i1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "int32": "<i4",
    "int64": "<i8",
    "float16": "<f2",
    "float32": "<f4",
}
TEXTS = ("bytes", "utf8")
DTYPES = (*NUMBERS, *TEXTS)
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
# A protobuf message holds at most 2 GiB; half of it leaves room for framing and mistakes.
MAX_RECORD_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Field:
    """One feature of a record."""

    name: str
    """Feature name: a-z, 0-9 and _, starting with a letter."""
    dtype: str
    """One of `DTYPES`."""
    shape: tuple[int | None, ...] = ()
    """Dimensions without the row's; () or (None,) for bytes and utf8."""

    def __post_init__(self) -> None:
        """Refuses what cannot be stored."""
        object.__setattr__(self, "shape", tuple(self.shape))
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ValueError(f"field name {self.name!r}: use a-z, 0-9 and _, a letter first")
        if self.dtype not in DTYPES:
            raise ValueError(f"field {self.name}: dtype {self.dtype!r} is none of {DTYPES}")
        if self.dtype in TEXTS:
            if self.shape not in ((), (None,)):
                raise ValueError(
                    f"field {self.name}: shape {self.shape}; {self.dtype} has () or (None,)"
                )
        elif not all(type(n) is int and n >= 1 for n in self.shape):
            raise ValueError(f"field {self.name}: shape {self.shape} must be of integers >= 1")

    @property
    def size_is_fixed(self) -> bool:
        """Whether every record gives this field the same number of bytes."""
        return self.dtype in NUMBERS

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The little-endian dtype on disk; numbers only."""
        return np.dtype(NUMBERS[self.dtype])

    @property
    def num_bytes(self) -> int:
        """Bytes of one record's value; numbers only."""
        return self.numpy_dtype.itemsize * math.prod(n or 0 for n in self.shape)

    def to_json(self) -> dict[str, Any]:
        """Returns the field's line of the manifest."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    def __str__(self) -> str:
        """Returns `ids uint16[128]`."""
        dims = ",".join("*" if n is None else str(n) for n in self.shape)
        return f"{self.name} {self.dtype}[{dims}]" if dims else f"{self.name} {self.dtype}"


KEY = Field("key", "uint8", (KEY_BYTES,))
DIGEST = Field("digest", "uint8", (DIGEST_BYTES,))


@dataclasses.dataclass(frozen=True)
class Layout:
    """The fields of a dataset's records; every layout has `KEY`."""

    fields: tuple[Field, ...]
    """Fields in the order of the manifest; on disk they are sorted by name."""

    def __post_init__(self) -> None:
        """Refuses double names and a missing key."""
        object.__setattr__(self, "fields", tuple(self.fields))
        names = [field.name for field in self.fields]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"layout: field {twice[0]!r} is there twice")
        if KEY not in self.fields:
            raise ValueError(f"layout: the field {KEY} is missing; found {', '.join(names)}")
        if self.stride_is_fixed:
            total = sum(field.num_bytes for field in self.fields)
            if total > MAX_RECORD_BYTES:
                raise ValueError(
                    f"layout: a record would have {total} bytes; the limit is {MAX_RECORD_BYTES}"
                )

    @property
    def stride_is_fixed(self) -> bool:
        """Whether all records have the same length."""
        return all(field.size_is_fixed for field in self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields, in the manifest's order."""
        return tuple(field.name for field in self.fields)

    @functools.cached_property
    def sorted_fields(self) -> tuple[Field, ...]:
        """The fields in the order in which they are serialised."""
        return tuple(sorted(self.fields, key=lambda field: field.name))

    def field(self, name: str) -> Field:
        """Returns a field by name.

        Raises:
          ValueError: there is none of that name.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise ValueError(f"layout: no field {name!r}; it has {', '.join(self.names)}")

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the feature table of the manifest."""
        return [field.to_json() for field in self.fields]

    @classmethod
    def from_json(cls, table: Any, where: str = "layout") -> "Layout":
        """Reads what `to_json` returned.

        Raises:
          LimbeckError: the table is not one; `where` names it.
        """
        if not isinstance(table, Sequence) or isinstance(table, str):
            raise LimbeckError(f"{where}: expected a list of fields, found {table!r}")
        fields = []
        for entry in table:
            if not isinstance(entry, dict) or entry.keys() != {"name", "dtype", "shape"}:
                raise LimbeckError(f"{where}: expected name, dtype and shape, found {entry!r}")
            if not isinstance(entry["shape"], list):
                raise LimbeckError(f"{where}: shape of {entry['name']!r} is not a list")
            try:
                fields.append(Field(entry["name"], entry["dtype"], tuple(entry["shape"])))
            except (TypeError, ValueError) as error:
                raise LimbeckError(f"{where}: {error}") from error
        try:
            return cls(tuple(fields))
        except ValueError as error:
            raise LimbeckError(f"{where}: {error}") from error
