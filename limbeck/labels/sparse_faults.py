"""Rules that encoded sparse labels keep, whoever encoded them."""

# N positions, K kept ids, E entries at most

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from limbeck.labels.fault import Fault
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import LabelDims
from limbeck.labels.signals.sparse import SparseSignal

__all__ = ["find_fault"]

Rule = tuple[str, Any]
NOT_FINITE = "the teacher gave a logit that is not finite"


def find_fault(
    fitted: Fitted, arrays: Mapping[str, np.ndarray], *, dims: LabelDims
) -> Fault | None:
    """The first rule that encoded arrays break, if any; (N, ...), real positions only.

    Rules: everything finite, ids inside the vocabulary and not repeated, a head that begins at the
    largest logit and is in order, a tail below all mass and, unless all ids are kept, above none.
    """
    signal = fitted.signal
    assert isinstance(signal, SparseSignal)
    if not len(arrays["ids"]):
        return None
    with np.errstate(invalid="ignore"):
        for reason, bad in _rules(signal, arrays, dims.vocab_size):
            if bad.any():
                return Fault(position=int(np.argmax(bad)), reason=reason)
    return None


def _rules(
    signal: SparseSignal, arrays: Mapping[str, np.ndarray], vocab_size: int
) -> Iterator[Rule]:
    if "zmax" in arrays:
        yield NOT_FINITE, ~np.isfinite(arrays["zmax"])
    if signal.is_ragged:
        yield NOT_FINITE, np.asarray(arrays["num_head"]) < 1
    if "log_tail" in arrays:
        yield NOT_FINITE, np.isnan(arrays["log_tail"]).any(axis=-1)
    if "true_logit" in arrays:
        yield "true_logit is not finite", ~np.isfinite(arrays["true_logit"])
        yield "true_logit is above zmax", arrays["true_logit"] > arrays["zmax"]
    yield from (
        _of_threshold(arrays, vocab_size) if signal.is_ragged else _of_top_k(arrays, vocab_size)
    )
    if "log_tail" in arrays:
        yield from _of_tail(signal, arrays, vocab_size)


def _of_top_k(arrays: Mapping[str, np.ndarray], vocab_size: int) -> Iterator[Rule]:
    logits = np.asarray(arrays["logits"]).astype(np.float32)
    ids = np.sort(np.asarray(arrays["ids"]).astype(np.int64), axis=-1)
    yield "a relative logit is not finite", ~np.isfinite(logits).all(axis=-1)
    yield "the first relative logit is not 0", logits[:, 0] != 0.0
    yield "the head is not sorted by logit", (np.diff(logits, axis=-1) > 0).any(axis=-1)
    yield _outside(vocab_size), (ids[:, -1] >= vocab_size) | (ids[:, 0] < 0)
    yield "an id is repeated", (np.diff(ids, axis=-1) == 0).any(axis=-1)


def _of_threshold(arrays: Mapping[str, np.ndarray], vocab_size: int) -> Iterator[Rule]:
    ids = np.asarray(arrays["ids"]).astype(np.int64)
    column = np.arange(ids.shape[-1])
    heads = np.asarray(arrays["num_head"]).astype(np.int64)[:, None]
    ends = heads
    if "num_sampled" in arrays:
        ends = heads + np.asarray(arrays["num_sampled"]).astype(np.int64)[:, None]
    used, head = column < ends, column < heads
    yield f"there are more than {ids.shape[-1]} entries", (ends > ids.shape[-1])[:, 0]
    yield _outside(vocab_size), (used & ((ids >= vocab_size) | (ids < 0))).any(axis=-1)
    falls = np.diff(ids, axis=-1) <= 0
    inside = used[:, 1:] & (column[1:] != heads)
    yield "ids do not rise", (falls & inside).any(axis=-1)
    unused = np.where(used, ids, -1 - column)  # nothing equals these
    unused.sort(axis=-1)
    yield "an id is repeated", (np.diff(unused, axis=-1) == 0).any(axis=-1)
    if "codes" in arrays:
        yield "a code is above 1023", (np.asarray(arrays["codes"]).astype(np.int64) > 1023).any(-1)
        return
    logits = np.asarray(arrays["logits"]).astype(np.float32)
    yield "a relative logit is not finite", ~np.isfinite(logits).all(axis=-1)
    largest = np.where(head, logits, -np.inf).max(axis=-1)
    yield "the head's largest relative logit is not 0", largest != 0.0
    yield "a relative logit is above 0", (used & (logits > 0.0)).any(axis=-1)


def _of_tail(
    signal: SparseSignal, arrays: Mapping[str, np.ndarray], vocab_size: int
) -> Iterator[Rule]:
    log_tail = np.asarray(arrays["log_tail"])
    no_tail = np.isneginf(log_tail)
    num_head = np.asarray(arrays.get("num_head", np.full(len(log_tail), signal.k)))
    is_all = num_head.astype(np.int64) == vocab_size
    yield "log_tail is not below 0", ~(log_tail < 0.0).all(axis=-1)
    yield "log_tail is above -inf with every id kept", is_all & ~no_tail.all(axis=-1)
    yield "log_tail is -inf", ~is_all & no_tail.all(axis=-1)


def _outside(vocab_size: int) -> str:
    return f"an id is not below {vocab_size}"
