"""Sparse families from a `final` family: the teacher's distributions again, without the teacher.

A final family holds what the decoder matrix multiplies, and that matrix. So every logit is there,
up to the codec of the states, and any sparse family can be made of it at any later time. What is
written depends on the final family, the examples and the settings alone: any number of workers,
killed and started again, end in the same bytes.
"""

# n rows of a window, M positions of them

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import tqdm

from extract.derive_plan import (
    POSITIONS_AT_A_TIME,
    ROWS_AT_A_TIME,
    DeriveSettings,
    Target,
    prepare_targets,
)
from extract.derived_rows import DerivedWindow, chosen_rows, read_windows
from extract.inspection import open_family
from extract.report import measured_line
from extract.worker import Worker, parse_worker
from extract.workers import Claims
from limbeck.config.command import before_work
from limbeck.config.errors import LimbeckError
from limbeck.labels import codecs
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import SparseSignal
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.keys import split_key
from limbeck.records.manifest import Manifest, Provenance
from limbeck.records.resume import read_summary
from limbeck.records.sorted_rows import RowBatch

__all__ = ["DeriveSettings", "derive_families"]

LEASE_S = 60.0


def derive_families(
    settings: DeriveSettings, *, say: Callable[[str], object] = print
) -> dict[str, Manifest]:
    """Derives families; finished shards are skipped and finished families not touched.

    Args:
      settings: what, from what, and where to.
      say: takes lines for the user.

    Returns:
      Family name -> manifest, of those that are complete; a worker may end before others do.

    Raises:
      UsageError: before any work: nothing to derive, positions or records that the final family
        does not have, inputs that do not fit each other, or an OUT of another job.
      LimbeckError: during it: a damaged record, a state that is broken, a full disk.
    """
    started_s = time.time()
    with before_work():
        final, source = open_family(settings.final)
        examples = open_dataset(settings.examples, kind="examples")
        worker = parse_worker(settings.worker) if settings.worker else Worker()
        targets = prepare_targets(settings, final, source, examples, shared=not worker.is_alone)
    with final, examples, Claims(settings.where, worker=worker, lease_s=LEASE_S) as claims:
        with before_work():
            for name, target in targets.items():
                target.writer.open()
                where = target.writer.directory
                say(f"derive: {name} from {final.name} {final.id[:12]} to {where}")
            claims.watch([target.writer for target in targets.values()])
        _derive_shards(settings, targets, final, source, examples, claims)
        teacher = final.manifest.provenance.paths.get("teacher", "")  # who wants words finds them
        provenance = Provenance.since(
            started_s,
            command=sys.argv,
            paths={
                "examples": settings.examples,
                "final": settings.final,
                **({"teacher": teacher} if teacher else {}),
            },
            workers=worker.count,
        )
        with claims.finishing():
            found = {n: _finish(target, examples, provenance) for n, target in targets.items()}
    manifests = {name: manifest for name, manifest in found.items() if manifest is not None}
    for manifest in manifests.values():
        say(f"derive: {measured_line(manifest.content)}")
    return manifests


def _derive_shards(
    settings: DeriveSettings,
    targets: Mapping[str, Target],
    final: Dataset,
    source: Fitted,
    examples: Dataset,
    claims: Claims,
) -> None:
    """Writes the shards that some target lacks, one claimed shard after another."""
    active = {n: t for n, t in targets.items() if t.writer.finished() is None}
    if not active:
        return
    from extract.derived_logits import SparseEncoder, configure  # loads TensorFlow

    configure(settings.threads)
    encoders = {
        name: SparseEncoder(target.fitted, source.tensors, num_positions=POSITIONS_AT_A_TIME)
        for name, target in active.items()
    }
    done = {name: set(target.writer.done_shards()) for name, target in active.items()}
    shards = range(len(examples.content.shards))
    pending = [index for index in shards if any(index not in there for there in done.values())]
    claims.watch([target.writer for target in active.values()])
    with tqdm.tqdm(total=len(pending), unit="shard", disable=None, desc="derive") as bar:
        while (index := claims.take(pending)) is not None:
            for name, target in active.items():
                if index not in done[name]:
                    _derive_shard(settings, target, encoders[name], index, final, source, examples)
            claims.release(index)
            bar.update()


def _derive_shard(
    settings: DeriveSettings,
    target: Target,
    encoder: Any,
    index: int,
    final: Dataset,
    source: Fitted,
    examples: Dataset,
) -> None:
    """Reads, encodes and writes one shard of one family, a window at a time."""
    signal = target.fitted.signal
    assert isinstance(signal, SparseSignal)
    rows = chosen_rows(signal, final, examples, index, seed=settings.seed)
    windows = read_windows(
        signal, source, final, examples, rows, num_rows=ROWS_AT_A_TIME, seed=settings.seed
    )
    batches = (_batch(target, encoder, window) for window in windows)
    start, stop = (int(row) for row in examples.shard_starts[index : index + 2])
    selection: dict[str, Any] = {}
    if signal.records < 1.0:
        selection = {"parent_rows": rows[0] - start, "parent_records": stop - start}
    target.writer.write_batches(index, batches, **selection)


def _batch(target: Target, encoder: Any, window: DerivedWindow) -> RowBatch:
    """Encodes a window and checks it before it is written."""
    arrays = encoder(window.states, window.true_ids, window.draws)
    fault = codecs.find_fault(target.fitted, arrays, dims=target.dims)
    if fault is not None:
        key = window.key[window.rows[fault.position]]
        raise LimbeckError(
            f"family {target.writer.name}: record {key.tobytes().hex()} ({split_key(key)}): "
            f"{fault.reason}; the states of the final family are broken"
        )
    fields = codecs.to_records(target.fitted, arrays, window.counts, layout=target.writer.layout)
    return RowBatch(
        rows={"key": window.key, "digest": window.digest, **fields},
        lengths=window.num_tokens,
        labelled_positions=int(window.counts.sum()),
    )


def _finish(target: Target, examples: Dataset, provenance: Provenance) -> Manifest | None:
    """The manifest, written by whoever finds all shards there; None while some are missing."""
    writer = target.writer
    there = writer.finished()
    if there is not None:
        return there
    summaries = [read_summary(writer.directory, writer.job, i) for i in range(writer.num_shards)]
    kept = sum(summary.records for summary in summaries if summary is not None)
    if any(summary is None for summary in summaries):
        return None
    filtered = (
        {"not of the chosen fraction": examples.num_rows - kept} if kept < examples.num_rows else {}
    )
    accounting = {"in": examples.num_rows, "kept": kept, "filtered": filtered}
    return writer.finish(accounting=accounting, provenance=provenance)
