"""Which codec keeps a family's states well enough: int8, then with outlier channels, then wider.

The candidates are tried in this order on a sample; the first that passes the family's gate is
taken, and those before it are recorded as refused. A gate is a function of the kept and the exact
states; that of `hidden` and `relations` is here, that of `final` in `limbeck.labels.final`.
"""

# N positions, D width of a state

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from limbeck.labels import state_codecs
from limbeck.labels.state_codecs import Settled

__all__ = [
    "LEAST_COSINE",
    "LEAST_SNR_DB",
    "MAX_OUTLIERS",
    "Verdict",
    "choose",
    "finite_rows",
    "outlier_order",
    "signal_to_noise_db",
    "smallest_cosine",
    "state_error",
]

LEAST_SNR_DB = 36.0
"""Signal to noise over a sample of states that its codec must keep."""
LEAST_COSINE = 0.995
"""Cosine between any state of the sample and what is kept of it."""
MAX_OUTLIERS = 8
"""Channels that int8 may keep in float16."""
_STEPS = (0, 2, MAX_OUTLIERS)  # a gate over a vocabulary takes seconds


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a gate found of one codec."""

    passed: bool
    """Whether it is good enough."""
    text: str
    """What was measured, for the report."""


Judge = Callable[[np.ndarray, np.ndarray], Verdict]


def choose(sample: np.ndarray, codec: str, *, judge: Judge) -> tuple[Settled, list[str], list[str]]:
    """Settles a codec on (N, D) float32 states.

    Args:
      sample: finite states; with none of them the first candidate is taken.
      codec: auto tries int8, int8 with outlier channels, bfloat16 and float32; int8 the first two,
        and takes its last candidate, saying so, where none passes; any other is only judged.
      judge: the gate, of the kept and the exact states.

    Returns:
      The codec; the names of those refused; one line of report for each that was tried.
    """
    refused: list[str] = []
    lines: list[str] = []
    for candidate in _candidates(sample, codec):
        kept = state_codecs.decode(state_codecs.encode(sample, candidate), candidate)
        verdict = judge(kept, sample)
        outcome = "taken" if verdict.passed else "misses its goal"
        lines.append(f"{candidate.name}: {verdict.text}: {outcome}")
        if verdict.passed:
            return candidate, refused, lines
        refused.append(candidate.name)
    # float32 never fails; so this is a codec that was asked for by name, at its best.
    lines.append(f"{candidate.name} is the best of codec: {codec}")
    return candidate, refused, lines


def state_error(kept: np.ndarray, exact: np.ndarray) -> Verdict:
    """The gate of states that are compared as states: signal to noise, and direction."""
    snr, cosine = signal_to_noise_db(kept, exact), smallest_cosine(kept, exact)
    return Verdict(
        passed=snr >= LEAST_SNR_DB and cosine >= LEAST_COSINE,
        text=f"{snr:.1f} dB, smallest cosine {cosine:.5f}",
    )


def signal_to_noise_db(kept: np.ndarray, exact: np.ndarray) -> float:
    """10 log10 of the sample's summed squares over those of the error; inf without error."""
    exact = exact.astype(np.float64)
    noise = float(((kept - exact) ** 2).sum())
    power = float((exact**2).sum())
    return 10.0 * float(np.log10(power / noise)) if noise > 0.0 and power > 0.0 else float("inf")


def smallest_cosine(kept: np.ndarray, exact: np.ndarray) -> float:
    """The smallest cosine of any row of (N, D); rows of zeros and no rows at all count as 1."""
    kept, exact = kept.astype(np.float64), exact.astype(np.float64)
    lengths = np.linalg.norm(kept, axis=-1) * np.linalg.norm(exact, axis=-1)
    cosines = (kept * exact).sum(axis=-1)[lengths > 0] / lengths[lengths > 0]
    return min(1.0, float(cosines.min(initial=1.0)))


def outlier_order(sample: np.ndarray, count: int = MAX_OUTLIERS) -> list[int]:
    """Channels whose removal lessens the summed squared scale of int8 the most, one by one.

    The error of int8 grows with the square of its scale, which the largest component of a position
    sets. Equal gains go to the lower channel.
    """
    magnitudes = np.abs(sample).astype(np.float32)
    rows = np.arange(len(magnitudes))
    order: list[int] = []
    for _ in range(min(count, magnitudes.shape[1] - 1)):
        largest = magnitudes.argmax(axis=1)
        top = magnitudes[rows, largest].astype(np.float64)
        magnitudes[rows, largest] = -1.0
        second = np.maximum(magnitudes.max(axis=1), 0.0).astype(np.float64)
        magnitudes[rows, largest] = top
        gains = np.bincount(largest, weights=top**2 - second**2, minlength=magnitudes.shape[1])
        gains[order] = -1.0
        order.append(int(gains.argmax()))
        magnitudes[:, order[-1]] = -1.0
    return order


def finite_rows(sample: np.ndarray) -> np.ndarray:
    """The rows of (N, D) that are finite; encoding names the records of the others."""
    sample = np.asarray(sample, np.float32)
    return sample[np.isfinite(sample).all(axis=-1)]


def _candidates(sample: np.ndarray, codec: str) -> Iterator[Settled]:
    if codec not in ("auto", "int8"):
        yield Settled.of(codec, {})
        return
    yield Settled(codec="int8")
    order = outlier_order(sample)
    for count in _STEPS[1:]:
        if count <= len(order):
            yield Settled(codec="int8", outliers=tuple(sorted(order[:count])))
    if codec == "auto":
        yield Settled(codec="bfloat16")
        yield Settled(codec="float32")
