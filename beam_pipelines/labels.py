"""Examples -> teacher labels on many machines: `python -m beam_pipelines.labels`.

`extract` does the work; Beam hands out the shards. Every worker loads the teacher once and keeps
it. The examples, the teacher and the output lie in directories that all workers see.
"""

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import apache_beam as beam
import tyro

from beam_pipelines.command import run_module
from beam_pipelines.options import RunOptions
from beam_pipelines.progress import Progress, tick
from beam_pipelines.runner import check_runner, run_pipeline
from beam_pipelines.scratch import open_scratch
from beam_pipelines.storage import is_remote
from extract.inputs import check
from extract.job import Job, finished_before, open_families, prepare
from extract.report import measured_line
from extract.run import finish, measured
from extract.settings import ExtractSettings, Recipe
from extract.space import refuse_without_space
from extract.stages import run_stages
from extract.worker import Worker
from extract.workers import Assigned, Claims, clear_up
from limbeck.config import yaml_file
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.records.directory import JOB, read_finished
from limbeck.records.files import atomic_write, remove_leftovers
from limbeck.records.manifest import Manifest

__all__ = ["LabelsSettings", "labels", "main"]

PROG = "beam_pipelines.labels"
DESCRIPTION = (
    "Label examples with a teacher, shard by shard, on the workers of any Beam runner; each loads "
    "the teacher once. Writes what `python -m extract run` writes. Run it again after an "
    "interruption and it goes on; run it after its end and it does nothing."
)

_SAID = "said.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsSettings(RunOptions):
    """Options of the command."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE.yaml")]
    """YAML file as `python -m extract run` reads it."""
    examples: str
    """Dataset directory of kind examples, which every worker can read."""
    teacher: str
    """Checkpoint folder, exported run, or ONNX graph, which every worker can read."""
    out: str
    """Output, where every worker can write; each family goes to OUT/<name>/."""
    set: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """Replaces a value of the recipe, as in families.sparse.k=32; may be repeated."""


def labels(settings: LabelsSettings, *, bundle_repeat: int = 0) -> dict[str, Manifest]:
    """Labels examples and returns the manifests by family.

    Args:
      settings: options.
      bundle_repeat: see `run_pipeline`.

    Raises:
      UsageError: an option, an input or the output directory cannot be used.
      LimbeckError: as `extract.run.extract`, during the work.
    """
    with contextlib.ExitStack() as stack:
        with before_work():
            _check_options(settings)
            wanted = _extract_settings(settings)
            checked = check(wanted)
            with checked.examples as examples:
                if (there := finished_before(checked)) is not None:
                    clear_up(settings.out, there)
                    return there
                num_shards = len(examples.content.shards)
            stack.enter_context(Claims(settings.out, worker=Worker()))
            remove_leftovers(settings.out, {JOB})
        scratch = stack.enter_context(open_scratch(settings.out, runner=settings.runner))
        run = _Run(settings=wanted, token=os.path.basename(scratch.report), report=scratch.report)
        stack.callback(_LOADED.forget)
        with Progress(scratch.watched, what="shards", total=num_shards) as progress:
            run = dataclasses.replace(run, progress=progress.directory)
            run_pipeline(
                lambda pipeline: _build(pipeline, run),
                workers=settings.workers,
                runner=settings.runner,
                beam_options=settings.beam_options,
                bundle_repeat=bundle_repeat,
            )
        with open(os.path.join(scratch.report, _SAID), "rb") as file:
            for line in json.load(file):
                print(line)
    return {name: read_finished(os.path.join(settings.out, name)) for name in wanted.families}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """What the steps are told."""

    settings: ExtractSettings
    """The job."""
    token: str
    """Of this run: a worker that outlives it loads again for the next."""
    report: str
    """Directory for what the last step says."""
    progress: str = ""
    """Where to tick; see `beam_pipelines.progress`."""


def _check_options(settings: LabelsSettings) -> None:
    check_runner(settings.runner, workers=settings.workers, beam_options=settings.beam_options)
    if settings.max_dead_letters is not None:
        raise UsageError("--max-dead-letters: every example is labelled, or the job stops")
    for name in ("examples", "teacher", "out"):
        if is_remote(path := getattr(settings, name)):
            raise UsageError(f"--{name} {path}: must be a directory that all workers see")


def _extract_settings(settings: LabelsSettings) -> ExtractSettings:
    recipe = yaml_file.load(settings.recipe, Recipe, overrides=settings.set)
    return ExtractSettings(
        **{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)},
        examples=os.path.abspath(settings.examples),
        teacher=os.path.abspath(settings.teacher),
        out=os.path.abspath(settings.out),
    )


def _build(pipeline: beam.Pipeline, run: _Run) -> None:
    written = (
        pipeline
        | "Job" >> beam.Create([None])
        | "Open" >> beam.ParDo(_Open(run))
        | "Spread" >> beam.Reshuffle()
        | "Label" >> beam.ParDo(_Label(run))
    )
    (
        pipeline
        | "All" >> beam.Create([None])
        | "Finish" >> beam.ParDo(_Finish(run), beam.pvalue.AsIter(written))
    )


class _Loaded:
    """The job of this process, with its teacher: one, whatever the number of steps and threads."""

    def __init__(self) -> None:
        self.guard = threading.RLock()
        self._token = ""
        self._job: Job | None = None

    def job(self, run: _Run) -> Job:
        """Returns the job of a run, prepared once; call it with the guard held."""
        if self._job is None or self._token != run.token:
            self.forget()
            self._job, self._token = prepare(check(run.settings)), run.token
        return self._job

    def forget(self) -> None:
        """Closes the examples and lets the teacher go."""
        with self.guard:
            if self._job is not None:
                self._job.examples.close()
            self._job, self._token = None, ""


_LOADED = _Loaded()


class _Step(beam.DoFn):
    """One step of a run."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run


class _Open(_Step):
    """Takes the output directories; gives the shards that are to be done."""

    def process(self, nothing: None) -> Iterator[int]:
        """Runs once, before every other step."""
        with _LOADED.guard:
            job = _LOADED.job(self._run)
            _, space = measured(job, timed=False)
            refuse_without_space(
                job.settings.out, needed_bytes=space.needed_bytes, free_bytes=space.free_bytes
            )
            pending = open_families(job).pending
        done = set(range(len(job.examples.content.shards))) - set(pending)
        tick(self._run.progress, len(done))
        yield from pending


class _Label(_Step):
    """Labels one shard in every family that lacks it."""

    def process(self, shard: int) -> Iterator[int]:
        """Writes the shard, perhaps at the same time as another attempt at it."""
        with _LOADED.guard:  # a second one would not make the accelerator faster
            job = _LOADED.job(self._run)
            families = {}
            for name, family in job.families.items():
                writer = dataclasses.replace(family.writer, shared=True)
                done = frozenset({shard}) if writer.has_shard(shard) else frozenset[int]()
                families[name] = dataclasses.replace(family, writer=writer, done=done)
            silent: Any = _Silent()
            run_stages(dataclasses.replace(job, families=families), Assigned(shard), silent)
        tick(self._run.progress)
        yield shard


class _Finish(_Step):
    """Checks a sample and writes the manifests, when every shard is there."""

    def process(self, nothing: None, written: Iterable[int]) -> None:
        """Runs once, behind every other step."""
        started_s = time.time()
        with _LOADED.guard:
            job = _LOADED.job(self._run)
            said: list[str] = []
            finish(job, Assigned(), started_s=started_s, say=said.append)
        path = os.path.join(self._run.report, _SAID)
        if said or not os.path.exists(path):  # a second attempt finds it all done
            atomic_write(path, json.dumps(said).encode())


class _Silent:
    """Takes what `extract` says of its progress."""

    def batch(self, *, tokens: int, slots: int) -> None:
        """Does nothing: shards are counted."""

    def shard(self, *, num_bytes: int) -> None:
        """Does nothing: the step ticks."""


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings: Any = parse(LabelsSettings, argv, prog=PROG, description=DESCRIPTION)
    for manifest in labels(settings).values():
        print(measured_line(manifest.content))


if __name__ == "__main__":
    run_module(PROG)
