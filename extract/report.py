"""What an extraction says before it starts and when it is done."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limbeck.labels.signals import Signal, SparseSignal
from limbeck.records.manifest import Content
from limbeck.runs.progress import compact, duration

if TYPE_CHECKING:
    from extract.job import Family, Job
    from extract.space import Space
    from extract.trial import Sample

__all__ = [
    "estimate_lines",
    "family_line",
    "measured_line",
    "plan_lines",
    "signal_words",
    "size_text",
]


def plan_lines(job: "Job", space: "Space") -> list[str]:
    """What is read, what is kept, and how many bytes that takes; a line a family."""
    content, facts = job.examples.content, job.teacher.facts
    totals = content.totals
    lines = [
        f"{totals['records']:,} examples, {totals['tokens']:,} tokens, "
        f"{totals['labelled_positions']:,} labelled positions in {len(content.shards)} shards",
        f"teacher {facts.fingerprint[:12]}: {facts.num_layers} layers x {facts.hidden_dim}, "
        f"{facts.vocab_size:,} ids, in {facts.backend} on {job.teacher.device}",
        *job.notes,
    ]
    for name, family in job.families.items():
        state = ""
        if family.manifest is not None:
            state = "; already complete"
        elif family.done:
            state = f"; {len(family.done)} of {family.writer.num_shards} shards are done"
        lines.append(family_line(family, totals, total_bytes=space.families[name]) + state)
    lines.append(
        f"{size_text(space.needed_bytes)} to be written at most, {size_text(space.free_bytes)} free"
    )
    return lines


def estimate_lines(job: "Job", sample: "Sample | None", space: "Space") -> list[str]:
    """How long it will take, from a timed sample."""
    tokens = sum(shard.tokens for shard in job.examples.content.shards) * job.windows.fraction
    if sample is None or not tokens:
        return ["nothing to be done"]
    seconds = tokens / sample.tokens_per_s
    written = sum(space.families.values()) / seconds
    return [
        f"estimate: {duration(seconds)} on this machine for all shards: "
        f"{compact(sample.tokens_per_s)} tokens/s in a sample of {len(sample.window.batches)} "
        f"batches, {written / 1e6:.1f} MB/s",
        "dry run: nothing was written",
    ]


def family_line(family: "Family", totals: Mapping[str, int], *, total_bytes: float) -> str:
    """`sparse: 16 ids at T 1, 2, 4 at masked positions: 82.6 B a position, 1.2 MB in total`."""
    signal = family.signal
    num_positions = (
        signal.records
        * {
            "masked": totals["labelled_positions"],
            "all": totals["tokens"],
            "first": totals["records"],
        }[signal.positions]
    )
    each = f"{total_bytes / num_positions:,.1f} B a position" if num_positions else "no positions"
    about = "" if family.encoding.layout.stride_is_fixed and signal.records == 1.0 else "about "
    words = signal_words(signal, family.encoding.fitted.chosen)
    return f"{family.name}: {words}: {about}{each}, {size_text(total_bytes)} in total"


def signal_words(signal: Signal, chosen: Mapping[str, object]) -> str:
    """`layer 6 as int8 at all positions of 10 % of the records`."""
    if isinstance(signal, SparseSignal):
        what = _sparse_words(signal)
    else:
        layer = signal.source.layer
        codec = chosen.get("codec", getattr(signal, "codec", "float32"))
        what = signal.kind if layer is None else f"{signal.kind} of layer {layer}"
        what += f" as {codec}"
        if outliers := chosen.get("outliers"):
            what += f" with {len(outliers)} channels in float16"  # type: ignore[arg-type]
        if basis := getattr(signal, "basis", None):
            what += f" in {basis} components"
    where = f"at {signal.positions} positions"
    if signal.records < 1.0:
        where += f" of {100 * signal.records:g} % of the records"
    return f"{what} {where}"


def measured_line(content: Content) -> str:
    """The same from a finished family's manifest: bytes per labelled position as measured."""
    totals = content.totals
    num_positions = totals["labelled_positions"]
    each = f"{totals['bytes'] / num_positions:,.1f} B a position" if num_positions else "empty"
    return (
        f"{content.name}: {totals['records']:,} records, {num_positions:,} positions, "
        f"{size_text(totals['bytes'])}, {each}"
    )


def size_text(num_bytes: float) -> str:
    """`1.5 MB`, in powers of 1000."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _sparse_words(signal: SparseSignal) -> str:
    grid = ", ".join(f"{t:g}" for t in signal.temperatures)
    words = [f"{signal.k} ids"]
    if (threshold := getattr(signal, "threshold", None)) is not None:
        words.append(f"and all above {threshold:g}")
    if getattr(signal, "sample", False):
        words.append("and a sample of the rest")
    return f"{' '.join(words)} at T {grid}"
