"""The first seed's labelled records <-> a sparse label family. Pure functions over arrays.

Its records are BERT's (`limbeck.interop.bert`) and, row-major over (slot, k):

    truncated_masked_lm_probs  float32[P*K]  the teacher's K largest probabilities at T = 1,
                                             in any order, not renormalised
    top_k_indices              int64[P*K]    their ids

Import. A probability p of the whole softmax is log p up to a constant of its position, so with
zmax = log max p the stored relative logits are log p - zmax, and the log-mass outside the head at
T = 1 is log(1 - sum p), summed in float64. No other temperature can be had: their tails would need
the probabilities that were thrown away. What float32 probabilities cannot tell: a tail below 2^-24
(their own rounding), which is stored as 2^-24; and the logit of a true id that is not among the K,
stored as NaN.

Export. p = softmax(relative logits) * (1 - tail). The relative logits are float16, so a
probability e^-d below its position's largest returns within a factor 1 +- d / 1000 (d * 2^-11 for
itself and as much again for the normaliser, which moves the largest too), and 1e-6 for float32.
Slots that are padding get zeros; the first seed kept the teacher's answer at [CLS] there, with
weight 0.
"""

# n records, P prediction slots, K kept ids

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.interop.bert import BERT_FEATURES, Examples
from limbeck.interop.features import Schema, check_rows
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import SparseSignal
from limbeck.labels.sparse import LOWEST_FP16, decode, from_records, target
from limbeck.records.examples import ids_dtype
from limbeck.records.keys import input_digest

__all__ = ["FIRST_SEED", "PROBABILITIES", "TOP_IDS", "from_labels", "kept_ids", "to_labels"]

Array = npt.NDArray[Any]
PROBABILITIES = "truncated_masked_lm_probs"
TOP_IDS = "top_k_indices"
SMALLEST_TAIL = 2.0**-24  # half a unit in the last place of float32 at 1
SUM_TOLERANCE = 1e-4  # of a sum of probabilities above 1: reduced-precision teachers round
FIRST_SEED = Schema(
    name="first-seed",
    features={
        **BERT_FEATURES,
        PROBABILITIES: ("float32", "slots * k"),
        TOP_IDS: ("int64", "slots * k"),
    },
    hints={"masked_lm_probs": "records with whole distributions cannot be imported"},
)


def kept_ids(num_values: int, num_slots: int, *, where: str) -> int:
    """Returns K, from the lengths of a record's lists.

    Raises:
      LimbeckError: the lists are no whole number of slots.
    """
    if num_values % num_slots:
        raise LimbeckError(
            f"{where}: {PROBABILITIES} has {num_values} values, which is no multiple of the "
            f"{num_slots} slots of masked_lm_positions"
        )
    return num_values // num_slots


def to_labels(
    record: Mapping[str, Array],
    examples: Examples,
    *,
    vocab_size: int,
    where: Callable[[int], str],
) -> dict[str, Array]:
    """Turns records into rows of a sparse family with the grid (1.0,).

    Args:
      record: feature -> (n, length), as `features.stack` returns.
      examples: the same records as examples.
      vocab_size: V; ids must be below it.
      where: row -> its place, for messages.

    Raises:
      LimbeckError: naming the record and what is wrong with its probabilities.
    """
    columns = examples.columns
    slots = columns["mask_positions"].shape[1]
    real = np.arange(slots) < columns["num_masked"].astype(np.int64)[:, None]
    p, ids = _slots(record, examples)
    _check_heads(p, ids, real[:, :, None], vocab_size=vocab_size, where=where)
    by_probability = np.lexsort((ids, -p), axis=-1)  # id ascending on ties
    p, ids = (np.take_along_axis(values, by_probability, axis=-1) for values in (p, ids))
    p = np.where(real[:, :, None], p, 1.0)  # padding is zeroed below; 1 spares it a log of 0
    with np.errstate(divide="ignore"):  # a probability that underflowed: log 0, then the lowest
        log_p = np.log(p)
    zmax = log_p[:, :, 0]
    relative = np.maximum(log_p - zmax[:, :, None], LOWEST_FP16)
    is_true = ids == columns["mask_ids"].astype(np.int64)[:, :, None]
    true_logit = np.where(is_true, zmax[:, :, None] + relative, -np.inf).max(axis=-1)
    labels = {
        "zmax": zmax.astype(np.float32),
        "ids": ids.astype(ids_dtype(vocab_size)),
        "logits": relative.astype(np.float16),
        "log_tail": _log_tail(p, vocab_size=vocab_size)[:, :, None].astype(np.float32),
        "true_logit": np.where(is_true.any(axis=-1), true_logit, np.nan).astype(np.float32),
    }
    for values in labels.values():
        values[~real] = 0
    labels["key"] = columns["key"]
    labels["digest"] = input_digest(
        columns["ids"],
        columns["num_tokens"],
        columns["segment_split"],
        positions=columns["mask_positions"],
        num_positions=columns["num_masked"],
    )
    labels["num_positions"] = columns["num_masked"]
    return labels


def from_labels(labels: Mapping[str, Array], fitted: Fitted) -> dict[str, Array]:
    """Turns rows of a sparse family into the two features of labelled records.

    Args:
      labels: one array (n, ...) a field of the family.
      fitted: the family's codec.

    Raises:
      UsageError: temperature 1 is not in the family's grid, or heads have unlike lengths.
    """
    signal = fitted.signal
    assert isinstance(signal, SparseSignal)  # the caller sees to it
    if signal.is_ragged:
        raise UsageError(
            "the family keeps ids by a threshold, as many as there are; the first seed's records "
            "hold equally many everywhere: extract one with k alone"
        )
    if 1.0 not in signal.temperatures:
        raise UsageError(
            f"the family's temperatures are {list(signal.temperatures)}; the first seed's records "
            "hold probabilities at temperature 1, which are not in it"
        )
    n, slots, k = labels["ids"].shape
    arrays, where = from_records(fitted, labels)
    log_p = target(decode(fitted, arrays), temperature=1.0)[:, :k]
    probabilities = np.zeros((n, slots, k), np.float32)
    probabilities[where.rows, where.slots] = np.exp(log_p)
    top_ids = np.zeros((n, slots, k), np.int64)
    top_ids[where.rows, where.slots] = arrays["ids"]
    return {PROBABILITIES: probabilities.reshape(n, -1), TOP_IDS: top_ids.reshape(n, -1)}


def _slots(record: Mapping[str, Array], examples: Examples) -> tuple[Array, Array]:
    """Probabilities (float64) and ids, (n, P, K), slots in the order of the examples."""
    order = examples.slot_order[:, :, None]
    shape = (*examples.slot_order.shape, -1)
    p = record[PROBABILITIES].astype(np.float64).reshape(shape)
    ids = record[TOP_IDS].reshape(shape)
    return np.take_along_axis(p, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _check_heads(
    p: Array, ids: Array, real: Array, *, vocab_size: int, where: Callable[[int], str]
) -> None:
    total = np.where(real, p, 0.0).sum(axis=-1)
    ranked = np.sort(ids, axis=-1)
    with np.errstate(invalid="ignore"):
        check_rows(
            where,
            (real & ~np.isfinite(p), f"{PROBABILITIES} has a value that is not finite"),
            (real & ((p < 0) | (p > 1 + SUM_TOLERANCE)), f"{PROBABILITIES} is not in [0, 1]"),
            (real[..., 0] & (p.max(axis=-1) <= 0), f"{PROBABILITIES} has a slot of zeros"),
            (total > 1 + SUM_TOLERANCE, f"{PROBABILITIES} has a slot that adds up to more than 1"),
            (real & ((ids < 0) | (ids >= vocab_size)), f"{TOP_IDS} is not in [0, {vocab_size})"),
            (real & (np.diff(ranked, axis=-1) == 0), f"{TOP_IDS} has an id twice in one slot"),
        )


def _log_tail(p: Array, *, vocab_size: int) -> Array:
    """(n, P) log of the mass outside the head; -inf where the head is the whole vocabulary."""
    if p.shape[-1] == vocab_size:
        return np.full(p.shape[:-1], -np.inf)
    # 1 minus the smallest tail is the largest sum that float32 tells from 1.
    return np.log1p(-np.minimum(p.sum(axis=-1), 1.0 - SMALLEST_TAIL))
