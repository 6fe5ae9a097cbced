"""Counts and distributions of a dataset, from its manifest and indexes alone."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from limbeck.records.dataset import Dataset

__all__ = ["stats_lines"]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
NUM_BARS = 10
BAR_WIDTH = 40


def stats_lines(dataset: Dataset) -> Iterator[str]:
    """Yields sizes, shard balance, token lengths and the accounting as text."""
    content, totals = dataset.content, dataset.content.totals
    records = totals["records"]
    yield f"{content.name}: {content.kind}, id {dataset.id[:16]}"
    yield f"records                {records:>15,}"
    yield f"bytes                  {totals['bytes']:>15,}"
    index_bytes = sum(shard.index_bytes for shard in content.shards)
    yield f"bytes of indexes       {index_bytes:>15,}"
    for name, count in (
        ("record", records),
        ("token", totals["tokens"]),
        ("labelled position", totals["labelled_positions"]),
    ):
        if count:
            yield f"bytes/{name:<17}{totals['bytes'] / count:>15,.2f}"
    yield f"tokens                 {totals['tokens']:>15,}"
    yield f"labelled positions     {totals['labelled_positions']:>15,}"
    sizes = np.array([shard.records for shard in content.shards])
    yield f"records a shard        {_quantile_text(sizes)}  ({len(sizes)} shards)"
    if records and all(shard.index.lengths is not None for shard in dataset.shards):
        yield from _length_lines(dataset.lengths())
    for name, value in (content.accounting or {}).items():
        for key, count in value.items() if isinstance(value, dict) else [("", value)]:
            yield f"accounting             {f'{name} {key}'.strip()}: {count}"


def _length_lines(lengths: npt.NDArray[np.uint32]) -> Iterator[str]:
    yield f"tokens a record        {_quantile_text(lengths)}"
    low, high = int(lengths.min()), int(lengths.max())
    step = (high - low) // NUM_BARS + 1
    counts = np.bincount((lengths - low) // step)
    for number, count in enumerate(counts.tolist()):
        first = low + number * step
        bar = "#" * round(BAR_WIDTH * count / counts.max())
        yield f"  {first:>8} to {min(high, first + step - 1):<8} {count:>12,} {bar}".rstrip()


def _quantile_text(values: npt.NDArray[np.integer]) -> str:
    parts = zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)
    names = {0.0: "min", 0.5: "median", 1.0: "max"}
    return ", ".join(f"{names.get(q, f'{q:.0%}')} {value:,.0f}" for q, value in parts)
