"""The extraction job: every shard of the examples through the teacher, all families together.

One thread reads ahead and one writes behind, so that the teacher waits for neither; each holds one
shard. What is written depends on the examples, the teacher and the settings alone: a run that was
killed and started again ends in the same bytes.
"""

import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor

import tqdm

from extract.job import Family, Job, prepare
from extract.report import measured_line, plan_lines
from extract.settings import ExtractSettings
from extract.shard import ShardInput, label_shard, position_counts, read_shard, refuse_faults
from limbeck.config.command import before_work
from limbeck.records.manifest import Manifest, Provenance
from limbeck.teachers import Teacher

__all__ = ["extract", "run_shards"]


def extract(settings: ExtractSettings, *, teacher: Teacher | None = None) -> dict[str, Manifest]:
    """Runs a teacher over examples and writes one label dataset a family.

    Finished shards are skipped, finished families are not touched.

    Args:
      settings: recipe and directories.
      teacher: already loaded from `settings.teacher`, where backend and threads are settled; None
        loads it. Loading turns on its framework's determinism for the whole process.

    Returns:
      Family name -> manifest, in the order of the settings.

    Raises:
      UsageError: before any work: inputs that do not fit each other, or an OUT of another job.
      LimbeckError: during it: a damaged record, a teacher that gives NaN (naming family and
        record), a full disk. What is finished stays, and the same call goes on from there.
    """
    started_s = time.time()

    with before_work():
        job = prepare(settings, teacher=teacher)
    with job.examples:
        for line in plan_lines(job):
            print(f"extract: {line}", flush=True)
        if job.pending:
            run_shards(job, settings)
        provenance = Provenance.since(
            started_s,
            command=sys.argv,
            paths={"examples": settings.examples, "teacher": settings.teacher},
            device=job.teacher.device,
        )
        manifests = {
            name: family.manifest or _finish(family, job, provenance)
            for name, family in job.families.items()
        }
    seconds = time.time() - started_s
    for manifest in manifests.values():
        print(f"extract: {measured_line(manifest.content)}")
    print(f"extract: done in {seconds:.1f} s", flush=True)
    return manifests


def run_shards(job: Job, settings: ExtractSettings) -> None:
    """Labels every shard that some family lacks; the manifests are written elsewhere."""
    active, pending = job.active, job.pending
    signals = {name: family.signal for name, family in active.items()}
    layouts = {name: family.writer.layout for name, family in active.items()}

    def read(index: int) -> ShardInput:
        return read_shard(
            job.examples,
            index,
            vocab_size=job.teacher.facts.vocab_size,
            max_length=job.max_length,
            batch_tokens=settings.batch_tokens,
            length_multiple=settings.length_multiple,
        )

    total = sum(job.examples.content.shards[index].tokens for index in pending)
    with (
        ThreadPoolExecutor(1, "read-ahead") as reader,
        ThreadPoolExecutor(1, "write-behind") as writer,
        tqdm.tqdm(total=total, unit="tok", unit_scale=True, disable=None, desc="extract") as bar,
    ):
        ahead = reader.submit(read, pending[0])
        behind: Future[None] | None = None
        for following in [*pending[1:], None]:
            shard = ahead.result()
            if following is not None:
                ahead = reader.submit(read, following)
            labels = label_shard(
                shard, job.teacher, signals=signals, layouts=layouts, on_batch=bar.update
            )
            if behind is not None:
                behind.result()  # raises here what went wrong there
            behind = writer.submit(_write_shard, job, active, shard, labels)
        if behind is not None:
            behind.result()


def _write_shard(
    job: Job, families: dict[str, Family], shard: ShardInput, labels: dict[str, dict]
) -> None:
    """Checks all families of a shard, then writes those that lack it."""
    for name, family in families.items():
        refuse_faults(name, family.signal, labels[name], vocab_size=job.teacher.facts.vocab_size)
    for name, family in families.items():
        if shard.index not in family.done:
            family.writer.write_shard(
                shard.index,
                labels[name],
                lengths=shard.num_tokens,
                labelled_positions=int(position_counts(family.signal, shard.rows).sum()),
            )


def _finish(family: Family, job: Job, provenance: Provenance) -> Manifest:
    num_rows = job.examples.num_rows
    accounting = {"in": num_rows, "kept": num_rows, "filtered": {}}
    return family.writer.finish(accounting=accounting, provenance=provenance)
