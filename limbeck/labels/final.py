"""The full distribution of a teacher from what its decoder matrix multiplies, at any temperature.

Stored per position: one state (`limbeck.labels.state_codecs`). Stored once, beside the family:
`decoder/kernel` (V, D) and `decoder/bias` (V,) in float32. Then

    logits = kernel states + bias

are those of the teacher, up to the codec's error, with no teacher in memory. Before anything is
committed the codec passes a gate on the first positions: the mean of KL(exact || kept) at
temperature 1, and how often the largest logit becomes another where it led by a margin.
"""

# N positions, D width of a state, V vocabulary

from collections.abc import Mapping

import numpy as np

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import FinalSignal, Signal
from limbeck.labels.state_gates import Verdict, choose, finite_rows
from limbeck.labels.states import (
    SAMPLE_POSITIONS,
    chosen,
    decode,
    encode,
    find_fault,
    from_records,
    to_records,
)

__all__ = [
    "HIGHEST_FLIP_SHARE",
    "HIGHEST_KL",
    "MARGIN_NATS",
    "decode",
    "distribution_error",
    "encode",
    "find_fault",
    "fit",
    "from_records",
    "full_logits",
    "judge",
    "sample_positions",
    "to_records",
]

HIGHEST_KL = 1e-3
"""Mean KL(exact || kept) in nats that the gate lets pass."""
HIGHEST_FLIP_SHARE = 0.002
"""Share of the positions with a clear winner whose winner may change."""
MARGIN_NATS = 0.01
"""How far the largest logit must lead to be a clear winner."""
_ROWS_AT_A_TIME = 128  # 16 MB a copy at V = 30,522
_LARGEST_CHANGE = 80.0  # nats; e^80 is finite in float32, and such a codec is no good anyway

Arrays = dict[str, np.ndarray]


def sample_positions(signal: Signal) -> int:
    """The gate is passed whatever the codec."""
    return SAMPLE_POSITIONS


def fit(signal: Signal, raw: Mapping[str, np.ndarray], *, side: Side) -> tuple[Fitted, list[str]]:
    """Settles the codec by the gate and keeps the decoder; see `limbeck.labels.codecs.fit`.

    Raises:
      UsageError: a codec that was asked for by name does not pass.
    """
    assert isinstance(signal, FinalSignal)
    sample = finite_rows(raw["states"])[:SAMPLE_POSITIONS]
    tensors = _decoder(side, width=sample.shape[-1])
    settled, refused, lines = choose(
        sample, signal.codec, judge=lambda kept, exact: judge(kept, exact, tensors)
    )
    if refused and settled.name == refused[-1]:
        raise UsageError(
            f"a final family in {signal.codec} does not pass its gate ({lines[-2]}; allowed are a "
            f"mean KL of {HIGHEST_KL:g} and {100 * HIGHEST_FLIP_SHARE:g} % of the winners); set "
            "codec: auto"
        )
    return Fitted(signal=signal, chosen=chosen(signal, settled, refused), tensors=tensors), lines


def full_logits(states: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """(..., D) decoded states -> (..., V) float32 logits of the teacher."""
    logits: np.ndarray = states @ tensors["decoder/kernel"].T + tensors["decoder/bias"]
    return logits


def distribution_error(
    kept: np.ndarray, exact: np.ndarray, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What the codec's error does to the distribution at temperature 1.

    Args:
      kept: (N, D) decoded states.
      exact: (N, D) the teacher's.
      tensors: `decoder/kernel` and `decoder/bias`.

    Returns:
      `kl` (N,) float64 of KL(exact || kept) in nats over all V ids, `margin` (N,) between the two
      largest exact logits, `flipped` (N,) bool where the largest logit is another one.
    """
    parts = [
        _rows_error(kept[start:stop], exact[start:stop], tensors)
        for start, stop in _blocks(len(exact))
    ]
    names = ("kl", "margin", "flipped")
    empty = {"kl": np.zeros(0), "margin": np.zeros(0), "flipped": np.zeros(0, bool)}
    return {name: np.concatenate([part[name] for part in (empty, *parts)]) for name in names}


def judge(kept: np.ndarray, exact: np.ndarray, tensors: Mapping[str, np.ndarray]) -> Verdict:
    """The gate of a final family; passes where there is no position to judge by."""
    error = distribution_error(kept, exact, tensors)
    clear = error["margin"] > MARGIN_NATS
    kl = float(error["kl"].mean()) if len(exact) else 0.0
    flips = float(error["flipped"][clear].mean()) if clear.any() else 0.0
    return Verdict(
        passed=kl <= HIGHEST_KL and flips <= HIGHEST_FLIP_SHARE,
        text=f"mean KL {kl:.2e} nat, {100.0 * flips:.3f} % of {int(clear.sum())} clear winners "
        "change",
    )


def _decoder(side: Side, *, width: int) -> dict[str, np.ndarray]:
    kernel = np.asarray(side.tensors["decoder/kernel"], np.float32)
    bias = np.asarray(side.tensors["decoder/bias"], np.float32)
    if kernel.shape[1:] != (width,) or bias.shape != kernel.shape[:1]:
        raise LimbeckError(
            f"the decoder of the teacher is {kernel.shape} with a bias {bias.shape}, which does "
            f"not multiply states of width {width}"
        )
    return {"decoder/kernel": kernel, "decoder/bias": bias}


def _rows_error(
    kept: np.ndarray, exact: np.ndarray, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """With d the change of the logits less its mean under p, KL(p || q) = log sum p e^d.

    That of d comes from the change of the state, so float32 keeps its digits where a difference of
    two log-softmaxes would not.
    """
    logits = full_logits(exact, tensors)
    change = (kept - exact) @ tensors["decoder/kernel"].T
    first, second = _two_largest(logits)
    flipped = (logits + change).argmax(axis=-1) != logits.argmax(axis=-1)
    p = np.exp(logits - first[:, None])
    p /= p.sum(axis=-1, keepdims=True)
    change -= (p * change).sum(axis=-1, keepdims=True)
    np.minimum(change, _LARGEST_CHANGE, out=change)
    rest = (p * change).sum(axis=-1, dtype=np.float64)  # what rounding left of the mean
    growth = (p * np.expm1(change)).sum(axis=-1, dtype=np.float64)
    # Rounding may leave a hair below the 0 that no divergence is below.
    kl = np.maximum(np.log1p(growth) - rest, 0.0)
    return {"kl": kl, "margin": (first - second).astype(np.float64), "flipped": flipped}


def _two_largest(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, V) -> the largest and the second largest, each (N,)."""
    rows, winners = np.arange(len(logits)), logits.argmax(axis=-1)
    first = logits[rows, winners]
    logits[rows, winners] = -np.inf
    second = logits.max(axis=-1)
    logits[rows, winners] = first
    return first, second


def _blocks(num_rows: int) -> list[tuple[int, int]]:
    starts = range(0, num_rows, _ROWS_AT_A_TIME)
    return [(start, min(start + _ROWS_AT_A_TIME, num_rows)) for start in starts]
