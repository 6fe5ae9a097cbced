"""What a family's codec loses: stored labels against the teacher's full answer on a sample."""

# n records of a sample, M labelled positions of them, V vocabulary, K kept ids, D hidden width

from collections.abc import Iterator, Mapping

import numpy as np

from extract.audit_results import Measured
from extract.inspection import Family
from extract.samples import check_digests, token_places
from limbeck.config.errors import UsageError
from limbeck.labels import codecs, sparse
from limbeck.labels.final import distribution_error
from limbeck.labels.signals import FinalSignal, Group, Signal, SparseSignal
from limbeck.records.dataset import Dataset
from limbeck.records.examples import attention_mask, segment_ids
from limbeck.teachers import BackendChoice, Items, Teacher, TeacherBatch, load_teacher

__all__ = ["codec_error", "measure", "open_teacher"]

Rows = Mapping[str, np.ndarray]
ROWS_AT_A_TIME = 16


def open_teacher(path: str, families: list[Family], *, backend: BackendChoice) -> Teacher:
    """Loads the teacher of families, in float32.

    Raises:
      UsageError: it is not the one they were made with, or cannot be loaded.
    """
    teacher = load_teacher(path, backend=backend)
    for family in families:
        made_with = str((family.dataset.content.teacher or {}).get("fingerprint"))
        if teacher.facts.fingerprint != made_with:
            raise UsageError(
                f"{family.dataset.directory} was made with teacher {made_with[:12]}, not with "
                f"{path} ({teacher.facts.fingerprint[:12]} in {teacher.facts.backend})"
            )
    teacher.facts.check({family.name: family.fitted.signal for family in families})
    return teacher


def measure(family: Family, examples: Dataset, teacher: Teacher, *, sample: int) -> list[Measured]:
    """Compares evenly spaced records with the teacher, computed again.

    Args:
      family: what was stored.
      examples: what it was made from.
      teacher: what it was made with.
      sample: how many records.

    Raises:
      LimbeckError: a label belongs to another input.
    """
    dataset = family.dataset
    spaced = np.linspace(0, dataset.num_rows - 1, min(sample, dataset.num_rows))
    own = np.unique(spaced.astype(np.int64)) if dataset.num_rows else np.zeros(0, np.int64)
    parts = [
        _errors(family, examples, teacher, part)
        for part in np.array_split(own, -(-len(own) // ROWS_AT_A_TIME) or 1)
        if len(part)
    ]
    if not parts:
        return []
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return [_measured(name, values) for name, values in merged.items() if len(values)]


def codec_error(
    stored: sparse.Sparse, logits: np.ndarray, temperatures: tuple[float, ...]
) -> dict[str, np.ndarray]:
    """KL(exact || stored) over the kept ids and the bucket, at each grid temperature.

    Args:
      stored: decoded labels of M positions.
      logits: (M, V) the teacher's full logits there.
      temperatures: the grid.

    Returns:
      `KL at T 1, nats` and so on -> (M,) float64.
    """
    kept = np.isfinite(stored.logits)
    rows, columns = np.nonzero(kept)
    errors = {}
    for temperature in temperatures:
        log_q = sparse.target(stored, temperature=temperature).astype(np.float64)
        z = logits.astype(np.float64) / temperature
        log_p = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
        head = np.full(kept.shape, -np.inf)
        head[rows, columns] = log_p[rows, stored.ids[rows, columns]]
        log_p[rows, stored.ids[rows, columns]] = -np.inf
        tail = np.logaddexp.reduce(log_p, axis=-1, keepdims=True)
        exact = np.concatenate([head, tail], axis=-1)
        p = np.exp(exact)
        difference = np.where(p > 0, exact, 0.0) - np.where(p > 0, log_q, 0.0)
        errors[f"KL at T {temperature:g}, nats"] = (p * difference).sum(axis=-1)
    return errors


def _errors(
    family: Family, examples: Dataset, teacher: Teacher, own: np.ndarray
) -> dict[str, np.ndarray]:
    """Errors (M,) by name, of a few of the family's rows."""
    dataset, fitted = family.dataset, family.fitted
    signal = fitted.signal
    stored, rows = dataset.read(own), examples.read(dataset.parent_rows()[own])
    check_digests(rows, stored, signal, where=dataset.directory)
    arrays, flat = codecs.from_records(fitted, stored)
    if not len(flat.rows):
        return {name: np.zeros(0) for name in _names(signal)}
    tokens = token_places(signal, rows, flat.rows, flat.slots)
    assert tokens is not None
    batch = _batch(rows, signal.positions, flat.rows, tokens)
    wanted: dict[str, Signal] = {family.name: signal}
    if isinstance(signal, FinalSignal):  # what its decoder matrix gives is checked as well
        wanted["logits"] = SparseSignal(k=1, positions=signal.positions)
    exact = teacher.raw(batch, wanted)
    if isinstance(signal, SparseSignal):
        decoded = codecs.decode(fitted, arrays)
        return codec_error(decoded, exact[family.name]["logits"], signal.temperatures)
    kept = codecs.decode(fitted, arrays)
    errors = dict(_array_errors(kept, exact[family.name]))
    if isinstance(signal, FinalSignal):
        states, tensors = exact[family.name]["states"], fitted.tensors
        errors["KL of the distribution at T 1, nats"] = distribution_error(
            kept["states"], states, tensors
        )["kl"]
        rebuilt = states @ tensors["decoder/kernel"].T + tensors["decoder/bias"]
        errors["logit rebuilt from an exact state, difference"] = np.abs(
            rebuilt - exact["logits"]["logits"]
        ).max(-1)
    return errors


def _array_errors(kept: Rows, exact: Rows) -> Iterator[tuple[str, np.ndarray]]:
    for name, values in exact.items():
        found = kept[name][..., : values.shape[-1]]
        a = found.reshape(len(found), -1).astype(np.float64)
        b = values.reshape(len(values), -1).astype(np.float64)
        if name in ("probabilities", "logits"):
            yield f"difference of {name}", np.abs(a - b).max(-1)
            continue
        what = "a state" if name == "states" else name
        length = np.maximum(_lengths(b), 1e-30)
        wrong = _lengths(a - b) / length
        yield f"relative error of {what}", wrong
        cosine = (a * b).sum(-1) / np.maximum(_lengths(a) * length, 1e-30)
        yield f"1 - cosine of {what}", 1.0 - cosine
        yield f"signal to noise of {what}, dB", -20.0 * np.log10(np.maximum(wrong, 1e-9))


def _names(signal: Signal) -> list[str]:
    return [f"KL at T {t:g}, nats" for t in getattr(signal, "temperatures", ())]


def _batch(rows: Rows, group: Group, row: np.ndarray, tokens: np.ndarray) -> TeacherBatch:
    """Records as one batch, with answers wanted at tokens (M,) of records (M,)."""
    num_tokens, split = rows["num_tokens"], rows["segment_split"]
    length = int(num_tokens.max(initial=1))
    index = (row * length + tokens).astype(np.int32)
    items = Items(index=index, true_ids=np.zeros(len(index), np.int32))
    return TeacherBatch(
        ids=rows["ids"][:, :length].astype(np.int32),
        segment_ids=segment_ids(num_tokens, split, length).astype(np.int32),
        attention_mask=attention_mask(num_tokens, length).astype(np.int32),
        items={group: items},
    )


def _measured(name: str, values: np.ndarray) -> Measured:
    least_is_worst = name.startswith("signal")
    worst = values.min() if least_is_worst else values.max()
    return Measured(quantity=name, mean=float(values.mean()), worst=float(worst))


def _lengths(states: np.ndarray) -> np.ndarray:
    return np.sqrt((states**2).sum(axis=-1))
