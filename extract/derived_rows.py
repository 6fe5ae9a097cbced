"""Rows of a final family as input of a derived one: which records, which positions, their truth."""

# n rows of a window, M derived positions of them, D width of a state

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from extract.samples import check_digests, token_places, true_ids_at
from limbeck.config.errors import UsageError
from limbeck.labels import codecs
from limbeck.labels.draws import draws
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import Signal, SparseSignal
from limbeck.records.dataset import Dataset
from limbeck.records.keys import chosen, input_digest

__all__ = ["DerivedWindow", "check_positions", "chosen_rows", "first_states", "read_windows"]

_FIRST_ROWS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class DerivedWindow:
    """Some rows of a shard, with the states that the logits of their positions are made of."""

    key: np.ndarray
    """(n, 16)."""
    digest: np.ndarray
    """(n, 8) of the input, for the derived family's positions."""
    num_tokens: np.ndarray
    """(n,) uint32."""
    counts: np.ndarray
    """(n,) derived positions of each row."""
    rows: np.ndarray
    """(M,) which of the n rows each is of."""
    states: np.ndarray
    """(M, D) float32."""
    true_ids: np.ndarray
    """(M,) int32, 0 where nobody knows."""
    draws: np.ndarray | None
    """(M, 2) int32; None where the signal does not draw."""


def check_positions(name: str, signal: Signal, source: Signal) -> None:
    """Refuses positions that the final family does not have.

    Raises:
      UsageError: naming the family.
    """
    if source.positions not in (signal.positions, "all"):
        raise UsageError(
            f"families.{name}: positions is {signal.positions}, but the final family has "
            f"{source.positions} positions; derive those, or extract a final family at all"
        )


def chosen_rows(
    signal: Signal, final: Dataset, examples: Dataset, index: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of a shard the derived family labels, by their keys alone.

    Returns:
      Rows of `examples` (n,) and the same rows of `final` (n,), ascending.

    Raises:
      UsageError: the final family lacks some of them.
    """
    start, stop = (int(row) for row in examples.shard_starts[index : index + 2])
    rows = np.arange(start, stop, dtype=np.int64)
    if signal.records < 1.0:
        rows = rows[chosen(examples.keys(rows), signal.records, seed)]
    own = final.find(rows)
    if (own < 0).any():
        raise UsageError(
            f"{final.directory} labels a fraction of the records, and {int((own < 0).sum())} of "
            f"shard {index} that are asked for are not among them; give the same seed and a "
            "`records` that is not larger"
        )
    return rows, own


def read_windows(
    signal: SparseSignal,
    source: Fitted,
    final: Dataset,
    examples: Dataset,
    rows: tuple[np.ndarray, np.ndarray],
    *,
    num_rows: int,
    seed: int,
) -> Iterator[DerivedWindow]:
    """Reads rows of one shard, a window at a time.

    Args:
      signal: of the derived family.
      source: what decodes the final one.
      final: its records.
      examples: the inputs.
      rows: of `chosen_rows`.
      num_rows: n, but for the last window.
      seed: of the sampling.

    Raises:
      LimbeckError: a damaged record, or one of another input.
    """
    of_examples, own = rows
    for start in range(0, len(own), num_rows):
        part = slice(start, start + num_rows)
        stored, inputs = final.read(own[part]), examples.read(of_examples[part])
        check_digests(inputs, stored, source.signal, where=final.directory)
        yield _window(signal, source, stored, inputs, seed=seed)


def _window(
    signal: SparseSignal,
    source: Fitted,
    stored: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    *,
    seed: int,
) -> DerivedWindow:
    arrays, flat = codecs.from_records(source, stored)
    tokens = token_places(source.signal, inputs, flat.rows, flat.slots)
    assert tokens is not None
    truth = _truth(inputs, flat.rows, tokens)
    kept = np.ones(len(tokens), bool)
    if signal.positions != source.signal.positions:  # of all tokens: the masked ones, or the first
        kept = (
            _is_masked(inputs)[flat.rows, tokens] if signal.positions == "masked" else tokens == 0
        )
    states = codecs.decode(source, {name: values[kept] for name, values in arrays.items()})
    of_rows = flat.rows[kept]
    words = None
    if signal.needs_draws:
        words = draws(seed, inputs["key"], of_rows, tokens[kept])
    return DerivedWindow(
        key=inputs["key"],
        digest=_digest(inputs, signal),
        num_tokens=inputs["num_tokens"].astype(np.uint32),
        counts=np.bincount(of_rows, minlength=len(inputs["key"])),
        rows=of_rows,
        states=states["states"],
        true_ids=truth[kept],
        draws=words,
    )


def first_states(
    signal: SparseSignal,
    source: Fitted,
    final: Dataset,
    examples: Dataset,
    *,
    num_positions: int,
    seed: int,
) -> np.ndarray:
    """States (M, D) of the first positions that the derived family labels, at most as many."""
    parts: list[np.ndarray] = []
    for index in range(len(examples.content.shards)):
        if sum(map(len, parts)) >= num_positions:
            break
        ours, theirs = chosen_rows(signal, final, examples, index, seed=seed)
        rows = ours[:num_positions], theirs[:num_positions]  # hardly a record has none
        windows = read_windows(
            signal, source, final, examples, rows, num_rows=_FIRST_ROWS, seed=seed
        )
        for window in windows:
            parts.append(window.states)
            if sum(map(len, parts)) >= num_positions:
                break
    width = source.tensors["decoder/kernel"].shape[1]
    return np.concatenate([np.zeros((0, width), np.float32), *parts])[:num_positions]


def _truth(inputs: Mapping[str, np.ndarray], rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return np.maximum(true_ids_at(inputs, rows, tokens), 0).astype(np.int32)


def _is_masked(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n, S) bool."""
    masked = np.zeros(inputs["ids"].shape, bool)
    used = np.arange(inputs["mask_positions"].shape[1]) < inputs["num_masked"][:, None]
    rows, slots = np.nonzero(used)
    masked[rows, inputs["mask_positions"][rows, slots].astype(np.int64)] = True
    return masked


def _digest(inputs: Mapping[str, np.ndarray], signal: Signal) -> np.ndarray:
    selected: tuple[np.ndarray, ...] = ()
    if signal.positions == "masked":
        selected = (inputs["mask_positions"], inputs["num_masked"])
    return input_digest(inputs["ids"], inputs["num_tokens"], inputs["segment_split"], *selected)
