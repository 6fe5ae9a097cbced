"""What the teacher's distributions look like, as far as a family keeps them; for plots."""

# M positions, V vocabulary, K kept ids, G guesses shown, C cut-offs

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from extract.samples import UNKNOWN, FamilySample
from limbeck.labels import codecs, sparse
from limbeck.labels.final import full_logits
from limbeck.labels.signals import FinalSignal, SparseSignal

__all__ = ["CUTS", "MASS_WANTED", "NUM_GUESSES", "Distributions", "distributions"]

CUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Values of k at which the mass of the k largest is looked at."""
NUM_GUESSES = 5
MASS_WANTED = 0.99
"""Share of the mass for which the number of ids is counted."""
MOST_POSITIONS = 4096  # of a final family: its full distributions are computed for the page
_AT_A_TIME = 256  # of which V float64 each are held


@dataclass(frozen=True, kw_only=True, eq=False)
class Distributions:
    """Distributions at one temperature, at M positions of a sample."""

    name: str
    """The family."""
    temperature: float
    """At which they are looked at."""
    is_full: bool
    """Whether all of V is known; else bounds stand where the tail would matter."""
    rows: np.ndarray
    """(M,) which record of the sample."""
    tokens: np.ndarray | None
    """(M,) which of its tokens."""
    true_ids: np.ndarray | None
    """(M,) the truth, or `UNKNOWN`."""
    entropy_low: np.ndarray
    """(M,) nats; the entropy itself where `is_full`."""
    entropy_high: np.ndarray
    """(M,) nats; the entropy if the mass outside the head were spread evenly."""
    mass: np.ndarray
    """(M, C) of the k largest for k in `CUTS`, of those kept; NaN where no position keeps k."""
    needed: np.ndarray
    """(M,) float64: ids that hold `MASS_WANTED`; infinite where the head does not."""
    guesses: np.ndarray
    """(M, G) int64 ids of the largest; -1 where fewer are kept."""
    guess_probs: np.ndarray
    """(M, G) their probabilities."""
    true_probs: np.ndarray | None
    """(M,) probability of the truth; NaN where it or its probability is not known."""

    @property
    def known(self) -> np.ndarray:
        """(M,) bool: where the truth is known."""
        if self.true_ids is None:
            return np.zeros(len(self.rows), bool)
        return self.true_ids != UNKNOWN

    def hit_rates(self) -> tuple[float, float] | None:
        """Share of known truths that are the first guess, and among the first five."""
        known = self.known
        if self.true_ids is None or not known.any():
            return None
        hits = self.guesses[known] == self.true_ids[known][:, None]
        return float(hits[:, 0].mean()), float(hits.any(-1).mean())


def distributions(sample: FamilySample) -> Distributions | None:
    """Looks at a sample of a sparse or final family; None for other signals, or no positions.

    A sparse family is looked at at temperature 1, or the lowest it has.
    """
    signal = sample.family.fitted.signal
    if not len(sample.rows):
        return None
    if isinstance(signal, SparseSignal):
        return _of_sparse(sample, signal)
    if isinstance(signal, FinalSignal):
        return _of_final(sample)
    return None


def _of_sparse(sample: FamilySample, signal: SparseSignal) -> Distributions:
    fitted = sample.family.fitted
    grid = signal.temperatures
    temperature = 1.0 if 1.0 in grid else grid[0]
    decoded = codecs.decode(fitted, sample.arrays)
    log_q = sparse.target(decoded, temperature=temperature).astype(np.float64)
    order = np.argsort(-log_q[:, :-1], axis=-1, kind="stable")  # a kept head is sorted already
    log_head = np.take_along_axis(log_q[:, :-1], order, axis=-1)
    ids = np.take_along_axis(decoded.ids.astype(np.int64), order, axis=-1)
    probs, log_tail = np.exp(log_head), log_q[:, -1]
    kept = np.isfinite(log_head)
    vocab_size = int((sample.family.dataset.content.teacher or {}).get("vocab_size", 0))
    entropy = _plogp(log_q).sum(-1)
    rest = np.maximum(vocab_size - kept.sum(-1), 1)
    spread = np.exp(log_tail) * np.log(rest)
    return Distributions(
        name=sample.family.name,
        temperature=temperature,
        is_full=False,
        rows=sample.rows,
        tokens=sample.tokens,
        true_ids=sample.true_ids,
        entropy_low=entropy,
        entropy_high=entropy + spread,
        **_of_head(ids, np.where(kept, probs, np.nan)),
        true_probs=_true_of_sparse(sample, ids, probs, decoded, temperature, log_q),
    )


def _of_final(sample: FamilySample) -> Distributions:
    fitted = sample.family.fitted
    some = _of_whole_records(sample.rows, len(sample.keys))
    states = codecs.decode(fitted, {n: v[some] for n, v in sample.arrays.items()})["states"]
    truth = None if sample.true_ids is None else sample.true_ids[some]
    parts = [
        _full_part(part, None if truth is None else truth[where])
        for where, part in _log_softmaxes(states, fitted.tensors)
    ]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    entropy = joined.pop("entropy")
    true_probs = joined.pop("true_probs")
    return Distributions(
        name=sample.family.name,
        temperature=1.0,
        is_full=True,
        rows=sample.rows[some],
        tokens=None if sample.tokens is None else sample.tokens[some],
        true_ids=truth,
        entropy_low=entropy,
        entropy_high=entropy,
        **joined,
        true_probs=None if truth is None else true_probs,
    )


def _of_whole_records(rows: np.ndarray, num_records: int) -> np.ndarray:
    """Indices of the positions of evenly spaced records, about `MOST_POSITIONS` of them."""
    fraction = min(1.0, MOST_POSITIONS / len(rows))
    count = max(1, int(num_records * fraction))
    kept = np.zeros(num_records, bool)
    kept[np.linspace(0, num_records - 1, count).astype(np.int64)] = True
    found: np.ndarray = np.flatnonzero(kept[rows])
    return found if len(found) else np.arange(min(len(rows), MOST_POSITIONS))


def _log_softmaxes(
    states: np.ndarray, tensors: Mapping[str, np.ndarray]
) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(states), _AT_A_TIME):
        where = slice(start, start + _AT_A_TIME)
        z = full_logits(states[where], tensors).astype(np.float64)
        z -= z.max(-1, keepdims=True)
        yield where, z - np.log(np.exp(z).sum(-1, keepdims=True))


def _full_part(log_p: np.ndarray, truth: np.ndarray | None) -> dict[str, np.ndarray]:
    order = np.argsort(-log_p, axis=-1)[:, : max(CUTS)]
    probs = np.exp(np.take_along_axis(log_p, order, axis=-1))
    head = _of_head(order, probs)
    beyond = ~np.isfinite(head["needed"])
    if beyond.any():  # a flat one: count in the whole of it
        whole = np.cumsum(np.sort(np.exp(log_p[beyond]), axis=-1)[:, ::-1], axis=-1)
        head["needed"][beyond] = (whole < MASS_WANTED).sum(-1) + 1.0
    true_probs = np.full(len(log_p), np.nan)
    if truth is not None:
        known = np.flatnonzero(truth != UNKNOWN)
        true_probs[known] = np.exp(log_p[known, truth[known]])
    return {"entropy": _plogp(log_p).sum(-1), "true_probs": true_probs, **head}


def _of_head(ids: np.ndarray, probs: np.ndarray) -> dict[str, np.ndarray]:
    """Masses and guesses of ids (M, K) of falling probabilities (M, K), NaN where none is kept."""
    mass = np.full((len(ids), len(CUTS)), np.nan)
    running = np.cumsum(np.nan_to_num(probs), axis=-1)
    for column, k in enumerate(CUTS):
        if k <= ids.shape[1]:
            mass[:, column] = running[:, k - 1]
    reached = running >= MASS_WANTED
    needed = np.where(reached.any(-1), reached.argmax(-1) + 1.0, np.inf)
    guesses = np.full((len(ids), NUM_GUESSES), -1, np.int64)
    guess_probs = np.zeros((len(ids), NUM_GUESSES))
    width = min(NUM_GUESSES, ids.shape[1])
    there = np.isfinite(probs[:, :width])
    guesses[:, :width] = np.where(there, ids[:, :width], -1)
    guess_probs[:, :width] = np.where(there, probs[:, :width], 0.0)
    return {"mass": mass, "needed": needed, "guesses": guesses, "guess_probs": guess_probs}


def _true_of_sparse(
    sample: FamilySample,
    ids: np.ndarray,
    probs: np.ndarray,
    decoded: sparse.Sparse,
    temperature: float,
    log_q: np.ndarray,
) -> np.ndarray | None:
    """Probability of the truth: by its stored logit, else where the head holds it."""
    if sample.true_ids is None:
        return None
    known = sample.true_ids != UNKNOWN
    if "true_logit" in sample.arrays:
        # The first of the head has the largest logit: all others are relative to it.
        relative = sample.arrays["true_logit"].astype(np.float64) - sample.arrays["zmax"]
        return np.where(known, np.exp(log_q[:, 0] + relative / temperature), np.nan)
    found = (ids == sample.true_ids[:, None]) & (probs > 0)
    there = found.any(-1) & known
    return np.where(there, (probs * found).sum(-1), np.nan)


def _plogp(log_p: np.ndarray) -> np.ndarray:
    finite = np.isfinite(log_p)
    return np.where(finite, -np.exp(log_p) * np.where(finite, log_p, 0.0), 0.0)
