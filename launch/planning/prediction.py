"""What a planned run comes to on a cluster: communication, efficiency, reading, time. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.planning.network import Cluster, Network, reduce_seconds
from limbeck.runs.progress import compact, duration

__all__ = ["MORE_ROWS", "Prediction", "Setting", "predict", "prediction_lines"]

MORE_ROWS = 4  # what accumulation over so many more micro-batches would give
_WIRE_BYTES = {"float32": 4, "float16": 2}
_COLLECTIVES = {"float32": 0, "float16": 2, "adasum": 1}  # beside counts and gradients


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What communication and computation are assumed to be."""

    cluster: Cluster
    """The hosts."""

    inside: Network | None
    """Between the ranks of a host, where a hierarchical reduction uses it."""

    latency_s: float
    """Of one message, besides its bytes."""

    compute_s: float | None
    """Of one update on one rank, all its micro-batches, without communication; None: unknown."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One stage over one network. Communication and computation do not overlap: gradients of all
    micro-batches travel together, once an update."""

    network: str
    """As it was named."""

    wire: str
    """Type in which gradients travel."""

    reduce_s: float
    """Sums over ranks of one update."""

    step_s: float | None
    """One update; None where computation is unknown, as below."""

    efficiency: float | None
    """Share of the time that is computation."""

    efficiency_more_rows: float | None
    """The same with MORE_ROWS times the rows a rank, accumulated."""

    tokens_per_s: float | None
    """Real tokens over all ranks."""

    read_bytes_per_s: float | None
    """Read by each host, on average."""

    seconds: float | None
    """The whole stage, without evaluations and checkpoints."""


def predict(
    stage: Mapping[str, Any], network: Network, setting: Setting, *, wire: str
) -> Prediction:
    """One stage of `python -m train plan` over one network.

    Args:
      stage: its numbers.
      network: between the hosts.
      setting: everything else.
      wire: float32 or float16, the recipe's or the other.
    """
    num_bytes, collectives = stage["gradient_bytes"], stage["collectives"]
    if wire != stage["wire"]:
        num_bytes = _WIRE_BYTES[wire] * stage["trained_parameters"]
        collectives += _COLLECTIVES[wire] - _COLLECTIVES[stage["wire"]]
    reduce_s = reduce_seconds(
        num_bytes,
        setting.cluster,
        network,
        inside=setting.inside,
        latency_s=setting.latency_s,
        collectives=collectives,
    )
    compute_s = setting.compute_s
    step_s = None if compute_s is None else compute_s + reduce_s
    read = sum(stage["read_bytes_per_step"].values()) / setting.cluster.hosts
    return Prediction(
        network=network.name,
        wire=wire,
        reduce_s=reduce_s,
        step_s=step_s,
        efficiency=None if compute_s is None else _share(compute_s, reduce_s),
        efficiency_more_rows=(
            None if compute_s is None else _share(MORE_ROWS * compute_s, reduce_s)
        ),
        tokens_per_s=None if step_s is None else stage["tokens_per_step"] / step_s,
        read_bytes_per_s=None if step_s is None else read / step_s,
        seconds=None if step_s is None else stage["steps"] * step_s,
    )


def prediction_lines(predictions: Sequence[Prediction]) -> list[str]:
    """A table; without what is unknown."""
    rows = [["network", "gradients", "reduce"]]
    known = all(p.step_s is not None for p in predictions)
    if known:
        rows[0] += ["step", "efficiency", f"at {MORE_ROWS}x rows", "tokens/s", "read/host", "time"]
    for p in predictions:
        row = [p.network, p.wire, f"{1e3 * p.reduce_s:,.1f} ms"]
        if p.step_s is not None:
            assert p.efficiency is not None and p.efficiency_more_rows is not None
            assert p.tokens_per_s is not None and p.read_bytes_per_s is not None
            row += [
                f"{p.step_s:,.3f} s",
                f"{100 * p.efficiency:.1f} %",
                f"{100 * p.efficiency_more_rows:.1f} %",
                compact(p.tokens_per_s),
                f"{p.read_bytes_per_s / 1e6:,.2f} MB/s",
                duration(p.seconds or 0.0),
            ]
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _share(compute_s: float, reduce_s: float) -> float:
    return compute_s / (compute_s + reduce_s)
