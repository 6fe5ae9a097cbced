"""Text for people: what a dataset is, and what one of its records says."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset
from limbeck.records.keys import split_key
from limbeck.records.layout import Field

__all__ = ["record_lines", "summary_lines"]

MAX_NUMBERS = 4096  # of an array; a hidden state's others would scroll everything else away


def summary_lines(dataset: Dataset) -> Iterator[str]:
    """Yields the manifest as text, one line an item."""
    content, made = dataset.content, dataset.manifest.provenance
    totals = content.totals
    size = f"{totals['records']:,} records, {totals['bytes']:,} bytes"
    yield f"{content.name}: {content.kind}, {size}"
    yield f"id           {dataset.id}"
    yield f"shards       {len(content.shards)}"
    codec = dataset.codec
    yield f"record       {f'{codec.stride:,} bytes' if codec else 'variable length'}"
    for number, field in enumerate(content.layout.fields):
        yield f"{'fields' if number == 0 else '':<12} {field}"
    if dataset.is_partial:
        yield f"labels       {dataset.num_rows:,} of the {dataset.parent_starts[-1]:,} rows"
    for name in (
        "settings",
        "parents",
        "tokenizer",
        "teacher",
        "seed",
        "accounting",
        "attachments",
    ):
        value = getattr(content, name)
        if value not in (None, {}):
            yield f"{name:<12} {_json(value)}"
    by = [f"limbeck {made.version}", made.host and f"on {made.host}", made.started]
    yield f"written      {' '.join(part for part in by if part)}, {made.seconds:g} s"
    if made.command:
        yield f"command      {' '.join(made.command)}"


def record_lines(dataset: Dataset, row: int) -> Iterator[str]:
    """Yields one record as text: where it is, its key, and every field.

    Raises:
      UsageError: there is no such row.
    """
    if not 0 <= row < dataset.num_rows:
        raise UsageError(
            f"record {row}: {dataset.directory} has {dataset.num_rows} records, from 0"
        )
    record = dataset.record(row)
    place = dataset.place(row)
    yield f"record       {row} of {dataset.num_rows}"
    yield f"file         {place.path}"
    yield f"place        row {place.row} of the shard, byte {place.offset}, {place.size} bytes"
    yield f"key          {record['key'].tobytes().hex()} ({split_key(record['key'])})"
    for field in dataset.layout.fields:
        if field.name != "key":
            yield f"{field}:"
            yield from _value_lines(field, record[field.name])


def _value_lines(field: Field, value: Any) -> Iterator[str]:
    if field.size_is_fixed:
        text = np.array2string(np.asarray(value), threshold=MAX_NUMBERS, max_line_width=96)
        if field.name == "digest":
            text = value.tobytes().hex()
        yield from (f"  {line}" for line in text.splitlines())
        return
    for item in value if field.shape else [value]:
        yield f"  {item.hex() if isinstance(item, bytes) else _json(item)}"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
