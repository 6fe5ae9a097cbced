"""The extraction job: shards of the examples through the teacher, all families together.

One thread reads ahead, one puts answers in order and checks them, and one a family writes, so that
the teacher waits for none of them; each holds a window. What is written depends on the examples,
the teacher and the settings alone: a run that was killed and started again, or that several
workers did together, ends in the same bytes.
"""

import contextlib
import sys
import time
from collections.abc import Callable

from extract.inputs import check
from extract.job import Family, Job, finished_before, open_families, prepare
from extract.progress import Progress, heartbeat_path, metrics_path
from extract.recheck import recheck
from extract.report import estimate_lines, measured_line, plan_lines
from extract.settings import ExtractSettings
from extract.space import Space, refuse_without_space, space_of
from extract.stages import run_stages
from extract.trial import Sample, bare_slots_per_s, record_bytes, take_sample, try_memory
from extract.workers import Claims, Shards, clear_up
from limbeck.config.command import before_work
from limbeck.records.manifest import Manifest, Provenance
from limbeck.records.resume import read_summary
from limbeck.runs import Heartbeat
from limbeck.teachers import Teacher

__all__ = ["dry_run", "extract", "finish", "measured", "run_shards"]

BATCHES_WORTH_MEASURING = 16  # below, the bare forward would take longer than what it says is worth


def extract(
    settings: ExtractSettings,
    *,
    teacher: Teacher | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[str, Manifest]:
    """Runs a teacher over examples and writes one label dataset a family.

    Finished shards are skipped, finished families are not touched. One of several workers does the
    shards that no other does, and who finds all of them there writes the manifests.

    Args:
      settings: recipe and directories.
      teacher: already loaded from `settings.teacher`, where backend, threads, precision and jit are
        settled; None loads it. Loading turns on its framework's determinism for the whole process.
      say: takes lines for the user; None prints them.

    Returns:
      Family name -> manifest, in the order of the settings, of those that are complete.

    Raises:
      UsageError: before any work: inputs that do not fit each other, an OUT of another job or in
        use, a batch that does not fit memory, a disk that does not hold the result.
      LimbeckError: during it: a damaged record, a teacher that gives NaN (naming family and
        record), a full disk. What is finished stays, and the same call goes on from there.
    """
    started_s = time.time()
    say = say or _say
    with contextlib.ExitStack() as stack:
        with before_work():
            checked = check(settings, teacher=teacher)
            stack.enter_context(checked.examples)
            if (manifests := finished_before(checked)) is not None:
                clear_up(settings.out, manifests)
                return _said(manifests, say, "all families are complete already")
            claims = stack.enter_context(Claims(settings.out, worker=checked.worker))
            job = prepare(checked)
            _, space = measured(job, timed=False)
            refuse_without_space(
                settings.out, needed_bytes=space.needed_bytes, free_bytes=space.free_bytes
            )
            job = open_families(job)
            if not job.worker.is_alone:  # who is alone knows better than the files what is sound
                claims.watch([family.writer for family in job.active.values()])
        for line in plan_lines(job, space):
            say(line)
        if job.pending:
            stack.enter_context(Heartbeat(heartbeat_path(settings.out), rank=job.worker.index))
            say(run_shards(job, claims, bare_slots_per_s=_bare_speed(job)))
        manifests = finish(job, claims, started_s=started_s, say=say)
    return _said(manifests, say, f"done in {time.time() - started_s:.1f} s")


def dry_run(
    settings: ExtractSettings,
    *,
    teacher: Teacher | None = None,
    say: Callable[[str], object] | None = None,
) -> None:
    """Says what `extract` would do, with an estimate from a timed sample; writes nothing.

    Raises:
      UsageError: as `extract`, before any work.
    """
    say = say or _say
    with before_work():
        checked = check(settings, teacher=teacher)
        with checked.examples:
            job = prepare(checked)
            sample, space = measured(job, timed=True)
            for line in [*plan_lines(job, space), *estimate_lines(job, sample, space)]:
                say(line)
            refuse_without_space(
                settings.out, needed_bytes=space.needed_bytes, free_bytes=space.free_bytes
            )


def run_shards(job: Job, claims: Claims, *, bare_slots_per_s: float = 0.0) -> str:
    """Labels every shard that some family lacks and no other worker does.

    Args:
      job: with its families opened.
      claims: of its output.
      bare_slots_per_s: of the teacher's forward pass, for the report; 0 where it is not known.

    Returns:
      A line on how fast it was.

    Raises:
      LimbeckError: as `extract`.
    """
    with Progress(
        total_tokens=_pending_tokens(job),
        bare_slots_per_s=bare_slots_per_s,
        path=metrics_path(job.settings.out, job.worker),
    ) as progress:
        run_stages(job, claims, progress)
    return progress.summary()


def _pending_tokens(job: Job) -> int:
    shards = job.examples.content.shards
    return int(sum(shards[index].tokens for index in job.pending) * job.windows.fraction)


def _bare_speed(job: Job) -> float:
    is_long = _pending_tokens(job) >= BATCHES_WORTH_MEASURING * job.windows.batch_tokens
    return bare_slots_per_s(job) if is_long else 0.0


def measured(job: Job, *, timed: bool) -> tuple[Sample | None, Space]:
    """Tries the largest batch, and counts bytes by what a sample of records takes."""
    if job.active:
        try_memory(job)
    fixed = all(family.encoding.layout.stride_is_fixed for family in job.active.values())
    sample = take_sample(job, timed=timed) if job.active and (timed or not fixed) else None
    sizes = {name: record_bytes(job, family, sample) for name, family in job.families.items()}
    return sample, space_of(job, sizes)


def finish(
    job: Job, claims: Shards, *, started_s: float, say: Callable[[str], object]
) -> dict[str, Manifest]:
    """Checks a sample and writes the manifests that are due."""
    manifests = {name: f.manifest for name, f in job.families.items() if f.manifest is not None}
    with claims.finishing():
        for name, family in job.active.items():
            if there := family.writer.finished():  # another worker was faster
                manifests[name] = there
        due = {name: f for name, f in job.active.items() if name not in manifests}
        if due:
            for line in recheck(job, due, batches=job.settings.recheck_batches):
                say(line)
        provenance = Provenance.since(
            started_s,
            command=sys.argv,
            paths={"examples": job.settings.examples, "teacher": job.settings.teacher},
            device=job.teacher.device,
        )
        for name, family in due.items():
            manifests[name] = _write_manifest(job, family, provenance)
    return {name: manifests[name] for name in job.families}


def _write_manifest(job: Job, family: Family, provenance: Provenance) -> Manifest:
    num_rows = job.examples.num_rows
    kept = num_rows
    filtered: dict[str, int] = {}
    if family.signal.records < 1.0:
        writer = family.writer
        found = (read_summary(writer.directory, writer.job, i) for i in range(writer.num_shards))
        kept = sum(summary.records for summary in found if summary is not None)
        filtered = {"not of the chosen fraction": num_rows - kept}
    accounting = {"in": num_rows, "kept": kept, "filtered": filtered}
    return family.writer.finish(accounting=accounting, provenance=provenance)


def _said(
    manifests: dict[str, Manifest], say: Callable[[str], object], last: str
) -> dict[str, Manifest]:
    for manifest in manifests.values():
        say(measured_line(manifest.content))
    say(last)
    return manifests


def _say(line: str) -> None:
    print(f"extract: {line}", flush=True)
