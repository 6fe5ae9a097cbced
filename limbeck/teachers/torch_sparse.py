"""PyTorch twin of `limbeck.labels.sparse`: only what is stored leaves the accelerator.

Against the NumPy codec, on equal float32 logits: everything is bit-equal but `log_tail`, which
agrees to 2e-6 absolute + 1e-6 relative (order of summation, powers instead of exponentials), as
does the TensorFlow twin's.

On a processor a fresh array of V columns costs ten times what is done to it, so rows go some at a
time through one that is kept: at V = 30,522 and k = 16 a fifth of the time.
"""

# N positions, V vocabulary, K kept ids, E entries at most, G temperatures in the grid

import math
from collections.abc import Mapping, Sequence

import torch

from limbeck.labels.fitted import Fitted
from limbeck.labels.signals.sparse import SparseSignal
from limbeck.labels.sparse_encoding import CODE_LEVELS
from limbeck.labels.sparse_math import LOWEST_FP16
from limbeck.labels.sparse_pick import DRAWN, HEAD, ID_BITS, MIXED_SCALE, NO_ENTRY, SCALE

__all__ = ["encode"]

# Rows at a time. On a processor of 64 top k takes 90 us a row, of 16 as much but four times as many
# waits for threads; a threshold's several arrays of int64 and float64 take 210 of 16, 800 of 64.
CPU_ROWS, CPU_RAGGED_ROWS = 64, 16
RAGGED_ROWS = 64  # elsewhere, for the sake of memory
BLOCK = 64  # columns
LAST_ID = 0x7FFFFFFF

Tensors = dict[str, torch.Tensor]


def encode(
    fitted: Fitted,
    raw: Mapping[str, torch.Tensor],
    *,
    true_ids: torch.Tensor | None,
    draws: torch.Tensor | None,
) -> Tensors:
    """Encodes full logits where they are; see `limbeck.labels.sparse.encode`.

    Args:
      fitted: of the family.
      raw: `logits` (N, V) floating point, before softmax, without vocabulary padding.
      true_ids: (N,) integer, for the grid form at masked positions; else None.
      draws: (N, 2) int32, for a sample; else None.

    Returns:
      The arrays of `limbeck.labels.sparse`; ids and counts as integers of any width.
    """
    signal = fitted.signal
    assert isinstance(signal, SparseSignal)
    logits = raw["logits"].float()
    if not 1 <= signal.k <= logits.shape[-1]:
        raise ValueError(f"k is {signal.k} but must be 1 to the vocabulary's {logits.shape[-1]}")
    if signal.needs_true_ids and true_ids is None:
        raise ValueError("the grid form at masked positions needs true_ids")
    num_rows = max(1, len(logits))
    size = min(num_rows, _rows_at_a_time(signal, num_rows, logits.device.type))
    scratch = logits.new_empty((size, logits.shape[-1]))
    parts = []
    for start in range(0, num_rows, size):
        rows = slice(start, start + size)
        words = draws[rows] if draws is not None and signal.sample else None
        arrays = _encode(signal, logits[rows], words, scratch)
        if signal.needs_true_ids and true_ids is not None:
            chosen = true_ids[rows].long()[:, None]
            arrays["true_logit"] = logits[rows].gather(1, chosen)[:, 0]
        parts.append(arrays)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _rows_at_a_time(signal: SparseSignal, num_rows: int, device: str) -> int:
    if device == "cpu":
        return CPU_RAGGED_ROWS if signal.is_ragged else CPU_ROWS
    return RAGGED_ROWS if signal.is_ragged else num_rows


def _encode(
    signal: SparseSignal, logits: torch.Tensor, draws: torch.Tensor | None, scratch: torch.Tensor
) -> Tensors:
    """All but the true logits; `scratch` has as many rows or more, and is overwritten."""
    scratch = scratch[: len(logits)]
    # One pass finds every NaN and infinity: the sum of finite logits is finite.
    finite = torch.isfinite(logits.sum(dim=-1))
    if signal.is_ragged:
        arrays, zmax = _ragged(signal, logits, draws, scratch)
        arrays["num_head"] = arrays["num_head"] * finite
    else:
        arrays, zmax = _fixed(signal, logits, scratch)
    if "log_tail" in arrays:
        arrays["log_tail"] = torch.where(finite[:, None], arrays["log_tail"], math.nan)
    if signal.form == "grid":
        arrays["zmax"] = torch.where(finite, zmax[:, 0], math.nan)
    return arrays


def _fixed(
    signal: SparseSignal, logits: torch.Tensor, scratch: torch.Tensor
) -> tuple[Tensors, torch.Tensor]:
    """Arrays of top k, and (N, 1) the largest logit."""
    k, vocab_size = signal.k, logits.shape[-1]
    values, ids = _top_k(logits, k=min(k + 1, vocab_size))  # the next one leads the complement
    zmax, kept = values[:, :1], ids[:, :k]
    head = values[:, :k] - zmax
    if k == vocab_size:
        log_tail = logits.new_full((len(logits), len(signal.temperatures)), -math.inf)
    else:
        log_tail = _log_tail(
            logits, kept, values[:, k:], zmax, head, signal.temperatures, scratch=scratch
        )
    return {"ids": kept, "logits": _half(head), "log_tail": log_tail}, zmax


def _ragged(
    signal: SparseSignal, logits: torch.Tensor, draws: torch.Tensor | None, scratch: torch.Tensor
) -> tuple[Tensors, torch.Tensor]:
    """Arrays of a threshold, and (N, 1) the largest logit."""
    values, top = _top_k(logits, k=signal.k)
    zmax = values[:, :1]
    ids, probs, kind = _pick(torch.sub(logits, zmax, out=scratch), top, draws, signal)
    is_head = kind == HEAD
    arrays: Tensors = {"ids": ids, "num_head": is_head.sum(dim=-1)}
    if signal.sample:
        arrays["num_sampled"] = (kind == DRAWN).sum(dim=-1)
    if signal.sample and signal.form == "lean":
        arrays["codes"] = torch.where(is_head, (probs.sqrt() * CODE_LEVELS).round(), 0.0).int()
        return arrays, zmax
    relative = logits.gather(1, ids) - zmax
    arrays["logits"] = torch.where(kind == NO_ENTRY, 0.0, _half(relative)).half()
    holes = torch.where(is_head, ids, ids[:, :1])  # the first entry is always of the head
    largest = scratch.copy_(logits).scatter_(1, holes, -math.inf).amax(dim=-1, keepdim=True)
    head = torch.where(is_head, relative, -math.inf)
    arrays["log_tail"] = _log_tail(
        logits, holes, largest, zmax, head, signal.temperatures, scratch=scratch
    )
    return arrays, zmax


def _pick(
    relative: torch.Tensor, top: torch.Tensor, draws: torch.Tensor | None, signal: SparseSignal
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(N, E) ids, mean probabilities and classes; see `limbeck.labels.sparse_pick.pick`."""
    assert signal.threshold is not None
    sizes = _mean_sizes(relative, signal.temperatures)
    total = sizes.sum(dim=-1, keepdim=True)
    step = (total.double() * signal.threshold).long().clamp(min=1)
    lengths = (sizes >= step) * step if draws is None else torch.minimum(sizes, step)
    ends = lengths.scatter(1, top, step.expand(top.shape)).cumsum(dim=-1)
    length = ends[:, -1:]
    places = torch.arange(signal.max_entries, device=ends.device) * step
    is_there = places < length
    if draws is not None:
        words = draws.long() & 0xFFFFFFFF
        places = places + (words[:, :1].double() * 2.0**-32 * step.double()).long()
        is_there = places < length
        first = (words[:, 1:] * ends.shape[-1]) >> 32
        before = torch.where(first > 0, ends.gather(1, (first - 1).clamp(min=0)), 0)
        places = places + before
        places = torch.where(places >= length, places - length, places)
    ids = torch.searchsorted(ends, places, right=True).clamp(max=relative.shape[-1] - 1)
    is_top = (ids[:, :, None] == top[:, None, :]).any(dim=-1)
    is_head = is_there & ((sizes.gather(1, ids) >= step) | is_top)
    kind = torch.where(is_head, HEAD, torch.where(is_there, DRAWN, NO_ENTRY))
    keys = ((kind << ID_BITS) + torch.where(is_there, ids, 0)).sort(dim=-1).values
    ids = keys & ((1 << ID_BITS) - 1)
    return ids, sizes.gather(1, ids).double() / total.double(), keys >> ID_BITS


def _mean_sizes(relative: torch.Tensor, temperatures: Sequence[float]) -> torch.Tensor:
    wide = relative.double()
    first, *others = (((wide / t).exp() * SCALE).long() for t in temperatures)
    if not others:
        return first
    mixed = torch.zeros_like(first)
    for sizes in (first, *others):
        factor = MIXED_SCALE / sizes.sum(dim=-1, keepdim=True).double()
        mixed += (sizes.double() * factor).long()
    return mixed


def _top_k(logits: torch.Tensor, *, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row, by value descending and id ascending on ties.

    Only the k blocks of the largest maxima can hold them (lower blocks first on ties: a block left
    out has k blocks before it, each with an element that comes before all of its own), or the
    columns behind the last whole block.
    """
    num_blocks, vocab_size = logits.shape[-1] // BLOCK, logits.shape[-1]
    if num_blocks <= k:
        ids = torch.arange(vocab_size, device=logits.device).expand(logits.shape)
        values = logits
    else:
        blocks = logits[:, : num_blocks * BLOCK].unflatten(1, (num_blocks, BLOCK))
        maxima = blocks.amax(dim=-1)
        number = torch.arange(num_blocks, device=logits.device)
        chosen = _keys(maxima, number).topk(k, dim=-1, sorted=False).values
        chosen = LAST_ID - (chosen & LAST_ID)
        columns = torch.arange(BLOCK, device=logits.device)
        ids = (chosen[:, :, None] * BLOCK + columns).flatten(1)
        behind = torch.arange(num_blocks * BLOCK, vocab_size, device=logits.device)
        ids = torch.cat([ids, behind.expand(len(logits), -1)], dim=-1)
        values = logits.gather(1, ids)
    keys = _keys(values, ids).topk(k, dim=-1, sorted=True).values
    ids = LAST_ID - (keys & LAST_ID)
    return logits.gather(1, ids), ids


def _keys(values: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """int64 that order as (value, -id): `torch.topk` returns equal values in any order."""
    bits = (values + 0.0).view(torch.int32)  # -0 equals 0
    order = bits ^ ((bits >> 31) & LAST_ID)
    return (order.long() << 32) + (LAST_ID - ids)


def _log_tail(
    logits: torch.Tensor,
    ids: torch.Tensor,
    largest: torch.Tensor,
    zmax: torch.Tensor,
    head: torch.Tensor,
    temperatures: Sequence[float],
    *,
    scratch: torch.Tensor,
) -> torch.Tensor:
    """(N, G) log-mass of the complement.

    Args:
      logits: (N, V).
      ids: (N, any) the head; ids may repeat.
      largest: (N, 1) of the other logits; -inf where there are none.
      zmax: (N, 1) of all.
      head: (N, any) logits of the head less zmax; -inf where there is none.
      temperatures: rising.
      scratch: (N, V), overwritten.
    """
    nothing = largest == -math.inf
    largest = torch.where(nothing, zmax, largest)
    gap = (largest - zmax)[:, 0]
    columns: list[torch.Tensor] = []
    hotter = 0.0
    for temperature in reversed(temperatures):
        # exp((z - largest) / T) of the complement: at a half or a quarter of the last by squaring.
        if (power := hotter / temperature) in (2.0, 4.0):
            for _ in range(int(power) // 2):
                scratch.mul_(scratch)
        else:
            torch.sub(logits, largest, out=scratch)
            if temperature != 1.0:
                scratch.div_(temperature)
            scratch.exp_().scatter_(1, ids, 0.0)
        hotter = temperature
        # Log-sum-exps of z/T, both relative to zmax/T.
        log_complement = scratch.sum(dim=-1).log() + gap / temperature
        log_head = torch.logsumexp(head / temperature, dim=-1)
        # Not softplus(), which is the identity above a threshold of its own.
        columns.insert(0, -torch.logaddexp(log_head - log_complement, torch.zeros_like(log_head)))
    return torch.stack(columns, dim=-1)


def _half(relative: torch.Tensor) -> torch.Tensor:
    return relative.clamp(min=LOWEST_FP16).half()
