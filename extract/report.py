"""What an extraction says before it starts and when it is done."""

from extract.job import Family, Job
from limbeck.labels import SparseSignal
from limbeck.records.manifest import Content

__all__ = ["family_line", "measured_line", "plan_lines", "size_text"]


def plan_lines(job: Job) -> list[str]:
    """What is read, what is kept, and how many bytes that takes; a line a family."""
    content, facts = job.examples.content, job.teacher.facts
    totals = content.totals
    lines = [
        f"{totals['records']:,} examples, {totals['tokens']:,} tokens, "
        f"{totals['labelled_positions']:,} masked positions in {len(content.shards)} shards",
        f"teacher {facts.fingerprint[:12]}: {facts.num_layers} layers x {facts.hidden_dim}, "
        f"{facts.vocab_size:,} ids, in {facts.backend}",
    ]
    for family in job.families.values():
        state = ""
        if family.manifest is not None:
            state = "; already complete"
        elif family.done:
            state = f"; {len(family.done)} of {family.writer.num_shards} shards are done"
        lines.append(family_line(family, totals) + state)
    return lines


def family_line(family: Family, totals: dict[str, int]) -> str:
    """`sparse: 16 ids at T 1, 2, 4: 82.6 B a position, 1.2 MB in total`."""
    signal = family.signal
    if isinstance(signal, SparseSignal):
        grid = ", ".join(f"{t:g}" for t in signal.temperatures)
        what = f"{signal.k} ids at T {grid} at masked positions"
    else:
        what = f"layer {signal.layer} as {signal.dtype} at {signal.positions} positions"
    num_positions = {
        "masked": totals["labelled_positions"],
        "all": totals["tokens"],
        "first": totals["records"],
    }[signal.positions]
    total = family.record_bytes * totals["records"]
    each = f"{total / num_positions:,.1f} B a position" if num_positions else "no positions"
    return f"{family.name}: {what}: {each}, {size_text(total)} in total"


def measured_line(content: Content) -> str:
    """The same from a finished family's manifest: bytes per labelled position as measured."""
    totals = content.totals
    num_positions = totals["labelled_positions"]
    each = f"{totals['bytes'] / num_positions:,.1f} B a position" if num_positions else "empty"
    return (
        f"{content.name}: {totals['records']:,} records, {num_positions:,} positions, "
        f"{size_text(totals['bytes'])}, {each}"
    )


def size_text(num_bytes: int) -> str:
    """`1.5 MB`, in powers of 1000."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
