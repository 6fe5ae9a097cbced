"""PyTorch twin of `limbeck.labels.sparse`: only what is stored leaves the accelerator.

Against the NumPy codec, on equal float32 logits: `zmax`, `ids`, `logits` and `true_logit` are
bit-equal; `log_tail` agrees to 2e-6 absolute + 1e-6 relative (order of summation), as does the
TensorFlow twin's.
"""

# N positions, V vocabulary, K kept ids, G temperatures in the grid

import math
from collections.abc import Sequence

import torch

from limbeck.labels.sparse import LOWEST_FP16

__all__ = ["top_k_with_tail"]


def top_k_with_tail(
    logits: torch.Tensor, true_ids: torch.Tensor, *, k: int, temperatures: Sequence[float]
) -> dict[str, torch.Tensor]:
    """Encodes full logits where they are.

    Args:
      logits: (N, V) floating point, before softmax, without vocabulary padding.
      true_ids: (N,) int64.
      k: ids to keep, 1 to V.
      temperatures: the grid.

    Returns:
      `zmax` (N,) float32, `ids` (N, K) int64, `logits` (N, K) float16, `log_tail` (N, G) float32,
      `true_logit` (N,) float32. A row with a NaN or infinite logit gets `zmax` NaN.
    """
    logits = logits.float()
    values, ids = _top_k(logits, k=k)
    head = values - values[:, :1]
    if k == logits.shape[-1]:
        log_tail = logits.new_full((len(logits), len(temperatures)), -math.inf)
    else:
        log_tail = _log_tail(logits, ids=ids, head=head, temperatures=temperatures)
    finite = torch.isfinite(logits).all(dim=-1)
    return {
        "zmax": torch.where(finite, values[:, 0], math.nan),
        "ids": ids,
        "logits": head.clamp(min=LOWEST_FP16).half(),
        "log_tail": log_tail,
        "true_logit": logits.gather(1, true_ids[:, None])[:, 0],
    }


def _top_k(logits: torch.Tensor, *, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row, by value descending and id ascending on ties.

    `torch.topk` returns equal values in any order, and any of those that tie at the end.
    """
    values, ids = torch.topk(logits, k, dim=-1)
    ids, _ = ids.sort(dim=-1)
    # Rows in which other ids share the last kept value: the lowest of them belong to the head.
    last = values[:, -1:]
    split = ((logits >= last).sum(dim=-1) != k).nonzero()[:, 0]
    if len(split):
        order = torch.argsort(logits[split], dim=-1, descending=True, stable=True)
        ids[split] = order[:, :k].sort(dim=-1).values
    values, order = logits.gather(1, ids).sort(dim=-1, descending=True, stable=True)
    return values, ids.gather(1, order)


def _log_tail(
    logits: torch.Tensor, *, ids: torch.Tensor, head: torch.Tensor, temperatures: Sequence[float]
) -> torch.Tensor:
    complement = logits.scatter(1, ids, -math.inf)
    largest = complement.amax(dim=-1, keepdim=True)
    below = complement - largest
    zmax = logits.gather(1, ids[:, :1])
    columns = []
    for temperature in temperatures:
        # Log-sum-exps of z/T, both relative to zmax/T.
        log_complement = (below / temperature).exp().sum(dim=-1).log()
        log_complement += (largest - zmax)[:, 0] / temperature
        log_head = torch.logsumexp(head / temperature, dim=-1)
        # Not softplus(), which is the identity above a threshold of its own.
        columns.append(-torch.logaddexp(log_head - log_complement, torch.zeros_like(log_head)))
    return torch.stack(columns, dim=-1)
