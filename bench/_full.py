"""What each codec of `final` states does to a student's gradient; for `bench.codecs`.

The gradient is that of the loss that reads them (`train.losses.full_kl_values`), with regard to the
student's logits, as a mean over the positions, against the same with the teacher's own logits.
"""

# M positions, D width of a state, V vocabulary

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from bench import _states
from bench._sparse import (
    TEMPERATURES,
    Measured,
    Positions,
    chunks,
    compare,
    full_gradient,
    softmax,
)
from limbeck.labels import FinalSignal, Fitted, Side, codecs, final
from limbeck.labels.state_codecs import Settled
from limbeck.labels.state_gates import outlier_order
from limbeck.labels.states import chosen
from limbeck.records.dataset import open_dataset
from limbeck.teachers import load_teacher
from train.losses import full_kl_values

__all__ = ["FinalStates", "collect", "full_row", "measure"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalStates:
    """What the teacher's decoder multiplies, and the decoder."""

    measured: np.ndarray
    """(M, D) at the positions that are measured."""
    others: np.ndarray
    """(any, D) at others, which say what the outlier channels are."""
    decoder: Side
    """Of the final family."""


def collect(demo: Path, num_positions: int, num_others: int) -> FinalStates:
    """Runs the demo's teacher over held-out records until it has the masked positions."""
    examples = open_dataset(str(demo / "examples/heldout"), kind="examples")
    ends = np.cumsum(examples.read(np.arange(examples.num_rows))["num_masked"].astype(np.int64))
    num_rows = 1 + int(np.searchsorted(ends[:-1], num_positions + num_others))
    teacher = load_teacher(demo / "teacher", backend="keras")
    found = _states.collect(teacher, examples, np.arange(num_rows), layers=())
    return FinalStates(
        measured=found.final[:num_positions],
        others=found.final[num_positions : num_positions + num_others],
        decoder=found.decoder,
    )


def full_row(data: Positions) -> Measured:
    """The full logits themselves, by definition without an error."""
    return Measured(
        name="full logits",
        num_bytes=4.0 * data.teacher.shape[-1],
        squared_error=0.0,
        gradients={(s, t): (0.0, 1.0) for t in TEMPERATURES for s in data.students},
    )


def measure(states: FinalStates, data: Positions) -> list[Measured]:
    """int8, int8 with 8 outlier channels and bfloat16, whatever the gate would say of them."""
    order = outlier_order(states.others)
    full = {(s, t): full_gradient(data, s, t) for t in TEMPERATURES for s in data.students}
    return [
        _measure(settled, states, data, full)
        for settled in (
            Settled(codec="int8"),
            Settled(codec="int8", outliers=tuple(sorted(order[:8]))),
            Settled(codec="bfloat16"),
        )
    ]


def _measure(
    settled: Settled,
    states: FinalStates,
    data: Positions,
    full: Mapping[tuple[str, float], np.ndarray],
) -> Measured:
    signal = FinalSignal()
    fitted = Fitted(
        signal=signal, chosen=chosen(signal, settled, []), tensors=dict(states.decoder.tensors)
    )
    arrays = codecs.encode(fitted, {"states": states.measured}, true_ids=None, draws=None)
    kept = codecs.decode(fitted, arrays)["states"]
    error, totals = 0.0, {key: np.zeros(data.teacher.shape[-1]) for key in full}
    for part in chunks(len(data.rows)):
        rebuilt = final.full_logits(kept[part], fitted.tensors)
        change = softmax(rebuilt, 1.0).astype(np.float64) - softmax(data.teacher[part], 1.0)
        error += float((change**2).sum())
        for (student, temperature), total in totals.items():
            total += _gradient(data.students[student][part], rebuilt, temperature)
    num = len(data.rows)
    return Measured(
        name=f"final, {settled.name}",
        num_bytes=sum(values.nbytes for values in arrays.values()) / num,
        squared_error=error / num,
        gradients={key: compare(total / num, full[key]) for key, total in totals.items()},
    )


def _gradient(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    """(V,) sum of the loss's gradients, times T."""
    logits = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        values = full_kl_values(logits, tf.constant(teacher), temperature=temperature)
    summed: np.ndarray = tape.gradient(values, logits).numpy().sum(axis=0, dtype=np.float64)
    return summed * temperature
