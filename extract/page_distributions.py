"""The page's plots of the teacher's distributions: entropy, mass, ids needed, agreement."""

# M positions, C cut-offs

from collections.abc import Sequence

import numpy as np

from extract.distributions import CUTS, MASS_WANTED, Distributions
from limbeck.pages import Markup, Section, Series, figure_row, histogram, line_chart, table
from limbeck.records.dataset import Dataset

__all__ = ["distribution_section", "fullest", "token_counts"]

COUNTED_ROWS = 20_000  # examples whose tokens are counted
_LINES = (1, 4, 16, 64, 256)  # values of k with a line in plots over something else
_MOST_SERIES = 6
_LEAST_IN_BIN = 5  # positions; means of fewer say nothing


def fullest(found: Sequence[Distributions]) -> Distributions | None:
    """The family that knows most: a full one, else the one with the largest head."""
    if not found:
        return None
    return max(found, key=lambda d: (d.is_full, int(np.isfinite(d.mass).any(0).sum())))


def distribution_section(
    found: Sequence[Distributions], counts: tuple[np.ndarray, int] | None, *, vocab_size: int
) -> Section:
    """Plots of sparse and final families.

    Args:
      found: what their samples say.
      counts: (V,) how often each id stands in the examples, and in how many tokens; None unknown.
      vocab_size: V.
    """
    main = fullest(found)
    assert main is not None
    figures = [_entropy(found, main), _mass(found, main), _needed(found, main, vocab_size)]
    if main.tokens is not None:
        figures.append(_by_position(main))
    if counts is not None and main.known.any():
        figures.append(_by_frequency(main, *counts))
    if main.known.any():
        figures.append(_reliability(main))
    body: list[str] = [_words(found), figure_row(*figures)]
    body.append(_compared(found))
    return Section(title="Distributions", body=body)


def token_counts(examples: Dataset, vocab_size: int) -> tuple[np.ndarray, int]:
    """How often each id stands in the true text of evenly spaced examples.

    Returns:
      (V,) counts, and of how many tokens.
    """
    num_rows = examples.num_rows
    rows = np.unique(np.linspace(0, max(0, num_rows - 1), min(num_rows, COUNTED_ROWS)).astype(int))
    counts = np.zeros(vocab_size, np.int64)
    for part in np.array_split(rows[:num_rows], -(-len(rows) // 2048)):
        inputs = examples.read(part)
        ids = inputs["ids"].astype(np.int64)
        if "mask_positions" in inputs:
            used = np.arange(inputs["mask_positions"].shape[1]) < inputs["num_masked"][:, None]
            row, slot = np.nonzero(used)
            ids[row, inputs["mask_positions"][row, slot]] = inputs["mask_ids"][row, slot]
        real = np.arange(ids.shape[1]) < inputs["num_tokens"].astype(np.int64)[:, None]
        counts += np.bincount(ids[real], minlength=vocab_size)[:vocab_size]
    return counts, int(counts.sum())


def _words(found: Sequence[Distributions]) -> str:
    parts = [f"{one.name} at T {one.temperature:g} on {len(one.rows):,} positions" for one in found]
    text = f"Of evenly spaced records: {'; '.join(parts)}."
    if not all(one.is_full for one in found):
        text += (
            " A sparse family knows the mass outside its kept ids, not how it is spread: its "
            "entropy lies between two bounds, and mass counts kept ids only."
        )
    return text


def _entropy(found: Sequence[Distributions], main: Distributions) -> Markup:
    if main.is_full:
        samples = [(one.name, one.entropy_low) for one in found if one.is_full]
        says = f"{main.name}: mean {main.entropy_low.mean():.2f} nats."
    else:
        samples = [("at least", main.entropy_low), ("at most", main.entropy_high)]
        says = f"{main.name}: mean {_entropy_text(main)} nats."
    title, label = "Entropy of the teacher", "entropy, nats"
    return histogram(title, samples[:_MOST_SERIES], x_label=label, says=says)


def _entropy_text(one: Distributions) -> str:
    low, high = one.entropy_low.mean(), one.entropy_high.mean()
    return f"{low:.2f}" if one.is_full else f"{low:.2f} to {high:.2f}"


def _mass(found: Sequence[Distributions], main: Distributions) -> Markup:
    series, says = [], ""
    for one in found[:_MOST_SERIES]:
        there = np.isfinite(one.mass).any(0)
        mass, cuts = one.mass[:, there], np.array(CUTS)[there]
        band = dict(zip(("low", "high"), np.percentile(mass, [10, 90], axis=0), strict=True))
        band = band if one is main else {}
        series.append(Series(name=one.name, x=cuts, y=mass.mean(0), **band))
        if one is main:
            says = f"{one.name}: on average {mass.mean(0)[-1]:.1%} in {cuts[-1]:,} ids."
    of_main = f" of {main.name}" if len(found) > 1 else ""
    ticks = [k for k in CUTS if k <= max(max(np.asarray(s.x)) for s in series)]
    return line_chart(
        "Mass held by the k largest",
        series,
        x_label=f"k (band: 10th to 90th percentile{of_main})",
        y_label="probability mass",
        x_scale="log",
        x_ticks=ticks,
        y_limits=(0.0, 1.0),
        says=says,
    )


def _needed(found: Sequence[Distributions], main: Distributions, vocab_size: int) -> Markup:
    series, says = [], ""
    for one in found[:_MOST_SERIES]:
        finite = one.needed[np.isfinite(one.needed)]
        largest = finite.max(initial=2.0) if one.is_full else _head_size(one)
        at = np.unique(np.geomspace(1, min(max(largest, 2), vocab_size), 40).round())
        share = [(one.needed <= k).mean() for k in at]
        series.append(Series(name=one.name, x=at, y=share))
        if one is main:
            middle = np.median(one.needed)
            half = f"half need at most {middle:,.0f}; " if np.isfinite(middle) else ""
            says = f"{one.name}: {half}{at[-1]:,.0f} are enough for {share[-1]:.0%} of positions."
    return line_chart(
        f"Ids needed for {MASS_WANTED:.0%} of the mass",
        series,
        x_label="k",
        y_label="share of positions",
        x_scale="log",
        y_limits=(0.0, 1.0),
        says=says,
    )


def _head_size(one: Distributions) -> float:
    finite = one.needed[np.isfinite(one.needed)]
    kept = max((k for k, there in zip(CUTS, np.isfinite(one.mass).any(0), strict=True) if there))
    return float(max(kept, finite.max(initial=1.0)))


def _by_position(main: Distributions) -> Markup:
    assert main.tokens is not None
    edges = np.linspace(0, main.tokens.max(initial=0) + 1, 17)
    bins = np.digitize(main.tokens, edges[1:-1])
    middles = (edges[:-1] + edges[1:] - 1) / 2
    return line_chart(
        f"Mass of the k largest by place in the record ({main.name})",
        _mean_lines(main, bins, middles),
        x_label="token",
        y_label="mean probability mass",
        y_limits=(0.0, 1.0),
        says=_slope(main, main.tokens.astype(float), "place"),
    )


def _by_frequency(main: Distributions, counts: np.ndarray, num_tokens: int) -> Markup:
    assert main.true_ids is not None
    truth = np.where(main.known, main.true_ids, 0)
    per_million = np.maximum(counts[truth], 0.5) * 1e6 / max(1, num_tokens)
    edges = np.geomspace(per_million.min(), per_million.max() * 1.001 + 1e-9, 13)
    bins = np.where(main.known, np.digitize(per_million, edges[1:-1]), len(edges) - 1)
    middles = np.sqrt(edges[:-1] * edges[1:])
    return line_chart(
        f"Mass of the k largest by frequency of the true token ({main.name})",
        _mean_lines(main, bins, middles),
        x_label="occurrences per million tokens",
        y_label="mean probability mass",
        x_scale="log",
        y_limits=(0.0, 1.0),
        says=_slope(main, np.where(main.known, np.log(per_million), np.nan), "frequency"),
    )


def _mean_lines(main: Distributions, bins: np.ndarray, middles: np.ndarray) -> list[Series]:
    """A line for each k: means of the mass in bins (M,), NaN where a bin is nearly empty."""
    lines = []
    for k in _LINES:
        mass = main.mass[:, CUTS.index(k)]
        if not np.isfinite(mass).any():
            continue
        means = np.full(len(middles), np.nan)
        for number in range(len(middles)):
            inside = mass[bins == number]
            if len(inside) >= _LEAST_IN_BIN:
                means[number] = inside.mean()
        lines.append(Series(name=f"k {k}", x=middles, y=means))
    return lines


def _slope(main: Distributions, over: np.ndarray, what: str) -> str:
    known = np.isfinite(over)
    first = main.mass[known, 0]
    if len(first) < 2 or first.std() == 0 or over[known].std() == 0:
        return ""
    r = np.corrcoef(over[known], first)[0, 1]
    return f"Correlation of {what} and the mass of the first guess: {r:+.2f}.".replace(
        "-0.00", "0.00"
    )


def _compared(found: Sequence[Distributions]) -> Markup:
    rows: list[list[object]] = []
    for one in found:
        kept = None if one.is_full else float(np.nanmax(one.mass, axis=1).mean())
        rates = one.hit_rates()
        first, five = (None, None) if rates is None else (f"{rate:.1%}" for rate in rates)
        probs = np.zeros(0) if one.true_probs is None else one.true_probs[one.known]
        all_known = len(probs) > 0 and bool(np.isfinite(probs).all() and (probs > 0).all())
        loss = float(-np.log(probs).mean()) if all_known else None
        mean = float(probs.mean()) if all_known else None
        known = int(one.known.sum())
        rows.append([one.name, _entropy_text(one), kept, known, first, five, mean, loss])
    heads = ["family", "entropy, nats", "mass of kept ids", "truths"]
    heads += ["first guess", "first five", "mean p(truth)", "loss, nats"]
    caption = "Agreement with the hard labels: how often the teacher guesses the truth"
    return table(heads, rows, caption=caption)


def _reliability(main: Distributions) -> Markup:
    assert main.true_ids is not None
    confident = main.guess_probs[main.known, 0]
    hits = main.guesses[main.known, 0] == main.true_ids[main.known]
    edges = np.linspace(0, 1, 11)
    bins = np.minimum((confident * 10).astype(int), 9)
    said, right = np.full(10, np.nan), np.full(10, np.nan)
    for number in range(10):
        inside = bins == number
        if inside.sum() >= _LEAST_IN_BIN:
            said[number], right[number] = confident[inside].mean(), hits[inside].mean()
    off = float(np.abs(hits.mean() - confident.mean())) if len(hits) else 0.0
    middles = (edges[:-1] + edges[1:]) / 2
    return line_chart(
        f"Is the teacher as sure as it is right? ({main.name})",
        [
            Series(name="right", x=middles, y=right),
            Series(name="sure: mean probability", x=middles, y=said),
        ],
        x_label="probability of the first guess",
        y_label="share of positions",
        y_limits=(0.0, 1.0),
        says=f"Overall it is right in {hits.mean():.1%} and sure of {confident.mean():.1%}: "
        f"{off:.1%} apart.",
    )
