"""The line that a training run prints every n steps: a pure function from numbers to text.

step  1200/20000 loss  2.314 (mlm  0.810 kl  1.290) gnorm  1.020 lr 4.1e-4 tok/s 38.2k ...
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Progress", "compact", "duration", "progress_line"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Global values, not those of one rank."""

    step: int
    """Steps done."""

    steps: int
    """Steps of the whole run."""

    loss: float
    """The whole objective, global mean."""

    terms: Mapping[str, float] = field(default_factory=dict)
    """Terms of the objective by name, in the recipe's order."""

    gradient_norm: float
    """Before clipping."""

    learning_rate: float
    """At this step."""

    tokens_per_s: float
    """Real tokens over all ranks; the first steps, which compile, excluded."""

    world_size: int = 1
    """Ranks."""

    data_share: float
    """Part of the time spent waiting for data, 0 to 1."""

    comm_share: float | None = None
    """Part of the time spent in collectives, 0 to 1; None on one rank, where there are none."""

    eta_s: float
    """Seconds to the end."""

    skipped: int = 0
    """Updates left out so far; shown once there is one."""


def progress_line(progress: Progress) -> str:
    """Returns the line; its columns stay where they are from one step to the next."""
    p = progress
    terms = " ".join(f"{name} {_fixed(value)}" for name, value in p.terms.items())
    rank = compact(p.tokens_per_s / p.world_size)
    columns = [
        f"step {p.step:>{len(str(p.steps))}}/{p.steps}",
        f"loss {_fixed(p.loss)}" + (f" ({terms})" if terms else ""),
        f"gnorm {_fixed(p.gradient_norm)}",
        f"lr {_scientific(p.learning_rate):>6}",
        f"tok/s {compact(p.tokens_per_s):>5}" + (f" ({rank:>5}/rank)" if p.world_size > 1 else ""),
        f"data {_percent(p.data_share)}",
    ]
    if p.comm_share is not None:
        columns.append(f"comm {_percent(p.comm_share)}")
    columns.append(f"eta {duration(p.eta_s)}")
    if p.skipped:
        columns.append(f"skipped {p.skipped}")
    return " ".join(columns)


def compact(value: float) -> str:
    """Returns a count in at most five characters: 812, 38.2k, 1.52M."""
    suffixes = ["", "k", "M", "G", "T"]
    while value >= 999.5 and len(suffixes) > 1:  # 999.5 would round to 1000
        value /= 1000.0
        suffixes.pop(0)
    digits = 0 if suffixes[0] == "" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}{suffixes[0]}"


def duration(seconds: float) -> str:
    """Returns a time as its two largest units: 45s, 12m05, 1h12, 3d04h."""
    if not 0 <= seconds < float("inf"):
        return "?"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes % 60:02d}"
    return f"{minutes}m{whole % 60:02d}" if minutes else f"{whole}s"


def _fixed(value: float) -> str:
    """Six characters whatever the magnitude: ' 2.314', ' 812.5', ' 38.2k', '   nan'."""
    if abs(value) < 99.9995 or not math.isfinite(value):
        return f"{value:6.3f}"
    if abs(value) < 9999.5:
        return f"{value:6.1f}"
    return f"{compact(value):>6}"


def _percent(share: float) -> str:
    return f"{100 * share:2.0f}%"


def _scientific(value: float) -> str:
    """4.1e-4 rather than 4.1e-04."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
