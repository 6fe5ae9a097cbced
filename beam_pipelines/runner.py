"""Runs a pipeline: on this machine, in one process or on several, or on any other Beam runner.

The local runner is named: Beam's `DirectRunner` would first try to fetch another one. Its log is
silenced, and an error raised in a worker arrives as one line, as if there were no Beam. Other
runners get Beam's options as they are given, and their log is shown.
"""

import contextlib
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import (
    PipelineResult,
    PipelineRunner,
    PipelineState,
    create_runner,
)
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_pipelines.options import LOCAL, beam_flags
from beam_pipelines.watch import run_watched
from limbeck.config.errors import LimbeckError, UsageError

__all__ = ["check_runner", "run_pipeline"]

# Beam's, as far as they need help.
_OURS = {"dask": "beam_pipelines.dask_runner.DaskRunner"}
# Their options are checked by a job server, which knows some that Beam's Python side does not.
_PORTABLE = ("portable", "flink", "spark", "prism")
# `module.ErrorName: message`, as the last line of a traceback that came from a worker.
_RAISED = re.compile(r"^(?:[\w.]+\.)?(\w+): (.*)$", re.MULTILINE)
_STEP = re.compile(r" \[while running '[^']*'\]")
_OS_ERROR = re.compile(r"\[Errno \d+\] (?P<reason>.*?): '(?P<path>.*)'")
_NO_PARTS = "Unable to fetch"
_OUR_ERRORS = frozenset({"LimbeckError", "UsageError", "CorruptRecord"})
_OS_ERRORS = frozenset(
    {"OSError", "FileNotFoundError", "PermissionError", "IsADirectoryError", "NotADirectoryError"}
)


def run_pipeline(
    build: Callable[[beam.Pipeline], None],
    *,
    workers: int = 1,
    runner: str = LOCAL,
    beam_options: Sequence[str] = (),
    bundle_repeat: int = 0,
) -> PipelineResult:
    """Builds a pipeline, runs it to its end and returns its result, which has the metrics.

    Args:
      build: adds the steps to an empty pipeline.
      workers: of the local runner: 1 runs everything in this process, more in as many worker
        processes.
      runner: `LOCAL`, or the name of a Beam runner.
      beam_options: that runner's options; see `RunOptions`.
      bundle_repeat: of the local runner: runs each bundle this many extra times, a test of
        idempotence.

    Raises:
      UsageError: the runner or an option is unknown.
      LimbeckError: a step raised one, the operating system refused something, or the runner says
        that the pipeline failed.
      RuntimeError: anything else that went wrong in a worker process, with its traceback.
    """
    check_runner(runner, workers=workers, beam_options=beam_options)
    with _own_errors():
        if runner == LOCAL:
            return _run_here(build, workers, beam_flags(beam_options), bundle_repeat)
        return _run_elsewhere(build, runner, beam_flags(beam_options))


def check_runner(runner: str, *, workers: int, beam_options: Sequence[str]) -> None:
    """Refuses a runner or options that cannot be, before anything is written."""
    if workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1")
    if runner == LOCAL:
        _options(LOCAL, beam_flags(beam_options))
        return
    if workers != 1:
        raise UsageError(
            f"--workers is the local runner's; tell {runner} its own number by --beam-options"
        )
    _create_runner(runner)
    _options(runner, beam_flags(beam_options))


def _create_runner(name: str) -> PipelineRunner:
    try:
        return create_runner(_OURS.get(name.lower().removesuffix("runner"), name))
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--runner {name}: {' '.join(str(error).split())}") from None


def _options(runner: str, flags: Sequence[str], **more: Any) -> PipelineOptions:
    """Returns Beam's options; refuses one that nobody would read."""
    names = [flag.partition("=")[0] for flag in flags]
    if "--runner" in names:
        raise UsageError("--beam-options: give the runner by --runner")
    if "--save_main_session" in names:
        raise UsageError("--beam-options: save_main_session: no step here lives in the main module")
    try:
        # No main session: a worker imports the steps from the installed package.
        options = PipelineOptions(flags=[*flags, "--no_save_main_session"], **more)
        known = options.get_all_options()
        everything = options.get_all_options(retain_unknown_options=True)
    except SystemExit:  # argparse has said why
        raise UsageError(f"--beam-options: {' '.join(flags)}: cannot be read") from None
    unknown = sorted(everything.keys() - known.keys())
    if unknown and not runner.lower().startswith(_PORTABLE):
        raise UsageError(f"--beam-options: {unknown[0]}: Beam knows no such option")
    return options


def _run_here(
    build: Callable[[beam.Pipeline], None], workers: int, flags: Sequence[str], bundle_repeat: int
) -> PipelineResult:
    options = _options(
        LOCAL,
        flags,
        direct_num_workers=workers,
        direct_runner_bundle_repeat=bundle_repeat,
        default_sdk_harness_log_level="CRITICAL",
    )
    environment = SubprocessSDKEnvironment.from_command_string(_worker_command())
    results: list[PipelineResult] = []
    with _quiet():
        pipeline = beam.Pipeline(
            FnApiRunner(default_environment=environment if workers > 1 else None), options=options
        )
        build(pipeline)
        if workers == 1:
            results.append(_run(pipeline))
        else:
            run_watched(lambda: results.append(_run(pipeline)))
    return results[0]


def _run_elsewhere(
    build: Callable[[beam.Pipeline], None], runner: str, flags: Sequence[str]
) -> PipelineResult:
    with _shown(logging.INFO if runner.lower().startswith("dataflow") else logging.WARNING):
        pipeline = beam.Pipeline(runner=_create_runner(runner), options=_options(runner, flags))
        build(pipeline)
        return _run(pipeline)


def _run(pipeline: beam.Pipeline) -> PipelineResult:
    result = pipeline.run()
    state = result.wait_until_finish()
    if state not in (None, PipelineState.DONE):
        raise LimbeckError(f"the runner ended the pipeline as {state}; its log says why")
    return result


def _worker_command() -> str:
    path = os.pathsep.join(entry or "." for entry in sys.path)
    command = shlex.join([sys.executable, "-m", "beam_pipelines.worker", str(os.getpid())])
    # exec: no shell between us and the worker, so that ending one ends the other.
    return f"PYTHONPATH={shlex.quote(path)} exec {command}"


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raises what a step raised, without Beam's words around it."""
    try:
        yield
    except LimbeckError as error:
        raise type(error)(_STEP.sub("", str(error))) from None
    except RuntimeError as error:
        if (known := _known_error(str(error))) is not None:
            raise known from None
        if str(error).startswith(_NO_PARTS):  # of the runner itself, such as its job server
            raise LimbeckError(" ".join(str(error).split())) from None
        raise


def _known_error(text: str) -> LimbeckError | None:
    """Finds our own error, or the operating system's, in the traceback of a worker."""
    raised = _RAISED.findall(_STEP.sub("", text))
    for name, message in reversed(raised):
        if name in _OUR_ERRORS:
            return LimbeckError(message)
        if name in _OS_ERRORS and (match := _OS_ERROR.search(message)):
            return LimbeckError(f"{match['path']}: {match['reason']}")
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Beam: what matters it raises."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _shown(shown: int) -> Iterator[None]:
    """Shows Beam's log on stderr from a level on: Dataflow tells its job's name there."""
    logger = logging.getLogger("apache_beam")
    level, handler = logger.level, logging.StreamHandler()
    logger.setLevel(shown)
    if not logging.getLogger().handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
