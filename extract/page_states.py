"""The page's plots of states: their norms by layer, and what their codecs lose."""

# M positions, D width of a state

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from extract.audit_results import Measured
from extract.samples import FamilySample
from limbeck.labels import codecs
from limbeck.labels.signals import FinalSignal, HiddenSignal, QkvSignal, RelationsSignal
from limbeck.pages import Markup, Section, Series, figure_row, histogram, line_chart, table

__all__ = ["StateFacts", "error_section", "state_facts", "state_section"]

_MOST_TOGETHER = 3  # histograms in one plot
_STEPS = {"float16": 11, "bfloat16": 8, "float32": 24}  # bits of precision, the hidden one included


@dataclass(frozen=True, kw_only=True, eq=False)
class StateFacts:
    """What a sample of stored vectors says."""

    name: str
    """Family, and which of its arrays where there are several."""
    layer: int | None
    """Which layer."""
    positions: str
    """masked, all or first."""
    is_hidden: bool
    """Whether they are the states that leave a layer."""
    codec: str
    """How they are stored."""
    width: int
    """D."""
    norms: np.ndarray
    """(M,) Euclidean lengths."""
    largest: float
    """Largest component of all."""
    expected_db: float
    """Ratio of signal to the rounding noise that the stored steps make expect, dB."""


def state_facts(sample: FamilySample) -> list[StateFacts]:
    """Looks at the stored vectors of a family; nothing for other signals, or no positions."""
    fitted = sample.family.fitted
    signal = fitted.signal
    if not isinstance(signal, FinalSignal | HiddenSignal | QkvSignal | RelationsSignal):
        return []
    if not len(sample.rows):
        return []
    codec = str(fitted.chosen.get("codec", signal.codec))
    outliers = list(fitted.chosen.get("outliers", ()))
    facts = []
    for name, values in codecs.decode(fitted, sample.arrays).items():
        wide = values.astype(np.float64)
        single = name == "states"
        scales = sample.arrays.get("scales" if single else f"{name}_scales")
        facts.append(
            StateFacts(
                name=sample.family.name if single else f"{sample.family.name}: {name}",
                layer=getattr(signal, "layer", None),
                positions=signal.positions,
                is_hidden=isinstance(signal, HiddenSignal),
                codec=f"{codec}+{len(outliers)} channels" if outliers else codec,
                width=wide.shape[-1],
                norms=np.sqrt((wide**2).sum(-1)),
                largest=float(np.abs(wide).max(initial=0.0)),
                expected_db=_expected_db(wide, codec, scales),
            )
        )
    return facts


def state_section(found: Sequence[StateFacts]) -> Section:
    """Norms of the stored vectors, by layer where there are several."""
    figures = []
    hidden = sorted((one for one in found if one.is_hidden), key=lambda one: one.layer or 0)
    if len({one.layer for one in hidden}) > 1:
        figures.append(_by_layer(hidden))
    if len(found) <= _MOST_TOGETHER:
        figures.append(
            histogram(
                "Norms of stored states",
                [(one.name, one.norms) for one in found],
                x_label="Euclidean norm",
                says=f"{'; '.join(f'{one.name}: mean {one.norms.mean():.2f}' for one in found)}.",
            )
        )
    rows: list[list[object]] = [
        [one.name, one.layer, one.width, *np.percentile(one.norms, [5, 50, 95]), one.largest]
        for one in found
    ]
    heads = ["family", "layer", "width", "norm, 5 %", "median", "95 %", "largest component"]
    return Section(
        title="States",
        body=[
            *([figure_row(*figures)] if figures else []),
            table(heads, rows, caption="Norms of stored states"),
        ],
    )


def error_section(
    states: Sequence[StateFacts], measured: Mapping[str, Sequence[Measured]], *, sample: int
) -> Section:
    """What codecs lose: expected from their steps, and measured where the teacher was asked.

    Args:
      states: of all families of states.
      measured: family name -> its numbers; empty without a teacher.
      sample: records that were measured.
    """
    body: list[str] = []
    if states:
        rows: list[list[object]] = [[s.name, s.codec, s.width, s.expected_db] for s in states]
        heads = ["family", "codec", "width", "signal to noise, dB"]
        caption = "Rounding noise that the stored steps make expect (uniform inside a step)"
        body.append(table(heads, rows, caption=caption))
    if measured:
        rows = [[name, m.quantity, m.mean, m.worst] for name, of in measured.items() for m in of]
        caption = f"Measured against the teacher on {sample} records"
        body.append(table(["family", "error", "mean", "worst"], rows, caption=caption))
    else:
        body.append("Give --teacher to measure every family's error against the teacher itself.")
    return Section(title="Quantisation error", body=body)


def _by_layer(hidden: Sequence[StateFacts]) -> Markup:
    series, said = [], []
    for positions in sorted({one.positions for one in hidden}):
        some = [one for one in hidden if one.positions == positions]
        layers, means = [one.layer or 0 for one in some], [float(o.norms.mean()) for o in some]
        low, high = np.array([np.percentile(one.norms, [5, 95]) for one in some]).T
        name = f"at {positions} positions"
        series.append(Series(name=name, x=layers, y=means, low=low, high=high))
        last = f", {means[-1]:.1f} in {layers[-1]}" if len(layers) > 1 else ""
        said.append(f"{name} {means[0]:.1f} in layer {layers[0]}{last}")
    return line_chart(
        "Norm of the hidden states by layer",
        series,
        x_label="layer (0: embeddings; band: 5th to 95th percentile)",
        y_label="Euclidean norm",
        x_ticks=sorted({one.layer or 0 for one in hidden}),
        says=f"Mean {'; '.join(said)}.",
    )


def _expected_db(values: np.ndarray, codec: str, scales: np.ndarray | None) -> float:
    """10 log10 of mean square over step^2 / 12, the variance of a value uniform in its step."""
    if scales is not None:
        steps = np.broadcast_to(scales.astype(np.float64)[:, None], values.shape)
    else:
        with np.errstate(divide="ignore"):
            exponents = np.floor(np.log2(np.abs(values)))
        bits = _STEPS.get(codec, 24) - 1
        steps = np.where(np.isfinite(exponents), np.exp2(exponents - bits), 0.0)
    signal, noise = float((values**2).sum()), float((steps**2).sum() / 12.0)
    return 10.0 * float(np.log10(signal / noise)) if signal and noise else float("nan")
