"""What each sparse codec does to a student's gradient, on a real teacher; for `bench.codecs`.

The gradient is that of the loss that reads the codec, with regard to the student's logits, as a
mean over the positions; the angle and the ratio of norms are against the KL of the full logits.
Codecs that draw are measured with several seeds. RS-KD (Anshumann et al., ACL 2025) is the peer:
ids drawn with replacement from p, three bytes a distinct id.
"""

# M positions, V vocabulary, E entries, S seeds

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from limbeck.labels import LabelDims, SparseSignal, sparse
from limbeck.labels.device import encode
from limbeck.labels.draws import draws
from limbeck.labels.fitted import Fitted
from train.losses import kl_values

__all__ = [
    "TEMPERATURES",
    "Codec",
    "Measured",
    "Positions",
    "chunks",
    "compare",
    "full_gradient",
    "measure",
    "measure_rs_kd",
    "softmax",
    "unbiasedness",
]

TEMPERATURES = (1.0, 2.0, 4.0)
CHUNK = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions:
    """Held-out positions with the logits of teacher and students."""

    keys: np.ndarray
    """(n, 16) record keys."""
    rows: np.ndarray
    """(M,) record of each position."""
    tokens: np.ndarray
    """(M,) its token position."""
    true_ids: np.ndarray
    """(M,) what was masked."""
    teacher: np.ndarray
    """(M, V) float32."""
    students: Mapping[str, np.ndarray]
    """early, late -> (M, V) float32."""

    def draws(self, seed: int) -> np.ndarray:
        """(M, 2) random words."""
        return draws(seed, self.keys, self.rows, self.tokens)


@dataclass(frozen=True, kw_only=True)
class Codec:
    """A codec as it stands in the table."""

    name: str
    """What it is called there."""
    signal: SparseSignal
    """How it is declared."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One row of the table."""

    name: str
    """Of the codec."""
    num_bytes: float
    """Bytes a position, of the codec's own fields."""
    squared_error: float | None
    """Mean squared error of the target at T = 1, summed over ids; None where it has no such."""
    gradients: dict[tuple[str, float], tuple[float, float]] = field(default_factory=dict)
    """(student, T) -> median angle in degrees and ratio of norms."""


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """float32 probabilities."""
    z = logits / np.float32(temperature)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def full_gradient(data: Positions, student: str, temperature: float) -> np.ndarray:
    """(V,) mean of q - p over the positions."""
    total = np.zeros(data.teacher.shape[-1])
    for part in chunks(len(data.rows)):
        q = softmax(data.students[student][part], temperature)
        total += (q - softmax(data.teacher[part], temperature)).sum(axis=0, dtype=np.float64)
    return total / len(data.rows)


def measure(codec: Codec, data: Positions, fitted_on: np.ndarray, *, seeds: int) -> Measured:
    """One codec: bytes, error and gradients."""
    fitted, _ = sparse.fit(codec.signal, {"logits": fitted_on})
    run = _encoder(fitted)
    labels = [_encode_all(run, data, seed) for seed in range(seeds if codec.signal.sample else 1)]
    counts = np.bincount(data.rows, minlength=len(data.keys))
    dims = LabelDims(
        seq_length=512,
        max_predictions=int(counts.max()),
        vocab_size=data.teacher.shape[-1],
        hidden_dim=1,
    )
    fault = sparse.find_fault(fitted, labels[0], dims=dims)
    assert fault is None, fault
    layout = codec.signal.layout(dims)
    fields = sparse.to_records(fitted, labels[0], counts, layout=layout)
    back, _ = sparse.from_records(fitted, fields)
    measured = Measured(
        name=codec.name,
        num_bytes=_bytes(fields, back, len(data.rows)),
        squared_error=_error(fitted, labels[0], data) if codec.signal.sample else None,
    )
    for student in data.students:
        for temperature in codec.signal.temperatures:
            full = full_gradient(data, student, temperature)
            if codec.signal.sample:
                found = _sampled_gradients(fitted, labels, data, student, temperature)
            else:
                found = [_bucket_gradient(fitted, back, data, student, temperature)]
            pairs = np.array([compare(gradient, full) for gradient in found])
            measured.gradients[student, temperature] = tuple(np.median(pairs, axis=0).tolist())
    return measured


def measure_rs_kd(data: Positions, *, num_draws: int, seeds: int) -> Measured:
    """RS-KD with so many draws a position, at T = 1."""
    rng, num, vocab_size = np.random.default_rng(0), len(data.rows), data.teacher.shape[-1]
    ids = np.empty((seeds, num, num_draws), np.int64)
    error = 0.0
    for part in chunks(num):
        p = softmax(data.teacher[part], 1.0).astype(np.float64)
        ends = p.cumsum(axis=-1)
        for i, row in enumerate(range(part.start, min(part.stop, num))):
            uniform = rng.random((seeds, num_draws)) * ends[i, -1]
            ids[:, row] = np.searchsorted(ends[i], uniform, side="right")
            often = np.bincount(ids[0, row], minlength=vocab_size) / num_draws
            error += float(((often - p[i]) ** 2).sum())
    distinct = np.mean([len(np.unique(row)) for row in ids[0]])
    weights = np.full((num, num_draws), 1.0 / num_draws, np.float32)
    measured = Measured(
        name=f"RS-KD, {num_draws} draws",
        num_bytes=3.0 * float(distinct),
        squared_error=error / num,
    )
    for student in data.students:
        full = full_gradient(data, student, 1.0)
        found = _weighted_gradients([(i, weights) for i in ids], data, student, 1.0)
        pairs = np.array([compare(gradient, full) for gradient in found])
        measured.gradients[student, 1.0] = tuple(np.median(pairs, axis=0).tolist())
    return measured


def unbiasedness(
    signal: SparseSignal, data: Positions, *, temperature: float, num_positions: int, seeds: int
) -> tuple[float, float]:
    """How far the mean target over many seeds is from the teacher's, in standard errors.

    Returns:
      The standard deviation of (mean - p) / sigma over ids that were drawn at least 30 times, 1
      for an unbiased target, and the share of them beyond four sigma.
    """
    fitted, scores = Fitted(signal=signal), []
    run = _encoder(fitted)
    for position in np.linspace(0, len(data.rows) - 1, num_positions).astype(int).tolist():
        logits = np.repeat(data.teacher[position : position + 1], CHUNK, axis=0)
        p = softmax(data.teacher[position : position + 1], temperature)[0].astype(np.float64)
        total, squares, often = (np.zeros(len(p)) for _ in range(3))
        for start in range(0, seeds, CHUNK):
            rows = np.zeros(CHUNK, np.int64)
            words = draws(start, data.keys[:1], rows, np.arange(CHUNK) + position * CHUNK)
            arrays = run(logits, np.zeros(CHUNK, np.int32), words)
            heads = np.arange(signal.max_entries) < arrays["num_head"][:, None]
            ids, weights = sparse.sampled_target(fitted, arrays, temperature=temperature)
            weights = np.where(heads, 0.0, weights)
            np.add.at(total, ids, weights)
            np.add.at(squares, ids, weights.astype(np.float64) ** 2)
            np.add.at(often, ids, weights > 0)
        count = -(-seeds // CHUNK) * CHUNK
        mean = total / count
        sigma = np.sqrt(np.maximum(squares / count - mean**2, 0.0) / count)
        seen = (often >= 30) & (often < count)
        scores.append((mean[seen] - p[seen]) / sigma[seen])
    found = np.concatenate(scores)
    return float(found.std()), float((np.abs(found) > 4).mean())


def _encoder(fitted: Fitted) -> Callable[..., dict[str, np.ndarray]]:
    @tf.function(reduce_retracing=True, autograph=False)
    def run(logits: tf.Tensor, true_ids: tf.Tensor, words: tf.Tensor) -> dict[str, tf.Tensor]:
        found: dict[str, tf.Tensor] = encode(
            fitted, {"logits": logits}, true_ids=true_ids, draws=words
        )
        return found

    return lambda *arrays: {name: t.numpy() for name, t in run(*map(tf.constant, arrays)).items()}


def _encode_all(
    run: Callable[..., dict[str, np.ndarray]], data: Positions, seed: int
) -> dict[str, np.ndarray]:
    words, true_ids = data.draws(seed), data.true_ids.astype(np.int32)
    parts = [run(data.teacher[p], true_ids[p], words[p]) for p in chunks(len(data.rows))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _bytes(
    fields: Mapping[str, np.ndarray], flat: Mapping[str, np.ndarray], num_positions: int
) -> float:
    """Bytes a position; of fixed fields without the padding of unused slots."""
    if "payload" in fields:
        return sum(len(payload) for payload in fields["payload"]) / num_positions
    return sum(values.nbytes for values in flat.values()) / num_positions


def _error(fitted: Fitted, arrays: Mapping[str, np.ndarray], data: Positions) -> float | None:
    assert isinstance(fitted.signal, SparseSignal)
    if 1.0 not in fitted.signal.temperatures:
        return None
    ids, weights = sparse.sampled_target(fitted, arrays, temperature=1.0)
    total = 0.0
    for part in chunks(len(data.rows)):
        dense = -softmax(data.teacher[part], 1.0).astype(np.float64)
        np.add.at(dense, (np.arange(len(dense))[:, None], ids[part]), weights[part])
        total += float((dense**2).sum())
    return total / len(data.rows)


def _sampled_gradients(
    fitted: Fitted,
    labels: list[dict[str, np.ndarray]],
    data: Positions,
    student: str,
    temperature: float,
) -> list[np.ndarray]:
    targets = [sparse.sampled_target(fitted, a, temperature=temperature) for a in labels]
    return _weighted_gradients(targets, data, student, temperature)


def _weighted_gradients(
    targets: list[tuple[np.ndarray, np.ndarray]],
    data: Positions,
    student: str,
    temperature: float,
) -> list[np.ndarray]:
    """(V,) mean of m q - t for each seed: what `sampled_cross_entropy_values` differentiates to."""
    num, vocab_size = len(data.rows), data.teacher.shape[-1]
    masses = np.stack([weights.sum(axis=-1) for _, weights in targets])
    total = np.zeros((len(targets), vocab_size))
    for part in chunks(num):
        total += masses[:, part] @ softmax(data.students[student][part], temperature)
    for sums, (ids, weights) in zip(total, targets, strict=True):
        sums -= np.bincount(ids.reshape(-1), weights.reshape(-1), minlength=vocab_size)
    return list(total / num)


def _bucket_gradient(
    fitted: Fitted,
    arrays: Mapping[str, np.ndarray],
    data: Positions,
    student: str,
    temperature: float,
) -> np.ndarray:
    """(V,) mean gradient of the loss of k + 1 outcomes, times T."""
    decoded = sparse.decode(fitted, arrays)
    column = sparse.temperature_column(decoded.temperatures, temperature)
    total = np.zeros(data.teacher.shape[-1])
    for part in chunks(len(data.rows)):
        logits = tf.constant(data.students[student][part])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            values = kl_values(
                logits,
                decoded.ids[part],
                decoded.logits[part],
                decoded.log_tail[part, column],
                temperature=temperature,
            )
        total += tape.gradient(values, logits).numpy().sum(axis=0, dtype=np.float64)
    return total * temperature / len(data.rows)


def compare(found: np.ndarray, full: np.ndarray) -> tuple[float, float]:
    """Angle in degrees and ratio of norms."""
    norms = np.linalg.norm(found), np.linalg.norm(full)
    cosine = float(found @ full / (norms[0] * norms[1]))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))), float(norms[0] / norms[1])


def chunks(num: int) -> Iterator[slice]:
    """Positions that are looked at together."""
    return (slice(start, min(start + CHUNK, num)) for start in range(0, num, CHUNK))
